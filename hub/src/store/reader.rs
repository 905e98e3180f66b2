//! Reads of the log, for subscribers that are behind the ring, and of what jobs printed: on a connection and a thread of their own, so
//! that they wait for each other and never hold up a commit.
//!
//! A read is a few rows; who wants more queues again behind the others.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::PathBuf,
    sync::Arc,
    thread,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use secmon_protocol::{
    ids::{JobId, LogId},
    time::UnixNanos,
};
use tokio::sync::{mpsc, oneshot};

use super::{FILE, Fault, Printed, StoreError, jobs, log::number, schema};
use crate::segment::{Run, Segment, unpack};

/// Reads that wait. Whoever finds the queue full waits in turn; a subscriber has one read at a time.
const QUEUE: usize = 64;
/// Bytes of one read, but at least one row.
const READ: usize = 256 << 10;

/// Bytes of the rows that were read last and are kept: subscribers that fell behind together read the same.
const KEPT: usize = 8 << 20;

/// Where a time lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The last place before the first record that was taken then or later; none where there is none yet.
    pub(crate) after: Option<u64>,
    /// Whether something that was taken then may have been removed.
    pub(crate) removed: bool,
}

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

enum Job {
    After(u64, Answer<Vec<Run>>),
    Since(UnixNanos, Answer<Moment>),
    Output(JobId, u64, Answer<Vec<Printed>>),
}

/// The way to the thread that reads, which ends when this is dropped.
pub(crate) struct LogReader {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl LogReader {
    /// Opens the database of a state folder once more and starts the thread.
    ///
    /// # Errors
    /// It cannot be opened, or the system has no thread left.
    pub(crate) fn start(state_dir: &std::path::Path) -> Result<Self, StoreError> {
        let path = state_dir.join(FILE);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&path, flags)
            .and_then(|db| db.busy_timeout(schema::BUSY).map(|()| db))
            .map_err(|error| Fault::from(error).of(&path))?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let failed = |source: io::Error| StoreError::File { path: path.clone(), source };
        let reader = Reader { db, path: path.clone(), kept: Kept::default() };
        let thread = thread::Builder::new()
            .name("secmon-reader".to_owned())
            .spawn(move || reader.run(queue))
            .map_err(failed)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// A few consecutive records behind a place, the first of them perhaps not the next; none where there is none.
    ///
    /// # Errors
    /// The database refuses, or its thread has ended.
    pub(crate) async fn after(&self, place: u64) -> Result<Vec<Run>, StoreError> {
        self.ask(|answer| Job::After(place, answer)).await
    }

    /// Where a time of the hub's clock lies.
    ///
    /// # Errors
    /// As [`LogReader::after`].
    pub(crate) async fn since(&self, time: UnixNanos) -> Result<Moment, StoreError> {
        self.ask(|answer| Job::Since(time, answer)).await
    }

