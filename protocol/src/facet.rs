//! Facets: the parts of a node's state, each of which is known, unwatched, or out of reach.
//!
//! A monitor that cannot see must never look like one that sees nobody; that is why "no entries" and
//! "unavailable" are different variants and not an empty map.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::limits::clip;

/// Which facet. A number and not an enum: the hub carries facets that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FacetId(pub u16);

impl FacetId {
    /// Who is logged in: [`crate::session::Session`].
    pub const SESSIONS: Self = Self(1);
    /// WireGuard peers: [`crate::wireguard::WgPeer`].
    pub const WG_PEERS: Self = Self(2);
    /// Which auth log is read: [`crate::auth::AuthLogSource`].
    pub const AUTH_LOG: Self = Self(3);
    /// The facets that this version knows, in the order in which people see them.
    pub const KNOWN: [Self; 3] = [Self::SESSIONS, Self::WG_PEERS, Self::AUTH_LOG];
}

impl fmt::Display for FacetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SESSIONS => f.write_str("sessions"),
            Self::WG_PEERS => f.write_str("wg_peers"),
            Self::AUTH_LOG => f.write_str("auth_log"),
            Self(n) => write!(f, "facet_{n}"),
        }
    }
}

/// One facet: `K` and `V` are typed at a node's watcher and bytes everywhere else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Facet<K: Ord, V> {
    /// Not known yet; a watcher is at it.
    #[default]
    Pending,
    /// Switched off in the configuration.
    NotMonitored,
    /// It cannot be seen.
    Unavailable(Unavailable),
    /// What there is, which may be nothing.
    Ready(BTreeMap<K, V>),
}

impl<K: Ord, V> Facet<K, V> {
    /// An unavailable facet; see [`Unavailable`]. Texts over [`crate::limits::MAX_FIELD`] are cut.
    #[must_use]
    pub fn unavailable(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unavailable(Unavailable { reason: reason.into(), remedy: remedy.into() }.clipped())
    }

    /// The facet without its entries.
    #[must_use]
    pub fn status(&self) -> FacetStatus {
        match self {
            Self::Pending => FacetStatus::Pending,
            Self::NotMonitored => FacetStatus::NotMonitored,
            Self::Unavailable(why) => FacetStatus::Unavailable(why.clone()),
            Self::Ready(_) => FacetStatus::Ready,
        }
    }
}

/// Why a facet cannot be seen, in words for the person who reads them; each at most
/// [`crate::limits::MAX_FIELD`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unavailable {
    /// What was tried, on what, and why it failed: `cannot read /var/log/auth.log: permission denied`.
    pub reason: String,
    /// What would mend it: `run the node as root, or add its user to group adm`. May be empty.
    pub remedy: String,
}

impl Unavailable {
    /// The same with both texts cut to what a hub accepts.
    #[must_use]
    pub(crate) fn clipped(&self) -> Self {
        Self { reason: clip(&self.reason).to_owned(), remedy: clip(&self.remedy).to_owned() }
    }
}

/// A [`Facet`] without its entries. Numbers are frozen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum FacetStatus {
    /// Not known yet.
    #[default]
    Pending,
    /// Switched off in the configuration.
    NotMonitored,
    /// It cannot be seen.
    Unavailable(Unavailable),
    /// Its entries are known.
    Ready,
}

impl FacetStatus {
    /// The word used outward.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::NotMonitored => "not_monitored",
            Self::Unavailable(_) => "unavailable",
            Self::Ready => "ready",
        }
    }
}
