//! The messages of the four conversations. A released message never changes: what changes is a new
//! protocol version beside it, with golden vectors of its own.

pub mod client;
pub mod join;
pub mod node;
pub mod runner;

use serde::{Deserialize, Serialize};

use crate::limits::MAX_NEAR;

/// Why a peer was turned away. Numbers are frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorCode {
    /// The message breaks the protocol, or comes where it has no place.
    Protocol,
    /// Not a version that the other side speaks.
    Version,
    /// The peer may not do that.
    NotPermitted,
    /// No node of that name, id or unique prefix of an id.
    UnknownNode,
    /// The node is known but not connected.
    NodeAway,
    /// The node has no command of that label.
    UnknownLabel,
    /// Another node has that name.
    NameTaken,
    /// The token is not one of this hub's.
    TokenUnknown,
    /// The token was used.
    TokenUsed,
    /// The token's time is over.
    TokenExpired,
    /// A limit was reached.
    TooMany,
    /// Something is wrong with the hub itself.
    Internal,
    /// A place that the hub's log never had.
    BadCursor,
    /// No job of that number, or several whose numbers begin so.
    UnknownJob,
    /// The job is in a state in which that cannot be done.
    JobState,
}

/// A refusal: a code for programs and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what was tried, why it failed, what to do.
    pub message: String,
    /// Names near to one that was not found, nearest first, at most [`MAX_NEAR`].
    #[serde(deserialize_with = "crate::bounded::list::<_, _, MAX_NEAR>")]
    pub near: Vec<String>,
}

impl Refusal {
    /// A refusal without names.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), near: vec![] }
    }
}

macro_rules! fragmented {
    ($message:ty $(, $sharing:path)?) => {
        impl crate::codec::Message for $message {
            $(fn sharing(frame: &bytes::Bytes) -> Option<Self> {
                $sharing(frame)
            })?
            fn fragment(fragment: crate::codec::Fragment) -> Self {
                Self::Fragment(fragment)
            }
            fn into_fragment(self) -> Result<crate::codec::Fragment, Self> {
                match self {
                    Self::Fragment(fragment) => Ok(fragment),
                    other => Err(other),
                }
            }
        }
    };
}
pub(crate) use fragmented;
