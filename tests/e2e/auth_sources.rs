//! The auth log's sources, through everything that happens to a log: rotated, vacuumed, its daemon restarted, its
//! reader stopped. Each line is shown once, and nothing is a gap that is none.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use secmon_testkit::{
    json::text,
    need::Need::{Namespaces, Program},
    process::lines,
    product::{Hub, Lab, Node, NodeSetup, Place, Watch},
    realm::Realm,
    require,
    syslog::{self, Rotation},
    wait::eventually,
};

/// A hub, a node that reads the auth log from `source`, and a watch.
struct Stand<'a> {
    realm: &'a Realm,
    _hub: Hub<'a>,
    node: Node<'a>,
    watch: Watch,
}

impl<'a> Stand<'a> {
    fn start(lab: &Lab, realm: &'a Realm, source: &str) -> Self {
        let hub = Hub::start(lab, Place::In(realm));
        let auth = format!("source = {source:?}\nfiles = [{:?}]", syslog::AUTH_LOG);
        let setup = NodeSetup { auth, ..NodeSetup::quiet(lab) };
        let node = Node::join(lab, Place::In(realm), &hub, "web1", &setup);
        hub.wait_for_facet("web1", "auth_log", "ready");
        let watch = hub.watch(&["--type", "auth.*", "--type", "gap"]);
        Self { realm, _hub: hub, node, watch }
    }

    fn log(&self, users: impl IntoIterator<Item = usize>) {
        for user in users {
            syslog::log(self.realm, &format!("u{user}"));
        }
    }

    /// Logs a last line, waits for it, and insists that each of `users` was shown once.
    fn check(&mut self, users: impl IntoIterator<Item = usize>) {
        syslog::log(self.realm, "last");
        self.shows("last");
        self.check_users(users);
    }

    fn check_users(&self, users: impl IntoIterator<Item = usize>) {
        let mut seen = BTreeMap::<_, usize>::new();
        for event in self.watch.events.iter().filter(|event| text(event, "secmon.type") == "auth.failed") {
            *seen.entry(text(event, "user.name").to_owned()).or_default() += 1;
        }
        seen.remove("last");
        let want = users.into_iter().map(|user| (format!("u{user}"), 1)).collect::<BTreeMap<_, _>>();
        assert_eq!(seen, want, "\n{}", self.node.process().output());
    }

    fn shows(&mut self, user: &str) {
        self.watch.find_user("auth.failed", user);
    }

    /// Waits until the node says for the `nth` time what it reads, which is `source`.
    fn reads(&self, nth: usize, source: &str) {
        let line = self.node.process().wait_until("the source", |output| {
            lines(&output.stderr)
                .filter(|line| line.contains("the auth log is read"))
                .nth(nth)
                .map(str::to_owned)
        });
        assert!(line.contains(source), "{line}");
    }

    fn gaps(&self) -> usize {
        self.watch.events.iter().filter(|event| text(event, "secmon.type") == "gap").count()
    }

    fn no_gap(&self) {
        assert_eq!(self.gaps(), 0, "{:#?}\n{}", self.watch.events, self.node.process().output());
    }

    fn stop(&self) {
        self.node.process().signal(Signal::SIGSTOP);
    }

    fn go_on(&self) {
        self.node.process().signal(Signal::SIGCONT);
    }
}

#[test]
fn a_journal_that_is_rotated_vacuumed_flushed_and_whose_journald_is_restarted_loses_and_doubles_nothing() {
    require!(Namespaces, Program("systemd-journald"), Program("journalctl"), Program("logger"));
    let (lab, realm) = (Lab::new(), Realm::with_secmon("web1"));
    let journald = syslog::persistent_journald(&realm);
    let mut stand = Stand::start(&lab, &realm, "journald");
    stand.log(0..3);
    realm.check("journalctl", &["--rotate"]);
    stand.log(3..6);
    realm.check("journalctl", &["--rotate", "--vacuum-size=1K"]);
    stand.log(6..9);
    stand.shows("u8");
    journald.terminate();
    let _journald = syslog::journald(&realm);
    stand.log(9..12);
    stand.check(0..12);
    stand.no_gap();
}

#[test]
fn a_journal_that_moves_to_disk_while_it_is_followed_loses_and_doubles_nothing() {
    require!(Namespaces, Program("systemd-journald"), Program("journalctl"), Program("logger"));
    let (lab, realm) = (Lab::new(), Realm::with_secmon("web1"));
    let _journald = syslog::journald(&realm);
    let mut stand = Stand::start(&lab, &realm, "journald");
    stand.log(0..3);
    stand.shows("u2");
    // A follower does not see a /var/log/journal that was not there when it was started.
    realm.check("sh", &["-c", "mkdir -p /var/log/journal/$(cat /etc/machine-id)"]);
    realm.check("journalctl", &["--flush"]);
    stand.log(3..6);
    stand.check(0..6);
    stand.no_gap();
}

#[test]
fn what_was_vacuumed_before_it_was_read_is_a_gap_and_what_is_left_is_shown() {
    require!(
        Namespaces,
        Program("systemd-journald"),
        Program("journalctl"),
        Program("logger"),
        Program("pgrep")
    );
    let (lab, realm) = (Lab::new(), Realm::with_secmon("web1"));
    let _journald = syslog::persistent_journald(&realm);
    let mut stand = Stand::start(&lab, &realm, "journald");
    stand.log(0..1);
    stand.shows("u0");
    stand.stop();
    let child = realm.check("pgrep", &["-x", "journalctl"]);
    realm.check("kill", &["-KILL", &child]);
    stand.log(1..2);
    realm.check("journalctl", &["--rotate", "--vacuum-size=1K"]);
    stand.log(2..4);
    stand.go_on();
    stand.check([0, 2, 3]);
    assert_eq!(stand.gaps(), 1, "{:#?}", stand.watch.events);
}

