//! The one task that owns the core and its shelf: watchers send it observations, the link asks it for records.
//!
//! It runs on a thread of its own, so that a disk that hangs stops neither heartbeats nor commands. What it is
//! told at once it writes at once, and only then tells the link that there are records.

use std::time::Duration;

use secmon_protocol::{
    ids::{Epoch, Seq},
    limits::BATCH_TARGET,
    time::UnixNanos,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    core::{Batch, Now, Opening},
    outbox::Keeper,
    watch::Observation,
};

/// Requests of the link that may wait; it has one open at a time.
const REQUESTS: usize = 8;
/// How long the first word on the state waits for a watcher that has not spoken yet.
const SETTLE: Duration = Duration::from_secs(5);
/// Observations that are written in one transaction at most, so that the link gets its turn.
const TOGETHER: usize = 256;
/// How long places of sources and acknowledgements wait for something else to be written.
const LAZY: Duration = Duration::from_secs(1);

enum Request {
    Opening(oneshot::Sender<Opening>),
    Batch(Epoch, Seq, oneshot::Sender<Option<Batch>>),
}

/// What the link tells, of which only the latest counts, so that telling never waits.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    acked: Option<(Epoch, Seq)>,
    /// How often a snapshot was asked for.
    resyncs: u64,
    /// Whether a hub listens.
    linked: bool,
}

/// What there is for the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The numbering; another one ends the connection, which was opened for this one.
    pub epoch: Epoch,
    /// The newest record.
    pub newest: Seq,
    /// How many records wait for their acknowledgement.
    pub held: usize,
    /// Whether nothing more will come, because all watchers have ended.
    pub complete: bool,
}

/// A cheap handle to the core.
#[derive(Debug, Clone)]
pub struct Core {
    requests: mpsc::Sender<Request>,
    head: watch::Receiver<Head>,
    said: watch::Sender<Said>,
    end: CancellationToken,
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

    /// The next records of `epoch` after `after`; none when the epoch is another by now.
    ///
    /// # Errors
    /// The node is shutting down.
    pub async fn batch(&self, epoch: Epoch, after: Seq) -> Result<Option<Batch>, Ended> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Batch(epoch, after, reply)).await.map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)
    }

    /// The hub keeps everything of `epoch` up to and with `seq`.
    pub fn ack(&self, epoch: Epoch, seq: Seq) {
        self.said.send_modify(|said| said.acked = Some((epoch, seq)));
    }

    /// The hub asks for a snapshot.
    pub fn resync(&self) {
        self.said.send_modify(|said| said.resyncs += 1);
    }

    /// Whether a hub listens from now on.
    pub fn linked(&self, linked: bool) {
        self.said.send_modify(|said| said.linked = linked);
    }

    /// Waits until the link ought to end: after [`Self::end`], or when the core has ended.
    pub async fn ended(&self) {
        tokio::select! {
            () = self.end.cancelled() => {}
            () = self.requests.closed() => {}
        }
    }

    /// The link ought to end.
    pub fn end(&self) {
        self.end.cancel();
    }

    /// Waits until nothing more will come, and the hub has everything or is not there to take it. Whether it has
    /// everything.
    pub async fn drained(&self) -> bool {
        let (mut head, mut said) = (self.head.clone(), self.said.subscribe());
        loop {
            let (now, linked) = (*head.borrow_and_update(), said.borrow_and_update().linked);
            if now.complete && (now.held == 0 || !linked) {
                return now.held == 0;
            }
            tokio::select! {
                Ok(()) = head.changed() => {}
                Ok(()) = said.changed() => {}
                else => return false,
            }
        }
    }

    /// What there is, to wait for more.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<Head> {
        self.head.clone()
    }
}

/// What watchers send: of the state, and of the auth log apart from it, because old lines of that may have to
/// wait.
#[derive(Debug)]
pub struct Observed {
    /// Sessions, peers, and all that is seldom.
    pub state: mpsc::Receiver<Observation>,
    /// Events.
    pub auth: mpsc::Receiver<Observation>,
}

