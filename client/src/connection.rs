//! The task that owns a connection: it alone reads and writes the socket, and hands every message to the
//! request that it belongs to.
//!
//! What must not live here: what a message means. [`crate::client`], [`crate::run`] and
//! [`crate::subscription`] know that.
//!
//! A stream whose reader is slow fills its queue, and then nothing more is read from the socket until it
//! has room: the hub sees a slow client, and what it can no longer hold back it reports as a gap. A run
//! cannot do that to its neighbours, for its credit is smaller than its queue. A subscription that may be
//! read slowly belongs on a connection of its own.

use std::{
    collections::HashMap,
    io,
    pin::{Pin, pin},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures::{SinkExt, StreamExt as _, stream::FuturesUnordered};
use secmon_protocol::{
    codec::{self, Assembler, CodecError, Message as _},
    ids::RequestId,
    message::client::{ClientToHub, HubToClient},
};
use tokio::{
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::{mpsc, oneshot},
};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use crate::ClientError;

/// Requests on their way to the task. Callers wait when it is full; it is emptied as fast as the socket
/// takes bytes, so its depth only evens out bursts.
pub(crate) const OPS: usize = 32;
/// Messages between the task and the socket's writer; one at a time would do.
const OUTGOING: usize = 4;
/// A hub that closes has often said why: what it wrote before is still read for this long after a write
/// has failed.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(crate) type Frames = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;
pub(crate) type FrameSink = FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>;

/// What a handle asks of the task.
pub(crate) enum Op {
    /// A request with one answer.
    Ask { request: RequestId, message: ClientToHub, answer: oneshot::Sender<HubToClient> },
    /// A request with many answers. When `gone` resolves, its reader was dropped.
    Open {
        request: RequestId,
        message: ClientToHub,
        items: mpsc::Sender<HubToClient>,
        gone: oneshot::Receiver<()>,
    },
    /// A message that has no answer of its own: Credit, Cancel.
    Tell(ClientToHub),
}

/// Why a connection ended, for whoever still waits; written once, before any queue is closed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lost(Arc<OnceLock<ClientError>>);

impl Lost {
    /// The reason, once there is one.
    pub(crate) fn error(&self) -> ClientError {
        self.0.get().cloned().unwrap_or_else(|| closed("its task has ended"))
    }
}

pub(crate) fn closed(reason: &str) -> ClientError {
    ClientError::ConnectionLost { reason: reason.to_owned() }
}

pub(crate) fn malformed(error: &CodecError) -> ClientError {
    ClientError::Protocol { reason: error.to_string() }
}

/// Runs a connection after its handshake, until it breaks or nobody needs it any more.
pub(crate) async fn drive(reader: Reader, writer: FrameSink, mut ops: mpsc::Receiver<Op>, lost: Lost) {
    let (outgoing, messages) = mpsc::channel(OUTGOING);
    let mut exchange = Exchange { open: HashMap::new(), gone: FuturesUnordered::new(), stalled: None };
    let error = {
        let writing = pin!(write(writer, messages));
        let reading = pin!(exchange.run(reader, &mut ops, outgoing));
        tokio::select! {
            ended = reading => ended,
            error = writing => Some(error),
        }
    };
    if let Some(error) = error {
        tracing::debug!(%error, "connection to the hub ended");
        // Only this task writes it, once; the queues close behind it, at the end of this function.
        let _ = lost.0.set(error);
    }
}

async fn write(mut writer: FrameSink, mut messages: mpsc::Receiver<ClientToHub>) -> ClientError {
    while let Some(message) = messages.recv().await {
        if let Err(error) = send(&mut writer, &message).await {
            tokio::time::sleep(LAST_WORDS).await;
            return error;
        }
    }
    std::future::pending().await
}

/// Writes one message and flushes it.
pub(crate) async fn send(writer: &mut FrameSink, message: &ClientToHub) -> Result<(), ClientError> {
    for frame in codec::encode_frames(message).map_err(|e| malformed(&e))? {
        writer.feed(frame).await.map_err(|e: io::Error| closed(&e.to_string()))?;
    }
    SinkExt::<Bytes>::flush(writer).await.map_err(|e| closed(&e.to_string()))
}

/// The hub's messages, put together from frames.
pub(crate) struct Reader {
    frames: Frames,
    assembler: Assembler<HubToClient>,
}

impl Reader {
    pub(crate) fn new(frames: Frames) -> Self {
        Self { frames, assembler: Assembler::default() }
    }

    /// The next message. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<HubToClient, ClientError> {
        loop {
            let frame = match self.frames.next().await {
                None => return Err(closed("the hub closed it")),
                // The codec's only complaint of its own is a frame over the limit.
                Some(Err(e)) if e.kind() == io::ErrorKind::InvalidData => {
                    return Err(ClientError::Protocol { reason: e.to_string() });
                }
                Some(Err(e)) => return Err(closed(&e.to_string())),
                Some(Ok(frame)) => frame,
            };
            let frame = frame.freeze();
            let message = match HubToClient::sharing(&frame) {
                Some(message) => Some(message),
                None => self.assembler.push(&frame).map_err(|e| malformed(&e))?,
            };
            if let Some(message) = message {
                return Ok(message);
            }
        }
    }
}

enum Open {
    Once(oneshot::Sender<HubToClient>),
    Many(mpsc::Sender<HubToClient>),
}

