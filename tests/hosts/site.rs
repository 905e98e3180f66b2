//! A site of one hub and one host: set up as the documentation says, with people who log in.
//!
//! The hub and the ssh client are in a realm of their own, so addresses and ports are those of a network.

use jiff::Timestamp;
use secmon_testkit::{
    host::{Distribution, Host},
    json::{number, text},
    need::Need::{self, Program},
    process::Output,
    product::{Hub, Lab, Place, Watch},
    realm::Realm,
    require,
    ssh::Ssh,
};
use serde_json::Value;

/// The address of the hub and of who logs in.
pub(crate) const CLIENT: &str = "10.99.0.1";

/// The address of the host.
const HOST: &str = "10.99.0.2";

/// The host's name, for itself and at the hub.
pub(crate) const NODE: &str = "web1";

/// The password of [`Site::host`]'s user alice.
pub(crate) const PASSWORD: &str = "correct horse";

/// Tells one event from all others.
type Wanted = Box<dyn Fn(&Value) -> bool>;

/// What a scenario has to do with.
pub(crate) struct Site<'a> {
    pub(crate) host: &'a Host,
    pub(crate) hub: &'a Hub<'a>,
    /// Logs in as alice or root, who know its key.
    pub(crate) ssh: Ssh<'a>,
    /// Everything that the hub has to say.
    pub(crate) watch: Watch,
    began: Timestamp,
    promised: Vec<(&'static str, Wanted)>,
}

/// Plays a scenario on a freshly booted host with a node that has joined a hub.
pub(crate) fn with(distribution: Distribution, scenario: fn(&mut Site<'_>)) {
    require!(Need::Host, Program("ssh"), Program("ssh-keygen"));
    let (lab, realm) = (Lab::new(), Realm::with_secmon("hub"));
    let host = Host::boot(distribution, NODE);
    realm.join(&host, "eth0", &format!("{CLIENT}/24"), &format!("{HOST}/24"));
    let ssh = Ssh::new(&realm, HOST);
    make_users(&host, &ssh);
    let hub = Hub::start_with(&lab, Place::In(&realm), &["--listen", &format!("{CLIENT}:0")]);
    join(&host, &hub);
    let watch = hub.watch(&[]);
    let began = Timestamp::now();
    let mut site = Site { host: &host, hub: &hub, ssh, watch, began, promised: Vec::new() };
    scenario(&mut site);
    site.nothing_came_twice();
}

/// Joins by the line that `enroll` prints, then runs as the unit of `docs/operating.md`, as its readers do.
fn join(host: &Host, hub: &Hub<'_>) {
    let token = hub.enroll(NODE);
    let first = host.spawn("secmon", &["node", "--join", &token]);
    hub.wait_for_node(NODE, "online");
    first.terminate();
    hub.wait_for_node(NODE, "away");
    host.write("/etc/systemd/system/secmon-node.service", 0o644, &unit_of_the_node());
    host.check("systemctl", &["enable", "--quiet", "--now", "secmon-node.service"]);
    hub.wait_for_node(NODE, "online");
    hub.wait_for_facet(NODE, "auth_log", "ready");
    hub.wait_for_facet(NODE, "sessions", "ready");
}

/// The unit that the documentation has for a node: the indented block with its description.
fn unit_of_the_node() -> String {
    block_of("    Description=secmon node\n").iter().map(|line| format!("{}\n", line.trim_start())).collect()
}

/// The lines of the indented block of docs/operating.md with these words in it.
pub(crate) fn block_of(words: &str) -> Vec<String> {
    let operating = include_str!("../../docs/operating.md");
    let (before, after) = operating.split_at(operating.find(words).unwrap());
    let is_of_it = |line: &&str| line.is_empty() || line.starts_with("    ");
    let mut lines: Vec<_> = before.lines().rev().take_while(is_of_it).collect();
    lines.reverse();
    lines.extend(after.lines().take_while(is_of_it));
    let block = lines.join("\n");
    let unindented = block.trim_matches('\n').lines().map(|line| line.strip_prefix("    ").unwrap_or(line));
    unindented.map(str::to_owned).collect()
}

fn make_users(host: &Host, ssh: &Ssh<'_>) {
    let key = std::fs::read_to_string(ssh.public_key()).unwrap();
    host.check("useradd", &["--create-home", "--shell", "/bin/bash", "alice"]);
    host.check("sh", &["-c", &format!("echo 'alice:{PASSWORD}\nroot:{PASSWORD}' | chpasswd")]);
    for home in ["/root", "/home/alice"] {
        host.write(&format!("{home}/.ssh/authorized_keys"), 0o600, &key);
    }
    host.check("chown", &["--recursive", "alice:alice", "/home/alice"]);
}

impl Site<'_> {
    /// Everything that was logged so far has reached the hub's clients, if it ever does: a login that came
    /// after it has.
    #[track_caller]
    pub(crate) fn settle(&mut self) {
        let port = port_of(&self.ssh.run("root", "echo $SSH_CONNECTION"));
        self.watch.find("the login that ends a scenario", |event| {
            text(event, "secmon.type") == "auth.accepted" && number(event, "source.port") == Some(port)
        });
    }

    /// The event of a type that `wanted` accepts, of a time since the scenario began; when that has ended, it
    /// must still be the only one.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub(crate) fn once(&mut self, kind: &'static str, wanted: impl Fn(&Value) -> bool + 'static) -> Value {
        let this = move |event: &Value| text(event, "secmon.type") == kind && wanted(event);
        let found = self.watch.find(kind, &this);
        self.is_of_now(text(&found, "@timestamp"));
        self.promised.push((kind, Box::new(this)));
        found
    }

    /// A time lies between the beginning of the scenario and now.
    #[track_caller]
    pub(crate) fn is_of_now(&self, time: &str) {
        let time: Timestamp = time.parse().unwrap();
        assert!(self.began <= time && time <= Timestamp::now(), "began {}, then {time}", self.began);
    }

    /// Nothing that was to come once has come again.
    #[track_caller]
    fn nothing_came_twice(&mut self) {
        self.settle();
        for (kind, this) in &self.promised {
            let all: Vec<_> = self.watch.events.iter().filter(|event| this(event)).collect();
            assert_eq!(all.len(), 1, "{kind} came more than once: {all:#?}");
        }
    }
}

/// The client's port of a session that ran `echo $SSH_CONNECTION`, ssh(1).
#[track_caller]
pub(crate) fn port_of(session: &Output) -> i64 {
    let port = |line: &str| line.strip_prefix(CLIENT)?.split_whitespace().next()?.parse().ok();
    let printed = session.out();
    printed.lines().find_map(port).unwrap_or_else(|| panic!("no SSH_CONNECTION in {session}"))
}
