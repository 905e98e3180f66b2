//! The core's promises, in virtual time, without sockets.

use bytes::Bytes;
use proptest::prelude::*;
use secmon_protocol::{
    codec,
    facet::{FacetId, FacetStatus},
    ids::{Epoch, LogId},
    limits::MAX_VALUE,
    message::{
        ErrorCode,
        client::Presence,
        node::{Hello, HostFacts, NodeToHub, Resume},
    },
    record::{Body, Lost, NodeRecord, RecordKind},
    state::{RawFacet, diff},
};

use super::*;

mod access;
mod hostile;
mod jobs;
mod log;
mod runs;

const MINUTE: i64 = 60_000_000_000;

fn at(minutes: i64) -> Now {
    Now { unix: UnixNanos(minutes * MINUTE), mono: Duration::from_secs(60 * minutes.unsigned_abs()) }
}

fn core() -> Core {
    started(LogRow { id: LogId(9), newest: 0, history: vec![] })
}

fn started(log: LogRow) -> Core {
    let kept = Kept { log, nodes: vec![], tokens: vec![], jobs: vec![] };
    Core::new(kept, Duration::from_secs(15), JobLimits::default())
}

fn enrolled(core: &mut Core) -> NodeId {
    let id = NodeId([1; 16]);
    let name: NodeName = "web-1".parse().unwrap();
    let wish = Enrolling { secret: [1; 32], id, name, valid: Duration::ZERO, replace: false };
    core.enroll(at(0), wish, &mut vec![]).unwrap();
    core.join(at(1), &[1; 32], [7; 32], "0.1.0", &mut vec![]).unwrap().node
}

fn hello(epoch: u64, oldest: u64, newest: u64) -> Hello {
    Hello {
        agent: "0.1.0".into(),
        facts: HostFacts::default(),
        epoch: Epoch(epoch),
        oldest: Seq(oldest),
        newest: Seq(newest),
        clock: at(2).unix,
        extensions: Default::default(),
    }
}

fn connect(core: &mut Core, link: u64, hello: Hello) -> Effects {
    let from = Introduction { papers: [7; 32], address: "192.0.2.1:5".into(), hello, fresh: Epoch(777) };
    let mut out = vec![];
    core.handle_hello(at(2), Link(link), from, &mut out);
    core.flush(&mut out);
    out
}

fn send(core: &mut Core, link: u64, records: &[NodeRecord]) -> Effects {
    let records = Incoming::batch(&codec::encode_list(records)).unwrap();
    let mut out = vec![];
    core.handle_records(at(3), Link(link), records, &mut out);
    core.flush(&mut out);
    out
}

fn held(keys: &[u8]) -> NodeState {
    let mut state = NodeState::default();
    let entries = keys.iter().map(|key| (Bytes::copy_from_slice(&[*key]), Bytes::from_static(b"v")));
    state.set(FacetId::SESSIONS, RawFacet::Ready(entries.collect()));
    state
}

fn record(seq: u64, envelope: Envelope) -> NodeRecord {
    NodeRecord { seq: Seq(seq), envelope }
}

fn snapshot(seq: u64, keys: &[u8]) -> NodeRecord {
    record(seq, Envelope::snapshot(UnixNanos(5), &held(keys).snapshot()))
}

fn change(seq: u64, from: &[u8], to: &[u8]) -> NodeRecord {
    record(seq, Envelope::diff(UnixNanos(5), &diff(&held(from), &held(to))))
}

fn event(seq: u64) -> NodeRecord {
    let body = Bytes::from_static(b"never decoded");
    let types = vec!["auth.accepted".into()];
    record(seq, Envelope { kind: RecordKind::AUTH, version: 1, time: UnixNanos(5), types, body })
}

/// What was logged: the kind and the node's own number, or the hub's event.
fn logged(out: &Effects) -> Vec<String> {
    let one = |record: &LogRecord| match (record.origin, record.envelope.decode()) {
        (_, Ok(Body::Hub(HubEvent::Gap { from, to, .. }))) => format!("gap {}-{}", from.0, to.0),
        (Origin::Hub, _) => record.envelope.types.join(","),
        (Origin::Node { epoch, seq }, _) => format!("{}:{}:{}", record.envelope.kind.0, epoch.0, seq.0),
    };
    out.iter()
        .filter_map(|effect| if let Effect::Publish(r) = effect { Some(one(r)) } else { None })
        .collect()
}

fn count(out: &Effects, wanted: impl Fn(&Effect) -> bool) -> usize {
    out.iter().filter(|effect| wanted(effect)).count()
}

