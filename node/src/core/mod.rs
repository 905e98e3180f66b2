//! The node's pure core: observations in, records out. No runtime, no I/O, no clock; [`Now`] is given.
//!
//! It holds the state as last reported, an index of what the hub has not acknowledged, and the places of the
//! sources; the records themselves lie on a [`Shelf`](crate::outbox::Shelf). Whoever owns both goes round:
//!
//! 1. [`NodeCore::observe`] for what watchers saw, as often as there is something;
//! 2. [`NodeCore::take_writes`], applied to the shelf in one transaction;
//! 3. [`NodeCore::committed`]: only now the records are there for the link.
//!
//! A link asks for [`NodeCore::opening`] when it connects, gets batches by [`NodeCore::wanted`] (what to read
//! from the shelf) and [`NodeCore::pack`], and hands back [`NodeCore::ack`]s. A crash between any two steps loses
//! what was not applied, and nothing else: [`NodeCore::start`] goes on from what the shelf loads.
//! [`crate::outbox::commit`] and [`crate::outbox::batch`] are these steps for any shelf.

mod frozen;
mod held;
mod rate;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use secmon_protocol::{
    auth::AuthEvent,
    facet::FacetId,
    ids::{Epoch, Seq},
    limits::{MAX_BATCH_RECORDS, MAX_ENTRIES, MAX_KEY, MAX_RECORD, MAX_STATE, MAX_VALUE},
    record::{Envelope, RecordKind},
    state::{self, NodeState, RawFacet},
};

pub use rate::Limits;
pub use write::{Batch, Entry, Loaded, Meta, Now, Opening, Row, Write};

use held::{Appended, Held};
use rate::Rate;

use crate::watch::{Known, MAX_PLACE, Observation, Place};

/// Bytes that an entry takes in a snapshot beside its key and value, and some more.
const ENTRY_OVERHEAD: usize = 32;
/// Sources whose places are kept: each of the configuration's files is one, and there are a handful beside.
const MAX_SOURCES: usize = 256;

/// How a core begins.
#[derive(Debug, Clone)]
pub struct Start {
    /// The epoch to go over to where the one that was loaded cannot go on: a random number.
    pub fresh: Epoch,
    /// Which boot of the system this is; nothing where it does not say, and then every start is a new epoch.
    pub boot: Option<String>,
    /// Bytes that the hub's absence may cost; see [`NodeCore`].
    pub capacity: usize,
    /// The limit on events.
    pub limits: Limits,
    /// When.
    pub now: Now,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct NodeCore {
    meta: Meta,
    /// What the watchers last saw.
    seen: NodeState,
    /// What the records so far add up to.
    reported: NodeState,
    /// Whether changes are told as they come. Before that, a facet that no watcher has spoken of would look
    /// as if what it held were gone.
    telling: bool,
    held: Held,
    places: BTreeMap<String, Bytes>,
    rate: Rate,
    limits: Limits,
    /// What is to be written soon, in order.
    writes: Vec<Write>,
    /// What the hub has acknowledged and the shelf has not dropped; written when there is something else to
    /// write.
    acked: Option<u64>,
    /// Sources whose place is not written yet.
    moved: BTreeSet<String>,
    /// What the shelf was last told of [`Rate::dropped`].
    told_dropped: u64,
    /// While the shelf fails: the epoch that begins when what lies there is acknowledged.
    next_epoch: Option<Epoch>,
    /// The newest place in what was taken to be written, and in what is written.
    taken: u64,
    visible: u64,
}

impl NodeCore {
    /// Goes on from what a shelf loaded. The same epoch goes on where the boot is the same; in any other case a
    /// power cut may have taken the last writes, or the shelf is a copy on another machine, so that what is
    /// held is numbered anew from 1.
    #[must_use]
    pub fn start(loaded: Loaded, start: Start) -> Self {
        let Start { fresh, boot, capacity, limits, now } = start;
        let held = Held::new(loaded.entries, loaded.newest, capacity);
        let known = loaded.meta.filter(|meta| meta.boot.is_some() && meta.boot == boot);
        let is_new = known.is_none();
        let meta =
            known.unwrap_or_else(|| Meta { epoch: fresh, base: held.before_oldest(), boot, owed: true });
        let mut core = Self {
            meta,
            seen: NodeState::default(),
            reported: loaded.state,
            telling: false,
            places: loaded.places,
            rate: Rate::new(&limits, now),
            limits,
            writes: Vec::new(),
            acked: None,
            moved: BTreeSet::new(),
            told_dropped: loaded.dropped,
            next_epoch: None,
            taken: held.newest(),
            visible: held.newest(),
            held,
        };
        if is_new {
            core.writes.push(Write::Meta(core.meta.clone()));
        }
        if loaded.dropped > 0 {
            // The last process counted them and ended before it said so.
            let reason = Rate::reason(core.limits.events_per_second);
            core.lose(loaded.dropped, &reason, now);
        }
        let broken = core.held.make_room(now.unix, &mut core.writes);
        core.mend(broken, now);
        core
    }

