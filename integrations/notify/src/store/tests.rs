//! What the store promises, step by step.

use proptest::prelude::*;

use super::*;
use crate::{Kind, Notice, Receipt, Severity, core::Thread};

const NOW: UnixNanos = UnixNanos(1_700_000_000_000_000_000);

fn notice(id: &str, severity: Severity) -> Notice {
    Notice {
        id: id.to_owned(),
        kind: Kind::Event,
        severity,
        title: format!("title of {id}"),
        text: String::new(),
        fields: vec![],
        node: None,
        time: NOW,
        json: serde_json::Value::Null,
    }
}

fn tell(destination: &str, id: &str, thread: Option<(&str, bool)>, edits: bool) -> Tell {
    Tell {
        destination: destination.to_owned(),
        notice: notice(id, Severity::Info),
        thread: thread.map(|(id, last)| Thread { id: id.to_owned(), last }),
        edits,
    }
}

fn batch(tells: Vec<Tell>) -> Batch {
    Batch { tells, ..Batch::default() }
}

fn names() -> Vec<String> {
    vec!["a".to_owned(), "b".to_owned()]
}

fn open(dir: &Path) -> (Store, Loaded) {
    Store::open(dir, Limits::default(), &names(), NOW).unwrap()
}

fn head(store: &mut Store, destination: &str) -> Option<Entry> {
    store.head(destination, NOW).unwrap().entry
}

fn sent(text: &str) -> Receipt {
    Receipt(text.to_owned())
}

/// Takes everything that waits; the ids, and by which message they were edited.
fn drain(store: &mut Store, destination: &str, edits: bool) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(entry) = head(store, destination) {
        let id = entry.notice.id.clone();
        match entry.receipt.clone().filter(|_| edits) {
            Some(receipt) => {
                all.push(format!("{id} edits {}", receipt.0));
                store.taken(&entry, edits, Taken::Edited, NOW).unwrap();
            }
            None => {
                let receipt = sent(&id);
                store.taken(&entry, edits, Taken::Sent(&receipt), NOW).unwrap();
                all.push(id);
            }
        }
    }
    all
}

#[test]
fn what_is_committed_together_is_there_together_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let cursor: Cursor = "00000000000000aa-7".parse().unwrap();
    {
        let (mut store, loaded) = open(&dir.path().join("new").join("folder"));
        assert!(loaded.cursor.is_none() && loaded.anew.is_none());
        let written = Batch {
            tells: vec![tell("a", "1", None, true), tell("b", "2", None, true), tell("a", "3", None, true)],
            seen: vec![(u64::MAX, Some(NOW)), (7, Some(NOW)), (7, None)],
            memory: Some("{}".to_owned()),
            cursor: Some(cursor),
            past: Some(Some(cursor)),
        };
        let new = store.commit(&written, NOW).unwrap();
        assert_eq!(new.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }
    let (mut store, loaded) = open(&dir.path().join("new").join("folder"));
    assert_eq!((loaded.cursor, loaded.past), (Some(cursor), Some(cursor)));
    assert_eq!(loaded.seen, [(u64::MAX, NOW)]);
    assert_eq!(drain(&mut store, "a", true), ["1", "3"]);
    assert_eq!(drain(&mut store, "b", true), ["2"]);
    store.commit(&Batch { past: Some(None), ..Batch::default() }, NOW).unwrap();
    drop(store);
    assert_eq!(open(&dir.path().join("new").join("folder")).1.past, None);
}

#[test]
fn the_folder_and_all_files_in_it_are_their_owners_alone() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let (mut store, _) = open(&folder);
    store.commit(&batch(vec![tell("a", "1", None, true)]), NOW).unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(Result::unwrap).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600, "{file:?}");
    }
}

#[test]
fn a_second_process_is_kept_away_and_told_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let error = Store::open(dir.path(), Limits::default(), &names(), NOW).unwrap_err().to_string();
    assert!(error.contains("another process") && error.contains("--state-dir"), "{error}");
    drop(first);
    open(dir.path());
}

