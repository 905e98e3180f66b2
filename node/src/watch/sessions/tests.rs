use std::{
    collections::VecDeque,
    fs::{self, OpenOptions},
    io::Write as _,
};

use nix::unistd::getpid;
use secmon_protocol::{
    session::{Session, SessionSource},
    state::RawFacet,
};
use tokio::task::JoinHandle;

use super::{process::Owner, *};

const LOGGED_IN: &[u8] = include_bytes!("../../../tests/fixtures/utmp-x86_64-two-sshd-logins");

/// A login record whose process is this test, number `n` of its kind: each on a line and of a user of its own.
fn login(n: u8) -> Vec<u8> {
    let mut record = LOGGED_IN[..384].to_vec();
    record[4..8].copy_from_slice(&getpid().as_raw().to_ne_bytes());
    record[12] = b'0' + n;
    record[48] = b'0' + n;
    record
}

struct Running {
    seen: mpsc::Receiver<Observation>,
    /// What came together, and was not looked at yet.
    rest: VecDeque<Observation>,
    /// What a core would have kept so far.
    known: Known,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(path: &Path) -> Self {
        Self::resume(path, Known::default())
    }

    fn resume(path: &Path, known: Known) -> Self {
        let (out, seen) = mpsc::channel(16);
        let cancel = CancellationToken::new();
        let config = SessionsConfig {
            logind: false,
            utmp: path.to_owned(),
            wtmp: path.with_extension("wtmp"),
            btmp: path.with_extension("btmp"),
            wtmpdb: path.with_extension("db"),
        };
        let task = tokio::spawn(watch(config, known.clone(), out, cancel.clone()));
        Self { seen, rest: VecDeque::new(), known, cancel, task }
    }

    async fn next(&mut self) -> Facet<String, Session> {
        match self.observation().await {
            Observation::Sessions(facet) => facet,
            other => panic!("{other:?}"),
        }
    }

    async fn observation(&mut self) -> Observation {
        loop {
            if let Some(observation) = self.rest.pop_front() {
                return observation;
            }
            let seen = tokio::time::timeout(Duration::from_secs(10), self.seen.recv()).await;
            self.take(seen.unwrap().unwrap());
        }
    }

    /// Takes a message apart and keeps it, as the core does.
    fn take(&mut self, observation: Observation) {
        match observation {
            Observation::Together(all) => all.into_iter().for_each(|one| self.take(one)),
            Observation::Place(place) => drop(self.known.places.insert(place.source, place.at)),
            other => {
                if let Observation::Sessions(facet) = &other {
                    self.known.state.set(FacetId::SESSIONS, RawFacet::encode(facet));
                }
                self.rest.push_back(other);
            }
        }
    }

    /// Waits until a place of this source has come.
    async fn place(&mut self, source: &str) {
        while !self.known.places.keys().any(|name| name.starts_with(source)) {
            let seen = tokio::time::timeout(Duration::from_secs(10), self.seen.recv()).await;
            self.take(seen.unwrap().unwrap());
        }
    }

    /// Ends it as a kill does. Gives what is known of it then.
    async fn kill(mut self) -> Known {
        self.task.abort();
        let _ = (&mut self.task).await;
        while let Some(observation) = self.seen.recv().await {
            self.take(observation);
        }
        self.known
    }

    /// Waits for a report of these terminals; others may come before it.
    async fn next_ttys(&mut self, expected: &[&str]) {
        loop {
            if let Facet::Ready(sessions) = self.next().await {
                let ttys: Vec<_> = sessions.values().filter_map(|s| s.tty.as_deref()).collect();
                if ttys == expected {
                    return;
                }
            }
        }
    }

