//! Tests of the log in the store: what survives which end, what is removed, and what a reader finds.

use super::*;
use crate::{
    core::{LogRow, Predecessor},
    segment::tests::{numbers, packed, record},
    store::reader::Moment,
};

fn append_at(store: &mut Store, numbers: std::ops::RangeInclusive<u64>, size: usize, now: i64) -> Committed {
    let segments = packed(numbers.map(|n| record(n, size)));
    store.commit(&Batch { writes: vec![], segments, now: UnixNanos(now) }).unwrap()
}

fn append(store: &mut Store, numbers: std::ops::RangeInclusive<u64>) -> Committed {
    append_at(store, numbers, 10, 1)
}

fn newest(store: &Store) -> u64 {
    store.load().unwrap().log.newest
}

fn reopen(dir: &Path, boot: &str, durability: Durability) -> Store {
    Store::open(dir, Keeping { durability, ..keeping() }, &opening(boot)).unwrap()
}

async fn found(reader: &LogReader, after: u64) -> Vec<u64> {
    let found = reader.after(after).await.unwrap();
    numbers(&found)
}

#[test]
fn each_start_gives_the_log_an_id_and_remembers_the_earlier_ones() {
    let dir = tempfile::tempdir().unwrap();
    let at = |id| Opening { fresh: LogId(id), ..opening("boot") };
    let mut store = Store::open(dir.path(), keeping(), &at(5 << 40)).unwrap();
    assert_eq!(store.load().unwrap().log, LogRow { id: LogId(5 << 40), newest: 0, history: vec![] });
    append(&mut store, 1..=3);
    drop(store);
    drop(Store::open(dir.path(), keeping(), &at(u64::MAX)).unwrap());
    let log = Store::open(dir.path(), keeping(), &at(7)).unwrap().load().unwrap().log;
    let history = [u64::MAX, 5 << 40].map(|id| Predecessor { log: LogId(id), until: 3 }).to_vec();
    assert_eq!(log, LogRow { id: LogId(7), newest: 3, history });
}

#[test]
fn a_crash_of_the_hub_alone_loses_nothing_and_skips_nothing() {
    let dir = tempfile::tempdir().unwrap();
    append(&mut open(dir.path()).unwrap(), 1..=3);
    let store = open(dir.path()).unwrap();
    assert_eq!((newest(&store), store.gone(), store.holes().unwrap()), (3, 0, vec![]));
}

#[test]
fn after_a_machines_sudden_end_a_hole_says_that_something_may_be_lost() {
    let dir = tempfile::tempdir().unwrap();
    append(&mut reopen(dir.path(), "a", Durability::Process), 1..=3);
    let store = reopen(dir.path(), "b", Durability::Process);
    let hole = &store.holes().unwrap()[0];
    assert_eq!((hole.after, hole.to, newest(&store)), (3, 4, 4));
    assert!(hole.reason.contains("without notice"));
    let was = store.load().unwrap().log.history[0];
    assert_eq!(was.until, 3, "who had more than that under the old id has had what is lost");
    drop(store);
    let store = reopen(dir.path(), "c", Durability::Process);
    assert_eq!((newest(&store), store.holes().unwrap().len()), (5, 2));
}

#[test]
fn after_an_orderly_end_nothing_is_skipped_whatever_becomes_of_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = reopen(dir.path(), "a", Durability::Process);
    append(&mut store, 1..=3);
    store.close().unwrap();
    let store = reopen(dir.path(), "b", Durability::Process);
    assert_eq!((newest(&store), store.holes().unwrap()), (3, vec![]));
    drop(store);
    assert_eq!(newest(&reopen(dir.path(), "c", Durability::Process)), 4, "the mark counts once");
}

#[test]
fn with_durability_power_nothing_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    append(&mut reopen(dir.path(), "a", Durability::Power), 1..=3);
    let mut store = reopen(dir.path(), "b", Durability::Process);
    assert_eq!(newest(&store), 3);
    append(&mut store, 4..=4);
    drop(store);
    let store = reopen(dir.path(), "c", Durability::Power);
    assert_eq!(newest(&store), 5, "what was kept with less durability may still be lost");
}

#[test]
fn a_machine_that_does_not_name_its_boot_is_taken_for_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let nameless = Opening { boot_id: None, ..opening("") };
    append(&mut Store::open(dir.path(), keeping(), &nameless).unwrap(), 1..=3);
    assert_eq!(newest(&Store::open(dir.path(), keeping(), &nameless).unwrap()), 4);
}

#[test]
fn what_is_refused_uses_no_number_and_can_be_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    append(&mut store, 1..=3);
    store
        .db
        .execute_batch(
            "CREATE TEMP TRIGGER full BEFORE UPDATE ON meta BEGIN SELECT RAISE(ABORT, 'full'); END",
        )
        .unwrap();
    let segments = packed((4..=5).map(|n| record(n, 10)));
    let batch = Batch { writes: vec![Write::Node(Box::new(node()))], segments, now: UnixNanos(1) };
    store.commit(&batch).unwrap_err();
    assert!(newest(&store) == 3 && store.load().unwrap().nodes.is_empty());
    store.db.execute_batch("DROP TRIGGER full").unwrap();
    store.commit(&batch).unwrap();
    assert_eq!((newest(&store), store.load().unwrap().nodes.len()), (5, 1));
}

