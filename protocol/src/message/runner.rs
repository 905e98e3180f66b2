//! Node and runner, over the runner's Unix socket. The kernel says who the node is.
//!
//! The runner is the part that reads the allowlist and starts processes; it may be another process, as root, or a task
//! of the node. It knows neither hubs nor clients nor detached jobs: it starts what its file allows, passes bytes under
//! credit, and ends what it is told to end, or when the connection ends.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Refusal, fragmented};
use crate::{
    bounded,
    codec::Fragment,
    command::{Arg, CommandInfo, OutputStream, RunEnd, Usage},
    ids::JobId,
    limits::{MAX_ARGS, MAX_COMMANDS},
};

/// The version of this conversation.
pub const VERSION: u16 = 1;

/// What a node sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeToRunner {
    /// The first message, and only the first. Frozen for ever.
    Hello {
        /// The newest version that the node speaks.
        version: u16,
        /// The node's version, `0.1.0`.
        agent: String,
    },
    /// Start a command. Answered by Started, Output … and Exit, or by Exit alone.
    Start {
        /// The run's number; unique among the runs that have not ended.
        job: JobId,
        /// Which command.
        label: String,
        /// With which arguments.
        #[serde(deserialize_with = "bounded::list::<_, _, MAX_ARGS>")]
        args: Vec<Arg>,
        /// Output that may be sent at once; see [`crate::limits::chunk_cost`].
        credit: u32,
        /// Whether there is input, if the entry allows any.
        stdin: bool,
    },
    /// A piece of a run's input.
    Stdin {
        /// The run.
        job: JobId,
        /// At most [`crate::limits::MAX_CHUNK`] bytes; none: its end.
        data: Bytes,
    },
    /// More output of a run may be sent.
    Credit {
        /// The run.
        job: JobId,
        /// How much more.
        credit: u32,
    },
    /// End a run: TERM to its processes, then KILL.
    Cancel {
        /// The run.
        job: JobId,
    },
    /// A piece of a larger message.
    Fragment(Fragment),
}

/// What a runner sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunnerToNode {
    /// The node may speak. Frozen for ever.
    Welcome {
        /// The version that the two will speak.
        version: u16,
        /// The runner's version, `0.1.0`.
        agent: String,
    },
    /// The node may not; the connection ends. Frozen for ever.
    Reject(Refusal),
    /// What may be run, all of it: after Welcome, and again when it has changed.
    Commands(#[serde(deserialize_with = "bounded::list::<_, _, MAX_COMMANDS>")] Vec<CommandInfo>),
    /// A run's process stands.
    Started {
        /// The run.
        job: JobId,
        /// Its process.
        pid: u32,
    },
    /// What a run printed, in the order in which it came out of its two pipes.
    Output {
        /// The run.
        job: JobId,
        /// Which stream.
        stream: OutputStream,
        /// At most [`crate::limits::MAX_CHUNK`] bytes.
        data: Bytes,
    },
    /// More of a run's input may be sent.
    StdinCredit {
        /// The run.
        job: JobId,
        /// How much more.
        credit: u32,
    },
    /// A run is over, and all its output was sent.
    Exit {
        /// The run.
        job: JobId,
        /// How it ended.
        end: RunEnd,
        /// What it took; none where it was not started.
        usage: Option<Usage>,
    },
    /// A piece of a larger message.
    Fragment(Fragment),
}

fragmented!(NodeToRunner);
fragmented!(RunnerToNode);
