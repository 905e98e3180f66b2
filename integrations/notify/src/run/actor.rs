//! Events in, notices out: the one task that has the core.
//!
//! What the core decided, what it remembers and the place in the hub's log go into the store together, and only then the
//! tasks of the destinations hear of it. While the store is slow nothing is read from the hub, which keeps it.

use std::{collections::HashMap, future::pending, sync::Arc, time::Duration};

use futures::FutureExt as _;
use secmon_client::{Follow, Item, Update};
use secmon_protocol::{
    event::Event,
    ids::Cursor,
    message::client::{Filter, From as StartFrom},
    time::UnixNanos,
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{
    NotifyError, Place,
    listing::{Answered, Listing},
};
use crate::{
    clock::Clock,
    core::{Core, Input, Output},
    own,
    store::{Batch, Loaded, Store, StoreThread, Tell},
};

/// Updates that are taken before something is written, if so many are there.
const UPDATES: usize = 256;
/// What is held back at most before it is written.
const HELD: usize = 2_000;
/// What nobody waits for, a place in the log or a count in a digest, is written this long after it changed. A crash before that costs
/// the reading of it again.
const WRITE_WITHIN: Duration = Duration::from_secs(2);
/// How often to look whether `secmon notify retry` was called, while there is something for it to retry.
const LOOK: Duration = Duration::from_secs(2);
/// Longest sleep of the core: a clock that was set is noticed behind it.
const NAP: Duration = Duration::from_secs(60);
/// A core whose time has come is not asked more often.
const BREATH: Duration = Duration::from_millis(10);
/// What a handle asks for.
#[derive(Debug)]
pub(super) enum Ask {
    /// See [`Handle::mute`](super::Handle::mute).
    Mute { destination: String, until: UnixNanos, done: oneshot::Sender<()> },
}

/// A destination, as far as the actor is concerned.
#[derive(Debug)]
pub(super) struct Goal {
    /// Whether what was sent there can be edited.
    pub(super) edits: bool,
    /// Something new waits for it.
    pub(super) wake: Arc<Notify>,
}

/// The tasks of the destinations.
#[derive(Debug, Default)]
pub(super) struct Goals {
    pub(super) targets: HashMap<String, Goal>,
    /// One of them set something aside.
    pub(super) aside: Arc<Notify>,
}

/// See the module.
pub(super) struct Actor {
    place: Place,
    core: Core,
    store: StoreThread,
    clock: Clock,
    /// When it was looked at last.
    now: UnixNanos,
    asks: mpsc::Receiver<Ask>,
    targets: HashMap<String, Goal>,
    follow: Follow,
    /// The last place that was dealt with; none on the first start before the hub has said where it stands.
    last: Option<Cursor>,
    /// Everything up to here happened before we were there, and is only learned from.
    past: Option<Cursor>,
    /// The hub is away.
    lost: bool,
    /// Not yet written.
    batch: Batch,
    /// It must be written before anything else is done: where it began, for a restart would begin later.
    urgent: bool,
    /// Since when something has not been written.
    unwritten: Option<Instant>,
    /// Who waits for it to be written.
    waiting: Vec<oneshot::Sender<()>>,
    memory: String,
    listing: Listing,
    /// See [`Goals::aside`].
    aside: Arc<Notify>,
    /// When to look next for what another process wrote.
    look: Option<Instant>,
}

impl Actor {
    pub(super) fn new(
        place: Place,
        core: Core,
        store: StoreThread,
        loaded: Loaded,
        Goals { targets, aside }: Goals,
        clock: Clock,
        asks: mpsc::Receiver<Ask>,
    ) -> Self {
        let Loaded { cursor, past, anew, .. } = loaded;
        let follow = follow(&place, cursor);
        let mut actor = Self {
            place,
            core,
            store,
            now: clock.now(),
            clock,
            asks,
            targets,
            follow,
            last: cursor,
            past,
            lost: false,
            batch: Batch::default(),
            urgent: false,
            unwritten: None,
            waiting: Vec::new(),
            memory: String::new(),
            listing: Listing::default(),
            aside,
            look: Some(Instant::now()),
        };
        if anew.is_some() {
            actor.begun_anew();
        }
        actor
    }

    /// Works until it is cancelled.
    ///
    /// # Errors
    /// The hub will never have it, or the store fails.
    pub(super) async fn run(mut self, cancel: CancellationToken) -> Result<(), NotifyError> {
        self.settle().await?;
        loop {
            let core = match self.core.poll_timeout() {
                Some(at) => self.clock.instant(at).min(Instant::now() + NAP).max(Instant::now() + BREATH),
                None => Instant::now() + NAP,
            };
            let write = self.unwritten.map(|since| since + WRITE_WITHIN);
            let listed = self.listing.due(self.past.is_some());
            tokio::select! {
                () = cancel.cancelled() => break,
                update = self.follow.next() => self.updates(update?)?,
                () = sleep_until(core) => {}
                () = until(write) => {}
                () = until(listed) => {}
                () = until(self.look) => self.look_beside().await?,
                () = self.aside.notified() => {
                    self.look.get_or_insert_with(|| Instant::now() + LOOK);
                }
                answered = self.listing.answered() => {
                    if answered == Answered::Never {
                        self.handle(self.clock.now(), Input::NoNodes);
                    }
                }
                Some(ask) = self.asks.recv() => self.answer(ask),
            }
            self.nodes();
            let now = self.clock.now();
            // What waits for a time on a clock that was set back is to hear of that now.
            let was = std::mem::replace(&mut self.now, now);
            if now < was || self.core.poll_timeout().is_some_and(|at| at <= now) {
                self.core.handle_timeout(now);
                self.changed();
            }
            self.settle().await?;
        }
        // What the core counted last; where that fails it is read again.
        self.take_outputs();
        self.write().await
    }

    /// Takes an update, and those that are there already.
    fn updates(&mut self, first: Update) -> Result<(), NotifyError> {
        let now = self.clock.now();
        self.update(first, now);
        for _ in 1..UPDATES {
            if self.urgent || self.batch.tells.len() + self.batch.seen.len() >= HELD {
                break;
            }
            match self.follow.next().now_or_never() {
                Some(update) => self.update(update?, now),
                None => break,
            }
        }
        Ok(())
    }

    fn update(&mut self, update: Update, now: UnixNanos) {
        match update {
            Update::Began { after, .. } => {
                self.back(now);
                match self.last {
                    None => self.first_start(after),
                    Some(_) => info!(socket = %self.place.socket.display(), %after, "following the hub"),
                }
            }
            Update::Resumed { after } => {
                info!(%after, "the hub is back");
                self.back(now);
            }
            Update::Disconnected { error } => {
                warn!(%error, "the hub cannot be reached; attempts go on");
                self.lost = true;
                self.listing.forget();
                self.handle(now, Input::HubLost);
            }
            Update::Item(item) => self.item(&item, now),
            // We keep the place ourselves.
            Update::NotSaved { .. } => {}
        }
        self.take_outputs();
    }

    fn back(&mut self, now: UnixNanos) {
        if std::mem::take(&mut self.lost) {
            self.handle(now, Input::HubBack);
        }
        self.listing.ask(self.place.clone());
    }

    /// Nothing is known yet: what the hub still has, up to where it stands now, says who is usual, and nothing of it is told.
    fn first_start(&mut self, newest: Cursor) {
        let begin = Cursor { n: 0, ..newest };
        self.last = Some(begin);
        self.batch.cursor = self.last;
        if newest.n > 0 {
            self.past = Some(newest);
            self.batch.past = Some(self.past);
        }
        self.follow = follow(&self.place, Some(begin));
        self.urgent = true;
        self.changed();
    }

    fn item(&mut self, item: &Item, now: UnixNanos) {
        let at = item.cursor();
        // A log whose numbers begin anew has no past of ours.
        if self.last.is_some_and(|last| at.n < last.n) && self.past.take().is_some() {
            self.batch.past = Some(None);
        }
        let past = self.past.is_some_and(|past| at.n <= past.n);
        match item {
            Item::Record { events, .. } => {
                let input = |event| if past { Input::Past(event) } else { Input::Event(event) };
                for event in events as &[Event] {
                    self.handle(now, input(event));
                }
            }
            // What was gone before we came is nobody's loss.
            Item::Gap(_) if past => {}
            Item::Gap(gap) => self.handle(now, Input::Gap(gap)),
            Item::Progress(_) => {}
        }
        if self.past.is_some_and(|past| at.n >= past.n) {
            info!(%at, "learned from what the hub had; from here on it is told");
            self.past = None;
            self.batch.past = Some(None);
        }
        self.last = Some(at);
        self.batch.cursor = self.last;
        self.changed();
    }

    /// Gives the core the list of nodes, where it has heard of all that is in it.
    fn nodes(&mut self) {
        if let Some(nodes) = self.listing.ripe(self.last, self.past.is_some()) {
            self.handle(self.clock.now(), Input::Nodes(&nodes));
        }
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Mute { destination, until, done } => {
                self.handle(self.clock.now(), Input::Mute { destination: &destination, until });
                self.waiting.push(done);
            }
        }
    }

    fn handle(&mut self, now: UnixNanos, input: Input<'_>) {
        self.core.handle(now, input);
        self.changed();
    }

    fn changed(&mut self) {
        self.unwritten.get_or_insert_with(Instant::now);
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.core.poll_output() {
            self.changed();
            match output {
                Output::Tell { destination, notice, thread } => match self.targets.get(&destination) {
                    Some(Goal { edits, .. }) => {
                        self.batch.tells.push(Tell { destination, notice: *notice, thread, edits: *edits });
                    }
                    None => error!(destination, "something is to be told to a destination that is not there"),
                },
                Output::Seen { key, at } => self.batch.seen.push((key, Some(at))),
                Output::Forget { key } => self.batch.seen.push((key, None)),
            }
        }
    }

    /// Writes what somebody waits for, and the rest when it is due.
    async fn settle(&mut self) -> Result<(), NotifyError> {
        self.take_outputs();
        let due = self.unwritten.is_some_and(|since| since.elapsed() >= WRITE_WITHIN);
        let much = self.batch.seen.len() >= HELD;
        if self.urgent || due || much || !self.batch.tells.is_empty() || !self.waiting.is_empty() {
            self.write().await?;
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), NotifyError> {
        if self.unwritten.take().is_none() {
            return Ok(());
        }
        self.urgent = false;
        let mut batch = std::mem::take(&mut self.batch);
        match serde_json::to_string(&self.core.memory()) {
            Ok(memory) if memory != self.memory => {
                batch.memory = Some(memory.clone());
                self.memory = memory;
            }
            Ok(_) => {}
            Err(error) => error!(%error, "what the notifier remembers cannot be written"),
        }
        let now = self.clock.now();
        let new = self.store.ask("write", move |store| store.commit(&batch, now)).await?;
        for destination in new {
            if let Some(goal) = self.targets.get(&destination) {
                goal.wake.notify_one();
            }
        }
        for done in self.waiting.drain(..) {
            let _ = done.send(());
        }
        Ok(())
    }

    /// Whether somebody called `secmon notify retry`.
    async fn look_beside(&mut self) -> Result<(), NotifyError> {
        let look = |store: &mut Store| Ok((store.written_elsewhere()?, store.has_failed()?));
        let (changed, failed) = self.store.ask("read", look).await?;
        self.look = failed.then(|| Instant::now() + LOOK);
        if changed {
            debug!("another process wrote to the store");
            self.targets.values().for_each(|goal| goal.wake.notify_one());
        }
        Ok(())
    }

    /// Says that something may be missing, for the store was damaged.
    fn begun_anew(&mut self) {
        let notice = own::damaged(self.clock.now());
        for (destination, goal) in &self.targets {
            let (destination, notice) = (destination.clone(), notice.clone());
            self.batch.tells.push(Tell { destination, notice, thread: None, edits: goal.edits });
        }
        self.changed();
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// Everything behind a place, or what happens next.
fn follow(place: &Place, after: Option<Cursor>) -> Follow {
    // Every type. An empty filter would mean the same, but then a record that this user may not see would look like a hole.
    let filter = Filter { nodes: vec![], types: vec!["*".to_owned()] };
    Follow::new(&place.socket, &place.agent, after.map_or(StartFrom::Now, StartFrom::Cursor), filter)
}