/// A handle, and the task that owns the core. It ends with `stop`, after a last write.
pub fn core(
    keeper: Keeper,
    observed: Observed,
    clock: Clock,
    stop: CancellationToken,
) -> (Core, impl Future<Output = ()> + Send) {
    let (requests, incoming) = mpsc::channel(REQUESTS);
    let (head, head_seen) = watch::channel(head_of(&keeper, false));
    let (said, hear) = watch::channel(Said::default());
    let owner = Owner { keeper, observed, requests: incoming, hear, resyncs: 0, head, clock };
    (Core { requests, head: head_seen, said, end: CancellationToken::new() }, owner.run(stop))
}

fn head_of(keeper: &Keeper, complete: bool) -> Head {
    let core = &keeper.core;
    Head { epoch: core.epoch(), newest: core.newest(), held: core.held(), complete }
}

/// Both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    wall: fn() -> UnixNanos,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn new(wall: fn() -> UnixNanos) -> Self {
        Self { start: Instant::now(), wall }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { mono: self.start.elapsed(), unix: (self.wall)() }
    }

    fn at(&self, mono: Duration) -> Instant {
        self.start + mono
    }
}

struct Owner {
    keeper: Keeper,
    observed: Observed,
    requests: mpsc::Receiver<Request>,
    hear: watch::Receiver<Said>,
    /// Those that were answered.
    resyncs: u64,
    head: watch::Sender<Head>,
    clock: Clock,
}

