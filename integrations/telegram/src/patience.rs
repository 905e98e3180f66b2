//! Trying again, as long as that has a prospect and somebody may still want it.

use std::time::Duration;

use rand::Rng as _;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::api::ApiError;

/// First pause after Telegram could not be reached; each next one is twice as long.
const FIRST: Duration = Duration::from_millis(500);
/// Longest such pause.
const LONGEST: Duration = Duration::from_secs(30);

/// How long something is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Once.
    One,
    /// As long as a person waits for an answer.
    Some,
    /// The end of a command: its message would say for ever that it runs.
    Long,
}

impl Patience {
    fn time(self) -> Duration {
        match self {
            Self::One => Duration::ZERO,
            Self::Some => Duration::from_secs(2 * 60),
            Self::Long => Duration::from_secs(60 * 60),
        }
    }
}

/// A pause around `base`, so that many do not come back at once.
pub(crate) fn jittered(base: Duration) -> Duration {
    base.mul_f64(rand::rng().random_range(0.75..1.25))
}

/// Calls until it succeeds, fails for good, takes too long, or the bot ends.
pub(crate) async fn patiently<T, F: Future<Output = Result<T, ApiError>>>(
    patience: Patience,
    stop: &CancellationToken,
    call: impl Fn() -> F,
) -> Result<T, ApiError> {
    let deadline = Instant::now() + patience.time();
    let mut pause = FIRST;
    loop {
        let error = match call().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let wait = match &error {
            ApiError::Busy { after } => *after,
            other => match other.again_after() {
                Some(_) => jittered(pause),
                None => return Err(error),
            },
        };
        if Instant::now() + wait > deadline || stop.is_cancelled() {
            return Err(error);
        }
        tokio::select! {
            () = sleep(wait) => {}
            () = stop.cancelled() => return Err(error),
        }
        pause = (pause * 2).min(LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_may_go_well_later_is_tried_again_and_nothing_else() {
        let stop = CancellationToken::new();
        let calls = Cell::new(0);
        let call = || async {
            calls.set(calls.get() + 1);
            match calls.get() {
                1 => Err(ApiError::Busy { after: Duration::from_secs(30) }),
                2 => Err(ApiError::Unreachable { reason: "x".into() }),
                _ => Ok(7),
            }
        };
        assert_eq!(patiently(Patience::Some, &stop, &call).await, Ok(7));
        calls.set(0);
        assert!(patiently(Patience::One, &stop, &call).await.is_err());
        assert_eq!(calls.get(), 1);
        let never = || async { Err::<(), _>(ApiError::Refused { reason: "no".into() }) };
        assert!(patiently(Patience::Long, &stop, never).await.is_err());
        stop.cancel();
        let busy = || async { Err::<(), _>(ApiError::Busy { after: Duration::from_secs(1) }) };
        assert!(patiently(Patience::Long, &stop, busy).await.is_err());
    }
}
