//! Who is logged in: each login is one session, whoever else saw it, and each session opens and closes once.

use std::collections::BTreeSet;

use secmon_testkit::{
    host::Distribution,
    json::{number, text},
    process::Process,
    wait::eventually,
};
use serde_json::Value;

use crate::site::{CLIENT, NODE, PASSWORD, Site};

/// How many people log in at once.
const MANY: usize = 20;

/// The same user from the same place, again and again: each login is a session that names all who saw it.
pub(crate) fn again(site: &mut Site<'_>) {
    for _ in 0..4 {
        let before = site.watch.events.len();
        let mut session = site.ssh.login("alice", "echo inside; read -r line");
        let opened =
            site.watch.find_after(before, "session.opened", |event| text(event, "secmon.tty") == "pts/0");
        site.wait_for_sources(id(&opened), sources_with_a_terminal(site));
        session.write_stdin(b"\n");
        assert_eq!(session.wait().code(), 0);
        let mine = id(&opened).to_owned();
        site.once("session.closed", move |event| id(event) == mine);
    }
}

/// Who sees an ssh login with a terminal.
fn sources_with_a_terminal(site: &Site<'_>) -> &'static [&'static str] {
    match site.host.distribution() {
        Distribution::Debian12 => &["utmp", "logind"],
        Distribution::Debian13 => &["logind", "wtmpdb"],
    }
}

/// One at a terminal, one without.
pub(crate) fn with_and_without_a_terminal(site: &mut Site<'_>) {
    let mut terminal = site.ssh.login("alice", "read -r line");
    let opened = site.once("session.opened", |event| text(event, "secmon.tty") == "pts/0");
    is_over_ssh_by_alice(&opened);
    site.is_of_now(text(&opened, "secmon.session.since"));
    assert_eq!(text(&opened, "secmon.session.kind"), "interactive", "{opened}");
    // Two sources saw it, and it is one session.
    site.wait_for_sources(id(&opened), sources_with_a_terminal(site));

    let mut silent = site.ssh.start("alice", "read -r line");
    let other = site.once("session.opened", |event| {
        text(event, "user.name") == "alice" && text(event, "secmon.tty").is_empty()
    });
    is_over_ssh_by_alice(&other);
    assert_eq!(text(&other, "secmon.session.kind"), "background", "{other}");
    site.wait_for_sources(id(&other), &["logind"]);
    site.wait_for_sessions(2);

    for (session, opened) in [(&mut terminal, &opened), (&mut silent, &other)] {
        let mine = id(opened).to_owned();
        session.write_stdin(b"\n");
        assert_eq!(session.wait().code(), 0);
        let closed = site.once("session.closed", move |event| id(event) == mine);
        is_over_ssh_by_alice(&closed);
        assert_eq!(text(&closed, "secmon.tty"), text(opened, "secmon.tty"), "{closed}");
        assert_eq!(text(&closed, "secmon.session.since"), text(opened, "secmon.session.since"), "{closed}");
    }
    site.wait_for_sessions(0);
}

/// A session that is over before anybody could look.
pub(crate) fn short(site: &mut Site<'_>) {
    for terminal in [true, false] {
        let before = site.watch.events.len();
        let session =
            if terminal { site.ssh.login("alice", "true") } else { site.ssh.start("alice", "true") };
        assert_eq!(session.finish().code(), 0);
        let opened =
            site.watch.find_after(before, "session.opened", |event| text(event, "user.name") == "alice");
        let mine = id(&opened).to_owned();
        site.once("session.closed", move |event| id(event) == mine);
    }
}

/// Many at once, half of them at terminals.
pub(crate) fn many(site: &mut Site<'_>) {
    // By default sshd turns strangers away when there are ten.
    site.host.write("/etc/ssh/sshd_config.d/many.conf", 0o644, "MaxStartups 100\n");
    site.host.check("systemctl", &["restart", "ssh.service"]);
    let login = |n: usize| {
        let remote = "read -r line";
        if n.is_multiple_of(2) { site.ssh.login("alice", remote) } else { site.ssh.start("alice", remote) }
    };
    let mut sessions: Vec<Process> = (0..MANY).map(login).collect();
    let opened = site.ids_of("session.opened", MANY);
    site.wait_for_sessions(MANY as i64);
    for session in &mut sessions {
        session.write_stdin(b"\n");
    }
    for session in sessions {
        assert_eq!(session.finish().code(), 0);
    }
    let closed = site.ids_of("session.closed", MANY);
    assert_eq!(opened, closed);
    site.wait_for_sessions(0);
    for kind in ["auth.accepted", "auth.disconnected"] {
        let ports = |events: &[Value]| -> Vec<i64> {
            let of_alice =
                events.iter().filter(|event| text(event, "user.name") == "alice" && is(event, kind));
            of_alice.filter_map(|event| number(event, "source.port")).collect()
        };
        site.watch.find_in_all(kind, |events| (ports(events).len() >= MANY).then_some(()));
        site.settle();
        let ports = ports(&site.watch.events);
        assert_eq!(ports.len(), MANY, "{kind}");
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), MANY, "{kind}: each has a port of its own");
    }
}

