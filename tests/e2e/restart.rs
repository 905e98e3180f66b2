//! Either side goes away and comes back.

use secmon_testkit::{
    json::{at, number, text},
    product::{Hub, Lab, Node, NodeSetup, Place},
    utmp,
    wait::eventually,
};

fn login(user: &'static str, line: &'static str) -> utmp::Login<'static> {
    utmp::Login { line, user, host: "192.0.2.7", address: [192, 0, 2, 7], pid: std::process::id() }
}

#[test]
fn a_node_comes_back_when_its_hub_does_and_the_hub_still_knows_it() {
    let lab = Lab::new();
    let setup = NodeSetup::quiet(&lab);
    utmp::write_slot(&setup.utmp, 0, &login("alice", "pts/70").record()).unwrap();
    let mut hub = Hub::start(&lab, Place::Here);
    let node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
    hub.wait_for_facet("web1", "sessions", "ready");
    let id = text(&hub.listed("web1").unwrap(), "host.id").to_owned();

    // A crash of the hub, and a change on the node while nobody listens.
    hub.process().kill();
    utmp::write_slot(&setup.utmp, 1, &login("bob", "pts/71").record()).unwrap();
    hub.start_again();
    hub.wait_for_node("web1", "online");
    eventually("both sessions", || {
        let shown = hub.json(&["show", "web1"]).remove(0);
        (at(&shown, "secmon.sessions")?.as_array()?.len() == 2).then_some(())
    });
    assert_eq!(text(&hub.listed("web1").unwrap(), "host.id"), id);
    assert!(node.process().is_running());
}

#[test]
fn a_node_that_is_away_stays_listed_with_its_state_and_since_when() {
    let lab = Lab::new();
    let setup = NodeSetup::quiet(&lab);
    utmp::write_slot(&setup.utmp, 0, &login("alice", "pts/70").record()).unwrap();
    let mut hub = Hub::start(&lab, Place::Here);
    let mut node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
    hub.wait_for_facet("web1", "sessions", "ready");
    let mut watch = hub.watch(&[]);
    node.process().kill();
    let gone = watch.find_type("node.disconnected");
    assert_eq!(text(&gone, "host.name"), "web1", "{gone}");
    let away = hub.wait_for_node("web1", "away");
    assert!(!text(&away, "secmon.since").is_empty(), "{away}");
    assert_eq!(hub.client(&["run", "web1", "anything"]).code(), 4, "a node that is away runs nothing");

    // It is still known after a crash of the hub, with what it last reported.
    drop(watch);
    hub.process().kill();
    hub.start_again();
    let away = hub.wait_for_node("web1", "away");
    assert_eq!(number(&away, "secmon.facets.sessions.count"), Some(1), "{away}");

    let mut watch = hub.watch(&[]);
    node.start_again();
    watch.find_type("node.connected");
    hub.wait_for_node("web1", "online");
}

#[test]
fn both_ends_of_the_corridor_end_cleanly_when_they_are_asked_to() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let node = Node::join(&lab, Place::Here, &hub, "web1", &NodeSetup::quiet(&lab));
    assert_eq!(node.process().terminate().code(), 0);
    assert_eq!(hub.process().terminate().code(), 0);
    assert!(!hub.socket().exists(), "the socket is gone with its hub");
}