    /// What is kept of a job's output from a place on: a few pieces, the first of which may begin before that; none where
    /// there is no more.
    ///
    /// # Errors
    /// As [`LogReader::after`].
    pub(crate) async fn output(&self, job: JobId, from: u64) -> Result<Vec<Printed>, StoreError> {
        self.ask(|answer| Job::Output(job, from, answer)).await
    }

    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, StoreError> {
        let (answer, waiting) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(StoreError::Gone)?;
        jobs.send(job(answer)).await.map_err(|_| StoreError::Gone)?;
        waiting.await.map_err(|_| StoreError::Gone)?
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Reader {
    db: Connection,
    path: PathBuf,
    kept: Kept,
}

/// The rows that were read last, under one id of the log.
#[derive(Default)]
struct Kept {
    log: Option<LogId>,
    cost: usize,
    /// By the number of their first record.
    rows: BTreeMap<u64, Arc<Segment>>,
    /// As they were read.
    order: VecDeque<u64>,
}

impl Kept {
    /// Forgets what was read under another id.
    fn turn_to(&mut self, log: LogId) {
        if self.log != Some(log) {
            *self = Self { log: Some(log), ..Self::default() };
        }
    }

    /// What stands behind a place, where the row that has the next record is here.
    fn find(&self, after: u64) -> Option<Vec<Run>> {
        let (begin, row) = self.rows.range(..=after + 1).next_back()?;
        if row.last() <= after {
            return None;
        }
        let (mut found, mut bytes, mut expected) = (vec![], 0, *begin);
        for (first, row) in self.rows.range(begin..) {
            if bytes >= READ || *first != expected {
                break;
            }
            bytes += row.list.len();
            expected = row.last() + 1;
            found.extend(row.behind(after));
        }
        Some(found)
    }

    fn push(&mut self, row: Arc<Segment>) {
        let (first, cost) = (row.first.n, row.cost());
        if self.rows.insert(first, row).is_some() {
            return;
        }
        self.order.push_back(first);
        self.cost += cost;
        while self.cost > KEPT {
            let Some(row) = self.order.pop_front().and_then(|first| self.rows.remove(&first)) else { break };
            self.cost -= row.cost();
        }
    }
}

impl Reader {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(job) = queue.blocking_recv() {
            // Whoever no longer waits needs neither an answer nor the work for it.
            match job {
                Job::After(place, answer) if !answer.is_closed() => {
                    let found = read(&self.db, &mut self.kept, place);
                    let _ = answer.send(found.map_err(|fault| fault.of(&self.path)));
                }
                Job::Since(time, answer) if !answer.is_closed() => {
                    let moment = since(&self.db, time);
                    let _ = answer.send(moment.map_err(|fault| fault.of(&self.path)));
                }
                Job::Output(job, from, answer) if !answer.is_closed() => {
                    let found = jobs::output(&self.db, job, from, READ);
                    let _ = answer.send(found.map_err(|fault| fault.of(&self.path)));
                }
                _ => {}
            }
        }
    }
}

fn read(db: &Connection, kept: &mut Kept, after: u64) -> Result<Vec<Run>, Fault> {
    // All that is read here is of one moment, and the log's id with it.
    let db = db.unchecked_transaction()?;
    let log: i64 = db.prepare_cached("SELECT id FROM meta")?.query_row([], |row| row.get(0))?;
    let log = LogId(log.cast_unsigned());
    kept.turn_to(log);
    if let Some(found) = kept.find(after) {
        return Ok(found);
    }
    // The row that may have the next record within it, else the first behind it.
    let next = (after + 1).cast_signed();
    let begin: Option<i64> = db
        .prepare_cached("SELECT first FROM log WHERE first <= ?1 ORDER BY first DESC LIMIT 1")?
        .query_row([next], |row| row.get(0))
        .optional()?;
    let mut select =
        db.prepare_cached("SELECT first, last, records FROM log WHERE first >= ?1 ORDER BY first")?;
    let mut rows = select.query([begin.unwrap_or(next)])?;
    let (mut found, mut bytes, mut expected) = (vec![], 0, None);
    while let Some(row) = rows.next()? {
        let (first, last) = (number(row.get(0)?), number(row.get(1)?));
        if last <= after {
            continue;
        }
        if bytes >= READ || expected.is_some_and(|expected| first != expected) {
            break;
        }
        let records: Vec<u8> = row.get(2)?;
        let row = unpack(records.into(), log)?.filter(|row| (row.first.n, row.last()) == (first, last));
        let Some(row) = row.map(Arc::new) else {
            return Err(Fault::Senseless(format!("the records {first} to {last} of its log are not there")));
        };
        bytes += row.list.len();
        found.extend(row.behind(after));
        kept.push(row);
        expected = Some(last + 1);
    }
    Ok(found)
}

fn since(db: &Connection, time: UnixNanos) -> Result<Moment, Fault> {
    let first: Option<i64> = db
        .prepare_cached("SELECT min(first) FROM log WHERE taken >= ?1")?
        .query_row([time.0], |row| row.get(0))?;
    let gone_taken: i64 =
        db.prepare_cached("SELECT gone_taken FROM meta")?.query_row([], |row| row.get(0))?;
    Ok(Moment { after: first.map(|first| number(first) - 1), removed: gone_taken >= time.0 })
}
