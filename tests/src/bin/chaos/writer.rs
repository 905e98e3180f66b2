//! Who writes a node's auth log: lines of sshd's, each with the next number, by a thread per node.

use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;
use rand::{Rng as _, rngs::StdRng};

use crate::timeline::Timeline;

/// Lines written at once, and milliseconds between them: about fifty lines a second, in bursts.
const BURST: std::ops::Range<u64> = 1..20;
const PAUSE: std::ops::Range<u64> = 20..380;
/// One burst in so many ends with a login, which the bot tells: about one in a second and a half, and a chat takes one a second.
const LOGIN: u64 = 8;
/// Rotated files that are kept: logrotate's `rotate 20`, more than are made while a node is down.
const KEPT: usize = 20;

/// How the log is rotated; the words of logrotate(8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rotation {
    /// `create`: renamed, and a new one made.
    Rename,
    /// `copytruncate`.
    CopyTruncate,
}

/// A writer.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

struct Shared {
    node: usize,
    path: PathBuf,
    stop: AtomicBool,
    /// What was written, and to where.
    log: Mutex<Log>,
    timeline: Arc<Timeline>,
}

struct Log {
    file: File,
    /// When each number was written: the first is that of number 1.
    numbers: Vec<u64>,
    /// The same of the logins, which have numbers of their own.
    logins: Vec<u64>,
}

impl Writer {
    /// A writer of `path`, which is made. Nothing is written yet.
    pub(crate) fn new(node: usize, path: &Path, timeline: &Arc<Timeline>) -> anyhow::Result<Self> {
        let log = Mutex::new(Log { file: open(path)?, numbers: Vec::new(), logins: Vec::new() });
        let (path, timeline) = (path.to_owned(), Arc::clone(timeline));
        let shared = Arc::new(Shared { node, path, stop: AtomicBool::new(false), log, timeline });
        Ok(Self { shared, thread: None })
    }

    /// Writes from now on, in bursts as `chance` has it, `pace` times as large.
    pub(crate) fn begin(&mut self, mut chance: StdRng, pace: u64) {
        let shared = Arc::clone(&self.shared);
        self.thread = Some(thread::spawn(move || {
            while !shared.stop.load(Ordering::Relaxed) {
                let logins = u64::from(chance.random_range(0..LOGIN) == 0);
                shared.write(chance.random_range(BURST) * pace, logins)?;
                thread::park_timeout(Duration::from_millis(chance.random_range(PAUSE)));
            }
            Ok(())
        }));
    }

    /// Writes no more by itself.
    pub(crate) fn end(&mut self) -> anyhow::Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.thread().unpark();
        thread.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?
    }

    /// Writes one more line, and one more login.
    pub(crate) fn write_one(&self) -> anyhow::Result<()> {
        self.shared.write(1, 1)
    }

    /// The last number.
    pub(crate) fn last(&self) -> u64 {
        self.shared.lock().numbers.len() as u64
    }

    /// The last number of a login.
    pub(crate) fn last_login(&self) -> u64 {
        self.shared.lock().logins.len() as u64
    }

    /// The first login that may have been written after the line before this number.
    pub(crate) fn logins_since_number(&self, number: u64) -> u64 {
        let since = number.checked_sub(1).and_then(|before| self.written(before)).unwrap_or(0);
        self.shared.lock().logins.partition_point(|at| *at < since) as u64 + 1
    }

    /// When a number was written; none when it was not.
    pub(crate) fn written(&self, number: u64) -> Option<u64> {
        let at = usize::try_from(number.checked_sub(1)?).ok()?;
        self.shared.lock().numbers.get(at).copied()
    }

    /// The first number that was written at this time or later, or the next one.
    pub(crate) fn first_since(&self, millis: u64) -> u64 {
        self.shared.lock().numbers.partition_point(|at| *at < millis) as u64 + 1
    }

    /// Rotates the log.
    pub(crate) fn rotate(&self, rotation: Rotation) -> anyhow::Result<()> {
        let Shared { path, .. } = &*self.shared;
        let named = |at: usize| path.with_extension(format!("log.{at}"));
        let mut log = self.shared.lock();
        for at in (1..KEPT).rev().filter(|at| named(*at).exists()) {
            fs::rename(named(at), named(at + 1))?;
        }
        match rotation {
            Rotation::Rename => {
                fs::rename(path, named(1))?;
                log.file = open(path)?;
            }
            Rotation::CopyTruncate => {
                fs::copy(path, named(1))?;
                log.file.set_len(0)?;
            }
        }
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, count: u64, logins: u64) -> anyhow::Result<()> {
        let mut log = self.lock();
        let mut lines = String::new();
        for _ in 0..count {
            log.numbers.push(self.timeline.now());
            line(&mut lines, self.node, log.numbers.len() as u64);
        }
        for _ in 0..logins {
            log.logins.push(self.timeline.now());
            login(&mut lines, self.node, log.logins.len() as u64);
        }
        log.file.write_all(lines.as_bytes()).context("cannot write the auth log")
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}

