//! What is to be started, all decided: made of an entry and the arguments of one run. Whoever starts it adds nothing
//! of its own and takes nothing from the hub.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// One process to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The program's file, absolute: what is executed.
    pub program: PathBuf,
    /// What the program is told, its own name first, as the entry writes it; never empty, no NUL in it.
    pub argv: Vec<String>,
    /// As whom; none: as whoever starts it.
    pub user: Option<RunAs>,
    /// The folder that it starts in; absolute.
    pub cwd: PathBuf,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// How long it may run.
    pub timeout: Duration,
    /// How many bytes it may print, both streams together, before it is ended; none: as many as it likes.
    pub max_output: Option<u64>,
    /// How many runs of its entry may go on side by side; none: as many as the node runs at all.
    pub concurrency: Option<u32>,
    /// Its niceness, -20 to 19; none: that of whoever starts it. Below that is for root: set it before the user changes.
    pub nice: Option<i32>,
    /// Its file mode creation mask, at most 0o777.
    pub umask: u32,
    /// What it reads.
    pub stdin: Stdin,
}

/// Another user than the one who starts it, as this system knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAs {
    /// Its name.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its main group.
    pub gid: u32,
    /// All its groups, the main one among them, to be set in the place of those of whoever starts it.
    pub groups: Vec<u32>,
}

/// What a command reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stdin {
    /// Nothing: `/dev/null`.
    #[default]
    None,
    /// What the client sends.
    Client,
}
