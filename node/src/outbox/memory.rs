//! A shelf without a disk: for tests, and for what comes while the disk fails.

use std::collections::BTreeMap;

use super::{Shelf, ShelfError};
use crate::core::{Loaded, Row, Write};

/// See the module. A clone is what a crash at this moment would leave.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    rows: BTreeMap<u64, Row>,
    /// Its entries stay empty; the rows have them.
    rest: Loaded,
}

impl Memory {
    /// All records.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }
}

impl Shelf for Memory {
    fn load(&mut self) -> Result<Loaded, ShelfError> {
        let entries = self.rows.values().map(|row| row.entry).collect();
        Ok(Loaded { entries, ..self.rest.clone() })
    }

    fn apply(&mut self, writes: &[Write]) -> Result<(), ShelfError> {
        // The only thing that can fail, on a copy: all or nothing.
        let mut state = self.rest.state.clone();
        for write in writes {
            if let Write::State(ops) = write {
                state.apply(ops).map_err(|misfit| ShelfError::Damaged(misfit.to_string()))?;
            }
        }
        self.rest.state = state;
        for write in writes {
            match write {
                Write::Append(row) => {
                    self.rest.newest = self.rest.newest.max(row.entry.place);
                    self.rows.insert(row.entry.place, row.clone());
                }
                Write::DropThrough(place) => {
                    self.rest.newest = self.rest.newest.max(*place);
                    self.rows = self.rows.split_off(&(place + 1));
                }
                Write::Source { source, at } if at.is_empty() => {
                    self.rest.places.remove(source);
                }
                Write::Source { source, at } => {
                    self.rest.places.insert(source.clone(), at.clone());
                }
                Write::State(_) => {}
                Write::Meta(meta) => self.rest.meta = Some(meta.clone()),
                Write::Dropped(count) => self.rest.dropped = *count,
            }
        }
        Ok(())
    }

    fn read(&mut self, from: u64, to: u64) -> Result<Vec<Row>, ShelfError> {
        Ok(self.rows.range(from..=to.max(from)).map(|(_, row)| row.clone()).collect())
    }
}
