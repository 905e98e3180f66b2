//! What a node has seen reaches the hub, whatever happens to the hub, to the node and to the node's disk.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use secmon_testkit::{
    json::{number, text},
    need::Need::Namespaces,
    process::Process,
    product::{Hub, Lab, Node, NodeSetup, Place, Watch, arg},
    realm::{Realm, innermost},
    require, utmp,
    wait::eventually,
};

/// A failed login of `user` in the auth log.
fn fail(log: &Path, user: &str) {
    let mut log = OpenOptions::new().append(true).open(log).unwrap();
    let line =
        format!("Nov 21 03:00:00 web1 sshd[4711]: Failed password for {user} from 192.0.2.1 port 22 ssh2");
    writeln!(log, "{line}").unwrap();
}

/// Whether the node has written it down: records lie in the database as they are sent.
fn is_on_disk(state: &Path, needle: &str) -> bool {
    let holds = |name: &str| {
        let bytes = fs::read(state.join("node").join(name)).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
    };
    holds("node.db-wal") || holds("node.db")
}

fn users(watch: &Watch, kind: &str) -> BTreeSet<String> {
    let of = |event: &&serde_json::Value| text(event, "secmon.type") == kind;
    watch.events.iter().filter(of).map(|event| text(event, "user.name").to_owned()).collect()
}

/// A hub, and the auth log of a node that is to come.
fn scene(lab: &Lab) -> (PathBuf, NodeSetup) {
    let log = lab.write("auth.log", "");
    let setup = NodeSetup::quiet(lab).with_auth_file(&log);
    (log, setup)
}

#[test]
fn a_node_that_is_killed_while_its_hub_is_away_delivers_what_it_had_seen_after_its_next_start() {
    let lab = Lab::new();
    let (log, setup) = scene(&lab);
    let mut hub = Hub::start(&lab, Place::Here);
    let mut node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
    hub.wait_for_facet("web1", "auth_log", "ready");
    hub.process().kill();

    for n in 0..20 {
        fail(&log, &format!("user{n}-x"));
    }
    eventually("the last event on disk", || is_on_disk(node.state(), "user19-x").then_some(()));
    node.process().kill();
    hub.start_again();
    let mut watch = hub.watch(&[]);
    node.start_again();
    watch.find_user("auth.failed", "user19-x");
    assert_eq!(users(&watch, "auth.failed").len(), 20);
    assert_eq!(users(&watch, "gap").len(), 0, "{:#?}", watch.events);
    let sequences: Vec<_> = watch.events.iter().filter_map(|event| number(event, "event.sequence")).collect();
    assert!(sequences.is_sorted(), "{sequences:?}");
}

#[test]
fn sessions_that_came_and_went_while_the_node_was_down_are_events() {
    let lab = Lab::new();
    let setup = NodeSetup::quiet(&lab);
    let slot = |at, user, line| {
        let pid = std::process::id();
        let login = utmp::Login { line, user, host: "192.0.2.7", address: [192, 0, 2, 7], pid };
        utmp::write_slot(&setup.utmp, at, &login.record()).unwrap();
    };
    slot(0, "alice", "pts/70");
    let hub = Hub::start(&lab, Place::Here);
    let mut node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
    hub.wait_for_facet("web1", "sessions", "ready");
    let mut watch = hub.watch(&[]);
    node.process().kill();
    fs::write(&setup.utmp, []).unwrap();
    slot(0, "bob", "pts/71");
    node.start_again();
    watch.find_user("session.closed", "alice");
    watch.find_user("session.opened", "bob");
}

#[test]
fn a_node_that_is_stopped_and_started_keeps_its_numbers_and_tells_nothing_twice() {
    let lab = Lab::new();
    let (log, setup) = scene(&lab);
    let hub = Hub::start(&lab, Place::Here);
    let mut node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
    hub.wait_for_facet("web1", "auth_log", "ready");
    let mut watch = hub.watch(&[]);
    fail(&log, "before");
    let before = text(&watch.find_user("auth.failed", "before"), "event.id").to_owned();
    assert_eq!(node.process().terminate().code(), 0);
    node.start_again();
    hub.wait_for_node("web1", "online");
    // Until the watcher knows places, lines of the time before it reads are not read.
    node.process().wait_for_log("the auth log", |line| line.contains("the auth log is read"));
    fail(&log, "after");
    let after = text(&watch.find_user("auth.failed", "after"), "event.id").to_owned();
    // NODE-EPOCH-SEQ-I
    let epoch = |id: &str| id.rsplit('-').nth(2).unwrap().to_owned();
    assert_eq!(epoch(&before), epoch(&after), "one numbering");
    let twice = watch.events.iter().filter(|event| text(event, "event.id") == before).count();
    assert_eq!(twice, 1);
}

