//! Behind the socket of a runner, with real users: the node as nobody, the runner as root.

use std::{
    env, fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use nix::unistd::geteuid;
use secmon_node::commands::{
    CommandsSection,
    runner::{self, RunnerSection},
};
use secmon_protocol::{
    command::{RunEnd, RunFailure},
    message::runner::RunnerToNode,
};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::scene::{PATIENCE, Scene, gone, write};

/// Users whom no system has.
const NODE: u32 = 54_001;
const STRANGER: u32 = 54_002;

const FILE: &str = r#"
[commands.who]
run = ["sh", "-c", "id -u; id -g; id -G"]

[commands.daemon]
run = ["sh", "-c", "id -u; id -G"]
user = "daemon"

[commands.sleep]
run = ["sleep", "1000"]
"#;

struct Runner {
    dir: TempDir,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), runner::RunnerError>>,
}

impl Runner {
    /// A runner in this process, for a node of this user.
    fn start(user: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Others must be able to get to the socket, and be stopped there.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        write(&dir.path().join("commands.toml"), FILE);
        let (cancel, task) = Self::run(dir.path(), user);
        Self { dir, cancel, task }
    }

    fn run(dir: &Path, user: u32) -> (CancellationToken, JoinHandle<Result<(), runner::RunnerError>>) {
        let section = RunnerSection { socket: Some(dir.join("sock")), user: Some(user.to_string()) };
        let commands = CommandsSection { allowlist: Some(dir.join("commands.toml")), runner: None };
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        (cancel, tokio::spawn(async move { runner::run(&section, &commands, stop).await }))
    }

    async fn stop(&mut self) {
        self.cancel.cancel();
        timeout(PATIENCE, &mut self.task).await.expect("an end").unwrap().unwrap();
    }

    fn again(&mut self, user: u32) {
        (self.cancel, self.task) = Self::run(self.dir.path(), user);
    }

    /// A node of this process's own user.
    fn node(&self) -> Scene {
        let section = CommandsSection { allowlist: None, runner: Some(self.dir.path().join("sock")) };
        Scene::of(section, tempfile::tempdir().unwrap())
    }

    /// What a node of another user hears: see [`as_another_user`].
    async fn node_of(&self, uid: u32, labels: &[&str]) -> String {
        // A copy that everybody may execute.
        let binary = self.dir.path().join(format!("test-{uid}"));
        // By another process: a file that this one has open for writing, or a child that it is just starting, cannot be
        // executed (ETXTBSY).
        let copied = Command::new("cp").arg(env::current_exe().unwrap()).arg(&binary).status().unwrap();
        assert!(copied.success());
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(binary);
        command
            .args(["--exact", "runner::as_another_user", "--ignored", "--nocapture"])
            .env("SECMON_TEST_SOCKET", self.dir.path().join("sock"))
            .env("SECMON_TEST_LABELS", labels.join(","))
            .envs((uid == STRANGER).then_some(("SECMON_TEST_STRANGER", "1")))
            .current_dir("/")
            .uid(uid)
            .gid(uid)
            .stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = timeout(PATIENCE, output).await.expect("an end").unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
        text.lines().filter_map(|line| line.strip_prefix("HEARD ")).collect::<Vec<_>>().join("\n")
    }
}

