//! One listener: a place in the ring, or behind it a subscription of its own until it has caught up.
//!
//! Every record is told once and in order over the change between the two: it leaves its own subscription for the ring, and the
//! ring for a subscription, at a cursor up to which everything was told.

use std::{pin::Pin, sync::Arc, time::Duration, vec};

use futures::FutureExt as _;
use secmon_client::{ClientError, Follow, Update};
use secmon_protocol::{
    ids::Cursor,
    message::client::{From as StartFrom, NodeDetail},
    time::UnixNanos,
};
use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    AGENT, Hub,
    catch_up::{Lease, Turn},
    counts::Listening,
    entry::Entry,
    now,
    ring::Found,
    selection::{Picked, Selection},
};

/// Entries that are taken at once. They are held while they are written, beyond the ring's own bound.
const PORTION: usize = 128;
/// Nodes of a snapshot that are rendered at once.
const NODES: usize = 16;
/// A listener is told where it stands after so many entries that it did not want, so that it never resumes far behind.
const PROGRESS_AFTER: usize = 1024;
/// Nothing else for so long: a sign of life, below the 30 to 60 s after which proxies end an idle connection. Also below the
/// time after which an idle turn is lost.
const QUIET: Duration = Duration::from_secs(15);
/// While it catches up it is looked after more often than that.
const LOOK: Duration = Duration::from_secs(3);
/// How long one that is ahead of the ring waits for it before it goes on by itself. The ring has its own connection to the
/// hub, and is a moment behind at most.
const RING_WITHIN: Duration = Duration::from_secs(2);

/// What a listener is told.
#[derive(Debug)]
pub(crate) enum Said {
    /// Events of one record.
    Record(Picked),
    /// What stands. Its place is told behind all of it, as Progress.
    State(Picked),
    /// Nothing else up to this place.
    Progress(Cursor),
}

/// How it goes on.
#[derive(Debug)]
pub(crate) enum Next {
    /// With this; one thing at least.
    Said(Vec<Said>),
    /// Nothing for [`QUIET`], less a second at most.
    Quiet,
    /// It is over, and why.
    Over(Over),
}

/// Why a listener gets no more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Over {
    /// The bridge stops.
    #[error("the bridge is stopped; connect again in a moment")]
    Stopped,
    /// Who listens may no longer.
    #[error("the token or the session has ended")]
    Ended,
    /// What stands was fetched for it, and it took too little of it for too long.
    #[error("what stands was read too slowly; connect again")]
    Slow,
    /// The hub refuses.
    #[error("{0}")]
    Refused(ClientError),
}

/// A listener.
pub(crate) struct Listener {
    walk: Walk,
    /// The last cursor that was told.
    told: Option<Cursor>,
    /// When it was told something last.
    spoke: Instant,
    /// Looks at that. It is not set anew with each event, but finds out when it rings.
    quiet: Pin<Box<Sleep>>,
    /// Waited for from one event to the next, and not once more for each.
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    counted: Listening,
}

impl Listener {
    /// Listens from a place on. Where that is not in the ring and a turn is free, one attempt is made to reach the hub, so that
    /// what it refuses is known at once; a hub that is away is waited for.
    ///
    /// # Errors
    /// The hub refused.
    pub(crate) async fn open(
        hub: &Arc<Hub>,
        from: StartFrom,
        selection: Selection,
        ended: CancellationToken,
        counted: Listening,
    ) -> Result<Self, ClientError> {
        let walk = Walk::open(hub, from, selection).await?;
        let (told, spoke) = (walk.at, Instant::now());
        Ok(Self {
            quiet: Box::pin(sleep_until(hub.on_the_second(spoke + QUIET))),
            stopped: Box::pin(hub.cancel.clone().cancelled_owned()),
            ended: Box::pin(ended.cancelled_owned()),
            walk,
            told,
            spoke,
            counted,
        })
    }

    /// The place up to which everything was told or was not wanted; none before it began.
    pub(crate) fn at(&self) -> Option<Cursor> {
        self.walk.at
    }

    /// Counts events that it was given.
    pub(crate) fn told(&self, events: usize) {
        self.counted.told(events);
    }