/// A node whose state folder is a disk of its own, of a few MiB.
fn on_a_small_disk<'a>(lab: &Lab, realm: &'a Realm) -> (String, Hub<'a>) {
    let state = lab.path("web1.state");
    fs::create_dir(&state).unwrap();
    let state = arg(&state).to_owned();
    realm.check("mount", &["-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", &state]);
    (state, Hub::start(lab, Place::In(realm)))
}

#[test]
fn a_full_disk_stops_nothing_and_is_said() {
    require!(Namespaces);
    let (lab, realm) = (Lab::new(), Realm::with_secmon("web1"));
    let (log, setup) = scene(&lab);
    let (state, mut hub) = on_a_small_disk(&lab, &realm);
    let node = Node::join(&lab, Place::In(&realm), &hub, "web1", &setup);
    hub.wait_for_facet("web1", "auth_log", "ready");
    // dd fails at the end of the disk, which is its purpose.
    let _ = realm.run("dd", &["if=/dev/zero", &format!("of={state}/fill"), "bs=4k"]);
    hub.process().kill();
    let mut sent = 0;
    node.process().wait_until("the node to say so", |output| {
        fail(&log, &format!("user{sent}"));
        sent += 1;
        output.err().contains("going on in memory").then_some(())
    });
    fail(&log, "last");
    // Until somebody watches it must not deliver.
    let pid = innermost(node.process().pid()).to_string();
    let signal = |which: &str| assert!(Command::new("kill").args([which, &pid]).status().unwrap().success());
    signal("-STOP");
    hub.start_again();
    let mut watch = hub.watch(&[]);
    signal("-CONT");
    watch.find_user("auth.failed", "last");
    assert_eq!(users(&watch, "auth.failed").len(), sent + 1, "each of them, from disk and from memory");
    assert!(node.process().is_running());
}

/// The log of a node may go to a file on a full disk. A line of it that could not be written once ended the thread
/// that wrote it, and the node looked well and told nothing.
#[test]
fn a_node_whose_log_cannot_be_written_goes_on() {
    let lab = Lab::new();
    let (log, _) = scene(&lab);
    let hub = Hub::start(&lab, Place::Here);
    let config =
        format!("[auth]\nsource = \"file\"\nfiles = [{:?}]\n\n[wireguard]\nenabled = false\n", arg(&log));
    let config = lab.write("full.toml", config);
    let state = lab.path("full.state");
    let node = Place::Here.secmon();
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>/dev/full"]).arg(node.get_program()).args(node.get_args());
    command.args([
        "node",
        "--join",
        &hub.enroll("web1"),
        "--state-dir",
        arg(&state),
        "--config",
        arg(&config),
    ]);
    let node = Process::spawn("node web1", &mut command);
    hub.wait_for_facet("web1", "auth_log", "ready");
    let mut watch = hub.watch(&[]);
    fail(&log, "alice");
    watch.find_user("auth.failed", "alice");
    assert!(node.is_running());
}

#[test]
fn a_node_starts_on_a_disk_that_became_read_only_and_on_one_that_is_damaged() {
    require!(Namespaces);
    let (lab, realm) = (Lab::new(), Realm::with_secmon("web1"));
    let (log, setup) = scene(&lab);
    let (state, hub) = on_a_small_disk(&lab, &realm);
    let mut node = Node::join(&lab, Place::In(&realm), &hub, "web1", &setup);
    hub.wait_for_facet("web1", "auth_log", "ready");
    node.process().kill();
    // Refused for as long as the process still has a file open for writing.
    eventually("the disk to become read-only", || {
        (realm.run("mount", &["-o", "remount,ro", &state]).code() == 0).then_some(())
    });
    let mut watch = hub.watch(&[]);
    node.start_again();
    node.process().wait_for_log("a word on the disk", |line| line.contains("going on in memory"));
    node.process().wait_for_log("the hub", |line| line.contains("connected to the hub"));
    hub.wait_for_facet("web1", "auth_log", "ready");
    let mut sent = 0;
    watch.process().wait_until("an event from memory", |output| {
        fail(&log, &format!("memory{sent}"));
        sent += 1;
        output.out().contains("memory").then_some(())
    });
    node.process().kill();
    realm.check("mount", &["-o", "remount,rw", &state]);
    // Held until the process has gone.
    realm.check("flock", &[&format!("{state}/node/lock"), "true"]);

    realm.check("sh", &["-c", &format!("rm {state}/node/node.db-*; echo garbage >{state}/node/node.db")]);
    node.start_again();
    node.process().wait_for_log("a word on the damage", |line| line.contains("is damaged and was set aside"));
    let gap = watch.find("the loss", |event| event.to_string().contains("damaged-1"));
    assert_eq!(text(&gap, "secmon.type"), "gap", "{gap}");
    realm.check("test", &["-s", &format!("{state}/node/node.db.damaged-1")]);
}
