use std::collections::BTreeMap;

use secmon_protocol::{
    auth::{AuthAction, AuthEvent},
    codec,
    facet::Facet,
    record::{Body, Lost, NodeRecord},
    session::{Session, SessionKind},
    time::UnixNanos,
};

use super::*;
use crate::outbox::{self, Memory, Shelf as _};

const NOW: Now = Now { mono: Duration::from_secs(50), unix: UnixNanos(1) };

/// A core beside its shelf, as an owner has them.
struct Scene {
    core: NodeCore,
    shelf: Memory,
    capacity: usize,
    limits: Limits,
}

impl Scene {
    fn new(capacity: usize) -> Self {
        Self::limited(capacity, Limits::default())
    }

    fn limited(capacity: usize, limits: Limits) -> Self {
        let core = NodeCore::start(Loaded::default(), start(1, "a", capacity, &limits));
        Self { core, shelf: Memory::default(), capacity, limits }
    }

    fn observe(&mut self, observation: Observation) {
        self.core.observe(observation, NOW);
        self.commit();
    }

    fn commit(&mut self) {
        outbox::commit(&mut self.core, &mut self.shelf).unwrap();
    }

    /// What was not committed is gone.
    fn restart(&mut self, epoch: u64, boot: &str) {
        let start = start(epoch, boot, self.capacity, &self.limits);
        self.core = NodeCore::start(self.shelf.load().unwrap(), start);
        self.commit();
    }

    fn settle(&mut self) {
        self.observe(Observation::Sessions(Facet::Ready(BTreeMap::new())));
        self.observe(Observation::WgPeers(Facet::NotMonitored));
        self.observe(Observation::AuthLog(Facet::unavailable("no log", "")));
    }

    /// All that is held, as the hub would get it.
    fn records(&mut self) -> Vec<NodeRecord> {
        let mut after = Seq(self.core.opening().oldest.0 - 1);
        let mut records = Vec::new();
        while let Some(batch) = outbox::batch(&self.core, &mut self.shelf, after, 10_000).unwrap() {
            records.extend(codec::decode_list::<NodeRecord>(&batch.list).unwrap());
            after = batch.last;
        }
        records
    }

    fn kinds(&mut self) -> Vec<RecordKind> {
        self.records().iter().map(|record| record.envelope.kind).collect()
    }

    fn losses(&mut self) -> Vec<Lost> {
        let body = |record: &NodeRecord| match record.envelope.decode().unwrap() {
            Body::Lost(lost) => Some(lost),
            _ => None,
        };
        self.records().iter().filter_map(body).collect()
    }
}

fn start(epoch: u64, boot: &str, capacity: usize, limits: &Limits) -> Start {
    let (fresh, boot) = (Epoch(epoch), Some(boot.to_owned()));
    Start { fresh, boot, capacity, limits: limits.clone(), now: NOW }
}

fn auth(message: &str) -> Observation {
    Observation::Auth(Box::new(AuthEvent::new(NOW.unix, "sshd", None, AuthAction::Failed, message)))
}

fn place(source: &str, at: &'static str) -> Observation {
    Observation::Place(Place { source: source.to_owned(), at: Bytes::from_static(at.as_bytes()) })
}

#[test]
fn the_first_snapshot_waits_for_every_watcher_and_diffs_follow_it() {
    let mut core = Scene::new(1 << 20);
    core.observe(Observation::Sessions(Facet::Ready(BTreeMap::new())));
    assert!(core.kinds().is_empty());
    core.settle();
    assert_eq!(core.kinds(), [RecordKind::SNAPSHOT]);
    core.observe(Observation::Sessions(Facet::unavailable("gone", "")));
    core.observe(Observation::Sessions(Facet::unavailable("gone", "")));
    assert_eq!(core.kinds(), [RecordKind::SNAPSHOT, RecordKind::DIFF], "the same again is no change");
}

#[test]
fn a_watcher_that_never_speaks_does_not_hold_up_the_others() {
    let mut core = Scene::new(1 << 20);
    core.observe(Observation::Sessions(Facet::Ready(BTreeMap::new())));
    core.core.stop_waiting(NOW);
    core.core.stop_waiting(NOW);
    core.commit();
    assert_eq!(core.kinds(), [RecordKind::SNAPSHOT]);
}

#[test]
fn a_dropped_diff_is_followed_by_a_snapshot() {
    let mut core = Scene::new(2_000);
    core.settle();
    for i in 0..100 {
        core.observe(Observation::Sessions(Facet::unavailable(format!("reason {i}"), "")));
    }
    let kinds = core.kinds();
    assert_eq!(kinds[0], RecordKind::LOST);
    assert!(kinds.contains(&RecordKind::SNAPSHOT));
}