/// Root at the console: getty, login, a shell.
pub(crate) fn console(site: &mut Site<'_>) {
    let mut console = site.host.console();
    console.login("root", PASSWORD);
    let opened = site.once("session.opened", |event| text(event, "secmon.tty") == "console");
    assert_eq!(text(&opened, "user.name"), "root", "{opened}");
    assert_eq!(text(&opened, "secmon.session.kind"), "interactive", "{opened}");
    assert_eq!(text(&opened, "secmon.session.service"), "login", "{opened}");
    assert!(opened.get("source").is_none(), "it came from nowhere: {opened}");
    let sources = match site.host.distribution() {
        Distribution::Debian12 => ["logind", "utmp"],
        Distribution::Debian13 => ["logind", "wtmpdb"],
    };
    site.wait_for_sources(id(&opened), &sources);
    let accepted = site.once("auth.accepted", |event| text(event, "process.name") == "login");
    assert_eq!(text(&accepted, "user.name"), "root", "{accepted}");
    assert_eq!(text(&accepted, "secmon.tty"), "console", "{accepted}");

    console.type_line("exit");
    let mine = id(&opened).to_owned();
    site.once("session.closed", move |event| id(event) == mine);
    // The getty that comes next is nobody's session.
    console.wait_for("login: ");
    site.wait_for_sessions(0);

    console.type_line("root");
    console.wait_for("assword: ");
    console.type_line("wrong");
    console.wait_for("incorrect");
    let failed = site.once("auth.failed", |event| text(event, "process.name") == "login");
    assert_eq!(text(&failed, "user.name"), "root", "{failed}");
}

/// What is done inside of a session is no login: su, sudo, a second terminal.
pub(crate) fn inside(site: &mut Site<'_>) {
    site.host.write("/etc/sudoers.d/alice", 0o440, "alice ALL=(ALL) NOPASSWD: ALL\n");
    let remote = "sudo -i sh -c 'su - alice -c \"read -r line\"'";
    let mut session = site.ssh.login("alice", remote);
    let opened = site.once("session.opened", |event| text(event, "user.name") == "alice");
    site.once("auth.su", |_| true);
    site.wait_for_sessions(1);
    session.write_stdin(b"\n");
    assert_eq!(session.finish().code(), 0);
    let mine = id(&opened).to_owned();
    site.once("session.closed", move |event| id(event) == mine);
    site.wait_for_sessions(0);
}

#[track_caller]
fn is_over_ssh_by_alice(event: &Value) {
    assert_eq!(text(event, "user.name"), "alice", "{event}");
    assert_eq!(text(event, "source.ip"), CLIENT, "{event}");
    assert_eq!(text(event, "secmon.session.service"), "sshd", "{event}");
    assert!(number(event, "secmon.session.leader").is_some_and(|pid| pid > 1), "{event}");
}

fn is(event: &Value, kind: &str) -> bool {
    text(event, "secmon.type") == kind
}

/// The id of the session that an event is about.
pub(crate) fn id(event: &Value) -> &str {
    text(event, "secmon.session.id")
}

impl Site<'_> {
    /// The sessions of the node, as `show` has them.
    #[track_caller]
    pub(crate) fn sessions(&self) -> Vec<Value> {
        let shown = self.hub.json(&["show", NODE]).remove(0);
        shown["secmon"]["sessions"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until the node has so many sessions.
    #[track_caller]
    pub(crate) fn wait_for_sessions(&self, count: i64) {
        eventually(&format!("{count} sessions in the list"), || {
            let facet = self.hub.wait_for_facet(NODE, "sessions", "ready");
            (number(&facet, "count") == Some(count)).then_some(())
        });
    }

    /// Waits until a session is reported by exactly these sources.
    #[track_caller]
    pub(crate) fn wait_for_sources(&self, id: &str, sources: &[&str]) {
        eventually(&format!("{id} by {sources:?}"), || {
            let sessions = self.sessions();
            let mine = sessions.iter().find(|session| text(session, "id") == id)?;
            let seen = mine["sources"].as_array()?.iter().filter_map(Value::as_str);
            (seen.collect::<BTreeSet<_>>() == sources.iter().copied().collect()).then_some(())
        });
    }

    /// The ids of all sessions of alice with an event of a type, of which there are `count`, all different.
    #[track_caller]
    fn ids_of(&mut self, kind: &'static str, count: usize) -> BTreeSet<String> {
        let ids = |events: &[Value]| -> Vec<String> {
            let of_alice =
                events.iter().filter(|event| text(event, "user.name") == "alice" && is(event, kind));
            of_alice.map(|event| id(event).to_owned()).collect()
        };
        self.watch.find_in_all(kind, |events| (ids(events).len() >= count).then_some(()));
        self.settle();
        let all = ids(&self.watch.events);
        assert_eq!(all.len(), count, "{kind}: {all:#?}");
        let different: BTreeSet<String> = all.into_iter().collect();
        assert_eq!(different.len(), count, "{kind}: {different:#?}");
        different
    }
}
