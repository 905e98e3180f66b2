//! How many events of the auth log a node takes: two buckets of tokens, by the monotonic clock.
//!
//! What was logged before the node started waits in its source, so it is *paced*: it is taken in any case, and
//! whoever reads it waits. What happens now cannot wait: beyond the limit it is dropped and counted, and one
//! record a second says how many.

use std::time::Duration;

use secmon_protocol::{record::Lost, time::UnixNanos};
use serde::Deserialize;

use super::write::Now;

/// What was dropped is told no more often.
const TELL: Duration = Duration::from_secs(1);
/// Seconds of the limit that may come at once where `burst` does not say otherwise.
const BURST_SECONDS: u64 = 10;

/// `[limits]` of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Events of the auth log per second, over longer times; 0 is no limit.
    pub events_per_second: u32,
    /// Events that may come at once; ten seconds of `events_per_second` where it is not set.
    pub events_burst: Option<u32>,
}

impl Default for Limits {
    /// More than a server under attack logs, and less than what one node could flood a hub with.
    fn default() -> Self {
        Self { events_per_second: 20_000, events_burst: None }
    }
}

#[derive(Debug, Clone)]
struct Bucket {
    per_second: f64,
    burst: f64,
    /// Below nothing it is in debt.
    tokens: f64,
    at: Duration,
}

impl Bucket {
    fn new(limits: &Limits, at: Duration) -> Self {
        let per_second = u64::from(limits.events_per_second);
        let burst = limits.events_burst.map_or(per_second * BURST_SECONDS, u64::from).max(1);
        let (per_second, burst) = (per_second as f64, burst as f64);
        Self { per_second, burst, tokens: burst, at }
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
    }
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    /// Nothing without a limit.
    buckets: Option<(Bucket, Bucket)>,
    per_second: u32,
    start: UnixNanos,
    dropped: u64,
    /// Everything is dropped until then, so that what is dropped is one run and one record.
    dropping: Option<Duration>,
}

impl Rate {
    pub(super) fn new(limits: &Limits, now: Now) -> Self {
        let bucket = || Bucket::new(limits, now.mono);
        Self {
            buckets: (limits.events_per_second > 0).then(|| (bucket(), bucket())),
            per_second: limits.events_per_second,
            start: now.unix,
            dropped: 0,
            dropping: None,
        }
    }

    /// Whether an event logged at `time` is taken. What was dropped before it ought to be told first, see
    /// [`Self::due`].
    pub(super) fn takes(&mut self, time: UnixNanos, now: Duration) -> bool {
        let Some((paced, live)) = &mut self.buckets else { return true };
        if time < self.start {
            paced.fill(now);
            paced.tokens -= 1.0;
            return true;
        }
        live.fill(now);
        if self.dropping.is_none() && live.tokens < 1.0 {
            self.dropping = Some(now + TELL);
        }
        match self.dropping {
            Some(_) => self.dropped += 1,
            None => live.tokens -= 1.0,
        }
        self.dropping.is_none()
    }

    /// How many were dropped, when it is time to say so; they are then said.
    pub(super) fn due(&mut self, now: Duration) -> Option<(u64, String)> {
        if self.dropping.is_none_or(|until| now < until) {
            return None;
        }
        self.dropping = None;
        Some((std::mem::take(&mut self.dropped), Self::reason(self.per_second)))
    }

    pub(super) fn reason(per_second: u32) -> String {
        format!("{}more events than {per_second} a second (limits.events_per_second)", Lost::RATE)
    }

    /// When [`Self::due`] ought to be asked again.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.dropping
    }

    /// Events that were dropped and are not told yet.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How long whoever reads old lines should wait before the next.
    pub(super) fn pause(&mut self, now: Duration) -> Option<Duration> {
        let (paced, _) = self.buckets.as_mut()?;
        paced.fill(now);
        (paced.tokens < 0.0).then(|| Duration::from_secs_f64(-paced.tokens / paced.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Now = Now { mono: Duration::from_secs(100), unix: UnixNanos(1_000) };
    const LIVE: UnixNanos = UnixNanos(1_000);
    const OLD: UnixNanos = UnixNanos(999);

    fn rate(events_per_second: u32, burst: u32) -> Rate {
        Rate::new(&Limits { events_per_second, events_burst: Some(burst) }, START)
    }

    #[test]
    fn a_burst_is_taken_and_what_is_beyond_it_is_counted_and_told_once_a_second() {
        let mut rate = rate(10, 20);
        let at = START.mono;
        assert_eq!((0..50).filter(|_| rate.takes(LIVE, at)).count(), 20);
        assert_eq!(rate.due(at + TELL / 2), None);
        assert_eq!(rate.due(at + TELL).map(|(count, _)| count), Some(30));
        assert_eq!((0..50).filter(|_| rate.takes(LIVE, at + TELL)).count(), 10);
        assert_eq!(rate.due(at + TELL), None, "not twice in a second");
    }

    #[test]
    fn over_a_minute_as_many_are_taken_as_the_limit_says() {
        let mut rate = rate(100, 100);
        let (mut taken, mut told) = (0, 0);
        for step in 0..60_000 {
            let at = START.mono + Duration::from_millis(step);
            told += rate.due(at).map_or(0, |(count, _)| count);
            taken += u64::from(rate.takes(LIVE, at));
        }
        assert!((5_800..=6_200).contains(&taken), "{taken}");
        assert_eq!(taken + told + rate.dropped(), 60_000, "every one is taken or told");
    }

    #[test]
    fn old_lines_are_never_dropped_but_their_reader_waits() {
        let mut rate = rate(10, 20);
        assert!((0..40).all(|_| rate.takes(OLD, START.mono)));
        assert_eq!(rate.pause(START.mono), Some(Duration::from_secs(2)));
        assert!(rate.takes(LIVE, START.mono), "they take nothing from what happens now");
        assert_eq!(rate.pause(START.mono + Duration::from_secs(3)), None);
    }

    #[test]
    fn without_a_limit_everything_is_taken() {
        let mut rate = rate(0, 0);
        assert!((0..100_000).all(|_| rate.takes(LIVE, START.mono)));
        assert_eq!((rate.pause(START.mono), rate.deadline()), (None, None));
    }
}
