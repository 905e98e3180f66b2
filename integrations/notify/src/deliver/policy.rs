//! What follows from an error: how long to wait, and when a message has had its chances. Pure.

use std::time::Duration;

use crate::{SendError, web::LONGEST_WAIT};

/// The first pause after an error.
const FIRST: Duration = Duration::from_secs(1);
/// The longest: a service that was away for hours is asked again soon after it is back.
const LONGEST: Duration = Duration::from_secs(300);
/// Attempts at a message over which the service failed: with their pauses more than an hour, in which an outage would end.
const TRIES: u32 = 20;
/// Attempts at a message that the service refused: it may have been the service's own mistake.
const REFUSALS: u32 = 3;
/// Several destinations of one service that were told the same do not come back in the same moment.
const APART: Duration = Duration::from_millis(250);

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Then {
    /// It is tried again after `wait`.
    Again { wait: Duration, tries: u32, refusals: u32 },
    /// It is set aside, and the next is tried after `wait`.
    Aside { wait: Duration },
}

impl Then {
    pub(super) fn wait(self) -> Duration {
        match self {
            Self::Again { wait, .. } | Self::Aside { wait } => wait,
        }
    }
}

/// How a destination has been of late.
#[derive(Debug, Default)]
pub(super) struct Policy {
    /// Errors since something was taken.
    failures: u32,
}

impl Policy {
    /// Whether nothing failed since something was taken.
    pub(super) fn is_well(&self) -> bool {
        self.failures == 0
    }

    /// Something was taken. Whether that ends an outage.
    pub(super) fn succeeded(&mut self) -> bool {
        std::mem::take(&mut self.failures) > 0
    }

    /// The next error is a first one.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Something was not taken, for which the service failed `tries` times before and refused `refusals` times; `random` is in 0..1.
    pub(super) fn failed(&mut self, error: &SendError, tries: u32, refusals: u32, random: f64) -> Then {
        let again = |wait, tries, refusals| Then::Again { wait, tries, refusals };
        let pause = pause(self.failures, random);
        match error {
            // Not an outage: the service is there, and says what it thinks of this one.
            SendError::Refused { .. } => match refusals + 1 {
                REFUSALS.. => Then::Aside { wait: Duration::ZERO },
                refusals => again(self::pause(refusals - 1, random), tries, refusals),
            },
            SendError::Busy { after: Some(after) } => {
                self.failures = self.failures.saturating_add(1);
                again((*after).min(LONGEST_WAIT) + APART.mul_f64(random.clamp(0.0, 1.0)), tries, refusals)
            }
            SendError::Busy { after: None } | SendError::Unreachable { .. } => {
                self.failures = self.failures.saturating_add(1);
                again(pause, tries, refusals)
            }
            // What was sent cannot have vanished while it was sent: a service that says so is out of order.
            SendError::Failed { .. } | SendError::Vanished => {
                self.failures = self.failures.saturating_add(1);
                match tries + 1 {
                    TRIES.. => Then::Aside { wait: pause },
                    tries => again(pause, tries, refusals),
                }
            }
            // Slowly all the same: services lock out who asks too often in vain.
            SendError::Forbidden { .. } => {
                self.failures = self.failures.saturating_add(1);
                Then::Aside { wait: pause }
            }
        }
    }
}

/// Pauses that double, each up to a quarter longer by chance.
fn pause(failures: u32, random: f64) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.min(16));
    doubled.min(LONGEST.mul_f64(0.8)).mul_f64(1.0 + random.clamp(0.0, 1.0) / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason() -> String {
        "x".to_owned()
    }

    #[test]
    fn pauses_grow_from_a_second_to_five_minutes() {
        let pauses: Vec<u64> = (0..12).map(|failures| pause(failures, 0.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 240, 240, 240, 240]);
        assert_eq!(pause(100, 1.0), LONGEST);
    }

    #[test]
    fn what_is_not_the_messages_fault_never_sets_it_aside() {
        let mut policy = Policy::default();
        for n in 0..1_000 {
            let error = match n % 2 {
                0 => SendError::Unreachable { reason: reason() },
                _ => SendError::Busy { after: None },
            };
            let Then::Again { tries: 3, refusals: 1, .. } = policy.failed(&error, 3, 1, 0.5) else {
                panic!("attempt {n} at it counted");
            };
        }
    }

    #[test]
    fn a_service_that_says_how_long_is_not_asked_before_and_soon_after() {
        let mut policy = Policy::default();
        for secs in [0, 1, 30, 3_600] {
            let after = Duration::from_secs(secs);
            for random in [0.0, 0.5, 1.0] {
                let wait = policy.failed(&SendError::Busy { after: Some(after) }, 0, 0, random).wait();
                assert!(wait >= after && wait <= after + APART, "{wait:?}");
            }
        }
        let long = SendError::Busy { after: Some(Duration::MAX) };
        assert!(policy.failed(&long, 0, 0, 1.0).wait() <= LONGEST_WAIT + APART);
    }

    #[test]
    fn what_the_service_fails_over_has_20_tries_and_what_it_refuses_three() {
        let mut policy = Policy::default();
        let mut tries = 0;
        let mut attempts = 0;
        while let Then::Again { tries: counted, .. } =
            policy.failed(&SendError::Failed { reason: reason() }, tries, 0, 0.0)
        {
            (tries, attempts) = (counted, attempts + 1);
        }
        assert_eq!(attempts + 1, 20);
        assert!(!policy.is_well() && policy.succeeded() && policy.is_well());
        let refused =
            |refusals| Policy::default().failed(&SendError::Refused { reason: reason() }, 19, refusals, 0.0);
        assert_eq!(refused(0), Then::Again { wait: FIRST, tries: 19, refusals: 1 });
        assert_eq!(refused(1), Then::Again { wait: 2 * FIRST, tries: 19, refusals: 2 });
        assert_eq!(refused(2), Then::Aside { wait: Duration::ZERO });
    }

    #[test]
    fn who_is_forbidden_everything_is_set_aside_at_once_and_more_and_more_slowly() {
        let mut policy = Policy::default();
        let waits: Vec<u64> = (0..4)
            .map(|_| match policy.failed(&SendError::Forbidden { reason: reason() }, 0, 0, 0.0) {
                Then::Aside { wait } => wait.as_secs(),
                Then::Again { .. } => panic!("it was to be tried again"),
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8]);
    }
}
