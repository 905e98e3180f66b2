//! Becoming somebody else, and changing who there is.

use secmon_testkit::json::text;
use serde_json::Value;

use crate::site::{PASSWORD, Site};

/// Allowed by a rule, refused for lack of one, refused for a wrong password.
pub(crate) fn sudo(site: &mut Site<'_>) {
    site.host.write("/etc/sudoers.d/alice", 0o440, "alice ALL=(ALL) NOPASSWD: /usr/bin/id\n");
    let session = site.ssh.login("alice", "cd /tmp; sudo -n /usr/bin/id");
    let allowed = site.once("auth.sudo", |event| text(event, "user.name") == "alice");
    assert_eq!(text(&allowed, "user.target.name"), "root", "{allowed}");
    assert_eq!(text(&allowed, "secmon.sudo.command"), "/usr/bin/id", "{allowed}");
    assert_eq!(text(&allowed, "secmon.cwd"), "/tmp", "{allowed}");
    assert_eq!(text(&allowed, "secmon.tty"), "pts/0", "{allowed}");
    assert_eq!(text(&allowed, "event.outcome"), "success", "{allowed}");
    assert!(session.finish().out().contains("uid=0(root)"));

    let wrong = site.ssh.run("alice", "echo wrong | sudo -S /usr/bin/env");
    assert_eq!(wrong.code(), 1, "{wrong}");
    let denied = site.once("auth.sudo_denied", |event| text(event, "user.name") == "alice");
    assert_eq!(text(&denied, "secmon.sudo.command"), "/usr/bin/env", "{denied}");
    assert_eq!(text(&denied, "event.outcome"), "failure", "{denied}");

    site.host.check("useradd", &["--create-home", "bob"]);
    let stranger = site.ssh.run("root", "su bob -c 'sudo -S /usr/bin/id </dev/null'");
    assert_eq!(stranger.code(), 1, "{stranger}");
    let denied = site.once("auth.sudo_denied", |event| text(event, "user.name") == "bob");
    assert_eq!(text(&denied, "user.target.name"), "root", "{denied}");
}

/// To somebody with the right password, with a wrong one, and by root without any.
pub(crate) fn su(site: &mut Site<'_>) {
    let done = site.ssh.run("alice", &format!("echo '{PASSWORD}' | su - root -c id"));
    assert!(done.out().contains("uid=0(root)"), "{done}");
    let became = site.once("auth.su", |event| text(event, "user.name") == "alice");
    assert_eq!(text(&became, "user.target.name"), "root", "{became}");
    assert_eq!(text(&became, "event.outcome"), "success", "{became}");

    let refused = site.ssh.run("alice", "echo wrong | su - root -c id");
    assert_eq!(refused.code(), 1, "{refused}");
    let failed = site.once("auth.su_failed", |event| text(event, "user.name") == "alice");
    assert_eq!(text(&failed, "user.target.name"), "root", "{failed}");
    assert_eq!(text(&failed, "event.outcome"), "failure", "{failed}");
    // The password that was wrong is an event of its own, about whose it was to be.
    let wrong = site.once("auth.failed", |event| text(event, "process.name") == "su");
    assert_eq!(text(&wrong, "user.name"), "root", "{wrong}");

    assert_eq!(site.ssh.run("root", "su alice -c true").code(), 0);
    let became = site.once("auth.su", |event| text(event, "user.name") == "root");
    assert_eq!(text(&became, "user.target.name"), "alice", "{became}");
}

/// Made, given a password, removed.
pub(crate) fn changed(site: &mut Site<'_>) {
    let about_bob = |words: &'static str| {
        move |event: &Value| {
            text(event, "user.target.name") == "bob" && text(event, "message").contains(words)
        }
    };
    for (command, words) in [
        ("useradd --create-home bob", "new user"),
        ("echo bob:secret | chpasswd", "password changed"),
        ("userdel --remove bob", "delete user"),
    ] {
        let done = site.ssh.run("root", command);
        assert_eq!(done.code(), 0, "{done}");
        let changed = site.once("auth.account_changed", about_bob(words));
        assert_eq!(text(&changed, "event.outcome"), "success", "{changed}");
    }
    // passwd is what people use, and it asks its questions at a terminal or from a pipe alike.
    let done =
        site.ssh.run("alice", &format!("printf '%s\\nother-Pass-7\\nother-Pass-7\\n' '{PASSWORD}' | passwd"));
    assert_eq!(done.code(), 0, "{done}");
    site.once("auth.account_changed", |event| text(event, "user.target.name") == "alice");
}
