//! A subscription that outlives its connection: it goes on behind the last place that it gave out, and says
//! so. What has come already is dropped by [`track`], pauses are made by [`backoff`], and acknowledged places
//! are written by [`saver`].

mod backoff;
mod saver;
mod track;

use std::{
    collections::VecDeque,
    future::poll_fn,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{Stream, stream::FusedStream};
use secmon_protocol::{
    ids::{Cursor, LogId},
    message::client::{Filter, From as StartFrom, NodeDetail},
};
use tokio::time::{Sleep, sleep};

use crate::{Client, ClientError, CursorFile, CursorFileError, Item, Subscription};
use backoff::Backoff;
use saver::Saver;
use track::Track;

/// What a [`Follow`] yields.
#[derive(Debug, Clone, PartialEq)]
pub enum Update {
    /// The subscription stands for the first time.
    Began {
        /// Everything after this place follows.
        after: Cursor,
        /// The nodes as they stood there, where it was to begin with a snapshot. Who keeps a place acknowledges
        /// `after` when they were dealt with; until then they come again after a restart.
        snapshot: Option<Vec<NodeDetail>>,
    },
    /// What the hub sent: no place twice, and none left out without an [`Item::Gap`].
    Item(Item),
    /// The hub cannot be reached; attempts go on. Once per outage.
    Disconnected {
        /// What happened.
        error: ClientError,
    },
    /// The subscription stands again.
    Resumed {
        /// It goes on behind this place, the last one that was given out.
        after: Cursor,
    },
    /// The acknowledged place could not be written; attempts go on, once a second. Once until it succeeds.
    NotSaved {
        /// What happened.
        error: CursorFileError,
    },
}

/// A subscription that survives its hub.
///
/// It connects, subscribes, and when the connection breaks, connects again and goes on behind the last place that
/// it gave out. Within a log it gives out no place twice, and it passes no place without an [`Item::Gap`]. It
/// ends only with an error that no further attempt mends (see [`ClientError::is_retryable`]).
///
/// It has a connection of its own, for a reader that is slow holds up whatever else is on it. It works while
/// it is polled: who does not ask for the next update is not reconnected either.
///
/// # Across restarts of the program
///
/// With a [`CursorFile`], places that were acknowledged by [`Follow::ack`] are written to disk, at most once a
/// second and at the end, and the next [`Follow::open`] goes on behind the last of them. So everything is
/// delivered at least once, and a crash repeats only what was acknowledged within its last second, and what was
/// given out and not acknowledged; [`Event::id`](secmon_protocol::event::Event::id) tells a repeat.
///
/// ```no_run
/// use std::path::Path;
/// use secmon_client::{ClientError, CursorFile, Follow, Item, Update};
/// use secmon_protocol::message::client::{Filter, From};
///
/// # async fn deliver(_: &secmon_protocol::event::Event) {}
/// # async fn bot() -> Result<(), ClientError> {
/// let store = CursorFile::open(Path::new("/var/lib/mybot/cursor"))?;
/// let socket = Path::new("/run/secmon/hub.sock");
/// // Where nothing is stored yet, it begins with what happens next.
/// let mut follow = Follow::open(socket, "mybot 1.0", store, From::Now, Filter::default());
/// loop {
///     match follow.next().await? {
///         Update::Item(item) => {
///             match &item {
///                 Item::Record { events, .. } => {
///                     for event in events {
///                         deliver(event).await;
///                     }
///                 }
///                 Item::Gap(gap) => eprintln!("something is missing: {}", gap.reason),
///                 Item::Progress(_) => {}
///             }
///             // Only now: what was not delivered comes again after a crash.
///             follow.ack(item.cursor());
///         }
///         Update::Began { after, .. } => eprintln!("watching from {after}"),
///         Update::Disconnected { error } => eprintln!("{error}; trying again"),
///         Update::Resumed { after } => eprintln!("going on after {after}"),
///         Update::NotSaved { error } => eprintln!("{error}"),
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Follow {
    socket: PathBuf,
    agent: String,
    from: StartFrom,
    filter: Filter,
    state: State,
    track: Track,
    backoff: Backoff,
    /// Updates that are ready; a few at most, for one message of the hub makes two at most.
    ready: VecDeque<Update>,
    /// Whether the subscription stood before.
    began: bool,
    /// Whether this outage was told.
    told: bool,
    /// Under which id the hub has its log.
    log: Option<LogId>,
    saver: Option<Saver>,
}

enum State {
    /// An attempt is due.
    Idle,
    Connecting(Pin<Box<dyn Future<Output = Result<Subscription, ClientError>> + Send>>),
    Standing(Box<Subscription>),
    /// The next attempt waits.
    Waiting(Pin<Box<Sleep>>),
    /// It is over; `true` once that was told.
    Over(ClientError, bool),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Idle => "Idle",
            Self::Connecting(_) => "Connecting",
            Self::Standing(_) => "Standing",
            Self::Waiting(_) => "Waiting",
            Self::Over(..) => "Over",
        })
    }
}

