//! The client library against a peer that speaks the real codec over a socket pair.
#![expect(clippy::unwrap_used, reason = "clippy exempts test functions, and these are their helpers")]

use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use secmon_client::{Client, ClientError, Item, Run, RunEvent, RunOptions};
use secmon_protocol::{
    auth::{AuthAction, AuthEvent},
    codec::{self, Assembler},
    command::{OutputStream, RunEnd},
    event::Detail,
    facet::FacetId,
    ids::{Cursor, Epoch, JobId, LogId, NodeId, NodeName, RequestId, Seq},
    limits::{MAX_CHUNK, OUTPUT_WINDOW},
    message::{
        ErrorCode, Refusal,
        client::{
            ClientToHub, Filter, From as StartFrom, Gap, HubToClient, NodeSummary, Presence, TokenText,
        },
        node::HostFacts,
    },
    record::{Envelope, LogRecord, Origin},
    session::{Session, SessionKind, SessionSource},
    state::Op,
    time::UnixNanos,
};
use tokio::net::UnixStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

mod connection {
    mod commands;
}

/// The other end of a client's socket.
struct Peer {
    frames: Framed<UnixStream, LengthDelimitedCodec>,
    assembler: Assembler<ClientToHub>,
}

impl Peer {
    async fn recv(&mut self) -> ClientToHub {
        let next = async {
            loop {
                let frame = self.frames.next().await.expect("the client hung up").unwrap();
                if let Some(message) = self.assembler.push(&frame).unwrap() {
                    return message;
                }
            }
        };
        within(next).await
    }

    async fn send(&mut self, message: &HubToClient) {
        for frame in codec::encode_frames(message).unwrap() {
            within(self.frames.send(frame)).await.unwrap();
        }
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("nothing within 10 s")
}

fn cursor(n: u64) -> Cursor {
    Cursor { log: LogId(7), n }
}

fn welcome() -> HubToClient {
    HubToClient::Welcome { version: 1, agent: "0.1.0".into(), newest: cursor(5), clock: UnixNanos(0) }
}

fn raw_pair() -> (UnixStream, Peer) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (ours, Peer { frames: Framed::new(theirs, codec::frames()), assembler: Assembler::default() })
}

async fn pair() -> (Client, Peer) {
    let (ours, mut peer) = raw_pair();
    let client = tokio::spawn(async move { Client::over(ours, "test 1").await });
    assert_eq!(peer.recv().await, ClientToHub::Hello { version: 1, agent: "test 1".into() });
    peer.send(&welcome()).await;
    (client.await.unwrap().unwrap(), peer)
}

fn summary(name: &str) -> NodeSummary {
    NodeSummary {
        id: NodeId([1; 16]),
        name: name.parse().unwrap(),
        presence: Presence::Online { since: UnixNanos(0) },
        agent: "0.1.0".into(),
        address: "10.0.0.1:5".into(),
        facts: HostFacts::default(),
        clock_offset: 0,
        facets: vec![],
        commands: 0,
        stale: false,
    }
}

fn auth_record(n: u64, message: &str) -> Bytes {
    record(n, Envelope::auth(&AuthEvent::new(UnixNanos(1), "sshd", None, AuthAction::Failed, message)))
}

/// So many sessions that opened, each with a host name of so many bytes.
fn sessions(count: usize, host: usize) -> Vec<Op> {
    let value = codec::encode_value(&Session {
        user: "alice".into(),
        tty: None,
        remote: Some("x".repeat(host)),
        since: UnixNanos(1),
        leader: None,
        service: None,
        kind: SessionKind::Interactive,
        sources: [SessionSource::Logind].into(),
    });
    let key = |n| codec::encode_value(&format!("s-{n}"));
    let facet = FacetId::SESSIONS;
    (0..count).map(|n| Op::Added { facet, key: key(n), new: value.clone() }).collect()
}

fn record(n: u64, envelope: Envelope) -> Bytes {
    codec::encode(&LogRecord {
        cursor: cursor(n),
        node: NodeId([1; 16]),
        name: "web-1".parse().unwrap(),
        origin: Origin::Node { epoch: Epoch(1), seq: Seq(n) },
        envelope,
    })
}