/// No test, but what runs as another user: a node that tells what it hears.
#[tokio::test]
#[ignore = "run by the others"]
async fn as_another_user() {
    let Some(socket) = env::var_os("SECMON_TEST_SOCKET") else { return };
    let labels = env::var("SECMON_TEST_LABELS").unwrap();
    let section = CommandsSection { allowlist: None, runner: Some(socket.into()) };
    let mut scene = Scene::of(section, tempfile::tempdir().unwrap());
    // As `systemctl reload` of a unit may send it: a node lives on, beside a runner, too.
    nix::sys::signal::raise(nix::sys::signal::Signal::SIGHUP).unwrap();
    println!("HEARD uid {}", geteuid());
    let mut labels_known = scene.labels().await;
    // The runner may be a moment away, or still be ending what another node ran.
    for job in 1000.. {
        scene.start(job, "no such command").await;
        let refused = loop {
            match scene.next().await {
                Some(RunnerToNode::Commands(infos)) => {
                    labels_known = infos.into_iter().map(|info| info.label).collect();
                }
                Some(RunnerToNode::Exit { end, .. }) => break format!("{end:?}"),
                other => panic!("{other:?}"),
            }
        };
        if env::var_os("SECMON_TEST_STRANGER").is_some() || !refused.contains("away") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("HEARD {labels_known:?}");
    for (job, label) in (1..).zip(labels.split(',').filter(|label| !label.is_empty())) {
        scene.start(job, label).await;
        println!("HEARD {label} {:?}", scene.finish(job).await);
    }
}

fn root() -> bool {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: only root can be several users");
    }
    geteuid().is_root()
}