    /// What watchers may know of the time before this start.
    #[must_use]
    pub fn known(&self) -> Known {
        Known { places: self.places.clone(), state: self.reported.clone() }
    }

    /// Takes in what a watcher saw.
    pub fn observe(&mut self, observation: Observation, now: Now) {
        match observation {
            Observation::Sessions(facet) => self.facet(FacetId::SESSIONS, RawFacet::encode(&facet), now),
            Observation::WgPeers(facet) => self.facet(FacetId::WG_PEERS, RawFacet::encode(&facet), now),
            Observation::AuthLog(facet) => self.facet(FacetId::AUTH_LOG, RawFacet::encode(&facet), now),
            Observation::Auth(event) => self.event(&event, now),
            // Where there is an auth log it tells of the same attempt, and more.
            Observation::BadLogin(event) => {
                if matches!(self.current(FacetId::AUTH_LOG), RawFacet::Unavailable(_)) {
                    self.event(&event, now);
                }
            }
            Observation::Place(Place { source, at }) => self.place(source, at),
            Observation::Together(all) => all.into_iter().for_each(|one| self.observe(one, now)),
            Observation::Missed(reason) => self.lose(1, &reason, now),
        }
    }

    fn event(&mut self, event: &AuthEvent, now: Now) {
        self.tick(now);
        if self.rate.takes(event.time, now.mono) {
            self.append(Envelope::auth(event), now);
        }
    }

    fn place(&mut self, source: String, at: Bytes) {
        let is_known = self.places.contains_key(&source);
        if at.len() > MAX_PLACE || (!is_known && self.places.len() >= MAX_SOURCES) {
            return;
        }
        match at.is_empty() {
            true => drop(self.places.remove(&source)),
            false => drop(self.places.insert(source.clone(), at)),
        }
        self.moved.insert(source);
    }

    fn facet(&mut self, id: FacetId, facet: RawFacet, now: Now) {
        self.seen.set(id, facet);
        // A hub that refuses the state would do so for ever; better that one facet is said to be unseen.
        if let Err(reason) = self.sendable(id) {
            self.seen
                .set(id, RawFacet::unavailable(reason, "watch less of it, or raise an issue with secmon"));
        }
        self.telling |= self.settled();
        self.tell(now);
    }

    /// Holds a facet that was just seen against what a hub accepts.
    fn sendable(&self, id: FacetId) -> Result<(), String> {
        if let RawFacet::Ready(entries) = self.seen.facet(id) {
            if entries.len() > MAX_ENTRIES {
                return Err(format!("there are {} entries, and {MAX_ENTRIES} is the most", entries.len()));
            }
            let large = |(key, value): (&Bytes, &Bytes)| key.len() > MAX_KEY || value.len() > MAX_VALUE;
            if entries.iter().any(large) {
                return Err(format!("an entry is larger than {MAX_VALUE} bytes, which is the most"));
            }
        }
        let entries: usize = self.seen.facets().map(|(_, facet)| facet.len()).sum();
        if self.seen.size() + entries * ENTRY_OVERHEAD > MAX_STATE {
            return Err(format!(
                "it would make the node's state larger than {MAX_STATE} bytes, which is the most"
            ));
        }
        Ok(())
    }

