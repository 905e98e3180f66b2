//! A login over a real sshd, from the utmp file and the auth log of its host to a subscriber's screen.

use std::path::Path;

use secmon_testkit::{
    json::{number, text},
    need::Need::{Namespaces, Program},
    product::{Hub, Lab, Node, NodeSetup, Place},
    realm::Realm,
    require,
    sshd::Sshd,
    syslog, utmp,
    wait::eventually,
};

#[test]
fn a_login_over_ssh_is_shown_when_it_opens_and_when_it_closes() {
    require!(Namespaces, Program("sshd"), Program("ssh"), Program("ssh-keygen"), Program("rsyslogd"));
    let (lab, realm) = (Lab::new(), Realm::with_secmon("web1"));
    realm.make_utmp();
    let _log = syslog::rsyslogd(&realm);
    let sshd = Sshd::start(&realm);
    let hub = Hub::start(&lab, Place::In(&realm));
    let mut setup = NodeSetup::quiet(&lab).with_auth_file(Path::new(syslog::AUTH_LOG));
    setup.utmp = "/run/utmp".into();
    let _node = Node::join(&lab, Place::In(&realm), &hub, "web1", &setup);
    hub.wait_for_facet("web1", "sessions", "ready");
    hub.wait_for_facet("web1", "auth_log", "ready");
    let mut watch = hub.watch(&[]);

    let mut session = sshd.login("root", "read -r line");
    let opened = watch.find_type("session.opened");
    assert_eq!(text(&opened, "user.name"), "root", "{opened}");
    assert_eq!(text(&opened, "host.name"), "web1", "{opened}");
    assert_eq!(text(&opened, "secmon.tty"), "pts/0", "{opened}");
    assert_eq!(text(&opened, "source.ip"), "127.0.0.1", "{opened}");
    let accepted = watch.find_user("auth.accepted", "root");
    assert_eq!(text(&accepted, "secmon.ssh.method"), "publickey", "{accepted}");
    assert_eq!(text(&accepted, "source.ip"), "127.0.0.1", "{accepted}");
    assert!(number(&accepted, "source.port").is_some_and(|port| port > 0), "{accepted}");
    let facet = hub.wait_for_facet("web1", "sessions", "ready");
    assert_eq!(number(&facet, "count"), Some(1), "{facet}");
    let shown = hub.json(&["show", "web1"]).remove(0);
    let sessions = shown["secmon"]["sessions"].as_array().expect("an array of sessions");
    assert_eq!(sessions.len(), 1, "{shown}");

    session.write_stdin(b"\n");
    assert_eq!(session.finish().code(), 0);
    let closed = watch.find_user("session.closed", "root");
    assert_eq!(text(&closed, "secmon.tty"), "pts/0", "{closed}");
    eventually("no session in the list", || {
        let facet = hub.wait_for_facet("web1", "sessions", "ready");
        (number(&facet, "count") == Some(0)).then_some(())
    });
}

#[test]
fn sessions_found_at_the_start_are_state_and_not_events() {
    let lab = Lab::new();
    let setup = NodeSetup::quiet(&lab);
    let pid = std::process::id();
    let early =
        utmp::Login { line: "pts/70", user: "early", host: "192.0.2.1", address: [192, 0, 2, 1], pid };
    utmp::write_slot(&setup.utmp, 0, &early.record()).unwrap();
    let hub = Hub::start(&lab, Place::Here);
    let mut watch = hub.watch(&[]);
    let _node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
    hub.wait_for_facet("web1", "sessions", "ready");
    let late = utmp::Login { line: "pts/71", user: "late", ..early };
    utmp::write_slot(&setup.utmp, 1, &late.record()).unwrap();
    watch.find_user("session.opened", "late");
    assert!(!watch.events.iter().any(|event| text(event, "user.name") == "early"), "{:#?}", watch.events);
    let shown = hub.json(&["show", "web1"]).remove(0);
    assert_eq!(shown["secmon"]["sessions"].as_array().map(Vec::len), Some(2), "{shown}");
}

#[test]
fn a_watcher_sees_only_the_nodes_and_types_that_it_asked_for() {
    let lab = Lab::new();
    let (here, there) =
        (NodeSetup::quiet(&lab), NodeSetup { utmp: lab.write("other", []), ..NodeSetup::quiet(&lab) });
    let hub = Hub::start(&lab, Place::Here);
    let _web = Node::join(&lab, Place::Here, &hub, "web1", &here);
    let _db = Node::join(&lab, Place::Here, &hub, "db1", &there);
    hub.wait_for_facet("web1", "sessions", "ready");
    hub.wait_for_facet("db1", "sessions", "ready");
    let mut by_node = hub.watch(&["--node", "db*"]);
    let mut by_type = hub.watch(&["--type", "session.closed"]);
    let pid = std::process::id();
    let mut login = utmp::Login { line: "pts/70", user: "unseen", host: "", address: [0; 4], pid };
    utmp::write_slot(&here.utmp, 0, &login.record()).unwrap();
    login.user = "seen";
    utmp::write_slot(&there.utmp, 0, &login.record()).unwrap();
    by_node.find_user("session.opened", "seen");
    utmp::write_slot(&there.utmp, 0, &login.end()).unwrap();
    by_type.find_type("session.closed");
    by_node.find_type("session.closed");
    assert!(by_node.events.iter().all(|event| text(event, "host.name") == "db1"), "{:#?}", by_node.events);
    assert_eq!(by_type.events.len(), 1, "{:#?}", by_type.events);
}
