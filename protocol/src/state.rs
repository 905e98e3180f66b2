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
    limits::{MAX_ENTRIES, MAX_FACETS, MAX_FIELD, MAX_KEY, MAX_NODE_ENTRIES, MAX_STATE, MAX_VALUE},
};

/// A facet whose keys and values are encoded.
pub type RawFacet = Facet<Bytes, Bytes>;

impl RawFacet {
    /// A typed facet in encoded form, with a reason that a hub accepts.
    #[must_use]
    pub fn encode<K: Value + Ord, V: Value>(facet: &Facet<K, V>) -> Self {
        match facet {
            Facet::Pending => Self::Pending,
            Facet::NotMonitored => Self::NotMonitored,
            Facet::Unavailable(why) => Self::Unavailable(why.clipped()),
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

    /// How many entries it has.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an empty facet is not one without entries")]
    pub fn len(&self) -> usize {
        match self {
            Self::Ready(entries) => entries.len(),
            _ => 0,
        }
    }

    /// Bytes of its keys and values, or of its reason.
    fn size(&self) -> usize {
        match self {
            Self::Pending | Self::NotMonitored => 0,
            Self::Unavailable(why) => why.reason.len() + why.remedy.len(),
            Self::Ready(entries) => entries.iter().map(|(key, value)| key.len() + value.len()).sum(),
        }
    }
}

/// Everything stored about a node, by facet. A facet that is not there is pending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeState {
    facets: BTreeMap<FacetId, RawFacet>,
    /// The sum of the facets' sizes.
    size: usize,
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

    /// Holds its key, value and reason against [`MAX_KEY`], [`MAX_VALUE`] and [`MAX_FIELD`].
    ///
    /// # Errors
    /// The name of what is too long.
    pub fn check(&self) -> Result<(), &'static str> {
        let long = |status: &FacetStatus| match status {
            FacetStatus::Unavailable(why) => why.reason.len().max(why.remedy.len()) > MAX_FIELD,
            _ => false,
        };
        match self {
            Self::Status { old, new, .. } if long(old) || long(new) => Err("reason of a facet"),
            Self::Added { key, .. } | Self::Changed { key, .. } | Self::Removed { key, .. }
                if key.len() > MAX_KEY =>
            {
                Err("key of an entry")
            }
            Self::Added { new, .. } | Self::Changed { new, .. } if new.len() > MAX_VALUE => {
                Err("value of an entry")
            }
            _ => Ok(()),
        }
    }
}

