//! The auth log: a real journald, a followed file, and `secmon parse`.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
};

use secmon_testkit::{
    json::{self, number, text},
    need::Need::{Namespaces, Program},
    process::Process,
    product::{Hub, Lab, Node, NodeSetup, Place, arg},
    realm::Realm,
    require,
    sshd::Sshd,
    syslog,
};

/// How a syslog daemon writes a line by RFC 3164; the date is any, the product takes the nearest year.
const FRAME: &str = "Nov 21 03:00:00 web1 sshd[4711]: ";

#[test]
fn a_wrong_user_and_a_wrong_password_are_shown_from_a_real_journal() {
    require!(Namespaces, Program("sshd"), Program("ssh"), Program("systemd-journald"), Program("journalctl"));
    let (lab, realm) = (Lab::new(), Realm::with_secmon("web1"));
    let _journal = syslog::journald(&realm);
    let sshd = Sshd::start(&realm);
    let hub = Hub::start(&lab, Place::In(&realm));
    // With "auto" it finds the journal by itself: there is no auth.log in this realm.
    let setup = NodeSetup { auth: "source = \"auto\"".to_owned(), ..NodeSetup::quiet(&lab) };
    let _node = Node::join(&lab, Place::In(&realm), &hub, "web1", &setup);
    hub.wait_for_facet("web1", "auth_log", "ready");
    let mut watch = hub.watch(&["--type", "auth.*"]);

    sshd.try_wrong_password("mallory");
    let invalid = watch.find_user("auth.invalid_user", "mallory");
    assert_eq!(text(&invalid, "source.ip"), "127.0.0.1", "{invalid}");
    let failed = watch.find_user("auth.failed", "mallory");
    assert_eq!(text(&failed, "secmon.ssh.method"), "password", "{failed}");
    assert_eq!(text(&failed, "host.name"), "web1", "{failed}");
    assert_eq!(text(&failed, "event.outcome"), "failure", "{failed}");

    sshd.try_wrong_password("root");
    watch.find_user("auth.failed", "root");
    watch.find_user("auth.disconnected", "root");
    let of_root = |event: &&serde_json::Value| {
        text(event, "secmon.type") == "auth.failed" && text(event, "user.name") == "root"
    };
    assert_eq!(
        watch.events.iter().filter(of_root).count(),
        1,
        "one attempt is one event\n{:#?}",
        watch.events
    );
}

#[test]
fn sudo_and_su_are_shown_from_a_real_journal() {
    require!(Namespaces, Program("sudo"), Program("su"), Program("systemd-journald"), Program("journalctl"));
    let (lab, realm) = (Lab::new(), Realm::with_secmon("web1"));
    let _journal = syslog::journald(&realm);
    let hub = Hub::start(&lab, Place::In(&realm));
    let setup = NodeSetup { auth: "source = \"journald\"".to_owned(), ..NodeSetup::quiet(&lab) };
    let _node = Node::join(&lab, Place::In(&realm), &hub, "web1", &setup);
    hub.wait_for_facet("web1", "auth_log", "ready");
    let mut watch = hub.watch(&["--type", "auth.*"]);

    realm.check("sudo", &["-n", "/bin/echo", "a ; b"]);
    let sudo = watch.find_type("auth.sudo");
    assert_eq!(text(&sudo, "user.name"), "root", "{sudo}");
    // sudo quotes what holds a space.
    assert!(text(&sudo, "secmon.sudo.command").contains("/echo 'a ; b'"), "{sudo}");

    realm.check("su", &["-s", "/bin/true", "nobody"]);
    let su = watch.find_type("auth.su");
    assert_eq!(text(&su, "user.target.name"), "nobody", "{su}");
}

#[test]
fn what_an_ordinary_user_tries_is_shown_from_a_journal_that_is_split_by_user() {
    require!(Namespaces, Program("su"), Program("systemd-journald"), Program("journalctl"));
    let (lab, realm) = (Lab::new(), Realm::with_secmon("web1"));
    let add = "cp /etc/passwd /run/passwd && echo alice:x:4242:4242::/:/bin/sh >> /run/passwd";
    realm.check("sh", &["-c", &format!("{add} && mount --bind /run/passwd /etc/passwd")]);
    let _journal = syslog::persistent_journald(&realm);
    let hub = Hub::start(&lab, Place::In(&realm));
    let setup = NodeSetup { auth: "source = \"journald\"".to_owned(), ..NodeSetup::quiet(&lab) };
    let _node = Node::join(&lab, Place::In(&realm), &hub, "web1", &setup);
    hub.wait_for_facet("web1", "auth_log", "ready");
    let mut watch = hub.watch(&["--type", "auth.*"]);

    let alice = ["--reuid=4242", "--regid=4242", "--clear-groups", "--"];
    let failed = realm.run("setpriv", &[&alice[..], &["su", "-c", "true", "nobody"]].concat());
    assert_ne!(failed.code(), 0, "{failed}");
    watch.find_user("auth.su_failed", "alice");
    realm.check("sh", &["-c", "ls /var/log/journal/*/user-4242.journal"]);
}

#[test]
fn a_followed_file_is_followed_through_a_rotation() {
    let lab = Lab::new();
    let file = lab.write("auth.log", format!("{FRAME}Failed password for old from 192.0.2.1 port 1 ssh2\n"));
    let hub = Hub::start(&lab, Place::Here);
    let setup = NodeSetup::quiet(&lab).with_auth_file(&file);
    let _node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
    hub.wait_for_facet("web1", "auth_log", "ready");
    let mut watch = hub.watch(&[]);
    let append = |user: &str| {
        let mut log = OpenOptions::new().create(true).append(true).open(&file).unwrap();
        writeln!(log, "{FRAME}Failed password for {user} from 192.0.2.1 port 22 ssh2").unwrap();
    };
    append("before");
    watch.find_user("auth.failed", "before");
    fs::rename(&file, lab.path("auth.log.1")).unwrap();
    append("after");
    let after = watch.find_user("auth.failed", "after");
    assert_eq!(text(&after, "source.ip"), "192.0.2.1", "{after}");
    assert_eq!(number(&after, "source.port"), Some(22), "{after}");
}

#[test]
fn parse_says_of_each_line_by_itself_what_secmon_makes_of_it() {
    let lab = Lab::new();
    // The second line is an attack: a user name that claims to be another line's end.
    let log = format!(
        "{FRAME}Accepted publickey for alice from 192.0.2.7 port 50022 ssh2: ED25519 SHA256:abc\n\
         {FRAME}Failed password for invalid user x from 10.0.0.1 port 22 ssh2 from 192.0.2.8 port 50023 ssh2\n"
    );
    let file = lab.write("some.log", log);
    let parsed = Process::run("parse", Place::Here.secmon().args(["parse", "--json", arg(&file)]));
    assert_eq!(parsed.code(), 0, "{parsed}");
    let events = json::lines(&parsed.stdout);
    assert_eq!(events.len(), 2, "{parsed}");
    assert_eq!(number(&events[0], "secmon.line"), Some(1), "{parsed}");
    assert_eq!(text(&events[0], "secmon.type"), "auth.accepted", "{parsed}");
    assert_eq!(number(&events[1], "secmon.line"), Some(2), "{parsed}");
    assert_eq!(text(&events[1], "source.ip"), "192.0.2.8", "{parsed}");
}
