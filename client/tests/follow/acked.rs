//! A place that outlives the program.

use std::path::Path;

use secmon_client::{CursorFile, Follow};
use secmon_protocol::message::client::{Filter, From as StartFrom};

use crate::common::{Hub, at, gap, next, some};

fn open(dir: &Path) -> Follow {
    let store = CursorFile::open(&dir.join("cursor")).unwrap();
    Follow::open(&dir.join("hub.sock"), "test 1", store, StartFrom::Now, Filter::default())
}

fn stored(dir: &Path) -> Option<secmon_protocol::ids::Cursor> {
    CursorFile::open(&dir.join("cursor")).unwrap().stored()
}

#[tokio::test]
async fn a_program_goes_on_behind_what_it_acknowledged_last() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&dir.path().join("hub.sock"));
    let mut follow = open(dir.path());
    let sends = async {
        let mut connection = hub.subscriber(StartFrom::Now, at(7, 4)).await;
        connection.records(7, 5..=8).await;
        connection
    };
    let (_connection, got) = tokio::join!(sends, some(&mut follow, 5));
    assert_eq!(got, ["began 7-4", "7-5", "7-6", "7-7", "7-8"]);
    follow.ack(at(7, 6));
    // Older, and not given out yet: neither counts.
    follow.ack(at(7, 5));
    follow.ack(at(7, 99));
    drop(follow);
    assert_eq!(stored(dir.path()), Some(at(7, 6)));

    let mut follow = open(dir.path());
    let sends = async {
        let mut connection = hub.subscriber(StartFrom::Cursor(at(7, 6)), at(7, 6)).await;
        connection.records(7, 7..=9).await;
        connection
    };
    let (_connection, got) = tokio::join!(sends, some(&mut follow, 4));
    assert_eq!(got, ["began 7-6", "7-7", "7-8", "7-9"]);
    follow.ack(at(7, 9));
    follow.close().await.unwrap();
    assert_eq!(stored(dir.path()), Some(at(7, 9)));
}

/// Who began with what happens next and was down before anything came would otherwise begin with what happens
/// after that, and miss what lies between.
#[tokio::test]
async fn the_place_where_it_began_is_kept_before_anything_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&dir.path().join("hub.sock"));
    let mut follow = open(dir.path());
    let (_connection, got) = tokio::join!(hub.subscriber(StartFrom::Now, at(7, 4)), next(&mut follow));
    assert_eq!(got, "began 7-4");
    drop(follow);
    assert_eq!(stored(dir.path()), Some(at(7, 4)));
}

#[tokio::test]
async fn a_place_in_a_later_log_takes_that_of_the_earlier_one() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&dir.path().join("hub.sock"));
    let mut follow = open(dir.path());
    let sends = async {
        let mut connection = hub.subscriber(StartFrom::Now, at(7, 50)).await;
        connection.record(at(7, 51)).await;
        connection.gap(gap(at(7, 51), at(9, 0))).await;
        connection.record(at(9, 1)).await;
        connection
    };
    let (_connection, got) = tokio::join!(sends, some(&mut follow, 4));
    assert_eq!(got, ["began 7-50", "7-51", "7-51..9-0", "9-1"]);
    follow.ack(at(9, 1));
    follow.ack(at(7, 51));
    follow.close().await.unwrap();
    assert_eq!(stored(dir.path()), Some(at(9, 1)));
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_told_and_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start(&dir.path().join("hub.sock"));
    let mut follow = open(dir.path());
    // No file can take its place.
    std::fs::create_dir(dir.path().join("cursor.new")).unwrap();
    let (mut connection, got) = tokio::join!(hub.subscriber(StartFrom::Now, at(7, 4)), some(&mut follow, 2));
    assert_eq!(got[0], "began 7-4");
    assert!(got[1].starts_with("not saved: cannot remove"), "{got:?}");
    connection.record(at(7, 5)).await;
    assert_eq!(next(&mut follow).await, "7-5");
    follow.ack(at(7, 5));
    assert!(follow.close().await.is_err());
}
