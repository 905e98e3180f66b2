//! What a subscriber got, by node and seq: nothing is counted twice, and nothing that is missing is missed.

use std::collections::HashMap;

/// The records of every node, at one subscriber.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By node: the seq that comes next.
    next: HashMap<u64, u64>,
    /// Records that came in their place.
    pub(crate) delivered: u64,
    /// Records that were jumped over.
    pub(crate) missing: u64,
    /// Records that came after a later one, or again.
    pub(crate) out_of_order: u64,
    /// Gaps that the hub told …
    pub(crate) gaps: u64,
    /// … and how many places of its log they stand for.
    pub(crate) gone: u64,
    /// Nanoseconds from each record's time to its coming, where they are wanted.
    pub(crate) latencies: Option<Vec<u64>>,
}

impl Tally {
    /// A record came.
    pub(crate) fn record(&mut self, node: u64, seq: u64) {
        let next = self.next.entry(node).or_insert(1);
        if seq < *next {
            self.out_of_order += 1;
            return;
        }
        self.missing += seq - *next;
        *next = seq + 1;
        self.delivered += 1;
    }

    /// How many were missed when each of `nodes` nodes has sent this many.
    pub(crate) fn lost(&self, nodes: u64, each: u64) -> u64 {
        (nodes * each).saturating_sub(self.delivered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_comes_twice_is_seen_by_node() {
        let mut tally = Tally::default();
        for (node, seq) in [(7, 1), (8, 1), (7, 2), (8, 3), (8, 3), (8, 2)] {
            tally.record(node, seq);
        }
        assert_eq!((tally.delivered, tally.missing, tally.out_of_order), (4, 1, 2));
        assert_eq!(tally.lost(2, 3), 2);
    }
}
