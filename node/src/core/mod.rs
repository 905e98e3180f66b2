//! The node's pure core: observations in, records out. No runtime, no I/O, no clock; `now` is given.
//!
//! It holds the state as last reported and the [`Outbox`] of what the hub has not acknowledged. Call
//! [`NodeCore::observe`] for what a watcher saw; a link asks for [`NodeCore::opening`] when it connects,
//! then takes [`NodeCore::batch`]es and hands back [`NodeCore::ack`]s.

mod outbox;

use bytes::Bytes;
use secmon_protocol::{
    facet::FacetId,
    ids::{Epoch, Seq},
    limits::{MAX_ENTRIES, MAX_KEY, MAX_RECORD, MAX_STATE, MAX_VALUE},
    record::{Envelope, RecordKind},
    state::{self, NodeState, RawFacet},
    time::UnixNanos,
};

use outbox::Appended;
pub use outbox::{Batch, Outbox};

use crate::watch::Observation;

/// Bytes that an entry takes in a snapshot beside its key and value, and some more.
const ENTRY_OVERHEAD: usize = 32;

/// What a node says of its records when it connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// The numbering.
    pub epoch: Epoch,
    /// The oldest record held; `newest + 1` when none is.
    pub oldest: Seq,
    /// The newest record that there is; 0 before the first.
    pub newest: Seq,
}

/// See the module.
#[derive(Debug)]
pub struct NodeCore {
    epoch: Epoch,
    /// What the watchers last saw.
    seen: NodeState,
    /// What the records so far add up to; nothing until the first snapshot was made.
    reported: Option<NodeState>,
    outbox: Outbox,
}

impl NodeCore {
    /// A core whose records are numbered from 1 in `epoch`. The outbox holds
    /// `capacity` bytes.
    #[must_use]
    pub fn new(epoch: Epoch, capacity: usize) -> Self {
        Self { epoch, seen: NodeState::default(), reported: None, outbox: Outbox::new(capacity) }
    }

    /// Takes in what a watcher saw.
    pub fn observe(&mut self, observation: Observation, now: UnixNanos) {
        match observation {
            Observation::Sessions(facet) => self.facet(FacetId::SESSIONS, RawFacet::encode(&facet), now),
            Observation::WgPeers(facet) => self.facet(FacetId::WG_PEERS, RawFacet::encode(&facet), now),
            Observation::AuthLog(facet) => self.facet(FacetId::AUTH_LOG, RawFacet::encode(&facet), now),
            Observation::Auth(event) => self.append(Envelope::auth(&event), now),
            // Where there is an auth log it tells of the same attempt, and more.
            Observation::BadLogin(event) => {
                if matches!(self.seen.facet(FacetId::AUTH_LOG), RawFacet::Unavailable(_)) {
                    self.append(Envelope::auth(&event), now);
                }
            }
            Observation::Place(_) => {}
            Observation::Together(all) => all.into_iter().for_each(|one| self.observe(one, now)),
            Observation::Missed(reason) => {
                let lost = self.outbox.lose(&reason, now);
                self.mend(lost.state_broken, now);
            }
        }
    }

