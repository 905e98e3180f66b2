//! The wall clock as the core sees it: it does not go back by a little, and it stops for nobody.
//!
//! The system's clock is set now and then. Forward, and time jumps with it. Back by a little, and the core's timers, which are points in time,
//! would wait for that much longer: so time then runs at half its speed until the system's clock has caught up. Back by much, as where it was wrong
//! at the start, and time goes back with it, for which the core is made: else it would be years until quiet hours were right again.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use secmon_protocol::time::UnixNanos;
use tokio::time::Instant;

/// What is ahead of the system's clock by less is not held back: that is the clock's own correction.
const SMALL: Duration = Duration::from_millis(10);

/// What is ahead by more jumps back.
const MUCH: Duration = Duration::from_secs(60);

/// The clock. Cheap to clone; all have the same time.
#[derive(Debug, Clone)]
pub(crate) struct Clock(Arc<Mutex<Steady>>);

impl Clock {
    /// From now on.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Steady { now: system(), at: Instant::now() })))
    }

    /// What time it is.
    pub(crate) fn now(&self) -> UnixNanos {
        // Nothing panics while it is held.
        let mut steady = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steady.tell(system(), Instant::now())
    }

    /// When a time comes, at the latest; the past is now.
    pub(crate) fn instant(&self, time: UnixNanos) -> Instant {
        let wait = time.0.saturating_sub(self.now().0).max(0);
        Instant::now() + Duration::from_nanos(wait.unsigned_abs()).min(FAR)
    }
}

/// Nobody waits for longer without another look at the clock.
const FAR: Duration = Duration::from_secs(3600);

fn system() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// A time later by so much.
pub(crate) fn later(time: UnixNanos, by: Duration) -> UnixNanos {
    UnixNanos(time.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
}

#[derive(Debug)]
struct Steady {
    /// What was told last …
    now: UnixNanos,
    /// … and when.
    at: Instant,
}

impl Steady {
    fn tell(&mut self, system: UnixNanos, at: Instant) -> UnixNanos {
        let passed = at.saturating_duration_since(self.at);
        let straight = later(self.now, passed);
        self.now = if system.0 < straight.0.saturating_sub(nanos(MUCH)) {
            system
        } else if system.0 >= straight.0.saturating_sub(nanos(SMALL)) {
            // Not even the correction goes back.
            system.max(self.now)
        } else {
            system.max(later(self.now, passed / 2))
        };
        self.at = at;
        self.now
    }
}

fn nanos(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_clock_that_is_set_back_a_little_runs_at_half_speed_and_else_it_jumps() {
        let start = Instant::now();
        let mut steady = Steady { now: UnixNanos(1_000 * SECOND), at: start };
        let mut tell = |after: u64, system: i64| {
            steady.tell(UnixNanos(system * SECOND), start + Duration::from_secs(after)).0 / SECOND
        };
        assert_eq!(tell(1, 1_001), 1_001);
        assert_eq!(tell(2, 5_000), 5_000, "forward");
        assert_eq!(tell(12, 4_960), 5_005, "set back by 50 s, and ten seconds passed");
        assert_eq!(tell(62, 5_010), 5_030);
        assert_eq!(tell(112, 5_060), 5_060, "caught up");
        assert_eq!(tell(122, 5_070), 5_070);
        assert_eq!(tell(132, 1_130), 1_130, "it was wrong by an hour");
        assert_eq!(tell(142, 1_140), 1_140);
    }
}
