//! How many messages per time: a token bucket, kept as one number (the generic cell rate algorithm: ITU-T I.371, annex A).

use secmon_protocol::time::UnixNanos;
use serde::{Deserialize, Serialize};

use crate::config::Limit;

/// A rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// Nanoseconds that a message costs.
    step: i64,
    /// Messages at once.
    burst: i64,
}

impl Rate {
    pub(super) fn new(limit: Limit) -> Option<Self> {
        let (count, span) = limit.rate()?;
        Some(Self { step: span.nanos() / i64::from(count), burst: i64::from(count) })
    }

    /// `burst` at once, and one each `step` nanoseconds for long.
    pub(super) const fn of(burst: i64, step: i64) -> Self {
        Self { step, burst }
    }
}

/// What was used of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Quota {
    /// When all of it would be there again, in nanoseconds.
    full_at: i64,
    /// It was used up, and is not half full again yet.
    over: bool,
}

impl Quota {
    /// Takes one for a message. Once the quota is used up there is none before it is half full again: else a flood would go on as single
    /// messages, one now and then, beside the digest of it.
    pub(super) fn take(&mut self, rate: Option<Rate>, now: UnixNanos) -> bool {
        let Some(rate) = rate else { return true };
        if self.over && self.full_at - now.0 > rate.burst / 2 * rate.step {
            return false;
        }
        self.over = !self.take_any(Some(rate), now);
        !self.over
    }

    /// Takes one for a digest, which stands for many.
    pub(super) fn take_any(&mut self, rate: Option<Rate>, now: UnixNanos) -> bool {
        let Some(rate) = rate else { return true };
        if self.next(Some(rate)) > now {
            return false;
        }
        self.full_at = self.full_at.max(now.0).saturating_add(rate.step);
        true
    }

    /// From when on a digest can have one.
    pub(super) fn next(&self, rate: Option<Rate>) -> UnixNanos {
        let wait = |rate: Rate| self.full_at.saturating_sub((rate.burst - 1).saturating_mul(rate.step));
        UnixNanos(rate.map_or(i64::MIN, wait))
    }

    /// The clock was set back: what was used up is used up, and no more.
    pub(super) fn set_back(&mut self, rate: Option<Rate>, now: UnixNanos) {
        if let Some(rate) = rate {
            self.full_at = self.full_at.min(now.0.saturating_add(rate.burst.saturating_mul(rate.step)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_flood_gets_its_burst_then_nothing_until_half_of_it_is_back_but_a_digest_gets_each_one() {
        let rate = Rate::new("10/10s".parse().unwrap());
        let mut quota = Quota::default();
        let at = |seconds: i64| UnixNanos(1_000 * SECOND + seconds * SECOND);
        assert_eq!((0..100).filter(|_| quota.take(rate, at(0))).count(), 10);
        assert!(!quota.take(rate, at(1)) && !quota.take_any(rate, at(0)));
        assert_eq!(quota.next(rate), at(1));
        assert!(quota.take_any(rate, at(1)) && !quota.take_any(rate, at(1)));
        assert!(!quota.take(rate, at(5)));
        assert_eq!((0..100).filter(|_| quota.take(rate, at(6))).count(), 5);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_silence_for_as_long() {
        let rate = Rate::new("1/1m".parse().unwrap());
        let mut quota = Quota::default();
        assert!(quota.take(rate, UnixNanos(1_000_000 * SECOND)));
        quota.set_back(rate, UnixNanos(0));
        assert!(quota.take(rate, UnixNanos(61 * SECOND)));
    }
}
