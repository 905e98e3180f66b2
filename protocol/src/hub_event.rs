//! Records of the hub's own: about nodes, and about commands.

use serde::{Deserialize, Serialize};

use crate::{
    command::RunEnd,
    event::EventType,
    ids::{JobId, Seq},
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
    Removed,
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
    /// A command was handed to a node.
    CommandStarted {
        /// The run.
        job: JobId,
        /// Which command.
        label: String,
        /// Who asked.
        by: Requester,
    },
    /// A run ended.
    CommandFinished {
        /// The run.
        job: JobId,
        /// Which command.
        label: String,
        /// Who asked.
        by: Requester,
        /// How it ended.
        end: RunEnd,
    },
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
            Self::Removed => EventType::NodeRemoved,
            Self::Connected { .. } => EventType::NodeConnected,
            Self::Disconnected { .. } => EventType::NodeDisconnected,
            Self::Gap { .. } => EventType::Gap,
            Self::CommandStarted { .. } => EventType::CommandStarted,
            Self::CommandFinished { .. } => EventType::CommandFinished,
        }
    }
}