    async fn end(self) {
        self.cancel.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.unwrap().unwrap();
    }
}

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[tokio::test]
async fn a_login_and_its_end_are_reported_when_they_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("utmp");
    append(&path, &login(0));
    let mut watched = Running::start(&path);
    watched.next_ttys(&["pts/0"]).await;
    append(&path, &login(1));
    watched.next_ttys(&["pts/0", "pts/1"]).await;

    let mut ended = login(0);
    ended[0] = 8; // DEAD_PROCESS
    fs::write(dir.path().join("new"), [ended, login(1)].concat()).unwrap();
    fs::rename(dir.path().join("new"), &path).unwrap();
    watched.next_ttys(&["pts/1"]).await;
    append(&path, &login(2));
    watched.next_ttys(&["pts/1", "pts/2"]).await;
    watched.end().await;
}

#[tokio::test]
async fn a_record_written_in_two_halves_is_reported_once_it_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("utmp");
    append(&path, &login(0));
    let mut watched = Running::start(&path);
    watched.next_ttys(&["pts/0"]).await;
    append(&path, &login(1)[..100]);
    append(&path, &login(1)[100..]);
    watched.next_ttys(&["pts/0", "pts/1"]).await;
    watched.end().await;
}

#[tokio::test]
async fn a_missing_file_is_unavailable_and_is_found_when_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/utmp");
    let mut watched = Running::start(&path);
    let Facet::Unavailable(why) = watched.next().await else { panic!("must not be ready") };
    assert!(why.reason.contains("no utmp file at "), "{}", why.reason);
    assert!(!why.remedy.is_empty());

    fs::create_dir(dir.path().join("run")).unwrap();
    append(&path, &login(0));
    watched.next_ttys(&["pts/0"]).await;

    fs::remove_dir_all(dir.path().join("run")).unwrap();
    while !matches!(watched.next().await, Facet::Unavailable(_)) {}
    watched.end().await;
}

#[tokio::test]
async fn what_is_no_utmp_file_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Records::default().look(dir.path(), &Host).is_err());
    let path = dir.path().join("huge");
    fs::File::create(&path).unwrap().set_len(utmp::MAX_UTMP as u64 + 1).unwrap();
    let why = Records::default().look(&path, &Host).unwrap_err();
    assert!(why.reason.contains("larger than 4 MiB"), "{}", why.reason);
}

#[tokio::test]
async fn a_session_ends_with_its_leader_though_nobody_logged_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("utmp");
    let mut leader = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut killed = login(1);
    killed[4..8].copy_from_slice(&leader.id().to_ne_bytes());
    append(&path, &[login(0), killed].concat());
    let mut watched = Running::start(&path);
    watched.next_ttys(&["pts/0", "pts/1"]).await;
    leader.kill().unwrap();
    leader.wait().unwrap();
    watched.next_ttys(&["pts/0"]).await;
    watched.end().await;
}

#[tokio::test]
async fn a_login_that_only_wtmp_still_knows_is_reported_opened_and_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("utmp");
    append(&path, &login(0));
    let mut watched = Running::start(&path);
    watched.next_ttys(&["pts/0"]).await;
    let mut opened = login(5);
    opened[4..8].copy_from_slice(&i32::MAX.to_ne_bytes());
    opened[44..76].fill(0);
    opened[44..49].copy_from_slice(b"alice");
    let mut closed = opened.clone();
    closed[0] = 8; // DEAD_PROCESS
    closed[44..332].fill(0);
    append(&path.with_extension("wtmp"), &[opened, closed].concat());
    let Facet::Ready(sessions) = watched.next().await else { panic!("must be ready") };
    let alice = sessions.values().find(|s| s.user == "alice").unwrap();
    assert_eq!(alice.sources, [SessionSource::Wtmp].into());
    watched.next_ttys(&["pts/0"]).await;
    watched.end().await;
}

/// A login of `user` as wtmp has it, by process `pid` on terminal `n`, and its end.
fn logged(n: u8, user: &[u8], pid: i32) -> (Vec<u8>, Vec<u8>) {
    let mut opened = login(n);
    opened[4..8].copy_from_slice(&pid.to_ne_bytes());
    opened[44..76].fill(0);
    opened[44..44 + user.len()].copy_from_slice(user);
    let mut closed = opened.clone();
    closed[0] = 8; // DEAD_PROCESS
    closed[44..332].fill(0);
    (opened, closed)
}

