//! How connections end, or cannot begin, in the log: one line each, and a count instead of lines when there
//! are many.

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::errno::Errno;
use secmon_protocol::text::printable;
use tracing::{debug, info, warn};

use super::Ending;

/// Most warnings of connections that end …
const BURST: u32 = 20;
/// Most warnings that the system refuses a connection; one says it all …
const REFUSALS: u32 = 1;
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

/// Where peers come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The port for nodes.
    Port,
    /// The Unix socket for clients.
    Socket,
}

/// The state of the rate limits.
#[derive(Debug)]
pub(crate) struct Report {
    endings: Limit,
    port: Limit,
    socket: Limit,
}

impl Default for Report {
    fn default() -> Self {
        Self { endings: Limit::of(BURST), port: Limit::of(REFUSALS), socket: Limit::of(REFUSALS) }
    }
}

impl Report {
    /// Says that a connection ended.
    pub(crate) fn ended(&self, peer: Peer, address: &str, ending: &Ending) {
        let reason = printable(ending.reason());
        match (ending, peer) {
            (Ending::Usual(_), Peer::Node) => info!(address, %reason, "connection ended"),
            (Ending::Usual(_), _) => debug!(address, %reason, "connection ended"),
            (Ending::Bad(_), _) => match self.endings.admit(Instant::now()) {
                Some(0) => warn!(address, %reason, "connection ended"),
                Some(suppressed) => warn!(address, %reason, suppressed, "connection ended"),
                None => debug!(address, %reason, "connection ended"),
            },
        }
    }

    /// Says that the system did not hand out a connection that had come.
    pub(crate) fn refused(&self, door: Door, error: &io::Error) {
        let (limit, what) = match door {
            Door::Port => (&self.port, "cannot take a connection"),
            Door::Socket => (&self.socket, "cannot take a client"),
        };
        let Some(suppressed) = limit.admit(Instant::now()) else { return };
        warn!(%error, suppressed, "{what}{}", remedy(error));
    }
}

/// What to do, for the errors of accept(2) that somebody can do something about.
fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EMFILE) => ": too many files are open; raise LimitNOFILE= of the service",
        Some(Errno::ENFILE) => ": too many files are open on this machine; raise the sysctl fs.file-max",
        _ => "",
    }
}

/// At most so many lines in a [`WINDOW`].
#[derive(Debug)]
struct Limit {
    burst: u32,
    window: Mutex<Option<(Instant, u32)>>,
}

impl Limit {
    fn of(burst: u32) -> Self {
        Self { burst, window: Mutex::new(None) }
    }

    /// Whether a warning may be written now, and how many were not since the last window began.
    fn admit(&self, now: Instant) -> Option<u32> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *window {
            Some((began, count)) if now.duration_since(*began) < WINDOW => {
                *count += 1;
                (*count <= self.burst).then_some(0)
            }
            other => {
                let suppressed = other.map_or(0, |(_, count)| count.saturating_sub(self.burst));
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
        let written = (0..100).filter(|_| report.endings.admit(start).is_some()).count();
        assert_eq!(written, BURST as usize);
        assert_eq!(report.endings.admit(start + WINDOW), Some(80));
    }

    #[test]
    fn a_system_that_goes_on_refusing_is_reported_once_per_window_with_a_count() {
        let report = Report::default();
        let start = Instant::now();
        for limit in [&report.port, &report.socket] {
            assert_eq!(limit.admit(start), Some(0));
            assert!((0..99).all(|_| limit.admit(start).is_none()));
            assert_eq!(limit.admit(start + WINDOW), Some(99));
        }
        let full = io::Error::from_raw_os_error(Errno::EMFILE as i32);
        assert!(remedy(&full).contains("LimitNOFILE="));
    }
}
