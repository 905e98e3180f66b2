//! The smallest thing that notify needs of a service: to send a notice, and to edit what was sent.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::Notice;

/// What a service gave for a message, by which it can be edited; opaque to all but that service. At most 256 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt(pub String);

/// Why a message was not taken. The text never holds a token, nor an address that is a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The service cannot be reached, or was cut off before it answered: tried again for ever, and never the message's
    /// fault. It may have arrived all the same.
    #[error("cannot reach the service: {reason}")]
    Unreachable {
        /// Why.
        reason: String,
    },
    /// The service wants less (429): tried again, not before `after`, and never the message's fault.
    #[error("the service wants us to wait{}", .after.map(|after| format!(" for {} s", after.as_secs_f32().ceil())).unwrap_or_default())]
    Busy {
        /// How long, where it says so.
        after: Option<Duration>,
    },
    /// The service failed (5xx): tried again; after many times the message may be the cause, and is set aside.
    #[error("the service failed: {reason}")]
    Failed {
        /// Its words.
        reason: String,
    },
    /// The service does not take this message (400, 413 …): set aside after a few tries.
    #[error("the service does not take it: {reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// The service takes nothing for this destination any more (a blocked bot, a deleted webhook, a wrong token): the message is
    /// set aside at once, and the reason is an operator's to mend.
    #[error("the service takes nothing for this destination: {reason}")]
    Forbidden {
        /// Its words, and what to do.
        reason: String,
    },
    /// What was to be edited is not there any more: the notice is sent anew.
    #[error("the message that was to be edited is gone")]
    Vanished,
}

/// A message on its way.
pub type Sending<'a, T> = BoxFuture<'a, Result<T, SendError>>;

/// One destination of a service: a chat, a webhook, a topic. A call ends within a minute, by a timeout of its own.
pub trait Service: Send + Sync + std::fmt::Debug {
    /// Whether what was sent can be edited.
    fn edits(&self) -> bool;

    /// Sends a notice, as one message.
    fn send<'a>(&'a self, notice: &'a Notice) -> Sending<'a, Receipt>;

    /// Replaces a message by a newer notice. Nothing to change is no error.
    fn edit<'a>(&'a self, receipt: &'a Receipt, notice: &'a Notice) -> Sending<'a, ()>;
}

/// A destination and where it leads.
#[derive(Debug, Clone)]
pub struct Destination {
    /// Its name, in the configuration and on disk. No two have the same.
    pub name: String,
    /// Its own rules.
    pub section: crate::config::DestinationSection,
    /// Where it leads.
    pub service: Arc<dyn Service>,
}