fn users(facet: &Facet<String, Session>) -> Vec<&str> {
    let Facet::Ready(sessions) = facet else { panic!("{facet:?}") };
    sessions.values().map(|session| session.user.as_str()).collect()
}

#[tokio::test]
async fn after_a_restart_sessions_keep_their_keys_and_what_came_and_went_meanwhile_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("utmp");
    let wtmp = path.with_extension("wtmp");
    append(&path, &[login(0), login(1)].concat());
    append(&wtmp, &[login(0), login(1)].concat());
    let mut watched = Running::start(&path);
    let Facet::Ready(before) = watched.next().await else { panic!("must be ready") };
    watched.place("wtmp").await;
    let known = watched.kill().await;

    // One ends, one comes, and one comes and goes, with two terminals.
    let (bob, no_bob) = logged(2, b"bob", i32::MAX);
    let (second, no_second) = logged(3, b"bob", i32::MAX);
    let mut end = login(1);
    end[0] = 8;
    end[44..332].fill(0);
    fs::write(&path, [login(0), login(4)].concat()).unwrap();
    append(&wtmp, &[bob, second, no_bob, no_second, end, login(4)].concat());
    let mut watched = Running::resume(&path, known);
    let Facet::Ready(now) = watched.next().await else { panic!("must be ready") };
    assert_eq!(now.len(), 2);
    let kept = now.iter().find(|(_, session)| session.tty.as_deref() == Some("pts/0")).unwrap();
    assert_eq!(before.get(kept.0), Some(kept.1));
    let with = watched.next().await;
    assert_eq!(users(&with).iter().filter(|user| **user == "bob").count(), 1, "{with:?}");
    assert!(!users(&watched.next().await).contains(&"bob"));
    let known = watched.kill().await;

    // Nothing of it comes again.
    let mut watched = Running::resume(&path, known);
    assert_eq!(watched.next().await, Facet::Ready(now.clone()));
    append(&path, &login(5));
    append(&wtmp, &login(5));
    let Facet::Ready(later) = watched.next().await else { panic!("must be ready") };
    assert_eq!(later.len(), 3);
    watched.end().await;
}

#[tokio::test]
async fn a_kill_before_a_login_of_the_logs_is_told_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("utmp");
    let wtmp = path.with_extension("wtmp");
    append(&path, &login(0));
    append(&wtmp, b"");
    let mut watched = Running::start(&path);
    watched.next_ttys(&["pts/0"]).await;
    watched.place("wtmp").await;
    let (bob, no_bob) = logged(2, b"bob", i32::MAX);
    append(&wtmp, &[bob, no_bob].concat());
    // Read or not, it waits for what others say.
    let known = watched.kill().await;
    let mut watched = Running::resume(&path, known);
    watched.next_ttys(&["pts/0"]).await;
    assert!(users(&watched.next().await).contains(&"bob"));
    watched.next_ttys(&["pts/0"]).await;
    watched.end().await;
}

#[tokio::test]
async fn a_log_that_was_rotated_meanwhile_is_read_on_and_one_that_is_gone_is_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("utmp");
    let wtmp = path.with_extension("wtmp");
    append(&path, &login(0));
    append(&wtmp, &login(0));
    let mut watched = Running::start(&path);
    watched.place("wtmp").await;
    let known = watched.kill().await;
    let (bob, no_bob) = logged(2, b"bob", i32::MAX);
    append(&wtmp, &bob);
    fs::rename(&wtmp, dir.path().join("utmp.wtmp.1")).unwrap();
    append(&wtmp, &no_bob);
    let mut watched = Running::resume(&path, known.clone());
    watched.next_ttys(&["pts/0"]).await;
    assert!(users(&watched.next().await).contains(&"bob"));
    watched.next_ttys(&["pts/0"]).await;
    watched.kill().await;

    fs::remove_file(dir.path().join("utmp.wtmp.1")).unwrap();
    let mut watched = Running::resume(&path, known);
    loop {
        match watched.observation().await {
            Observation::Missed(why) => break assert!(why.contains("utmp.wtmp"), "{why}"),
            Observation::Sessions(_) => {}
            other => panic!("{other:?}"),
        }
    }
    watched.end().await;
}

