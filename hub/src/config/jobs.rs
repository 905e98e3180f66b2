//! `[jobs]` of the configuration file: how much is kept of jobs.

use std::time::Duration;

use serde::Deserialize;

use crate::{HubError, core::JobLimits};

/// Least that `jobs.output` may be: room for a chunk in each of its two halves.
const MIN_OUTPUT: u64 = 256 << 10;
/// Most that `jobs.output` may be, so that a slip of the pen is noticed.
const MAX_OUTPUT: u64 = 1 << 30;
/// Most that `jobs.keep` may be: the hub has all of them in memory.
const MAX_KEEP: usize = 10_000;
/// Least that `jobs.age` may be.
const MIN_AGE: Duration = Duration::from_secs(60);
/// Most that `jobs.age` may be.
const MAX_AGE: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// How much is kept of jobs, the commands that run without the client which asked for them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobsSection {
    /// Bytes of what one job printed, 256 KiB to 1 GiB, as `"1MiB"`, the default. Of a job that printed more, the
    /// first half and the last are kept.
    #[serde(deserialize_with = "super::size")]
    pub output: u64,
    /// How many jobs that are over, 1 to 10,000; the oldest go when there are more. Default 1,000.
    pub keep: usize,
    /// How long, a minute to ten years, as `"30d"`, the default.
    #[serde(deserialize_with = "super::age")]
    pub age: Duration,
}

impl Default for JobsSection {
    fn default() -> Self {
        let JobLimits { output, keep, age } = JobLimits::default();
        Self { output, keep, age }
    }
}

impl JobsSection {
    /// Checks what parsing alone does not.
    pub(super) fn check(&self) -> Result<(), HubError> {
        if !(MIN_OUTPUT..=MAX_OUTPUT).contains(&self.output) {
            return Err(HubError::config("jobs.output", "256 KiB to 1 GiB are possible"));
        }
        if !(1..=MAX_KEEP).contains(&self.keep) {
            return Err(HubError::config("jobs.keep", "1 to 10000 are possible"));
        }
        if !(MIN_AGE..=MAX_AGE).contains(&self.age) {
            return Err(HubError::config("jobs.age", "1 minute to 3650 days are possible"));
        }
        Ok(())
    }

    /// For the core.
    pub(crate) fn limits(&self) -> JobLimits {
        JobLimits { output: self.output, keep: self.keep, age: self.age }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_named_with_what_would() {
        let sound = JobsSection::default();
        sound.check().unwrap();
        for (wrong, said) in [
            (JobsSection { output: MIN_OUTPUT - 1, ..sound.clone() }, "jobs.output: 256 KiB to 1 GiB"),
            (JobsSection { keep: 0, ..sound.clone() }, "jobs.keep: 1 to 10000"),
            (JobsSection { age: MAX_AGE * 2, ..sound }, "jobs.age: 1 minute to 3650 days"),
        ] {
            let error = wrong.check().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