#[test]
fn an_edition_that_nobody_sent_is_replaced_and_a_later_one_edits() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let digest = |id: &str, last| tell("a", id, Some(("d", last)), true);
    store
        .commit(&batch(vec![digest("d1", false), tell("a", "x", None, true), digest("d2", false)]), NOW)
        .unwrap();
    assert_eq!(drain(&mut store, "a", true), ["d2", "x"]);
    store.commit(&batch(vec![digest("d3", false), tell("a", "y", None, true)]), NOW).unwrap();
    assert_eq!(drain(&mut store, "a", true), ["d3 edits d2", "y"]);
    drop(store);
    let (mut store, _) = open(dir.path());
    store.commit(&batch(vec![digest("d4", true)]), NOW).unwrap();
    assert_eq!(drain(&mut store, "a", true), ["d4 edits d2"], "over a restart as well");
    store.commit(&batch(vec![digest("e", false)]), NOW).unwrap();
    assert_eq!(drain(&mut store, "a", true), ["e"], "the last edition ended it");
}

#[test]
fn an_edition_that_comes_while_one_is_sent_is_not_lost_and_waits_its_turn() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let digest = |id: &str| tell("a", id, Some(("d", false)), true);
    store.commit(&batch(vec![digest("d1"), tell("a", "x", None, true)]), NOW).unwrap();
    let entry = head(&mut store, "a").unwrap();
    store.commit(&batch(vec![digest("d2")]), NOW).unwrap();
    store.taken(&entry, true, Taken::Sent(&sent("one")), NOW).unwrap();
    assert_eq!(drain(&mut store, "a", true), ["x", "d2 edits one"]);
    store.commit(&batch(vec![tell("a", "z", None, true)]), NOW).unwrap();
    assert_eq!(drain(&mut store, "a", true), ["z"]);
}

#[test]
fn a_service_that_edits_nothing_is_sent_the_first_edition_and_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    let digest = |id: &str, last| batch(vec![tell("a", id, Some(("d", last)), false)]);
    store.commit(&digest("d1", false), NOW).unwrap();
    let entry = head(&mut store, "a").unwrap();
    store.commit(&digest("d2", false), NOW).unwrap();
    store.taken(&entry, false, Taken::Sent(&sent("")), NOW).unwrap();
    assert!(head(&mut store, "a").is_none(), "the second came while the first was sent");
    assert!(store.commit(&digest("d3", false), NOW).unwrap().is_empty());
    assert!(!store.commit(&digest("d4", true), NOW).unwrap().is_empty());
    assert_eq!(drain(&mut store, "a", false), ["d4"]);
}

#[test]
fn a_full_queue_drops_the_oldest_counts_them_and_keeps_what_is_critical() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { queue: 10, failed: 5 };
    let (mut store, _) = Store::open(dir.path(), limits, &names(), NOW).unwrap();
    let mut critical = tell("a", "critical", None, true);
    critical.notice.severity = Severity::Critical;
    let mut told = vec![tell("a", "first", None, true), critical];
    told.extend((0..100).map(|n| tell("a", &n.to_string(), None, true)));
    for tell in told {
        store.commit(&batch(vec![tell]), NOW).unwrap();
    }
    let mut all = Vec::new();
    let mut dropped = 0;
    while let Some(entry) = head(&mut store, "a") {
        if entry.notice.kind == Kind::Missing {
            dropped = entry.notice.fields[0].value.parse().unwrap();
            assert!(entry.notice.title.contains("messages were dropped"), "{}", entry.notice.title);
        }
        all.push(entry.notice.id.clone());
        store.taken(&entry, true, Taken::Sent(&sent("x")), NOW).unwrap();
    }
    assert_eq!(all.len(), 10, "{all:?}");
    assert_eq!(&all[..2], ["first", "critical"]);
    assert!(all[2].starts_with("dropped-"), "{all:?}");
    assert_eq!(all[3..], ["93", "94", "95", "96", "97", "98", "99"]);
    assert_eq!(dropped, 93);
}

