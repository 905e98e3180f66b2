//! Peers that break the protocol: their connection ends, and nobody else notices.

use crate::common::{self, Conn, PATIENCE, Papers, Running, auth, hello, snapshot, start, state};
use std::sync::{Arc, Mutex};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::SinkExt as _;
use secmon_protocol::{
    codec,
    command::{CommandInfo, OutputStream},
    facet::{FacetId, FacetStatus, Unavailable},
    ids::Seq,
    message::{
        client::ClientToHub,
        join,
        node::{self, HubToNode, NodeToHub},
    },
    record::{Envelope, NodeRecord},
    state::Op,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// Reads until the hub has closed the connection.
pub(crate) async fn closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut rest = vec![];
    // A reset is an end as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the hub ends the connection");
}

/// Takes what still comes until the hub has closed the connection.
pub(crate) async fn ended(node: &mut common::Node) {
    while node.next().await.is_some() {}
}

/// Frames that no hub accepts, whoever sends them.
fn bad_bytes() -> Vec<(&'static str, Vec<u8>)> {
    let frame = |body: &[u8]| {
        let mut out = BytesMut::new();
        out.put_u32(u32::try_from(body.len()).unwrap());
        out.put_slice(body);
        out.to_vec()
    };
    vec![
        ("garbage", vec![0xff; 300]),
        ("a length of 4 GiB", u32::MAX.to_be_bytes().to_vec()),
        ("an unknown message", frame(&[0xfa, 1, 2, 3])),
        ("an empty frame", frame(&[])),
        ("a message with bytes behind it", frame(&[2, 1, 0, 0, 0, 0, 0])),
        ("a part without a begin", frame(&codec::encode(&NodeToHub::Fragment(codec::Fragment::End)))),
    ]
}

pub(crate) async fn still_works(hub: &Running, node: &mut common::Node, seq: u64) {
    node.records(&[auth(seq)]).await;
    loop {
        match node.next().await {
            Some(HubToNode::Ack { seq: acked }) if acked.0 == seq => break,
            Some(_) => {}
            None => panic!("another's mistake ended this connection"),
        }
    }
    assert!(!hub.client().await.list().await.is_empty());
}

