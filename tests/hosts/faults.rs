//! What the host's own services do to each other must not lose or double anything: they are restarted while
//! somebody is logged in.

use secmon_testkit::{
    host::Distribution,
    json::{number, text},
    process::Process,
    wait::eventually,
};
use serde_json::Value;

use crate::{
    sessions::id,
    site::{CLIENT, NODE, Site, port_of},
};

/// Somebody who is logged in all the time.
struct Lasting {
    process: Process,
    session: Value,
}

/// journald restarted, its files rotated, and all but the newest removed.
pub(crate) fn journald(site: &mut Site<'_>) {
    let lasting = Lasting::start(site);
    for fault in [
        &["systemctl", "restart", "systemd-journald.service"][..],
        &["journalctl", "--rotate"],
        &["journalctl", "--rotate", "--vacuum-time=1s"],
        &["journalctl", "--rotate", "--vacuum-files=1"],
    ] {
        site.a_login_is_reported_once();
        site.host.check(fault[0], &fault[1..]);
        site.a_login_is_reported_once();
        lasting.still_stands(site, fault);
    }
    site.host.check("systemctl", &["stop", "systemd-journald.service"]);
    site.a_login_is_reported_once();
    lasting.end(site);
}

/// sshd restarted: who is in stays in.
pub(crate) fn sshd(site: &mut Site<'_>) {
    let lasting = Lasting::start(site);
    let restart = ["systemctl", "restart", "ssh.service"];
    for _ in 0..2 {
        site.host.check(restart[0], &restart[1..]);
        site.a_login_is_reported_once();
        lasting.still_stands(site, &restart);
    }
    lasting.end(site);
}

/// logind restarted: it finds its sessions again, and so do we.
pub(crate) fn logind(site: &mut Site<'_>) {
    let lasting = Lasting::start(site);
    let restart = ["systemctl", "restart", "systemd-logind.service"];
    for _ in 0..2 {
        site.host.check(restart[0], &restart[1..]);
        site.a_login_is_reported_once();
        lasting.still_stands(site, &restart);
    }
    lasting.end(site);
}

/// logind stopped for good. With utmp the sessions are still seen; without, nobody can say who is there, and that
/// is said. (Its return is no part of this: systemd 257 has forgotten its sessions then, and stumbles over their
/// scopes.)
pub(crate) fn no_logind(site: &mut Site<'_>) {
    let lasting = Lasting::start(site);
    let stop = ["systemctl", "mask", "--quiet", "--runtime", "--now", "systemd-logind.service"];
    site.host.check(stop[0], &stop[1..]);
    match site.host.distribution() {
        Distribution::Debian12 => {
            let mut other = site.ssh.login("alice", "echo inside; read -r line");
            let opened = site.once("session.opened", |event| text(event, "secmon.tty") == "pts/1");
            site.wait_for_sources(id(&opened), &["utmp"]);
            other.write_stdin(b"\n");
            assert_eq!(other.finish().code(), 0);
            site.once("session.closed", |event| text(event, "secmon.tty") == "pts/1");
            lasting.still_stands(site, &stop);
            lasting.end(site);
        }
        Distribution::Debian13 => {
            let said = site.once("facet.unavailable", |event| text(event, "secmon.facet.name") == "sessions");
            assert!(text(&said, "secmon.facet.reason").contains("logind"), "{said}");
            let listed = site.hub.listed(NODE).unwrap();
            assert_eq!(text(&listed, "secmon.facets.sessions.status"), "unavailable", "{listed}");
            let closed =
                site.watch.events.iter().find(|event| text(event, "secmon.type") == "session.closed");
            assert_eq!(closed, None, "that nobody sees it is no reason to say that it has ended");
        }
    }
}

/// D-Bus restarted. systemd 252 ends logind and starts it again; logind 257 stays and is never heard again, logins
/// take 25 s each, until whoever restarted D-Bus restarts logind as well.
pub(crate) fn dbus(site: &mut Site<'_>) {
    let lasting = Lasting::start(site);
    let restart = ["systemctl", "restart", "dbus.service"];
    site.host.check(restart[0], &restart[1..]);
    if site.host.distribution() == Distribution::Debian13 {
        site.host.check("systemctl", &["restart", "systemd-logind.service"]);
    }
    site.a_login_is_reported_once();
    lasting.still_stands(site, &restart);
    lasting.end(site);
}