#[test]
fn what_was_set_aside_is_listed_retried_and_forgotten_while_the_role_runs() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { queue: 10, failed: 3 };
    let (mut store, _) = Store::open(dir.path(), limits, &names(), NOW).unwrap();
    for n in 0..5 {
        store.commit(&batch(vec![tell("a", &n.to_string(), None, true)]), NOW).unwrap();
        let entry = head(&mut store, "a").unwrap();
        store.later(&entry, 1, 0, UnixNanos(NOW.0 + 5)).unwrap();
        let entry = head(&mut store, "a").unwrap();
        store.set_aside(&entry, "it was too long", NOW, NOW).unwrap();
    }
    assert!(!store.written_elsewhere().unwrap());
    let failed = crate::failed::list(dir.path()).unwrap();
    let ids: Vec<&str> = failed.iter().map(|failed| failed.notice.id.as_str()).collect();
    assert_eq!(ids, ["2", "3", "4"], "no more than there is room for");
    assert_eq!((failed[0].tries, failed[0].reason.as_str()), (2, "it was too long"));
    let error = crate::failed::retry(dir.path(), &[failed[0].id, 999]).unwrap_err().to_string();
    assert!(error.contains("999"), "{error}");
    assert_eq!(crate::failed::list(dir.path()).unwrap().len(), 3, "none was put back");
    assert_eq!(crate::failed::retry(dir.path(), &[failed[1].id]).unwrap(), 1);
    assert!(store.written_elsewhere().unwrap() && !store.written_elsewhere().unwrap());
    assert!(store.head("a", NOW).unwrap().not_before.is_none(), "the pause is over");
    assert_eq!(crate::failed::waiting(dir.path()).unwrap(), 1);
    assert_eq!(drain(&mut store, "a", true), ["3"]);
    assert_eq!(crate::failed::forget(dir.path(), &[]).unwrap(), 2);
    assert!(crate::failed::list(dir.path()).unwrap().is_empty() && !store.has_failed().unwrap());
}

#[test]
fn a_folder_without_a_store_has_nothing_and_gets_none() {
    let dir = tempfile::tempdir().unwrap();
    assert!(crate::failed::list(dir.path()).unwrap().is_empty());
    assert_eq!(crate::failed::retry(dir.path(), &[]).unwrap(), 0);
    assert!(crate::failed::forget(dir.path(), &[1]).is_err());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_waits_for_a_destination_that_is_gone_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.commit(&batch(vec![tell("b", "1", None, true), tell("a", "2", None, true)]), NOW).unwrap();
    drop(store);
    let (mut store, _) = Store::open(dir.path(), Limits::default(), &["a".to_owned()], NOW).unwrap();
    assert_eq!(drain(&mut store, "a", true), ["2"]);
    let failed = crate::failed::list(dir.path()).unwrap();
    assert!(failed[0].destination == "b" && failed[0].reason.contains("no longer names"), "{failed:?}");
}

#[test]
fn a_damaged_store_is_set_aside_and_a_newer_one_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path());
    fs::write(&path, b"this is no database, whatever its name says".repeat(100)).unwrap();
    let (store, loaded) = open(dir.path());
    let aside = loaded.anew.unwrap();
    assert!(aside.exists() && loaded.cursor.is_none());
    store.db.pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let error = Store::open(dir.path(), Limits::default(), &names(), NOW).unwrap_err().to_string();
    assert!(error.contains("newer secmon"), "{error}");
    assert!(crate::failed::list(dir.path()).is_err());
}

/// A step of the model: something is told, a task of a destination does its next step, or the program is killed.
#[derive(Debug, Clone)]
enum Step {
    Tell { destination: usize, thread: Option<(u8, bool)> },
    Send { destination: usize, outcome: u8 },
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let thread = prop_oneof![3 => Just(None), 2 => (0..3u8, prop::bool::weighted(0.2)).prop_map(Some)];
    let step = prop_oneof![
        4 => (0..2usize, thread).prop_map(|(destination, thread)| Step::Tell { destination, thread }),
        6 => (0..2usize, 0..10u8).prop_map(|(destination, outcome)| Step::Send { destination, outcome }),
        1 => Just(Step::Kill),
    ];
    prop::collection::vec(step, 1..80)
}

/// A service, and what it was sent.
#[derive(Default)]
struct Double {
    /// By message: the editions that it showed.
    messages: Vec<Vec<String>>,
    /// The head that was read, and what the service answered, if it did already.
    on_the_way: Option<(Entry, Option<Option<Receipt>>)>,
    /// Kills between an answer and its commit.
    in_flight: usize,
}

