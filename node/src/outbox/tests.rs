//! Both shelves do the same, and a disk that fails stops nothing.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use proptest::prelude::*;
use secmon_protocol::{
    auth::{AuthAction, AuthEvent},
    codec,
    facet::Facet,
    ids::{Epoch, Seq},
    record::{Body, NodeRecord, RecordKind},
    time::UnixNanos,
};

use super::*;
use crate::{
    core::{Limits, Now, Start},
    watch::{Observation, Place},
};

fn at(seconds: u64) -> Now {
    Now { mono: Duration::from_secs(seconds), unix: UnixNanos(1) }
}

fn start(epoch: u64, capacity: usize) -> Start {
    Start {
        fresh: Epoch(epoch),
        boot: Some("a".to_owned()),
        capacity,
        limits: Limits { events_per_second: 0, events_burst: None },
        now: at(0),
    }
}

fn auth(message: &str) -> Observation {
    Observation::Auth(Box::new(AuthEvent::new(UnixNanos(1), "sshd", None, AuthAction::Failed, message)))
}

fn sessions(reason: &str) -> Observation {
    Observation::Sessions(Facet::unavailable(reason, ""))
}

#[derive(Debug, Clone)]
enum Step {
    Event(usize),
    State(u8),
    Place(u8, u8),
    Ack(u64),
    Commit,
    Crash,
    Reboot,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..400).prop_map(Step::Event),
        2 => any::<u8>().prop_map(Step::State),
        2 => (0_u8..4, 0_u8..3).prop_map(|(source, at)| Step::Place(source, at)),
        2 => (0_u64..6).prop_map(Step::Ack),
        4 => Just(Step::Commit),
        1 => Just(Step::Crash),
        1 => Just(Step::Reboot),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn both_shelves_hold_the_same_and_every_seq_is_held_or_told_lost(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::open(&dir.path().join(FILE)).unwrap();
        let mut memory = Memory::default();
        let mut core = NodeCore::start(Loaded::default(), start(1, 3_000));
        let mut boots = 0;
        for step in steps {
            match step {
                Step::Event(len) => core.observe(auth(&"x".repeat(len)), at(1)),
                Step::State(n) => core.observe(sessions(&n.to_string()), at(1)),
                Step::Place(source, n) => {
                    let at_place = if n == 0 { bytes::Bytes::new() } else { bytes::Bytes::from(vec![n]) };
                    core.observe(Observation::Place(Place { source: source.to_string(), at: at_place }), at(1));
                }
                Step::Ack(back) => {
                    let opening = core.opening();
                    core.ack(opening.epoch, Seq(opening.newest.0.saturating_sub(back)));
                }
                Step::Commit => {
                    core.observe(Observation::WgPeers(Facet::NotMonitored), at(1));
                    core.observe(Observation::AuthLog(Facet::NotMonitored), at(1));
                    let writes = core.take_writes();
                    disk.apply(&writes).unwrap();
                    memory.apply(&writes).unwrap();
                    core.committed();
                    let loaded = disk.load().unwrap();
                    prop_assert_eq!(&loaded, &memory.load().unwrap());
                    let bytes: usize = loaded.entries.iter().map(|entry| entry.len).sum();
                    prop_assert!(bytes <= 3_000 + 1_000);
                    held_without_a_hole(&core, &mut disk)?;
                }
                Step::Crash | Step::Reboot => {
                    boots += u64::from(matches!(step, Step::Reboot));
                    let boot = Some(boots.to_string());
                    let start = Start { boot, ..start(100 + boots, 3_000) };
                    core = NodeCore::start(memory.load().unwrap(), start);
                }
            }
        }
    }
}

/// The stream from what the core says is its oldest to its newest.
fn held_without_a_hole(core: &NodeCore, shelf: &mut impl Shelf) -> Result<(), TestCaseError> {
    let opening = core.opening();
    let (mut expected, mut after) = (opening.oldest.0, Seq(opening.oldest.0 - 1));
    while let Some(batch) = batch(core, shelf, after, 500).unwrap() {
        for record in codec::decode_list::<NodeRecord>(&batch.list).unwrap() {
            let covers = match record.envelope.decode().unwrap() {
                Body::Lost(lost) => lost.count,
                _ => 1,
            };
            prop_assert_eq!(record.seq.0, expected + covers - 1);
            expected = record.seq.0 + 1;
        }
        after = batch.last;
    }
    prop_assert_eq!(expected, opening.newest.0 + 1);
    Ok(())
}