impl Follow {
    /// Follows the hub that listens on `socket`, from `from` on. `agent` is as in [`Client::connect`]. Nothing
    /// happens until the first update is asked for, or [`Follow::connect`].
    #[must_use]
    pub fn new(socket: &Path, agent: &str, from: StartFrom, filter: Filter) -> Self {
        let last = match from {
            StartFrom::Cursor(cursor) => Some(cursor),
            StartFrom::Now | StartFrom::Snapshot | StartFrom::Time(_) => None,
        };
        let whole = filter.nodes.is_empty() && filter.types.is_empty();
        Self {
            socket: socket.to_owned(),
            agent: agent.to_owned(),
            from,
            filter,
            state: State::Idle,
            track: Track::new(last, whole),
            backoff: Backoff::default(),
            ready: VecDeque::new(),
            began: false,
            told: false,
            log: None,
            saver: None,
        }
    }

    /// The same behind the place that `store` holds, or from `otherwise` on where it holds none. What is
    /// acknowledged is written there. Where it begins with what happens next, that place is written at once:
    /// what happens while the program is down is then not missed.
    #[must_use]
    pub fn open(socket: &Path, agent: &str, store: CursorFile, otherwise: StartFrom, filter: Filter) -> Self {
        let from = store.stored().map_or(otherwise, StartFrom::Cursor);
        let mut follow = Self::new(socket, agent, from, filter);
        follow.saver = Some(Saver::new(store));
        follow
    }

    /// Makes one attempt to connect, for those who would rather end than wait for a hub that is not there.
    ///
    /// # Errors
    /// As [`Client::connect`] and [`Client::subscribe`]. It may be tried again.
    pub async fn connect(&mut self) -> Result<(), ClientError> {
        if !matches!(self.state, State::Standing(_)) {
            let subscription = self.attempt().await?;
            self.stands(subscription);
        }
        Ok(())
    }

    /// The place up to which everything was given out; none before it began.
    #[must_use]
    pub fn after(&self) -> Option<Cursor> {
        self.track.last()
    }

    /// The id that the log has with the hub of the present or the latest connection; none before the first. Its numbers are
    /// those of one order, whatever ids its records carry: each record has that of the time at which it was written.
    #[must_use]
    pub fn log(&self) -> Option<LogId> {
        self.log
    }

    /// Everything up to this place was dealt with, and need not come again after a restart of this program. Older
    /// places than the newest that was acknowledged change nothing, and what was not given out yet cannot be
    /// acknowledged. Without a [`CursorFile`] it does nothing.
    pub fn ack(&mut self, cursor: Cursor) {
        if let (Some(saver), Some(last)) = (&mut self.saver, self.track.last()) {
            saver.ack(cursor, last);
        }
    }