impl Double {
    fn send(&mut self, entry: &Entry) -> Option<Receipt> {
        let id = entry.notice.id.clone();
        match &entry.receipt {
            Some(receipt) => {
                self.messages[receipt.0.parse::<usize>().unwrap()].push(id);
                None
            }
            None => {
                self.messages.push(vec![id]);
                Some(Receipt((self.messages.len() - 1).to_string()))
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Killed between any two steps, each notice arrives, in order; what comes twice was on its way; and a message that changes
    /// is one message, unless its first edition was on its way.
    #[test]
    fn over_any_kills_nothing_is_lost_and_only_what_was_on_its_way_comes_twice(steps in steps()) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = open(dir.path()).0;
        let mut doubles = [Double::default(), Double::default()];
        let mut told: [Vec<(String, Option<String>)>; 2] = [vec![], vec![]];
        let mut generation = [0u32; 3];
        let mut n = 0u32;
        let rest = (0..2).flat_map(|destination| vec![Step::Send { destination, outcome: 9 }; 200]);
        for step in steps.iter().cloned().chain([Step::Kill]).chain(rest) {
            match step {
                Step::Tell { destination, thread } => {
                    n += 1;
                    let id = n.to_string();
                    let thread = thread.map(|(which, last)| {
                        let name = format!("t{which}-{}", generation[usize::from(which)]);
                        generation[usize::from(which)] += u32::from(last);
                        (name, last)
                    });
                    let name = &names()[destination];
                    told[destination].push((id.clone(), thread.as_ref().map(|(name, _)| format!("{destination}{name}"))));
                    let thread = thread.as_ref().map(|(name, last)| (name.as_str(), *last));
                    store.commit(&batch(vec![tell(name, &id, thread, true)]), NOW).unwrap();
                }
                Step::Send { destination, outcome } => {
                    let double = &mut doubles[destination];
                    match double.on_the_way.take() {
                        None => double.on_the_way = head(&mut store, &names()[destination]).map(|entry| (entry, None)),
                        Some((entry, None)) if outcome < 2 => {
                            store.later(&entry, u32::from(outcome), 0, NOW).unwrap();
                        }
                        Some((entry, None)) => {
                            let receipt = double.send(&entry);
                            double.on_the_way = Some((entry, Some(receipt)));
                        }
                        Some((entry, Some(receipt))) => {
                            let how = receipt.as_ref().map_or(Taken::Edited, Taken::Sent);
                            store.taken(&entry, true, how, NOW).unwrap();
                        }
                    }
                }
                Step::Kill => {
                    drop(store);
                    store = open(dir.path()).0;
                    for double in &mut doubles {
                        double.in_flight += usize::from(matches!(double.on_the_way.take(), Some((_, Some(_)))));
                    }
                }
            }
        }
        for (double, told) in doubles.iter().zip(&told) {
            let shown: Vec<&String> = double.messages.iter().flatten().collect();
            let mut repeats = 0;
            let mut seen = std::collections::HashSet::new();
            for id in &shown {
                repeats += usize::from(!seen.insert(*id));
            }
            prop_assert!(repeats <= double.in_flight, "{repeats} came twice, {} were on their way", double.in_flight);
            // What is no edition comes, and in order.
            let alone: Vec<&String> = told.iter().filter(|(_, thread)| thread.is_none()).map(|(id, _)| id).collect();
            let mut came: Vec<&String> = shown.iter().copied().filter(|id| alone.contains(id)).collect();
            came.dedup();
            prop_assert_eq!(came, alone);
            // Of what is, the newest edition comes, on one message unless the first was on its way.
            let threads: std::collections::BTreeSet<&String> = told.iter().filter_map(|(_, thread)| thread.as_ref()).collect();
            let mut further = 0;
            for thread in threads {
                let editions: Vec<&String> =
                    told.iter().filter(|(_, other)| other.as_ref() == Some(thread)).map(|(id, _)| id).collect();
                let on: Vec<&Vec<String>> =
                    double.messages.iter().filter(|message| editions.contains(&&message[0])).collect();
                prop_assert!(!on.is_empty());
                further += on.len() - 1;
                let newest = editions.last().unwrap().as_str();
                prop_assert!(on.iter().any(|message| message.last().unwrap() == newest));
            }
            prop_assert!(further <= double.in_flight);
        }
    }
}