/// What a hub would get: the messages of events, and what stands for lost ones.
fn told(keeper: &mut Keeper, now: Now) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        let opening = keeper.core.opening();
        let (mut expected, mut after) = (opening.oldest.0, Seq(opening.oldest.0 - 1));
        told.clear();
        while let Some(batch) = keeper.batch(after, 500, now) {
            for record in codec::decode_list::<NodeRecord>(&batch.list).unwrap() {
                let mut covers = 1;
                match record.envelope.decode().unwrap() {
                    Body::Auth(event) => told.push(event.message),
                    Body::Lost(lost) => {
                        covers = lost.count;
                        told.push(format!("lost {}", lost.count));
                    }
                    _ => {}
                }
                assert_eq!(record.seq.0, expected + covers - 1);
                expected = record.seq.0 + 1;
            }
            after = batch.last;
        }
        // As a link does: another epoch, or a read that failed, and it begins anew.
        if after == keeper.core.newest() && keeper.core.epoch() == opening.epoch {
            return told;
        }
    }
}

fn happen(keeper: &mut Keeper, message: &str, now: Now) {
    keeper.core.observe(auth(message), now);
    keeper.commit(now);
}

fn settle(keeper: &mut Keeper, now: Now) {
    keeper.core.observe(sessions("none"), now);
    keeper.core.observe(Observation::WgPeers(Facet::NotMonitored), now);
    keeper.core.observe(Observation::AuthLog(Facet::NotMonitored), now);
    keeper.commit(now);
}

fn database() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    (dir, path)
}

fn damaged(path: &Path, n: u32) -> PathBuf {
    path.with_file_name(format!("{FILE}.damaged-{n}"))
}

#[test]
fn what_is_committed_outlives_the_process() {
    let (_dir, path) = database();
    let mut keeper = Keeper::open(&path, start(1, 1 << 20)).unwrap();
    settle(&mut keeper, at(1));
    happen(&mut keeper, "a", at(1));
    drop(keeper);
    let mut keeper = Keeper::open(&path, start(2, 1 << 20)).unwrap();
    assert_eq!((keeper.core.epoch(), told(&mut keeper, at(2))), (Epoch(1), vec!["a".to_owned()]));
}

#[test]
fn garbage_in_the_place_of_the_database_is_set_aside_and_told() {
    let (_dir, path) = database();
    fs::write(&path, "this is no database, and long enough to be taken for one".repeat(100)).unwrap();
    let mut keeper = Keeper::open(&path, start(1, 1 << 20)).unwrap();
    assert!(keeper.is_on_disk() && damaged(&path, 1).exists());
    happen(&mut keeper, "a", at(1));
    assert_eq!(told(&mut keeper, at(1)), ["lost 1", "a"]);
    drop(keeper);
    assert_eq!(told(&mut Keeper::open(&path, start(2, 1 << 20)).unwrap(), at(1)), ["lost 1", "a"]);
}

#[test]
fn numbers_that_cannot_be_are_damage() {
    for change in
        ["UPDATE numbering SET base = 1000", "UPDATE records SET place = -1", "UPDATE counts SET value = -1"]
    {
        let (_dir, path) = database();
        let mut keeper = Keeper::open(&path, start(1, 1 << 20)).unwrap();
        happen(&mut keeper, "a", at(1));
        keeper.core.ack(Epoch(1), Seq(1));
        happen(&mut keeper, "b", at(1));
        drop(keeper);
        rusqlite::Connection::open(&path).unwrap().execute(change, []).unwrap();
        let mut keeper = Keeper::open(&path, start(2, 1 << 20)).unwrap();
        happen(&mut keeper, "c", at(1));
        assert!(damaged(&path, 1).exists(), "{change}");
    }
}

#[test]
fn a_database_of_a_newer_secmon_is_refused_and_left_alone() {
    let (_dir, path) = database();
    drop(Keeper::open(&path, start(1, 1 << 20)).unwrap());
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Keeper::open(&path, start(2, 1 << 20)).unwrap_err();
    assert!(matches!(error, ShelfError::Newer { found: 99, .. }), "{error}");
    assert!(!damaged(&path, 1).exists());
}

/// The disk takes nothing more: SQLite may not make the file larger than it is.
fn fill(keeper: &mut Keeper) {
    keeper.limit_pages(1);
}