#[tokio::test]
async fn a_node_that_is_not_root_runs_what_the_file_allows_as_its_entry_says() {
    if !root() {
        return;
    }
    let mut runner = Runner::start(NODE);
    let heard = runner.node_of(NODE, &["who", "daemon", "nothing"]).await;
    let lines: Vec<_> = heard.lines().collect();
    let daemon = nix::unistd::User::from_name("daemon").unwrap().unwrap();
    assert_eq!(lines[0], format!("uid {NODE}"));
    assert_eq!(lines[1], r#"["daemon", "sleep", "who"]"#);
    assert!(lines[2].starts_with(r#"who ("0\n0\n"#) && lines[2].ends_with("Exited(0))"), "{heard}");
    let expected = format!(r#"daemon ("{}\n{}\n", Exited(0))"#, daemon.uid, daemon.gid);
    assert_eq!(lines[3], expected);
    assert!(lines[4].contains("UnknownLabel"), "{heard}");
    runner.stop().await;
    assert!(!runner.dir.path().join("sock").exists());
}

#[tokio::test]
async fn a_process_of_another_user_cannot_use_the_runner() {
    if !root() {
        return;
    }
    let mut runner = Runner::start(NODE);
    let socket = runner.dir.path().join("sock");
    for open in [false, true] {
        if open {
            // Even where somebody has opened the file to all.
            fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
        }
        let heard = runner.node_of(STRANGER, &["who"]).await;
        let lines: Vec<_> = heard.lines().collect();
        assert_eq!(lines[..2], [format!("uid {STRANGER}").as_str(), "[]"], "{heard}");
        assert!(lines[2].contains("Refused") && lines[2].contains("away"), "{heard}");
    }
    // And the one whose it is still can.
    assert!(runner.node_of(NODE, &["who"]).await.contains("Exited(0)"));
    runner.stop().await;
}

#[tokio::test]
async fn a_group_writable_allowlist_is_refused_by_the_runner() {
    if !root() {
        return;
    }
    let mut runner = Runner::start(NODE);
    let path = runner.dir.path().join("commands.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
    let heard = runner.node_of(NODE, &["who"]).await;
    assert!(heard.contains("Refused") && heard.contains("0660"), "{heard}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(&path, Some(NODE), None).unwrap();
    let heard = runner.node_of(NODE, &["who"]).await;
    assert!(heard.contains("Refused") && heard.contains(&NODE.to_string()), "{heard}");
    runner.stop().await;
}

#[tokio::test]
async fn a_runner_that_goes_ends_what_it_ran_and_serves_again_when_it_is_back() {
    let own = geteuid().as_raw();
    let mut runner = Runner::start(own);
    let mut scene = runner.node();
    let mut labels = scene.labels().await;
    if labels.is_empty() {
        // The node was first.
        labels = scene.labels().await;
    }
    assert_eq!(labels, ["daemon", "sleep", "who"]);
    scene.start(1, "sleep").await;
    let pid = scene.started(1).await;
    runner.stop().await;
    gone(pid).await;
    let (why, _) = match scene.next().await {
        Some(RunnerToNode::Exit { end: RunEnd::Failed { why, message }, .. }) => (why, message),
        other => panic!("{other:?}"),
    };
    assert_eq!(why, RunFailure::Stopped);
    assert_eq!(scene.labels().await, Vec::<String>::new());
    scene.start(2, "sleep").await;
    let (why, message) = scene.refusal(2).await;
    assert_eq!(why, RunFailure::Refused);
    assert!(message.contains("runner"), "{message}");
    runner.again(own);
    assert_eq!(scene.labels().await, ["daemon", "sleep", "who"]);
    scene.start(3, "sleep").await;
    scene.started(3).await;
    scene.cancel(3).await;
    assert_eq!(scene.finish(3).await.1, RunEnd::Cancelled);
    // The node's own end ends what the runner runs, and is told.
    scene.start(4, "sleep").await;
    let pid = scene.started(4).await;
    scene.cancel.cancel();
    let rest = scene.rest().await;
    assert!(
        matches!(
            rest.as_slice(),
            [RunnerToNode::Exit { end: RunEnd::Failed { why: RunFailure::Stopped, .. }, .. }]
        ),
        "{rest:?}"
    );
    gone(pid).await;
    runner.stop().await;
}

#[tokio::test]
async fn a_second_node_waits_until_the_first_is_gone() {
    let own = geteuid().as_raw();
    let mut runner = Runner::start(own);
    let mut first = runner.node();
    while first.labels().await.is_empty() {}
    first.start(1, "sleep").await;
    let pid = first.started(1).await;
    let mut second = runner.node();
    assert_eq!(second.labels().await, Vec::<String>::new());
    second.start(1, "sleep").await;
    assert_eq!(second.refusal(1).await.0, RunFailure::Refused);
    drop(first);
    gone(pid).await;
    assert_eq!(second.labels().await, ["daemon", "sleep", "who"]);
    second.cancel.cancel();
    second.rest().await;
    runner.stop().await;
}

#[tokio::test]
async fn a_runner_that_says_nothing_is_one_that_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("sock");
    let _deaf = tokio::net::UnixListener::bind(&socket).unwrap();
    let mut scene = Scene::of(CommandsSection { allowlist: None, runner: Some(socket) }, dir);
    assert_eq!(scene.labels().await, Vec::<String>::new());
    for job in 1..200 {
        scene.start(job, "who").await;
        assert_eq!(scene.refusal(job).await.0, RunFailure::Refused);
    }
    scene.cancel.cancel();
    scene.rest().await;
}

#[tokio::test]
async fn output_passes_whole_through_the_socket() {
    let own = geteuid().as_raw();
    let mut runner = Runner::start(own);
    let text = "[commands.big]\nrun = [\"head\", \"-c\", \"50000000\", \"/dev/zero\"]\n";
    write(&runner.dir.path().join("commands.toml"), text);
    let mut scene = runner.node();
    while !scene.labels().await.iter().any(|label| label == "big") {}
    scene.start(1, "big").await;
    let (stdout, end) = scene.finish(1).await;
    assert_eq!((stdout.len(), end), (50_000_000, RunEnd::Exited(0)));
    runner.stop().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_or_nonsense_is_ended_and_harms_nobody() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let own = geteuid().as_raw();
    let mut runner = Runner::start(own);
    let socket = runner.dir.path().join("sock");
    let mut scene = runner.node();
    while scene.labels().await.is_empty() {}
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 0, 0, 1, 99], &[0xff; 64]] {
        let mut stream = tokio::net::UnixStream::connect(&socket).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = vec![];
        let read = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("an end");
        assert!(read.is_err() || rest.is_empty(), "{rest:?}");
    }
    let _silent = tokio::net::UnixStream::connect(&socket).await.unwrap();
    scene.start(1, "who").await;
    assert_eq!(scene.finish(1).await.1, RunEnd::Exited(0));
    scene.cancel.cancel();
    scene.rest().await;
    runner.stop().await;
}
