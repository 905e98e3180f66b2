//! A node's connection: its messages to the actor, the actor's to it, and the heartbeat of both.
//!
//! Reading and writing go side by side, so that a peer that does not read cannot keep the hub from hearing
//! it, nor the other way round.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use rustls::pki_types::CertificateDer;
use secmon_protocol::{
    codec,
    ids::Epoch,
    limits::{MAX_FRAME, MIN_CHUNK_COST, OUTPUT_WINDOW},
    message::{
        ErrorCode, Refusal,
        node::{Hello, HubToNode, NodeToHub},
    },
};
use tokio::{
    io::{ReadHalf, WriteHalf, join},
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{
    Ending, Shared, intake,
    tcp::Tcp,
    wire::{self, Reader, WireError},
};
use crate::{
    actor::{Budget, Message, ToLink, Waiting, lane},
    ca::{Fingerprint, fingerprint},
    core::{Introduction, Link, MAX_RUNS_PER_NODE},
};

/// Messages that wait for a node to read them: one acknowledgement per batch, and what its runs need, all the input among
/// it that it has asked for. A node that lets this many pile up does not read.
const QUEUE: usize = 1024 + MAX_RUNS_PER_NODE * (OUTPUT_WINDOW / MIN_CHUNK_COST) as usize;
/// Bytes of input among them.
const INPUT: usize = MAX_RUNS_PER_NODE * OUTPUT_WINDOW as usize;
/// A side that hears nothing for this many heartbeats takes the other for gone.
const MISSED: u32 = 3;
/// How long a writer waits for a node to take what was sent before it is closed.
const DRAIN: Duration = Duration::from_secs(3);

type NodeReader = Reader<ReadHalf<TlsStream<Tcp>>, NodeToHub>;

/// A node that has said Hello.
pub(super) struct Greeted {
    reader: NodeReader,
    writer: WriteHalf<TlsStream<Tcp>>,
    papers: Fingerprint,
    hello: Hello,
}

/// Hears a node's Hello. One without papers is told how to get some, and not listened to.
pub(super) async fn greet(
    mut stream: TlsStream<Tcp>,
    papers: Option<CertificateDer<'static>>,
) -> Result<Greeted, Ending> {
    let Some(papers) = papers else {
        let reason = "this node has no papers of this hub; run `secmon enroll NAME` on the hub and join with its token";
        let refusal = Refusal::new(ErrorCode::NotPermitted, reason);
        let _ = wire::send(&mut stream, &HubToNode::Reject(refusal)).await;
        wire::goodbye(&mut stream).await;
        return Err(Ending::Bad(reason.to_owned()));
    };
    let (read, mut writer) = tokio::io::split(stream);
    let mut reader = NodeReader::new(read);
    // One frame, whoever it is: of a Hello in pieces 32 MiB would be held for each of many strangers.
    let first = match reader.frame(MAX_FRAME).await {
        Ok(frame) => codec::decode(&frame).map_err(WireError::from),
        Err(error) => Err(error),
    };
    let ending = match first {
        Ok(NodeToHub::Hello(hello)) => {
            return Ok(Greeted { reader, writer, papers: fingerprint(&papers), hello });
        }
        Ok(_) => {
            let refusal = Refusal::new(ErrorCode::Protocol, "the first message must be Hello");
            let _ = wire::send(&mut writer, &HubToNode::Reject(refusal.clone())).await;
            Ending::Bad(refusal.message)
        }
        Err(error) => error.into(),
    };
    wire::goodbye(&mut join(reader.into_inner(), writer)).await;
    Err(ending)
}

/// Serves a node until its connection ends.
pub(super) async fn serve(greeted: Greeted, address: SocketAddr, shared: &Arc<Shared>) -> Ending {
    let Greeted { mut reader, mut writer, papers, hello } = greeted;
    let link = Link(shared.number());
    let kill = CancellationToken::new();
    let (wire, waiting) = lane(QUEUE, vec![Budget::of(INPUT)], kill.clone());
    let introduction =
        Introduction { papers, address: address.to_string(), hello, fresh: Epoch(rand::random()) };
    shared.actor.send(Message::NodeUp(link, Box::new(introduction), wire)).await;
    let mut writing = Box::pin(write(&mut writer, waiting, shared.heartbeat));
    let ended = tokio::select! {
        ending = intake::run(&mut reader, link, &shared.actor, shared.heartbeat * MISSED) => Some(ending),
        ending = &mut writing => Some(ending),
        () = kill.cancelled() => Some(Ending::Bad("it does not read what it is sent".to_owned())),
        () = shared.stop.cancelled() => None,
    };
    let stopped = ended.is_none();
    let ending = ended.unwrap_or_else(Ending::stopping);
    shared.actor.send(Message::NodeDown(link, ending.reason().to_owned())).await;
    if stopped {
        // What it sent is being written, and it gets the acknowledgement for it.
        let _ = timeout(DRAIN, &mut writing).await;
    }
    drop(writing);
    wire::goodbye(&mut join(reader.into_inner(), writer)).await;
    ending
}

/// Sends what the actor says, and a Ping each heartbeat.
async fn write(
    writer: &mut WriteHalf<TlsStream<Tcp>>,
    mut queue: Waiting<ToLink>,
    heartbeat: Duration,
) -> Ending {
    // Somewhere in the first heartbeat, so that nodes that came together are not all asked together.
    let first = Instant::now() + heartbeat.mul_f64(rand::random_range(0.1..=1.0));
    let mut ticks = interval_at(first, heartbeat);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut nonce = 0;
    let mut out = BytesMut::new();
    // Welcome must be the first message.
    let mut greeted = false;
    loop {
        let mut next = tokio::select! {
            biased;
            next = queue.recv() => match next {
                Some(next) => Some(next),
                None => return Ending::stopping(),
            },
            _ = ticks.tick(), if greeted => {
                nonce += 1;
                // What a large message needed is not kept for the small ones of an idle node.
                out = BytesMut::new();
                Some(ToLink::Message(HubToNode::Ping { nonce }))
            }
        };
        greeted = true;
        let mut last = None;
        while let Some(message) = next.take() {
            match message {
                ToLink::Message(message) => {
                    if let Err(error) = codec::put_message(&mut out, &message) {
                        return Ending::Bad(error.to_string());
                    }
                }
                ToLink::Close(reason) => last = Some(reason),
            }
            if last.is_none() && out.len() < wire::WRITE_TARGET {
                next = queue.try_recv();
            }
        }
        let sent = wire::write_within(writer, &mut out, heartbeat * MISSED);
        match last {
            Some(reason) => {
                let _ = timeout(DRAIN, sent).await;
                return Ending::Bad(reason);
            }
            None => {
                if let Err(error) = sent.await {
                    return error.into();
                }
            }
        }
    }
}
