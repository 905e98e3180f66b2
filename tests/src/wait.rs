//! Waiting for a condition that nothing announces.
//!
//! Output of a process announces itself: wait for that with [`crate::process::Process::wait_until`] instead.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a test waits for anything before it fails. Generous: a loaded machine is slow, not broken.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How often a condition that nothing announces is looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Looks until `look` finds something.
///
/// # Panics
/// When [`DEADLINE`] passes first, naming `what` was awaited.
#[track_caller]
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, look).unwrap_or_else(|| panic!("waited {DEADLINE:?} in vain for {what}"))
}

/// Looks until `look` finds something, or `None` when `limit` has passed.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::park_timeout(LOOK_EVERY);
    }
}
