//! What the watcher keeps for its next start: how far each source was read, and what it remembers of the lines before
//! that. It goes out with the events, in one [`Observation::Together`], so that after a kill at any moment the next
//! process finds events and places of the same moment. Pure.
//!
//! Places: `journald`; `file:PATH` for each file; `auth:now` for what is held back and what changed lately;
//! `auth:processes` and `auth:lines` for the rest of the memory, which are written anew when much has changed.

use std::collections::BTreeMap;

use bytes::Bytes;
use secmon_protocol::codec::{Value, decode_value, encode_value};
use serde::{Deserialize, Serialize};

use super::{
    join::{
        Joiner,
        memory::{Changes, Processes},
    },
    key::HashKey,
    twins::{self, Twins},
};
use crate::watch::{MAX_PLACE, Observation, Place};

const NOW: &str = "auth:now";
const PROCESSES: &str = "auth:processes";
const LINES: &str = "auth:lines";

/// `auth:now`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Now {
    join: HashKey,
    changes: Changes,
    /// Where there is more than one source.
    twins: Option<(HashKey, Vec<twins::Line>)>,
}

impl Value for Now {}

/// The places, as they were kept last, and those that have changed since.
#[derive(Debug, Default)]
pub(super) struct Kept {
    kept: BTreeMap<String, Bytes>,
    changed: BTreeMap<String, Bytes>,
}

impl Kept {
    /// Those of the last process.
    pub(super) fn new(kept: BTreeMap<String, Bytes>) -> Self {
        Self { kept, changed: BTreeMap::new() }
    }

    /// What was kept under `name`; why not, where it cannot be read.
    pub(super) fn get<T: Value>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(bytes) = self.kept.get(name) else { return Ok(None) };
        decode_value(bytes).map(Some).map_err(|error| {
            format!("what was kept of {name} cannot be read ({error}); what was logged while the node was down may be missing")
        })
    }

    /// Keeps `value` under `name`, with the next events.
    pub(super) fn set<T: Value>(&mut self, name: &str, value: &T) {
        let at = encode_value(value);
        if at.len() > MAX_PLACE {
            tracing::warn!(name, bytes = at.len(), "a place is too large to be kept");
            return;
        }
        match self.kept.get(name) == Some(&at) {
            true => drop(self.changed.remove(name)),
            false => drop(self.changed.insert(name.to_owned(), at)),
        }
    }

    /// Whether there is anything to keep.
    pub(super) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Adds what is to be kept to `batch`.
    pub(super) fn add_to(&mut self, batch: &mut Vec<Observation>) {
        for (source, at) in std::mem::take(&mut self.changed) {
            self.kept.insert(source.clone(), at.clone());
            batch.push(Observation::Place(Place { source, at }));
        }
    }

    /// Keeps what is remembered of the lines so far.
    pub(super) fn remember(&mut self, join: &mut Joiner<()>, twins: Option<&mut Twins>) {
        if !join.is_unkept() {
            return;
        }
        let changes = match join.keep_changes() {
            Some(changes) => changes,
            None => {
                let all = join.keep_all();
                self.set(PROCESSES, &all);
                join.keep_changes().unwrap_or_default()
            }
        };
        let twins = twins.map(|twins| {
            let lines = match twins.changes() {
                Some(lines) => lines.to_vec(),
                None => {
                    let all = twins.keep_all();
                    self.set(LINES, &all);
                    Vec::new()
                }
            };
            (twins.key(), lines)
        });
        self.set(NOW, &Now { join: join.key(), changes, twins });
    }

    /// What the last process remembered, or nothing. What cannot be read is told to `missed`.
    pub(super) fn recall(&self, mut missed: impl FnMut(String)) -> (Joiner<()>, Twins) {
        let now = self.get(NOW).unwrap_or_else(|why| {
            missed(why);
            None
        });
        let Some(Now { join, changes, twins }) = now else { return Default::default() };
        let processes = self.get::<Processes>(PROCESSES).unwrap_or_else(|why| {
            missed(why);
            None
        });
        let lines = self.get::<twins::Lines>(LINES).unwrap_or_else(|why| {
            missed(why);
            None
        });
        let join = Joiner::restore(join, processes.unwrap_or_default(), changes);
        let twins = twins
            .map(|(key, changes)| Twins::restore(key, &lines.unwrap_or_default(), changes))
            .unwrap_or_default();
        (join, twins)
    }
}
