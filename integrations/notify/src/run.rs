//! The task that owns the core and the store.

mod actor;
mod listing;
mod samples;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use secmon_protocol::time::UnixNanos;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use self::actor::{Actor, Ask, Goal, Goals};
pub use self::samples::test;
use crate::{
    Destination,
    clock::Clock,
    config::NotifySection,
    core::{BadRules, Core, Memory, Target},
    deliver::Delivery,
    store::{Limits, Loaded, Store, StoreError, StoreThread},
};

/// Requests of handles that wait for the actor: a person each, who waits for an answer.
const ASKS: usize = 16;
/// How long a database may take to be closed; what was committed is on the disk without that.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Why a notifier cannot be, or go on.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The rules make no sense.
    #[error(transparent)]
    Rules(#[from] BadRules),
    /// The hub turned it away, and no further attempt mends that.
    #[error(transparent)]
    Client(#[from] secmon_client::ClientError),
    /// The store.
    #[error("cannot {what} {}: {reason}", path.display())]
    Store {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        reason: String,
    },
}

/// Where it works.
#[derive(Debug, Clone)]
pub struct Place {
    /// The hub's socket.
    pub socket: PathBuf,
    /// What this program calls itself towards the hub.
    pub agent: String,
    /// The folder of `notify.db`, its own. Made if it is not there, for its owner alone.
    pub state_dir: PathBuf,
}

/// Follows the hub and tells the destinations.
#[derive(Debug)]
pub struct Notifier {
    place: Place,
    core: Core,
    store: Store,
    loaded: Loaded,
    destinations: Vec<Destination>,
    clock: Clock,
    asks: mpsc::Receiver<Ask>,
}

/// To a notifier that runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
}

impl Notifier {
    /// Checks the rules and opens the store; nothing is connected to yet.
    ///
    /// # Errors
    /// The rules make no sense, or the store cannot be opened, or is another process's.
    pub fn open(
        place: Place,
        section: NotifySection,
        destinations: Vec<Destination>,
    ) -> Result<(Self, Handle), NotifyError> {
        let clock = Clock::new();
        let now = clock.now();
        let mut names = HashSet::new();
        if let Some(twice) = destinations.iter().find(|destination| !names.insert(&destination.name)) {
            return Err(BadRules(format!("two destinations are called {:?}", twice.name)).into());
        }
        let targets: Vec<Target> = destinations.iter().map(target).collect();
        // Before a file is made.
        Core::new(&section, &targets, Memory::default(), [], now)?;
        let names: Vec<String> = destinations.iter().map(|destination| destination.name.clone()).collect();
        let (store, mut loaded) = Store::open(&place.state_dir, Limits::default(), &names, now)?;
        let (memory, seen) = (std::mem::take(&mut loaded.memory), std::mem::take(&mut loaded.seen));
        let core = Core::new(&section, &targets, memory, seen, now)?;
        let (sender, asks) = mpsc::channel(ASKS);
        Ok((Self { place, core, store, loaded, destinations, clock, asks }, Handle { asks: sender }))
    }

    /// Works until it is cancelled. What no service has taken by then waits on disk for the next start.
    ///
    /// # Errors
    /// The hub will never have it, or the disk fails.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), NotifyError> {
        let Self { place, core, store, loaded, destinations, clock, asks } = self;
        let path = file(&place.state_dir);
        let (store, ending) = StoreThread::start(store)
            .map_err(|error| StoreError::Refused(error.to_string()).at("start the thread for", &path))?;
        let ends = cancel.child_token();
        let mut tasks = JoinSet::new();
        let mut goals = Goals::default();
        for destination in destinations {
            let wake = Arc::new(Notify::new());
            let goal = Goal { edits: destination.service.edits(), wake: wake.clone() };
            goals.targets.insert(destination.name.clone(), goal);
            let delivery = Delivery {
                destination,
                store: store.clone(),
                wake,
                aside: goals.aside.clone(),
                clock: clock.clone(),
            };
            tasks.spawn(delivery.run(ends.clone()));
        }
        let actor = Actor::new(place, core, store.clone(), loaded, goals, clock, asks);
        tasks.spawn(actor.run(ends.clone()));
        let (mut result, mut closing) = (Ok(()), false);
        // Each works until it is told to end, so the first that ends otherwise has failed, and ends the rest.
        loop {
            let ended = tokio::select! {
                ended = tasks.join_next() => ended,
                // A disk that is full is not waited for any more.
                () = ends.cancelled(), if !tasks.is_empty() && !closing => {
                    closing = true;
                    store.closing();
                    continue;
                }
            };
            let Some(ended) = ended else { break };
            let ended = ended.unwrap_or_else(|panic| {
                let reason = format!("one of its tasks broke down: {panic}");
                Err(StoreError::Refused(reason).at("go on with", &path))
            });
            if result.is_ok() {
                result = ended;
            }
            ends.cancel();
        }
        drop(store);
        if timeout(CLOSE_WITHIN, ending.ended()).await.is_err() {
            tracing::warn!(path = %path.display(), "the store could not be closed in time; what was written stands");
        }
        result
    }
}

fn target(destination: &Destination) -> Target {
    Target {
        name: destination.name.clone(),
        section: destination.section.clone(),
        edits: destination.service.edits(),
    }
}

impl Handle {
    /// Keeps a destination quiet until then, but for what is critical. When this returns, it holds over a restart as well.
    pub async fn mute(&self, destination: &str, until: UnixNanos) {
        let (done, waiting) = oneshot::channel();
        let ask = Ask::Mute { destination: destination.to_owned(), until, done };
        // A notifier that has ended tells nobody anything.
        if self.asks.send(ask).await.is_ok() {
            let _ = waiting.await;
        }
    }
}

/// The file of the store in a state folder.
#[must_use]
pub fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("notify.db")
}
