//! Jobs, as a client asks for them and is told of them.

use serde::{Deserialize, Serialize};

use crate::{
    bounded,
    command::{RunEnd, Usage},
    hub_event::CommandRun,
    ids::{NodeId, NodeName},
    limits::MAX_PATTERNS,
    time::UnixNanos,
};

/// Which jobs somebody asks about. An empty list takes all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobFilter {
    /// Patterns for the node's name or its id, as in [`super::Filter`].
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_PATTERNS>")]
    pub nodes: Vec<String>,
    /// States.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_PATTERNS>")]
    pub states: Vec<JobState>,
    /// Most jobs of the answer; 0: [`crate::limits::MAX_JOBS`].
    pub limit: u32,
}

/// Where a job stands. Numbers are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum JobState {
    /// It waits for its node.
    Queued,
    /// It was handed to its node, which has not said that its process stands.
    Sent,
    /// Its process stands.
    Running,
    /// Its process ended: by itself, by a signal, or because of its time or its output.
    Finished,
    /// It was not run: its node refused it, or could not start it.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
    /// Its node did not come in time.
    Expired,
    /// Its node died under it, or was removed.
    Lost,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Sent,
        Self::Running,
        Self::Finished,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
        Self::Lost,
    ];

    /// The word used outward.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Lost => "lost",
        }
    }

    /// Whether nothing more will come of it.
    #[must_use]
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Queued | Self::Sent | Self::Running)
    }
}

/// One job: a detached command, from its queueing until it is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSummary {
    /// The node's id.
    pub node: NodeId,
    /// The node's name when it was made.
    pub name: NodeName,
    /// What runs, for whom.
    pub run: CommandRun,
    /// Where it stands.
    pub state: JobState,
    /// When it was asked for.
    pub made: UnixNanos,
    /// Until when it may wait for its node; none where it did not have to.
    pub expires: Option<UnixNanos>,
    /// When its process came to stand.
    pub started: Option<UnixNanos>,
    /// When it was over.
    pub ended: Option<UnixNanos>,
    /// How it ended.
    pub end: Option<RunEnd>,
    /// What it took.
    pub usage: Option<Usage>,
    /// Bytes that it printed, as far as the hub has heard of them.
    pub output: u64,
    /// How many of them are not kept.
    pub dropped: u64,
}