fn resyncs(out: &Effects) -> usize {
    count(out, |effect| matches!(effect, Effect::ToNode(_, HubToNode::Resync)))
}

fn acked(out: &Effects) -> Option<u64> {
    out.iter().rev().find_map(|effect| match effect {
        Effect::ToNode(_, HubToNode::Ack { seq }) => Some(seq.0),
        _ => None,
    })
}

fn resume(out: &Effects) -> Resume {
    let welcome = |effect: &Effect| match effect {
        Effect::ToNode(_, HubToNode::Welcome(welcome)) => Some(welcome.resume),
        _ => None,
    };
    out.iter().find_map(welcome).expect("a Welcome")
}

fn stale(core: &Core) -> bool {
    core.list(at(4))[0].stale
}

#[test]
fn a_record_that_came_before_is_dropped_and_acknowledged_again() {
    let mut core = core();
    enrolled(&mut core);
    connect(&mut core, 1, hello(1, 1, 0));
    let out = send(&mut core, 1, &[snapshot(1, b"a"), event(2)]);
    assert_eq!(logged(&out), ["2:1:1", "3:1:2"]);
    let out = send(&mut core, 1, &[snapshot(1, b"a"), event(2), event(3)]);
    assert_eq!((logged(&out), acked(&out)), (vec!["3:1:3".to_owned()], Some(3)));
}

#[test]
fn a_known_epoch_goes_on_and_a_new_one_starts_over() {
    let mut core = core();
    enrolled(&mut core);
    assert_eq!(resume(&connect(&mut core, 1, hello(1, 1, 2))), Resume::Oldest);
    send(&mut core, 1, &[snapshot(1, b"a"), event(2)]);
    assert_eq!(resume(&connect(&mut core, 2, hello(1, 2, 9))), Resume::After(Seq(2)));
    let out = connect(&mut core, 3, hello(2, 1, 1));
    assert_eq!((resume(&out), resyncs(&out), stale(&core)), (Resume::Oldest, 0, true));
    let out = send(&mut core, 3, &[snapshot(1, b"a")]);
    assert_eq!((logged(&out).len(), stale(&core)), (0, false), "an equal snapshot is no news");
}

#[test]
fn a_hole_is_logged_as_a_gap_and_a_snapshot_is_asked_for() {
    let mut core = core();
    enrolled(&mut core);
    connect(&mut core, 1, hello(1, 1, 0));
    send(&mut core, 1, &[snapshot(1, b"a"), event(2)]);
    let out = connect(&mut core, 2, hello(1, 6, 9));
    assert!(logged(&out).contains(&"gap 3-5".to_owned()), "{:?}", logged(&out));
    assert_eq!((resyncs(&out), stale(&core)), (1, true));
    let out = send(&mut core, 2, &[event(6), event(9), snapshot(10, b"b")]);
    assert_eq!(logged(&out), ["3:1:6", "gap 7-8", "3:1:9", "2:1:10"]);
    assert_eq!((resyncs(&out), stale(&core), acked(&out)), (0, false, Some(10)));
}

#[test]
fn a_diff_that_does_not_fit_changes_nothing_until_a_snapshot_comes() {
    let mut core = core();
    let id = enrolled(&mut core);
    connect(&mut core, 1, hello(1, 1, 0));
    send(&mut core, 1, &[snapshot(1, b"a")]);
    let out = send(&mut core, 1, &[change(2, b"x", b""), change(3, b"x", b""), event(4)]);
    assert_eq!(logged(&out), ["gap 2-3", "3:1:4"]);
    assert_eq!((resyncs(&out), stale(&core)), (1, true));
    assert_eq!(core.nodes[&id].state, held(b"a"));
    let out = send(&mut core, 1, &[snapshot(5, b"ab")]);
    assert_eq!((logged(&out), stale(&core)), (vec!["2:1:5".to_owned()], false));
    assert_eq!(core.nodes[&id].state, held(b"ab"));
}