#[tokio::test]
async fn answers_find_their_requests_in_whatever_order_they_come() {
    let (client, mut peer) = pair().await;
    assert_eq!(client.hub().newest, cursor(5));
    let (list, token) = (client.clone(), client.clone());
    let list = tokio::spawn(async move { list.list().await });
    let ClientToHub::List { request: first } = peer.recv().await else { panic!("not a List") };
    let name: NodeName = "db".parse().unwrap();
    let token = tokio::spawn(async move { token.enroll(&name, Some(Duration::from_secs(90)), true).await });
    let ClientToHub::Enroll { request: second, valid_secs: 90, replace: true, .. } = peer.recv().await else {
        panic!("not an Enroll")
    };
    assert_ne!(first, second);
    peer.send(&HubToClient::Enrolling {
        request: second,
        token: TokenText("t".into()),
        expires: UnixNanos(9),
        addresses: vec![],
    })
    .await;
    assert_eq!(within(token).await.unwrap().unwrap().expires, UnixNanos(9));
    peer.send(&HubToClient::Nodes { request: first, nodes: vec![summary("web-1")] }).await;
    assert_eq!(within(list).await.unwrap().unwrap(), vec![summary("web-1")]);
}

#[tokio::test]
async fn an_answer_larger_than_a_frame_is_put_together() {
    let (client, mut peer) = pair().await;
    let list = tokio::spawn(async move { client.list().await });
    let ClientToHub::List { request } = peer.recv().await else { panic!("not a List") };
    let mut node = summary("web-1");
    node.facts.os = "x".repeat(60_000);
    let nodes = vec![node; 40];
    peer.send(&HubToClient::Nodes { request, nodes: nodes.clone() }).await;
    assert_eq!(within(list).await.unwrap().unwrap(), nodes);
}

#[tokio::test]
async fn a_hub_that_goes_away_ends_every_open_request_with_its_reason() {
    let (client, mut peer) = pair().await;
    let list = tokio::spawn({
        let client = client.clone();
        async move { client.list().await }
    });
    peer.recv().await;
    let mut run = client.run("web-1", "tail", vec![], RunOptions::default()).await.unwrap();
    peer.recv().await;
    drop(peer);
    let error = within(list).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the connection to the hub was lost: the hub closed it");
    assert_eq!(error.exit_code(), 3);
    assert_eq!(within(run.next()).await.unwrap_err(), error);
    assert_eq!(within(client.list()).await.unwrap_err(), error, "and later ones at once");
}

#[tokio::test]
async fn a_refusal_ends_one_request_and_not_the_connection() {
    let (client, mut peer) = pair().await;
    let asked = tokio::spawn({
        let client = client.clone();
        async move { client.get("web1").await }
    });
    let ClientToHub::Get { request, node } = peer.recv().await else { panic!("not a Get") };
    assert_eq!(node, "web1");
    let refusal =
        Refusal { code: ErrorCode::UnknownNode, message: "no node".into(), near: vec!["web-1".into()] };
    peer.send(&HubToClient::Error { request, refusal: refusal.clone() }).await;
    assert_eq!(within(asked).await.unwrap(), Err(ClientError::Request(refusal)));
    let list = tokio::spawn(async move { client.list().await });
    let ClientToHub::List { request } = peer.recv().await else { panic!("not a List") };
    peer.send(&HubToClient::Nodes { request, nodes: vec![] }).await;
    assert_eq!(within(list).await.unwrap(), Ok(vec![]));
}

#[tokio::test]
async fn a_hub_that_turns_a_client_away_is_quoted() {
    let (ours, mut peer) = raw_pair();
    let refusal = Refusal::new(ErrorCode::NotPermitted, "uid 7 may not use this hub");
    peer.send(&HubToClient::Reject(refusal)).await;
    drop(peer);
    let error = within(Client::over(ours, "test 1")).await.unwrap_err();
    assert_eq!(error.to_string(), "the hub turned this client away: uid 7 may not use this hub");
    assert_eq!(error.exit_code(), 5);
}

#[tokio::test]
async fn a_peer_that_is_no_hub_is_told_apart_from_one_that_is_gone() {
    let (ours, mut peer) = raw_pair();
    within(peer.frames.send(Bytes::from_static(b"\xffHTTP/1.1"))).await.unwrap();
    let error = within(Client::over(ours, "test 1")).await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
    assert_eq!(error.exit_code(), 1);

    let (ours, mut peer) = raw_pair();
    peer.send(&HubToClient::Nodes { request: RequestId(1), nodes: vec![] }).await;
    let error = within(Client::over(ours, "test 1")).await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol { .. }), "{error}");

    let (ours, peer) = raw_pair();
    drop(peer);
    let error = within(Client::over(ours, "test 1")).await.unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_says_nothing_is_not_waited_for_for_ever() {
    let (ours, _peer) = raw_pair();
    let error = Client::over(ours, "test 1").await.unwrap_err();
    assert!(matches!(error, ClientError::NoAnswer { .. }), "{error}");
    assert_eq!(error.exit_code(), 3);
}

