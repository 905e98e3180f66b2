//! Records of the hub's own: about nodes, and about commands.

use serde::{Deserialize, Serialize};

use crate::{
    bounded,
    command::{Arg, RunEnd, Usage},
    event::EventType,
    ids::{JobId, Seq},
    limits::MAX_ARGS,
    time::UnixNanos,
};

/// What the hub has to say. Numbers are frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HubEvent {
    /// A node spent its token and has its certificate.
    Enrolled {
        /// Whether it took the place of an earlier enrolment under the same name.
        replaced: bool,
    },
    /// A node was removed.
    Removed {
        /// By whom.
        by: Requester,
    },
    /// A node's connection stands.
    Connected {
        /// The node's address.
        address: String,
        /// The node's version.
        agent: String,
    },
    /// A node's connection ended.
    Disconnected {
        /// Why, in words.
        reason: String,
    },
    /// Records of a node are missing, by the node's own numbers.
    Gap {
        /// The first that is missing.
        from: Seq,
        /// The last.
        to: Seq,
        /// Why, in words.
        reason: String,
    },
    /// A command's process stands on its node.
    CommandStarted(CommandRun),
    /// A command that had started, or waited in the queue, ended.
    CommandFinished {
        /// Which.
        run: CommandRun,
        /// How it ended.
        end: RunEnd,
        /// What it took; none where no process ended.
        usage: Option<Usage>,
    },
    /// A command was not started: the hub or the node refused it.
    CommandRefused {
        /// Which.
        run: CommandRun,
        /// Why, in words.
        reason: String,
    },
    /// A job waits for its node.
    CommandQueued {
        /// Which.
        run: CommandRun,
        /// When it is given up.
        expires: UnixNanos,
    },
    /// Somebody asked for something that no access rule allows him.
    Denied {
        /// Who.
        by: Requester,
        /// What was asked, in words: `enroll web-2`.
        request: String,
        /// What he lacks, in words.
        reason: String,
        /// How many further ones of his were not logged, for there were too many, since the one before this.
        unlogged: u64,
    },
}

/// A command, on whose behalf it runs, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRun {
    /// The run.
    pub job: JobId,
    /// Which command.
    pub label: String,
    /// With which arguments, as they were given.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_ARGS>")]
    pub args: Vec<Arg>,
    /// Who asked.
    pub by: Requester,
    /// Whether it goes on without the client that asked.
    pub detached: bool,
}

/// The person behind a request, as the kernel names the peer of the hub's socket (SO_PEERCRED).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requester {
    /// The user id.
    pub uid: u32,
    /// The user's name on the hub, where the uid has one.
    pub user: Option<String>,
    /// The process.
    pub pid: Option<i32>,
    /// The program, in its own words: `secmon 0.1.0`.
    pub agent: String,
}

impl HubEvent {
    /// The `secmon.type` of the event.
    #[must_use]
    pub fn event_type(&self) -> EventType {
        match self {
            Self::Enrolled { .. } => EventType::NodeEnrolled,
            Self::Removed { .. } => EventType::NodeRemoved,
            Self::Connected { .. } => EventType::NodeConnected,
            Self::Disconnected { .. } => EventType::NodeDisconnected,
            Self::Gap { .. } => EventType::Gap,
            Self::CommandStarted(_) => EventType::CommandStarted,
            Self::CommandFinished { .. } => EventType::CommandFinished,
            Self::CommandRefused { .. } => EventType::CommandRefused,
            Self::CommandQueued { .. } => EventType::CommandQueued,
            Self::Denied { .. } => EventType::AccessDenied,
        }
    }
}
