//! How long to wait before the next attempt to reach a hub. Pure.

use std::time::Duration;

/// The first pause: a hub that is restarted is back within a moment.
const FIRST: Duration = Duration::from_millis(100);
/// The longest one. Asking whether a local socket is there costs next to nothing, and a hub that was away for
/// hours is missed as soon as it is back.
const LONGEST: Duration = Duration::from_secs(5);

/// Pauses that double, each up to a half shorter by chance, so that many clients of one hub do not come at once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next pause; `random` is in 0..1.
    pub(super) fn pause(&mut self, random: f64) -> Duration {
        let doubled = FIRST.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        doubled.min(LONGEST).mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0)
    }

    /// Something came: the next failure is a first one.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..8).map(|_| backoff.pause(0.0).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(backoff.pause(1.0), LONGEST / 2);
        for _ in 0..100 {
            assert!(backoff.pause(0.5) <= LONGEST);
        }
        backoff.reset();
        assert_eq!(backoff.pause(0.0), FIRST);
    }
}
