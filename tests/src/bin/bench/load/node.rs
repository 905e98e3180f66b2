//! A simulated node: sends records under the window of the real one, and answers pings.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::StreamExt as _;
use rustls::HandshakeKind;
use secmon_protocol::{
    codec,
    ids::{Epoch, Seq},
    message::node::{Hello, HostFacts, HubToNode, NodeToHub},
    time::UnixNanos,
};
use tokio::{
    io::{AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::TcpStream,
    time::{MissedTickBehavior, interval},
};
use tokio_rustls::client::TlsStream;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use super::{
    event::Batches,
    fleet::{Conn, Member, connect},
    now,
};

/// As a node's: bytes that wait for the hub's acknowledgement.
const WINDOW: usize = 4 << 20;
/// What happens within this time goes together.
const BUNCH: Duration = Duration::from_millis(10);

/// A node whose connection stands.
pub(crate) struct SimNode {
    reader: FramedRead<ReadHalf<TlsStream<TcpStream>>, LengthDelimitedCodec>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    /// The newest record that was sent.
    sent: u64,
    acked: u64,
    /// Batches on their way: the last seq and the bytes of each.
    flying: VecDeque<(u64, usize)>,
    /// Whether its TLS session was resumed.
    pub(crate) resumed: bool,
}

/// A Hello of a node that has sent everything up to `newest`.
fn hello(newest: u64) -> Hello {
    Hello {
        agent: "0.1.0".to_owned(),
        facts: HostFacts::default(),
        epoch: Epoch(1),
        oldest: Seq(newest + 1),
        newest: Seq(newest),
        clock: UnixNanos(now()),
        extensions: Default::default(),
    }
}

impl SimNode {
    /// Connects, says Hello and hears Welcome.
    pub(crate) async fn connect(member: &Member, to: SocketAddr) -> anyhow::Result<Self> {
        let stream = connect(&member.tls, to).await?;
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        let mut conn = Conn::new(stream);
        conn.send(&NodeToHub::Hello(hello(0))).await?;
        match conn.next().await? {
            HubToNode::Welcome(_) => {}
            other => bail!("no Welcome but {other:?}"),
        }
        let (reader, writer) = tokio::io::split(conn.into_inner());
        let reader = FramedRead::new(reader, codec::frames());
        Ok(Self { reader, writer, sent: 0, acked: 0, flying: VecDeque::new(), resumed })
    }

    /// As [`SimNode::connect`], for a task of its own.
    pub(crate) async fn connect_to(member: Arc<Member>, to: SocketAddr) -> anyhow::Result<Self> {
        Self::connect(&member, to).await
    }

    /// Sends `count` events as fast as the hub takes them, and waits until all are acknowledged.
    pub(crate) async fn send(&mut self, count: u64) -> anyhow::Result<()> {
        let (batches, last) = (Batches::at(now()), self.sent + count);
        while self.sent < last {
            while self.flying.iter().map(|(_, bytes)| bytes).sum::<usize>() >= WINDOW {
                self.hear().await?;
            }
            self.send_batch(&batches, last).await?;
        }
        self.settle().await
    }

    /// Sends `count` events, one in each `period`, and waits until all are acknowledged.
    pub(crate) async fn send_paced(&mut self, count: u64, period: Duration) -> anyhow::Result<()> {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let last = self.sent + count;
        while self.sent < last {
            let frame = tokio::select! {
                _ = ticks.tick() => None,
                frame = self.reader.next() => Some(frame),
            };
            match frame {
                Some(frame) => self.take(&frame.context("the hub closed the connection")??).await?,
                None => self.send_batch(&Batches::at(now()), self.sent + 1).await?,
            }
        }
        self.settle().await
    }

    /// Sends this many events a second for so long, in bunches of ten milliseconds as a node's outbox makes them, or
    /// as many as the hub takes, and waits until all are acknowledged. Gives how many that were.
    pub(crate) async fn send_rate(&mut self, rate: u64, how_long: Duration) -> anyhow::Result<u64> {
        let (start, before) = (Instant::now(), self.sent);
        let mut ticks = interval(BUNCH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while start.elapsed() < how_long {
            tokio::select! {
                _ = ticks.tick() => {}
                frame = self.reader.next() => {
                    self.take(&frame.context("the hub closed the connection")??).await?;
                    continue;
                }
            }
            let due = before + (start.elapsed().min(how_long).as_secs_f64() * rate as f64) as u64;
            let batches = Batches::at(now());
            while self.sent < due && self.flying.iter().map(|(_, bytes)| bytes).sum::<usize>() < WINDOW {
                self.send_batch(&batches, due).await?;
            }
        }
        self.settle().await?;
        Ok(self.sent - before)
    }

    async fn send_batch(&mut self, batches: &Batches, last: u64) -> anyhow::Result<()> {
        let (list, next) = batches.batch(self.sent + 1, last);
        self.flying.push_back((next - 1, list.len()));
        self.sent = next - 1;
        self.write(&NodeToHub::Records(list)).await
    }

    /// Waits until everything is acknowledged.
    pub(crate) async fn settle(&mut self) -> anyhow::Result<()> {
        while self.acked < self.sent {
            self.hear().await?;
        }
        Ok(())
    }

    /// Answers pings for ever.
    pub(crate) async fn idle(&mut self) -> anyhow::Result<()> {
        loop {
            self.hear().await?;
        }
    }

    /// Takes one message of the hub's.
    pub(crate) async fn hear(&mut self) -> anyhow::Result<()> {
        let frame = self.reader.next().await.context("the hub closed the connection")??;
        self.take(&frame).await
    }

    async fn take(&mut self, frame: &[u8]) -> anyhow::Result<()> {
        match codec::decode::<HubToNode>(frame)? {
            HubToNode::Ack { seq } => {
                self.acked = seq.0;
                while self.flying.front().is_some_and(|(last, _)| *last <= seq.0) {
                    self.flying.pop_front();
                }
                Ok(())
            }
            HubToNode::Ping { nonce } => self.write(&NodeToHub::Pong { nonce }).await,
            // There is no state to be sent: the load is of events.
            HubToNode::Resync => Ok(()),
            other => bail!("the hub sent {other:?}"),
        }
    }

    async fn write(&mut self, message: &NodeToHub) -> anyhow::Result<()> {
        let body: Bytes = codec::encode(message);
        let mut frame = BytesMut::with_capacity(body.len() + 4);
        frame.put_u32(u32::try_from(body.len())?);
        frame.put_slice(&body);
        self.writer.write_all(&frame).await?;
        Ok(self.writer.flush().await?)
    }
}
