//! A node's state as facets of bytes, and the diff between two of them.
//!
//! This is the level on which the hub works: it applies operations and never decodes a key or a value.
//! `apply(a, diff(a, b)) == b` for all a and b.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, Value},
    facet::{Facet, FacetId, FacetStatus},
    limits::MAX_ENTRIES,
};

/// A facet whose keys and values are encoded.
pub type RawFacet = Facet<Bytes, Bytes>;

impl RawFacet {
    /// A typed facet in encoded form.
    #[must_use]
    pub fn encode<K: Value + Ord, V: Value>(facet: &Facet<K, V>) -> Self {
        match facet {
            Facet::Pending => Self::Pending,
            Facet::NotMonitored => Self::NotMonitored,
            Facet::Unavailable(why) => Self::Unavailable(why.clone()),
            Facet::Ready(entries) => Self::Ready(
                entries.iter().map(|(k, v)| (codec::encode_value(k), codec::encode_value(v))).collect(),
            ),
        }
    }

    fn without_entries(status: &FacetStatus) -> Self {
        match status {
            FacetStatus::Pending => Self::Pending,
            FacetStatus::NotMonitored => Self::NotMonitored,
            FacetStatus::Unavailable(why) => Self::Unavailable(why.clone()),
            FacetStatus::Ready => Self::Ready(BTreeMap::new()),
        }
    }
}

/// Everything stored about a node, by facet. A facet that is not there is pending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeState {
    facets: BTreeMap<FacetId, RawFacet>,
}

/// One change of one facet. Numbers are frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// The facet's status changed, and with it all its entries went away; those of a facet that became
    /// ready follow as `Added`.
    Status {
        /// Which facet.
        facet: FacetId,
        /// What it was.
        old: FacetStatus,
        /// What it is.
        new: FacetStatus,
    },
    /// An entry came.
    Added {
        /// Which facet.
        facet: FacetId,
        /// Its key.
        key: Bytes,
        /// Its value.
        new: Bytes,
    },
    /// An entry changed.
    Changed {
        /// Which facet.
        facet: FacetId,
        /// Its key.
        key: Bytes,
        /// What it was.
        old: Bytes,
        /// What it is.
        new: Bytes,
    },
    /// An entry went.
    Removed {
        /// Which facet.
        facet: FacetId,
        /// Its key.
        key: Bytes,
        /// What it was.
        old: Bytes,
    },
}

impl Op {
    /// The facet that it changes.
    #[must_use]
    pub fn facet(&self) -> FacetId {
        match self {
            Self::Status { facet, .. }
            | Self::Added { facet, .. }
            | Self::Changed { facet, .. }
            | Self::Removed { facet, .. } => *facet,
        }
    }
}

/// A diff that does not fit the state it was applied to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the diff does not fit: {what} in facet {facet}")]
pub struct Misfit {
    /// The facet.
    pub facet: FacetId,
    /// What does not fit.
    pub what: &'static str,
}

impl NodeState {
    /// A facet; pending where there is none.
    #[must_use]
    pub fn facet(&self, id: FacetId) -> &RawFacet {
        const PENDING: &RawFacet = &RawFacet::Pending;
        self.facets.get(&id).unwrap_or(PENDING)
    }

    /// All facets that are not pending.
    pub fn facets(&self) -> impl Iterator<Item = (FacetId, &RawFacet)> {
        self.facets.iter().map(|(id, facet)| (*id, facet))
    }

    /// Puts a facet in the place of what was there.
    pub fn set(&mut self, id: FacetId, facet: RawFacet) {
        match facet {
            RawFacet::Pending => self.facets.remove(&id),
            facet => self.facets.insert(id, facet),
        };
    }

    /// The operations that make this state from nothing.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Op> {
        diff(&Self::default(), self)
    }

    /// The state that a snapshot describes.
    ///
    /// # Errors
    /// Operations that do not begin with nothing.
    pub fn from_snapshot(ops: &[Op]) -> Result<Self, Misfit> {
        let mut state = Self::default();
        state.apply(ops)?;
        Ok(state)
    }

    /// Applies a diff whole, or leaves the state as it was.
    ///
    /// # Errors
    /// The first operation that does not fit.
    pub fn apply(&mut self, ops: &[Op]) -> Result<(), Misfit> {
        let mut undo = Vec::with_capacity(ops.len());
        for op in ops {
            match self.apply_one(op) {
                Ok(step) => undo.push(step),
                Err(misfit) => {
                    undo.into_iter().rev().for_each(|step| self.undo(step));
                    return Err(misfit);
                }
            }
        }
        Ok(())
    }

    fn apply_one(&mut self, op: &Op) -> Result<Undo, Misfit> {
        let facet = op.facet();
        let misfit = |what| Misfit { facet, what };
        if let Op::Status { old, new, .. } = op {
            if self.facet(facet).status() != *old {
                return Err(misfit("another status was expected"));
            }
            let before = self.facets.remove(&facet).unwrap_or_default();
            self.set(facet, RawFacet::without_entries(new));
            return Ok(Undo::Facet(facet, before));
        }
        let entries = self.entries(facet).ok_or_else(|| misfit("it is not ready"))?;
        match op {
            Op::Status { .. } => Err(misfit("a status twice")),
            Op::Added { key, .. } if entries.contains_key(key) => Err(misfit("an added entry was there")),
            Op::Added { .. } if entries.len() >= MAX_ENTRIES => Err(misfit("it has too many entries")),
            Op::Added { key, new, .. } => {
                entries.insert(key.clone(), new.clone());
                Ok(Undo::Remove(facet, key.clone()))
            }
            Op::Changed { key, old, new, .. } => match entries.get_mut(key) {
                Some(value) if value == old => {
                    *value = new.clone();
                    Ok(Undo::Put(facet, key.clone(), old.clone()))
                }
                _ => Err(misfit("a changed entry was another")),
            },
            Op::Removed { key, old, .. } => match entries.get(key) {
                Some(value) if value == old => {
                    entries.remove(key);
                    Ok(Undo::Put(facet, key.clone(), old.clone()))
                }
                _ => Err(misfit("a removed entry was another")),
            },
        }
    }

    fn undo(&mut self, step: Undo) {
        match step {
            Undo::Facet(facet, before) => self.set(facet, before),
            Undo::Put(facet, key, value) => {
                self.entries(facet).map(|entries| entries.insert(key, value));
            }
            Undo::Remove(facet, key) => {
                self.entries(facet).map(|entries| entries.remove(&key));
            }
        }
    }

    fn entries(&mut self, facet: FacetId) -> Option<&mut BTreeMap<Bytes, Bytes>> {
        match self.facets.get_mut(&facet) {
            Some(RawFacet::Ready(entries)) => Some(entries),
            _ => None,
        }
    }
}