#[test]
fn a_log_that_a_real_logrotate_rotates_is_read_on_in_every_way_of_rotation() {
    require!(Namespaces, Program("rsyslogd"), Program("logrotate"), Program("logger"));
    let (lab, realm) = (Lab::new(), Realm::with_secmon("web1"));
    let _rsyslogd = syslog::rsyslogd(&realm);
    let mut stand = Stand::start(&lab, &realm, "file");
    for (number, rotation) in
        [Rotation::Rename, Rotation::Compress, Rotation::Compress, Rotation::Rename].into_iter().enumerate()
    {
        stand.log(number * 4..number * 4 + 2);
        syslog::rotate(&realm, rotation);
        stand.log(number * 4 + 2..number * 4 + 4);
    }
    stand.check(0..16);
    stand.no_gap();
    for (number, user) in [16, 18, 20].into_iter().enumerate() {
        stand.log(user..user + 2);
        // What comes between logrotate's copying and its truncating is lost to everybody.
        stand.shows(&format!("u{}", user + 1));
        syslog::rotate(&realm, Rotation::CopyTruncate);
        eventually("the copy", || {
            realm.path(&format!("{}.{}", syslog::AUTH_LOG, number + 1)).exists().then_some(())
        });
    }
    stand.log(22..24);
    stand.shows("u23");
    stand.check_users(0..24);
    stand.no_gap();
}

#[test]
fn a_node_that_was_stopped_while_its_log_was_rotated_twice_reads_all_of_it() {
    require!(Namespaces, Program("rsyslogd"), Program("logrotate"), Program("logger"));
    let (lab, realm) = (Lab::new(), Realm::with_secmon("web1"));
    let _rsyslogd = syslog::rsyslogd(&realm);
    let mut stand = Stand::start(&lab, &realm, "file");
    let written = |user: &str| {
        // rsyslogd has its own time.
        eventually("rsyslogd to write", || {
            realm.run("grep", &["-rqw", user, "/var/log"]).code().eq(&0).then_some(())
        });
    };
    stand.log(0..2);
    stand.stop();
    for user in [2, 4] {
        stand.log(user..user + 2);
        written(&format!("u{}", user + 1));
        syslog::rotate(&realm, Rotation::Rename);
    }
    stand.log(6..8);
    stand.go_on();
    stand.check(0..8);
    stand.no_gap();
}

#[test]
fn a_node_that_is_killed_while_a_real_logrotate_rotates_its_log_reads_each_line_once() {
    require!(Namespaces, Program("rsyslogd"), Program("logrotate"), Program("logger"));
    let (lab, realm) = (Lab::new(), Realm::with_secmon("web1"));
    let _rsyslogd = syslog::rsyslogd(&realm);
    let mut stand = Stand::start(&lab, &realm, "file");
    let written = |user: usize| {
        eventually("rsyslogd to write", || {
            realm.run("grep", &["-rqw", &format!("u{user}"), "/var/log"]).code().eq(&0).then_some(())
        });
    };
    let mut user = 0;
    for rotation in [Rotation::Rename, Rotation::CopyTruncate, Rotation::Rename, Rotation::CopyTruncate] {
        // Killed as it reads; what it has not read is rotated away, and more is written.
        stand.log(user..user + 3);
        stand.node.process().kill();
        stand.log(user + 3..user + 6);
        written(user + 5);
        syslog::rotate(&realm, rotation);
        stand.log(user + 6..user + 9);
        written(user + 8);
        stand.node.start_again();
        stand.shows(&format!("u{}", user + 8));
        user += 9;
    }
    stand.check(0..user);
    stand.no_gap();
}

#[test]
fn a_node_that_is_killed_while_journald_rotates_reads_each_entry_once() {
    require!(Namespaces, Program("systemd-journald"), Program("journalctl"), Program("logger"));
    let (lab, realm) = (Lab::new(), Realm::with_secmon("web1"));
    let _journald = syslog::persistent_journald(&realm);
    let mut stand = Stand::start(&lab, &realm, "journald");
    for user in [0, 9, 18] {
        stand.log(user..user + 3);
        stand.node.process().kill();
        stand.log(user + 3..user + 6);
        realm.check("journalctl", &["--rotate"]);
        stand.log(user + 6..user + 9);
        stand.node.start_again();
        stand.shows(&format!("u{}", user + 8));
    }
    stand.check(0..27);
    stand.no_gap();
}

#[test]
fn with_auto_the_log_is_read_on_from_the_file_while_journald_is_away_and_nothing_is_lost_or_doubled() {
    require!(
        Namespaces,
        Program("rsyslogd"),
        Program("systemd-journald"),
        Program("journalctl"),
        Program("logger")
    );
    let (lab, realm) = (Lab::new(), Realm::with_secmon("web1"));
    let _rsyslogd = syslog::rsyslogd_behind_journald(&realm);
    let journald = syslog::journald(&realm);
    let mut stand = Stand::start(&lab, &realm, "auto");
    stand.reads(0, "journald");
    stand.log(0..3);
    stand.shows("u2");
    journald.kill();
    // Until the node notices, nobody reads what is written now.
    for user in 3..6 {
        syslog::log_past_journald(&realm, &format!("u{user}"));
    }
    stand.reads(1, syslog::AUTH_LOG);
    stand.shows("u5");
    let _journald = syslog::journald(&realm);
    stand.log(6..9);
    stand.reads(2, "journald");
    stand.log(9..12);
    stand.check(0..12);
    stand.no_gap();
}