#[test]
fn what_makes_a_state_too_large_ends_the_connection_and_is_not_taken() {
    let mut core = core();
    let id = enrolled(&mut core);
    connect(&mut core, 1, hello(1, 1, 0));
    send(&mut core, 1, &[snapshot(1, b"a")]);
    let facets: Vec<Op> = (100..200)
        .map(|n| Op::Status { facet: FacetId(n), old: FacetStatus::Pending, new: FacetStatus::Ready })
        .collect();
    for (link, envelope) in
        [(1, Envelope::diff(UnixNanos(5), &facets)), (2, Envelope::snapshot(UnixNanos(5), &facets))]
    {
        let out = send(&mut core, link, &[event(link + 1), record(link + 2, envelope)]);
        let reason = out.iter().find_map(|effect| match effect {
            Effect::Close(_, reason) => Some(reason.as_str()),
            _ => None,
        });
        assert!(reason.is_some_and(|reason| reason.contains("more than 32 facets")), "{reason:?}");
        assert_eq!(core.nodes[&id].state, held(b"a"));
        // Neither lost nor forgotten: it is the next that the node is asked for.
        let out = connect(&mut core, link + 1, hello(1, 1, 9));
        assert_eq!((resume(&out), stale(&core)), (Resume::After(Seq(link + 1)), false));
    }
}

#[test]
fn a_node_that_went_back_in_time_gets_a_new_numbering() {
    let mut core = core();
    enrolled(&mut core);
    connect(&mut core, 1, hello(1, 1, 0));
    send(&mut core, 1, &[snapshot(1, b"a"), event(2), event(3)]);
    let out = connect(&mut core, 2, hello(1, 2, 2));
    assert_eq!((resume(&out), resyncs(&out)), (Resume::Oldest, 1));
    let out = send(&mut core, 2, &[event(2), snapshot(3, b"b")]);
    assert_eq!(logged(&out), ["3:777:2", "2:777:3"], "ids are never used twice");
    assert_eq!(resume(&connect(&mut core, 3, hello(1, 4, 3))), Resume::After(Seq(3)));
}

/// Two machines with the same papers take each other's place for ever. Each once looked new at every turn,
/// and all that it had sent before was said to be missing.
#[test]
fn machines_with_the_same_papers_go_on_where_each_of_them_was() {
    let mut core = core();
    enrolled(&mut core);
    connect(&mut core, 1, hello(1, 1, 0));
    send(&mut core, 1, &[snapshot(1, b"a"), event(2)]);
    connect(&mut core, 2, hello(2, 1, 0));
    send(&mut core, 2, &[snapshot(1, b"b"), event(2), event(3)]);
    for turn in 0..3 {
        for (epoch, last) in [(1, 2 + turn), (2, 3 + turn)] {
            let link = 10 * epoch + turn;
            let out = connect(&mut core, link, hello(epoch, last + 1, last));
            assert_eq!((resume(&out), resyncs(&out)), (Resume::After(Seq(last)), 1));
            assert_eq!(logged(&out), ["node.disconnected", "node.connected"], "no gap");
            let out = send(&mut core, link, &[snapshot(last + 1, &[epoch as u8])]);
            assert_eq!((logged(&out), stale(&core)), (vec![format!("2:{epoch}:{}", last + 1)], false));
        }
    }
    // What really is missing is said; and who was long away is forgotten.
    let out = connect(&mut core, 90, hello(1, 9, 9));
    assert!(logged(&out).contains(&"gap 6-8".to_owned()), "{:?}", logged(&out));
    (100..200).for_each(|epoch| drop(connect(&mut core, epoch, hello(epoch, 1, 0))));
    assert_eq!(core.nodes.values().next().unwrap().row.others.len(), 4);
    assert_eq!(resume(&connect(&mut core, 91, hello(1, 1, 9))), Resume::Oldest);
}

#[test]
fn a_snapshot_that_no_message_can_hold_is_refused() {
    let mut core = core();
    let id = enrolled(&mut core);
    let mut large = NodeState::default();
    let value = Bytes::from(vec![7; MAX_VALUE]);
    let entries = (0..20_u8).map(|n| (Bytes::copy_from_slice(&[n]), value.clone()));
    large.set(FacetId::SESSIONS, RawFacet::Ready(entries.collect()));
    core.nodes.get_mut(&id).unwrap().state = large.clone();
    assert_eq!(core.details(|_, _| true).unwrap().len(), 1);
    let other: NodeName = "web-2".parse().unwrap();
    let wish = Enrolling { secret: [2; 32], id, name: other.clone(), valid: Duration::ZERO, replace: false };
    core.enroll(at(0), Enrolling { id: NodeId([2; 16]), ..wish }, &mut vec![]).unwrap();
    let second = core.join(at(1), &[2; 32], [8; 32], "", &mut vec![]).unwrap().node;
    core.nodes.get_mut(&second).unwrap().state = large;
    assert_eq!(core.details(|_, _| true).unwrap_err().code, ErrorCode::TooMany);
    assert_eq!(core.details(|_, name| *name == other).unwrap().len(), 1);
}