    fn facet(&mut self, id: FacetId, facet: RawFacet, now: UnixNanos) {
        self.seen.set(id, facet);
        // A hub that refuses the state would do so for ever; better that one facet is said to be unseen.
        if let Err(reason) = self.sendable(id) {
            self.seen
                .set(id, RawFacet::unavailable(reason, "watch less of it, or raise an issue with secmon"));
        }
        if self.reported.is_some() {
            self.report_changes(now);
        } else if self.settled() {
            self.snapshot(now);
        }
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

    /// Whether every watcher has said what it sees. Until then there is no snapshot: a facet that is
    /// still pending would look to the hub as if what it held were gone.
    #[must_use]
    pub fn settled(&self) -> bool {
        FacetId::KNOWN.iter().all(|id| *self.seen.facet(*id) != RawFacet::Pending)
    }

    /// Makes the first snapshot of what is known, though a watcher has not spoken yet.
    pub fn stop_waiting(&mut self, now: UnixNanos) {
        if self.reported.is_none() {
            self.snapshot(now);
        }
    }

    /// Appends a snapshot because the hub asked for one.
    pub fn resync(&mut self, now: UnixNanos) {
        if self.reported.is_some() {
            self.snapshot(now);
        }
    }

    fn report_changes(&mut self, now: UnixNanos) {
        let ops =
            self.reported.as_ref().map(|reported| state::diff(reported, &self.seen)).unwrap_or_default();
        if !ops.is_empty() {
            self.reported = Some(self.seen.clone());
            self.append(Envelope::diff(now, &ops), now);
        }
    }

    fn snapshot(&mut self, now: UnixNanos) {
        self.reported = Some(self.seen.clone());
        self.append(Envelope::snapshot(now, &self.seen.snapshot()), now);
    }

    fn append(&mut self, envelope: Envelope, now: UnixNanos) {
        let is_diff = envelope.kind == RecordKind::DIFF;
        let too_large = envelope.body.len() > MAX_RECORD;
        let broken = self.keep(envelope, now).state_broken || (too_large && is_diff);
        self.mend(broken, now);
    }

    /// Appends a record, or a word on its loss where no hub would accept it.
    fn keep(&mut self, envelope: Envelope, now: UnixNanos) -> Appended {
        match envelope.body.len() {
            ..=MAX_RECORD => self.outbox.append(envelope, now),
            _ => self.outbox.lose("a record was larger than the hub accepts", now),
        }
    }

    /// Appends a snapshot where a diff was lost: it leaves the hub with a state that later diffs do not fit.
    /// What a snapshot pushes out it makes up for itself, so this ends here.
    fn mend(&mut self, broken: bool, now: UnixNanos) {
        if broken && self.reported.is_some() {
            let snapshot = Envelope::snapshot(now, &self.seen.snapshot());
            self.reported = Some(self.seen.clone());
            let _ = self.keep(snapshot, now);
        }
    }

    /// What to say in a Hello.
    #[must_use]
    pub fn opening(&self) -> Opening {
        Opening { epoch: self.epoch, oldest: self.outbox.oldest(), newest: self.outbox.newest() }
    }

    /// The next records after `after`, as a list of about `target` bytes; none when there are none.
    #[must_use]
    pub fn batch(&self, after: Seq, target: usize) -> Option<Batch> {
        self.outbox.batch(after, target)
    }

    /// The hub keeps everything up to and with `seq`; it is forgotten here.
    pub fn ack(&mut self, seq: Seq) {
        self.outbox.ack(seq);
    }

    /// The newest record that there is.
    #[must_use]
    pub fn newest(&self) -> Seq {
        self.outbox.newest()
    }

    /// The records held, encoded; for tests.
    pub fn held(&self) -> impl Iterator<Item = &Bytes> {
        self.outbox.held()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use secmon_protocol::{
        auth::{AuthAction, AuthEvent},
        codec,
        facet::Facet,
        record::{Body, NodeRecord},
        session::{Session, SessionKind},
    };

    use super::*;

    const NOW: UnixNanos = UnixNanos(1);

    fn kinds(core: &NodeCore) -> Vec<RecordKind> {
        core.held().map(|r| codec::decode::<NodeRecord>(r).unwrap().envelope.kind).collect()
    }

    fn auth(message: &str) -> Observation {
        Observation::Auth(Box::new(AuthEvent::new(NOW, "sshd", None, AuthAction::Failed, message)))
    }

    fn settle(core: &mut NodeCore) {
        core.observe(Observation::Sessions(Facet::Ready(BTreeMap::new())), NOW);
        core.observe(Observation::WgPeers(Facet::NotMonitored), NOW);
        core.observe(Observation::AuthLog(Facet::unavailable("no log", "")), NOW);
    }

    #[test]
    fn the_first_snapshot_waits_for_every_watcher_and_diffs_follow_it() {
        let mut core = NodeCore::new(Epoch(1), 1 << 20);
        core.observe(Observation::Sessions(Facet::Ready(BTreeMap::new())), NOW);
        assert!(kinds(&core).is_empty());
        settle(&mut core);
        assert_eq!(kinds(&core), [RecordKind::SNAPSHOT]);
        core.observe(Observation::Sessions(Facet::unavailable("gone", "")), NOW);
        core.observe(Observation::Sessions(Facet::unavailable("gone", "")), NOW);
        assert_eq!(kinds(&core), [RecordKind::SNAPSHOT, RecordKind::DIFF], "the same again is no change");
    }

    #[test]
    fn a_watcher_that_never_speaks_does_not_hold_up_the_others() {
        let mut core = NodeCore::new(Epoch(1), 1 << 20);
        core.observe(Observation::Sessions(Facet::Ready(BTreeMap::new())), NOW);
        core.stop_waiting(NOW);
        core.stop_waiting(NOW);
        assert_eq!(kinds(&core), [RecordKind::SNAPSHOT]);
    }

    #[test]
    fn a_dropped_diff_is_followed_by_a_snapshot() {
        let mut core = NodeCore::new(Epoch(1), 2_000);
        settle(&mut core);
        for i in 0..100 {
            core.observe(Observation::Sessions(Facet::unavailable(format!("reason {i}"), "")), NOW);
        }
        let kinds = kinds(&core);
        assert_eq!(kinds[0], RecordKind::LOST);
        assert!(kinds.contains(&RecordKind::SNAPSHOT));
    }

    #[test]
    fn a_state_of_any_size_beside_the_outbox_leaves_a_stream_that_the_hub_can_follow() {
        for (capacity, sessions) in [(100_000, 50), (100_000, 150), (100_000, 500), (20_000, 1000)] {
            let mut core = NodeCore::new(Epoch(1), capacity);
            settle(&mut core);
            for round in 0..200 {
                core.observe(Observation::Sessions(Facet::Ready(sessions_of(sessions, round))), NOW);
            }
            // What the hub makes of it.
            let mut state = None;
            for record in core.held() {
                match codec::decode::<NodeRecord>(record).unwrap().envelope.decode().unwrap() {
                    Body::Snapshot(ops) => state = Some(NodeState::from_snapshot(&ops).unwrap()),
                    Body::Diff(ops) => {
                        if let Some(state) = &mut state {
                            state.apply(&ops).unwrap();
                        }
                    }
                    _ => {}
                }
            }
            assert_eq!(state.as_ref(), Some(&core.seen), "{sessions} sessions");
        }
    }

    #[test]
    fn a_facet_that_no_hub_would_accept_is_unavailable_and_comes_back_when_it_is_smaller() {
        let mut core = NodeCore::new(Epoch(1), 64 << 20);
        settle(&mut core);
        for sessions in [MAX_ENTRIES + 1, 90_000] {
            core.observe(Observation::Sessions(Facet::Ready(sessions_of(sessions, 0))), NOW);
            let RawFacet::Unavailable(why) = core.seen.facet(FacetId::SESSIONS) else { panic!("{sessions}") };
            assert!(why.reason.contains("the most"), "{why:?}");
        }
        core.observe(Observation::Sessions(Facet::Ready(sessions_of(1, 0))), NOW);
        assert!(matches!(core.seen.facet(FacetId::SESSIONS), RawFacet::Ready(entries) if entries.len() == 1));
    }

    fn sessions_of(count: usize, round: u64) -> BTreeMap<String, Session> {
        let session = |i: usize| Session {
            user: format!("user{i}-{}", if i == 0 { round } else { 0 }),
            tty: Some(format!("pts/{i}")),
            remote: Some("a-rather-long-name-of-a-remote-host.example.org".repeat(5)),
            since: NOW,
            leader: Some(7),
            service: None,
            kind: SessionKind::Interactive,
            sources: Default::default(),
        };
        (0..count).map(|i| (format!("utmp:{i}"), session(i))).collect()
    }

    #[test]
    fn a_failed_login_of_btmp_counts_only_where_no_auth_log_is_read() {
        let bad = || match auth("bad") {
            Observation::Auth(event) => Observation::BadLogin(event),
            other => other,
        };
        let mut core = NodeCore::new(Epoch(1), 1 << 20);
        core.observe(Observation::AuthLog(Facet::unavailable("none", "")), NOW);
        core.observe(bad(), NOW);
        assert_eq!(kinds(&core), [RecordKind::AUTH]);
        core.observe(Observation::AuthLog(Facet::Ready(BTreeMap::new())), NOW);
        core.observe(bad(), NOW);
        assert_eq!(kinds(&core), [RecordKind::AUTH]);
    }

    #[test]
    fn what_a_watcher_missed_is_a_record_that_says_why() {
        let mut core = NodeCore::new(Epoch(1), 1 << 20);
        core.observe(Observation::Missed("the source changed".to_owned()), NOW);
        let record: NodeRecord = codec::decode(core.held().next().unwrap()).unwrap();
        assert_eq!(record.seq, Seq(1));
        let Body::Lost(lost) = record.envelope.decode().unwrap() else { panic!("{record:?}") };
        assert_eq!((lost.count, lost.reason.as_str()), (1, "the source changed"));
    }

    #[test]
    fn what_is_acknowledged_is_forgotten_and_numbers_go_on() {
        let mut core = NodeCore::new(Epoch(1), 1 << 20);
        assert_eq!(core.opening(), Opening { epoch: Epoch(1), oldest: Seq(1), newest: Seq(0) });
        for i in 0..3 {
            core.observe(auth(&i.to_string()), NOW);
        }
        let batch = core.batch(Seq(1), usize::MAX).unwrap();
        assert_eq!(batch.last, Seq(3));
        let seqs: Vec<Seq> =
            codec::decode_list::<NodeRecord>(&batch.list).unwrap().iter().map(|r| r.seq).collect();
        assert_eq!(seqs, [Seq(2), Seq(3)]);
        core.ack(Seq(3));
        assert!(core.batch(Seq(1), usize::MAX).is_none());
        assert_eq!(core.opening(), Opening { epoch: Epoch(1), oldest: Seq(4), newest: Seq(3) });
    }
}
