//! The connection breaks, in every way.

use futures::StreamExt;
use secmon_client::{ClientError, Follow, Update};
use secmon_protocol::message::{
    ErrorCode, Refusal,
    client::{Filter, From as StartFrom, HubToClient},
};

use crate::common::{Hub, at, gap, next, some, within};

struct Scene {
    dir: tempfile::TempDir,
    hub: Hub,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hub = Hub::start(&dir.path().join("hub.sock"));
        Self { dir, hub }
    }

    fn follow(&self, from: StartFrom) -> Follow {
        Follow::new(&self.dir.path().join("hub.sock"), "test 1", from, Filter::default())
    }
}

#[tokio::test]
async fn a_hub_that_dies_in_the_middle_of_a_record_is_followed_on_from_the_one_before() {
    let scene = Scene::new();
    let mut follow = scene.follow(StartFrom::Now);
    let hub = async {
        scene.hub.subscriber(StartFrom::Now, at(7, 4)).await.die_within(at(7, 5), at(7, 6)).await;
        let mut again = scene.hub.subscriber(StartFrom::Cursor(at(7, 5)), at(7, 5)).await;
        again.records(7, 6..=7).await;
        again
    };
    let (_again, got) = tokio::join!(hub, some(&mut follow, 6));
    assert_eq!(got, ["began 7-4", "7-5", "lost", "resumed 7-5", "7-6", "7-7"]);
    assert_eq!(follow.after(), Some(at(7, 7)));
}

#[tokio::test]
async fn what_a_hub_sends_twice_is_given_out_once() {
    let scene = Scene::new();
    let mut follow = scene.follow(StartFrom::Cursor(at(7, 2)));
    let hub = async {
        let mut first = scene.hub.subscriber(StartFrom::Cursor(at(7, 2)), at(7, 2)).await;
        first.records(7, 3..=5).await;
        drop(first);
        // One that goes back further than it was asked to.
        let mut second = scene.hub.subscriber(StartFrom::Cursor(at(7, 5)), at(7, 3)).await;
        second.records(7, 4..=6).await;
        second
    };
    let (_second, got) = tokio::join!(hub, some(&mut follow, 7));
    assert_eq!(got, ["began 7-2", "7-3", "7-4", "7-5", "lost", "resumed 7-5", "7-6"]);
}

#[tokio::test]
async fn a_hub_that_is_down_for_a_while_is_told_once_and_found_again() {
    let scene = Scene::new();
    let mut follow = scene.follow(StartFrom::Now);
    let hub = async {
        drop(scene.hub.subscriber(StartFrom::Now, at(7, 4)).await);
        // It dies before it greets, before it answers, and while it starts.
        scene.hub.turn_away().await;
        drop(scene.hub.client().await);
        scene.hub.turn_away().await;
        let mut connection = scene.hub.subscriber(StartFrom::Cursor(at(7, 4)), at(7, 4)).await;
        connection.record(at(7, 5)).await;
        connection
    };
    let (_connection, got) = tokio::join!(hub, some(&mut follow, 4));
    assert_eq!(got, ["began 7-4", "lost", "resumed 7-4", "7-5"]);
}

#[tokio::test]
async fn a_hub_that_is_not_there_yet_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hub.sock");
    let mut follow = Follow::new(&socket, "test 1", StartFrom::Now, Filter::default());
    assert_eq!(next(&mut follow).await, "lost");
    let hub = Hub::start(&socket);
    let (_connection, got) = tokio::join!(hub.subscriber(StartFrom::Now, at(7, 4)), next(&mut follow));
    assert_eq!(got, "began 7-4");
}

#[tokio::test]
async fn a_hub_with_another_log_says_what_is_missing_and_is_followed() {
    let scene = Scene::new();
    let mut follow = scene.follow(StartFrom::Now);
    let hub = async {
        let mut first = scene.hub.subscriber(StartFrom::Now, at(7, 4)).await;
        first.record(at(7, 5)).await;
        drop(first);
        let mut second = scene.hub.subscriber(StartFrom::Cursor(at(7, 5)), at(9, 0)).await;
        second.gap(gap(at(7, 5), at(9, 0))).await;
        second.record(at(9, 1)).await;
        drop(second);
        // And one that owes a word and does not say it.
        let mut third = scene.hub.subscriber(StartFrom::Cursor(at(9, 1)), at(10, 3)).await;
        third.record(at(10, 4)).await;
        third
    };
    let (_third, got) = tokio::join!(hub, some(&mut follow, 10));
    assert_eq!(
        got,
        [
            "began 7-4",
            "7-5",
            "lost",
            "resumed 7-5",
            "7-5..9-0",
            "9-1",
            "lost",
            "resumed 9-1",
            "9-1..a-3",
            "a-4"
        ]
    );
}

