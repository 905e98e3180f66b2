//! What a subscriber reads next: from the ring, from the store behind it, or that something is missing.
//!
//! Every number of the log is either delivered, once and in order, or lies in exactly one gap that is told.

/// Which part of the log the ring holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shelf {
    /// The last place that it no longer holds.
    pub gone: u64,
    /// The last place of the log.
    pub newest: u64,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// There is nothing new; wait until there is.
    Wait,
    /// The ring has what follows; [`Reading::handle_record`] for each.
    Ring,
    /// The store must be asked for what follows; [`Reading::handle_found`] with its answer.
    Store,
}

/// Numbers that no record ever had, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// The last place before it.
    pub after: u64,
    /// The last place within it.
    pub to: u64,
    /// Why, in words.
    pub reason: String,
}

/// Records that a subscriber does not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The last place before them.
    pub after: u64,
    /// The last of them.
    pub to: u64,
    /// Why, where it is known; else they were too old to be held.
    pub reason: Option<String>,
}

/// A subscriber's place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    at: u64,
}

impl Reading {
    /// Reads everything after this place.
    #[must_use]
    pub fn after(place: u64) -> Self {
        Self { at: place }
    }

    /// The last place that was delivered or told to be missing.
    #[must_use]
    pub fn at(self) -> u64 {
        self.at
    }

    /// What to do next, with the ring as it is now.
    #[must_use]
    pub fn next(self, ring: Shelf) -> Next {
        match self.at {
            at if at >= ring.newest => Next::Wait,
            at if at >= ring.gone => Next::Ring,
            _ => Next::Store,
        }
    }

    /// A record comes. Whether it is the next; one that came before is not to be delivered.
    #[must_use]
    pub fn handle_record(&mut self, n: u64) -> bool {
        self.handle_records(n, n)
    }

    /// As [`Reading::handle_record`], for records with consecutive numbers, all or none of them.
    #[must_use]
    pub fn handle_records(&mut self, first: u64, last: u64) -> bool {
        let next = first == self.at + 1;
        if next {
            self.at = last;
        }
        next
    }

    /// The store was asked, and the first record that it has after this place is `first`. `ring` is what was
    /// handed to [`Reading::next`] *before* it was asked: all up to `ring.gone` was written by then. What is
    /// missing before the record is returned, to be told before it is delivered.
    #[must_use]
    pub fn handle_found(&mut self, ring: Shelf, first: Option<u64>, holes: &[Hole]) -> Vec<Missing> {
        // What the ring still holds is not missing, whatever the store has.
        let end = first.map_or(ring.gone, |first| (first - 1).min(ring.gone));
        let mut missing = vec![];
        for hole in holes.iter().filter(|hole| hole.after < end) {
            self.miss(hole.after, None, &mut missing);
            self.miss(hole.to.min(end), Some(&hole.reason), &mut missing);
        }
        self.miss(end, None, &mut missing);
        missing
    }

    fn miss(&mut self, to: u64, reason: Option<&str>, missing: &mut Vec<Missing>) {
        if to > self.at {
            missing.push(Missing { after: self.at, to, reason: reason.map(str::to_owned) });
            self.at = to;
        }
    }
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