/// A disk that is full, and memory behind it: what each of them holds for the hub.
fn half_in_memory(path: &Path) -> (Keeper, Vec<String>, Vec<String>) {
    let mut keeper = Keeper::open(path, start(1, 1 << 20)).unwrap();
    settle(&mut keeper, at(1));
    let mut messages: Vec<String> =
        ["a", "b"].map(str::to_owned).into_iter().chain((0..20).map(|n| format!("{n:03000}"))).collect();
    happen(&mut keeper, &messages[0], at(1));
    happen(&mut keeper, &messages[1], at(1));
    fill(&mut keeper);
    for message in &messages[2..] {
        happen(&mut keeper, message, at(2));
    }
    assert!(!keeper.is_on_disk());
    // The first was a snapshot.
    let in_memory = messages.split_off(usize::try_from(keeper.core.newest().0).unwrap() - 1);
    assert!(messages.len() >= 2 && in_memory.len() >= 2);
    (keeper, messages, in_memory)
}

/// The hub takes all that the disk holds.
fn take_what_is_on_disk(keeper: &mut Keeper) {
    let (epoch, newest) = (keeper.core.epoch(), keeper.core.newest());
    keeper.core.ack(epoch, newest);
    keeper.tick(at(2));
    keeper.commit(at(2));
}

#[test]
fn a_full_disk_sends_the_node_to_memory_and_what_it_held_goes_on_to_the_hub() {
    let (_dir, path) = database();
    let (mut keeper, on_disk, mut in_memory) = half_in_memory(&path);
    assert!(told(&mut keeper, at(2)) == on_disk, "as the disk has them");
    assert_eq!(keeper.core.epoch(), Epoch(1));
    take_what_is_on_disk(&mut keeper);
    let epoch = keeper.core.epoch();
    assert_ne!(epoch, Epoch(1), "a crash would use the numbers of the old one again");
    assert!(told(&mut keeper, at(2)) == in_memory);

    // The hub takes the first, and there is room again.
    keeper.core.ack(epoch, Seq(1));
    keeper.tick(at(2));
    assert!(!keeper.is_on_disk(), "it is not tried at once");
    keeper.tick(at(60));
    assert!(keeper.is_on_disk());
    assert_eq!(keeper.core.epoch(), epoch, "nothing was renumbered");
    happen(&mut keeper, "z", at(61));
    in_memory.remove(0);
    in_memory.push("z".to_owned());
    assert!(told(&mut keeper, at(61)) == in_memory);
    drop(keeper);
    let mut keeper = Keeper::open(&path, start(7, 1 << 20)).unwrap();
    assert!(told(&mut keeper, at(0)) == in_memory);
    assert_eq!(keeper.core.epoch(), epoch);
}

/// The hub took what the disk had while that failed, and the node crashed: the next start offers it under the
/// numbers by which the hub knows it. It went out under another epoch once, and came twice.
#[test]
fn what_a_failing_disk_holds_keeps_its_numbers_over_a_crash() {
    let (_dir, path) = database();
    let (mut keeper, on_disk, _) = half_in_memory(&path);
    let before = keeper.core.opening();
    take_what_is_on_disk(&mut keeper);
    assert_ne!(keeper.core.epoch(), Epoch(1));
    drop(keeper);
    let mut keeper = Keeper::open(&path, start(7, 1 << 20)).unwrap();
    assert_eq!(keeper.core.opening(), before);
    assert!(told(&mut keeper, at(0)) == on_disk);
}

#[test]
fn a_disk_that_is_back_before_the_hub_took_what_it_held_goes_on_as_if_it_had_never_failed() {
    let (_dir, path) = database();
    let (mut keeper, on_disk, in_memory) = half_in_memory(&path);
    keeper.tick(at(60));
    assert!(keeper.is_on_disk());
    let all: Vec<String> = on_disk.into_iter().chain(in_memory).collect();
    assert!(told(&mut keeper, at(60)) == all);
    drop(keeper);
    let mut keeper = Keeper::open(&path, start(7, 1 << 20)).unwrap();
    assert!(told(&mut keeper, at(0)) == all);
    assert_eq!(keeper.core.epoch(), Epoch(1));
}

/// Bytes of the database and of its log.
fn sizes(path: &Path) -> (u64, u64) {
    let len = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    (len(path), len(&path.with_file_name(format!("{FILE}-wal"))))
}

