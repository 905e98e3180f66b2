//! Node and hub on different networks.

use secmon_testkit::{
    json::{number, text},
    need::Need::Namespaces,
    product::{Hub, Lab, Node, NodeSetup, Place, arg},
    realm::Realm,
    require, utmp,
};

#[test]
fn a_node_on_another_network_joins_by_token_and_reports() {
    require!(Namespaces);
    let (lab, center, far) = (Lab::new(), Realm::with_secmon("center"), Realm::with_secmon("far"));
    center.join(&far, "wire", "10.77.0.1/24", "10.77.0.2/24");
    let listen = ["--listen", "0.0.0.0:7373", "--advertise", "10.77.0.1:7373"];
    let hub = Hub::start_with(&lab, Place::In(&center), &listen);
    let setup = NodeSetup::quiet(&lab);
    let _node = Node::join(&lab, Place::In(&far), &hub, "far1", &setup);
    hub.wait_for_facet("far1", "sessions", "ready");
    let mut watch = hub.watch(&[]);
    // Pid 1 of the realm stands for a session leader: it lives as long as the realm.
    let login =
        utmp::Login { line: "pts/70", user: "alice", host: "192.0.2.7", address: [192, 0, 2, 7], pid: 1 };
    utmp::write_slot(&setup.utmp, 0, &login.record()).unwrap();
    let opened = watch.find_user("session.opened", "alice");
    assert_eq!(text(&opened, "host.name"), "far1", "{opened}");
    assert_eq!(text(&opened, "source.ip"), "192.0.2.7", "{opened}");
}

#[test]
fn a_cut_link_is_noticed_on_both_ends_and_mended_without_help() {
    require!(Namespaces);
    let (lab, center, far) = (Lab::new(), Realm::with_secmon("center"), Realm::with_secmon("far"));
    center.join(&far, "wire", "10.77.0.1/24", "10.77.0.2/24");
    let config = lab.write("hub.toml", "[hub]\nheartbeat_secs = 1\nadvertise = \"10.77.0.1\"\n");
    let hub =
        Hub::start_with(&lab, Place::In(&center), &["--config", arg(&config), "--listen", "0.0.0.0:7373"]);
    let setup = NodeSetup::quiet(&lab);
    let node = Node::join(&lab, Place::In(&far), &hub, "far1", &setup);
    hub.wait_for_facet("far1", "sessions", "ready");
    let mut watch = hub.watch(&[]);

    // Nothing is closed and nothing is refused: packets just stop.
    far.check("ip", &["link", "set", "wire", "down"]);
    watch.find_type("node.disconnected");
    let away = hub.wait_for_node("far1", "away");
    assert!(!text(&away, "secmon.since").is_empty(), "{away}");
    let login = utmp::Login { line: "pts/70", user: "alice", host: "", address: [0; 4], pid: 1 };
    utmp::write_slot(&setup.utmp, 0, &login.record()).unwrap();

    far.check("ip", &["link", "set", "wire", "up"]);
    watch.find_type("node.connected");
    // What happened meanwhile waited in the node.
    watch.find_user("session.opened", "alice");
    let facet = hub.wait_for_facet("far1", "sessions", "ready");
    assert_eq!(number(&facet, "count"), Some(1), "{facet}");
    assert!(node.process().is_running());
}