#[test]
fn a_state_of_any_size_beside_the_outbox_leaves_a_stream_that_the_hub_can_follow() {
    for (capacity, sessions) in [(100_000, 50), (100_000, 150), (100_000, 500), (20_000, 1000)] {
        let mut core = Scene::new(capacity);
        core.settle();
        for round in 0..200 {
            core.observe(Observation::Sessions(Facet::Ready(sessions_of(sessions, round))));
        }
        // What the hub makes of it.
        let mut state = None;
        for record in core.records() {
            match record.envelope.decode().unwrap() {
                Body::Snapshot(ops) => state = Some(NodeState::from_snapshot(&ops).unwrap()),
                Body::Diff(ops) => {
                    if let Some(state) = &mut state {
                        state.apply(&ops).unwrap();
                    }
                }
                _ => {}
            }
        }
        assert_eq!(state.as_ref(), Some(&core.core.reported), "{sessions} sessions");
    }
}

#[test]
fn a_facet_that_no_hub_would_accept_is_unavailable_and_comes_back_when_it_is_smaller() {
    let mut core = Scene::new(64 << 20);
    core.settle();
    for sessions in [MAX_ENTRIES + 1, 90_000] {
        core.observe(Observation::Sessions(Facet::Ready(sessions_of(sessions, 0))));
        let RawFacet::Unavailable(why) = core.core.seen.facet(FacetId::SESSIONS) else {
            panic!("{sessions}")
        };
        assert!(why.reason.contains("the most"), "{why:?}");
    }
    core.observe(Observation::Sessions(Facet::Ready(sessions_of(1, 0))));
    assert!(
        matches!(core.core.seen.facet(FacetId::SESSIONS), RawFacet::Ready(entries) if entries.len() == 1)
    );
}

