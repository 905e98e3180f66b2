//! Becoming somebody else, and changing who there is.

use secmon_testkit::json::text;

use crate::site::{PASSWORD, Site};

/// Allowed by a rule, refused for lack of one, refused for a wrong password.
pub(crate) fn sudo(site: &mut Site<'_>) {
    site.host.write("/etc/sudoers.d/alice", 0o440, "alice ALL=(ALL) NOPASSWD: /usr/bin/id\n");
    let mut session = site.ssh.login("alice", "cd /tmp; sudo -n /usr/bin/id; read -r line");
    let allowed = site.once("auth.sudo", |event| text(event, "user.name") == "alice");
    assert_eq!(text(&allowed, "user.target.name"), "root", "{allowed}");
    assert_eq!(text(&allowed, "secmon.sudo.command"), "/usr/bin/id", "{allowed}");
    assert_eq!(text(&allowed, "secmon.cwd"), "/tmp", "{allowed}");
    assert_eq!(text(&allowed, "secmon.tty"), "pts/0", "{allowed}");
    assert_eq!(text(&allowed, "event.outcome"), "success", "{allowed}");
    session.write_stdin(b"\n");
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

    assert_eq!(site.ssh.run("root", "su alice -c true").code(), 0);
    let became = site.once("auth.su", |event| text(event, "user.name") == "root");
    assert_eq!(text(&became, "user.target.name"), "alice", "{became}");
}
