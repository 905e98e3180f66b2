//! The runner by its shipped unit: who runs as whom, who may ask, and what is gone afterwards.

use std::fs;

use nix::sys::signal::Signal;
use secmon_testkit::{
    json::{at, text},
    wait::eventually,
};
use serde_json::Value;

use crate::{
    site::{self, NODE, Site},
    units::{self, ALLOWLIST, NODE_UNIT, RUNNER_UNIT},
};

const SOCKET: &str = "/run/secmon-runner/runner.sock";

/// As whom commands run, who else may ask, and whose file counts.
pub(crate) fn as_whom(site: &mut Site<'_>) {
    site.host.check("usermod", &["--append", "--groups", "games,adm", "alice"]);
    site.host.write("/etc/sudoers.d/alice", 0o440, "alice ALL=(ALL) NOPASSWD: /usr/bin/id\n");
    site.with_runner(
        "[commands.root]\nrun = [\"id\"]\n\
         [commands.alice]\nrun = [\"id\"]\nuser = \"alice\"\n\
         [commands.powers]\nrun = [\"grep\", \"Cap\", \"/proc/self/status\"]\nuser = \"alice\"\n\
         [commands.sudo]\nrun = [\"sudo\", \"-n\", \"/usr/bin/id\", \"-u\"]\nuser = \"alice\"\n\
         [commands.env]\nrun = [\"env\"]\n\
         [commands.restart]\nrun = [\"systemctl\", \"restart\", \"ssh.service\"]\n\
         [commands.nobody]\nrun = [\"id\"]\nuser = \"no-such-user\"\n",
    );
    assert!(site.runs("root").starts_with("uid=0(root) gid=0(root) groups=0(root)"));
    // As a login of hers has it.
    assert_eq!(site.runs("alice"), site.host.check("runuser", &["-u", "alice", "--", "id"]) + "\n");
    let powers = site.runs("powers");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        let line = powers.lines().find(|line| line.starts_with(set)).unwrap();
        assert!(line.ends_with("\t0000000000000000"), "{powers}");
    }
    let missing = site.run("nobody");
    assert_eq!(missing.code(), 125, "{missing}");
    assert!(missing.err().contains("no-such-user"), "{missing}");

    // What systemd and the unit gave the runner is not a command's; what its user may do, it may do.
    assert_eq!(site.runs("env"), "");
    assert_eq!(site.runs("sudo"), "0\n");
    let before = site.property("ssh.service", "MainPID");
    site.runs("restart");
    assert_ne!(site.property("ssh.service", "MainPID"), before);

    others_are_kept_out(site);

    for (mode, is_refused) in [("0664", true), ("0644", false), ("0600", false)] {
        site.host.check("chmod", &[mode, ALLOWLIST]);
        let output = site.run("root");
        assert_eq!(output.code(), if is_refused { 125 } else { 0 }, "{output}");
        if is_refused {
            assert!(output.err().contains("0664") && output.err().contains("chmod go-w"), "{output}");
            site.wait_for_log_of(RUNNER_UNIT, "chmod go-w");
        }
    }
    site.host.check("chown", &["alice:", ALLOWLIST]);
    let output = site.run("root");
    assert_eq!(output.code(), 125, "{output}");
    assert!(output.err().contains("chown 0"), "{output}");
    // Nor may the node's own user, who is not whoever starts the commands.
    site.host.check("chown", &["secmon:", ALLOWLIST]);
    assert_eq!(site.run("root").code(), 125);
    site.host.check("chown", &["root:", ALLOWLIST]);
    site.runs("root");

    // None of these is somebody who has logged in.
    site.settle();
    let is_hers = |event: &&Value| text(event, "user.name") == "alice";
    let mut sessions =
        site.watch.events.iter().filter(|event| text(event, "secmon.type").starts_with("session."));
    assert_eq!(sessions.find(is_hers), None);
}

/// ssh-add connects to any Unix socket that it is told is an agent's.
fn others_are_kept_out(site: &Site<'_>) {
    let knock = ["-u", "alice", "--", "env", "SSH_AUTH_SOCK=/run/secmon-runner/runner.sock", "ssh-add", "-l"];
    let owner = ["--format=%a %U", SOCKET];
    assert_eq!(site.host.check("stat", &owner), "600 secmon");
    let refused = site.host.run("runuser", &knock);
    assert!(refused.err().contains("Permission denied"), "{refused}");
    // Also where somebody has opened the file to all: the kernel says who is there.
    site.host.check("chmod", &["666", SOCKET]);
    let refused = site.host.run("runuser", &knock);
    assert!(!refused.err().contains("Permission denied"), "{refused}");
    let alice = site.host.check("id", &["-u", "alice"]);
    site.wait_for_log_of(RUNNER_UNIT, &format!("uid {alice} may not use this runner"));
    site.runs("root");
}

