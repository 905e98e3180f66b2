//! What a node sees that is not root, by the shipped unit: all that root's sees, but for what `node --check` names.

use secmon_testkit::{json::text, wait::eventually};
use serde_json::Value;

use crate::{
    faults, restarts,
    sessions::{self, id},
    site::{NODE, Site, port_of},
    units::{self, NODE_UNIT},
};

/// CAP_NET_ADMIN of capabilities(7), as /proc shows it.
const NET_ADMIN_ALONE: &str = "0000000000001000";

const FACETS: [&str; 3] = ["sessions", "auth_log", "wg_peers"];

/// Root's node gives way to the shipped one, while somebody is logged in.
pub(crate) fn sees(site: &mut Site<'_>) {
    let mut lasting = site.ssh.login("alice", "echo inside; read -r line");
    let opened = site.once("session.opened", |event| text(event, "secmon.tty") == "pts/0");
    site.settle();
    site.wait_for_sessions(1);
    let (facets, sessions) = (facets(site), site.sessions());
    site.give_up_root();
    site.wait_for_sessions(1);
    assert_eq!(self::facets(site), facets, "as the other user it sees as much");
    assert_eq!(site.sessions(), sessions);

    site.a_login_is_reported_once();
    let denied = site.ssh.run("alice", "echo wrong | sudo -S /usr/bin/env");
    assert_eq!(denied.code(), 1, "{denied}");
    let denied = site.once("auth.sudo_denied", |event| text(event, "user.name") == "alice");
    // Who wrote a line is looked up in what only journald tells, whoever asks.
    assert_eq!(denied["secmon"]["trusted"], Value::Bool(true), "{denied}");
    lasting.write_stdin(b"\n");
    assert_eq!(lasting.finish().code(), 0);
    let mine = id(&opened).to_owned();
    site.once("session.closed", move |event| id(event) == mine);

    is_somebody_with_one_capability(site);
    let checked = site.host.run("sh", &["-c", &units::asking()]);
    assert_eq!(checked.code(), 0, "{checked}");
    assert!(checked.out().contains("Nothing is lacking."), "{checked}");
    let log = site.host.check("journalctl", &["--quiet", "--output=cat", "--unit", NODE_UNIT]);
    assert!(!log.contains("does not see everything"), "{log}");
}

/// Set up anew by the lines of the documentation, with the auth log in a file.
pub(crate) fn joins(site: &mut Site<'_>) {
    site.host.check("systemctl", &["disable", "--quiet", "--now", NODE_UNIT]);
    site.host.check("rm", &["-r", "/var/lib/secmon", &format!("/etc/systemd/system/{NODE_UNIT}")]);
    site.host.write("/etc/secmon/secmon.toml", 0o644, "[auth]\nsource = \"file\"\n");
    // As rsyslog makes it on Debian.
    let log = "/var/log/auth.log";
    site.host.check("install", &["-m", "640", "-o", "root", "-g", "adm", "/dev/null", log]);
    let output = site.hub.client(&["enroll", NODE, "--replace"]);
    let token = output.out().trim().trim_start_matches("secmon node --join ").to_owned();

    let lines = units::joining();
    let [before @ .., join] = &lines[..] else { panic!("no line that joins") };
    for line in before {
        site.host.check("sh", &["-c", line]);
    }
    let joining = site.host.spawn("sh", &["-c", &format!("exec {}", join.replace("TOKEN", &token))]);
    site.hub.wait_for_node(NODE, "online");
    joining.terminate();
    site.hub.wait_for_node(NODE, "away");
    units::write_units(site.host);
    site.enable_units();

    let line = "2026-01-02T03:04:05.678901+00:00 web1 sshd[4711]: Accepted password for carol from 192.0.2.7 port 4242 ssh2";
    site.host.check("sh", &["-c", &format!("echo '{line}' >>{log}")]);
    let accepted = site.watch.find_user("auth.accepted", "carol");
    assert_eq!(text(&accepted, "source.ip"), "192.0.2.7", "{accepted}");
    // Rotated as logrotate does, and written again.
    site.host.check("mv", &[log, "/var/log/auth.log.1"]);
    site.host.check("install", &["-m", "640", "-o", "root", "-g", "adm", "/dev/null", log]);
    site.host.check("sh", &["-c", &format!("echo '{}' >>{log}", line.replace("carol", "dave"))]);
    site.watch.find_user("auth.accepted", "dave");

    // The end of the scenario is a login that is read from the journal again.
    site.host.check("rm", &["/etc/secmon/secmon.toml"]);
    site.host.check("systemctl", &["restart", NODE_UNIT]);
    site.hub.wait_for_facet(NODE, "auth_log", "ready");
    let port = port_of(&site.ssh.run("alice", "echo $SSH_CONNECTION"));
    site.once("auth.accepted", move |event| secmon_testkit::json::number(event, "source.port") == Some(port));
}

