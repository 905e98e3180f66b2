//! Rows of runs and of what jobs printed.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use secmon_protocol::{
    codec, command::OutputStream, ids::JobId, message::client::JobSummary, time::UnixNanos,
};

use super::{Fault, log::number};
use crate::core::{JobRow, Piece};

/// A piece of a job's output with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Printed {
    /// Bytes that the job had printed before it.
    pub(crate) at: u64,
    /// Which stream.
    pub(crate) stream: OutputStream,
    /// The bytes.
    pub(crate) data: Bytes,
}

pub(super) fn write(db: &Connection, row: &JobRow) -> rusqlite::Result<()> {
    let JobSummary { output, dropped, .. } = row.summary;
    db.prepare_cached("INSERT OR REPLACE INTO jobs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params![
            row.number.cast_signed(),
            row.summary.run.job.0.cast_signed(),
            row.summary.state.is_over(),
            codec::encode(&row.summary).as_ref(),
            row.until.map(|until| until.0),
            row.cancelled,
            output.cast_signed(),
            dropped.cast_signed(),
        ])
        .map(drop)
}

pub(super) fn progress(db: &Connection, job: JobId, output: u64, dropped: u64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE jobs SET output = ?2, dropped = ?3 WHERE job = ?1")?
        .execute(params![job.0.cast_signed(), output.cast_signed(), dropped.cast_signed()])
        .map(drop)
}

pub(super) fn forget(db: &Connection, job: JobId) -> rusqlite::Result<()> {
    for table in ["DELETE FROM jobs WHERE job = ?1", "DELETE FROM job_output WHERE job = ?1"] {
        db.prepare_cached(table)?.execute([job.0.cast_signed()])?;
    }
    Ok(())
}

/// A new piece, or more of the one that begins there. SQLite makes a text of two blobs that are put together.
pub(super) fn append(
    db: &Connection,
    job: JobId,
    at: u64,
    (stream, data): (OutputStream, &[u8]),
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO job_output VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (job, at) DO UPDATE SET data = CAST(data || excluded.data AS BLOB)",
    )?
    .execute(params![job.0.cast_signed(), at.cast_signed(), stream == OutputStream::Stderr, data])
    .map(drop)
}

pub(super) fn drop_output(db: &Connection, job: JobId, from: u64, to: u64) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM job_output WHERE job = ?1 AND at >= ?2 AND at < ?3")?
        .execute(params![job.0.cast_signed(), from.cast_signed(), to.cast_signed()])
        .map(drop)
}

/// All runs, with the pieces of those that are open.
pub(super) fn load(db: &Connection) -> Result<Vec<(JobRow, Vec<Piece>)>, Fault> {
    let mut select =
        db.prepare("SELECT number, summary, until, cancelled, output, dropped FROM jobs ORDER BY number")?;
    let mut rows = select.query([])?;
    let mut jobs = vec![];
    while let Some(row) = rows.next()? {
        let row = read(row)?;
        let pieces = match row.summary.state.is_over() {
            true => vec![],
            false => pieces(db, row.summary.run.job)?,
        };
        jobs.push((row, pieces));
    }
    Ok(jobs)
}

fn read(row: &Row<'_>) -> Result<JobRow, Fault> {
    let summary: Vec<u8> = row.get(1)?;
    let summary: JobSummary = codec::decode(&summary)?;
    Ok(JobRow {
        number: number(row.get(0)?),
        summary: JobSummary { output: number(row.get(4)?), dropped: number(row.get(5)?), ..summary },
        until: row.get::<_, Option<i64>>(2)?.map(UnixNanos),
        cancelled: row.get(3)?,
    })
}

fn pieces(db: &Connection, job: JobId) -> Result<Vec<Piece>, Fault> {
    let mut select =
        db.prepare_cached("SELECT at, stderr, length(data) FROM job_output WHERE job = ?1 ORDER BY at")?;
    let pieces = select.query_map([job.0.cast_signed()], |row| {
        Ok(Piece { at: number(row.get(0)?), stream: stream(row.get(1)?), len: number(row.get(2)?) })
    })?;
    Ok(pieces.collect::<rusqlite::Result<_>>()?)
}

/// What is kept of a job's output from a place on, until it has so many bytes; the first piece begins before that place
/// where it lies within one.
pub(super) fn output(db: &Connection, job: JobId, from: u64, bytes: usize) -> Result<Vec<Printed>, Fault> {
    let job = job.0.cast_signed();
    let begin: Option<i64> = db
        .prepare_cached(
            "SELECT at FROM job_output WHERE job = ?1 AND at <= ?2 AND at + length(data) > ?2 ORDER BY at DESC LIMIT 1",
        )?
        .query_row(params![job, from.cast_signed()], |row| row.get(0))
        .optional()?;
    let mut select =
        db.prepare_cached("SELECT at, stderr, data FROM job_output WHERE job = ?1 AND at >= ?2 ORDER BY at")?;
    let mut rows = select.query(params![job, begin.unwrap_or(from.cast_signed())])?;
    let (mut found, mut size) = (vec![], 0);
    while size < bytes
        && let Some(row) = rows.next()?
    {
        let data: Vec<u8> = row.get(2)?;
        size += data.len();
        found.push(Printed { at: number(row.get(0)?), stream: stream(row.get(1)?), data: data.into() });
    }
    Ok(found)
}

fn stream(stderr: bool) -> OutputStream {
    if stderr { OutputStream::Stderr } else { OutputStream::Stdout }
}
