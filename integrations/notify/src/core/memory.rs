//! What a restart needs, and how it is written: short, for it is written with each batch of events.
//!
//! At most 1 MiB as JSON, whatever happened. The parts, at worst: 48 digests that each destination may have of its own and 40 of rules,
//! 3 KiB each; what they share, 96 KiB of fingerprints and as much of lines; critical lists, 4 KiB for each of 24 destinations; 10,000 nodes,
//! 40 bytes each, and 64 KiB of their names.

use std::collections::BTreeMap;

use secmon_protocol::{ids::NodeId, time::UnixNanos};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    destination,
    nodes::{MAX_NODES, Node, NodeState},
};

/// Bytes of names that are kept. The hub says all of them again at the next start.
const MAX_NAMES: usize = 64 << 10;
/// The digits of [`base64url`](https://www.rfc-editor.org/rfc/rfc4648#section-5), least first: shorter than hexadecimal, and plain in JSON.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Digits of an id, and of a time in seconds.
const ID: usize = 22;
const TIME: usize = 6;
/// Characters of a node: id, two times, and what it is.
const NODE: usize = ID + 2 * TIME + 1;

/// What a restart needs of the core: open digests, limits, nodes that are away, mutes. Bounded, whatever happened: at most 1 MiB as JSON.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    pub(super) now: Option<UnixNanos>,
    pub(super) counter: u64,
    pub(super) destinations: BTreeMap<String, destination::State>,
    pub(super) nodes: Packed,
    /// Nodes were left out.
    pub(super) more_nodes: bool,
    /// The hub is away, or was and has not said yet how the nodes stand.
    pub(super) frozen: bool,
    pub(super) hub: Option<HubAway>,
}

/// The hub cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HubAway {
    /// When it is due to be told next.
    pub(super) due: Option<UnixNanos>,
    pub(super) told: bool,
}

/// The nodes, packed.
#[derive(Debug, Clone, Default)]
pub(super) struct Packed(pub(super) BTreeMap<NodeId, Node>);

/// How it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    nodes: String,
    names: Vec<String>,
}

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (mut nodes, mut names, mut room) = (String::new(), vec![], MAX_NAMES);
        for (id, node) in self.0.iter().take(MAX_NODES) {
            digits(&mut nodes, u128::from_be_bytes(id.0), ID);
            digits(&mut nodes, node.since.max(0).unsigned_abs().into(), TIME);
            digits(&mut nodes, node.mark.max(0).unsigned_abs().into(), TIME);
            let state = match node.state {
                NodeState::Here => 0,
                NodeState::Away => 1,
                NodeState::Told => 2,
                NodeState::Back => 3,
            };
            digits(&mut nodes, state + 4 * u128::from(node.blind), 1);
            let cost = node.name.len() + 3;
            let name = if cost <= room { node.name.clone() } else { String::new() };
            room = room.saturating_sub(cost);
            names.push(name);
        }
        while names.last().is_some_and(String::is_empty) {
            names.pop();
        }
        Written { nodes, names }.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Written { nodes, names } = Written::deserialize(from)?;
        let mut names = names.into_iter();
        let mut out = BTreeMap::new();
        for packed in nodes.as_bytes().chunks_exact(NODE).take(MAX_NODES) {
            let time = |at: usize| number(&packed[at..at + TIME]).and_then(|n| i64::try_from(n).ok());
            let read =
                || Some((number(&packed[..ID])?, time(ID)?, time(ID + TIME)?, number(&packed[NODE - 1..])?));
            let (id, since, mark, what) =
                read().ok_or_else(|| serde::de::Error::custom("the nodes are not as they were written"))?;
            let state = match what % 4 {
                0 => NodeState::Here,
                1 => NodeState::Away,
                2 => NodeState::Told,
                _ => NodeState::Back,
            };
            let name = names.next().unwrap_or_default();
            out.insert(NodeId(id.to_be_bytes()), Node { name, state, since, mark, blind: what >= 4 });
        }
        Ok(Self(out))
    }
}

fn digits(out: &mut String, mut number: u128, count: usize) {
    for _ in 0..count {
        out.push(char::from(DIGITS[(number % 64) as usize]));
        number /= 64;
    }
}

fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().rev().try_fold(0u128, |sum, digit| {
        let value = DIGITS.iter().position(|known| known == digit)?;
        sum.checked_mul(64)?.checked_add(value as u128)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_read_back_as_they_were() {
        let node = |byte: u8, name: &str, state| {
            let mark = 1_800_000_000 + i64::from(byte);
            (
                NodeId([byte; 16]),
                Node { name: name.into(), state, since: 1_799_999_999, mark, blind: byte < 3 },
            )
        };
        let nodes: BTreeMap<_, _> = [
            node(255, "web-1", NodeState::Told),
            node(2, "", NodeState::Here),
            node(7, "db", NodeState::Away),
            node(8, "", NodeState::Back),
        ]
        .into();
        let json = serde_json::to_string(&Packed(nodes.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Packed>(&json).unwrap().0, nodes);
        let broken = json.replacen("\"nodes\":\"", "\"nodes\":\"!", 1);
        assert!(serde_json::from_str::<Packed>(&broken).is_err());
    }
}