    /// Ends it, with what was acknowledged on disk. (A drop writes it as well, but cannot say that it failed,
    /// and holds up its thread for that moment.)
    ///
    /// # Errors
    /// The place could not be written.
    pub async fn close(mut self) -> Result<(), CursorFileError> {
        match self.saver.take() {
            Some(saver) => saver.close().await,
            None => Ok(()),
        }
    }

    /// The next update. Safe to cancel.
    ///
    /// # Errors
    /// One that no further attempt mends; nothing more will come.
    pub async fn next(&mut self) -> Result<Update, ClientError> {
        match poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await {
            Some(update) => update,
            None => Err(match &self.state {
                State::Over(error, _) => error.clone(),
                _ => crate::connection::closed("it has ended"),
            }),
        }
    }

    fn attempt(&self) -> impl Future<Output = Result<Subscription, ClientError>> + Send + use<> {
        let from = self.track.last().map_or(self.from, StartFrom::Cursor);
        let (socket, agent, filter) = (self.socket.clone(), self.agent.clone(), self.filter.clone());
        // The subscription keeps its connection.
        async move { Client::connect(&socket, &agent).await?.subscribe(from, filter).await }
    }

    fn stands(&mut self, mut subscription: Subscription) {
        let snapshot = subscription.take_snapshot();
        self.log = Some(subscription.after().log);
        let unfiltered = self.filter.nodes.is_empty() && self.filter.types.is_empty();
        self.track.sees(unfiltered && subscription.is_whole());
        self.track.stands(subscription.after());
        let after = self.track.last().unwrap_or(subscription.after());
        self.told = false;
        if std::mem::replace(&mut self.began, true) {
            self.ready.push_back(Update::Resumed { after });
        } else {
            if snapshot.is_none()
                && let Some(saver) = &mut self.saver
            {
                saver.ack(after, after);
            }
            self.ready.push_back(Update::Began { after, snapshot });
        }
        self.state = State::Standing(Box::new(subscription));
    }

    fn broke(&mut self, error: ClientError) {
        if !error.is_retryable() {
            self.state = State::Over(error, false);
            return;
        }
        self.state = State::Waiting(Box::pin(sleep(self.backoff.pause(rand::random()))));
        if std::mem::replace(&mut self.told, true) {
            tracing::debug!(%error, "another attempt to reach the hub failed");
        } else {
            self.ready.push_back(Update::Disconnected { error });
        }
    }

    fn take(&mut self, item: Item) {
        self.backoff.reset();
        let ready = &mut self.ready;
        self.track.take(item, &mut |item| ready.push_back(Update::Item(item)));
    }
}

impl Stream for Follow {
    type Item = Result<Update, ClientError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if let Some(error) = this.saver.as_mut().and_then(|saver| saver.poll(cx)) {
            return Poll::Ready(Some(Ok(Update::NotSaved { error })));
        }
        loop {
            if let Some(update) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(update)));
            }
            match &mut this.state {
                State::Idle => this.state = State::Connecting(Box::pin(this.attempt())),
                State::Waiting(pause) => {
                    ready!(pause.as_mut().poll(cx));
                    this.state = State::Idle;
                }
                State::Connecting(attempt) => match ready!(attempt.as_mut().poll(cx)) {
                    Ok(subscription) => this.stands(subscription),
                    Err(error) => this.broke(error),
                },
                State::Standing(subscription) => match ready!(Pin::new(&mut **subscription).poll_next(cx)) {
                    Some(Ok(item)) => this.take(item),
                    Some(Err(error)) => this.broke(error),
                    None => this.broke(crate::connection::closed("it has ended")),
                },
                State::Over(_, true) => return Poll::Ready(None),
                State::Over(error, told) => {
                    *told = true;
                    return Poll::Ready(Some(Err(error.clone())));
                }
            }
        }
    }
}

impl FusedStream for Follow {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Over(_, true))
    }
}
