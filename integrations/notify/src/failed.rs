//! The notices that no service took: `secmon notify failed`.

use std::{fmt::Write as _, path::Path};

use secmon_protocol::{
    ecs,
    text::{is_unsafe, printable},
    time::UnixNanos,
};

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

/// What [`list`] found in a folder, as text for people, or with `json` as one object per line. All of it is safe to print.
#[must_use]
pub fn show(state_dir: &Path, failed: &[Failed], json: bool) -> String {
    match (json, failed) {
        (true, _) => failed.iter().map(|failed| object(state_dir, failed)).collect(),
        (false, []) => "nothing was set aside\n".to_owned(),
        (false, _) => table(failed),
    }
}

fn object(state_dir: &Path, failed: &Failed) -> String {
    let Failed { id, destination, notice, tries, reason, since } = failed;
    let object = serde_json::json!({
        "id": id,
        "state_dir": state_dir.display().to_string(),
        "destination": destination,
        "since": since.rfc3339(),
        "tries": tries,
        "reason": reason,
        "notice": notice,
    });
    format!("{}\n", ecs::line(&object))
}

/// A line for each, and the reason below its message.
fn table(failed: &[Failed]) -> String {
    let heads = ["ID", "SINCE", "DESTINATION", "TRIES"].map(str::to_owned);
    let cells = |failed: &Failed| {
        let since = own::seconds(failed.since);
        [failed.id.to_string(), since, safe(&failed.destination), failed.tries.to_string()]
    };
    let rows: Vec<[String; 4]> = [heads].into_iter().chain(failed.iter().map(cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths = [0, 1, 2, 3].map(width);
    let texts = [("MESSAGE".to_owned(), None)].into_iter().chain(failed.iter().map(|failed| {
        let title: String = failed.notice.title.chars().take(TITLE).collect();
        (safe(&title), Some(safe(&failed.reason)))
    }));
    let mut out = String::new();
    for (row, (title, reason)) in rows.iter().zip(texts) {
        // Writing to a String cannot fail.
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(out, "{cell:width$}  ");
        }
        let _ = writeln!(out, "{title}");
        if let Some(reason) = reason {
            let indent: usize = widths.iter().map(|width| width + 2).sum();
            let _ = writeln!(out, "{:indent$}{reason}", "");
        }
    }
    out
}

/// Texts of notices were made safe when they were made; what stands on a disk may have been written by somebody else. What is safe
/// stays as it is: made safe twice, a backslash would be two.
fn safe(text: &str) -> String {
    if text.chars().any(is_unsafe) { printable(text) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Severity};

    #[test]
    fn what_was_set_aside_is_a_table_with_reasons_or_lines_of_json_and_steers_no_terminal() {
        let failed = |id, destination: &str, title: &str, reason: &str| Failed {
            id,
            destination: destination.to_owned(),
            notice: Notice {
                id: "x".to_owned(),
                kind: Kind::Event,
                severity: Severity::Info,
                title: title.to_owned(),
                text: String::new(),
                fields: vec![],
                node: None,
                time: UnixNanos(0),
                json: serde_json::Value::Null,
            },
            tries: 3,
            reason: reason.to_owned(),
            since: UnixNanos(1_700_000_000_123_456_789),
        };
        let all = [
            failed(7, "ops", "web-1: accepted password for a\\x1b", "the service does not take it: too long"),
            failed(12, "on-call\u{1b}", "web-2: \u{202e}", "the bot was blocked\n"),
        ];
        insta::assert_snapshot!(show(Path::new("/x"), &all, false), @r"
        ID  SINCE                 DESTINATION  TRIES  MESSAGE
        7   2023-11-14T22:13:20Z  ops          3      web-1: accepted password for a\x1b
                                                      the service does not take it: too long
        12  2023-11-14T22:13:20Z  on-call\x1b  3      web-2: \u{202e}
                                                      the bot was blocked\n
        ");
        let json = show(Path::new("/x"), &all[1..], true);
        assert!(json.contains(r#""title":"web-2: \u202e""#) && json.ends_with("}\n"), "{json}");
        assert_eq!(show(Path::new("/x"), &[], false), "nothing was set aside\n");
        assert_eq!(show(Path::new("/x"), &[], true), "");
    }
}
