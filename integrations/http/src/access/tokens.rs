//! Bearer tokens: made, listed, revoked; hashed at rest.

use std::path::Path;

use secmon_protocol::{message::client::Role, time::UnixNanos};

/// What a new token gives.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its name.
    pub name: String,
    /// What it makes of its bearer.
    pub role: Role,
    /// Patterns of nodes; empty: all.
    pub nodes: Vec<String>,
    /// Patterns of commands; empty: all.
    pub commands: Vec<String>,
    /// When it ends, where it does.
    pub expires: Option<UnixNanos>,
}

/// A token as it is listed.
#[derive(Debug, Clone)]
pub struct Listed {
    /// What it gives.
    pub token: NewToken,
    /// When it was made.
    pub made: UnixNanos,
}

/// What went wrong: what was tried, on what, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TokenError(pub String);

/// Makes a token and keeps its hash; the token itself, which is nowhere else.
///
/// # Errors
/// The name is taken or makes no sense, or the file cannot be written.
pub fn add(_state_dir: &Path, _new: NewToken) -> Result<String, TokenError> {
    Err(TokenError("not built".to_owned()))
}

/// All tokens, by name.
///
/// # Errors
/// The file cannot be read.
pub fn list(_state_dir: &Path) -> Result<Vec<Listed>, TokenError> {
    Ok(vec![])
}

/// Ends a token at once, also in a bridge that runs.
///
/// # Errors
/// There is none of that name, or the file cannot be written.
pub fn revoke(_state_dir: &Path, _name: &str) -> Result<(), TokenError> {
    Err(TokenError("not built".to_owned()))
}
