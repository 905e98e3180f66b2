//! The node is killed while people log in and out: what went on meanwhile is told after its next start, once.

use secmon_testkit::{
    json::{number, text},
    process::lines,
};
use serde_json::Value;

use crate::{
    sessions::id,
    site::{NODE, Site, port_of},
};

const UNIT: &str = "secmon-node.service";

/// Somebody is logged in all the time, somebody logs out while the node is down, somebody logs in and stays, and
/// somebody comes and goes.
pub(crate) fn killed(site: &mut Site<'_>) {
    // As it is, systemd starts it again before anybody could log in.
    site.host.write("/etc/systemd/system/secmon-node.service.d/down.conf", 0o644, "[Service]\nRestart=no\n");
    site.host.check("systemctl", &["daemon-reload"]);
    let mut lasting = site.ssh.login("alice", "echo inside; read -r line");
    let stays = site.opened("pts/0", &[]);
    let mut leaving = site.ssh.login("alice", "echo inside; read -r line");
    let leaves = site.opened("pts/1", &[]);
    site.settle();

    site.host.check("systemctl", &["kill", "--signal=KILL", UNIT]);
    site.hub.wait_for_node(NODE, "away");
    leaving.write_stdin(b"\n");
    assert_eq!(leaving.finish().code(), 0);
    let mut coming = site.ssh.login("alice", "echo $SSH_CONNECTION; read -r line");
    let comes = coming.wait_until("its port", |output| {
        lines(&output.stdout).find_map(|line| line.split(' ').nth(1)?.parse().ok())
    });
    // At a terminal: what has none is in no log but the journal once it is over.
    let passing = port_of(&site.ssh.login("alice", "echo $SSH_CONNECTION").finish());
    site.host.check("systemctl", &["reset-failed", UNIT]);
    site.host.check("systemctl", &["start", UNIT]);

    let gone = id(&leaves).to_owned();
    site.once("session.closed", move |event| id(event) == gone);
    for port in [comes, passing] {
        site.once("auth.accepted", move |event: &Value| number(event, "source.port") == Some(port));
    }
    site.once("auth.disconnected", move |event: &Value| number(event, "source.port") == Some(passing));
    // At the terminal that was free again.
    let opened = site.opened("pts/1", &[id(&leaves)]);

    site.wait_for_sessions(2);
    for (session, opened) in [(&mut lasting, &stays), (&mut coming, &opened)] {
        let mine = id(opened).to_owned();
        let early = site
            .watch
            .events
            .iter()
            .find(|event| text(event, "secmon.type") == "session.closed" && id(event) == mine);
        assert_eq!(early, None, "it stands");
        session.write_stdin(b"\n");
        assert_eq!(session.wait().code(), 0);
        site.once("session.closed", move |event| id(event) == mine);
    }
    site.wait_for_sessions(0);
    let gaps: Vec<_> = site.watch.events.iter().filter(|event| text(event, "secmon.type") == "gap").collect();
    assert!(gaps.is_empty(), "{gaps:#?}");
}

impl Site<'_> {
    /// The session at a terminal that is none of these, which is opened once.
    #[track_caller]
    fn opened(&mut self, tty: &str, others: &[&str]) -> Value {
        let wanted = |event: &Value| text(event, "secmon.tty") == tty && !others.contains(&id(event));
        let opened = self
            .watch
            .find("the session", |event| text(event, "secmon.type") == "session.opened" && wanted(event));
        let mine = id(&opened).to_owned();
        self.once("session.opened", move |event| id(event) == mine)
    }
}
