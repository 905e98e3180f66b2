//! A watch begins where it is told to, and goes on when its hub is gone for a while.

use secmon_testkit::{
    json::{number, text},
    process::Process,
    product::{Hub, Lab, Node, NodeSetup, Place},
    utmp,
};
use serde_json::Value;

fn login(user: &'static str, line: &'static str) -> utmp::Login<'static> {
    utmp::Login { line, user, host: "192.0.2.7", address: [192, 0, 2, 7], pid: std::process::id() }
}

/// A hub and a node that sees alice, and a watch on them.
struct Scene {
    _node: Node<'static>,
    hub: Hub<'static>,
    setup: NodeSetup,
    /// Last: the others' files are in it.
    _lab: Lab,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new();
        let setup = NodeSetup::quiet(&lab);
        utmp::write_slot(&setup.utmp, 0, &login("alice", "pts/70").record()).unwrap();
        let hub = Hub::start(&lab, Place::Here);
        let node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
        hub.wait_for_facet("web1", "sessions", "ready");
        Self { _node: node, hub, setup, _lab: lab }
    }

    fn log_in(&self, slot: u64, user: &'static str, line: &'static str) {
        utmp::write_slot(&self.setup.utmp, slot, &login(user, line).record()).unwrap();
    }
}

fn says(process: &Process, words: &'static str) {
    process.wait_for_log(words, |line| line.contains(words));
}

/// Where an event stands: its log and its number.
fn place(event: &Value) -> (String, u64) {
    let cursor = text(event, "secmon.cursor");
    let (log, n) = cursor.split_once('-').unwrap_or_else(|| panic!("no cursor: {event}"));
    (log.to_owned(), n.parse().unwrap())
}

/// Nothing twice, nothing backwards and no number left out but behind a gap; each start of the hub gives the log another
/// id, and numbers go on.
fn assert_no_silent_hole(events: &[Value]) {
    for pair in events.windows(2) {
        let ((_, n), (_, next)) = (place(&pair[0]), place(&pair[1]));
        // A record may yield several events.
        assert!(next == n || next == n + 1, "a hole, or back: {} {}", pair[0], pair[1]);
    }
    let mut ids: Vec<&str> =
        events.iter().map(|event| text(event, "event.id")).filter(|id| !id.is_empty()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "an event came twice");
}

#[test]
fn a_watch_outlives_its_hub_and_misses_nothing_in_silence() {
    let mut scene = Scene::new();
    let mut watch = scene.hub.watch(&[]);
    scene.log_in(1, "bob", "pts/71");
    watch.find_user("session.opened", "bob");

    scene.hub.process().kill();
    says(watch.process(), "secmon: the hub closed the connection; trying to connect again");
    // While there is no hub: the node keeps it.
    scene.log_in(2, "carol", "pts/72");
    scene.hub.start_again();
    says(watch.process(), "secmon: connected again, going on after ");
    watch.find_user("session.opened", "carol");
    scene.log_in(3, "dave", "pts/73");
    watch.find_user("session.opened", "dave");

    assert_no_silent_hole(&watch.events);
    assert!(watch.events.iter().all(|event| text(event, "secmon.type") != "gap"), "nothing is missing");
    let connections: Vec<&str> = watch
        .events
        .iter()
        .map(|event| text(event, "secmon.type"))
        .filter(|kind| kind.starts_with("node."))
        .collect();
    assert_eq!(
        connections,
        ["node.disconnected", "node.connected"],
        "the killed hub's connection is ended, too"
    );
    let output = watch.process().terminate();
    assert_eq!(output.code(), 143, "{output}");
    let told = output.err().matches("trying to connect again").count();
    assert_eq!(told, 1, "an outage is told once: {output}");
}

#[test]
fn a_watch_that_waits_for_its_hub_ends_when_it_is_asked_to() {
    let scene = Scene::new();
    let watch = scene.hub.watch(&[]);
    scene.hub.process().kill();
    says(watch.process(), "trying to connect again");
    assert_eq!(watch.process().terminate().code(), 143);
}

#[test]
fn a_watch_since_a_cursor_or_a_time_has_what_came_after_it() {
    let scene = Scene::new();
    let mut first = scene.hub.watch(&[]);
    scene.log_in(1, "bob", "pts/71");
    let bob = first.find_user("session.opened", "bob");
    scene.log_in(2, "carol", "pts/72");
    let carol = first.find_user("session.opened", "carol");

    let mut since = scene.hub.watch(&["--since", text(&bob, "secmon.cursor")]);
    assert_eq!(since.find_user("session.opened", "carol"), carol);
    assert!(
        since.events.iter().all(|event| number(event, "event.sequence") > number(&bob, "event.sequence"))
    );
    assert_no_silent_hole(&since.events);

    for when in ["1h", "boot"] {
        let mut since = scene.hub.watch(&["--since", when]);
        assert_eq!(since.find_user("session.opened", "bob"), bob);
        assert_eq!(since.find_user("session.opened", "carol"), carol);
        assert_no_silent_hole(&since.events);
    }
}

#[test]
fn a_snapshot_comes_first_and_is_told_from_what_happens() {
    let scene = Scene::new();
    let mut watch = scene.hub.watch(&["--snapshot"]);
    let alice = watch.find_user("session.state", "alice");
    assert_eq!(text(&alice, "event.kind"), "state");
    let node = watch.find_type("node.state");
    assert_eq!((text(&node, "host.name"), text(&node, "secmon.status")), ("web1", "online"));
    watch.find("the sessions' facet", |event| {
        text(event, "secmon.type") == "facet.state" && text(event, "secmon.facet.name") == "sessions"
    });
    scene.log_in(1, "bob", "pts/71");
    let bob = watch.find_user("session.opened", "bob");
    assert_eq!(text(&bob, "event.kind"), "event");
    let states = watch.events.iter().filter(|event| text(event, "event.kind") == "state").count();
    assert!(watch.events[..states].iter().all(|event| text(event, "event.kind") == "state"));
    drop(watch);

    let text = scene.hub.spawn_client(&["watch", "--snapshot", "--type", "session.*"]);
    let lines = text.wait_until("alice in the text", |output| {
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        lines.contains("alice is logged in on pts/70 from 192.0.2.7").then_some(lines)
    });
    assert!(lines.contains("  session.state ") && lines.contains(" since "), "{lines}");
}

#[test]
fn a_since_that_means_nothing_is_refused_with_examples() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    for (when, words) in [("lately", "10m, 2h or 1d"), ("3000-01-01", "in the future")] {
        let output = hub.client(&["watch", "--since", when]);
        assert_eq!(output.code(), 2, "{output}");
        assert!(output.err().contains(words) && output.out().is_empty(), "{output}");
    }
    assert_eq!(hub.client(&["watch", "--since", "10m", "--snapshot"]).code(), 2);
}