#[test]
fn what_a_node_lost_is_passed_on_and_stands_for_the_seqs_it_counts() {
    let mut core = core();
    enrolled(&mut core);
    connect(&mut core, 1, hello(1, 1, 0));
    send(&mut core, 1, &[snapshot(1, b"a")]);
    let lost = |seq, count| record(seq, Envelope::lost(UnixNanos(1), &Lost { count, reason: "full".into() }));
    let out = send(&mut core, 1, &[lost(5, 4), event(6)]);
    assert_eq!((logged(&out), resyncs(&out)), (vec!["4:1:5".to_owned(), "3:1:6".to_owned()], 1));
    let out = send(&mut core, 1, &[lost(10, 2)]);
    assert_eq!(logged(&out), ["gap 7-8", "4:1:10"]);
}

/// A limit on a flood tells once a second what it dropped; a snapshot for each would be a flood of its own.
#[test]
fn no_snapshot_is_asked_for_where_a_node_dropped_events_alone() {
    let mut core = core();
    enrolled(&mut core);
    connect(&mut core, 1, hello(1, 1, 0));
    send(&mut core, 1, &[snapshot(1, b"a")]);
    let lost = |seq, reason: String| record(seq, Envelope::lost(UnixNanos(1), &Lost { count: 4, reason }));
    let out = send(&mut core, 1, &[lost(5, format!("{}more than 1 a second", Lost::RATE)), event(6)]);
    assert_eq!((logged(&out), resyncs(&out)), (vec!["4:1:5".to_owned(), "3:1:6".to_owned()], 0));
    assert_eq!(resyncs(&send(&mut core, 1, &[lost(10, "full".to_owned())])), 1);
}

#[test]
fn the_newer_of_two_connections_wins_and_flapping_is_told() {
    let mut core = core();
    enrolled(&mut core);
    connect(&mut core, 1, hello(1, 1, 0));
    let clones = |out: &Effects| count(out, |e| matches!(e, Effect::Notice(Notice::Clone { .. })));
    let out = connect(&mut core, 2, hello(1, 1, 0));
    assert_eq!(count(&out, |e| matches!(e, Effect::Close(Link(1), _))), 1);
    assert_eq!(logged(&out), ["node.disconnected", "node.connected"]);
    assert_eq!(clones(&out), 0);
    connect(&mut core, 3, hello(1, 1, 0));
    assert_eq!(clones(&connect(&mut core, 4, hello(1, 1, 0))), 1);
    assert!(send(&mut core, 1, &[event(1)]).is_empty(), "the older connection is not listened to");
    let mut out = vec![];
    core.handle_link_down(at(5), Link(1), "late", &mut out);
    assert!(out.is_empty() && matches!(core.list(at(5))[0].presence, Presence::Online { .. }));
}

#[test]
fn a_clock_that_is_off_is_told_and_shown() {
    let mut core = core();
    enrolled(&mut core);
    let out = connect(&mut core, 1, Hello { clock: at(1).unix, ..hello(1, 1, 0) });
    assert_eq!(count(&out, |e| matches!(e, Effect::Notice(Notice::Clock { ahead: false, .. }))), 1);
    assert_eq!(core.list(at(2))[0].clock_offset, -MINUTE);
}

#[test]
fn a_hello_that_makes_no_sense_is_turned_away() {
    let mut core = core();
    enrolled(&mut core);
    for bad in [hello(1, 0, 0), hello(1, 5, 3), hello(1, 1, u64::MAX)] {
        let out = connect(&mut core, 1, bad);
        assert!(matches!(&out[0], Effect::ToNode(_, HubToNode::Reject(r)) if r.code == ErrorCode::Protocol));
        assert!(matches!(out[1], Effect::Close(..)));
    }
}

#[test]
fn a_token_works_once_and_until_it_expires() {
    let mut core = core();
    let wish = |secret, name: &str, replace| Enrolling {
        secret: [secret; 32],
        id: NodeId([secret; 16]),
        name: name.parse().unwrap(),
        valid: Duration::from_secs(600),
        replace,
    };
    let out = &mut vec![];
    core.enroll(at(0), wish(1, "a", false), out).unwrap();
    assert!(matches!(core.list(at(1))[0].presence, Presence::Expected { .. }));
    let code = |result: Result<Admission, secmon_protocol::message::Refusal>| result.unwrap_err().code;
    assert_eq!(code(core.admit(at(1), &[9; 32])), ErrorCode::TokenUnknown);
    assert_eq!(code(core.admit(at(10), &[1; 32])), ErrorCode::TokenExpired);
    assert!(core.list(at(10)).is_empty());
    core.enroll(at(10), wish(2, "a", false), out).unwrap();
    assert_eq!(code(core.admit(at(1), &[1; 32])), ErrorCode::TokenUnknown, "the newer token voids the older");
    let first = core.join(at(11), &[2; 32], [5; 32], "", out).unwrap();
    assert_eq!(code(core.join(at(11), &[2; 32], [6; 32], "", out)), ErrorCode::TokenUsed);
    assert_eq!(core.enroll(at(12), wish(3, "a", false), out).unwrap_err().code, ErrorCode::NameTaken);
    core.enroll(at(12), wish(3, "a", true), out).unwrap();
    assert_eq!(core.join(at(13), &[3; 32], [6; 32], "", out).unwrap().node, first.node);
    assert!(!core.papers.contains_key(&[5; 32]) && core.papers.contains_key(&[6; 32]));
}

