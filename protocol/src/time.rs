//! Times on the wire: signed nanoseconds since 1970-01-01T00:00:00Z, leap seconds not counted.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Nanoseconds UTC since the Unix epoch. Only for telling people and machines when something happened;
/// order comes from seq and cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct UnixNanos(pub i64);

impl UnixNanos {
    /// From seconds and microseconds, as utmp(5) has them. Saturates.
    #[must_use]
    pub fn from_micros(seconds: i64, micros: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(micros.saturating_mul(1_000)))
    }

    /// RFC 3339 in UTC with as many digits of the fraction as there are.
    #[must_use]
    pub fn rfc3339(self) -> String {
        self.timestamp().to_string()
    }

    /// As a [`Timestamp`]; every i64 of nanoseconds is within its range.
    #[must_use]
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl From<Timestamp> for UnixNanos {
    fn from(t: Timestamp) -> Self {
        Self(i64::try_from(t.as_nanosecond()).unwrap_or(i64::MAX))
    }
}