#[tokio::test]
async fn a_break_before_the_gap_was_told_does_not_lose_the_gap() {
    let scene = Scene::new();
    let mut follow = scene.follow(StartFrom::Cursor(at(7, 5)));
    let hub = async {
        drop(scene.hub.subscriber(StartFrom::Cursor(at(7, 5)), at(7, 9)).await);
        let mut second = scene.hub.subscriber(StartFrom::Cursor(at(7, 5)), at(7, 9)).await;
        second.gap(gap(at(7, 5), at(7, 9))).await;
        second
    };
    let (_second, got) = tokio::join!(hub, some(&mut follow, 4));
    assert_eq!(got, ["began 7-5", "lost", "resumed 7-5", "7-5..7-9"]);
}

#[tokio::test]
async fn a_refusal_that_no_retry_mends_ends_it_and_one_that_it_may_does_not() {
    for code in [ErrorCode::BadCursor, ErrorCode::NotPermitted] {
        let scene = Scene::new();
        let mut follow = scene.follow(StartFrom::Cursor(at(7, 5)));
        let hub = async {
            let mut first = scene.hub.client().await;
            first.asked().await;
            first.refuse(Refusal::new(ErrorCode::Internal, "the hub is stopping")).await;
            let mut second = scene.hub.client().await;
            assert_eq!(second.asked().await, StartFrom::Cursor(at(7, 5)));
            second.refuse(Refusal::new(code, "never")).await;
            second
        };
        let (_second, got) = tokio::join!(hub, some(&mut follow, 3));
        assert_eq!(got, ["lost", "over: never", "over: never"]);
        assert!(within(StreamExt::next(&mut follow)).await.is_none());
    }
}

#[tokio::test]
async fn a_hub_of_another_version_ends_it() {
    let scene = Scene::new();
    let mut follow = scene.follow(StartFrom::Now);
    let hub = async {
        let mut first = scene.hub.client().await;
        let refusal = Refusal::new(ErrorCode::Version, "protocol 2 is spoken here");
        first.asked().await;
        first.send(&HubToClient::Reject(refusal)).await;
        first
    };
    let (_first, got) = tokio::join!(hub, next(&mut follow));
    assert!(got.starts_with("over: "), "{got}");
}

#[tokio::test]
async fn the_first_attempt_may_be_asked_to_fail_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("hub.sock");
    let mut follow = Follow::new(&socket, "test 1", StartFrom::Now, Filter::default());
    assert_eq!(follow.connect().await, Err(ClientError::NoSocket { path: socket.clone() }));
    let hub = Hub::start(&socket);
    let (connected, _connection) = tokio::join!(follow.connect(), hub.subscriber(StartFrom::Now, at(7, 4)));
    assert_eq!(connected, Ok(()));
    assert_eq!(next(&mut follow).await, "began 7-4");
}

#[tokio::test]
async fn a_snapshot_comes_once_and_then_what_follows_it() {
    let scene = Scene::new();
    let mut follow = scene.follow(StartFrom::Snapshot);
    let hub = async {
        let mut first = scene.hub.client().await;
        assert_eq!(first.asked().await, StartFrom::Snapshot);
        first.subscribed(at(7, 4), Some(vec![])).await;
        drop(first);
        scene.hub.subscriber(StartFrom::Cursor(at(7, 4)), at(7, 4)).await
    };
    let updates = async {
        let began = within(follow.next()).await.unwrap();
        assert_eq!(began, Update::Began { after: at(7, 4), snapshot: Some(vec![]) });
        some(&mut follow, 2).await
    };
    let (_second, got) = tokio::join!(hub, updates);
    assert_eq!(got, ["lost", "resumed 7-4"]);
}

#[tokio::test]
async fn a_follower_that_is_dropped_hangs_up() {
    let scene = Scene::new();
    let mut follow = scene.follow(StartFrom::Now);
    let (mut connection, got) =
        tokio::join!(scene.hub.subscriber(StartFrom::Now, at(7, 4)), next(&mut follow));
    assert_eq!(got, "began 7-4");
    drop(follow);
    connection.hung_up().await;
}
