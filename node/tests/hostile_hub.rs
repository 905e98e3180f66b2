//! A hub that was taken over, over real TLS, before a whole node with a real allowlist: whatever it says, the node
//! runs nothing that its file does not allow, and says why.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test as the test itself does")]

mod hub;

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use bytes::Bytes;
use secmon_protocol::{
    command::{Arg, MAX_ARG, RunEnd, RunFailure},
    ids::JobId,
    limits::{MAX_ARGS, MAX_CHUNK, OUTPUT_WINDOW},
    message::node::{HubToNode, NodeToHub, Order},
};

use hub::{Hub, Line, Told};

/// Commands, some of which leave a trace.
struct Scene {
    hub: Hub,
    allowlist: PathBuf,
    dir: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        let scene = Self::alone().await;
        Self { hub: Hub::new(scene.allowlist.clone()).await, ..scene }
    }

    /// Without a node.
    async fn alone() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("commands.toml");
        let trace = dir.path().join("trace");
        fs::create_dir(&trace).unwrap();
        let text = format!(
            "[commands.touch]\nrun = [\"touch\", \"{0}/touched\"]\n\
             [commands.count]\nrun = [\"sh\", \"-c\", \"echo >> {0}/count; exec sleep 1000\"]\n\
             [commands.wait]\nrun = [\"sleep\", \"1000\"]\n\
             [commands.named]\nrun = [\"touch\", \"{0}/named-{{what}}\"]\n\
             args.what = {{ type = \"choice\", values = [\"this\"] }}\n",
            trace.display()
        );
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        Self { hub: Hub::alone().await, allowlist: file, dir }
    }

    /// What has run.
    fn trace(&self) -> Vec<String> {
        let folder: PathBuf = self.dir.path().join("trace");
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Arguments, name and value.
type Given<'a> = &'a [(&'a str, &'a str)];

fn order(job: u64, label: &str, args: Given<'_>) -> Order {
    let arg = |(name, value): &(&str, &str)| Arg { name: (*name).to_owned(), value: (*value).to_owned() };
    Order {
        job: JobId(job),
        label: label.to_owned(),
        args: args.iter().map(arg).collect(),
        credit: OUTPUT_WINDOW,
        stdin: false,
        detached: false,
    }
}

/// The end of the run, and whether its process ever stood.
async fn end(line: &mut Line, job: u64) -> (bool, RunEnd) {
    let mut started = false;
    loop {
        match line.next().await {
            NodeToHub::Started { job: JobId(of), .. } if of == job => started = true,
            NodeToHub::Exit { job: JobId(of), end, .. } if of == job => return (started, end),
            _ => {}
        }
    }
}

#[tokio::test]
async fn what_the_file_does_not_allow_is_answered_with_the_reason_and_does_not_run() {
    let scene = Scene::new().await;
    let mut line = scene.hub.greeted().await;
    let long = "x".repeat(MAX_ARG);
    let table: &[(&str, Given<'_>, RunFailure)] = &[
        ("nothing", &[], RunFailure::UnknownLabel),
        ("/bin/sh", &[], RunFailure::UnknownLabel),
        ("touch /etc/x", &[], RunFailure::UnknownLabel),
        ("touch\n", &[], RunFailure::UnknownLabel),
        ("touch", &[("extra", "1")], RunFailure::BadArgument),
        ("named", &[], RunFailure::BadArgument),
        ("named", &[("what", "that")], RunFailure::BadArgument),
        ("named", &[("what", "this/../../x")], RunFailure::BadArgument),
        ("named", &[("what", "this"), ("run", "/bin/sh")], RunFailure::BadArgument),
        ("named", &[("what", &long)], RunFailure::BadArgument),
        ("named", &[("{what}", "this")], RunFailure::BadArgument),
    ];
    for detached in [false, true] {
        for (n, (label, args, expected)) in table.iter().enumerate() {
            let job = n as u64 + if detached { 100 } else { 0 };
            line.say(HubToNode::Run(Order { detached, ..order(job, label, args) })).await;
            match end(&mut line, job).await {
                (false, RunEnd::Failed { why, message }) => {
                    assert_eq!(why, *expected, "{label:?} {args:?}: {message}");
                    assert!(!message.is_empty());
                }
                other => panic!("{label:?} {args:?}: {other:?}"),
            }
        }
    }
    assert_eq!(scene.trace(), [""; 0]);
    line.say(HubToNode::Run(order(1000, "named", &[("what", "this")]))).await;
    assert_eq!(end(&mut line, 1000).await, (true, RunEnd::Exited(0)));
    assert_eq!(scene.trace(), ["named-this"], "and what it allows runs");
}

#[tokio::test]
async fn a_message_before_welcome_ends_the_connection_and_starts_nothing() {
    let job = JobId(1);
    for message in [
        HubToNode::Run(order(1, "touch", &[])),
        HubToNode::Run(Order { detached: true, ..order(1, "touch", &[]) }),
        HubToNode::Resume { job, have: 0 },
        HubToNode::Stdin { job, data: Bytes::new() },
        HubToNode::Cancel { job },
    ] {
        let scene = Scene::new().await;
        let mut line = scene.hub.line().await;
        line.hello().await;
        line.say(message.clone()).await;
        assert_eq!(line.ended().await, [], "{message:?}");
        assert!(scene.hub.reason("not Welcome").await);
        assert_eq!(scene.trace(), [""; 0]);
    }
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_connection_with_its_reason_and_all_attached_runs() {
    let waits = order(1, "wait", &[]);
    let many =
        Order { args: vec![Arg { name: "a".into(), value: "1".into() }; MAX_ARGS], ..order(2, "touch", &[]) };
    let touch = |order: Order| HubToNode::Run(order);
    let job = JobId(1);
    let data = |len| Bytes::from(vec![0; len]);
    for (why, message) in [
        ("second run", touch(order(1, "touch", &[]))),
        ("second run", touch(Order { detached: true, ..order(1, "touch", &[]) })),
        ("given twice", touch(many)),
        ("over the limit", touch(order(2, "touch", &[("a", &"x".repeat(MAX_ARG + 1))]))),
        ("a label of 0", touch(order(2, "", &[]))),
        ("a label of 1000", touch(order(2, &"x".repeat(1000), &[]))),
        ("credit", touch(Order { credit: OUTPUT_WINDOW + 1, ..order(2, "touch", &[]) })),
        ("credit", HubToNode::Credit { job, credit: u32::MAX }),
        ("input", HubToNode::Stdin { job, data: data(1) }),
        ("input", HubToNode::Stdin { job, data: data(MAX_CHUNK + 1) }),
        ("resumed", HubToNode::Resume { job, have: 0 }),
        ("forgotten", HubToNode::Forget { job }),
    ] {
        // A node of its own: one that was cut off waits longer each time before it comes back.
        let scene = Scene::new().await;
        let mut line = scene.hub.greeted().await;
        line.say(HubToNode::Run(waits.clone())).await;
        let pid = loop {
            if let NodeToHub::Started { pid, .. } = line.next().await {
                break pid;
            }
        };
        line.say(message.clone()).await;
        let told = line.ended().await;
        assert!(!told.contains(&Told::Started), "{message:?}: {told:?}");
        assert!(scene.hub.reason(why).await, "{message:?} is not said to be {why:?}");
        hub::gone(pid).await;
        assert_eq!(scene.trace(), [""; 0]);
    }
}

#[tokio::test]
async fn what_is_said_of_nothing_is_passed_by() {
    let scene = Scene::new().await;
    let mut line = scene.hub.greeted().await;
    let job = JobId(99);
    for message in [
        HubToNode::Cancel { job },
        HubToNode::Credit { job, credit: u32::MAX },
        HubToNode::Stdin { job, data: Bytes::from_static(b"rm -rf /\n") },
        HubToNode::Resume { job, have: u64::MAX },
        HubToNode::Forget { job },
    ] {
        line.say(message).await;
    }
    line.say(HubToNode::Run(order(1, "touch", &[]))).await;
    assert_eq!(end(&mut line, 1).await, (true, RunEnd::Exited(0)), "the connection stands");
    assert_eq!(scene.trace(), ["touched"]);
}

#[tokio::test]
async fn a_flood_that_is_not_read_ends_and_leaves_a_node_that_works() {
    let scene = Scene::new().await;
    let mut line = scene.hub.greeted().await;
    for job in 0..10_000 {
        if !line.try_say(HubToNode::Run(order(job, "wait", &[]))).await {
            break;
        }
    }
    line.ended().await;
    assert!(scene.hub.reason("refused runs").await);
    assert_eq!(scene.trace(), [""; 0]);
    let mut line = scene.hub.greeted().await;
    // What ran for the flood is being ended.
    for job in 20_000.. {
        line.say(HubToNode::Run(order(job, "touch", &[]))).await;
        match end(&mut line, job).await {
            (true, RunEnd::Exited(0)) => break,
            (false, RunEnd::Failed { why: RunFailure::Busy, .. }) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(scene.trace(), ["touched"]);
}

#[tokio::test]
async fn a_detached_job_outlives_its_connection_and_never_starts_twice() {
    let scene = Scene::new().await;
    let mut line = scene.hub.greeted().await;
    let job = JobId(5);
    let wait = Order { detached: true, ..order(5, "wait", &[]) };
    line.say(HubToNode::Run(wait.clone())).await;
    let stands = loop {
        if let NodeToHub::Started { pid, .. } = line.next().await {
            break pid;
        }
    };
    drop(line);
    let mut line = scene.hub.greeted().await;
    assert_eq!(line.held, [(5, Some(stands))]);
    assert!(!hub::is_gone(stands));
    line.say(HubToNode::Resume { job, have: 0 }).await;
    line.say(HubToNode::Cancel { job }).await;
    assert_eq!(end(&mut line, 5).await, (false, RunEnd::Cancelled));
    line.say(HubToNode::Forget { job }).await;
    line.say(HubToNode::Run(wait)).await;
    match end(&mut line, 5).await {
        (false, RunEnd::Failed { why: RunFailure::Lost, .. }) => {}
        other => panic!("{other:?}"),
    }
    hub::gone(stands).await;
}

#[tokio::test]
async fn a_node_that_is_stopped_says_how_its_runs_ended_and_leaves_none_behind() {
    let mut scene = Scene::new().await;
    let mut line = scene.hub.greeted().await;
    for (job, detached) in [(1, false), (2, true)] {
        line.say(HubToNode::Run(Order { detached, ..order(job, "wait", &[]) })).await;
    }
    let mut pids = vec![];
    while pids.len() < 2 {
        if let NodeToHub::Started { pid, .. } = line.next().await {
            pids.push(pid);
        }
    }
    scene.hub.stop_node();
    let mut ends = vec![];
    while ends.len() < 2 {
        if let NodeToHub::Exit { job, end, .. } = line.next().await {
            assert!(matches!(end, RunEnd::Failed { why: RunFailure::Stopped, .. }), "{end:?}");
            ends.push(job.0);
            if job == JobId(2) {
                line.say(HubToNode::Forget { job }).await;
            }
        }
    }
    ends.sort();
    assert_eq!((ends, line.ended().await), (vec![1, 2], vec![]));
    for pid in pids {
        hub::gone(pid).await;
    }
}

/// The process that the next test kills: it is a node.
#[test]
#[ignore = "is not a test, but a part of one"]
fn as_a_node() {
    let path = |name: &str| PathBuf::from(std::env::var_os(name).unwrap());
    hub::node(path("STATE_DIR"), path("ALLOWLIST"), tokio_util::sync::CancellationToken::new());
}

#[tokio::test]
async fn a_node_that_is_killed_starts_no_job_a_second_time() {
    let scene = Scene::alone().await;
    let node = || {
        let mut node = tokio::process::Command::new(std::env::current_exe().unwrap());
        node.args(["--exact", "as_a_node", "--ignored", "--nocapture"]);
        node.env("STATE_DIR", scene.hub.state_dir()).env("ALLOWLIST", &scene.allowlist);
        node.stdout(std::process::Stdio::null()).kill_on_drop(true).spawn().unwrap()
    };
    let count = Order { detached: true, ..order(5, "count", &[]) };
    let mut first = node();
    let mut line = scene.hub.greeted().await;
    line.say(HubToNode::Run(count.clone())).await;
    let pid = loop {
        if let NodeToHub::Started { pid, .. } = line.next().await {
            break pid;
        }
    };
    let counted = async {
        while scene.trace().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), counted).await.unwrap();
    first.kill().await.unwrap();
    // What a killed node leaves behind is not this test's.
    let _ =
        nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid.cast_signed()), nix::sys::signal::SIGKILL);
    let _second = node();
    let mut line = scene.hub.greeted().await;
    assert_eq!(line.held, []);
    // The hub does not know whether it has arrived.
    line.say(HubToNode::Run(count)).await;
    match end(&mut line, 5).await {
        (false, RunEnd::Failed { why: RunFailure::Lost, message }) => {
            assert!(message.contains("started before"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    let lines = fs::read_to_string(scene.dir.path().join("trace/count")).unwrap().lines().count();
    assert_eq!(lines, 1);
}
