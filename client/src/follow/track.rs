//! Where a follower stands in the hub's log: what it has had already is dropped, and no place is passed in
//! silence. Pure.

use secmon_protocol::{ids::Cursor, message::client::Gap};

use crate::Item;

/// Why records are missing that the hub said nothing of.
const SILENT: &str = "the hub sent nothing for these places";
/// The same, across two logs.
const ANEW: &str = "the hub was restarted and its log began anew";

/// The place of a follower.
#[derive(Debug)]
pub(super) struct Track {
    /// The last place that was given out, or at which it shall begin.
    last: Option<Cursor>,
    /// Whether every record is wanted, so that the numbers of what comes have no holes.
    whole: bool,
    /// The place at which the hub goes on, where that is not the last one: a gap is owed for what lies between.
    owed: Option<Cursor>,
    /// Nothing was given out yet and no place was remembered: what the hub calls missing then lies before the
    /// place where it began.
    fresh: bool,
}

impl Track {
    /// A follower that begins behind `last`, or where the hub says.
    pub(super) fn new(last: Option<Cursor>, whole: bool) -> Self {
        Self { last, whole, owed: None, fresh: false }
    }

    /// Everything up to here was given out.
    pub(super) fn last(&self) -> Option<Cursor> {
        self.last
    }

    /// Whether every record comes: it is wanted, and this user may see it.
    pub(super) fn sees(&mut self, whole: bool) {
        self.whole = whole;
    }

    /// A subscription stands: the hub sends what comes after `after`.
    pub(super) fn stands(&mut self, after: Cursor) {
        match self.last {
            None => (self.last, self.fresh) = (Some(after), true),
            // The hub knows the place and goes on there, though its log may have another id since.
            Some(last) if after.n == last.n => self.owed = None,
            // Earlier in the same log: the hub repeats something, and repeats are dropped.
            Some(last) => self.owed = (after.log != last.log || after.n > last.n).then_some(after),
        }
    }

    /// Takes what the hub sent, and gives out what is new of it: nothing, it, or a gap and it.
    pub(super) fn take(&mut self, item: Item, give: &mut impl FnMut(Item)) {
        let fresh = std::mem::take(&mut self.fresh);
        let Some(last) = self.last else {
            self.last = Some(item.cursor());
            return give(item);
        };
        match item {
            Item::Gap(gap) => {
                let owed = self.owed.take().is_some();
                self.gap(gap, last, owed, fresh, give);
            }
            item => {
                if let Some(to) = self.owed.take() {
                    let reason = if to.log == last.log { SILENT } else { ANEW };
                    self.hole(last, to, reason, give);
                }
                self.place(item, give);
            }
        }
    }

    fn gap(&mut self, mut gap: Gap, last: Cursor, owed: bool, fresh: bool, give: &mut impl FnMut(Item)) {
        let to = gap.to;
        if to.log == last.log && to.n <= last.n {
            // The hub says itself that its log went back: its numbers come a second time, as other records.
            let back = gap.after == last && to.n < last.n;
            // Else it was given out already; at the very beginning it says what the hub no longer has before it.
            if back || fresh {
                self.last = Some(to);
                give(Item::Gap(gap));
            }
            return;
        }
        // Through a filter places are passed in silence, and the gap may begin behind them.
        let behind = gap.after.log == last.log && gap.after.n > last.n && gap.after.n <= to.n;
        let exact = behind && to.log == last.log && !self.whole && !owed;
        if !exact && !fresh {
            gap.after = last;
        }
        self.last = Some(to);
        give(Item::Gap(gap));
    }

    /// A record, or progress.
    fn place(&mut self, item: Item, give: &mut impl FnMut(Item)) {
        let at = item.cursor();
        let record = matches!(item, Item::Record { .. });
        // What lies before it. Progress speaks for the places up to its own, but where everything is wanted there
        // is nothing to be passed.
        let before = if record { at.n.saturating_sub(1) } else { at.n };
        let before = Cursor { log: at.log, n: before };
        match self.last {
            Some(last) if !record && at.n == last.n => return,
            // Numbers rise over a change of the log's id, which comes with every start of the hub.
            Some(last) if last.log != at.log && at.n <= last.n => self.hole(last, before, ANEW, give),
            Some(last) if at.n <= last.n => return,
            Some(last) if self.whole && last.n < before.n => self.hole(last, before, SILENT, give),
            _ => {}
        }
        // A hole up to there has said it.
        if self.last.replace(at) != Some(at) {
            give(item);
        }
    }

    fn hole(&mut self, after: Cursor, to: Cursor, reason: &str, give: &mut impl FnMut(Item)) {
        self.last = Some(to);
        give(Item::Gap(Gap { after, to, reason: reason.to_owned() }));
    }
}

#[cfg(test)]
#[path = "track_tests.rs"]
mod tests;