    /// Whether every watcher has said what it sees. Until then, or until [`Self::stop_waiting`], nothing is
    /// said of the state.
    #[must_use]
    pub fn settled(&self) -> bool {
        FacetId::KNOWN.iter().all(|id| *self.seen.facet(*id) != RawFacet::Pending)
    }

    /// A facet as it was last seen; what no watcher has spoken of since the start is as it was before.
    fn current(&self, id: FacetId) -> &RawFacet {
        match self.seen.facet(id) {
            RawFacet::Pending => self.reported.facet(id),
            facet => facet,
        }
    }

    fn view(&self) -> NodeState {
        let mut view = NodeState::default();
        for id in FacetId::KNOWN {
            view.set(id, self.current(id).clone());
        }
        view
    }

    /// Says what is known of the state, though a watcher has not spoken yet.
    pub fn stop_waiting(&mut self, now: Now) {
        self.telling = true;
        self.tell(now);
    }

    /// Appends a snapshot because the hub asked for one; where nothing is told yet, it comes with the first view.
    pub fn resync(&mut self, now: Now) {
        match self.telling {
            true => self.snapshot(now),
            // The hub asks once for each connection.
            false => self.owe(),
        }
    }

    fn owe(&mut self) {
        if !self.meta.owed {
            self.meta.owed = true;
            self.writes.push(Write::Meta(self.meta.clone()));
        }
    }

    fn tell(&mut self, now: Now) {
        match (self.telling, self.meta.owed) {
            (false, _) => {}
            (true, true) => self.snapshot(now),
            (true, false) => {
                let ops = self.report();
                if !ops.is_empty() {
                    self.append(Envelope::diff(now.unix, &ops), now);
                }
            }
        }
    }

    /// Makes what is seen what was reported, and gives the difference.
    fn report(&mut self) -> Vec<state::Op> {
        // Most of what is seen is what was seen before, and copies of it would cost more than the comparison.
        let view = (!self.settled()).then(|| self.view());
        let ops = state::diff(&self.reported, view.as_ref().unwrap_or(&self.seen));
        if !ops.is_empty() {
            self.reported = view.unwrap_or_else(|| self.seen.clone());
            self.writes.push(Write::State(ops.clone()));
        }
        ops
    }

    fn snapshot(&mut self, now: Now) {
        let _ = self.report();
        if self.meta.owed {
            self.meta.owed = false;
            self.writes.push(Write::Meta(self.meta.clone()));
        }
        // What a snapshot pushes out it makes up for itself.
        let _ = self.keep(&Envelope::snapshot(now.unix, &self.reported.snapshot()), now);
    }

    fn append(&mut self, envelope: Envelope, now: Now) {
        let is_diff = envelope.kind == RecordKind::DIFF;
        let too_large = envelope.body.len() > MAX_RECORD;
        let mut appended = self.keep(&envelope, now);
        appended.state_broken |= too_large && is_diff;
        self.mend(appended, now);
    }

    /// Appends a record, or a word on its loss where no hub would accept it.
    fn keep(&mut self, envelope: &Envelope, now: Now) -> Appended {
        match envelope.body.len() {
            ..=MAX_RECORD => self.held.append(envelope, now.unix, &mut self.writes),
            _ => self.held.lose(1, "a record was larger than the hub accepts", now.unix, &mut self.writes),
        }
    }

    fn lose(&mut self, count: u64, reason: &str, now: Now) {
        let appended = self.held.lose(count, reason, now.unix, &mut self.writes);
        self.mend(appended, now);
    }

    /// Appends a snapshot where a diff was lost: it leaves the hub with a state that later diffs do not fit.
    fn mend(&mut self, appended: Appended, now: Now) {
        if !appended.state_broken {
            return;
        }
        match self.telling {
            true => self.snapshot(now),
            // It comes with the first view.
            false => self.owe(),
        }
    }