/// `sleep 1001` is what leaves its run: by a session of its own, as a child of the first process.
const DAEMONS: &str = r#"
[commands.leaves]
run = ["sh", "-c", "(setsid setsid sleep 1001 < /dev/null > /dev/null 2>&1 &); echo here; while ! pgrep -x sleep > /dev/null; do :; done"]
env = { PATH = "/usr/bin:/bin" }

[commands.timeout]
run = ["sh", "-c", "(setsid setsid sleep 1001 < /dev/null > /dev/null 2>&1 &); echo here; exec sleep 1002"]
timeout = "2s"

[commands.stays]
run = ["sh", "-c", "(setsid setsid sleep 1001 < /dev/null > /dev/null 2>&1 &); echo here; exec sleep 1002"]
timeout = "10m"

[commands.ignores]
run = ["sh", "-c", "trap '' TERM; (setsid setsid sleep 1001 < /dev/null > /dev/null 2>&1 &); echo here; exec sleep 1002"]
timeout = "10m"
user = "alice"
"#;

/// What begins a session of its own is gone after the end of its run, whichever end that is.
pub(crate) fn daemons(site: &mut Site<'_>) {
    site.with_runner(DAEMONS);
    site.runs("leaves");
    site.nothing_is_left("its own end");

    let timeout = site.hub.spawn_client(&["run", NODE, "timeout"]);
    site.daemon_is_in_a_group();
    let ended = timeout.finish();
    assert_eq!(ended.code(), 124, "{ended}");
    site.nothing_is_left("its timeout");

    for label in ["stays", "ignores"] {
        let client = site.start(label);
        site.daemon_is_in_a_group();
        client.terminate();
        site.nothing_is_left("its client's end");
    }

    let client = site.start("ignores");
    site.daemon_is_in_a_group();
    site.host.check("systemctl", &["stop", RUNNER_UNIT]);
    // systemctl has waited for the end of the unit: nothing may be on its way.
    assert_eq!(site.processes("sleep 100[12]"), [0; 0]);
    let ended = client.finish();
    assert_eq!(ended.code(), 125, "{ended}");
    site.nothing_is_left("the end of the runner");
    assert_eq!(site.property(RUNNER_UNIT, "Result"), "success");
    let away = site.run("leaves");
    assert_eq!(away.code(), 125, "{away}");
    site.host.check("systemctl", &["start", RUNNER_UNIT]);
    site.wait_for_commands();
    site.runs("leaves");

    let client = site.start("ignores");
    site.daemon_is_in_a_group();
    site.host.check("systemctl", &["kill", "--kill-who=main", "--signal=KILL", RUNNER_UNIT]);
    let ended = client.finish();
    assert_eq!(ended.code(), 125, "{ended}");
    assert!(ended.err().contains("runner"), "{ended}");
    eventually("systemd to start it again", || {
        let active = site.property(RUNNER_UNIT, "ActiveState") == "active";
        (active && site.property(RUNNER_UNIT, "NRestarts") == "1").then_some(())
    });
    site.wait_for_commands();
    site.nothing_is_left("the death of the runner");
    site.runs("leaves");
    site.nothing_is_left("its own end");
}

impl Site<'_> {
    /// What has left its run's session is in a control group of the run, below the runner's.
    #[track_caller]
    fn daemon_is_in_a_group(&self) {
        let daemon = eventually("what leaves its run", || self.processes("sleep 1001").pop());
        let groups = self.groups_of_runs();
        assert_eq!(groups.len(), 1, "{groups:?}");
        let name = groups[0].file_name().unwrap().to_str().unwrap();
        let group = self.host.check("cat", &[&format!("/proc/{daemon}/cgroup")]);
        let wanted = format!("/system.slice/{RUNNER_UNIT}/{name}");
        assert!(group.lines().any(|line| line == format!("0::{wanted}")), "{group}");
    }

    /// No process, and no control group, of any run.
    #[track_caller]
    fn nothing_is_left(&self, after: &str) {
        eventually(&format!("all to be gone after {after}"), || {
            (self.processes("sleep 100[12]").is_empty() && self.groups_of_runs().is_empty()).then_some(())
        });
    }
}

