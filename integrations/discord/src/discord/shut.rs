//! A webhook that Discord does not know any more is left alone, longer each time. Pure.
//!
//! "If a webhook returns a 404 status you should not attempt to use it again": 10,000 such requests in 10 minutes ban the address,
//! <https://discord.com/developers/docs/topics/rate-limits#invalid-request-limit-aka-cloudflare-bans>.

use std::time::{Duration, Instant};

/// The first pause; each further one is twice as long.
const FIRST: Duration = Duration::from_secs(60);
/// The longest: who mended something at Discord's end need not restart us.
const LONGEST: Duration = Duration::from_secs(3600);

/// Whether a webhook is left alone, and why.
#[derive(Debug, Default)]
pub(crate) struct Shut {
    until: Option<Instant>,
    pause: Option<Duration>,
    reason: String,
}

impl Shut {
    /// Why nothing is to be asked now.
    pub(crate) fn reason(&self, now: Instant) -> Option<&str> {
        self.until.is_some_and(|until| now < until).then_some(&self.reason)
    }

    /// It was refused for good.
    pub(crate) fn refused(&mut self, now: Instant, reason: &str) {
        let pause = self.pause.map_or(FIRST, |pause| (2 * pause).min(LONGEST));
        (self.pause, self.until) = (Some(pause), Some(now + pause));
        reason.clone_into(&mut self.reason);
    }

    /// It was taken.
    pub(crate) fn taken(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_webhook_is_asked_less_and_less_and_a_live_one_at_once() {
        let (mut shut, mut now) = (Shut::default(), Instant::now());
        let mut asked = 0;
        for _ in 0..10 * 3600 {
            if shut.reason(now).is_none() {
                asked += 1;
                shut.refused(now, "unknown webhook");
            }
            now += Duration::from_secs(1);
        }
        assert!((10..20).contains(&asked), "{asked}");
        assert_eq!(shut.reason(now), Some("unknown webhook"));
        shut.taken();
        assert_eq!(shut.reason(now), None);
    }
}