/// logind does not answer when the node asks for its list, and goes on later: so does the node.
pub(crate) fn stalled(site: &mut Site<'_>) {
    let systemctl = |args: &[&str]| site.host.check("systemctl", args);
    systemctl(&["kill", "--signal=STOP", "systemd-logind.service"]);
    systemctl(&["restart", "secmon-node.service"]);
    let refused = "does not list its sessions";
    eventually("the node to have given up waiting", || match site.host.distribution() {
        // utmp is there.
        Distribution::Debian12 => {
            site.host.logged_by("secmon").iter().any(|line| line.contains(refused)).then_some(())
        }
        Distribution::Debian13 => {
            let listed = site.hub.listed(NODE)?;
            text(&listed, "secmon.facets.sessions.reason").contains(refused).then_some(())
        }
    });
    systemctl(&["kill", "--signal=CONT", "systemd-logind.service"]);
    let mut session = site.ssh.start("alice", "read -r line");
    let opened = site.once("session.opened", |event| text(event, "user.name") == "alice");
    site.wait_for_sources(id(&opened), &["logind"]);
    session.write_stdin(b"\n");
    assert_eq!(session.wait().code(), 0);
    site.once("session.closed", |event| text(event, "user.name") == "alice");
}

/// Somebody sends the node the signals by which logind tells of sessions: nobody but logind is believed.
pub(crate) fn forged(site: &mut Site<'_>) {
    let lasting = Lasting::start(site);
    let logind_id = id(&lasting.session).split(':').next().unwrap().to_owned();
    let path = "/org/freedesktop/login1/session/_31";
    let clients = site.host.check("busctl", &["list", "--unique", "--no-legend"]);
    let of_node = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, _pid, process) = (words.next()?, words.next()?, words.next()?);
        (process == "secmon").then(|| format!("--destination={name}"))
    };
    let to_node = clients.lines().find_map(of_node).unwrap_or_else(|| panic!("{clients}"));
    let manager = ["/org/freedesktop/login1", "org.freedesktop.login1.Manager"];
    let driver = ["/org/freedesktop/DBus", "org.freedesktop.DBus"];
    let signals: [(&[&str], &[&str]); 3] = [
        (&manager, &["SessionRemoved", "so", &logind_id, path]),
        (&manager, &["SessionNew", "so", "99", path]),
        (&driver, &["NameOwnerChanged", "sss", "org.freedesktop.login1", ":1.1", ""]),
    ];
    for (of, signal) in signals {
        let mut args = vec!["--user", "alice", "--", "busctl", &to_node, "emit"];
        args.extend(of.iter().chain(signal));
        site.host.check("runuser", &args);
        site.a_login_is_reported_once();
        lasting.still_stands(site, signal);
    }
    lasting.end(site);
}

impl Lasting {
    #[track_caller]
    fn start(site: &mut Site<'_>) -> Self {
        let process = site.ssh.login("alice", "echo inside; read -r line");
        let session = site.once("session.opened", |event| {
            text(event, "user.name") == "alice" && text(event, "secmon.tty") == "pts/0"
        });
        Self { process, session }
    }

    /// Its session is in the list, as it was, and nobody said that it was closed.
    #[track_caller]
    fn still_stands(&self, site: &Site<'_>, fault: &[&str]) {
        let id = id(&self.session);
        site.hub.wait_for_facet(NODE, "sessions", "ready");
        let sessions = site.sessions();
        let mine = sessions.iter().find(|session| text(session, "id") == id);
        let mine = mine.unwrap_or_else(|| panic!("{id} is gone after {fault:?}: {sessions:#?}"));
        assert_eq!(text(mine, "since"), text(&self.session, "secmon.session.since"), "{mine}");
        let closed = |event: &&Value| text(event, "secmon.type") == "session.closed" && self::id(event) == id;
        assert_eq!(site.watch.events.iter().find(closed), None, "{fault:?}");
    }

    #[track_caller]
    fn end(mut self, site: &mut Site<'_>) {
        self.process.write_stdin(b"\n");
        assert_eq!(self.process.finish().code(), 0);
        let mine = id(&self.session).to_owned();
        site.once("session.closed", move |event| self::id(event) == mine);
        site.wait_for_sessions(0);
    }
}

impl Site<'_> {
    /// Somebody logs in and out; each line of it is reported, and so is the session.
    #[track_caller]
    pub(crate) fn a_login_is_reported_once(&mut self) {
        let before = self.watch.events.len();
        let port = port_of(&self.ssh.run("alice", "echo $SSH_CONNECTION"));
        for kind in ["auth.accepted", "auth.disconnected"] {
            let event = self.once(kind, move |event| number(event, "source.port") == Some(port));
            assert_eq!(text(&event, "user.name"), "alice", "{event}");
            assert_eq!(text(&event, "source.ip"), CLIENT, "{event}");
        }
        let alice = |event: &Value| text(event, "user.name") == "alice";
        let opened = self.watch.find_after(before, "session.opened", alice);
        let mine = id(&opened).to_owned();
        self.once("session.closed", move |event| id(event) == mine);
    }
}