/// The allowlist is changed, broken, mended, and read again on a reload.
pub(crate) fn reloads(site: &mut Site<'_>) {
    let entry = |label: &str| format!("[commands.{label}]\nrun = [\"id\", \"-u\"]\n");
    let shows = |site: &Site<'_>, labels: &[&str]| {
        eventually(&format!("the hub to know {labels:?}"), || (site.labels() == labels).then_some(()));
    };
    site.with_runner(&entry("one"));
    shows(site, &["one"]);
    // Written over, and put in its place whole, as editors and package managers do.
    site.host.write(ALLOWLIST, 0o644, &entry("two"));
    shows(site, &["two"]);
    site.host.write(&format!("{ALLOWLIST}.new"), 0o644, &format!("{}{}", entry("one"), entry("two")));
    site.host.check("mv", &[&format!("{ALLOWLIST}.new"), ALLOWLIST]);
    shows(site, &["one", "two"]);

    site.host.write(ALLOWLIST, 0o644, &entry("one").replace("run", "rnu"));
    shows(site, &[]);
    let broken = site.run("one");
    assert_eq!(broken.code(), 125, "{broken}");
    assert!(broken.err().contains("rnu") && broken.err().contains("line 2"), "{broken}");
    site.wait_for_log_of(RUNNER_UNIT, "rnu");
    site.host.write(ALLOWLIST, 0o644, &entry("one"));
    shows(site, &["one"]);

    // That a folder above it can be written by others is no change of the file.
    let pid = site.property(RUNNER_UNIT, "MainPID");
    for (mode, labels) in [("0775", &[][..]), ("0755", &["one"])] {
        site.host.check("chmod", &[mode, "/etc/secmon"]);
        site.host.check("systemctl", &["reload", RUNNER_UNIT]);
        shows(site, labels);
    }
    site.wait_for_log_of(RUNNER_UNIT, "SIGHUP");
    assert_eq!(site.property(RUNNER_UNIT, "MainPID"), pid, "it is the same process");
    assert_eq!(site.runs("one"), "0\n");

    // Taken away, and back.
    site.host.check("rm", &[ALLOWLIST]);
    shows(site, &[]);
    assert_eq!(site.run("one").code(), 125);
    site.host.write(ALLOWLIST, 0o644, &entry("two"));
    shows(site, &["two"]);
}

/// `gated` writes down each start, and goes on until it is ended.
const GATED: &str = r#"
[commands.gated]
run = ["sh", "-c", "echo start >> /run/starts; (setsid setsid sleep 1001 < /dev/null > /dev/null 2>&1 &); echo here; exec sleep 1002"]
timeout = "10m"
"#;

/// A detached job runs while the node, or its runner, is restarted, or killed: it ends, is told as lost, and is not
/// started again.
pub(crate) fn jobs(site: &mut Site<'_>) {
    site.with_runner(GATED);
    let ways: [(&[&str], &str); 4] = [
        (&["systemctl", "restart", NODE_UNIT], "stopping"),
        (&["systemctl", "restart", RUNNER_UNIT], "stopping"),
        (&["systemctl", "kill", "--kill-who=main", "--signal=KILL", NODE_UNIT], ""),
        (&["systemctl", "kill", "--kill-who=main", "--signal=KILL", RUNNER_UNIT], "runner"),
    ];
    for (starts, (way, words)) in (1..).zip(ways) {
        let job = site.detach("gated");
        site.daemon_is_in_a_group();
        site.host.check(way[0], &way[1..]);
        let lost = site.wait_for_job(&job, "lost");
        assert!(at(&lost, "process.exit_code").is_none(), "{way:?}: {lost}");
        site.nothing_is_left(&format!("{way:?}"));
        let finished = site.once_of_job("command.finished", &job);
        assert_eq!(at(&finished, "secmon.command.detached"), Some(&Value::Bool(true)), "{finished}");
        assert!(text(&finished, "secmon.command.message").contains(words), "{way:?}: {finished}");
        site.hub.wait_for_node(NODE, "online");
        site.wait_for_commands();
        let output = site.hub.client(&["job", "output", &job]);
        assert_eq!(output.out(), "here\n", "{way:?}: {output}");
        let all = fs::read_to_string(site.host.path("/run/starts")).unwrap();
        assert_eq!(all.lines().count(), starts, "{way:?}");
    }
}

