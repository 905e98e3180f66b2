//! The watcher against real files, and against a stand-in for `journalctl` where a journald would be
//! needed: what reaches the core, in order, and no more.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use secmon_protocol::facet::Unavailable;
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle};

use super::{
    super::{Observation, Place},
    *,
};

mod auto;
mod journald;
mod resume;

const DEADLINE: Duration = Duration::from_secs(20);

struct Watching {
    seen: mpsc::Receiver<Observation>,
    /// What came together, and was not looked at yet.
    rest: VecDeque<Observation>,
    /// The places that came so far.
    places: BTreeMap<String, Bytes>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Watching {
    fn start(choice: AuthSourceChoice, sources: Sources) -> Self {
        Self::resume(choice, sources, BTreeMap::new())
    }

    /// Starts with the places of an earlier one.
    fn resume(choice: AuthSourceChoice, sources: Sources, places: BTreeMap<String, Bytes>) -> Self {
        let (out, seen) = mpsc::channel(16);
        let cancel = CancellationToken::new();
        let kept = Kept::new(places.clone());
        let task = tokio::spawn(watch_sources(choice, sources, kept, out, cancel.clone()));
        Self { seen, rest: VecDeque::new(), places, cancel, task }
    }

    async fn next(&mut self) -> Observation {
        loop {
            if let Some(observation) = self.rest.pop_front() {
                return observation;
            }
            let seen = tokio::time::timeout(DEADLINE, self.seen.recv()).await;
            self.unpack(seen.expect("nothing was seen").expect("watcher ended"));
        }
    }

    /// Takes a message apart, as the core does.
    fn unpack(&mut self, observation: Observation) {
        match observation {
            Observation::Together(all) => all.into_iter().for_each(|one| self.unpack(one)),
            Observation::Place(Place { source, at }) => drop(self.places.insert(source, at)),
            other => self.rest.push_back(other),
        }
    }

    /// Ends it as a kill does that also the core does not survive: what is on its way to it is gone.
    async fn lose(mut self) -> (Vec<Observation>, BTreeMap<String, Bytes>) {
        self.task.abort();
        let _ = (&mut self.task).await;
        (self.rest.into(), self.places)
    }

    /// Ends it as a kill does: what it has not sent is gone. Gives the places that came.
    async fn kill(mut self) -> (Vec<Observation>, BTreeMap<String, Bytes>) {
        self.task.abort();
        let _ = (&mut self.task).await;
        while let Some(observation) = self.seen.recv().await {
            self.unpack(observation);
        }
        (self.rest.into(), self.places)
    }

    /// The user of the next event.
    async fn user(&mut self) -> String {
        match self.next().await {
            Observation::Auth(event) => event.user.unwrap_or_default(),
            other => panic!("no event: {other:?}"),
        }
    }

    /// Why something may be missing.
    async fn missed(&mut self) -> String {
        match self.next().await {
            Observation::Missed(reason) => reason,
            other => panic!("nothing missed: {other:?}"),
        }
    }

    /// The source that is reported next.
    async fn ready(&mut self) -> String {
        match self.next().await {
            Observation::AuthLog(Facet::Ready(entries)) => entries.into_keys().collect(),
            other => panic!("not ready: {other:?}"),
        }
    }

    async fn unavailable(&mut self) -> Unavailable {
        match self.next().await {
            Observation::AuthLog(Facet::Unavailable(why)) => why,
            other => panic!("not unavailable: {other:?}"),
        }
    }

    async fn end(mut self) {
        self.cancel.cancel();
        tokio::time::timeout(DEADLINE, &mut self.task).await.expect("does not end").expect("panicked");
        while let Some(observation) = self.seen.recv().await {
            self.unpack(observation);
        }
        assert_eq!(self.rest, [], "more than expected");
    }
}

fn failed(user: &str) -> String {
    format!("Nov 21 03:38:02 vm sshd[103]: Failed password for {user} from 192.0.2.7 port 59788 ssh2\n")
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// A journal that is not there, and files at `paths`.
fn only(folder: &TempDir, paths: &[&Path]) -> Sources {
    let at = |name: &str| folder.path().join(name);
    let journal = Journal::at("journalctl".into(), at("no-socket"), vec![at("no-journal")]);
    Sources { journal, files: paths.iter().map(PathBuf::from).collect(), recheck: Duration::from_millis(200) }
}

#[tokio::test]
async fn a_file_is_followed_from_its_end_and_partial_lines_wait_for_their_rest() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("auth.log");
    append(&log, &failed("before"));
    let mut watching = Watching::start(AuthSourceChoice::File, only(&folder, &[&log]));
    assert_eq!(watching.ready().await, log.display().to_string());
    let line = failed("alice");
    let (start, rest) = line.split_at(50);
    append(&log, &(failed("first") + start));
    assert_eq!(watching.user().await, "first");
    append(&log, &(rest.to_owned() + &failed("bob")));
    assert_eq!(watching.user().await, "alice");
    assert_eq!(watching.user().await, "bob");
    watching.end().await;
}

#[tokio::test]
async fn rotation_by_rename_loses_nothing_even_of_a_writer_that_notices_late() {
    let folder = TempDir::new().unwrap();
    let (log, old) = (folder.path().join("auth.log"), folder.path().join("auth.log.1"));
    append(&log, "");
    let mut watching = Watching::start(AuthSourceChoice::File, only(&folder, &[&log]));
    watching.ready().await;
    append(&log, &failed("one"));
    fs::rename(&log, &old).unwrap();
    append(&log, "");
    append(&old, &failed("two"));
    assert_eq!(watching.user().await, "one");
    assert_eq!(watching.user().await, "two");
    append(&old, &failed("three"));
    assert_eq!(watching.user().await, "three");
    append(&log, &failed("four"));
    assert_eq!(watching.user().await, "four");
    watching.end().await;
}

#[tokio::test]
async fn a_file_that_is_truncated_in_place_is_read_from_its_start() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("auth.log");
    append(&log, &failed("before").repeat(20));
    let mut watching = Watching::start(AuthSourceChoice::File, only(&folder, &[&log]));
    watching.ready().await;
    append(&log, &(failed("one") + "half a li"));
    assert_eq!(watching.user().await, "one");
    OpenOptions::new().write(true).open(&log).unwrap().set_len(0).unwrap();
    append(&log, &failed("two"));
    // Nobody knows what was written between the last reading and the truncation.
    let reason = watching.missed().await;
    assert!(reason.contains("truncated"), "{reason}");
    assert_eq!(watching.user().await, "two");
    watching.end().await;
}

