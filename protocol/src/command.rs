//! Commands: what a node offers, what is asked of it, and how a run ended.

use serde::{Deserialize, Serialize};

use crate::{
    bounded,
    limits::{MAX_ARGS, MAX_CHOICES},
};

/// One entry of a node's allowlist, as it is told to others. What it runs stays on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandInfo {
    /// The name by which it is run; at most [`MAX_LABEL`] bytes.
    pub label: String,
    /// What it does, for people; at most [`MAX_DESCRIPTION`] bytes, may be empty.
    pub description: String,
    /// What it takes, in the order in which people are shown it; at most [`MAX_ARGS`].
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_ARGS>")]
    pub args: Vec<ArgInfo>,
    /// How long it may run, in milliseconds.
    pub timeout_ms: u64,
    /// How many bytes it may print before it is ended; none: as many as it likes.
    pub max_output: Option<u64>,
    /// How many runs of it may go on side by side; none: as many as the node runs at all.
    pub concurrency: Option<u32>,
    /// Whether it reads what the client sends it.
    pub stdin: bool,
}

impl CommandInfo {
    /// A command without arguments, input or limits of its own.
    #[must_use]
    pub fn plain(label: impl Into<String>, description: impl Into<String>, timeout_ms: u64) -> Self {
        let (label, description) = (label.into(), description.into());
        let (max_output, concurrency) = (None, None);
        Self { label, description, args: vec![], timeout_ms, max_output, concurrency, stdin: false }
    }
}

/// One argument that a command takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArgInfo {
    /// Its name; at most [`MAX_ARG_NAME`] bytes.
    pub name: String,
    /// What it is, for people; at most [`MAX_DESCRIPTION`] bytes, may be empty.
    pub description: String,
    /// What may be given for it.
    pub kind: ArgKind,
    /// What is taken where none is given; none: it must be given.
    pub default: Option<String>,
}

/// What may be given for an argument. The node decides; who asks may use it to complete and to explain.
/// Numbers are frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ArgKind {
    /// A decimal number.
    Integer {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// One of these, at most [`MAX_CHOICES`].
    Choice {
        /// Which.
        #[serde(deserialize_with = "bounded::list::<_, _, MAX_CHOICES>")]
        values: Vec<String>,
    },
    /// A text.
    String {
        /// The regular expression that it matches as a whole; at most [`MAX_PATTERN`] bytes.
        pattern: String,
        /// Least length, in characters.
        min: u32,
        /// Greatest length, in characters.
        max: u32,
    },
    /// `true` or `false`.
    Bool,
    /// A path that lies, all links followed, below a folder.
    Path {
        /// The folder.
        below: String,
    },
}

impl ArgKind {
    /// The word used outward.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Integer { .. } => "integer",
            Self::Choice { .. } => "choice",
            Self::String { .. } => "string",
            Self::Bool => "bool",
            Self::Path { .. } => "path",
        }
    }
}

/// An argument as somebody gave it: not checked by anybody but the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arg {
    /// Which.
    pub name: String,
    /// At most [`MAX_ARG`] bytes.
    pub value: String,
}

/// Longest label, in bytes.
pub const MAX_LABEL: usize = 64;
/// Longest description, in bytes.
pub const MAX_DESCRIPTION: usize = 256;
/// Longest name of an argument, in bytes.
pub const MAX_ARG_NAME: usize = 32;
/// Longest value of an argument, and longest choice or default, in bytes: a path (PATH_MAX of limits.h).
pub const MAX_ARG: usize = 4 << 10;
/// Longest pattern, in bytes.
pub const MAX_PATTERN: usize = 256;

/// Holds arguments against the limits that whoever passes them on keeps.
///
/// # Errors
/// What is wrong with them, in words.
pub fn check_args(args: &[Arg]) -> Result<(), String> {
    if args.len() > MAX_ARGS {
        return Err(format!("{} arguments are over the limit of {MAX_ARGS}", args.len()));
    }
    for (at, arg) in args.iter().enumerate() {
        if arg.name.is_empty() || arg.name.len() > MAX_ARG_NAME {
            return Err(format!(
                "the name of an argument has 1 to {MAX_ARG_NAME} bytes, one has {}",
                arg.name.len()
            ));
        }
        if arg.value.len() > MAX_ARG {
            let len = arg.value.len();
            return Err(format!("the argument {} has {len} bytes, over the limit of {MAX_ARG}", arg.name));
        }
        if args[..at].iter().any(|other| other.name == arg.name) {
            return Err(format!("the argument {} is given twice", arg.name));
        }
    }
    Ok(())
}

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
    /// Its time was up and its processes were killed.
    TimedOut,
    /// The client cancelled it, or went away, and its processes were killed.
    Cancelled,
    /// It printed more than its entry allows, and its processes were killed.
    TooMuchOutput,
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
    /// As many commands as the node, or the entry, allows are running.
    Busy,
    /// The program could not be started.
    Spawn,
    /// The node, or secmon on it, was lost before the end; whether the command went on is not known.
    Lost,
    /// The node refuses all commands: no allowlist, or one that it may not trust.
    Refused,
    /// An argument is missing, unknown, or not what the entry allows.
    BadArgument,
    /// It waited for its node until its time was over.
    Expired,
    /// The node, or its runner, was stopped and ended it.
    Stopped,
}

/// What a run took, as far as the system says (`wait4`, or the run's own cgroup).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// From start to end, in nanoseconds.
    pub wall_ns: u64,
    /// CPU time in the program, in nanoseconds.
    pub user_ns: u64,
    /// CPU time in the kernel, in nanoseconds.
    pub system_ns: u64,
    /// Most memory that one of its processes had, in bytes.
    pub max_rss: u64,
    /// What it printed, both streams together, in bytes.
    pub output: u64,
}
