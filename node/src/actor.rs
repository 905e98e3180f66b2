//! The one task that owns the [`NodeCore`]: watchers send it observations, the link asks it for records.

use std::time::Duration;

use secmon_protocol::{ids::Seq, limits::BATCH_TARGET, time::UnixNanos};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    core::{Batch, NodeCore, Opening},
    watch::Observation,
};

/// Requests of the link that may wait; it has one open at a time, and acks are small.
const REQUESTS: usize = 64;
/// How long the first snapshot waits for a watcher that has not spoken yet.
const SETTLE: Duration = Duration::from_secs(5);

enum Request {
    Opening(oneshot::Sender<Opening>),
    Batch(Seq, oneshot::Sender<Option<Batch>>),
    Ack(Seq),
    Resync,
}

/// A cheap handle to the core.
#[derive(Debug, Clone)]
pub struct Core {
    requests: mpsc::Sender<Request>,
    newest: watch::Receiver<Seq>,
}

/// The core has ended, because the node is shutting down.
#[derive(Debug, thiserror::Error)]
#[error("the node is shutting down")]
pub struct Ended;

impl Core {
    /// What to say in a Hello.
    ///
    /// # Errors
    /// The node is shutting down.
    pub async fn opening(&self) -> Result<Opening, Ended> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Opening(reply)).await.map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)
    }

    /// The next records after `after`.
    ///
    /// # Errors
    /// The node is shutting down.
    pub async fn batch(&self, after: Seq) -> Result<Option<Batch>, Ended> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Batch(after, reply)).await.map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)
    }

    /// The hub keeps everything up to and with `seq`.
    ///
    /// # Errors
    /// The node is shutting down.
    pub async fn ack(&self, seq: Seq) -> Result<(), Ended> {
        self.requests.send(Request::Ack(seq)).await.map_err(|_| Ended)
    }

    /// The hub asks for a snapshot.
    ///
    /// # Errors
    /// The node is shutting down.
    pub async fn resync(&self) -> Result<(), Ended> {
        self.requests.send(Request::Resync).await.map_err(|_| Ended)
    }

    /// Waits until the core has ended.
    pub async fn ended(&self) {
        self.requests.closed().await;
    }

    /// The newest record, to wait for a newer one.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<Seq> {
        self.newest.clone()
    }
}

/// A handle, and the task to be spawned; it ends with `cancel`.
pub fn core(
    core: NodeCore,
    observations: mpsc::Receiver<Observation>,
    clock: fn() -> UnixNanos,
    cancel: CancellationToken,
) -> (Core, impl Future<Output = ()>) {
    let (requests, incoming) = mpsc::channel(REQUESTS);
    let (newest, newest_seen) = watch::channel(core.newest());
    let task = own(core, observations, incoming, newest, clock, cancel);
    (Core { requests, newest: newest_seen }, task)
}

async fn own(
    mut core: NodeCore,
    mut observations: mpsc::Receiver<Observation>,
    mut requests: mpsc::Receiver<Request>,
    newest: watch::Sender<Seq>,
    clock: fn() -> UnixNanos,
    cancel: CancellationToken,
) {
    let settle_by = Instant::now() + SETTLE;
    let mut settled = false;
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            Some(request) = requests.recv() => match request {
                // Whoever asked may have gone in the meantime; then nobody needs the answer.
                Request::Opening(reply) => drop(reply.send(core.opening())),
                Request::Batch(after, reply) => drop(reply.send(core.batch(after, BATCH_TARGET))),
                Request::Ack(seq) => core.ack(seq),
                Request::Resync => core.resync(clock()),
            },
            Some(observation) = observations.recv() => {
                core.observe(observation, clock());
                settled |= core.settled();
            }
            () = tokio::time::sleep_until(settle_by), if !settled => {
                tracing::warn!("a watcher has not reported yet; the first snapshot goes without it");
                settled = true;
                core.stop_waiting(clock());
            }
            else => return,
        }
        let seq = core.newest();
        newest.send_if_modified(|held| std::mem::replace(held, seq) != seq);
    }
}
