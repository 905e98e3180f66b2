//! One connection: Hello, Welcome, and then two loops side by side, so that a hub that does not read cannot
//! keep the node from hearing it, nor the other way round.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use futures::future::BoxFuture;
use secmon_protocol::{
    ids::{Epoch, NodeId, Seq},
    message::node::{Hello, HubToNode, NodeToHub, Resume, Welcome},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

use super::dial::{LinkError, Reader, Writer};
use crate::{
    AGENT,
    actor::{Core, Ended, Head},
    core::Batch,
    facts,
    jobs::{Jobs, Linked},
    now,
};

/// How long the hub may take to answer a Hello.
const ANSWER: Duration = Duration::from_secs(15);
/// A side that hears nothing for this many heartbeats takes the other for gone.
const MISSED: u32 = 3;
/// The heartbeats that a hub may ask for.
const HEARTBEATS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// Bytes of records that wait for the hub's acknowledgement; the link fills and the hub's store keeps up,
/// and yet a record that comes late is not behind more than this.
const WINDOW: usize = 4 << 20;
/// Pongs that wait to be written. When it is full the reader waits as well.
const CONTROL: usize = 16;
/// So many messages of runs go out before a record gets its turn, so that a long output delays events but
/// never stops them.
const OUTPUT_IN_A_ROW: u32 = 8;
/// A clock that differs by less is not worth a word; the way to the hub and back is within it.
const CLOCK_TOLERANCE: i64 = 5_000_000_000;
/// For the last words on a connection that may be gone, and for a close_notify.
const GOODBYE: Duration = Duration::from_secs(1);

/// Runs a connection to its end.
pub(super) async fn session<S: AsyncRead + AsyncWrite>(
    stream: S,
    node: NodeId,
    address: &str,
    core: &Core,
    jobs: &Jobs,
    standing: &mut Option<Instant>,
) -> Result<Infallible, LinkError> {
    let (read, write) = tokio::io::split(stream);
    let (mut reader, mut writer) = (Reader::new(read), Writer::new(write));

    let opening = core.opening().await?;
    let hello = Hello {
        agent: AGENT.to_owned(),
        facts: facts::gather(),
        epoch: opening.epoch,
        oldest: opening.oldest,
        newest: opening.newest,
        clock: now(),
        extensions: Default::default(),
    };
    let greeting = async {
        writer.send(&NodeToHub::Hello(hello), ANSWER).await?;
        reader.next(ANSWER).await
    };
    let welcome = match timeout(ANSWER, greeting).await.unwrap_or(Err(LinkError::Silent(ANSWER)))? {
        HubToNode::Welcome(welcome) => welcome,
        HubToNode::Reject(refusal) => return Err(LinkError::Rejected(refusal)),
        _ => return Err(LinkError::Protocol("its first message is not Welcome".to_owned())),
    };
    let (sent, heartbeat) = check(&welcome, node, opening.oldest, opening.newest)?;
    *standing = Some(Instant::now());
    tracing::info!(%address, name = %welcome.name, "connected to the hub");
    let epoch = opening.epoch;
    if let Resume::After(seq) = welcome.resume {
        core.ack(epoch, seq);
    }
    let _listening = Listening::new(core);

    let (control, controls) = mpsc::channel(CONTROL);
    let Linked { hub, messages, mut violation } = jobs.link().await.ok_or(Ended)?;
    let (acked, acks) = watch::channel(sent);
    let sent = Sent(AtomicU64::new(sent.0));
    let patience = heartbeat * MISSED;
    let hear = Hearing { reader, core, epoch, runs: hub, control, acked, sent: &sent, patience };
    let speak =
        Speaking { writer: &mut writer, core, epoch, controls, messages, acks, sent: &sent, patience };
    let late = async {
        core.ended().await;
        sleep(GOODBYE).await;
    };
    let end = tokio::select! {
        () = late => LinkError::Ended(Ended),
        Ok(violation) = &mut violation => LinkError::Runs(violation),
        Err(end) = hear.run() => end,
        Err(end) = speak.run() => end,
    };
    let _ = timeout(GOODBYE, writer.close()).await;
    Err(end)
}

/// The last record that need not be sent, and the heartbeat.
fn check(welcome: &Welcome, node: NodeId, oldest: Seq, newest: Seq) -> Result<(Seq, Duration), LinkError> {
    if welcome.node != node {
        return Err(LinkError::Protocol(format!("it takes this node for {}", welcome.node)));
    }
    let offset = now().0.saturating_sub(welcome.clock.0);
    if offset.saturating_abs() > CLOCK_TOLERANCE {
        let seconds = offset / 1_000_000_000;
        tracing::warn!(
            seconds,
            "this server's clock is off, by the hub's; times that it reports are wrong by as much"
        );
    }
    let sent = match welcome.resume {
        Resume::After(seq) if seq > newest => {
            // Going on from there would drop what is appended until then.
            return Err(LinkError::Protocol(format!("it goes on after record {}, of {}", seq.0, newest.0)));
        }
        Resume::After(seq) => seq,
        Resume::Oldest => Seq(oldest.0.saturating_sub(1)),
    };
    let heartbeat = Duration::from_millis(welcome.heartbeat_ms.into());
    Ok((sent, heartbeat.clamp(*HEARTBEATS.start(), *HEARTBEATS.end())))
}

/// The last record that was sent: the writer moves it, the reader checks acknowledgements against it.
struct Sent(AtomicU64);

impl Sent {
    fn get(&self) -> Seq {
        Seq(self.0.load(Relaxed))
    }

    fn set(&self, seq: Seq) {
        self.0.store(seq.0, Relaxed);
    }
}

struct Hearing<'a, R> {
    reader: Reader<R, HubToNode>,
    core: &'a Core,
    epoch: Epoch,
    runs: mpsc::Sender<HubToNode>,
    control: mpsc::Sender<NodeToHub>,
    acked: watch::Sender<Seq>,
    sent: &'a Sent,
    patience: Duration,
}