    /// Says how many events the limit has dropped, if it is time; see [`Self::deadline`]. After acknowledgements it
    /// begins the epoch that waited for them.
    pub fn tick(&mut self, now: Now) {
        self.turn(now);
        if let Some((count, reason)) = self.rate.due(now.mono) {
            self.lose(count, &reason, now);
        }
    }

    /// When [`Self::tick`] is due, on the monotonic clock.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.rate.deadline()
    }

    /// How long to take no more of what was logged before the start; its sources wait meanwhile.
    pub fn pause(&mut self, now: Now) -> Option<Duration> {
        self.rate.pause(now.mono)
    }

    /// Whether there is something to be written now: all but places and acknowledgements, which may wait a
    /// moment for company.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        !self.writes.is_empty()
    }

    /// Whether there is anything to be written.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.writes.is_empty() || self.acked.is_some() || !self.moved.is_empty()
    }

    /// What is to be written, in one transaction; then call [`Self::committed`].
    #[must_use]
    pub fn take_writes(&mut self) -> Vec<Write> {
        let mut writes: Vec<Write> = self.acked.take().map(Write::DropThrough).into_iter().collect();
        writes.append(&mut self.writes);
        for source in std::mem::take(&mut self.moved) {
            let at = self.places.get(&source).cloned().unwrap_or_default();
            writes.push(Write::Source { source, at });
        }
        // Beside the places of what was dropped, so that a crash before it is told forgets neither.
        if self.rate.dropped() != self.told_dropped {
            self.told_dropped = self.rate.dropped();
            writes.push(Write::Dropped(self.told_dropped));
        }
        self.taken = self.held.newest();
        writes
    }

    /// What was last taken is written.
    pub fn committed(&mut self) {
        self.visible = self.taken;
    }

    fn seq(&self, place: u64) -> Seq {
        Seq(place.saturating_sub(self.meta.base))
    }

    /// The newest place that there is for the link.
    fn shown(&self) -> u64 {
        match self.next_epoch {
            Some(_) => self.held.frozen().min(self.visible),
            None => self.visible,
        }
    }

    /// What to say in a Hello.
    #[must_use]
    pub fn opening(&self) -> Opening {
        let oldest = self.held.before_oldest().min(self.shown()) + 1;
        Opening { epoch: self.meta.epoch, oldest: self.seq(oldest), newest: self.newest() }
    }

    /// The epoch and the newest record that there is for the link.
    #[must_use]
    pub fn newest(&self) -> Seq {
        self.seq(self.shown())
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.meta.epoch
    }

    /// How many records are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.entries().len()
    }

    /// The places of the next records after `after`, of about `target` bytes, at least one; none when there
    /// are none. To be read from the shelf and given to [`Self::pack`], with nothing taken in between.
    #[must_use]
    pub fn wanted(&self, after: Seq, target: usize) -> Vec<u64> {
        let after = self.meta.base.saturating_add(after.0);
        self.held
            .next(after, target, MAX_BATCH_RECORDS)
            .map(|entry| entry.place)
            .take_while(|place| *place <= self.shown())
            .collect()
    }

    /// Records as a batch; none for none.
    #[must_use]
    pub fn pack(&self, rows: &[Row]) -> Option<Batch> {
        let last = rows.last()?.entry.place;
        let mut list = BytesMut::with_capacity(rows.iter().map(|row| row.envelope.len() + 16).sum());
        for row in rows {
            write::push_record(&mut list, self.seq(row.entry.place), &row.envelope);
        }
        Some(Batch { list: list.freeze(), last: self.seq(last) })
    }

    /// The hub keeps everything of `epoch` up to and with `seq`; it is forgotten here. Of another epoch it
    /// means nothing.
    pub fn ack(&mut self, epoch: Epoch, seq: Seq) {
        let place = self.meta.base.saturating_add(seq.0).min(self.shown());
        if epoch != self.meta.epoch || place <= self.held.before_oldest() {
            return;
        }
        self.held.forget(place);
        match self.writes.is_empty() {
            true => self.acked = Some(place),
            // Behind what is to be written, which may stand at these places.
            false => self.writes.push(Write::DropThrough(place)),
        }
    }
}

#[cfg(test)]
mod tests;
