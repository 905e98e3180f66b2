//! A subscriber that does as little as it can: of each event it reads the node's id, the seq and the time, and
//! skips the rest, so that what is measured is the hub and not the one that listens.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail};
use bytes::{Buf as _, BytesMut};
use secmon_protocol::{
    codec,
    ids::RequestId,
    message::client::{ClientToHub, Filter, From, HubToClient},
};
use tokio::{io::AsyncReadExt as _, net::UnixStream, sync::watch, time::sleep};

use super::{fleet, now, tally::Tally};

/// Room for what is read at once.
const READ: usize = 256 << 10;
/// Nothing more comes when nothing has come for so long.
const QUIET: Duration = Duration::from_secs(10);
/// The variant of [`HubToClient::Event`]; see `EventHeader`.
const EVENT: u8 = 2;

/// A subscription that stands.
pub(crate) struct Subscriber {
    stream: UnixStream,
    read: BytesMut,
    /// What it got.
    pub(crate) tally: Tally,
    /// The node whose records are watched, and how long each took, in nanoseconds.
    watch: Option<u64>,
    pub(crate) watched: Vec<u64>,
}

impl Subscriber {
    /// Subscribes to the load's events by a filter that they match, on a connection of its own.
    pub(crate) async fn subscribe(socket: &Path) -> anyhow::Result<Self> {
        let mut conn = fleet::client(socket).await?;
        let filter = Filter { nodes: vec!["bench*".to_owned()], types: vec!["auth.*".to_owned()] };
        conn.send(&ClientToHub::Subscribe { request: RequestId(1), from: From::Now, filter }).await?;
        match conn.next().await? {
            HubToClient::Subscribed { .. } => {}
            other => bail!("no subscription but {other:?}"),
        }
        let stream = conn.into_inner();
        Ok(Self {
            stream,
            read: BytesMut::with_capacity(2 * READ),
            tally: Tally::default(),
            watch: None,
            watched: Vec::new(),
        })
    }

    /// Reads for ever, with an eye on one node: ends once `told` says how many events there were of all, and as many
    /// have come or been told as missing, or nothing more comes.
    pub(crate) async fn follow(
        &mut self,
        node: u64,
        mut told: watch::Receiver<Option<u64>>,
    ) -> anyhow::Result<()> {
        self.watch = Some(node);
        loop {
            let all = *told.borrow_and_update();
            if all.is_some_and(|all| self.tally.delivered + self.tally.gone >= all) {
                return Ok(());
            }
            tokio::select! {
                read = self.read() => read?,
                _ = told.changed(), if all.is_none() => {}
                () = sleep(QUIET), if all.is_some() => return Ok(()),
            }
        }
    }

    /// Reads what has come.
    async fn read(&mut self) -> anyhow::Result<()> {
        self.read.reserve(READ);
        let read = self.stream.read_buf(&mut self.read).await?;
        anyhow::ensure!(read > 0, "the hub closed a client's connection");
        self.take()
    }

    /// Reads until this many events have come, or been told as missing.
    pub(crate) async fn read_until(&mut self, delivered: u64) -> anyhow::Result<()> {
        while self.tally.delivered + self.tally.gone < delivered {
            self.read().await?;
        }
        Ok(())
    }

    /// Takes the frames that are whole.
    fn take(&mut self) -> anyhow::Result<()> {
        let came = (self.tally.latencies.is_some() || self.watch.is_some()).then(now);
        loop {
            let Some(head) = self.read.first_chunk::<4>() else { return Ok(()) };
            let len = u32::from_be_bytes(*head) as usize;
            let Some(frame) = self.read.get(4..4 + len) else { return Ok(()) };
            match frame.first() {
                Some(&EVENT) => {
                    let event = Event::of(&frame[1..]).context("an event that is none")?;
                    self.tally.record(event.node, event.seq);
                    let took = came.map_or(0, |came| u64::try_from(came - event.time).unwrap_or(0));
                    if let Some(latencies) = &mut self.tally.latencies {
                        latencies.push(took);
                    }
                    if self.watch == Some(event.node) {
                        self.watched.push(took);
                    }
                }
                _ => match codec::decode::<HubToClient>(frame)? {
                    HubToClient::Progress { .. } => {}
                    HubToClient::Gap { gap, .. } => {
                        if self.tally.gaps == 0 {
                            eprintln!("the first gap of a subscriber: {}", gap.reason);
                        }
                        self.tally.gaps += 1;
                        self.tally.gone += gap.to.n.saturating_sub(gap.after.n);
                    }
                    other => bail!("a subscriber got {other:?}"),
                },
            }
            self.read.advance(4 + len);
        }
    }
}

/// What is read of an event.
struct Event {
    node: u64,
    seq: u64,
    time: i64,
}

impl Event {
    /// The request and the record's length, then of the record: cursor (log, number), node, name, origin (node:
    /// epoch, seq), and of the envelope kind, version and time. Numbers are bincode's variable-length integers.
    fn of(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        for _request_len_log_number in 0..4 {
            number(bytes)?;
        }
        let node = u64::from_be_bytes(*skip(bytes, 16)?.last_chunk()?);
        let name = usize::try_from(number(bytes)?).ok()?;
        skip(bytes, name)?;
        // The load's events are all of nodes.
        if number(bytes)? != 0 {
            return None;
        }
        let (_epoch, seq) = (number(bytes)?, number(bytes)?);
        let (_kind, _version) = (number(bytes)?, number(bytes)?);
        let zigzag = number(bytes)?;
        let time = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
        Some(Self { node, seq, time })
    }
}

fn skip<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (skipped, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(skipped)
}

/// A variable-length integer of bincode's: below 251 itself, else a mark and 2, 4 or 8 bytes, little-endian.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let first = skip(bytes, 1)?[0];
    let more = match first {
        251 => 2,
        252 => 4,
        253 => 8,
        small => return Some(u64::from(small)),
    };
    let mut all = [0; 8];
    all[..more].copy_from_slice(skip(bytes, more)?);
    Some(u64::from_le_bytes(all))
}

#[cfg(test)]
mod tests {
    use secmon_protocol::{
        ids::{Cursor, Epoch, LogId, NodeId, Seq},
        record::{Envelope, LogRecord, Origin, RecordKind},
        time::UnixNanos,
    };

    use super::*;

    #[test]
    fn an_event_is_read_as_the_real_decoder_reads_it() {
        for (n, time) in [(1, 1_800_000_000_000_000_123), (300, -5), (70_000, 0), (u64::MAX, 1)] {
            let envelope = Envelope {
                kind: RecordKind::AUTH,
                version: 1,
                time: UnixNanos(time),
                types: vec!["auth.accepted".to_owned()],
                body: vec![1; 200].into(),
            };
            let record = LogRecord {
                cursor: Cursor { log: LogId(u64::MAX / 3), n },
                node: NodeId([7; 16]),
                name: "bench1".parse().unwrap(),
                origin: Origin::Node { epoch: Epoch(9), seq: Seq(n) },
                envelope,
            };
            let event = HubToClient::Event { request: RequestId(n), record: codec::encode(&record) };
            let bytes = codec::encode(&event);
            assert_eq!(bytes[0], EVENT);
            let event = Event::of(&bytes[1..]).unwrap();
            assert_eq!((event.node, event.seq, event.time), (0x0707_0707_0707_0707, n, time));
        }
    }
}