impl<R: AsyncRead + Unpin> Hearing<'_, R> {
    async fn run(mut self) -> Result<Infallible, LinkError> {
        loop {
            match self.reader.next(self.patience).await? {
                message @ HubToNode::Ping { nonce } => {
                    // The writer takes it as long as the connection stands, and ends with it.
                    let _ = self.control.send(NodeToHub::Pong { nonce }).await;
                    self.pass(message).await?;
                }
                HubToNode::Ack { seq } if seq > self.sent.get() => {
                    return Err(LinkError::Protocol(format!(
                        "it acknowledges record {}, which was not sent",
                        seq.0
                    )));
                }
                HubToNode::Ack { seq } => {
                    self.core.ack(self.epoch, seq);
                    self.acked.send_replace(seq);
                }
                HubToNode::Resync => self.core.resync(),
                message @ (HubToNode::Run(_)
                | HubToNode::Credit { .. }
                | HubToNode::Cancel { .. }
                | HubToNode::Stdin { .. }
                | HubToNode::Resume { .. }
                | HubToNode::Forget { .. }) => self.pass(message).await?,
                HubToNode::Reject(refusal) => return Err(LinkError::Rejected(refusal)),
                HubToNode::Welcome(_) => return Err(LinkError::Protocol("it says Welcome twice".to_owned())),
                HubToNode::Fragment(_) => {
                    return Err(LinkError::Protocol("a fragment where there is none".to_owned()));
                }
            }
        }
    }

    /// To the jobs. They take no more once they have found a violation, which ends the connection.
    async fn pass(&self, message: HubToNode) -> Result<(), LinkError> {
        match self.runs.send(message).await {
            Ok(()) => Ok(()),
            Err(_) => std::future::pending().await,
        }
    }
}

struct Speaking<'a, W> {
    writer: &'a mut Writer<W>,
    core: &'a Core,
    epoch: Epoch,
    controls: mpsc::Receiver<NodeToHub>,
    messages: mpsc::Receiver<NodeToHub>,
    acks: watch::Receiver<Seq>,
    sent: &'a Sent,
    patience: Duration,
}

