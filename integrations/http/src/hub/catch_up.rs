//! Turns for listeners that are behind the ring: each has a connection of its own to the hub, so only some may have one at
//! once. The others wait in order; nobody keeps a turn that others wait for, least of all one that does not read.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures::Stream as _;
use secmon_client::{ClientError, Follow, Update};
use secmon_protocol::ids::LogId;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

/// Listeners that catch up at once. The hub lets a user have 128 connections, and runs need some of them; after a restart of
/// the bridge a thousand browsers come back at once, each a moment's work.
const TURNS: usize = 24;
/// A turn is given up after that long if others wait.
const TURN: Duration = Duration::from_secs(10);
/// One that takes nothing for that long loses its turn, and gets another one when it reads on.
const IDLE: Duration = Duration::from_secs(10);

/// All turns.
#[derive(Debug)]
pub(crate) struct CatchUps {
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    begun: AtomicU64,
}

impl CatchUps {
    pub(crate) fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(TURNS)), waiting: Arc::default(), begun: AtomicU64::new(0) }
    }

    /// A turn at once, if one is free and nobody waits.
    pub(crate) fn now(&self) -> Option<OwnedSemaphorePermit> {
        self.turns.clone().try_acquire_owned().ok()
    }

    /// A place in the queue.
    pub(crate) fn queue(&self) -> Turn {
        let (turns, waits) = (self.turns.clone(), Waits::new(&self.waiting));
        Box::pin(async move {
            let permit = turns.acquire_owned().await.ok();
            drop(waits);
            permit
        })
    }

    /// Catches up.
    pub(crate) fn lease(&self, permit: OwnedSemaphorePermit, follow: Follow) -> Lease {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let held = Arc::new(Mutex::new(Some(Held { follow, _permit: permit, touched: Instant::now() })));
        let reaper = tokio::spawn(reap(held.clone()));
        Lease { held, reaper, since: Instant::now(), waiting: self.waiting.clone() }
    }

    /// How many were begun, and how many there are.
    pub(crate) fn counts(&self) -> (u64, usize, usize) {
        let running = TURNS.saturating_sub(self.turns.available_permits());
        (self.begun.load(Ordering::Relaxed), running, self.waiting.load(Ordering::Relaxed))
    }
}

/// A place in the queue; the turn is none only where there will be none any more.
pub(crate) type Turn = Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>;

/// Counts one that waits.
struct Waits(Arc<AtomicUsize>);

impl Waits {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Held {
    follow: Follow,
    _permit: OwnedSemaphorePermit,
    /// When its listener asked for more.
    touched: Instant,
}

/// A turn, with the subscription of its listener.
#[derive(Debug)]
pub(crate) struct Lease {
    held: Arc<Mutex<Option<Held>>>,
    reaper: JoinHandle<()>,
    since: Instant,
    waiting: Arc<AtomicUsize>,
}

impl Lease {
    /// What the hub calls its log; none before it was reached.
    pub(crate) fn log(&self) -> Option<LogId> {
        lock(&self.held).as_ref().and_then(|held| held.follow.log())
    }

    /// Whether it has lasted long enough, for others wait.
    pub(crate) fn is_over(&self) -> bool {
        self.since.elapsed() >= TURN && self.waiting.load(Ordering::Relaxed) > 0
    }

    /// The next update; none where the turn was lost. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Option<Result<Update, ClientError>> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Update, ClientError>>> {
        let mut held = lock(&self.held);
        let Some(held) = held.as_mut() else { return Poll::Ready(None) };
        held.touched = Instant::now();
        Pin::new(&mut held.follow).poll_next(cx)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.reaper.abort();
        lock(&self.held).take();
    }
}

/// Takes the turn from a listener that does not ask for more. Whoever waits for the hub asks again at every sign of life,
/// so an idle hub takes no turn from anybody.
async fn reap(held: Arc<Mutex<Option<Held>>>) {
    loop {
        let Some(touched) = lock(&held).as_ref().map(|held| held.touched) else { return };
        if touched.elapsed() >= IDLE {
            tracing::debug!("a listener that catches up does not read, and loses its turn");
            lock(&held).take();
            return;
        }
        sleep_until(touched + IDLE).await;
    }
}

fn lock(held: &Mutex<Option<Held>>) -> MutexGuard<'_, Option<Held>> {
    // What is in it is whole: nothing panics between two changes.
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
