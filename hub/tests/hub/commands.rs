//! Runs: from a client through the hub to a node and back.

use crate::common::{Client, Node, full, start};
use bytes::Bytes;
use secmon_protocol::{
    command::{OutputStream, RunEnd, RunFailure},
    ids::RequestId,
    limits::{MAX_CHUNK, MIN_CHUNK_COST},
    message::{
        ErrorCode, Refusal,
        client::{ClientToHub, Filter, From, HubToClient},
        node::{HubToNode, NodeToHub, Order},
    },
};

const CREDIT: u32 = 3 * MIN_CHUNK_COST;

async fn begin(client: &mut Client, node: &str, label: &str) -> RequestId {
    let request = client.request();
    let (node, label) = (node.to_owned(), label.to_owned());
    client
        .wire
        .send(&ClientToHub::Run { request, node, label, args: vec![], credit: CREDIT, stdin: false })
        .await;
    request
}

async fn refused(client: &mut Client, node: &str, label: &str) -> Refusal {
    begin(client, node, label).await;
    match client.next().await {
        HubToClient::Error { refusal, .. } => refusal,
        other => panic!("{other:?}"),
    }
}

async fn handed_over(node: &mut Node) -> secmon_protocol::ids::JobId {
    match node.next().await {
        Some(HubToNode::Run(Order { job, credit: CREDIT, .. })) => job,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_streams_its_output_and_ends_with_its_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("web-1").await;
    let mut node = hub.node(&papers).await;
    let (mut client, mut watcher) = (hub.client().await, hub.client().await);
    watcher.subscribe(From::Now, Filter::default()).await;
    let request = begin(&mut client, "web-1", "uptime").await;
    let job = handed_over(&mut node).await;
    node.wire.send(&NodeToHub::Started { job, pid: 7 }).await;
    watcher.event("command.started").await;
    let data = Bytes::from_static(b"\x00\xffbytes");
    node.wire.send(&NodeToHub::Output { job, stream: OutputStream::Stderr, at: 0, data: data.clone() }).await;
    client.wire.send(&ClientToHub::Credit { request, credit: MIN_CHUNK_COST }).await;
    let granted = node.next().await;
    assert_eq!(granted, Some(HubToNode::Credit { job, credit: MIN_CHUNK_COST }));
    node.wire.send(&NodeToHub::Exit { job, end: RunEnd::Exited(3), usage: None }).await;
    let id = node.welcome.node;
    assert_eq!(client.next().await, HubToClient::Started { request, job, node: id, pid: 7 });
    assert_eq!(client.next().await, HubToClient::Output { request, stream: OutputStream::Stderr, data });
    assert_eq!(client.next().await, HubToClient::Exit { request, end: RunEnd::Exited(3), usage: None });
    watcher.event("command.finished").await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_ends_its_runs() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("web-1").await;
    let mut node = hub.node(&papers).await;
    let mut client = hub.client().await;
    begin(&mut client, "web-1", "uptime").await;
    let job = handed_over(&mut node).await;
    drop(client);
    assert_eq!(node.next().await, Some(HubToNode::Cancel { job }));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_sends_more_than_it_was_granted_is_cut_off_and_its_runs_end() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("web-1").await;
    let mut node = hub.node(&papers).await;
    let mut client = hub.client().await;
    let request = begin(&mut client, "web-1", "uptime").await;
    let job = handed_over(&mut node).await;
    let data = Bytes::from(vec![0; MAX_CHUNK]);
    node.wire.send(&NodeToHub::Output { job, stream: OutputStream::Stdout, at: 0, data }).await;
    assert_eq!(node.next().await, None);
    let exit = client.next().await;
    assert!(
        matches!(&exit, HubToClient::Exit { request: of, end: RunEnd::Failed { why: RunFailure::Lost, .. }, .. } if *of == request),
        "{exit:?}"
    );
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_says_of_a_label_that_it_did_not_list_reaches_the_client() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("web-1").await;
    let mut node = hub.node(&papers).await;
    let mut client = hub.client().await;
    let request = begin(&mut client, "web-1", "added-just-now").await;
    let job = handed_over(&mut node).await;
    let end = RunEnd::Failed { why: RunFailure::UnknownLabel, message: "it has: id".into() };
    node.wire.send(&NodeToHub::Exit { job, end: end.clone(), usage: None }).await;
    assert_eq!(client.next().await, HubToClient::Exit { request, end, usage: None });
    hub.stop().await;
}

/// The end of a run and a write that the store refuses once came in one batch, and the client waited for
/// ever: the end went with the batch, and the run was no longer there to be ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_ends_for_its_client_though_the_store_refuses_what_came_with_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("web-1").await;
    let mut node = hub.node(&papers).await;
    let mut client = hub.client().await;
    let request = begin(&mut client, "web-1", "uptime").await;
    handed_over(&mut node).await;
    let _full = full(dir.path());
    // Its end is written as well: when the node was last seen.
    drop(node);
    let exit = client.next().await;
    assert!(
        matches!(&exit, HubToClient::Exit { request: of, end: RunEnd::Failed { why: RunFailure::Lost, .. }, .. } if *of == request),
        "{exit:?}"
    );
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_node_is_answered_with_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("web-1").await;
    let mut client = hub.client().await;
    let refusal = refused(&mut client, "web-2", "uptime").await;
    assert_eq!((refusal.code, refusal.near), (ErrorCode::UnknownNode, vec!["web-1".to_owned()]));
    assert_eq!(refused(&mut client, "web-1", "uptime").await.code, ErrorCode::NodeAway);
    let node = hub.node(&papers).await;
    assert_eq!(refused(&mut client, "web-1", &"x".repeat(65)).await.code, ErrorCode::UnknownLabel);
    assert_eq!(refused(&mut client, "", "uptime").await.message, "no node is called \"\"");
    client.enroll("new", false).await;
    assert_eq!(refused(&mut client, "new", "uptime").await.code, ErrorCode::NodeAway);
    // An id does as well as the name.
    begin(&mut client, &node.welcome.node.to_string()[..8], "uptime").await;
    let mut node = node;
    handed_over(&mut node).await;
    hub.stop().await;
}
