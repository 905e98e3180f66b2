//! A hub whose acknowledgements are old, or of what never was, and one that says everything very slowly.

use tokio::io::AsyncWriteExt as _;

use super::*;

#[tokio::test]
async fn an_acknowledgement_that_is_old_brings_nothing_back_and_forgets_nothing() {
    let scene = Scene::new();
    for message in ["a", "b", "c"] {
        scene.happen(message).await;
    }
    scene.core.head().wait_for(|head| head.newest == Seq(3)).await.unwrap();
    let (mut hub, _end) = scene.connect();
    hub.greet(Resume::Oldest).await;
    assert_eq!(hub.seqs().await, [1, 2, 3]);
    for seq in [2, 1, 0, 2] {
        hub.say(HubToNode::Ack { seq: Seq(seq) }).await;
    }
    scene.happen("d").await;
    assert_eq!(hub.seqs().await, [4]);
    hub.ping().await;
    let opening = scene.core.opening().await.unwrap();
    assert_eq!((opening.oldest, opening.newest), (Seq(3), Seq(4)));
}

#[tokio::test]
async fn an_acknowledgement_of_what_never_was_ends_the_connection_and_forgets_nothing() {
    let scene = Scene::new();
    scene.happen("a").await;
    scene.core.head().wait_for(|head| head.newest == Seq(1)).await.unwrap();
    for seq in [2, u64::MAX - 1, u64::MAX] {
        let (mut hub, end) = scene.connect();
        hub.greet(Resume::After(Seq(seq))).await;
        assert!(matches!(end.await.unwrap(), LinkError::Protocol(_)));
        let (mut hub, end) = scene.connect();
        hub.greet(Resume::Oldest).await;
        assert_eq!(hub.seqs().await, [1]);
        hub.say(HubToNode::Ack { seq: Seq(seq) }).await;
        assert!(matches!(end.await.unwrap(), LinkError::Protocol(_)));
        assert_eq!(scene.core.opening().await.unwrap().oldest, Seq(1));
    }
}

/// A hub that was restored from an older copy knows less than it has acknowledged.
#[tokio::test]
async fn a_hub_that_knows_less_than_it_acknowledged_gets_what_there_is() {
    let scene = Scene::new();
    for message in ["a", "b", "c"] {
        scene.happen(message).await;
    }
    scene.core.head().wait_for(|head| head.newest == Seq(3)).await.unwrap();
    let (mut hub, _end) = scene.connect();
    hub.greet(Resume::After(Seq(2))).await;
    assert_eq!(hub.seqs().await, [3]);
    drop(hub);
    let (mut hub, _end) = scene.connect();
    assert_eq!(hub.hello().await.oldest, Seq(3), "it says so");
    hub.welcome(Resume::After(Seq(1))).await;
    assert_eq!(hub.seqs().await, [3]);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_says_welcome_byte_by_byte_is_given_up() {
    let scene = Scene::new();
    let (node, mut hub) = duplex(1 << 20);
    let (core, jobs) = (scene.core.clone(), scene.jobs.clone());
    let end = tokio::spawn(async move {
        let Err(end) = session(node, NODE, "test", &core, &jobs, &mut None).await;
        end
    });
    // A frame of 63 bytes, one of them each second.
    let slowly = async {
        for byte in [0, 0, 0, 63].into_iter().chain(std::iter::repeat(1)) {
            if hub.write_all(&[byte]).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::select! {
        end = end => assert!(matches!(end.unwrap(), LinkError::Silent(_))),
        () = slowly => {}
    }
}