impl Owner {
    async fn run(mut self, stop: CancellationToken) {
        let settle_by = Instant::now() + SETTLE;
        let mut settled = false;
        // When what may wait is written.
        let mut lazy: Option<Instant> = None;
        // The queues, until all who send into them have ended.
        let (mut state, mut auth) = (true, true);
        loop {
            let paused = self.keeper.core.pause(self.clock.now());
            let due = [
                lazy,
                self.keeper.deadline().map(|mono| self.clock.at(mono)),
                paused.map(|pause| Instant::now() + pause),
                (!settled).then_some(settle_by),
            ];
            let due = due.into_iter().flatten().min();
            tokio::select! {
                () = stop.cancelled() => break,
                Some(request) = self.requests.recv() => self.answer(request),
                Ok(()) = self.hear.changed() => self.listen(),
                observation = self.observed.state.recv(), if state => match observation {
                    Some(observation) => self.keeper.core.observe(observation, self.clock.now()),
                    None => state = false,
                },
                observation = self.observed.auth.recv(), if auth && paused.is_none() => match observation {
                    Some(observation) => self.keeper.core.observe(observation, self.clock.now()),
                    None => auth = false,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            self.take_more();
            let now = self.clock.now();
            self.keeper.tick(now);
            if !settled && self.keeper.core.settled() {
                settled = true;
            } else if !settled && Instant::now() >= settle_by {
                tracing::warn!("a watcher has not reported yet; the first report goes without it");
                settled = true;
                self.keeper.core.stop_waiting(now);
            }
            lazy = match lazy {
                _ if !self.keeper.core.is_dirty() => None,
                None => Some(Instant::now() + LAZY),
                held => held,
            };
            if self.keeper.core.is_urgent() || lazy.is_some_and(|at| at <= Instant::now()) {
                self.keeper.commit(now);
                lazy = None;
            }
            let head = head_of(&self.keeper, !state && !auth);
            self.head.send_if_modified(|held| std::mem::replace(held, head) != head);
        }
        self.keeper.commit(self.clock.now());
    }

    /// What has come meanwhile goes into the same transaction.
    fn take_more(&mut self) {
        let now = self.clock.now();
        for _ in 0..TOGETHER {
            let state = self.observed.state.try_recv().ok();
            let auth = match self.keeper.core.pause(now) {
                None => self.observed.auth.try_recv().ok(),
                Some(_) => None,
            };
            if state.is_none() && auth.is_none() {
                return;
            }
            state.into_iter().chain(auth).for_each(|one| self.keeper.core.observe(one, now));
        }
    }

    fn answer(&mut self, request: Request) {
        let core = &self.keeper.core;
        // Whoever asked may have gone in the meantime; then nobody needs the answer.
        match request {
            Request::Opening(reply) => drop(reply.send(core.opening())),
            Request::Batch(epoch, _, reply) if epoch != core.epoch() => drop(reply.send(None)),
            Request::Batch(_, after, reply) => {
                drop(reply.send(self.keeper.batch(after, BATCH_TARGET, self.clock.now())));
            }
        }
    }

    fn listen(&mut self) {
        let said = *self.hear.borrow_and_update();
        if let Some((epoch, seq)) = said.acked {
            self.keeper.core.ack(epoch, seq);
        }
        if std::mem::replace(&mut self.resyncs, said.resyncs) != said.resyncs {
            self.keeper.core.resync(self.clock.now());
        }
    }
}

/// A handle whose other end a test plays.
#[cfg(test)]
pub(crate) fn fake() -> (Core, Fake) {
    let (requests, incoming) = mpsc::channel(REQUESTS);
    let (head, seen) = watch::channel(Head { epoch: Epoch(1), newest: Seq(0), held: 0, complete: false });
    let said = watch::Sender::new(Said::default());
    (Core { requests, head: seen, said, end: CancellationToken::new() }, Fake { incoming, head })
}

/// See [`fake`].
#[cfg(test)]
pub(crate) struct Fake {
    incoming: mpsc::Receiver<Request>,
    head: watch::Sender<Head>,
}

#[cfg(test)]
impl Fake {
    /// Answers what a Hello needs.
    pub(crate) async fn open(&mut self, epoch: Epoch) {
        let Some(Request::Opening(reply)) = self.incoming.recv().await else { return };
        let _ = reply.send(Opening { epoch, oldest: Seq(1), newest: Seq(0) });
    }

    /// Begins another epoch.
    pub(crate) fn turn_to(&self, epoch: Epoch) {
        self.head.send_modify(|head| head.epoch = epoch);
    }
}

#[cfg(test)]
mod tests {
    use secmon_protocol::{
        auth::{AuthAction, AuthEvent},
        facet::Facet,
    };

    use super::*;
    use crate::core::{Limits, Start};

    fn old_event() -> Observation {
        Observation::Auth(Box::new(AuthEvent::new(UnixNanos(1), "sshd", None, AuthAction::Failed, "x")))
    }

    #[tokio::test(start_paused = true)]
    async fn old_lines_wait_for_the_limit_and_keep_nothing_else_waiting() {
        let (see, state) = mpsc::channel(64);
        let (read, auth) = mpsc::channel(8);
        let clock = Clock::new(|| UnixNanos(1_000));
        let limits = Limits { events_per_second: 1, events_burst: Some(1) };
        let start = Start { fresh: Epoch(1), boot: None, capacity: 1 << 20, limits, now: clock.now() };
        let stop = CancellationToken::new();
        let (core, task) = core(Keeper::in_memory(start), Observed { state, auth }, clock, stop.clone());
        let task = tokio::spawn(task);
        let began = Instant::now();
        let reader = tokio::spawn(async move {
            for _ in 0..30 {
                read.send(old_event()).await.unwrap();
            }
        });
        for _ in 0..30 {
            see.send(Observation::WgPeers(Facet::NotMonitored)).await.unwrap();
        }
        see.send(Observation::Sessions(Facet::NotMonitored)).await.unwrap();
        see.send(Observation::AuthLog(Facet::NotMonitored)).await.unwrap();
        let mut head = core.head();
        // The snapshot, long before the lines.
        head.wait_for(|head| head.newest > Seq(0)).await.unwrap();
        while see.capacity() < 64 {
            tokio::task::yield_now().await;
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        reader.await.unwrap();
        head.wait_for(|head| head.newest == Seq(31)).await.unwrap();
        assert!(began.elapsed() > Duration::from_secs(20), "{:?}", began.elapsed());
        stop.cancel();
        task.await.unwrap();
    }
}
