//! Logins over ssh, as the auth log tells of them.

use secmon_testkit::json::{number, text};

use crate::site::{CLIENT, PASSWORD, Site, port_of};

/// With a key and a terminal, with a key and no terminal, with a password.
pub(crate) fn each_way_in(site: &mut Site<'_>) {
    let mut terminal = site.ssh.login("alice", "echo $SSH_CONNECTION; read -r line");
    site.watch.find_user("auth.accepted", "alice");
    terminal.write_stdin(b"\n");
    let ways = [
        (terminal.finish(), "publickey"),
        (site.ssh.run("alice", "echo $SSH_CONNECTION"), "publickey"),
        (site.ssh.try_password("alice", PASSWORD, "echo $SSH_CONNECTION"), "password"),
    ];
    for (session, method) in ways {
        let port = port_of(&session);
        let accepted = site.once("auth.accepted", move |event| number(event, "source.port") == Some(port));
        assert_eq!(text(&accepted, "user.name"), "alice", "{accepted}");
        assert_eq!(text(&accepted, "source.ip"), CLIENT, "{accepted}");
        assert_eq!(text(&accepted, "secmon.ssh.method"), method, "{accepted}");
        assert_eq!(text(&accepted, "event.outcome"), "success", "{accepted}");
        assert_eq!(accepted["secmon"]["trusted"], true, "sshd wrote it: {accepted}");
        let fingerprint = text(&accepted, "secmon.ssh.fingerprint");
        assert_eq!(fingerprint.starts_with("ED25519 SHA256:"), method == "publickey", "{accepted}");
        let ended = site.once("auth.disconnected", move |event| number(event, "source.port") == Some(port));
        assert_eq!(text(&ended, "user.name"), "alice", "{ended}");
    }
}

/// A wrong password, and a user that does not exist.
pub(crate) fn refused(site: &mut Site<'_>) {
    assert_eq!(site.ssh.try_password("alice", "wrong", "true").code(), 255);
    let failed = site.once("auth.failed", |event| text(event, "user.name") == "alice");
    assert_eq!(text(&failed, "secmon.ssh.method"), "password", "{failed}");
    site.is_in_the_journal(&failed, "Failed password for alice from");
    site.once("auth.disconnected", |event| text(event, "user.name") == "alice");

    assert_eq!(site.ssh.try_password("mallory", "wrong", "true").code(), 255);
    let invalid = site.once("auth.invalid_user", |event| text(event, "user.name") == "mallory");
    site.is_in_the_journal(&invalid, "Invalid user mallory from");
    let failed = site.once("auth.failed", |event| text(event, "user.name") == "mallory");
    assert_eq!(number(&failed, "source.port"), number(&invalid, "source.port"), "{failed}");
}

impl Site<'_> {
    /// The port of an event is the one that sshd logged in a line with these words: nobody else knows the port
    /// of who did not get in.
    #[track_caller]
    fn is_in_the_journal(&self, event: &serde_json::Value, words: &str) {
        assert_eq!(text(event, "source.ip"), CLIENT, "{event}");
        let port = number(event, "source.port").expect("a port");
        let line = format!("{words} {CLIENT} port {port}");
        let logged: Vec<_> =
            ["sshd", "sshd-session"].iter().flat_map(|name| self.host.logged_by(name)).collect();
        assert!(logged.iter().any(|logged| logged.contains(&line)), "{event}\n{logged:#?}");
    }
}
