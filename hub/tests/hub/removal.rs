//! Removing nodes: locked out at once and for good, and forgotten.

use secmon_protocol::{
    ids::{NodeId, NodeName},
    message::{
        ErrorCode, Refusal,
        client::{ClientToHub, Filter, From, HubToClient},
        join::HubToJoin,
        node::{self, HubToNode, NodeToHub},
    },
};

use crate::common::{Client, Conn, Papers, Running, hello, snapshot, start, state, tls};

async fn remove(client: &mut Client, node: &str) -> Result<(NodeId, NodeName), Refusal> {
    let request = client.request();
    client.wire.send(&ClientToHub::Remove { request, node: node.to_owned() }).await;
    match client.next().await {
        HubToClient::Removed { node, name, .. } => Ok((node, name)),
        HubToClient::Error { refusal, .. } => Err(refusal),
        other => panic!("{other:?}"),
    }
}

/// What a node is told whose papers are no good.
async fn turned_away(hub: &Running, papers: &Papers) -> Refusal {
    let stream = tls(hub.address, node::ALPN, Some(papers), Some(&papers.ca)).await.unwrap();
    let mut wire = Conn::new(stream);
    wire.send(&NodeToHub::Hello(hello(1, 1, 0))).await;
    match wire.next().await {
        Some(HubToNode::Reject(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_is_cut_off_and_locked_out_over_restarts_and_its_name_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("web-1").await;
    let mut web = hub.node(&papers).await;
    web.records(&[snapshot(1, &state(&["tty1"]))]).await;
    while !matches!(web.next().await, Some(HubToNode::Ack { .. })) {}
    let (mut client, mut watcher) = (hub.client().await, hub.client().await);
    watcher.subscribe(From::Now, Filter::default()).await;
    // A token with which it could come back.
    let token = client.enroll("web-1", true).await;

    let (id, name) = remove(&mut client, "web-1").await.unwrap();
    assert_eq!((id, name.as_str()), (web.welcome.node, "web-1"));
    while web.next().await.is_some() {}
    watcher.event("node.removed").await;
    watcher.event("node.disconnected").await;
    assert!(client.list().await.is_empty());
    let HubToJoin::Reject(refusal) = hub.join(&token).await else { panic!("the token was good") };
    assert_eq!(refusal.code, ErrorCode::TokenUnknown);
    assert_eq!(turned_away(&hub, &papers).await.code, ErrorCode::NotPermitted);
    assert_eq!(remove(&mut client, "web-1").await.unwrap_err().code, ErrorCode::UnknownNode);
    hub.stop().await;

    let kept = rusqlite::Connection::open(dir.path().join("state/hub.db")).unwrap();
    for table in ["nodes", "facets", "entries"] {
        let rows: i64 =
            kept.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0, "{table}");
    }
    drop(kept);
    let hub = start(dir.path()).await;
    assert!(turned_away(&hub, &papers).await.message.contains("removed"));
    let again = hub.enrol("web-1").await;
    assert_ne!(hub.node(&again).await.welcome.node, id, "another node, with an id of its own");
    assert_eq!(turned_away(&hub, &papers).await.code, ErrorCode::NotPermitted);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removing_a_node_that_is_expected_makes_its_token_void() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let mut client = hub.client().await;
    let token = client.enroll("web-1", false).await;
    assert_eq!(remove(&mut client, "web-1").await.unwrap().1.as_str(), "web-1");
    assert!(client.list().await.is_empty());
    assert!(matches!(hub.join(&token).await, HubToJoin::Reject(_)));
    let missing = remove(&mut client, "web-1").await.unwrap_err();
    assert_eq!(missing.code, ErrorCode::UnknownNode);
    hub.stop().await;
}