pub(crate) async fn with_a_good_node() -> (tempfile::TempDir, Running, Papers, common::Node) {
    let dir = tempfile::tempdir().unwrap();
    let hub = start(dir.path()).await;
    let papers = hub.enrol("good").await;
    let mut node = hub.node(&papers).await;
    node.records(&[snapshot(1, &state(&[]))]).await;
    (dir, hub, papers, node)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_tls_end_the_connection_and_nothing_else() {
    let (_dir, hub, _, mut good) = with_a_good_node().await;
    let plain: [&[u8]; 4] =
        [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[0; 100], &[22, 3, 1, 0xff, 0xff, 9, 9], b"\x16"];
    for bytes in plain {
        let mut stream = TcpStream::connect(hub.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        closed(&mut stream).await;
    }
    // Says nothing at all: the deadline ends it. The good node goes on answering meanwhile.
    let mut silent = TcpStream::connect(hub.address).await.unwrap();
    let answering = async {
        while good.next().await.is_some() {}
        panic!("another's silence ended this connection");
    };
    tokio::select! {
        () = closed(&mut silent) => {}
        () = answering => {}
    }
    still_works(&hub, &mut good, 2).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_frame_in_any_conversation_ends_that_connection_and_nothing_else() {
    let (_dir, hub, papers, mut good) = with_a_good_node().await;
    let other = hub.enrol("bad").await;
    for (seq, (what, bytes)) in (2..).zip(bad_bytes()) {
        let mut joining = common::tls(hub.address, join::ALPN, None, None).await.unwrap();
        joining.write_all(&bytes).await.unwrap();
        closed(&mut joining).await;
        let mut fresh = common::tls(hub.address, node::ALPN, Some(&other), Some(&papers.ca)).await.unwrap();
        fresh.write_all(&bytes).await.unwrap();
        closed(&mut fresh).await;
        let mut greeted = hub.node(&other).await;
        greeted.wire.frames.get_mut().write_all(&bytes).await.unwrap();
        closed(greeted.wire.frames.get_mut()).await;
        let mut client = UnixStream::connect(&hub.socket).await.unwrap();
        client.write_all(&bytes).await.unwrap();
        closed(&mut client).await;
        let mut welcomed = hub.client().await;
        welcomed.wire.frames.get_mut().write_all(&bytes).await.unwrap();
        closed(welcomed.wire.frames.get_mut()).await;
        still_works(&hub, &mut good, seq).await;
        eprintln!("{what}: as promised");
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_frame_and_a_message_out_of_place_end_the_connection() {
    let (_dir, hub, papers, mut good) = with_a_good_node().await;
    let other = hub.enrol("bad").await;
    let mut half = hub.node(&other).await;
    half.wire.frames.get_mut().write_all(&[0, 0, 0, 50, 1, 2]).await.unwrap();
    half.wire.frames.get_mut().shutdown().await.unwrap();
    closed(half.wire.frames.get_mut()).await;

    let mut twice = hub.node(&other).await;
    twice.wire.send(&NodeToHub::Hello(hello(1, 1, 0))).await;
    ended(&mut twice).await;

    let stream = common::tls(hub.address, node::ALPN, Some(&other), Some(&papers.ca)).await.unwrap();
    let mut early = Conn::new(stream);
    early.send(&NodeToHub::Pong { nonce: 1 }).await;
    assert!(matches!(early.next().await, Some(HubToNode::Reject(_))));

    let stream = common::tls(hub.address, node::ALPN, None, Some(&papers.ca)).await.unwrap();
    let mut nobody = Conn::new(stream);
    nobody.send(&NodeToHub::Hello(hello(1, 1, 0))).await;
    let Some(HubToNode::Reject(refusal)) = nobody.next().await else { panic!("let in without papers") };
    assert!(refusal.message.contains("secmon enroll"), "{refusal}");

    let mut forger = hub.node(&other).await;
    forger.wire.frames.send(codec::encode(&NodeToHub::Records(Bytes::from_static(&[0, 0])))).await.unwrap();
    ended(&mut forger).await;

    let mut client = hub.client().await;
    client.wire.send(&ClientToHub::Hello { version: 1, agent: String::new() }).await;
    assert_eq!(client.wire.next::<secmon_protocol::message::client::HubToClient>().await, None);
    still_works(&hub, &mut good, 2).await;
    hub.stop().await;
}

fn diff(seq: u64, op: Op) -> NodeRecord {
    NodeRecord { seq: Seq(seq), envelope: Envelope::diff(common::now(), &[op]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_sends_more_than_its_share_is_cut_off_and_the_list_goes_on() {
    let (_dir, hub, _, mut good) = with_a_good_node().await;
    let papers = hub.enrol("bad").await;
    let facet = FacetId(100);
    let why = Unavailable { reason: "x".repeat(20 << 20), remedy: String::new() };
    let unavailable = Op::Status { facet, old: FacetStatus::Pending, new: FacetStatus::Unavailable(why) };
    let key = Op::Added { facet, key: vec![7; 2 << 10].into(), new: Bytes::new() };
    let value = Op::Added { facet, key: Bytes::new(), new: vec![7; 2 << 20].into() };
    let mut many = BytesMut::new();
    (0..100_000).for_each(|_| codec::push_item(&mut many, &[]));
    let records = |op| NodeToHub::Records(codec::encode_list(&[diff(1, op)]));
    let job = secmon_protocol::ids::JobId(1);
    let (label, description) = ("x".repeat(65), String::new());
    for message in [
        records(unavailable),
        records(key),
        records(value),
        NodeToHub::Records(many.freeze()),
        NodeToHub::Commands(vec![CommandInfo::plain(label, description, 0)]),
        NodeToHub::Output { job, stream: OutputStream::Stdout, at: 0, data: vec![7; (64 << 10) + 1].into() },
    ] {
        let mut bad = hub.node(&papers).await;
        bad.wire.send(&message).await;
        ended(&mut bad).await;
    }
    let list = hub.client().await.list().await;
    assert!(list.iter().any(|node| node.name.as_str() == "bad" && node.facets.is_empty()), "{list:?}");
    still_works(&hub, &mut good, 2).await;
    hub.stop().await;
}

/// Reads to the end, which must be one that the hub meant: over TLS without its closing alert it is an
/// `UnexpectedEof`.
async fn ends_cleanly(mut stream: impl tokio::io::AsyncRead + Unpin) {
    let mut rest = vec![];
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("an end in time").expect("a clean end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_hub_ends_has_a_clean_end() {
    let (_dir, hub, papers, good) = with_a_good_node().await;
    // Replaced, at fault, and stopped.
    let again = hub.node_with(&papers, hello(1, 2, 1)).await;
    ends_cleanly(good.wire.frames.into_inner()).await;
    let mut bad = hub.node(&hub.enrol("bad").await).await;
    bad.wire.send(&NodeToHub::Hello(hello(1, 1, 0))).await;
    ends_cleanly(bad.wire.frames.into_inner()).await;
    let client = hub.client().await;
    let ends = async {
        tokio::join!(
            ends_cleanly(again.wire.frames.into_inner()),
            ends_cleanly(client.wire.frames.into_inner())
        )
    };
    tokio::join!(hub.stop(), ends);
}

/// Each connection of a user who may do no more than look once could have 32 MiB of a message held for it that never
/// came to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_cannot_begin_a_message_that_no_request_is_as_long_as() {
    let (_dir, hub, _, mut good) = with_a_good_node().await;
    for (len, held) in [(1_u32 << 20, true), ((1 << 20) + 1, false), (32 << 20, false)] {
        let mut client = hub.client().await;
        client.wire.send(&ClientToHub::Fragment(codec::Fragment::Begin { len: len.into() })).await;
        if held {
            assert!(!client.list().await.is_empty(), "another message may pass between");
        } else {
            ends_cleanly(client.wire.frames.into_inner()).await;
        }
    }
    still_works(&hub, &mut good, 2).await;
    hub.stop().await;
}

/// What all hubs of this process have logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_says_who_was_cut_off_and_why() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    let (_dir, hub, _, _good) = with_a_good_node().await;
    let mut stream = TcpStream::connect(hub.address).await.unwrap();
    let from = stream.local_addr().unwrap().to_string();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    closed(&mut stream).await;
    hub.stop().await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(&from)).collect();
    assert_eq!(lines.len(), 1, "{log}");
    for part in ["WARN", "connection ended", "plain HTTP"] {
        assert!(lines[0].contains(part), "{}", lines[0]);
    }
}

/// Connects from an address of this machine's.
async fn connect_from(source: [u8; 4], to: std::net::SocketAddr) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Idle connections from one address once took every place of those who have not said a word, and nodes
/// waited until those were cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_cannot_take_all_places() {
    /// More than there are places for those who have not said a word; half of the places is one address's share.
    const MANY: usize = 600;
    let dir = tempfile::tempdir().unwrap();
    let mut config = common::config(dir.path());
    // The usual patience with the silent, 10 s, so that they are still there at the end.
    config.hub.heartbeat_secs = 10;
    let hub = common::run(secmon_hub::start(config).await.unwrap());
    let mut idle = vec![];
    for _ in 0..MANY {
        idle.push(connect_from([127, 0, 0, 2], hub.address).await);
    }
    let papers = hub.enrol("good").await;
    let mut node = hub.node(&papers).await;
    still_works(&hub, &mut node, 1).await;
    for stream in idle {
        let error = stream.into_std().unwrap().peek(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "they have a place, or wait for one");
    }
    hub.stop().await;
}