    /// What comes next. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Next {
        let said = loop {
            tokio::select! {
                biased;
                () = &mut self.stopped => return Next::Over(Over::Stopped),
                () = &mut self.ended => return Next::Over(Over::Ended),
                said = self.walk.next() => break said,
                () = &mut self.quiet => {
                    let due = self.walk.hub.on_the_second(self.spoke + QUIET);
                    if due <= Instant::now() {
                        break Ok(vec![]);
                    }
                    self.quiet.as_mut().reset(due);
                }
            }
        };
        self.spoke = Instant::now();
        if self.quiet.is_elapsed() {
            self.quiet.as_mut().reset(self.walk.hub.on_the_second(self.spoke + QUIET));
        }
        match said {
            Err(over) => Next::Over(over),
            Ok(said) if !said.is_empty() => {
                self.told = self.walk.at;
                Next::Said(said)
            }
            // Quiet, but it may have moved on.
            Ok(_) => match self.walk.at {
                at if at == self.told => Next::Quiet,
                None => Next::Quiet,
                Some(at) => {
                    self.told = Some(at);
                    Next::Said(vec![Said::Progress(at)])
                }
            },
        }
    }
}

enum Place {
    /// The ring, once it has begun.
    Begin,
    /// In the ring.
    Ring(u64),
    /// Behind it, waiting for a turn.
    Waiting(Turn),
    /// Behind it, catching up.
    Behind(Box<Lease>),
}

/// A place that moves on through the log.
struct Walk {
    hub: Arc<Hub>,
    selection: Selection,
    place: Place,
    /// Everything up to here was given out, or was not wanted.
    at: Option<Cursor>,
    /// Where its own subscription begins while there is no cursor.
    from: StartFrom,
    /// What stands, as far as it was not given out yet.
    state: Option<(vec::IntoIter<NodeDetail>, Cursor)>,
    /// Entries that were not wanted since something was given out.
    unwanted: usize,
    changed: watch::Receiver<u64>,
    /// Until when it waits for the ring.
    ahead: Option<Instant>,
}

impl Walk {
    async fn open(hub: &Arc<Hub>, from: StartFrom, selection: Selection) -> Result<Self, ClientError> {
        let mut walk = Self {
            hub: hub.clone(),
            selection,
            place: Place::Begin,
            at: None,
            from,
            state: None,
            unwanted: 0,
            changed: hub.ring.watch(),
            ahead: None,
        };
        match from {
            StartFrom::Now => {
                if let Some((end, cursor)) = hub.ring.end() {
                    (walk.place, walk.at) = (Place::Ring(end), Some(cursor));
                }
                return Ok(walk);
            }
            StartFrom::Cursor(cursor) => {
                walk.at = Some(cursor);
                if let Found::At(place) = hub.ring.find(cursor) {
                    walk.place = Place::Ring(place);
                    return Ok(walk);
                }
            }
            StartFrom::Snapshot | StartFrom::Time(_) => {}
        }
        walk.place = match hub.catch_ups.now(walk.selection.who()) {
            None => Place::Waiting(hub.catch_ups.queue(walk.selection.who())),
            Some(permit) => {
                let mut follow = walk.follow();
                match follow.connect().await {
                    Err(error) if !error.is_retryable() => return Err(error),
                    // It makes its next attempts by itself.
                    Ok(()) | Err(_) => Place::Behind(Box::new(hub.catch_ups.lease(permit, follow))),
                }
            }
        };
        Ok(walk)
    }

    fn follow(&self) -> Follow {
        let from = self.at.map_or(self.from, StartFrom::Cursor);
        Follow::new(&self.hub.socket, AGENT, from, self.selection.filter())
    }

    /// What comes next; one thing at least. Safe to cancel: nothing is awaited between a step and what it gives out.
    async fn next(&mut self) -> Result<Vec<Said>, Over> {
        loop {
            // What stands may be much: only who has a turn has it in memory.
            if self.state.is_some()
                && let Place::Behind(lease) = &self.place
                && !lease.keep()
            {
                self.state = None;
                return Err(Over::Slow);
            }
            if let Some(said) = self.states() {
                if said.is_empty() {
                    continue;
                }
                return Ok(said);
            }
            let said = match self.place {
                Place::Begin => self.begin().await,
                Place::Ring(place) => self.ring(place).await,
                Place::Waiting(ref mut turn) => {
                    match turn.await {
                        Some(permit) => {
                            let lease = self.hub.catch_ups.lease(permit, self.follow());
                            self.place = Place::Behind(Box::new(lease));
                        }
                        None => std::future::pending().await,
                    }
                    vec![]
                }
                Place::Behind(ref mut lease) => {
                    if lease.is_over() {
                        self.wait();
                        continue;
                    }
                    self.behind().await.map_err(Over::Refused)?
                }
            };
            if !said.is_empty() {
                self.unwanted = 0;
                return Ok(said);
            }
            if self.unwanted >= PROGRESS_AFTER
                && let Some(at) = self.at
            {
                self.unwanted = 0;
                return Ok(vec![Said::Progress(at)]);
            }
        }
    }

