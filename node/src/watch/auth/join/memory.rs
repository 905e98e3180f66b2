//! What a joiner remembers, as it is kept for the next process: all of it now and then, and with every line what has
//! changed since, so that one line costs little. Whoever goes on with it joins as if there had been no break.

use std::collections::{HashMap, HashSet};

use secmon_protocol::{auth::AuthEvent, codec::Value};
use serde::{Deserialize, Serialize};

use super::{Held, Joiner, Key, Process};
use crate::watch::auth::key::HashKey;

/// Processes that are kept one by one before all are kept anew.
const CHANGES: usize = 128;
/// The same in bytes, about: what strangers wrote may be long.
const CHANGED_BYTES: usize = 32 << 10;
/// Most bytes of all processes together, about; of more the oldest are not kept, and may lose a reason.
const BYTES: usize = 192 << 10;
/// Most bytes of the lines that are held back, about; of more the oldest are reported as they are.
const HELD_BYTES: usize = 128 << 10;
/// About what a process takes beside its texts.
const PROCESS: usize = 48;

/// All processes: those of the younger half of the memory, and of the older.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(in crate::watch::auth) struct Processes {
    young: Vec<(Key, Process)>,
    old: Vec<(Key, Process)>,
}

impl Value for Processes {}

/// What is held back, and the processes that have changed since all were kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(in crate::watch::auth) struct Changes {
    held: Vec<KeptLine>,
    processes: Vec<(Key, Process)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptLine {
    key: Key,
    event: Box<AuthEvent>,
    message: Option<String>,
}

impl<T> Joiner<T> {
    pub(super) fn note_change(&mut self, key: Key) {
        if self.changed.len() < CHANGES {
            self.changed.insert(key);
        } else {
            self.all_changed |= !self.changed.contains(&key);
        }
    }
}

impl Joiner<()> {
    /// Goes on with what another process kept.
    pub(in crate::watch::auth) fn restore(hash: HashKey, all: Processes, changes: Changes) -> Self {
        let mut joiner = Self { hash, ..Self::default() };
        joiner.young = all.young.into_iter().collect();
        joiner.old = all.old.into_iter().collect();
        for (key, process) in changes.processes {
            joiner.old.remove(&key);
            joiner.young.insert(key, process);
            joiner.changed.insert(key);
        }
        let held = changes.held.into_iter();
        joiner.held =
            held.map(|KeptLine { key, event, message }| Held { key, event, tag: (), message }).collect();
        joiner
    }

    /// The key of the hashes.
    pub(in crate::watch::auth) fn key(&self) -> HashKey {
        self.hash
    }

    /// Whether anything has changed since something was kept last.
    pub(in crate::watch::auth) fn is_unkept(&self) -> bool {
        self.unkept
    }

    /// Gives up what is held back beyond what can be kept.
    pub(in crate::watch::auth) fn fit(&mut self, mut out: impl FnMut(Box<AuthEvent>, ())) {
        let size = |held: &Held<()>| {
            let event = &held.event;
            let texts =
                [&event.command, &event.cwd, &event.reason, &event.user, &event.target_user, &held.message];
            256 + event.message.len() + texts.into_iter().flatten().map(String::len).sum::<usize>()
        };
        let mut all: usize = self.held.iter().map(size).sum();
        while all > HELD_BYTES && !self.held.is_empty() {
            let oldest = self.held.remove(0);
            all -= size(&oldest);
            oldest.give(&mut out);
        }
    }

    /// What has changed since all was kept last; none when all is to be kept.
    pub(in crate::watch::auth) fn keep_changes(&mut self) -> Option<Changes> {
        let (mut processes, mut bytes) = (Vec::new(), 0);
        for key in &self.changed {
            if let Some(process) = self.young.get(key) {
                bytes += process.size();
                processes.push((*key, process.clone()));
            }
        }
        if self.all_changed || bytes > CHANGED_BYTES {
            return None;
        }
        self.unkept = false;
        let held = self.held.iter();
        let held = held
            .map(|held| KeptLine { key: held.key, event: held.event.clone(), message: held.message.clone() })
            .collect();
        Some(Changes { held, processes })
    }

    /// All processes, to be kept; the changes begin anew.
    pub(in crate::watch::auth) fn keep_all(&mut self) -> Processes {
        (self.changed, self.all_changed) = (HashSet::new(), false);
        let mut room = BYTES;
        let young = newest(&self.young, &mut room);
        let old = newest(&self.old, &mut room);
        Processes { young, old }
    }
}

impl Process {
    fn size(&self) -> usize {
        let texts = self.reasons.iter().chain(&self.lasting).map(String::len).sum::<usize>();
        let source = self.source.as_ref().map_or(0, |source| match &source.host {
            secmon_protocol::auth::SourceHost::Ip(_) => 20,
            secmon_protocol::auth::SourceHost::Name(name) => name.len() + 4,
        });
        PROCESS + texts + source
    }
}

/// The newest processes that there is room for.
fn newest(processes: &HashMap<Key, Process>, room: &mut usize) -> Vec<(Key, Process)> {
    let mut all: Vec<_> = processes.iter().collect();
    all.sort_by_key(|(_, process)| std::cmp::Reverse(process.last));
    let fits = all.into_iter().take_while(|(_, process)| {
        let left = room.checked_sub(process.size());
        *room = left.unwrap_or(0);
        left.is_some()
    });
    fits.map(|(key, process)| (*key, process.clone())).collect()
}
