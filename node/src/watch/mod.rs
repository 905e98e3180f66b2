//! Watchers: the edges that see. Each looks at one part of the server and reports what it sees, whole,
//! as an [`Observation`]; working out what changed is the core's business.
//!
//! A watcher never ends on its own: what it cannot read it reports as unavailable, and it keeps looking
//! for the moment when it can. It ends when its token is cancelled.

pub mod auth;
mod path_watch;
pub mod sessions;
pub mod wireguard;

use secmon_protocol::{
    auth::{AuthEvent, AuthLogSource},
    facet::Facet,
    session::Session,
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
}

/// Where watchers send what they see. Bounded: a watcher waits when the core is behind.
pub type Observations = mpsc::Sender<Observation>;