fn sessions_of(count: usize, round: u64) -> BTreeMap<String, Session> {
    let session = |i: usize| Session {
        user: format!("user{i}-{}", if i == 0 { round } else { 0 }),
        tty: Some(format!("pts/{i}")),
        remote: Some("a-rather-long-name-of-a-remote-host.example.org".repeat(5)),
        since: NOW.unix,
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
    let mut core = Scene::new(1 << 20);
    core.observe(Observation::AuthLog(Facet::unavailable("none", "")));
    core.observe(bad());
    assert_eq!(core.kinds(), [RecordKind::AUTH]);
    core.observe(Observation::AuthLog(Facet::Ready(BTreeMap::new())));
    core.observe(bad());
    assert_eq!(core.kinds(), [RecordKind::AUTH]);
}

#[test]
fn what_a_watcher_missed_is_a_record_that_says_why() {
    let mut core = Scene::new(1 << 20);
    core.observe(Observation::Missed("the source changed".to_owned()));
    let record = core.records().remove(0);
    assert_eq!(record.seq, Seq(1));
    let Body::Lost(lost) = record.envelope.decode().unwrap() else { panic!("{record:?}") };
    assert_eq!((lost.count, lost.reason.as_str()), (1, "the source changed"));
}

#[test]
fn what_is_acknowledged_is_forgotten_and_numbers_go_on() {
    let mut core = Scene::new(1 << 20);
    assert_eq!(core.core.opening(), Opening { epoch: Epoch(1), oldest: Seq(1), newest: Seq(0) });
    for i in 0..3 {
        core.observe(auth(&i.to_string()));
    }
    let batch = outbox::batch(&core.core, &mut core.shelf, Seq(1), 1 << 20).unwrap().unwrap();
    assert_eq!(batch.last, Seq(3));
    let seqs: Vec<Seq> =
        codec::decode_list::<NodeRecord>(&batch.list).unwrap().iter().map(|r| r.seq).collect();
    assert_eq!(seqs, [Seq(2), Seq(3)]);
    core.core.ack(Epoch(1), Seq(3));
    core.commit();
    assert_eq!(outbox::batch(&core.core, &mut core.shelf, Seq(1), 1 << 20).unwrap(), None);
    assert_eq!(core.core.opening(), Opening { epoch: Epoch(1), oldest: Seq(4), newest: Seq(3) });
}

#[test]
fn after_a_restart_the_numbers_go_on_and_what_changed_meanwhile_is_a_diff() {
    let mut scene = Scene::new(1 << 20);
    scene.settle();
    scene.observe(Observation::Together(vec![auth("a"), place("journald", "17")]));
    scene.restart(2, "a");
    assert_eq!(scene.core.opening(), Opening { epoch: Epoch(1), oldest: Seq(1), newest: Seq(2) });
    let known = scene.core.known();
    assert_eq!(known.places["journald"], "17");
    assert!(matches!(known.state.facet(FacetId::SESSIONS), RawFacet::Ready(_)));

    scene.observe(Observation::WgPeers(Facet::NotMonitored));
    scene.observe(Observation::AuthLog(Facet::unavailable("no log", "")));
    assert_eq!(scene.core.newest(), Seq(2), "nothing is said before all have spoken");
    scene.observe(Observation::Sessions(Facet::Ready(sessions_of(1, 0))));
    assert_eq!(scene.kinds(), [RecordKind::SNAPSHOT, RecordKind::AUTH, RecordKind::DIFF]);
    let last = scene.records().pop().unwrap();
    assert_eq!((last.seq, last.envelope.types), (Seq(3), vec!["session.opened".to_owned()]));
}

/// The hub asks once for each connection, and what it asks of a node that has just started must not be forgotten.
#[test]
fn a_snapshot_that_is_asked_for_before_the_watchers_have_spoken_comes_with_their_first_word() {
    let mut core = Scene::new(1 << 20);
    core.settle();
    core.restart(2, "a");
    core.core.resync(NOW);
    core.commit();
    assert_eq!(core.kinds(), [RecordKind::SNAPSHOT], "of the last process");
    core.settle();
    assert_eq!(core.kinds(), [RecordKind::SNAPSHOT, RecordKind::SNAPSHOT]);
}

#[test]
fn a_watcher_that_is_slow_after_a_restart_takes_nothing_away() {
    let mut scene = Scene::new(1 << 20);
    scene.settle();
    scene.restart(2, "a");
    scene.observe(Observation::WgPeers(Facet::Ready(BTreeMap::new())));
    scene.core.stop_waiting(NOW);
    scene.commit();
    let last = scene.records().pop().unwrap().envelope;
    assert_eq!(last.types, ["facet.ready"], "sessions are as they were until their watcher speaks");
}

#[test]
fn another_boot_is_another_epoch_and_what_is_held_is_numbered_anew() {
    let mut scene = Scene::new(1 << 20);
    scene.settle();
    scene.observe(auth("a"));
    scene.observe(auth("b"));
    scene.core.ack(Epoch(1), Seq(2));
    scene.restart(2, "b");
    // The acknowledgement was not committed: it comes again, which is better than not at all.
    assert_eq!(scene.core.opening(), Opening { epoch: Epoch(2), oldest: Seq(1), newest: Seq(3) });
    scene.core.ack(Epoch(2), Seq(2));
    scene.commit();
    scene.restart(3, "c");
    assert_eq!(scene.core.opening(), Opening { epoch: Epoch(3), oldest: Seq(1), newest: Seq(1) });
    scene.settle();
    assert_eq!(
        scene.kinds(),
        [RecordKind::AUTH, RecordKind::SNAPSHOT],
        "and a snapshot when all have spoken"
    );
    scene.restart(4, "c");
    assert_eq!(scene.core.epoch(), Epoch(3));
}

#[test]
fn an_acknowledgement_of_another_epoch_means_nothing() {
    let mut scene = Scene::new(1 << 20);
    scene.observe(auth("a"));
    scene.core.ack(Epoch(9), Seq(1));
    assert_eq!(scene.core.held(), 1);
}

#[test]
fn a_number_is_never_used_twice_even_when_nothing_is_held() {
    let mut scene = Scene::new(1 << 20);
    for n in 1..5 {
        scene.observe(auth("a"));
        assert_eq!(scene.core.newest(), Seq(n));
        scene.core.ack(Epoch(1), Seq(n));
        scene.commit();
        scene.restart(2, "a");
        assert_eq!(scene.core.opening(), Opening { epoch: Epoch(1), oldest: Seq(n + 1), newest: Seq(n) });
    }
}

#[test]
fn what_is_not_committed_is_not_there_for_the_link() {
    let mut scene = Scene::new(1 << 20);
    scene.core.observe(auth("a"), NOW);
    assert_eq!(scene.core.newest(), Seq(0));
    assert!(scene.core.wanted(Seq(0), 1 << 20).is_empty());
    scene.commit();
    assert_eq!(scene.core.newest(), Seq(1));
}

#[test]
fn events_beyond_the_limit_are_told_even_if_the_node_is_killed_before() {
    let limits = Limits { events_per_second: 10, events_burst: Some(2) };
    let mut scene = Scene::limited(1 << 20, limits);
    for _ in 0..5 {
        scene.observe(Observation::Together(vec![auth("a"), place("journald", "17")]));
    }
    assert_eq!(scene.kinds(), [RecordKind::AUTH; 2]);
    scene.restart(2, "a");
    assert_eq!(scene.kinds(), [RecordKind::AUTH, RecordKind::AUTH, RecordKind::LOST]);
    let lost = scene.losses().remove(0);
    assert!(lost.count == 3 && lost.reason.starts_with("rate: "), "{lost:?}");
    assert_eq!(scene.core.newest(), Seq(5), "it has a number for each");
    scene.restart(2, "a");
    assert_eq!(scene.losses().len(), 1, "once");
}

#[test]
fn the_limit_drops_no_change_of_the_state() {
    let limits = Limits { events_per_second: 1, events_burst: Some(1) };
    let mut scene = Scene::limited(1 << 20, limits);
    scene.settle();
    for round in 0..20 {
        scene.observe(auth("a"));
        scene.observe(Observation::Sessions(Facet::Ready(sessions_of(1, round))));
    }
    assert_eq!(scene.kinds().iter().filter(|kind| **kind == RecordKind::DIFF).count(), 20);
}