/// A wrong password as rsyslogd of Debian 12 writes it; each of a connection of its own.
fn line(out: &mut String, node: usize, number: u64) {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00");
    let (pid, port) = (1_000 + number % 4_000_000, 1_024 + number % 60_000);
    let user = user(node, number);
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "{now} n{node} sshd[{pid}]: Failed password for {user} from 192.0.2.1 port {port} ssh2"
    );
}

/// A key that was accepted, with a number of its own.
fn login(out: &mut String, node: usize, number: u64) {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00");
    let (pid, port) = (1_000 + number % 4_000_000, 1_024 + number % 60_000);
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "{now} n{node} sshd[{pid}]: Accepted publickey for n{node}in{number} from 192.0.2.2 port {port} ssh2: ED25519 \
         SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    );
}

/// The numbers of the logins of a node in a text, in their order.
pub(crate) fn logins_in(text: &str, node: usize) -> Vec<u64> {
    let mark = format!("n{node}in");
    let digits =
        |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse().ok();
    let mut found: Vec<u64> = text.split(&mark).skip(1).filter_map(digits).collect();
    found.dedup();
    found
}

/// The user of a line: who reads it back knows the node and the number.
fn user(node: usize, number: u64) -> String {
    format!("n{node}x{number}")
}

/// Node and number of a user of ours.
pub(crate) fn of_user(user: &str) -> Option<(usize, u64)> {
    let (node, number) = user.strip_prefix('n')?.split_once('x')?;
    Some((node.parse().ok()?, number.parse().ok()?))
}

/// The node of this name.
pub(crate) fn of_name(name: &str) -> Option<usize> {
    name.strip_prefix('n')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_and_number_are_read_back_from_the_user() {
        assert_eq!(of_user(&user(2, 345)), Some((2, 345)));
        assert_eq!((of_user("n0in5"), logins_in("a n0in5, n1in6 <b>n0in12</b>", 0)), (None, vec![5, 12]));
        assert_eq!((of_user("root"), of_name("n2"), of_name("hub")), (None, Some(2), None));
    }

    #[test]
    fn a_rotation_loses_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth.log");
        let writer = Writer::new(0, &path, &Arc::new(Timeline::new(false))).unwrap();
        for rotation in [Rotation::Rename, Rotation::CopyTruncate, Rotation::Rename] {
            writer.write_one().unwrap();
            writer.rotate(rotation).unwrap();
        }
        writer.write_one().unwrap();
        for (at, name) in ["auth.log.3", "auth.log.2", "auth.log.1", "auth.log"].into_iter().enumerate() {
            let text = fs::read_to_string(folder.path().join(name)).unwrap();
            assert_eq!(text.lines().count(), 2, "{text}");
            assert_eq!(logins_in(&text, 0), [at as u64 + 1], "{text}");
            assert!(text.contains(&format!("for n0x{} from", at + 1)), "{text}");
        }
    }
}
