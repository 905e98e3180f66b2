//! A subscriber of our own on the client library, in a thread: goes on at its last cursor after every break, and
//! drops its connection wherever it stands when it is told to.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Context as _;
use secmon_client::{Client, ClientError, Item, Subscription};
use secmon_protocol::{
    event::{Detail, Event},
    hub_event::HubEvent,
    ids::Cursor,
    message::client::{Filter, From as StartFrom},
};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    judge::Seen,
    sink::Sink,
    writer::{of_name, of_user},
};

/// Between two tries to reach the hub.
const AGAIN: Duration = Duration::from_millis(100);
/// A hub that is stopped does not answer; this long is waited for it before a new connection is tried.
const PATIENCE: Duration = Duration::from_secs(3);
/// A slow one reads this many items, then rests for so long.
const SIP: u32 = 10;
const SIP_EVERY: Duration = Duration::from_millis(100);

/// What it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Be there.
    Read,
    /// Have no connection.
    Away,
    /// End.
    End,
}

/// See the module.
pub(crate) struct Raw {
    orders: watch::Sender<Order>,
    slow: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Raw {
    /// Starts it. It begins with what happens next, and goes on from there.
    pub(crate) fn start(sink: Sink, socket: PathBuf, filter: Filter, slow: bool) -> anyhow::Result<Self> {
        let (orders, inbox) = watch::channel(Order::Read);
        let slow = Arc::new(AtomicBool::new(slow));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("a runtime")?;
        let pace = Arc::clone(&slow);
        let thread = thread::spawn(move || runtime.block_on(live(&sink, &socket, &filter, &pace, inbox)));
        Ok(Self { orders, slow, thread: Some(thread) })
    }

    /// Drops the connection as it stands, and makes none.
    pub(crate) fn away(&self) {
        self.orders.send_replace(Order::Away);
    }

    /// Connects again.
    pub(crate) fn back(&self) {
        self.orders.send_replace(Order::Read);
    }

    /// Reads as fast as it can from now on.
    pub(crate) fn hurry(&self) {
        self.slow.store(false, Ordering::Relaxed);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.orders.send_replace(Order::End);
        if let Some(thread) = self.thread.take() {
            // Its panic was printed; the run fails by what it did not see.
            let _ = thread.join();
        }
    }
}

async fn live(
    sink: &Sink,
    socket: &Path,
    filter: &Filter,
    slow: &AtomicBool,
    mut orders: watch::Receiver<Order>,
) {
    loop {
        let order = *orders.borrow_and_update();
        match order {
            Order::End => return,
            Order::Away => {
                let _ = orders.changed().await;
                continue;
            }
            Order::Read => {}
        }
        let error = tokio::select! {
            error = connection(sink, socket, filter, slow) => error,
            _ = orders.changed() => continue,
        };
        if !matches!(error, ClientError::Stale { .. } | ClientError::NoSocket { .. }) {
            sink.note(&format!("{error}"));
        }
        tokio::select! {
            () = sleep(AGAIN) => {}
            _ = orders.changed() => {}
        }
    }
}

async fn connection(sink: &Sink, socket: &Path, filter: &Filter, slow: &AtomicBool) -> ClientError {
    let Err(error) = follow(sink, socket, filter, slow).await;
    error
}

async fn follow(
    sink: &Sink,
    socket: &Path,
    filter: &Filter,
    slow: &AtomicBool,
) -> Result<std::convert::Infallible, ClientError> {
    let from = sink.last().map_or(StartFrom::Now, StartFrom::Cursor);
    let late = |_| ClientError::NoAnswer { after: PATIENCE };
    let client = timeout(PATIENCE, Client::connect(socket, "chaos")).await.map_err(late)??;
    let subscribe = timeout(PATIENCE, client.subscribe(from, filter.clone()));
    let mut subscription: Subscription = subscribe.await.map_err(late)??;
    sink.begin(subscription.after());
    let mut sip = 0;
    loop {
        show(sink, subscription.next().await?);
        sip += 1;
        if sip % SIP == 0 && slow.load(Ordering::Relaxed) {
            sleep(SIP_EVERY).await;
        }
    }
}

fn show(sink: &Sink, item: Item) {
    match item {
        Item::Progress(cursor) => sink.take(Seen::Progress { cursor }),
        Item::Gap(gap) => sink.take(Seen::Gap { after: gap.after, to: gap.to, reason: gap.reason }),
        Item::Record { cursor, events } => {
            // Of our nodes a record is one line, or one gap, or something that does not matter here.
            let seen = events.iter().find_map(|event| seen(cursor, event));
            sink.take(seen.unwrap_or(Seen::Other { cursor }));
        }
    }
}

fn seen(cursor: Cursor, event: &Event) -> Option<Seen> {
    let node = event.node.as_ref().and_then(|(_, name)| of_name(name.as_str()))?;
    match &event.detail {
        Detail::Auth(auth) => {
            let (node, number) = of_user(auth.user.as_deref()?)?;
            Some(Seen::Number { cursor, node, number })
        }
        Detail::Lost(lost) => {
            // One that counts nothing does not know how many.
            let count = Some(lost.count).filter(|count| *count > 0);
            Some(Seen::Missing { cursor, node, count, reason: lost.reason.clone() })
        }
        Detail::Hub(HubEvent::Gap { from, to, reason }) => {
            let count = Some(to.0.saturating_sub(from.0).saturating_add(1));
            Some(Seen::Missing { cursor, node, count, reason: reason.clone() })
        }
        _ => None,
    }
}