#[tokio::test]
async fn a_file_that_appears_later_is_read_from_its_start() {
    let folder = TempDir::new().unwrap();
    let (log, other) = (folder.path().join("auth.log"), folder.path().join("secure"));
    let mut watching = Watching::start(AuthSourceChoice::Auto, only(&folder, &[&log, &other]));
    let why = watching.unavailable().await;
    assert!(
        why.reason.contains("journald: not running") && why.reason.contains("secure: no such file"),
        "{why:?}"
    );
    assert!(why.remedy.contains("rsyslog"), "{why:?}");
    append(&log, &failed("one"));
    assert_eq!(watching.user().await, "one");
    assert_eq!(watching.ready().await, log.display().to_string());
    watching.end().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_unavailable_until_it_can() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("auth.log");
    std::os::unix::fs::symlink(&log, &log).unwrap();
    let mut watching = Watching::start(AuthSourceChoice::File, only(&folder, &[&log]));
    assert!(watching.unavailable().await.reason.contains(log.to_str().unwrap()));
    fs::remove_file(&log).unwrap();
    append(&log, &failed("one"));
    loop {
        match watching.next().await {
            Observation::Auth(event) => break assert_eq!(event.user.as_deref(), Some("one")),
            Observation::AuthLog(Facet::Unavailable(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    watching.ready().await;
    watching.end().await;
}

#[tokio::test]
async fn a_line_that_is_too_long_is_passed_over_and_the_next_one_is_read() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("auth.log");
    append(&log, "");
    let mut watching = Watching::start(AuthSourceChoice::File, only(&folder, &[&log]));
    watching.ready().await;
    append(&log, &(failed(&"x".repeat(300_000)) + &failed("one")));
    assert_eq!(watching.user().await, "one");
    watching.end().await;
}

#[tokio::test]
async fn a_line_that_stands_in_two_files_is_reported_once() {
    let folder = TempDir::new().unwrap();
    let (secure, messages) = (folder.path().join("secure"), folder.path().join("messages"));
    append(&secure, "");
    append(&messages, "");
    let mut watching = Watching::start(AuthSourceChoice::File, only(&folder, &[&secure, &messages]));
    watching.ready().await;
    append(&messages, &(failed("both") + "Nov 21 03:38:02 vm kernel: nothing\n" + &failed("messages")));
    append(&secure, &(failed("both") + &failed("secure")));
    let mut users = [watching.user().await, watching.user().await, watching.user().await];
    users.sort();
    assert_eq!(users, ["both", "messages", "secure"]);
    watching.end().await;
}

#[tokio::test]
async fn a_dangling_link_is_followed_once_its_file_is_there_and_through_its_rotation() {
    let folder = TempDir::new().unwrap();
    let (log, place) = (folder.path().join("auth.log"), folder.path().join("elsewhere"));
    fs::create_dir(&place).unwrap();
    let target = place.join("real.log");
    std::os::unix::fs::symlink(&target, &log).unwrap();
    let mut watching = Watching::start(AuthSourceChoice::File, only(&folder, &[&log]));
    watching.unavailable().await;
    append(&target, &failed("one"));
    assert_eq!(watching.user().await, "one");
    assert_eq!(watching.ready().await, log.display().to_string());
    fs::rename(&target, place.join("real.log.1")).unwrap();
    append(&place.join("real.log.1"), &failed("two"));
    append(&target, &failed("three"));
    assert_eq!(watching.user().await, "two");
    assert_eq!(watching.user().await, "three");
    watching.end().await;
}

#[tokio::test]
async fn switched_off_is_not_monitored() {
    let folder = TempDir::new().unwrap();
    let mut watching = Watching::start(AuthSourceChoice::Off, only(&folder, &[]));
    assert_eq!(watching.next().await, Observation::AuthLog(Facet::NotMonitored));
    watching.end().await;
}

#[test]
fn the_configuration_has_defaults_and_refuses_unknown_words() {
    let parse = toml::from_str::<AuthConfig>;
    assert_eq!(parse("").unwrap(), AuthConfig::default());
    assert_eq!(parse("source = \"journald\"").unwrap().source, AuthSourceChoice::Journald);
    assert!(parse("source = \"syslog\"").is_err());
    assert!(parse("sources = \"auto\"").is_err());
}

/// Of the memory of this process, what is its own; KiB, by `proc_pid_status(5)`.
fn anonymous_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_backlog_of_100_mb_is_read_with_little_memory_and_leaves_others_their_turn() {
    const BYTES: usize = 100 << 20;
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("auth.log");
    let noise =
        "Nov 21 03:38:02 vm CRON[103]: (root) CMD (command -v debian-sa1 > /dev/null && debian-sa1 1 1)\n";
    // One event for each chunk or so, so that it is the reading that is measured.
    let block = noise.repeat(640) + &failed("mallory");
    let mut file = fs::File::create(&log).unwrap();
    let blocks = BYTES / block.len();
    for _ in 0..blocks {
        file.write_all(block.as_bytes()).unwrap();
    }
    let turns = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&turns);
    let other = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });

    let before = anonymous_kib();
    let (out, mut seen) = mpsc::channel(4);
    let mut report = Report::new(out, true, Kept::default());
    // From its start, as a node does that finds its place there.
    let mut files = Files::new(&[log], &vec![LogPlace::default()]).unwrap();
    let mut most = 0;
    let reading = async {
        files.read(&mut report).await.unwrap();
        drop(report);
    };
    let counting = async {
        let mut events = 0;
        while let Some(observation) = seen.recv().await {
            let Observation::Together(all) = observation else { panic!("{observation:?}") };
            events += all.iter().filter(|one| matches!(one, Observation::Auth(_))).count();
            most = most.max(anonymous_kib());
        }
        events
    };
    let ((), events) = tokio::join!(reading, counting);
    other.abort();
    assert_eq!(events, blocks);
    // Generous, for tests that run beside it: the file has a hundred times as much.
    assert!(most.saturating_sub(before) < 16 << 10, "{before} KiB before, {most} KiB while reading");
    // As large as the reader's.
    let chunks = BYTES / (64 << 10);
    assert!(
        turns.load(std::sync::atomic::Ordering::Relaxed) > chunks / 2,
        "{turns:?} turns in {chunks} chunks"
    );
}
