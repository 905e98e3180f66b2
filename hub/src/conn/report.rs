//! How connections end, in the log: one line each, and a count instead of lines when there are many.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use secmon_protocol::text::printable;
use tracing::{debug, info, warn};

use super::Ending;

/// Most warnings …
const BURST: u32 = 20;
/// … within this time; the rest are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// Who was at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A node that had said Hello.
    Node,
    /// Somebody who came to the port for nodes.
    Stranger,
    /// A client.
    Client,
}

/// The state of the rate limit.
#[derive(Debug, Default)]
pub(crate) struct Report {
    window: Mutex<Option<(Instant, u32)>>,
}

impl Report {
    /// Says that a connection ended.
    pub(crate) fn ended(&self, peer: Peer, address: &str, ending: &Ending) {
        let reason = printable(ending.reason());
        match (ending, peer) {
            (Ending::Usual(_), Peer::Node) => info!(address, %reason, "connection ended"),
            (Ending::Usual(_), _) => debug!(address, %reason, "connection ended"),
            (Ending::Bad(_), _) => match self.admit(Instant::now()) {
                Some(0) => warn!(address, %reason, "connection ended"),
                Some(suppressed) => warn!(address, %reason, suppressed, "connection ended"),
                None => debug!(address, %reason, "connection ended"),
            },
        }
    }

    /// Whether a warning may be written now, and how many were not since the last window began.
    fn admit(&self, now: Instant) -> Option<u32> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *window {
            Some((began, count)) if now.duration_since(*began) < WINDOW => {
                *count += 1;
                (*count <= BURST).then_some(0)
            }
            other => {
                let suppressed = other.map_or(0, |(_, count)| count.saturating_sub(BURST));
                *other = Some((now, 1));
                Some(suppressed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_bad_peers_is_counted_and_not_written() {
        let report = Report::default();
        let start = Instant::now();
        let written = (0..100).filter(|_| report.admit(start).is_some()).count();
        assert_eq!(written, BURST as usize);
        assert_eq!(report.admit(start + WINDOW), Some(80));
    }
}
