//! The shelf failed, and comes back: what lies on it and what does not, and how both become one again.

use std::collections::BTreeSet;

use secmon_protocol::{ids::Epoch, state};

use super::{Entry, Loaded, NodeCore, Now, Row, Write, held::Held};

impl NodeCore {
    /// The shelf takes nothing more: what was committed stays there, and what follows (with what was taken and
    /// not committed) is kept within `capacity` bytes of memory, in a new epoch, because the shelf could not
    /// tell after a crash which numbers were used. The link first gets what lies there, under the epoch that it has
    /// there: then the hub knows it again after a crash, and whatever of it was on its way.
    pub fn freeze(&mut self, fresh: Epoch, capacity: usize, now: Now) {
        self.held.freeze(self.visible, capacity);
        self.next_epoch = Some(fresh);
        self.turn(now);
    }

    /// Begins the epoch of what is in memory once nothing else is held.
    pub(super) fn turn(&mut self, now: Now) {
        // A loss in memory may stand for some that lie there as well; they do not come any more.
        let frozen = self.held.frozen();
        if let Some(fresh) = self.next_epoch
            && self.held.entries().next().is_none_or(|entry| entry.place > frozen)
        {
            self.begin(fresh, now);
        }
    }

    /// What lies on the shelf is gone, and is said to be lost; gives what stands for it.
    pub fn lose_frozen(&mut self, reason: &str, now: Now) -> Option<Row> {
        let (row, appended) = self.held.lose_frozen(reason, now.unix);
        self.mend(appended, now);
        if let Some(fresh) = self.next_epoch {
            self.begin(fresh, now);
        }
        row
    }

    /// A shelf that can be written again, or another one, with what it loaded; `rows` are the ones in memory.
    /// Gives what makes the shelf right, in one transaction, and begins a new epoch (`fresh`) only where the
    /// shelf holds what this core did not put there.
    #[must_use]
    pub fn thaw(
        &mut self,
        loaded: &Loaded,
        rows: Vec<Row>,
        fresh: Epoch,
        capacity: usize,
        now: Now,
    ) -> Vec<Write> {
        // Whatever was to be written is written now, as a whole.
        (self.acked, self.told_dropped) = (None, self.rate.dropped());
        self.writes.clear();
        self.moved.clear();
        let in_memory: BTreeSet<u64> = rows.iter().map(|row| row.entry.place).collect();
        let on_disk: BTreeSet<u64> = loaded.entries.iter().map(|entry| entry.place).collect();
        let frozen = self.held.frozen();
        let is_there = |entry: &Entry| in_memory.contains(&entry.place) || on_disk.contains(&entry.place);
        let is_ours = loaded.newest <= frozen && self.held.entries().all(is_there);
        let mut writes = Vec::new();
        let mut rows = rows;
        if is_ours {
            // No number was used that the shelf does not know.
            self.next_epoch = None;
        } else {
            let reason = "the node's outbox was lost";
            if let Some(row) = self.lose_frozen(reason, now) {
                rows.retain(|held| held.entry.place > row.entry.place);
                rows.insert(0, row);
            }
            rows.extend(self.writes.drain(..).filter_map(|write| match write {
                Write::Append(row) => Some(row),
                _ => None,
            }));
        }
        match is_ours || loaded.newest == 0 {
            true => {
                writes.push(Write::DropThrough(self.held.before_oldest()));
                // One that stands for others has taken the place of all of them, and some may be on the shelf.
                for row in rows {
                    if row.entry.place - row.entry.stands_for < loaded.newest {
                        writes.push(Write::DropThrough(row.entry.place));
                    }
                    writes.push(Write::Append(row));
                }
            }
            // It is older than all that is in memory, and has numbers of its own.
            false => {
                self.held = Held::new(loaded.entries.clone(), loaded.newest, usize::MAX);
                for mut row in rows {
                    row.entry.place = self.held.newest() + row.entry.stands_for;
                    let _ = self.held.push(row, now.unix, &mut writes);
                }
            }
        }
        self.held.thaw(capacity);
        let ops = state::diff(&loaded.state, &self.reported);
        writes.push(Write::State(ops));
        for (source, at) in &self.places {
            writes.push(Write::Source { source: source.clone(), at: at.clone() });
        }
        writes.push(Write::Dropped(self.told_dropped));
        writes.push(Write::Meta(self.meta.clone()));
        if !(is_ours || loaded.newest == 0) {
            self.begin(fresh, now);
        }
        let appended = self.held.make_room(now.unix, &mut self.writes);
        self.mend(appended, now);
        writes.append(&mut self.writes);
        self.taken = self.held.newest();
        writes
    }

    /// Numbers what is held anew from 1.
    fn begin(&mut self, fresh: Epoch, now: Now) {
        self.next_epoch = None;
        (self.meta.epoch, self.meta.base, self.meta.owed) = (fresh, self.held.before_oldest(), true);
        self.writes.push(Write::Meta(self.meta.clone()));
        self.tell(now);
    }
}
