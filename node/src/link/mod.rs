//! The connection to the hub: [`keep`] dials for ever, [`session`] is one connection from its Hello to its
//! end. The link owns no state that outlives a connection; the core and the jobs do.

pub(crate) mod dial;
mod session;

use std::{convert::Infallible, sync::Arc, time::Duration};

use rand::Rng as _;
use rustls::ClientConfig;
use secmon_protocol::{ids::NodeId, text::printable};
use tokio::time::{Instant, sleep};

use crate::{actor::Core, identity::Identity, jobs::Jobs, tls};
use dial::LinkError;

/// The longest wait before the second attempt; it doubles with every further one, up to [`SLOWEST`].
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait between two attempts.
const SLOWEST: Duration = Duration::from_secs(30);
/// The shortest, so that a hub that closes at once is not hammered.
const FASTEST: Duration = Duration::from_millis(50);
/// A connection that stood this long was a good one: the next attempt comes soon.
const STABLE: Duration = Duration::from_secs(10);

/// Who this node is and where its hub is.
#[derive(Debug, Clone)]
pub(crate) struct Papers {
    /// Its id, by which the hub must know it.
    pub node: NodeId,
    /// Where the hub is, `HOST:PORT`; tried in turn.
    pub addresses: Vec<String>,
    /// Its certificate and the CAs that it trusts.
    pub tls: Arc<ClientConfig>,
}

impl Papers {
    /// Of an identity, with the addresses to be dialled.
    ///
    /// # Errors
    /// Its papers do not fit each other.
    pub(crate) fn of(identity: &Identity, addresses: Vec<String>) -> Result<Self, tls::TlsError> {
        Ok(Self { node: identity.node, addresses, tls: tls::for_node(identity)? })
    }
}

/// Connects, and connects again, until the core ends. Between attempts it waits for a random part of a
/// time that doubles ("full jitter"), so that nodes that lost a hub together do not come back together.
pub(crate) async fn keep(papers: &Papers, core: &Core, jobs: &Jobs) {
    let mut limit = FIRST;
    // What was last said of each address: a hub that stays away is one line, not one per attempt.
    let mut said = vec![String::new(); papers.addresses.len()];
    loop {
        for (address, said) in papers.addresses.iter().zip(&mut said) {
            let mut standing = None;
            let Err(error) = attempt(papers, address, core, jobs, &mut standing).await;
            if matches!(error, LinkError::Ended(_)) {
                return;
            }
            if standing.is_some_and(|since: Instant| since.elapsed() >= STABLE) {
                limit = FIRST;
            }
            // The hub's words may be anything.
            let text = printable(&error.to_string());
            if standing.is_none() && text == *said {
                tracing::debug!(%address, error = %text, "not connected to the hub; trying on");
            } else if matches!(error, LinkError::Rejected(_) | LinkError::WrongHub { .. }) {
                tracing::error!(%address, error = %text, "the hub does not take this node; trying on");
            } else {
                tracing::warn!(%address, error = %text, "not connected to the hub; trying on");
            }
            *said = text;
        }
        let wait = rand::rng().random_range(FASTEST..=limit);
        limit = (limit * 2).min(SLOWEST);
        tokio::select! {
            () = core.ended() => return,
            () = sleep(wait) => {}
        }
    }
}

/// One attempt; `standing` is set once the hub has said Welcome.
async fn attempt(
    papers: &Papers,
    address: &str,
    core: &Core,
    jobs: &Jobs,
    standing: &mut Option<Instant>,
) -> Result<Infallible, LinkError> {
    let stream = tokio::select! {
        () = core.ended() => return Err(LinkError::Ended(crate::actor::Ended)),
        stream = dial::dial(address, Arc::clone(&papers.tls)) => stream?,
    };
    Box::pin(session::session(stream, papers.node, address, core, jobs, standing)).await
}
