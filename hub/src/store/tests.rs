//! Tests of the store.

use std::time::Duration;

use bytes::Bytes;
use secmon_protocol::{
    command::CommandInfo,
    facet::FacetId,
    ids::{Epoch, LogId, NodeId, Seq},
    message::node::HostFacts,
    state::{NodeState, RawFacet, diff},
    time::UnixNanos,
};

use super::*;
use crate::{
    config::Durability,
    core::{NodeRow, Standing, TokenRow},
};

mod log;

fn keeping() -> Keeping {
    Keeping { size: 1 << 30, age: Duration::from_secs(1 << 30), durability: Durability::Process }
}

fn opening(boot: &str) -> Opening {
    Opening { boot_id: Some(boot.to_owned()), fresh: LogId(5 << 40) }
}

fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(dir, keeping(), &opening("boot"))
}

fn commit(store: &mut Store, writes: impl Into<Vec<Write>>) {
    store.commit(&Batch { writes: writes.into(), segments: vec![], now: UnixNanos(1) }).unwrap();
}

fn node() -> NodeRow {
    NodeRow {
        id: NodeId([1; 16]),
        name: "a".parse().unwrap(),
        papers: [2; 32],
        seen: UnixNanos(3),
        agent: "0.1.0".into(),
        address: "192.0.2.1:5".into(),
        facts: HostFacts { os: "Debian".into(), ..HostFacts::default() },
        clock_offset: -4,
        epoch: Some(Epoch(u64::MAX)),
        log_epoch: Epoch(u64::MAX - 1),
        last: Seq(6),
        stale: true,
        connected: true,
        others: vec![Standing { epoch: Epoch(9), log_epoch: Epoch(8), last: Seq(7) }],
        commands: vec![CommandInfo::plain("x", "y", 7)],
    }
}

fn state(keys: &[&'static str]) -> NodeState {
    let mut state = NodeState::default();
    let entries = keys.iter().map(|key| (Bytes::from_static(key.as_bytes()), Bytes::from_static(b"v")));
    state.set(FacetId(1), RawFacet::Ready(entries.collect()));
    state.set(FacetId(2), RawFacet::unavailable("no", "yes"));
    state.set(FacetId(900), RawFacet::NotMonitored);
    state
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (id, first, second) = (node().id, state(&["a", "b"]), state(&["b", "c"]));
    let token = TokenRow {
        secret: [1; 32],
        node: id,
        name: "a".parse().unwrap(),
        made: UnixNanos(1),
        expires: UnixNanos(2),
        replace: true,
        used: Some(UnixNanos(3)),
    };
    let mut store = open(dir.path()).unwrap();
    commit(&mut store, [Write::Node(Box::new(node())), Write::State(id, first.snapshot())]);
    commit(&mut store, [Write::Token(token.clone()), Write::State(id, diff(&first, &second))]);
    let progress = Write::Progress { node: id, last: Seq(99), seen: UnixNanos(98), stale: false };
    commit(&mut store, [progress]);
    drop(store);
    let mut store = open(dir.path()).unwrap();
    let kept = store.load().unwrap();
    let expected = NodeRow { last: Seq(99), seen: UnixNanos(98), stale: false, ..node() };
    assert_eq!(kept.nodes, [(expected, second)]);
    assert_eq!(kept.tokens, std::slice::from_ref(&token));
    commit(&mut store, [Write::ForgetToken(token.secret)]);
    assert!(store.load().unwrap().tokens.is_empty());
}

#[test]
fn a_file_of_an_earlier_form_is_brought_to_the_newest_with_what_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    commit(&mut store, [Write::Node(Box::new(node()))]);
    store.db.execute_batch("ALTER TABLE nodes DROP COLUMN others; ALTER TABLE nodes DROP COLUMN connected; DROP TABLE jobs; DROP TABLE job_output; DROP TABLE log; DROP TABLE holes; DROP TABLE meta; PRAGMA user_version = 1").unwrap();
    drop(store);
    let mut store = open(dir.path()).unwrap();
    assert_eq!(
        store.load().unwrap().nodes[0].0,
        NodeRow { others: vec![], connected: false, commands: vec![], ..node() }
    );
    commit(&mut store, [Write::Node(Box::new(node()))]);
    assert_eq!(store.load().unwrap().nodes[0].0, node());
}

#[test]
fn a_file_of_a_later_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap().db.pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::Newer { found: 99, .. })));
}

#[test]
fn the_file_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    commit(&mut store, [Write::Node(Box::new(node()))]);
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
}

#[test]
fn a_damaged_file_is_named_with_the_ways_out() {
    let told = |dir: &Path| {
        let error = open(dir).and_then(|store| store.load()).err().unwrap();
        let (said, path) = (error.to_string(), dir.join(FILE));
        assert!(matches!(&error, StoreError::Damaged { path: named, .. } if *named == path), "{said}");
        for part in [path.to_str().unwrap(), "restore it from a backup", "join again", "-wal"] {
            assert!(said.contains(part), "{said}");
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    std::fs::write(&path, "x".repeat(5000)).unwrap();
    told(dir.path());
    std::fs::remove_file(&path).unwrap();

    let store = || open(dir.path()).unwrap();
    commit(&mut store(), [Write::Node(Box::new(node()))]);
    let whole = std::fs::read(&path).unwrap();
    // The pages behind the first are overwritten.
    let mut torn = whole.clone();
    torn[4096..].fill(0x5a);
    std::fs::write(&path, torn).unwrap();
    told(dir.path());

    std::fs::write(&path, whole).unwrap();
    for change in ["UPDATE nodes SET seen = 'x'", "UPDATE nodes SET seen = 3, facts = x'ff'"] {
        store().db.execute(change, []).unwrap();
        told(dir.path());
    }
}