/// One step of a node whose connection is bad.
#[derive(Debug, Clone)]
enum Step {
    State(Vec<u8>),
    Event,
    /// Send this many of the records that wait, and forget those that are acknowledged.
    Send(usize),
    /// Send them, but the connection breaks before the acknowledgement.
    Break(usize),
    /// Send something that was sent before.
    Again,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop::collection::btree_set(0_u8..6, 0..5).prop_map(|keys| Step::State(keys.into_iter().collect())),
        Just(Step::Event),
        (0_usize..5).prop_map(Step::Send),
        (0_usize..5).prop_map(Step::Break),
        Just(Step::Again),
    ]
}

proptest! {
    #[test]
    fn over_a_bad_connection_every_record_is_logged_once_and_in_order(
        steps in prop::collection::vec(step(), 0..60)
    ) {
        let mut core = core();
        let id = enrolled(&mut core);
        let mut outbox = vec![snapshot(1, b"")];
        let (mut keys, mut newest, mut link) = (vec![], 1_u64, 1_u64);
        let (mut taken, mut cursor) = (vec![], core.newest().n);
        connect(&mut core, link, hello(1, 1, 1));
        cursor += 1;
        let steps = steps.into_iter().chain([Step::Send(usize::MAX)]);
        for step in steps {
            let (many, broken) = match step {
                Step::State(to) => {
                    newest += 1;
                    outbox.push(change(newest, &keys, &to));
                    keys = to;
                    continue;
                }
                Step::Event => {
                    newest += 1;
                    outbox.push(event(newest));
                    continue;
                }
                Step::Send(many) => (many, false),
                Step::Break(many) => (many, true),
                Step::Again => (1, true),
            };
            let batch: Vec<_> = outbox.iter().take(many).cloned().collect();
            let mut out = send(&mut core, link, &batch);
            prop_assert_eq!(resyncs(&out), 0);
            if broken {
                core.handle_link_down(at(4), Link(link), "broken", &mut out);
                link += 1;
                let oldest = outbox.first().map_or(newest + 1, |record| record.seq.0);
                out.extend(connect(&mut core, link, hello(1, oldest, newest)));
            } else if let Some(acked) = acked(&out) {
                outbox.retain(|record| record.seq.0 > acked);
            }
            for effect in &out {
                if let Effect::Publish(record) = effect {
                    cursor += 1;
                    prop_assert_eq!(record.cursor.n, cursor);
                    if let Origin::Node { seq, .. } = record.origin {
                        taken.push(seq.0);
                    }
                }
            }
        }
        prop_assert_eq!(taken, (1..=newest).collect::<Vec<_>>());
        prop_assert_eq!(&core.nodes[&id].state, &held(&keys));
    }
}

/// A node gave a connection up and made another one; the Hello of the first was read last, and was once taken for that
/// of a machine that went back in time: a gap was told that was none, and what followed was logged twice.
#[test]
fn a_hello_that_is_late_begins_no_new_numbering() {
    let mut core = core();
    enrolled(&mut core);
    connect(&mut core, 2, hello(1, 1, 1));
    send(&mut core, 2, &[snapshot(1, b"a"), event(2)]);
    connect(&mut core, 1, hello(1, 1, 1));
    core.handle_link_down(at(4), Link(1), "it was given up", &mut vec![]);
    let out = connect(&mut core, 3, hello(1, 3, 3));
    let resumed = |effect: &Effect| matches!(effect, Effect::ToNode(_, HubToNode::Welcome(welcome)) if welcome.resume == Resume::After(Seq(2)));
    assert_eq!(count(&out, resumed), 1, "{out:?}");
    assert_eq!(logged(&send(&mut core, 3, &[event(3)])), ["3:1:3"]);
}