#[tokio::test]
async fn failed_logins_of_btmp_are_read_on_where_they_were() {
    const FAILED: &[u8] = include_bytes!("../../../tests/fixtures/btmp-x86_64-two-sshd-failures");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("utmp");
    let btmp = path.with_extension("btmp");
    append(&path, &login(0));
    append(&btmp, &FAILED[..384]);
    let mut watched = Running::start(&path);
    watched.place("btmp").await;
    let known = watched.kill().await;
    append(&btmp, &FAILED[384..]);
    let mut watched = Running::resume(&path, known);
    let mut failed = 0;
    while failed < 2 {
        failed += usize::from(matches!(watched.observation().await, Observation::BadLogin(_)));
    }
    let known = watched.kill().await;
    let mut watched = Running::resume(&path, known);
    watched.next_ttys(&["pts/0"]).await;
    watched.cancel.cancel();
    while let Some(one) = watched.seen.recv().await {
        assert!(!format!("{one:?}").contains("BadLogin"), "{one:?}");
    }
}

/// A process that everybody may pretend to be.
struct Pretended {
    owner: Owner,
    program: &'static str,
    is_root: bool,
    lives: bool,
}

impl Processes for Pretended {
    fn exists(&self, _: i32) -> bool {
        self.lives
    }

    fn owner(&self, _: i32) -> Owner {
        self.owner.clone()
    }

    fn program(&self, _: i32) -> Option<(String, bool)> {
        Some((self.program.to_owned(), self.is_root))
    }

    fn terminal(&self, _: u32) -> Terminal {
        Terminal::NotYet
    }
}

#[test]
fn a_pid_that_is_used_again_brings_no_old_login_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("utmp");
    append(&path, &login(0));
    let mut process = Pretended { owner: Owner::Nobody, program: "sshd", is_root: true, lives: true };
    let mut records = Records::default();
    assert_eq!(records.look(&path, &process).unwrap().len(), 1);
    process.lives = false;
    assert!(records.look(&path, &process).unwrap().is_empty());
    (process.lives, process.owner) = (true, Owner::Session("5".to_owned()));
    assert!(records.look(&path, &process).unwrap().is_empty());
    // The same line of somebody who logs in later is another record.
    let mut later = login(0);
    later[340..344].copy_from_slice(&1_795_300_000_i32.to_ne_bytes());
    fs::write(&path, later).unwrap();
    assert_eq!(records.look(&path, &process).unwrap().len(), 1);
}

#[test]
fn only_sudo_itself_and_mosh_itself_are_taken_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("utmp");
    append(&path, &login(0));
    let sudo = |is_root| Pretended { owner: Owner::Nobody, program: "sudo", is_root, lives: true };
    assert!(Records::default().look(&path, &sudo(true)).unwrap().is_empty());
    assert_eq!(Records::default().look(&path, &sudo(false)).unwrap().len(), 1);

    let mut mosh = login(0);
    mosh[76..332].fill(0);
    mosh[76..94].copy_from_slice(b"1.2.3.4 via mosh [");
    mosh[94..97].copy_from_slice(b"77]");
    fs::write(&path, mosh).unwrap();
    for (program, sort) in [("mosh-server", utmp::Sort::Roaming), ("utempter", utmp::Sort::Window)] {
        let process = Pretended { owner: Owner::Manager, program, is_root: false, lives: true };
        assert_eq!(Records::default().look(&path, &process).unwrap()[0].login.sort, sort, "{program}");
    }
}