#[test]
fn a_disk_that_is_full_is_written_all_the_same_where_room_was_kept_and_the_hub_takes_what_comes() {
    let (_dir, path) = database();
    let mut keeper = Keeper::open(&path, start(1, 1 << 20)).unwrap();
    keeper.keep_room();
    let before = sizes(&path);
    fill(&mut keeper);
    settle(&mut keeper, at(1));
    let large = "x".repeat(3_000);
    for n in 0..4_000 {
        happen(&mut keeper, &large, at(2));
        if n % 100 == 0 {
            let (epoch, newest) = (keeper.core.epoch(), keeper.core.newest());
            keeper.core.ack(epoch, newest);
        }
    }
    assert!(keeper.is_on_disk());
    assert_eq!(sizes(&path), before, "neither of the files has grown");
    // The next start makes it good, and no more than that.
    drop(keeper);
    let mut keeper = Keeper::open(&path, start(2, 1 << 20)).unwrap();
    keeper.keep_room();
    let (database, _) = sizes(&path);
    assert!(database < before.0 * 3 / 2, "{database} from {}", before.0);
}

#[test]
fn the_disk_is_tried_again_soon_and_then_less_and_less() {
    let (_dir, path) = database();
    fs::create_dir(&path).unwrap();
    let mut keeper = Keeper::open(&path, start(1, 1 << 20)).unwrap();
    let mut pauses = Vec::new();
    let mut before = at(0).mono;
    for _ in 0..9 {
        let due = keeper.deadline().unwrap();
        pauses.push((due - before).as_millis());
        keeper.tick(Now { mono: due, unix: UnixNanos(1) });
        before = due;
    }
    let about = |millis: u128| millis * 3 / 4..=millis * 5 / 4;
    for (pause, seconds) in pauses.iter().zip([1, 2, 4, 8, 16, 30, 30, 30, 30]) {
        assert!(about(seconds * 1_000).contains(pause), "{pauses:?}");
    }
}

/// What one transaction drops may reach from records that are on the disk to some that never were.
#[test]
fn a_loss_that_reaches_from_the_disk_into_memory_leaves_a_database_that_can_be_opened() {
    let (_dir, path) = database();
    let mut keeper = Keeper::open(&path, start(1, 6_000)).unwrap();
    settle(&mut keeper, at(1));
    (0..5).for_each(|n| happen(&mut keeper, &n.to_string(), at(1)));
    fill(&mut keeper);
    for n in 5..200 {
        keeper.core.observe(auth(&format!("{n} {}", "x".repeat(300))), at(2));
    }
    keeper.commit(at(2));
    assert!(!keeper.is_on_disk());
    let before = told(&mut keeper, at(2));
    assert!(before.len() > 2 && before[0].starts_with("lost "), "{before:?}");
    keeper.tick(at(60));
    assert!(keeper.is_on_disk());
    assert_eq!(told(&mut keeper, at(60)), before);
    drop(keeper);
    assert_eq!(told(&mut Keeper::open(&path, start(2, 6_000)).unwrap(), at(0)), before);
    assert!(!damaged(&path, 1).exists());
}

#[test]
fn memory_is_bounded_while_the_disk_fails() {
    let (_dir, path) = database();
    let mut keeper = Keeper::open(&path, start(1, 200_000)).unwrap();
    happen(&mut keeper, "a", at(1));
    fill(&mut keeper);
    for n in 0..1_000 {
        happen(&mut keeper, &format!("{n} {}", "x".repeat(1_000)), at(2));
    }
    assert!(told(&mut keeper, at(2))[0] == "a", "what lies on the disk is not dropped for what does not");
    take_what_is_on_disk(&mut keeper);
    let told_first = told(&mut keeper, at(2));
    assert!(told_first[0].starts_with("lost "), "nothing was dropped");
    assert!(keeper.core.held() < 250, "{}", keeper.core.held());
    keeper.tick(at(60));
    assert!(keeper.is_on_disk());
    let after = told(&mut keeper, at(60));
    assert_eq!(after.last(), told_first.last());
}

