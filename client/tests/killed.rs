//! A program that keeps its place is killed. In a file of its own: a lock is shared with a child until that has
//! become its program, and another test beside this one would see it held.
#![expect(clippy::unwrap_used, reason = "clippy exempts test functions, and these are their helpers")]

#[expect(dead_code, reason = "the other tests of followers use all of it")]
mod common;

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use common::{Hub, at};
use secmon_client::{CursorFile, Follow, Item, Update};
use secmon_protocol::message::client::{Filter, From as StartFrom};

fn open(dir: &Path) -> Follow {
    let store = CursorFile::open(&dir.join("cursor")).unwrap();
    Follow::open(&dir.join("hub.sock"), "test 1", store, StartFrom::Now, Filter::default())
}

fn stored(dir: &Path) -> Option<secmon_protocol::ids::Cursor> {
    CursorFile::open(&dir.join("cursor")).unwrap().stored()
}

/// Not a test of its own: the program that the next one kills. It prints each place before it acknowledges it.
#[tokio::test]
async fn a_program_that_prints_and_acknowledges() {
    let Some(dir) = std::env::var_os("SECMON_TEST_FOLLOWER") else { return };
    let mut follow = open(Path::new(&dir));
    loop {
        match follow.next().await.unwrap() {
            Update::Item(Item::Record { cursor, .. }) => {
                let mut out = std::io::stdout().lock();
                writeln!(out, "delivered {}", cursor.n).unwrap();
                out.flush().unwrap();
                follow.ack(cursor);
            }
            other => assert!(matches!(other, Update::Began { .. }), "{other:?}"),
        }
    }
}

/// So many records the hub has for each life of the program that is killed.
const MANY: u64 = 40;

#[tokio::test]
async fn kill_9_at_any_moment_repeats_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&dir.path().join("hub.sock"));
    let (mut from, mut after) = (StartFrom::Now, at(7, 0));
    let mut delivered = BTreeSet::new();
    for life in 1..=6 {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_program_that_prints_and_acknowledges", "--nocapture"])
            .env("SECMON_TEST_FOLLOWER", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut connection = hub.subscriber(from, after).await;
        let (first, last) = (after.n + 1, after.n + MANY);
        let sending = tokio::spawn(async move {
            for n in first..=last {
                connection.record(at(7, n)).await;
            }
            connection
        });
        // Every second life sees its last place written; the others end between an ack and its write, or within one.
        let written = life % 2 == 0;
        let path = dir.path().join("cursor");
        let file = move || std::fs::read_to_string(&path).unwrap_or_default();
        let killing =
            move || kill_after(child, 6 * life, || !written || file().ends_with(&format!("-{last}\n")));
        let seen = tokio::task::spawn_blocking(killing).await.unwrap();
        // It may have been killed while records were on their way.
        sending.abort();
        let _ = sending.await;

        let expected: Vec<u64> = (first..).take(seen.len()).collect();
        assert_eq!(seen, expected, "in order, and from where the file said");
        delivered.extend(seen);
        // The lock died with the process.
        if let Some(stored) = stored(dir.path()) {
            assert!(stored >= after, "it went back: {stored} after {after}");
            assert!(stored.n <= delivered.last().copied().unwrap_or(0), "{stored} was not delivered");
            (from, after) = (StartFrom::Cursor(stored), stored);
        }
        assert!(!written || after.n == last, "{after} was to be {last}");
    }
    let last = delivered.last().copied().unwrap();
    assert_eq!(delivered.len() as u64, last, "no number up to {last} is missing");
}

/// Kills the program once it has delivered so many and `ready` holds, and returns all that it delivered.
fn kill_after(mut child: Child, count: usize, ready: impl Fn() -> bool) -> Vec<u64> {
    let number = |line: String| line.split_once("delivered ")?.1.parse().ok();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut seen: Vec<u64> = lines.by_ref().filter_map(number).take(count).collect();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !ready() {
        assert!(Instant::now() < deadline, "what was acknowledged is not written");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "it was killed");
    seen.extend(lines.filter_map(number));
    seen
}
