//! Turns for listeners that are behind the ring: each has a connection of its own to the hub, so only some may have one at
//! once, and of one who asks only a part of them. The others wait in order; nobody keeps a turn that others wait for, least of all one that does not read.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
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

use crate::access::{Id, Principal};

/// Listeners that catch up at once. The hub lets a user have 128 connections, and runs need some of them; after a restart of
/// the bridge a thousand browsers come back at once, each a moment's work.
const TURNS: usize = 24;
/// Of them, of one token or user: whoever has thousands of listeners that read slowly keeps nobody else's page from opening.
const OF_ONE: usize = TURNS / 2;
/// A turn is given up after that long if others wait.
const TURN: Duration = Duration::from_secs(10);
/// One that takes nothing for that long loses its turn, and gets another one when it reads on.
const IDLE: Duration = Duration::from_secs(10);

/// All turns.
#[derive(Debug)]
pub(crate) struct CatchUps {
    turns: Arc<Semaphore>,
    /// Of each who has some, or waits.
    of_one: Mutex<HashMap<Id, Weak<Semaphore>>>,
    waiting: Arc<AtomicUsize>,
    begun: AtomicU64,
}

impl CatchUps {
    pub(crate) fn new() -> Self {
        let turns = Arc::new(Semaphore::new(TURNS));
        Self { turns, of_one: Mutex::default(), waiting: Arc::default(), begun: AtomicU64::new(0) }
    }

    fn own(&self, who: &Principal) -> Arc<Semaphore> {
        let mut all = self.of_one.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get(&who.id()).and_then(Weak::upgrade) {
            return own;
        }
        all.retain(|_, own| own.strong_count() > 0);
        let own = Arc::new(Semaphore::new(OF_ONE));
        all.insert(who.id(), Arc::downgrade(&own));
        own
    }

    /// A turn at once, if one is free and nobody waits.
    pub(crate) fn now(&self, who: &Principal) -> Option<Permit> {
        let own = self.own(who).try_acquire_owned().ok()?;
        Some(Permit { _turn: self.turns.clone().try_acquire_owned().ok()?, _own: own })
    }

    /// A place in the queue.
    pub(crate) fn queue(&self, who: &Principal) -> Turn {
        let (own, turns, waits) = (self.own(who), self.turns.clone(), Waits::new(&self.waiting));
        Box::pin(async move {
            // First among one's own, so that of one only so many stand in the others' way.
            let own = own.acquire_owned().await.ok()?;
            let turn = turns.acquire_owned().await.ok()?;
            drop(waits);
            Some(Permit { _turn: turn, _own: own })
        })
    }

    /// Catches up.
    pub(crate) fn lease(&self, permit: Permit, follow: Follow) -> Lease {
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

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _turn: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

/// A place in the queue; the turn is none only where there will be none any more.
pub(crate) type Turn = Pin<Box<dyn Future<Output = Option<Permit>> + Send>>;

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
    _permit: Permit,
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

    /// Keeps the turn for what it has brought and was not given out yet; false where the turn was lost.
    pub(crate) fn keep(&self) -> bool {
        let mut held = lock(&self.held);
        let Some(held) = held.as_mut() else { return false };
        held.touched = Instant::now();
        true
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

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use secmon_protocol::message::client::Role;

    use super::*;
    use crate::access::By;

    /// One token had all turns and the queue before them, and nobody else's page opened for as long as it wanted.
    #[test]
    fn one_who_has_many_listeners_takes_no_turn_that_others_need() {
        let who = |name| Principal::new(By::Token, name, Role::Viewer, &[], &[]);
        let (catch_ups, many, other) = (CatchUps::new(), who("many"), who("other"));
        let mut taken: Vec<Permit> = (0..100).filter_map(|_| catch_ups.now(&many)).collect();
        let mut queue: Vec<Turn> = (0..100).map(|_| catch_ups.queue(&many)).collect();
        assert!(queue.iter_mut().all(|turn| turn.now_or_never().is_none()));
        assert_eq!(taken.len(), OF_ONE);
        assert!(catch_ups.now(&other).is_some());
        assert!(catch_ups.queue(&other).now_or_never().flatten().is_some());
        // His own are taken in order.
        taken.pop();
        assert!(queue.pop().unwrap().now_or_never().is_none());
        assert!(queue[0].as_mut().now_or_never().flatten().is_some());
        drop((taken, queue));
        assert!(catch_ups.now(&who("third")).is_some());
        assert_eq!(catch_ups.of_one.lock().unwrap().len(), 1, "who has none is forgotten");
    }
}