/// What takes one applied operation back.
enum Undo {
    Facet(FacetId, RawFacet),
    Put(FacetId, Bytes, Bytes),
    Remove(FacetId, Bytes),
}

/// The operations that turn `a` into `b`; none when they are equal.
#[must_use]
pub fn diff(a: &NodeState, b: &NodeState) -> Vec<Op> {
    let mut ids: Vec<FacetId> = a.facets.keys().chain(b.facets.keys()).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let mut ops = Vec::new();
    for id in ids {
        diff_facet(id, a.facet(id), b.facet(id), &mut ops);
    }
    ops
}

fn diff_facet(facet: FacetId, a: &RawFacet, b: &RawFacet, ops: &mut Vec<Op>) {
    let none = BTreeMap::new();
    let (old, new) = match (a, b) {
        (Facet::Ready(old), Facet::Ready(new)) => (old, new),
        _ => {
            let (old, new) = (a.status(), b.status());
            if old != new {
                ops.push(Op::Status { facet, old, new });
            }
            match b {
                Facet::Ready(new) => (&none, new),
                _ => return,
            }
        }
    };
    for (key, value) in old {
        match new.get(key) {
            None => ops.push(Op::Removed { facet, key: key.clone(), old: value.clone() }),
            Some(now) if now != value => {
                ops.push(Op::Changed { facet, key: key.clone(), old: value.clone(), new: now.clone() });
            }
            Some(_) => {}
        }
    }
    for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        ops.push(Op::Added { facet, key: key.clone(), new: value.clone() });
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_map, prelude::*};

    use super::*;
    use crate::facet::Unavailable;

    fn facet() -> impl Strategy<Value = RawFacet> {
        let bytes = || {
            prop::sample::select(vec!["", "a", "b", "c", "d"]).prop_map(|s| Bytes::from_static(s.as_bytes()))
        };
        prop_oneof![
            Just(RawFacet::Pending),
            Just(RawFacet::NotMonitored),
            "[xy]".prop_map(|reason| RawFacet::Unavailable(Unavailable { reason, remedy: String::new() })),
            btree_map(bytes(), bytes(), 0..5).prop_map(RawFacet::Ready),
            btree_map(bytes(), bytes(), 0..5).prop_map(RawFacet::Ready),
        ]
    }

    fn state() -> impl Strategy<Value = NodeState> {
        btree_map(1_u16..4, facet(), 0..4).prop_map(|facets| {
            let mut state = NodeState::default();
            for (id, facet) in facets {
                state.set(FacetId(id), facet);
            }
            state
        })
    }

    proptest! {
        #[test]
        fn a_diff_applied_to_the_first_state_gives_the_second(a in state(), b in state()) {
            let ops = diff(&a, &b);
            prop_assert_eq!(ops.is_empty(), a == b);
            let mut applied = a.clone();
            prop_assert_eq!(applied.apply(&ops), Ok(()));
            prop_assert_eq!(applied, b);
        }

        #[test]
        fn a_snapshot_is_the_state(a in state()) {
            prop_assert_eq!(NodeState::from_snapshot(&a.snapshot()), Ok(a));
        }

        #[test]
        fn a_diff_that_does_not_fit_changes_nothing(a in state(), b in state(), c in state()) {
            let ops = diff(&b, &c);
            let mut applied = a.clone();
            match applied.apply(&ops) {
                Ok(()) => prop_assert!(diff(&a, &applied).len() <= ops.len()),
                Err(_) => prop_assert_eq!(applied, a),
            }
        }

        #[test]
        fn operations_survive_the_wire(a in state(), b in state()) {
            let ops = diff(&a, &b);
            let list = codec::encode_list(&ops);
            prop_assert_eq!(codec::decode_list::<Op>(&list).unwrap(), ops);
        }
    }
}
