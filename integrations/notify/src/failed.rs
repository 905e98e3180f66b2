//! The notices that no service took: `secmon notify failed`.

use std::{fmt::Write as _, path::Path};

use secmon_protocol::{text::printable, time::UnixNanos};

use crate::{
    Notice, own,
    run::{NotifyError, file},
    store::{Shelf, StoreError},
};

/// Longest title in a table, in characters; the JSON has all of it.
const TITLE: usize = 80;

/// A notice that was set aside.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// Its number in its store.
    pub id: i64,
    /// Where it was to go.
    pub destination: String,
    /// What it says.
    pub notice: Notice,
    /// How often it was tried, attempts apart that were not its fault.
    pub tries: u32,
    /// Why it failed the last time.
    pub reason: String,
    /// When it was set aside.
    pub since: UnixNanos,
}

/// What was set aside in a state folder, the oldest first; also while the role runs.
///
/// # Errors
/// The store cannot be read.
pub fn list(state_dir: &Path) -> Result<Vec<Failed>, NotifyError> {
    let shelf = open(state_dir)?;
    shelf.map_or(Ok(vec![]), |shelf| shelf.list()).map_err(|error| error.at("read", &file(state_dir)))
}

/// How many messages wait for their destinations in a state folder.
///
/// # Errors
/// The store cannot be read.
pub fn waiting(state_dir: &Path) -> Result<u64, NotifyError> {
    let shelf = open(state_dir)?;
    shelf.map_or(Ok(0), |shelf| shelf.waiting()).map_err(|error| error.at("read", &file(state_dir)))
}

/// Puts them into the queue again, at its end; all, where none is named. How many. A role that runs sends them within seconds, whatever
/// pause their destinations were in.
///
/// # Errors
/// The store cannot be written, or one is not there: none is put back then.
pub fn retry(state_dir: &Path, ids: &[i64]) -> Result<usize, NotifyError> {
    each(state_dir, ids, Shelf::retry)
}

/// Forgets them; all, where none is named. How many.
///
/// # Errors
/// As [`retry`].
pub fn forget(state_dir: &Path, ids: &[i64]) -> Result<usize, NotifyError> {
    each(state_dir, ids, Shelf::forget)
}

fn open(state_dir: &Path) -> Result<Option<Shelf>, NotifyError> {
    Shelf::open(state_dir).map_err(|error| error.at("open", &file(state_dir)))
}

fn each(
    state_dir: &Path,
    ids: &[i64],
    act: impl FnOnce(&mut Shelf, Option<&[i64]>) -> Result<Result<usize, i64>, StoreError>,
) -> Result<usize, NotifyError> {
    let path = file(state_dir);
    let done = match open(state_dir)? {
        Some(mut shelf) => act(&mut shelf, Some(ids).filter(|ids| !ids.is_empty())),
        None => Ok(ids.first().map_or(Ok(0), |id| Err(*id))),
    };
    let missing = |id| StoreError::Refused(format!("no message that was set aside has the number {id}"));
    done.and_then(|done| done.map_err(missing)).map_err(|error| error.at("change", &path))
}

/// As text for people, or with `json` as one object per line.
#[must_use]
pub fn show(failed: &[Failed], json: bool) -> String {
    let mut out = String::new();
    if json {
        for Failed { id, destination, notice, tries, reason, since } in failed {
            let object = serde_json::json!({
                "id": id, "destination": destination, "since": since.rfc3339(), "tries": tries, "reason": reason,
                "notice": notice,
            });
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{object}");
        }
        return out;
    }
    if failed.is_empty() {
        return "nothing was set aside\n".to_owned();
    }
    let heads = ["ID", "SINCE", "DESTINATION", "TRIES", "MESSAGE"].map(str::to_owned);
    let rows: Vec<[String; 5]> = [heads]
        .into_iter()
        .chain(failed.iter().map(|failed| {
            let since = own::seconds(failed.since);
            let title: String = failed.notice.title.chars().take(TITLE).collect();
            // The title is safe already, but what a disk holds may have been written by somebody else.
            let title =
                if title.chars().any(secmon_protocol::text::is_unsafe) { printable(&title) } else { title };
            [failed.id.to_string(), since, printable(&failed.destination), failed.tries.to_string(), title]
        }))
        .collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths = [0, 1, 2, 3].map(width);
    for (n, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(out, "{cell:width$}  ");
        }
        let _ = writeln!(out, "{}", row[4]);
        if let Some(failed) = n.checked_sub(1).and_then(|n| failed.get(n)) {
            let reason = &failed.reason;
            let reason = if reason.chars().any(secmon_protocol::text::is_unsafe) {
                printable(reason)
            } else {
                reason.clone()
            };
            let indent: usize = widths.iter().map(|width| width + 2).sum();
            let _ = writeln!(out, "{:indent$}{reason}", "");
        }
    }
    out
}