    fn wait(&mut self) {
        self.place = Place::Waiting(self.hub.catch_ups.queue(self.selection.who()));
    }

    async fn begin(&mut self) -> Vec<Said> {
        self.changed.borrow_and_update();
        match self.hub.ring.end() {
            Some((end, cursor)) => (self.place, self.at) = (Place::Ring(end), Some(cursor)),
            None => self.ring_changed().await,
        }
        vec![]
    }

    async fn ring(&mut self, place: u64) -> Vec<Said> {
        self.changed.borrow_and_update();
        let Some(portion) = self.hub.ring.read(place, PORTION) else {
            self.wait();
            return vec![];
        };
        if portion.entries.is_empty() {
            self.at = Some(portion.at);
            self.ring_changed().await;
            return vec![];
        }
        let mut said = Vec::with_capacity(portion.entries.len());
        for entry in &portion.entries {
            self.give(entry, &mut said);
        }
        (self.place, self.at) = (Place::Ring(portion.next), Some(portion.at));
        said
    }

    async fn behind(&mut self) -> Result<Vec<Said>, ClientError> {
        let Place::Behind(lease) = &mut self.place else { return Ok(vec![]) };
        self.changed.borrow_and_update();
        if let (Some(at), Some(log)) = (self.at, lease.log()) {
            match self.hub.ring.find(Cursor { log, n: at.n }) {
                Found::At(place) => {
                    (self.place, self.ahead) = (Place::Ring(place), None);
                    return Ok(vec![]);
                }
                Found::Ahead => {
                    let until = *self.ahead.get_or_insert_with(|| Instant::now() + RING_WITHIN);
                    if Instant::now() < until {
                        // Its end is looked at again in either case.
                        let _ = timeout_at(until, self.changed.changed()).await;
                        return Ok(vec![]);
                    }
                }
                Found::Unknown => self.ahead = None,
            }
        }
        let update = tokio::select! {
            update = lease.next() => update,
            // Here it may be found now; and the turn may be over.
            _ = self.changed.changed() => return Ok(vec![]),
            () = sleep(LOOK) => return Ok(vec![]),
        };
        let mut said = vec![];
        let mut update = update;
        for _ in 0..PORTION {
            match update {
                None => {
                    self.wait();
                    return Ok(said);
                }
                // What came before it is given out first; a follower that is over says so again.
                Some(Err(_)) if !said.is_empty() => return Ok(said),
                Some(Err(error)) => return Err(error),
                Some(Ok(update)) => self.take(update, &mut said),
            }
            let Place::Behind(lease) = &mut self.place else { break };
            match lease.next().now_or_never() {
                Some(next) if self.state.is_none() => update = next,
                _ => break,
            }
        }
        Ok(said)
    }

    fn take(&mut self, update: Update, said: &mut Vec<Said>) {
        match update {
            Update::Began { after, snapshot } => {
                self.at = Some(after);
                self.state = snapshot.map(|nodes| (nodes.into_iter(), after));
            }
            Update::Item(item) => {
                let cursor = item.cursor();
                match Entry::of(item, now()) {
                    Some(entry) => self.give(&entry, said),
                    None => self.unwanted += 1,
                }
                self.at = Some(cursor);
            }
            Update::Disconnected { .. } | Update::Resumed { .. } | Update::NotSaved { .. } => {}
        }
    }

    fn give(&mut self, entry: &Arc<Entry>, said: &mut Vec<Said>) {
        match self.selection.pick(entry) {
            Some(picked) => said.push(Said::Record(picked)),
            None => self.unwanted += 1,
        }
    }

    /// Some of what stands; behind the last of it its place.
    fn states(&mut self) -> Option<Vec<Said>> {
        let (nodes, at) = self.state.as_mut()?;
        let (at, time): (Cursor, UnixNanos) = (*at, now());
        let some: Vec<NodeDetail> = nodes.by_ref().take(NODES).collect();
        if some.is_empty() {
            self.state = None;
            return Some(vec![Said::Progress(at)]);
        }
        let picked = some.iter().filter_map(|node| self.selection.pick(&Entry::state(node, at, time)));
        Some(picked.map(Said::State).collect())
    }

    /// Waits for the ring to change.
    async fn ring_changed(&mut self) {
        if self.changed.changed().await.is_err() {
            // Only together with the hub's own part, which this holds.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
#[path = "listener_tests.rs"]
mod tests;
