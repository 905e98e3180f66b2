//! The numbers of the detached jobs that were started, on disk: what keeps one from being started twice. A database
//! of its own, made with the first such job, and each number is on the disk itself before its job is started.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, Transaction};
use secmon_protocol::ids::JobId;

use super::core::{Answer, Write};
use crate::outbox::{ShelfError, set_aside};

/// The database, in the node's state folder.
pub(super) const FILE: &str = "jobs.db";
/// The newest so many numbers are remembered: a hub asks again only for what it handed over last, and has at most
/// some hundreds open on one node.
const REMEMBERED: i64 = 10_000;
/// How long to wait for another process that has the file, a backup perhaps.
const BUSY: Duration = Duration::from_secs(2);
/// SQLite's own memory for pages, in KiB.
const CACHE_KIB: i64 = 64;
/// The log beside the database is cut back to this many bytes.
const LOG_LIMIT: i64 = 256 << 10;
/// The form of the database.
const FORM: i64 = 1;
const SCHEMA: &str = "CREATE TABLE started (n INTEGER PRIMARY KEY, job INTEGER NOT NULL UNIQUE)";

/// See the module. It is used by one thread at a time and waits for the disk.
#[derive(Debug)]
pub(super) struct Numbers {
    path: PathBuf,
    db: Option<Connection>,
}

impl Numbers {
    /// Those in the file at `path`, which is opened when it is needed.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, db: None }
    }

    /// Does what is to be done, and answers each Remember. What stands between two Renews is one transaction; what stands
    /// before one was asked of the memory that it sets aside, and must not be answered by the new one.
    pub(super) fn apply(&mut self, writes: &[Write]) -> Vec<(JobId, Answer)> {
        let mut answers = Vec::new();
        for (at, writes) in writes.split(|write| *write == Write::Renew).enumerate() {
            if at > 0
                && let Err(error) = self.renew()
            {
                tracing::error!(path = %self.path.display(), %error, "cannot set the damaged memory of jobs aside");
            }
            if !writes.is_empty() {
                answers.extend(self.apply_at_once(writes));
            }
        }
        answers
    }

    fn apply_at_once(&mut self, writes: &[Write]) -> Vec<(JobId, Answer)> {
        let error = match self.try_apply(writes) {
            Ok(answers) => return answers,
            Err(error) => error,
        };
        // What it has in memory may be as wrong as the disk is.
        self.db = None;
        let answer = match error {
            ShelfError::Damaged(reason) => {
                tracing::error!(path = %self.path.display(), %reason,
                    "the node's memory of started jobs is damaged; jobs are refused until its hub has said which it \
                     had handed over before. Check the disk");
                Answer::Damaged(reason)
            }
            error => {
                tracing::error!(path = %self.path.display(), %error,
                    "the node's memory of started jobs cannot be written; jobs are refused. Free space, or see to the \
                     disk");
                Answer::Failed(error.to_string())
            }
        };
        let remember = |write: &Write| match write {
            Write::Remember(job) => Some((*job, answer.clone())),
            Write::Forget(_) | Write::Renew => None,
        };
        writes.iter().filter_map(remember).collect()
    }

    fn try_apply(&mut self, writes: &[Write]) -> Result<Vec<(JobId, Answer)>, ShelfError> {
        let db = match &mut self.db {
            Some(db) => db,
            none => none.insert(open(&self.path)?),
        };
        let transaction = db.transaction()?;
        let mut answers = Vec::new();
        for write in writes {
            match write {
                Write::Remember(job) => answers.push((*job, remember(&transaction, *job)?)),
                Write::Forget(job) => {
                    transaction
                        .prepare_cached("DELETE FROM started WHERE job = ?1")?
                        .execute([job.0.cast_signed()])?;
                }
                Write::Renew => {}
            }
        }
        transaction.commit()?;
        Ok(answers)
    }

    /// Sets the database aside, if it is still found damaged.
    fn renew(&mut self) -> Result<(), ShelfError> {
        self.db = None;
        let Err(ShelfError::Damaged(reason)) = open(&self.path) else { return Ok(()) };
        let kept = set_aside(&self.path).map_err(|error| ShelfError::Refused(error.to_string()))?;
        tracing::warn!(kept = %kept.display(), %reason, "the damaged memory of started jobs was set aside");
        Ok(())
    }
}

fn remember(db: &Transaction<'_>, job: JobId) -> Result<Answer, ShelfError> {
    let new = db
        .prepare_cached("INSERT OR IGNORE INTO started (job) VALUES (?1)")?
        .execute([job.0.cast_signed()])?;
    if new == 0 {
        return Ok(Answer::Known);
    }
    db.prepare_cached("DELETE FROM started WHERE n <= ?1")?.execute([db.last_insert_rowid() - REMEMBERED])?;
    Ok(Answer::New)
}

