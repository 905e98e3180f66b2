//! How all nodes stand, asked of the hub: after it was away, and at the start.
//!
//! The core is given the list when it has heard of all that happened before; what is in it would else be news twice.

use std::{future::pending, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use secmon_client::{Client, ClientError};
use secmon_protocol::{ids::Cursor, message::client::NodeSummary};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use super::Place;

/// The list of nodes is given to the core when it has heard of all that happened before; after this long in any case.
const CATCH_UP: Duration = Duration::from_secs(30);
/// Until the list of nodes is asked for again where that failed.
const LIST_AGAIN: Duration = Duration::from_secs(5);

/// All nodes, as they stood at a place of the log.
type Listed = (Vec<NodeSummary>, Cursor);

/// A question, and its answer until there is use for it.
#[derive(Default)]
pub(super) struct Listing {
    asking: Option<BoxFuture<'static, Option<Listed>>>,
    listed: Option<(Listed, Instant)>,
}

/// What became of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// See [`Listing::ripe`].
    Listed,
    /// The hub does not tell us, ever.
    Never,
}

impl Listing {
    /// Asks, anew.
    pub(super) fn ask(&mut self, place: Place) {
        *self = Self { asking: Some(list(place).boxed()), listed: None };
    }

    /// The hub is gone: how the nodes stood says nothing any more, least of all that it is there.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Waits for an answer; for ever, where nothing is asked. Safe to cancel.
    pub(super) async fn answered(&mut self) -> Answered {
        let Some(asking) = &mut self.asking else { return pending().await };
        let listed = asking.await;
        self.asking = None;
        self.listed = listed.map(|listed| (listed, Instant::now()));
        if self.listed.is_some() { Answered::Listed } else { Answered::Never }
    }

    /// When to look at [`Listing::ripe`] whatever was heard. While what was before our time is read, `past`, there is no use for a list,
    /// however long that takes.
    pub(super) fn due(&self, past: bool) -> Option<Instant> {
        self.listed.as_ref().filter(|_| !past).map(|(_, since)| *since + CATCH_UP)
    }

    /// The nodes, where everything up to `last` was heard of and that is enough.
    pub(super) fn ripe(&mut self, last: Option<Cursor>, past: bool) -> Option<Vec<NodeSummary>> {
        let ((_, newest), since) = self.listed.as_ref()?;
        // Numbers rise over a restart of the hub, though its log then has another id.
        let heard = last.is_some_and(|last| last.n >= newest.n);
        if past || !(heard || since.elapsed() >= CATCH_UP) {
            return None;
        }
        self.listed.take().map(|((nodes, _), _)| nodes)
    }
}

/// All nodes; none where the hub does not tell us, ever.
async fn list(place: Place) -> Option<Listed> {
    let attempt = async || -> Result<Listed, ClientError> {
        let client = Client::connect(&place.socket, &place.agent).await?;
        let newest = client.hub().newest;
        Ok((client.list().await?, newest))
    };
    loop {
        match attempt().await {
            Ok(listed) => return Some(listed),
            Err(error) if error.is_retryable() => debug!(%error, "the nodes cannot be listed yet"),
            Err(error) => {
                warn!(%error, "the hub does not list its nodes for us; who is away is known from events alone");
                return None;
            }
        }
        sleep(LIST_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use secmon_protocol::ids::LogId;

    use super::*;

    fn at(n: u64) -> Cursor {
        Cursor { log: LogId(7), n }
    }

    async fn listed(newest: u64) -> Listing {
        let answer = std::future::ready(Some((vec![], at(newest)))).boxed();
        let mut listing = Listing { asking: Some(answer), listed: None };
        assert_eq!(listing.answered().await, Answered::Listed);
        listing
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_given_when_all_before_it_was_heard_of_or_that_takes_too_long() {
        let mut listing = listed(9).await;
        assert_eq!(listing.ripe(None, false), None);
        assert_eq!(listing.ripe(Some(at(8)), false), None);
        assert!(listing.ripe(Some(at(9)), false).is_some());
        assert_eq!(listing.ripe(Some(at(9)), false), None, "once");
        let mut listing = listed(9).await;
        tokio::time::sleep_until(listing.due(false).unwrap()).await;
        assert!(listing.ripe(Some(at(8)), false).is_some());
    }

    /// Its deadline was in the past then, and the actor turned round as fast as it could.
    #[tokio::test(start_paused = true)]
    async fn a_list_for_which_there_is_no_use_yet_is_never_due() {
        let mut listing = listed(9).await;
        sleep(2 * CATCH_UP).await;
        assert_eq!((listing.due(true), listing.ripe(Some(at(9)), true)), (None, None));
        assert!(listing.due(false).is_some());
    }

    /// Given to the core half a minute later, it said that a hub was back that was away.
    #[tokio::test(start_paused = true)]
    async fn what_a_hub_said_that_is_gone_is_forgotten() {
        let mut listing = listed(9).await;
        listing.forget();
        sleep(2 * CATCH_UP).await;
        assert_eq!((listing.due(false), listing.ripe(Some(at(9)), false)), (None, None));
    }
}
