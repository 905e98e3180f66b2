//! Commands: what a node offers, and how a run ended.

use serde::{Deserialize, Serialize};

/// One entry of a node's allowlist, as it is told to others. What it runs stays on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandInfo {
    /// The name by which it is run; at most [`MAX_LABEL`] bytes.
    pub label: String,
    /// What it does, for people; at most [`MAX_DESCRIPTION`] bytes, may be empty.
    pub description: String,
    /// How long it may run, in milliseconds.
    pub timeout_ms: u64,
}

/// Longest label, in bytes.
pub const MAX_LABEL: usize = 64;
/// Longest description, in bytes.
pub const MAX_DESCRIPTION: usize = 256;

/// Which of a command's two output streams. Numbers are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OutputStream {
    /// File descriptor 1.
    Stdout,
    /// File descriptor 2.
    Stderr,
}

impl OutputStream {
    /// The word used outward.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// How a run ended. Numbers are frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunEnd {
    /// The process exited with this code, 0 to 255.
    Exited(i32),
    /// A signal ended it, by its number on the node.
    Signalled(i32),
    /// Its time was up and its process group was killed.
    TimedOut,
    /// The client cancelled it, or went away, and its process group was killed.
    Cancelled,
    /// It did not run, or secmon lost sight of it.
    Failed {
        /// Which failure.
        why: RunFailure,
        /// For people: what was tried, why it failed.
        message: String,
    },
}

/// Why secmon could not run a command to its end. Numbers are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunFailure {
    /// The allowlist has no such label.
    UnknownLabel,
    /// As many commands as the node allows are running.
    Busy,
    /// The program could not be started.
    Spawn,
    /// The node was lost before the end.
    NodeLost,
    /// The node refuses all commands: no allowlist, or one that it may not trust.
    Refused,
}
