//! The edges: connections of nodes, of joining nodes and of clients. Each has its own task; whatever goes
//! wrong on one ends that one, with a reason in the log.
//!
//! No decisions about nodes or commands here: those are the core's.

pub(crate) mod accept;
pub(crate) mod client;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod intake;
mod join;
mod node;
mod places;
mod report;
mod tcp;
mod wire;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::report::Report;
use crate::{
    HubSection,
    access::Access,
    actor::{Handle, Users},
    ca::Ca,
    log::Log,
};

/// A peer that has not finished its handshake and said its first message by then is cut off.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);

/// What every connection shares.
pub(crate) struct Shared {
    /// The way to the actor.
    pub(crate) actor: Handle,
    /// The log.
    pub(crate) log: Log,
    /// Who may do what.
    pub(crate) access: Access,
    /// Signs the papers of those who join.
    pub(crate) ca: Ca,
    /// The configuration.
    pub(crate) hub: HubSection,
    /// The address for nodes, with the port that it really has.
    pub(crate) address: SocketAddr,
    /// Time between heartbeats.
    pub(crate) heartbeat: Duration,
    /// The deadline for a first message.
    pub(crate) first_message: Duration,
    /// The hub is stopping: nobody new, and nodes end.
    pub(crate) stop: CancellationToken,
    /// The log has come to its end: clients end once they have it.
    pub(crate) finish: CancellationToken,
    /// The tasks that take connections, and those of nodes.
    pub(crate) tasks: TaskTracker,
    /// The tasks of clients.
    pub(crate) clients: TaskTracker,
    /// Says in the log how connections end.
    pub(crate) report: Report,
    /// What users do not read.
    pub(crate) unread: Users,
    next: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        actor: Handle,
        log: Log,
        (ca, access): (Ca, Access),
        (hub, address): (HubSection, SocketAddr),
        stop: CancellationToken,
    ) -> Self {
        let heartbeat = hub.heartbeat();
        Self {
            hub,
            address,
            actor,
            log,
            access,
            ca,
            heartbeat,
            // A test that shortens the heartbeat shortens the patience with silent strangers, too.
            first_message: FIRST_MESSAGE.min(heartbeat * 3),
            stop,
            finish: CancellationToken::new(),
            tasks: TaskTracker::new(),
            clients: TaskTracker::new(),
            report: Report::default(),
            unread: Users::default(),
            next: AtomicU64::new(1),
        }
    }

    /// A number that no other connection has.
    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// As connections end.
    Usual(String),
    /// The peer broke the protocol, or was turned away.
    Bad(String),
}

impl Ending {
    /// The hub ends it because it stops.
    fn stopping() -> Self {
        Self::Usual("the hub is stopping".to_owned())
    }

    fn reason(&self) -> &str {
        match self {
            Self::Usual(reason) | Self::Bad(reason) => reason,
        }
    }
}

impl From<wire::WireError> for Ending {
    fn from(error: wire::WireError) -> Self {
        match error {
            wire::WireError::Closed => Self::Usual("the peer closed the connection".to_owned()),
            wire::WireError::Io(error) => Self::Usual(format!("the connection failed: {error}")),
            silent @ wire::WireError::Silent(_) => Self::Usual(silent.to_string()),
            broken => Self::Bad(broken.to_string()),
        }
    }
}