#[test]
fn a_full_disk_takes_nothing_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    append(&mut store, 1..=3);
    let pages: i64 = store.db.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let limit = |store: &Store, pages: i64| {
        store.db.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
    };
    limit(&store, pages);
    let segments = packed((4..=5).map(|n| record(n, 100 << 10)));
    let batch = Batch { writes: vec![Write::Node(Box::new(node()))], segments, now: UnixNanos(1) };
    for _ in 0..3 {
        let said = store.commit(&batch).unwrap_err().to_string();
        assert!(said.contains("full"), "{said}");
        assert!(newest(&store) == 3 && store.load().unwrap().nodes.is_empty());
    }
    limit(&store, 1 << 20);
    store.commit(&batch).unwrap();
    assert_eq!((newest(&store), store.load().unwrap().nodes.len()), (5, 1));
}

#[tokio::test]
async fn the_oldest_go_when_there_is_too_much_and_the_newest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let keeping = Keeping { size: 100 << 10, ..keeping() };
    let mut store = Store::open(dir.path(), keeping.clone(), &opening("a")).unwrap();
    let mut gone = 0;
    for n in 1..=100 {
        gone = append_at(&mut store, n..=n, 3 << 10, 1).gone;
    }
    assert!((60..75).contains(&gone), "{gone}");
    drop(store);
    let mut store = Store::open(dir.path(), keeping, &opening("a")).unwrap();
    assert_eq!(store.gone(), gone);
    assert_eq!(append_at(&mut store, 101..=101, 1 << 20, 1).gone, 100);
    let reader = LogReader::start(dir.path()).unwrap();
    assert_eq!(found(&reader, 0).await, [101]);
}

#[tokio::test]
async fn what_is_too_old_goes_even_if_nothing_comes() {
    let dir = tempfile::tempdir().unwrap();
    let keeping = Keeping { age: Duration::from_nanos(50), ..keeping() };
    let mut store = Store::open(dir.path(), keeping, &opening("a")).unwrap();
    append_at(&mut store, 1..=2, 10, 100);
    append_at(&mut store, 3..=4, 10, 120);
    let mut age =
        |now| store.commit(&Batch { writes: vec![], segments: vec![], now: UnixNanos(now) }).unwrap().gone;
    assert_eq!((age(150), age(151), age(170), age(171), age(999)), (0, 2, 2, 4, 4));
    assert_eq!(append_at(&mut store, 5..=5, 10, 1000).gone, 4);
    let reader = LogReader::start(dir.path()).unwrap();
    assert_eq!(found(&reader, 0).await, [5]);
}

#[tokio::test]
async fn a_reader_finds_what_stands_behind_a_place_up_to_the_next_hole() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = reopen(dir.path(), "a", Durability::Process);
    append(&mut store, 1..=3);
    append(&mut store, 4..=6);
    drop(store);
    let mut store = reopen(dir.path(), "b", Durability::Process);
    append(&mut store, 8..=8);
    let reader = LogReader::start(dir.path()).unwrap();
    assert_eq!(found(&reader, 0).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(found(&reader, 1).await, [2, 3, 4, 5, 6]);
    assert_eq!(found(&reader, 3).await, [4, 5, 6]);
    for within in [6, 7] {
        assert_eq!(found(&reader, within).await, [8]);
    }
    assert!(found(&reader, 8).await.is_empty());
    // While it reads, the other connection writes.
    append(&mut store, 9..=9);
    assert_eq!(found(&reader, 8).await, [9]);
}

#[tokio::test]
async fn a_read_is_bounded_and_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path()).unwrap();
    for n in 1..=20 {
        append_at(&mut store, n..=n, 100 << 10, 1);
    }
    let reader = LogReader::start(dir.path()).unwrap();
    let (mut at, mut reads) = (0, 0);
    while let Some(last) = found(&reader, at).await.last() {
        (at, reads) = (*last, reads + 1);
    }
    assert!(at == 20 && reads > 5, "{reads} reads");
}

#[tokio::test]
async fn a_time_is_found_and_what_was_removed_since_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let keeping = Keeping { age: Duration::from_nanos(100), ..keeping() };
    let mut store = Store::open(dir.path(), keeping, &opening("a")).unwrap();
    for (n, now) in [(1, 100), (2, 150), (3, 180), (4, 220)] {
        append_at(&mut store, n..=n, 10, now);
    }
    let reader = LogReader::start(dir.path()).unwrap();
    for (time, after, removed) in [
        (0, Some(1), true),
        (100, Some(1), true),
        (101, Some(1), false),
        (151, Some(2), false),
        (221, None, false),
    ] {
        assert_eq!(reader.since(UnixNanos(time)).await.unwrap(), Moment { after, removed }, "{time}");
    }
}