#[test]
fn a_disk_that_cannot_be_opened_at_the_start_is_made_up_for_and_what_it_holds_comes_first() {
    let (dir, path) = database();
    let mut keeper = Keeper::open(&path, start(1, 1 << 20)).unwrap();
    settle(&mut keeper, at(1));
    happen(&mut keeper, "before", at(1));
    drop(keeper);
    // Not the folder's mode, for root may write anywhere.
    let hidden = dir.path().join("hidden");
    fs::rename(&path, &hidden).unwrap();
    fs::create_dir(&path).unwrap();
    let mut keeper = Keeper::open(&path, start(2, 1 << 20)).unwrap();
    assert!(!keeper.is_on_disk());
    settle(&mut keeper, at(1));
    happen(&mut keeper, "meanwhile", at(1));
    // No place of a source was known, so that they are read from now on.
    assert_eq!(told(&mut keeper, at(1)), ["lost 1", "meanwhile"]);

    fs::remove_dir(&path).unwrap();
    fs::rename(&hidden, &path).unwrap();
    keeper.tick(at(60));
    assert!(keeper.is_on_disk());
    assert_eq!(told(&mut keeper, at(60)), ["before", "lost 1", "meanwhile"]);
    assert!(![Epoch(1), Epoch(2)].contains(&keeper.core.epoch()), "other numbers, another epoch");
    drop(keeper);
    let mut keeper = Keeper::open(&path, start(3, 1 << 20)).unwrap();
    assert_eq!(told(&mut keeper, at(0)), ["before", "lost 1", "meanwhile"]);
}

#[test]
fn a_database_that_is_damaged_while_it_is_used_is_replaced_and_the_loss_is_told() {
    let (_dir, path) = database();
    let mut keeper = Keeper::open(&path, start(1, 4 << 20)).unwrap();
    settle(&mut keeper, at(1));
    for n in 0..400 {
        happen(&mut keeper, &format!("{n} {}", "x".repeat(1_000)), at(1));
    }
    keeper.checkpoint();
    // Over all but the first page.
    let len = fs::metadata(&path).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&vec![0xa5; usize::try_from(len).unwrap() - 4096], 4096).unwrap();
    let _ = told(&mut keeper, at(2));
    happen(&mut keeper, "after", at(3));
    let told = told(&mut keeper, at(3));
    assert!(keeper.is_on_disk() && damaged(&path, 1).exists());
    assert_eq!(told, ["lost 401", "after"]);
    assert_ne!(keeper.core.epoch(), Epoch(1));
    drop(keeper);
    let reopened = Keeper::open(&path, start(9, 4 << 20)).unwrap();
    let Loaded { state, .. } = Disk::open(&path).unwrap().load().unwrap();
    assert_eq!(state, reopened.core.known().state, "the state was written again");
}

#[test]
fn a_database_that_was_removed_is_made_again_once_the_disk_fails_and_the_loss_is_told() {
    let (_dir, path) = database();
    let mut keeper = Keeper::open(&path, start(1, 1 << 20)).unwrap();
    settle(&mut keeper, at(1));
    happen(&mut keeper, "a", at(1));
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(path.with_file_name(format!("{FILE}{suffix}")));
    }
    fill(&mut keeper);
    for _ in 0..20 {
        happen(&mut keeper, &"x".repeat(3_000), at(2));
    }
    keeper.tick(at(60));
    assert!(keeper.is_on_disk());
    let told = told(&mut keeper, at(60));
    let lost: usize = told[0].strip_prefix("lost ").unwrap().parse().unwrap();
    assert_eq!(lost + told.len() - 1, 22, "the snapshot and 21 events");
    let held = keeper.core.held();
    drop(keeper);
    assert_eq!(Keeper::open(&path, start(9, 1 << 20)).unwrap().core.held(), held);
}

#[test]
fn a_record_that_the_disk_has_changed_never_reaches_the_hub() {
    let (_dir, path) = database();
    let mut keeper = Keeper::open(&path, start(1, 1 << 20)).unwrap();
    happen(&mut keeper, "a", at(1));
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute("UPDATE records SET envelope = x'ffffffff'", [])
        .unwrap();
    assert_eq!(told(&mut keeper, at(1)), ["lost 1"]);
    happen(&mut keeper, "b", at(2));
    assert_eq!(told(&mut keeper, at(2)), ["lost 1", "b"]);
}

#[test]
fn a_lost_change_is_made_up_for_by_a_snapshot() {
    let (_dir, path) = database();
    fs::write(&path, "no database".repeat(1000)).unwrap();
    let mut keeper = Keeper::open(&path, start(1, 1 << 20)).unwrap();
    settle(&mut keeper, at(1));
    let kinds: Vec<RecordKind> = {
        let batch = keeper.batch(Seq(0), 1 << 20, at(1)).unwrap();
        codec::decode_list::<NodeRecord>(&batch.list).unwrap().iter().map(|r| r.envelope.kind).collect()
    };
    assert_eq!(kinds, [RecordKind::LOST, RecordKind::SNAPSHOT]);
}
