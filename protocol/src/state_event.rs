//! What stands, as events: the entries of a snapshot, one each, for those who read state and events as one
//! stream.

use crate::{
    codec::{self, CodecError},
    event::{Detail, Event},
    facet::{FacetId, FacetStatus},
    ids::Cursor,
    message::client::{FacetSummary, NodeDetail, NodeSummary},
    session::Session,
    time::UnixNanos,
    wireguard::{WgPeer, WgPeerKey},
};

/// Something that stands, as opposed to something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum StateEntry {
    /// A node, and whether it is connected.
    Node(Box<NodeSummary>),
    /// What can be seen of a node, and how many entries there are.
    Facet(FacetSummary),
    /// A session and its key.
    Session(String, Session),
    /// A WireGuard peer.
    Wg(WgPeerKey, WgPeer),
}

impl StateEntry {
    /// The `secmon.type` of each kind.
    pub const TYPES: [&str; 4] = ["node.state", "facet.state", "session.state", "wg.peer_state"];

    /// The `secmon.type`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        Self::TYPES[match self {
            Self::Node(_) => 0,
            Self::Facet(_) => 1,
            Self::Session(..) => 2,
            Self::Wg(..) => 3,
        }]
    }
}

/// The entries of a node as it stood at `at`: itself, its facets, its sessions, its peers. `time` is when the
/// snapshot was taken. What cannot be decoded becomes [`Detail::Unreadable`].
#[must_use]
pub fn state_of(node: &NodeDetail, at: Cursor, time: UnixNanos) -> Vec<Event> {
    let summary = &node.summary;
    let mut details = vec![Detail::State(StateEntry::Node(Box::new(summary.clone())))];
    let said = summary.facets.iter().filter(|facet| facet.status != FacetStatus::Pending);
    details.extend(said.map(|facet| Detail::State(StateEntry::Facet(facet.clone()))));
    details.extend(node.entries.iter().filter_map(|(facet, key, value)| {
        let (entry, kind) = match *facet {
            FacetId::SESSIONS => (session(key, value), StateEntry::TYPES[2]),
            FacetId::WG_PEERS => (peer(key, value), StateEntry::TYPES[3]),
            // Of the others the facet's own line says enough.
            _ => return None,
        };
        Some(entry.map_or_else(
            |error| Detail::Unreadable { types: vec![kind.to_owned()], reason: error.to_string() },
            Detail::State,
        ))
    }));
    let event = |detail| Event {
        id: String::new(),
        cursor: Some(at),
        node: Some((summary.id, summary.name.clone())),
        time,
        detail,
    };
    details.into_iter().map(event).collect()
}

fn session(key: &[u8], value: &[u8]) -> Result<StateEntry, CodecError> {
    Ok(StateEntry::Session(codec::decode_value(key)?, codec::decode_value(value)?))
}

fn peer(key: &[u8], value: &[u8]) -> Result<StateEntry, CodecError> {
    Ok(StateEntry::Wg(codec::decode_value(key)?, codec::decode_value(value)?))
}
