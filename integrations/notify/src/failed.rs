//! The notices that no service took: `secmon notify failed`.

use std::path::Path;

use secmon_protocol::time::UnixNanos;

use crate::{Notice, run::NotifyError};

/// A notice that was set aside.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// Its number in its store.
    pub id: i64,
    /// Where it was to go.
    pub destination: String,
    /// What it says.
    pub notice: Notice,
    /// How often it was tried.
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
pub fn list(_state_dir: &Path) -> Result<Vec<Failed>, NotifyError> {
    Ok(vec![])
}

/// Puts them into the queue again, at its end; all, where none is named. How many.
///
/// # Errors
/// The store cannot be written, or one is not there: none is put back then.
pub fn retry(_state_dir: &Path, _ids: &[i64]) -> Result<usize, NotifyError> {
    Ok(0)
}

/// Forgets them; all, where none is named. How many.
///
/// # Errors
/// As [`retry`].
pub fn forget(_state_dir: &Path, _ids: &[i64]) -> Result<usize, NotifyError> {
    Ok(0)
}

/// As text for people, or with `json` as one object per line.
#[must_use]
pub fn show(_failed: &[Failed], _json: bool) -> String {
    String::new()
}