/// The hub's documented unit on the same server: neither takes the other's socket away, or changes whose it is,
/// whichever stops and starts.
pub(crate) fn beside_a_hub(site: &mut Site<'_>) {
    site.with_runner("[commands.root]\nrun = [\"id\", \"-u\"]\n");
    const HUB_UNIT: &str = "secmon-hub.service";
    let unit = site::block_of("    Description=secmon hub\n");
    let user = unit.iter().find_map(|line| line.strip_prefix("User=")).unwrap();
    if site.host.run("id", &[user]).code() != 0 {
        site.host.check("useradd", &["--system", user]);
    }
    site.host.write(&format!("/etc/systemd/system/{HUB_UNIT}"), 0o644, &unit.join("\n"));
    let serves = || {
        eventually("the hub to answer", || {
            (site.host.run("secmon", &["list", "--json"]).code() == 0).then_some(())
        });
        site.host.check("stat", &["--format=%a %U %G", "/run/secmon/hub.sock"])
    };
    site.host.check("systemctl", &["daemon-reload"]);
    site.host.check("systemctl", &["start", HUB_UNIT]);
    let owner = serves();
    assert_eq!(owner, format!("660 {user} {user}"));
    let ways: [&[&str]; 4] =
        [&["restart", RUNNER_UNIT], &["restart", NODE_UNIT], &["restart", HUB_UNIT], &["stop", HUB_UNIT]];
    for way in ways {
        site.host.check("systemctl", way);
        if way[0] != "stop" {
            assert_eq!(serves(), owner, "{way:?}");
        }
        // Whoever looks for the runner now finds it.
        site.host.check("systemctl", &["restart", NODE_UNIT]);
        eventually(&format!("a run after {way:?}"), || (site.run("root").code() == 0).then_some(()));
        assert_eq!(site.host.check("stat", &["--format=%a %U", SOCKET]), "600 secmon", "{way:?}");
    }
    // As at a boot: the node brings its runner.
    site.host.check("systemctl", &["stop", NODE_UNIT, RUNNER_UNIT]);
    assert!(!site.host.path("/run/secmon-runner").exists());
    site.host.check("systemctl", &["start", NODE_UNIT]);
    eventually("a run after the start of the node", || (site.run("root").code() == 0).then_some(()));
}

const STUCK: &str = r#"
[commands.flood]
run = ["sh", "-c", "echo here; exec yes 1001"]
timeout = "10m"

[commands.brief]
run = ["echo", "done"]
"#;

/// A client that does not read, and a runner that does nothing, hold up nobody but themselves.
pub(crate) fn stuck(site: &mut Site<'_>) {
    site.with_runner(STUCK);
    for unit in [RUNNER_UNIT, NODE_UNIT] {
        let client = site.start("flood");
        client.signal(Signal::SIGSTOP);
        site.a_login_is_reported_once();
        assert_eq!(site.runs("brief"), "done\n");
        site.host.check("systemctl", &["restart", unit]);
        assert_eq!(site.processes("yes 1001"), [0; 0], "{unit}");
        assert_eq!(site.property(unit, "Result"), "success", "it was not killed");
        client.signal(Signal::SIGCONT);
        let ended = client.finish();
        assert_eq!(ended.code(), 125, "{unit}: {}", ended.err());
        site.hub.wait_for_node(NODE, "online");
        site.wait_for_commands();
    }

    let runner = ["kill", "--kill-who=main", RUNNER_UNIT];
    site.host.check("systemctl", &[&runner[..], &["--signal=STOP"]].concat());
    site.a_login_is_reported_once();
    let client = site.hub.spawn_client(&["run", NODE, "brief"]);
    site.a_login_is_reported_once();
    // A first one waits for the command's end, which the runner will not tell of.
    eventually("its end by a second Ctrl-C", || {
        client.signal(Signal::SIGINT);
        (!client.is_running()).then_some(())
    });
    assert_eq!(client.wait().code(), 130);
    site.host.check("systemctl", &[&runner[..], &["--signal=CONT"]].concat());
    eventually("a run", || (site.run("brief").code() == 0).then_some(()));
}

/// What systemd itself thinks of the units.
pub(crate) fn verified(site: &mut Site<'_>) {
    site.host.check("sh", &["-c", &units::joining()[0]]);
    units::write_units(site.host);
    let files = [NODE_UNIT, RUNNER_UNIT].map(|unit| format!("/etc/systemd/system/{unit}"));
    let verified = site.host.run("systemd-analyze", &["verify", "--man=no", &files[0], &files[1]]);
    assert_eq!(verified.code(), 0, "{verified}");
    let about_ours = verified.err().lines().filter(|line| line.contains("secmon")).count();
    assert_eq!(about_ours, 0, "{verified}");
    // In tenths; docs/operating.md quotes it.
    let limit = ["security", "--no-pager", "--threshold=20", NODE_UNIT];
    let rated = site.host.run("systemd-analyze", &limit);
    assert_eq!(rated.code(), 0, "{rated}");
}
