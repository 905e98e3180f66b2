//! What Discord's headers say about how much it wants, kept so that the limit is not run into. Pure.
//!
//! <https://discord.com/developers/docs/topics/rate-limits>: a limit holds per route and webhook; routes may share a bucket; the
//! global one holds for the address that requests come from, and so for all webhooks of this process.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// What a request does; each has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Route {
    /// POST: a message.
    Send,
    /// PATCH: an edit of one.
    Edit,
}

/// What the headers of an answer say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Said {
    /// `X-RateLimit-Bucket`.
    pub(crate) bucket: Option<String>,
    /// `X-RateLimit-Remaining`.
    pub(crate) remaining: Option<u64>,
    /// `X-RateLimit-Reset-After`.
    pub(crate) reset_after: Option<Duration>,
}

/// All limits that are known. As large as the configuration has webhooks.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    all: Option<Instant>,
    known: HashMap<(String, Route), Known>,
}

#[derive(Debug, Default)]
struct Known {
    bucket: Option<String>,
    until: Option<Instant>,
}

impl Limits {
    /// How long nothing may be sent by that route of a webhook; `None` is now.
    pub(crate) fn wait(&self, now: Instant, webhook: &str, route: Route) -> Option<Duration> {
        let own = self.known.get(&(webhook.to_owned(), route));
        let other = match route {
            Route::Send => Route::Edit,
            Route::Edit => Route::Send,
        };
        let shared = self.known.get(&(webhook.to_owned(), other)).filter(|other| {
            other.bucket.is_some() && other.bucket.as_ref() == own.and_then(|own| own.bucket.as_ref())
        });
        let until = [self.all, own.and_then(|k| k.until), shared.and_then(|k| k.until)]
            .into_iter()
            .flatten()
            .max()?;
        let wait = until.saturating_duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }

    /// An answer came: with nothing remaining, nothing is sent until the reset.
    pub(crate) fn learn(&mut self, now: Instant, webhook: &str, route: Route, said: &Said) {
        let known = self.known.entry((webhook.to_owned(), route)).or_default();
        if said.bucket.is_some() {
            known.bucket.clone_from(&said.bucket);
        }
        match (said.remaining, said.reset_after) {
            (Some(0), Some(after)) => known.until = Some(now + after),
            (Some(_), _) => known.until = None,
            (None, _) => {}
        }
    }

    /// That route of a webhook was refused (429) for so long.
    pub(crate) fn hold(&mut self, now: Instant, webhook: &str, route: Route, after: Duration) {
        let known = self.known.entry((webhook.to_owned(), route)).or_default();
        known.until = known.until.max(Some(now + after));
    }

    /// Everything of this process was.
    pub(crate) fn hold_all(&mut self, now: Instant, after: Duration) {
        self.all = self.all.max(Some(now + after));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn said(bucket: &str, remaining: u64) -> Said {
        Said { bucket: Some(bucket.into()), remaining: Some(remaining), reset_after: Some(2 * SECOND) }
    }

    #[test]
    fn with_nothing_remaining_a_route_waits_for_the_reset_and_others_do_not() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        limits.learn(now, "1", Route::Send, &said("a", 1));
        assert_eq!(limits.wait(now, "1", Route::Send), None);
        limits.learn(now, "1", Route::Send, &said("a", 0));
        assert_eq!(limits.wait(now + SECOND, "1", Route::Send), Some(SECOND));
        assert_eq!(limits.wait(now + SECOND, "1", Route::Edit), None);
        assert_eq!(limits.wait(now + SECOND, "2", Route::Send), None);
        assert_eq!(limits.wait(now + 2 * SECOND, "1", Route::Send), None);
        limits.learn(now, "1", Route::Edit, &said("a", 3));
        assert_eq!(limits.wait(now, "1", Route::Edit), Some(2 * SECOND), "they share a bucket");
    }

    #[test]
    fn a_global_refusal_holds_every_webhook_and_an_answer_to_one_does_not_end_it() {
        let (mut limits, now) = (Limits::default(), Instant::now());
        limits.hold_all(now, 5 * SECOND);
        limits.learn(now, "1", Route::Send, &said("a", 4));
        for webhook in ["1", "2"] {
            assert_eq!(limits.wait(now, webhook, Route::Edit), Some(5 * SECOND));
        }
        limits.hold_all(now, SECOND);
        assert_eq!(limits.wait(now, "1", Route::Send), Some(5 * SECOND), "the longer one holds");
    }
}