/// An interface of WireGuard in user space, whose socket is root's: root's node sees its peer, the other says that
/// it cannot, and so does `node --check`.
pub(crate) fn lacks(site: &mut Site<'_>) {
    let facet = site.hub.wait_for_facet(NODE, "wg_peers", "ready");
    assert_eq!(facet["count"], 0, "{facet}");
    // What speaks there is none of wireguard-go's, but the socket is made as that does: mode 0600, of root's.
    let key = "0123456789abcdef".repeat(4);
    site.host.write(
        "/etc/systemd/system/tunnel@.service",
        0o644,
        &format!(
            "[Service]\nStandardInput=socket\nExecStart=/bin/sh -c \
             'read -r line; printf \"public_key={key}\\nerrno=0\\n\\n\"'\n"
        ),
    );
    site.host.write(
        "/etc/systemd/system/tunnel.socket",
        0o644,
        "[Socket]\nListenStream=/run/wireguard/wg0.sock\nSocketMode=0600\nAccept=yes\nTriggerLimitBurst=0\n",
    );
    site.host.check("systemctl", &["daemon-reload"]);
    site.host.check("systemctl", &["start", "tunnel.socket"]);
    eventually("its peer", || (site.facet("wg_peers").1 == Some(1)).then_some(()));

    site.give_up_root();
    let facet = site.hub.wait_for_facet(NODE, "wg_peers", "unavailable");
    assert!(text(&facet, "reason").contains("wg0"), "{facet}");
    let checked = site.host.run("sh", &["-c", &units::asking()]);
    assert_eq!(checked.code(), 1, "{checked}");
    let lacking: Vec<_> =
        checked.out().lines().filter(|line| line.contains("✗ NO")).map(str::to_owned).collect();
    assert_eq!(lacking.len(), 1, "{checked}");
    assert!(lacking[0].contains("WireGuard in user space"), "{checked}");
    // It says so at its start as well, in the same words.
    site.wait_for_log_of(NODE_UNIT, "this node does not see everything");

    site.host.check("systemctl", &["stop", "tunnel.socket"]);
    site.host.check("rm", &["-f", "/run/wireguard/wg0.sock"]);
    site.hub.wait_for_facet(NODE, "wg_peers", "ready");
}

/// What is promised of root's node over faults of the system is promised of this one.
pub(crate) fn journald(site: &mut Site<'_>) {
    site.give_up_root();
    faults::journald(site);
}

pub(crate) fn logind(site: &mut Site<'_>) {
    site.give_up_root();
    faults::logind(site);
}

pub(crate) fn killed(site: &mut Site<'_>) {
    site.give_up_root();
    restarts::killed(site);
}

pub(crate) fn console(site: &mut Site<'_>) {
    site.give_up_root();
    sessions::console(site);
}

/// `/proc` that hides what others run, and the group that it does not hide it from.
pub(crate) fn hidden(site: &mut Site<'_>) {
    site.give_up_root();
    site.host.check("groupadd", &["--gid", "4242", "procs"]);
    site.host.check("mount", &["-o", "remount,hidepid=2,gid=4242", "/proc"]);
    let checked = site.host.run("sh", &["-c", &units::asking()]);
    assert_eq!(checked.code(), 1, "{checked}");
    let out = checked.out();
    assert!(out.contains("✗ NO    processes of others") && out.contains("hidepid"), "{checked}");

    site.host.write(
        &format!("/etc/systemd/system/{NODE_UNIT}.d/procs.conf"),
        0o644,
        "[Service]\nSupplementaryGroups=procs\n",
    );
    site.host.check("systemctl", &["daemon-reload"]);
    site.host.check("systemctl", &["restart", NODE_UNIT]);
    let asking = units::asking().replace("journal utmp", "journal utmp procs");
    let checked = site.host.run("sh", &["-c", &asking]);
    assert_eq!(checked.code(), 0, "{checked}");
    site.hub.wait_for_facet(NODE, "auth_log", "ready");
    site.hub.wait_for_facet(NODE, "sessions", "ready");
    sessions::with_and_without_a_terminal(site);
}

#[track_caller]
fn facets(site: &Site<'_>) -> Vec<(String, Option<i64>)> {
    for facet in FACETS {
        eventually("the facet to be known", || (site.facet(facet).0 != "pending").then_some(()));
    }
    FACETS.map(|facet| site.facet(facet)).into()
}

#[track_caller]
fn is_somebody_with_one_capability(site: &Site<'_>) {
    let pid = site.property(NODE_UNIT, "MainPID");
    let status = site.host.check("cat", &[&format!("/proc/{pid}/status")]);
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_once(':').unwrap().1.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let uid = site.host.check("id", &["-u", "secmon"]);
    assert_eq!(field("Uid:"), vec![uid; 4], "{status}");
    for set in ["CapEff:", "CapPrm:", "CapBnd:"] {
        assert_eq!(field(set), [NET_ADMIN_ALONE], "{status}");
    }
    assert_eq!(field("NoNewPrivs:"), ["1"], "{status}");
}