impl<W: AsyncWrite + Unpin> Speaking<'_, W> {
    /// Control first, then output, then records. Records are fetched beside all that, for they may lie on a
    /// disk that hangs.
    async fn run(mut self) -> Result<Infallible, LinkError> {
        let (core, epoch) = (self.core, self.epoch);
        let mut head = core.head();
        let mut in_flight = InFlight::default();
        let mut outputs_in_a_row = 0;
        let fetch = async |after| core.batch(epoch, after).await;
        let mut fetching: Option<BoxFuture<'_, Result<Option<Batch>, Ended>>> = None;
        loop {
            let room = in_flight.bytes < WINDOW;
            let waiting = room && head.borrow().newest > self.sent.get();
            tokio::select! {
                biased;
                Some(message) = self.controls.recv() => self.send(&message).await?,
                // Before output: it makes room for records, and costs nothing.
                Ok(()) = self.acks.changed() => in_flight.acked(*self.acks.borrow_and_update()),
                Some(message) = self.messages.recv(), if !(waiting && outputs_in_a_row >= OUTPUT_IN_A_ROW) => {
                    outputs_in_a_row += 1;
                    // Small ones go together.
                    let mut more = self.writer.put(&message)?;
                    while more && outputs_in_a_row < OUTPUT_IN_A_ROW && let Ok(message) = self.messages.try_recv() {
                        outputs_in_a_row += 1;
                        more = self.writer.put(&message)?;
                    }
                    self.writer.flush(self.patience).await?;
                }
                // How runs ended has been said by then.
                () = core.ended(), if self.messages.is_empty() => return Err(LinkError::Ended(Ended)),
                batch = fetched(&mut fetching), if fetching.is_some() => {
                    fetching = None;
                    outputs_in_a_row = 0;
                    let Some(batch) = batch? else { continue };
                    in_flight.sent(batch.last, batch.list.len());
                    // Before the send, not after: the hub may acknowledge it while this side still flushes.
                    self.sent.set(batch.last);
                    self.send(&NodeToHub::Records(batch.list)).await?;
                }
                news = newer(&mut head, epoch, self.sent.get()), if room && fetching.is_none() => match news {
                    Some(News::Records) => fetching = Some(Box::pin(fetch(self.sent.get()))),
                    Some(News::Epoch) => return Err(LinkError::Renumbered),
                    None => return Err(LinkError::Ended(Ended)),
                },
                else => return Err(LinkError::Ended(Ended)),
            }
        }
    }

    async fn send(&mut self, message: &NodeToHub) -> Result<(), LinkError> {
        self.writer.send(message, self.patience).await
    }
}

/// The batch that is being fetched.
async fn fetched<T>(fetching: &mut Option<BoxFuture<'_, T>>) -> T {
    match fetching {
        Some(fetching) => fetching.await,
        None => std::future::pending().await,
    }
}

/// Why to look again.
enum News {
    Records,
    Epoch,
}

/// Waits for a record after `sent`, or for another epoch; nothing when the core has ended. The value's lock is
/// let go before this returns: the core's task needs it to say that there are more.
async fn newer(head: &mut watch::Receiver<Head>, epoch: Epoch, sent: Seq) -> Option<News> {
    let head = head.wait_for(|head| head.epoch != epoch || head.newest > sent).await.ok()?;
    Some(if head.epoch == epoch { News::Records } else { News::Epoch })
}

/// As long as it lives, a hub listens.
struct Listening<'a>(&'a Core);

impl<'a> Listening<'a> {
    fn new(core: &'a Core) -> Self {
        core.linked(true);
        Self(core)
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.linked(false);
    }
}

/// Batches that were sent and not acknowledged.
#[derive(Debug, Default)]
struct InFlight {
    batches: VecDeque<(Seq, usize)>,
    bytes: usize,
}

impl InFlight {
    fn sent(&mut self, last: Seq, bytes: usize) {
        self.batches.push_back((last, bytes));
        self.bytes += bytes;
    }

    fn acked(&mut self, seq: Seq) {
        while let Some((_, bytes)) = self.batches.pop_front_if(|(last, _)| *last <= seq) {
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