#[tokio::test]
async fn no_socket_and_a_left_socket_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hub.sock");
    let error = Client::connect(&path, "test 1").await.unwrap_err();
    assert_eq!(error, ClientError::NoSocket { path: path.clone() });
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = Client::connect(&path, "test 1").await.unwrap_err();
    assert_eq!(error, ClientError::Stale { path });
}

#[tokio::test]
async fn a_subscription_yields_events_gaps_and_progress_and_knows_where_it_stands() {
    let (client, mut peer) = pair().await;
    let filter = Filter { nodes: vec!["web-*".into()], types: vec![] };
    let subscribing = tokio::spawn({
        let (client, filter) = (client.clone(), filter.clone());
        async move { client.subscribe(StartFrom::Now, filter).await }
    });
    let ClientToHub::Subscribe { request, from: StartFrom::Now, filter: asked } = peer.recv().await else {
        panic!("not a Subscribe")
    };
    assert_eq!(asked, filter);
    peer.send(&HubToClient::Subscribed { request, after: cursor(5), snapshot: None, whole: true }).await;
    let mut subscription = within(subscribing).await.unwrap().unwrap();
    assert_eq!(subscription.after(), cursor(5));
    assert!(subscription.try_next().is_none());
    let gap = Gap { after: cursor(6), to: cursor(8), reason: "too slow".into() };
    peer.send(&HubToClient::Event { request, record: auth_record(6, "no") }).await;
    peer.send(&HubToClient::Gap { request, gap: gap.clone() }).await;
    peer.send(&HubToClient::Progress { request, cursor: cursor(9) }).await;
    let Item::Record { cursor: at, events } = within(subscription.next()).await.unwrap() else {
        panic!("not a record")
    };
    assert_eq!((at, events.len()), (cursor(6), 1));
    assert!(matches!(&events[0].detail, Detail::Auth(e) if e.message == "no"));
    assert_eq!(within(subscription.next()).await, Ok(Item::Gap(gap)));
    assert_eq!(within(subscription.next()).await, Ok(Item::Progress(cursor(9))));
    assert_eq!(subscription.after(), cursor(9));
    drop(subscription);
    assert_eq!(peer.recv().await, ClientToHub::Cancel { request });
}

