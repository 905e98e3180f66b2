//! What the actor remembers of a store that could not be written: who is let in meanwhile, and how it is told.

use std::time::{Duration, Instant};

use secmon_protocol::message::Refusal;

/// After so many failures to write in a row, nobody who would make the hub write is let in for so long: each
/// failure costs every node its connection and the hub a look at all that is stored. The first may be an
/// accident; then nodes and the people who enrol are told at once, and one that comes afterwards is the next try.
const PAUSES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// The store could not be written the last time.
pub(crate) struct Trouble {
    failures: usize,
    /// Nothing is tried until then.
    pub(crate) until: Instant,
    /// What whoever would make the hub write is told.
    pub(crate) refusal: Refusal,
}

impl Trouble {
    /// After one more failure.
    pub(crate) fn after(before: Option<Self>, refusal: Refusal) -> Self {
        let failures = before.map_or(0, |before| before.failures) + 1;
        let pause = PAUSES[(failures - 1).min(PAUSES.len() - 1)];
        Self { failures, until: Instant::now() + pause, refusal }
    }
}
