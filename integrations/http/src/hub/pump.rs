//! The task that follows the hub and fills the ring. It alone does.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::FutureExt as _;
use secmon_client::{ClientError, Follow, Item, Update};
use secmon_protocol::{
    ids::Cursor,
    message::{
        ErrorCode,
        client::{Filter, From as StartFrom, Gap},
    },
};
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::{AGENT, Hub, entry::Entry, now};

/// Updates that are taken before those who listen are woken.
const PORTION: usize = 512;
/// How long to wait where the hub refuses what no further attempt of the follower mends: somebody changes its
/// configuration, or ours.
const REFUSED: Duration = Duration::from_secs(5);

/// Follows the hub until the bridge is stopped.
pub(super) async fn run(hub: Arc<Hub>) {
    let mut pump = Pump { hub: &hub, owed: None, said: false };
    let work = async {
        loop {
            let error = pump.follow().await;
            hub.connected.store(false, Ordering::Relaxed);
            if !std::mem::replace(&mut pump.said, true) {
                error!(%error, "the hub refuses the bridge; trying again");
            }
            if error.refusal() == Some(ErrorCode::BadCursor) {
                // Another hub, or one that lost its store: what lies between is missing.
                pump.owed = hub.ring.end().map(|(_, newest)| newest);
            }
            sleep(REFUSED).await;
        }
    };
    // A hub that comes back may be another version; the connection of those who look says which.
    let greet = async {
        loop {
            hub.back.notified().await;
            // Where that fails, the next who asks is told.
            let _ = hub.ask(|client| async move { client.who_am_i().await }).await;
        }
    };
    tokio::select! {
        () = hub.cancel.cancelled() => {}
        never = work => never,
        never = greet => never,
    }
}

struct Pump<'a> {
    hub: &'a Hub,
    /// The place after which a hub that does not know it begins with what happens next.
    owed: Option<Cursor>,
    /// Whether a refusal was logged.
    said: bool,
}

impl Pump<'_> {
    /// Follows until no further attempt makes sense.
    async fn follow(&mut self) -> ClientError {
        let from = match (self.owed, self.hub.ring.end()) {
            (None, Some((_, newest))) => StartFrom::Cursor(newest),
            _ => StartFrom::Now,
        };
        // Not everything, but all nodes: to a follower of everything what this user may not see would be lost.
        let filter = Filter { nodes: vec!["*".to_owned()], types: vec![] };
        let mut follow = Follow::new(&self.hub.socket, AGENT, from, filter);
        loop {
            let mut next = Some(follow.next().await);
            let mut error = None;
            for _ in 0..PORTION {
                match next.take() {
                    None => break,
                    Some(Ok(update)) => self.take(update, &follow),
                    Some(Err(ended)) => {
                        error = Some(ended);
                        break;
                    }
                }
                next = follow.next().now_or_never();
            }
            if let Some(Ok(update)) = next {
                self.take(update, &follow);
            }
            self.hub.ring.announce();
            if let Some(error) = error {
                return error;
            }
        }
    }

    fn take(&mut self, update: Update, follow: &Follow) {
        let (ring, counts) = (&self.hub.ring, &self.hub.counts);
        match update {
            Update::Began { after, .. } => {
                self.stands();
                ring.begin(after, follow.log());
                if let Some(owed) = self.owed.take() {
                    let reason =
                        "the hub does not know this place: it is another one, or lost its log".to_owned();
                    ring.push(after, Some(Entry::gap(Gap { after: owed, to: after, reason }, now())));
                }
                info!(%after, "following the hub");
            }
            Update::Resumed { .. } => {
                self.stands();
                ring.resumed(follow.log());
                info!("the hub is back");
            }
            Update::Disconnected { error } => {
                self.hub.connected.store(false, Ordering::Relaxed);
                counts.lost.fetch_add(1, Ordering::Relaxed);
                warn!(%error, "the hub is away; trying again");
            }
            Update::Item(item) => {
                let cursor = item.cursor();
                match &item {
                    Item::Record { events, .. } => {
                        counts.records.fetch_add(1, Ordering::Relaxed);
                        counts.events.fetch_add(events.len() as u64, Ordering::Relaxed);
                    }
                    Item::Gap(_) => {
                        counts.gaps.fetch_add(1, Ordering::Relaxed);
                    }
                    Item::Progress(_) => {}
                }
                ring.push(cursor, Entry::of(item, now()));
            }
            Update::NotSaved { .. } => {}
        }
    }

    fn stands(&mut self) {
        self.said = false;
        self.hub.connected.store(true, Ordering::Relaxed);
        self.hub.back.notify_one();
    }
}