/// A diff that cannot be applied to a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It was made for another state.
    #[error("the diff does not fit: {what} in facet {facet}")]
    Other {
        /// The facet.
        facet: FacetId,
        /// What does not fit.
        what: &'static str,
    },
    /// It fits, and makes more of the state than a node may have.
    #[error("the node's state would have more than {limit} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: usize,
    },
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

    /// Bytes of all keys, values and reasons.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Puts a facet in the place of what was there, and gives that. No limit is looked at.
    pub fn set(&mut self, id: FacetId, facet: RawFacet) -> RawFacet {
        self.size += facet.size();
        let before = match facet {
            RawFacet::Pending => self.facets.remove(&id),
            facet => self.facets.insert(id, facet),
        }
        .unwrap_or_default();
        self.size -= before.size();
        before
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

    /// Applies a diff whole, or leaves the state as it was. What lies within one operation is held against
    /// its limits by [`Op::check`].
    ///
    /// # Errors
    /// The first operation that does not fit, or a limit that the state would be over.
    pub fn apply(&mut self, ops: &[Op]) -> Result<(), Misfit> {
        let mut undo = Vec::with_capacity(ops.len());
        let applied = ops
            .iter()
            .try_for_each(|op| {
                undo.push(self.apply_one(op)?);
                Ok(())
            })
            .and_then(|()| self.within_limits());
        if applied.is_err() {
            undo.into_iter().rev().for_each(|step| self.undo(step));
        }
        applied
    }

    fn within_limits(&self) -> Result<(), Misfit> {
        if self.facets.len() > MAX_FACETS {
            return Err(Misfit::TooLarge { what: "facets", limit: MAX_FACETS });
        }
        let entries: usize = self.facets.values().map(RawFacet::len).sum();
        if entries > MAX_NODE_ENTRIES {
            return Err(Misfit::TooLarge { what: "entries", limit: MAX_NODE_ENTRIES });
        }
        if self.size > MAX_STATE {
            return Err(Misfit::TooLarge { what: "bytes", limit: MAX_STATE });
        }
        Ok(())
    }

    fn apply_one(&mut self, op: &Op) -> Result<Undo, Misfit> {
        let facet = op.facet();
        let misfit = |what| Misfit::Other { facet, what };
        if let Op::Status { old, new, .. } = op {
            if self.facet(facet).status() != *old {
                return Err(misfit("another status was expected"));
            }
            return Ok(Undo::Facet(facet, self.set(facet, RawFacet::without_entries(new))));
        }
        let entries = match self.facets.get_mut(&facet) {
            Some(RawFacet::Ready(entries)) => entries,
            _ => return Err(misfit("it is not ready")),
        };
        match op {
            Op::Status { .. } => Err(misfit("a status twice")),
            Op::Added { key, .. } if entries.contains_key(key) => Err(misfit("an added entry was there")),
            Op::Added { .. } if entries.len() >= MAX_ENTRIES => {
                Err(Misfit::TooLarge { what: "entries in one facet", limit: MAX_ENTRIES })
            }
            Op::Added { key, new, .. } => {
                entries.insert(key.clone(), new.clone());
                self.size += key.len() + new.len();
                Ok(Undo::Remove(facet, key.clone()))
            }
            Op::Changed { key, old, new, .. } => match entries.get_mut(key) {
                Some(value) if value == old => {
                    *value = new.clone();
                    self.size = self.size + new.len() - old.len();
                    Ok(Undo::Put(facet, key.clone(), old.clone()))
                }
                _ => Err(misfit("a changed entry was another")),
            },
            Op::Removed { key, old, .. } => match entries.get(key) {
                Some(value) if value == old => {
                    entries.remove(key);
                    self.size -= key.len() + old.len();
                    Ok(Undo::Put(facet, key.clone(), old.clone()))
                }
                _ => Err(misfit("a removed entry was another")),
            },
        }
    }

    fn undo(&mut self, step: Undo) {
        match step {
            Undo::Facet(facet, before) => drop(self.set(facet, before)),
            Undo::Put(facet, key, value) => {
                self.size += key.len() + value.len();
                let now = self.entries(facet).and_then(|entries| entries.insert(key.clone(), value));
                self.size -= now.map_or(0, |now| key.len() + now.len());
            }
            Undo::Remove(facet, key) => {
                let now = self.entries(facet).and_then(|entries| entries.remove(&key));
                self.size -= now.map_or(0, |now| key.len() + now.len());
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

    fn counted(state: &NodeState) -> usize {
        state.facets().map(|(_, facet)| facet.size()).sum()
    }

    fn ready(facet: u16) -> Op {
        Op::Status { facet: FacetId(facet), old: FacetStatus::Pending, new: FacetStatus::Ready }
    }

    fn added(facet: u16, n: usize, size: usize) -> Op {
        let key = Bytes::copy_from_slice(&(n as u32).to_be_bytes());
        Op::Added { facet: FacetId(facet), key, new: vec![7; size].into() }
    }

    #[test]
    fn a_state_over_a_limit_is_left_as_it_was() {
        let mut state = NodeState::from_snapshot(&[ready(1), added(1, 0, 9)]).unwrap();
        let before = state.clone();
        let facets: Vec<Op> = (2..2 + MAX_FACETS as u16).map(ready).collect();
        let values: Vec<Op> = (1..=MAX_STATE / MAX_VALUE).map(|n| added(1, n, MAX_VALUE)).collect();
        let entries: Vec<Op> = (1..=MAX_ENTRIES).map(|n| added(1, n, 0)).collect();
        let many: Vec<Op> = (0..MAX_NODE_ENTRIES)
            .flat_map(|n| {
                let (facet, n) = (2 + (n / MAX_ENTRIES) as u16, n % MAX_ENTRIES);
                [(n == 0).then(|| ready(facet)), Some(added(facet, n, 0))].into_iter().flatten()
            })
            .collect();
        for ops in [facets, values, entries] {
            assert!(matches!(state.apply(&ops), Err(Misfit::TooLarge { .. })));
            assert_eq!((&state, state.size()), (&before, 13));
            state.apply(&ops[1..]).unwrap();
            state = before.clone();
        }
        assert!(matches!(state.apply(&many), Err(Misfit::TooLarge { .. })));
        assert_eq!((&state, state.size()), (&before, 13));
        NodeState::from_snapshot(&many).unwrap();
    }

    #[test]
    fn what_is_too_long_within_an_operation_is_named() {
        let op = |key: usize, value: usize| Op::Added {
            facet: FacetId(1),
            key: vec![0; key].into(),
            new: vec![0; value].into(),
        };
        assert_eq!(op(MAX_KEY, MAX_VALUE).check(), Ok(()));
        assert_eq!(op(MAX_KEY + 1, 0).check(), Err("key of an entry"));
        assert_eq!(op(1, MAX_VALUE + 1).check(), Err("value of an entry"));
        let why = Unavailable { reason: "x".repeat(MAX_FIELD + 1), remedy: String::new() };
        let status = |why| Op::Status {
            facet: FacetId(1),
            old: FacetStatus::Pending,
            new: FacetStatus::Unavailable(why),
        };
        assert_eq!(status(why.clone()).check(), Err("reason of a facet"));
        // A node's own way cuts it.
        let encoded = RawFacet::encode(&Facet::<String, String>::Unavailable(why));
        let FacetStatus::Unavailable(why) = encoded.status() else { panic!("unavailable") };
        assert_eq!(status(why).check(), Ok(()));
        assert_eq!(RawFacet::unavailable("x".repeat(MAX_FIELD + 1), "").size(), MAX_FIELD);
    }

    proptest! {
        #[test]
        fn a_diff_applied_to_the_first_state_gives_the_second(a in state(), b in state()) {
            let ops = diff(&a, &b);
            prop_assert_eq!(ops.is_empty(), a == b);
            let mut applied = a.clone();
            prop_assert_eq!(applied.apply(&ops), Ok(()));
            prop_assert_eq!(applied.size(), counted(&b));
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
                Err(_) => prop_assert_eq!(&applied, &a),
            }
            prop_assert_eq!(applied.size(), counted(&applied));
        }

        #[test]
        fn operations_survive_the_wire(a in state(), b in state()) {
            let ops = diff(&a, &b);
            let list = codec::encode_list(&ops);
            prop_assert_eq!(codec::decode_list::<Op>(&list).unwrap(), ops);
        }
    }
}