/// Opens the database, or makes it (mode 0600).
fn open(path: &Path) -> Result<Connection, ShelfError> {
    let refused = |error: std::io::Error| ShelfError::Refused(error.to_string());
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(refused)?;
    let mut db = Connection::open(path)?;
    db.busy_timeout(BUSY)?;
    db.pragma_update(None, "cache_size", -CACHE_KIB)?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    // A number that a power cut takes back is a job that is started twice.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "journal_size_limit", LOG_LIMIT)?;
    let verdict: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(ShelfError::Damaged(verdict));
    }
    match db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))? {
        FORM => {}
        0 => {
            let transaction = db.transaction()?;
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "user_version", FORM)?;
            transaction.commit()?;
        }
        found => return Err(ShelfError::Newer { found, known: FORM }),
    }
    if let Some(folder) = path.parent() {
        // The file's name, too, has to outlive a power cut; SQLite sees to that of its log.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(refused)?;
    }
    Ok(db)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn one(numbers: &mut Numbers, write: Write) -> Option<Answer> {
        numbers.apply(&[write]).pop().map(|(_, answer)| answer)
    }

    fn remember(numbers: &mut Numbers, job: u64) -> Answer {
        one(numbers, Write::Remember(JobId(job))).unwrap()
    }

    #[test]
    fn a_number_is_new_once_over_restarts_and_nobody_else_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let mut numbers = Numbers::at(path.clone());
        assert!(!path.exists(), "who has no job pays nothing");
        assert_eq!(remember(&mut numbers, u64::MAX), Answer::New);
        assert_eq!(remember(&mut numbers, u64::MAX), Answer::Known);
        for file in fs::read_dir(dir.path()).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let mut again = Numbers::at(path);
        assert_eq!(remember(&mut again, u64::MAX), Answer::Known);
        assert_eq!(remember(&mut again, 1), Answer::New);
    }

    #[test]
    fn what_was_not_started_after_all_may_be_in_the_order_of_the_writes() {
        let dir = tempfile::tempdir().unwrap();
        let mut numbers = Numbers::at(dir.path().join(FILE));
        let job = JobId(5);
        let answers = numbers.apply(&[
            Write::Remember(job),
            Write::Forget(job),
            Write::Remember(job),
            Write::Remember(JobId(6)),
            Write::Remember(job),
        ]);
        let answers: Vec<Answer> = answers.into_iter().map(|(_, answer)| answer).collect();
        assert_eq!(answers, [Answer::New, Answer::New, Answer::New, Answer::Known]);
    }

    #[test]
    fn the_newest_are_remembered_and_the_file_does_not_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let mut numbers = Numbers::at(dir.path().join(FILE));
        for from in (0..30_000).step_by(1_000) {
            let writes: Vec<Write> = (from..from + 1_000).map(|n| Write::Remember(JobId(n))).collect();
            assert!(numbers.apply(&writes).iter().all(|(_, answer)| *answer == Answer::New));
        }
        assert_eq!(remember(&mut numbers, 20_000), Answer::Known);
        assert_eq!(remember(&mut numbers, 19_999), Answer::New);
        let size: u64 = fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().metadata().unwrap().len()).sum();
        assert!(size < 4 << 20, "{size}");
    }

    #[test]
    fn a_damaged_memory_says_so_until_it_is_told_to_begin_anew_and_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        fs::write(&path, "this is no database, and never was one".repeat(100)).unwrap();
        let mut numbers = Numbers::at(path.clone());
        for _ in 0..2 {
            assert!(matches!(remember(&mut numbers, 1), Answer::Damaged(_)));
        }
        let answers = numbers.apply(&[Write::Renew, Write::Remember(JobId(1))]);
        assert_eq!(answers, [(JobId(1), Answer::New)]);
        assert!(dir.path().join("jobs.db.damaged-1").exists());
        // Who stands before it in the same list asked the old one.
        fs::write(&path, "damaged again".repeat(100)).unwrap();
        for log in ["jobs.db-wal", "jobs.db-shm"] {
            let _ = fs::remove_file(dir.path().join(log));
        }
        let mut numbers = Numbers::at(path);
        let answers = numbers.apply(&[Write::Remember(JobId(2)), Write::Renew, Write::Remember(JobId(1))]);
        assert!(matches!(answers[0], (JobId(2), Answer::Damaged(_))), "{answers:?}");
        assert_eq!(answers[1], (JobId(1), Answer::New));
        // A second one who found it damaged does not take the new one away.
        let answers = numbers.apply(&[Write::Renew, Write::Remember(JobId(1))]);
        assert_eq!(answers, [(JobId(1), Answer::Known)]);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_a_reason_and_a_later_form_another() {
        let dir = tempfile::tempdir().unwrap();
        let mut numbers = Numbers::at(dir.path().join("missing").join(FILE));
        assert!(matches!(remember(&mut numbers, 1), Answer::Failed(_)));
        let path = dir.path().join(FILE);
        drop(open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
        match remember(&mut Numbers::at(path), 1) {
            Answer::Failed(reason) => assert!(reason.contains("newer"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}