/// A state that came anew is logged as one diff, which may be many times larger than a frame.
#[tokio::test]
async fn a_record_of_twelve_mebibytes_is_read_like_any_other() {
    let (client, mut peer) = pair().await;
    let subscribing = tokio::spawn(async move { client.subscribe(StartFrom::Now, Filter::default()).await });
    let ClientToHub::Subscribe { request, .. } = peer.recv().await else { panic!("not a Subscribe") };
    peer.send(&HubToClient::Subscribed { request, after: cursor(0), snapshot: None, whole: true }).await;
    let mut subscription = within(subscribing).await.unwrap().unwrap();
    let record = record(1, Envelope::diff(UnixNanos(1), &sessions(6_500, 2_000)));
    assert!(record.len() > 12 << 20, "{} bytes", record.len());
    let sending = tokio::spawn(async move {
        peer.send(&HubToClient::Event { request, record }).await;
        peer.send(&HubToClient::Event { request, record: auth_record(2, "after it") }).await;
        peer
    });
    let Item::Record { cursor: at, events } = within(subscription.next()).await.unwrap() else {
        panic!("not a record")
    };
    assert_eq!((at, events.len()), (cursor(1), 6_500));
    assert!(events.iter().all(|event| matches!(event.detail, Detail::Session(..))));
    assert!(
        matches!(within(subscription.next()).await, Ok(Item::Record { cursor: at, .. }) if at == cursor(2))
    );
    within(sending).await.unwrap();
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_loses_nothing() {
    let (client, mut peer) = pair().await;
    let subscribing = tokio::spawn(async move { client.subscribe(StartFrom::Now, Filter::default()).await });
    let ClientToHub::Subscribe { request, .. } = peer.recv().await else { panic!("not a Subscribe") };
    peer.send(&HubToClient::Subscribed { request, after: cursor(0), snapshot: None, whole: true }).await;
    let mut subscription = within(subscribing).await.unwrap().unwrap();
    let many = 5_000;
    let sending = tokio::spawn(async move {
        for n in 1..=many {
            peer.send(&HubToClient::Event { request, record: auth_record(n, &"x".repeat(1000)) }).await;
        }
        peer
    });
    for n in 1..=many {
        let Item::Record { cursor: at, .. } = within(subscription.next()).await.unwrap() else {
            panic!("not a record")
        };
        assert_eq!(at, cursor(n));
    }
    within(sending).await.unwrap();
}

async fn started(client: &Client, peer: &mut Peer) -> (Run, RequestId) {
    let mut run = client.run("web-1", "tail", vec![], RunOptions::default()).await.unwrap();
    let ClientToHub::Run { request, node, label, credit, .. } = peer.recv().await else {
        panic!("not a Run")
    };
    assert_eq!((node.as_str(), label.as_str(), credit), ("web-1", "tail", OUTPUT_WINDOW));
    let (job, node) = (JobId(4), NodeId([1; 16]));
    peer.send(&HubToClient::Started { request, job, node, pid: 9 }).await;
    assert_eq!(within(run.next()).await, Ok(Some(RunEvent::Started { job, node, pid: 9 })));
    (run, request)
}

/// Fills the window, and makes sure that the client has read it: another request was answered behind it.
async fn fill(client: &Client, peer: &mut Peer, request: RequestId, chunk: usize, count: usize) {
    for _ in 0..count {
        let data = Bytes::from(vec![7; chunk]);
        peer.send(&HubToClient::Output { request, stream: OutputStream::Stdout, data }).await;
    }
    let list = tokio::spawn({
        let client = client.clone();
        async move { client.list().await }
    });
    // A grant for output that nobody took would come before the List.
    let ClientToHub::List { request } = peer.recv().await else { panic!("credit without consumption") };
    peer.send(&HubToClient::Nodes { request, nodes: vec![] }).await;
    within(list).await.unwrap().unwrap();
}

#[tokio::test]
async fn credit_is_granted_for_output_that_was_taken_and_for_no_other() {
    let (client, mut peer) = pair().await;
    let (mut run, request) = started(&client, &mut peer).await;
    let chunks = OUTPUT_WINDOW as usize / MAX_CHUNK;
    fill(&client, &mut peer, request, MAX_CHUNK, chunks).await;
    for _ in 0..chunks {
        assert!(matches!(within(run.next()).await, Ok(Some(RunEvent::Output { .. }))));
    }
    // The last chunk counts as taken only when more is asked for.
    let end = RunEnd::Exited(3);
    peer.send(&HubToClient::Exit { request, end: end.clone(), usage: None }).await;
    assert_eq!(within(run.next()).await, Ok(Some(RunEvent::Exit { end, usage: None })));
    assert_eq!(within(run.next()).await, Ok(None));
    let mut granted = 0;
    while granted < OUTPUT_WINDOW {
        let ClientToHub::Credit { request: of, credit } = peer.recv().await else { panic!("not a Credit") };
        assert_eq!(of, request);
        granted += credit;
    }
    assert_eq!(granted, OUTPUT_WINDOW);
}

#[tokio::test]
async fn a_window_full_of_tiny_chunks_holds_up_no_other_request() {
    let (client, mut peer) = pair().await;
    let (mut run, request) = started(&client, &mut peer).await;
    fill(&client, &mut peer, request, 1, 256).await;
    for _ in 0..256 {
        assert!(matches!(within(run.next()).await, Ok(Some(RunEvent::Output { .. }))));
    }
}

#[tokio::test]
async fn a_run_is_cancelled_on_request_and_by_its_drop() {
    let (client, mut peer) = pair().await;
    let (mut run, request) = started(&client, &mut peer).await;
    run.cancel().await.unwrap();
    assert_eq!(peer.recv().await, ClientToHub::Cancel { request });
    peer.send(&HubToClient::Exit { request, end: RunEnd::Cancelled, usage: None }).await;
    assert_eq!(within(run.next()).await, Ok(Some(RunEvent::Exit { end: RunEnd::Cancelled, usage: None })));
    let (run, second) = started(&client, &mut peer).await;
    drop(run);
    assert_eq!(
        peer.recv().await,
        ClientToHub::Cancel { request: second },
        "and none for the one that is over"
    );
    peer.send(&HubToClient::Exit { request: second, end: RunEnd::Cancelled, usage: None }).await;
    let (_, third) = started(&client, &mut peer).await;
    assert_ne!(second, third);
}

#[tokio::test]
async fn the_connection_ends_with_its_last_handle() {
    let (client, mut peer) = pair().await;
    drop(client);
    assert!(within(peer.frames.next()).await.is_none());
}
