//! Watchers: the edges that see. Each looks at one part of the server and reports what it sees, whole,
//! as an [`Observation`]; working out what changed is the core's business.
//!
//! A watcher never ends on its own: what it cannot read it reports as unavailable, and it keeps looking
//! for the moment when it can. It ends when its token is cancelled.

pub mod auth;
mod log_file;
pub(crate) mod path_watch;
pub mod sessions;
pub mod wireguard;

use std::collections::BTreeMap;

use bytes::Bytes;
use secmon_protocol::{
    auth::{AuthEvent, AuthLogSource},
    facet::Facet,
    session::Session,
    state::NodeState,
    wireguard::{WgPeer, WgPeerKey},
};
use tokio::sync::mpsc;

/// What a watcher saw.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// All sessions, by a key that is stable while the session lives and across restarts of the node.
    Sessions(Facet<String, Session>),
    /// All WireGuard peers.
    WgPeers(Facet<WgPeerKey, WgPeer>),
    /// Which auth log is read, or why none is.
    AuthLog(Facet<String, AuthLogSource>),
    /// One event of the auth log.
    Auth(Box<AuthEvent>),
    /// A login that failed, of a log that says less than the auth log; it counts only where no auth log is read.
    BadLogin(Box<AuthEvent>),
    /// Sessions, or events of the auth log, may have gone unseen, and why.
    Missed(String),
    /// How far a source has been read.
    Place(Place),
    /// Several at once: kept whole or not at all, so that what was read and how far are never apart.
    Together(Vec<Observation>),
}

/// A place in a source, kept for the next start of the node in the same transaction as what was read before
/// it. What it means only its watcher knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which source: `journald`, `file:/var/log/auth.log`, `wtmp:/var/log/wtmp` …
    pub source: String,
    /// The place, in its watcher's own form, at most [`MAX_PLACE`] bytes.
    pub at: Bytes,
}

/// Largest [`Place::at`], in bytes.
pub const MAX_PLACE: usize = 256 << 10;

/// What the node knew when it last stopped.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The places of the sources; empty on the first start.
    pub places: BTreeMap<String, Bytes>,
    /// The state as it was last reported.
    pub state: NodeState,
}

/// Where watchers send what they see. Bounded: a watcher waits when the core is behind.
pub type Observations = mpsc::Sender<Observation>;
