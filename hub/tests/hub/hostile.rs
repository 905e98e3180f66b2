//! Peers that speak the protocol and mean harm: they are slow, they ask without end, their numbers are lies. Each is
//! told why where there is a message for it, and nobody else notices.

use std::time::Duration;

use bytes::BufMut as _;
use secmon_protocol::{
    codec::{self, Fragment},
    ids::RequestId,
    limits::MAX_FRAME,
    message::{
        ErrorCode,
        client::{ClientToHub, Filter, From, HubToClient},
        join,
        node::{self, HubToNode, NodeToHub},
    },
    record::{Envelope, Lost, NodeRecord},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    time::{interval, timeout},
};

use crate::{
    abuse::{ended, still_works, with_a_good_node},
    common::{self, Conn, PATIENCE, Running, auth, hello, snapshot, state},
};

/// Does something that takes a while, during which the good node answers the hub's heartbeat, as it must.
async fn beside<T>(good: &mut common::Node, doing: impl Future<Output = T>) -> T {
    let doing = Box::pin(doing);
    let answering = async { while good.next().await.is_some() {} };
    tokio::select! {
        done = doing => done,
        () = answering => panic!("another's mistake ended this connection"),
    }
}

/// A byte of a frame that never ends, again and again, until the hub has had enough of it.
async fn dribble(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut ticks = interval(Duration::from_millis(50));
    let mut heard = [0; 256];
    let slowly = async {
        // The length of a frame, or the head of a TLS record: 0x16 and a version, and then nothing that ends it.
        for byte in [0, 0, 0x3f].into_iter().chain(std::iter::repeat(1)) {
            tokio::select! {
                read = stream.read(&mut heard) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                },
                _ = ticks.tick() => {
                    if stream.write_all(&[byte]).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    timeout(PATIENCE, slowly).await.expect("the hub ends the connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_its_first_message_byte_by_byte_is_cut_off_on_either_listener() {
    let (_dir, hub, papers, mut good) = with_a_good_node().await;
    let other = hub.enrol("slow").await;
    let mut handshake = TcpStream::connect(hub.address).await.unwrap();
    handshake.write_all(&[0x16, 3, 1]).await.unwrap();
    let joining = common::tls(hub.address, join::ALPN, None, None).await.unwrap();
    let fresh = common::tls(hub.address, node::ALPN, Some(&other), Some(&papers.ca)).await.unwrap();
    let client = UnixStream::connect(&hub.socket).await.unwrap();
    let dribbling =
        async { tokio::join!(dribble(handshake), dribble(joining), dribble(fresh), dribble(client)) };
    beside(&mut good, dribbling).await;
    still_works(&hub, &mut good, 20).await;
    hub.stop().await;
}

/// A Hello in pieces: 32 MiB of it would have been held for each of the 512 that may be at the door.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_in_pieces_is_not_put_together() {
    let (_dir, hub, papers, mut good) = with_a_good_node().await;
    let other = hub.enrol("bad").await;
    let stream = common::tls(hub.address, node::ALPN, Some(&other), Some(&papers.ca)).await.unwrap();
    let mut wire = Conn::new(stream);
    wire.send(&NodeToHub::Fragment(Fragment::Begin { len: 30 << 20 })).await;
    assert!(
        matches!(wire.next().await, Some(HubToNode::Reject(refusal)) if refusal.code == ErrorCode::Protocol)
    );
    still_works(&hub, &mut good, 2).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_are_lies_end_the_connection_and_hide_nothing() {
    let (_dir, hub, _, mut good) = with_a_good_node().await;
    let papers = hub.enrol("bad").await;
    let mut client = hub.client().await;
    client.subscribe(From::Now, Filter { nodes: vec!["bad".into()], types: vec![] }).await;
    let lost = |seq, count| NodeRecord {
        seq: secmon_protocol::ids::Seq(seq),
        envelope: Envelope::lost(common::now(), &Lost { count, reason: "x".into() }),
    };
    for (said, records) in [
        ("no record has the number 0", vec![auth(0)]),
        ("no record has the number 18446744073709551615", vec![auth(u64::MAX)]),
        ("record 8 comes behind record 9", vec![auth(9), auth(8)]),
        ("record 5 says that 6 records were dropped", vec![lost(5, 6)]),
        ("record 5 says that 18446744073709551615 records were dropped", vec![lost(5, u64::MAX)]),
    ] {
        let mut bad = hub.node(&papers).await;
        bad.records(&records).await;
        beside(&mut good, ended(&mut bad)).await;
        let record = client.event("node.disconnected").await;
        let why = format!("{:?}", record.envelope.decode().unwrap());
        assert!(why.contains(said), "{said}: {why}");
    }
    // None of it was taken: the first record of an honest one is not a record too late, and none is missing.
    let mut honest = hub.node(&papers).await;
    honest.records(&[snapshot(1, &state(&["tty1"]))]).await;
    let connected = client.event("node.connected").await;
    let first = client.event("facet.ready").await;
    assert_eq!(first.cursor.n, connected.cursor.n + 1, "no gap between them");
    still_works(&hub, &mut good, 2).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_epoch_each_time_is_served_and_delays_nobody() {
    let (_dir, hub, _, mut good) = with_a_good_node().await;
    let papers = hub.enrol("bad").await;
    beside(&mut good, async {
        for epoch in 1..=60 {
            let mut node = hub.node_with(&papers, hello(epoch, u64::MAX - 2, u64::MAX - 1)).await;
            node.records(&[auth(u64::MAX - 1)]).await;
            loop {
                match node.next().await.expect("it is as it says it is") {
                    HubToNode::Ack { seq } if seq.0 == u64::MAX - 1 => break,
                    _ => {}
                }
            }
        }
    })
    .await;
    assert_eq!(hub.client().await.list().await.len(), 2);
    still_works(&hub, &mut good, 2).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_sends_snapshots_without_end_is_taken_at_its_word_and_delays_nobody() {
    const SNAPSHOTS: u64 = 2_000;
    let (_dir, hub, _, mut good) = with_a_good_node().await;
    let papers = hub.enrol("bad").await;
    let mut bad = hub.node(&papers).await;
    let (one, two) = (state(&["tty1"]), state(&["tty1", "tty2"]));
    for turn in 0..10 {
        beside(&mut good, async {
            for seq in turn * SNAPSHOTS / 10 + 1..=(turn + 1) * SNAPSHOTS / 10 {
                bad.records(&[snapshot(seq, if seq % 2 == 0 { &two } else { &one })]).await;
            }
        })
        .await;
        still_works(&hub, &mut good, 2 + turn).await;
    }
    let taken = async {
        loop {
            match bad.next().await.expect("it breaks no rule") {
                HubToNode::Ack { seq } if seq.0 == SNAPSHOTS => break,
                _ => {}
            }
        }
    };
    beside(&mut good, taken).await;
    let list = hub.client().await.list().await;
    let entries = |name: &str| list.iter().find(|node| node.name.as_str() == name).unwrap().facets[0].entries;
    assert_eq!(entries("bad"), 2);
    hub.stop().await;
}

fn put_frame(out: &mut bytes::BytesMut, message: &ClientToHub) {
    let frame = codec::encode(message);
    out.put_u32(u32::try_from(frame.len()).unwrap());
    out.put_slice(&frame);
}

/// Answers of one client, as it asks; the asking is done beside the reading.
async fn ask(hub: &Running, requests: Vec<ClientToHub>, answers: usize) -> Vec<HubToClient> {
    let client = hub.client().await;
    let (read, mut write) = tokio::io::split(client.wire.frames.into_inner());
    let asking = async {
        let mut bytes = bytes::BytesMut::new();
        for request in requests {
            put_frame(&mut bytes, &request);
        }
        write.write_all(&bytes).await.unwrap();
    };
    let mut read = Conn::new(tokio::io::join(read, tokio::io::sink()));
    let reading = async {
        let mut all = vec![];
        while all.len() < answers {
            match read.next().await.expect("the connection stands") {
                HubToClient::Event { .. } | HubToClient::Progress { .. } => {}
                answer => all.push(answer),
            }
        }
        all
    };
    tokio::join!(asking, reading).1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_very_many_subscriptions_a_few_stand_and_the_rest_is_refused() {
    const MANY: u64 = 50_000;
    const STAND: usize = 32;
    let (_dir, hub, _, mut good) = with_a_good_node().await;
    let subscribe =
        |n| ClientToHub::Subscribe { request: RequestId(n), from: From::Now, filter: Filter::default() };
    let requests = (2..2 + MANY).map(subscribe).collect();
    let asking = ask(&hub, requests, usize::try_from(MANY).unwrap());
    let answers = beside(&mut good, asking).await;
    let stand = answers.iter().filter(|answer| matches!(answer, HubToClient::Subscribed { .. })).count();
    let refused = |answer: &&HubToClient| {
        matches!(answer, HubToClient::Error { refusal, .. }
            if refusal.code == ErrorCode::TooMany && refusal.message.contains("32 subscriptions"))
    };
    assert_eq!((stand, answers.iter().filter(refused).count()), (STAND, answers.len() - STAND));
    still_works(&hub, &mut good, 2).await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_for_snapshots_without_end_gets_each_and_delays_nobody() {
    const MANY: u64 = 3_000;
    let (_dir, hub, _, mut good) = with_a_good_node().await;
    let requests = (2..2 + MANY).flat_map(|n| {
        let request = RequestId(n);
        [
            ClientToHub::Subscribe { request, from: From::Snapshot, filter: Filter::default() },
            ClientToHub::Cancel { request },
        ]
    });
    let asking = ask(&hub, requests.collect(), usize::try_from(MANY).unwrap());
    let others = async {
        for seq in 2..10 {
            still_works(&hub, &mut good, seq).await;
        }
        // As long as the asking takes.
        let never = std::future::pending::<()>();
        beside(&mut good, never).await;
    };
    let answers = tokio::select! {
        answers = asking => answers,
        () = others => unreachable!("the others never end"),
    };
    assert!(answers.iter().all(|answer| matches!(answer, HubToClient::Subscribed { snapshot: Some(_), .. })));
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_and_does_not_read_is_not_listened_to_and_delays_nobody() {
    let (_dir, hub, _, mut good) = with_a_good_node().await;
    let mut deaf = hub.client().await;
    let mut many = bytes::BytesMut::new();
    while many.len() < MAX_FRAME {
        put_frame(&mut many, &ClientToHub::List { request: RequestId(9) });
    }
    // What the sockets hold and what the hub is ready to answer is bounded, so that this never ends by itself.
    let asking = async {
        loop {
            deaf.wire.frames.get_mut().write_all(&many).await.unwrap();
        }
    };
    let others = async {
        for seq in 2..10 {
            still_works(&hub, &mut good, seq).await;
        }
    };
    tokio::select! {
        () = asking => unreachable!("it is listened to for ever"),
        () = others => {}
    }
    hub.stop().await;
}