type Gone = Pin<Box<dyn Future<Output = RequestId> + Send>>;

struct Exchange {
    open: HashMap<RequestId, Open>,
    /// Resolves as readers of streams are dropped.
    gone: FuturesUnordered<Gone>,
    /// A message that its reader had no room for; nothing is read until it has.
    stalled: Option<(mpsc::Sender<HubToClient>, HubToClient)>,
}

impl Exchange {
    /// The error that ended it; none when no handle is left and every stream is over.
    async fn run(
        &mut self,
        mut reader: Reader,
        ops: &mut mpsc::Receiver<Op>,
        outgoing: mpsc::Sender<ClientToHub>,
    ) -> Option<ClientError> {
        let mut unsent: Option<ClientToHub> = None;
        let mut handles = true;
        loop {
            if !handles && unsent.is_none() && self.nobody_waits() {
                return None;
            }
            tokio::select! {
                permit = outgoing.reserve(), if unsent.is_some() => match permit {
                    Ok(permit) => { if let Some(message) = unsent.take() { permit.send(message); } }
                    Err(_) => return Some(closed("its writer has ended")),
                },
                op = ops.recv(), if handles && unsent.is_none() => match op {
                    Some(op) => unsent = Some(self.begin(op)),
                    None => handles = false,
                },
                Some(request) = next_gone(&mut self.gone), if unsent.is_none() => {
                    if self.open.remove(&request).is_some() {
                        unsent = Some(ClientToHub::Cancel { request });
                    }
                    self.stalled.take_if(|(items, _)| items.is_closed());
                },
                () = room(self.stalled.as_ref()), if self.stalled.is_some() => self.retry(),
                message = reader.next(), if self.stalled.is_none() => match message {
                    Ok(message) => if let Some(error) = self.hand_over(message) { return Some(error) },
                    Err(error) => return Some(error),
                },
            }
        }
    }

    fn begin(&mut self, op: Op) -> ClientToHub {
        match op {
            Op::Ask { request, message, answer } => {
                self.forget_the_impatient();
                self.open.insert(request, Open::Once(answer));
                message
            }
            Op::Open { request, message, items, gone } => {
                self.open.insert(request, Open::Many(items));
                self.gone.push(Box::pin(async move {
                    // An error is the drop that is waited for.
                    let _ = gone.await;
                    request
                }));
                message
            }
            Op::Tell(message) => message,
        }
    }

    /// Forgets requests whose answers nobody waits for any more, so that a hub that owes answers cannot
    /// make the table grow.
    fn forget_the_impatient(&mut self) {
        self.open.retain(|_, open| !matches!(open, Open::Once(answer) if answer.is_closed()));
    }

    fn nobody_waits(&mut self) -> bool {
        self.forget_the_impatient();
        self.open.is_empty()
    }

    /// An error when the message has no place here.
    fn hand_over(&mut self, message: HubToClient) -> Option<ClientError> {
        let Some((request, last)) = address(&message) else {
            return Some(ClientError::Protocol { reason: "a greeting after the greeting".to_owned() });
        };
        match self.open.get(&request) {
            // Answers cross with a Cancel, or come after somebody stopped waiting: nothing is wrong.
            None => tracing::debug!(request = request.0, "answer to a request that is over"),
            Some(Open::Once(_)) => {
                if let Some(Open::Once(answer)) = self.open.remove(&request) {
                    // Whoever asked may have given up.
                    let _ = answer.send(message);
                }
            }
            Some(Open::Many(items)) => {
                if let Err(mpsc::error::TrySendError::Full(message)) = items.try_send(message) {
                    self.stalled = Some((items.clone(), message));
                }
                if last {
                    self.open.remove(&request);
                }
            }
        }
        None
    }

    fn retry(&mut self) {
        if let Some((items, message)) = self.stalled.take()
            && let Err(mpsc::error::TrySendError::Full(message)) = items.try_send(message)
        {
            self.stalled = Some((items, message));
        }
    }
}

/// The next dropped reader; never resolves to nothing while there are none, so that select can go on.
async fn next_gone(gone: &mut FuturesUnordered<Gone>) -> Option<RequestId> {
    if gone.is_empty() { None } else { gone.next().await }
}

/// Waits until the stalled stream has room, or no reader.
async fn room(stalled: Option<&(mpsc::Sender<HubToClient>, HubToClient)>) {
    if let Some((items, _)) = stalled {
        // Closed or free: either way the message can be got rid of.
        let _ = items.reserve().await;
    }
}

/// Which request a message belongs to, and whether it is the last one of it.
fn address(message: &HubToClient) -> Option<(RequestId, bool)> {
    use HubToClient as M;
    Some(match message {
        M::Welcome { .. } | M::Reject(_) | M::Fragment(_) => return None,
        M::Event { request, .. }
        | M::Subscribed { request, .. }
        | M::Gap { request, .. }
        | M::Progress { request, .. }
        | M::Started { request, .. }
        | M::StdinCredit { request, .. }
        | M::OutputMissing { request, .. }
        | M::Output { request, .. } => (*request, false),
        M::Nodes { request, .. }
        | M::Node { request, .. }
        | M::Exit { request, .. }
        | M::Enrolling { request, .. }
        | M::Job { request, .. }
        | M::Jobs { request, .. }
        | M::You { request, .. }
        | M::Removed { request, .. }
        | M::Error { request, .. } => (*request, true),
    })
}
