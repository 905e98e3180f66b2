//! The time at the start of a line: RFC 3164's, which has neither year nor zone, and ISO 8601's.

use jiff::{Timestamp, civil, tz::TimeZone};
use secmon_protocol::time::UnixNanos;

use super::Context;

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const DAY: i64 = 86_400;
/// Longest stamp by ISO 8601: with nine digits of a fraction and an offset it has 35 characters.
const MAX_ISO: usize = 40;

/// A date and time of day that is not yet in any zone.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    second: i64,
    nanosecond: i64,
}

/// A span of time in which a zone has one offset from UTC, well away from where it changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steady {
    /// Local seconds between which it holds; no time in between is skipped or repeated.
    from: i64,
    to: i64,
    /// Seconds east of UTC.
    offset: i64,
}

impl Steady {
    /// The span around `now`: a lookup in the zone for each line would cost more than the rest of it.
    pub(super) fn around(now: Timestamp, zone: &TimeZone) -> Option<Self> {
        let offset = i64::from(zone.to_offset(now).seconds());
        let before = zone.preceding(now).next().map_or(i64::MIN / 4, |t| t.timestamp().as_second());
        let after = zone.following(now).next().map_or(i64::MAX / 4, |t| t.timestamp().as_second());
        // A change moves the clock by a few hours at most; but an island may skip a day.
        let (from, to) = (before + offset + 2 * DAY, after + offset - 2 * DAY);
        (from < to).then_some(Self { from, to, offset })
    }
}

/// How many bytes of `line` its stamp takes. What they say is [`read`]'s.
pub(super) fn length(line: &[u8]) -> Option<usize> {
    if !line.first()?.is_ascii_digit() {
        return (line.len() > 15).then_some(15);
    }
    // Behind the seconds a fraction and an offset, up to the space; a space in the place of the T is part of it.
    let end = line.get(19..)?.iter().take(MAX_ISO - 19).position(|b| *b == b' ')?;
    Some(19 + end)
}

/// Reads a stamp that is all of `stamp`.
pub(super) fn read(stamp: &str, context: &Context) -> Option<UnixNanos> {
    let bytes = stamp.as_bytes();
    let (time, length) =
        if bytes.first()?.is_ascii_digit() { iso8601(bytes, context)? } else { rfc3164(bytes, context)? };
    (length == bytes.len()).then_some(time)
}

/// `Mon dd hh:mm:ss`, RFC 3164 section 4.1.2. It has no year: the one that puts it nearest to now.
fn rfc3164(bytes: &[u8], context: &Context) -> Option<(UnixNanos, usize)> {
    let name = bytes.get(..3)?;
    let month = MONTHS.iter().position(|m| m.as_slice() == name)? as i64 + 1;
    let day = match bytes.get(3..6)? {
        [b' ', b' ', one] => digits(&[*one])?,
        [b' ', two @ ..] => digits(two)?,
        _ => return None,
    };
    if bytes.get(6) != Some(&b' ') {
        return None;
    }
    let second = clock(bytes.get(7..15)?)?;
    let now = context.local;
    let seconds_now = days(now.year().into(), now.month().into(), now.day().into()) * DAY
        + i64::from(now.hour()) * 3600
        + i64::from(now.minute()) * 60
        + i64::from(now.second());
    let this_year = i64::from(now.year());
    // A 29 February may be further away than a year; any other day is not.
    let reach = if month == 2 && day == 29 { 8 } else { 1 };
    let year = (this_year - reach..=this_year + reach)
        .filter(|year| day <= days_in(*year, month))
        .min_by_key(|year| (days(*year, month, day) * DAY + second - seconds_now).abs())?;
    Some((local(&Civil { year, month, day, second, nanosecond: 0 }, context)?, 15))
}

/// `yyyy-mm-ddThh:mm:ss[.fraction][Z|±hh[:]mm]`; a space may stand for the `T`.
fn iso8601(bytes: &[u8], context: &Context) -> Option<(UnixNanos, usize)> {
    let (year, month, day) = match bytes.get(..11)? {
        [y @ .., b'-', m1, m2, b'-', d1, d2, b'T' | b't' | b' '] => {
            (digits(y)?, digits(&[*m1, *m2])?, digits(&[*d1, *d2])?)
        }
        _ => return None,
    };
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let second = clock(bytes.get(11..19)?)?;
    let mut at = 19;
    let mut nanosecond = 0;
    if let Some(b'.' | b',') = bytes.get(at) {
        at += 1;
        let mut unit = 100_000_000;
        while let Some(digit) = bytes.get(at).filter(|b| b.is_ascii_digit()) {
            nanosecond += i64::from(digit - b'0') * unit;
            unit /= 10;
            at += 1;
        }
    }
    let civil = Civil { year, month, day, second, nanosecond };
    let offset = match bytes.get(at).copied().unwrap_or(b' ') {
        b'Z' | b'z' => {
            at += 1;
            0
        }
        sign @ (b'+' | b'-') => {
            let hours = digits(bytes.get(at + 1..at + 3)?)?;
            at += 3;
            let colon = usize::from(bytes.get(at) == Some(&b':'));
            let minutes = match bytes.get(at + colon..at + colon + 2).and_then(digits) {
                Some(minutes) => {
                    at += colon + 2;
                    minutes
                }
                None => 0,
            };
            let offset = hours * 3600 + minutes * 60;
            if sign == b'-' { -offset } else { offset }
        }
        _ => return Some((local(&civil, context)?, at)),
    };
    let seconds = days(year, month, day) * DAY + second - offset;
    Some((UnixNanos(seconds.checked_mul(1_000_000_000)?.checked_add(nanosecond)?), at))
}

/// `hh:mm:ss` as seconds of the day; a leap second counts as the one before it.
fn clock(bytes: &[u8]) -> Option<i64> {
    let &[h1, h2, b':', m1, m2, b':', s1, s2] = bytes else { return None };
    let (hour, minute, second) = (digits(&[h1, h2])?, digits(&[m1, m2])?, digits(&[s1, s2])?.min(59));
    (hour < 24 && minute < 60).then_some(hour * 3600 + minute * 60 + second)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

/// A civil time in the context's zone; one that a clock change skipped or repeated is taken as RFC 5545
/// takes it.
fn local(civil: &Civil, context: &Context) -> Option<UnixNanos> {
    let seconds = days(civil.year, civil.month, civil.day) * DAY + civil.second;
    if let Some(steady) = context.steady.filter(|s| (s.from..s.to).contains(&seconds)) {
        return Some(UnixNanos(
            (seconds - steady.offset).checked_mul(1_000_000_000)?.checked_add(civil.nanosecond)?,
        ));
    }
    let part = |n: i64| i8::try_from(n).ok();
    let datetime = civil::DateTime::new(
        i16::try_from(civil.year).ok()?,
        part(civil.month)?,
        part(civil.day)?,
        part(civil.second / 3600)?,
        part(civil.second / 60 % 60)?,
        part(civil.second % 60)?,
        i32::try_from(civil.nanosecond).ok()?,
    )
    .ok()?;
    Some(UnixNanos::from(context.zone.to_ambiguous_timestamp(datetime).compatible().ok()?))
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, counted in years that start in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(stamp: &str, now: &str, zone: &TimeZone) -> Option<String> {
        let context = Context::new(now.parse().unwrap(), zone.clone());
        let end = length(format!("{stamp} ").as_bytes())?;
        read(stamp.get(..end)?, &context).map(|time| time.rfc3339())
    }

    #[test]
    fn a_stamp_without_a_year_gets_the_nearest_one() {
        for (stamp, now, want) in [
            ("Nov 21 03:34:11", "2026-11-21T03:40:00Z", "2026-11-21T03:34:11Z"),
            ("Dec 31 23:59:58", "2027-01-01T00:00:02Z", "2026-12-31T23:59:58Z"),
            ("Jan  1 00:00:01", "2026-12-31T23:59:59Z", "2027-01-01T00:00:01Z"),
            ("Feb 29 12:00:00", "2026-11-21T00:00:00Z", "2028-02-29T12:00:00Z"),
        ] {
            assert_eq!(at(stamp, now, &TimeZone::UTC).as_deref(), Some(want), "{stamp}");
        }
    }

    #[test]
    fn stamps_without_a_zone_are_local() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let now = "2026-07-01T00:00:00Z";
        assert_eq!(at("Jul  1 02:00:00", now, &zone).unwrap(), "2026-07-01T00:00:00Z");
        assert_eq!(at("2026-01-01T01:00:00 x", now, &zone).unwrap(), "2026-01-01T00:00:00Z");
    }

    #[test]
    fn iso_8601_is_read_with_and_without_fraction_and_offset() {
        let utc = |stamp| at(stamp, "2026-07-01T00:00:00Z", &TimeZone::UTC);
        assert_eq!(utc("2026-11-21T03:37:59.609921+00:00 vm").unwrap(), "2026-11-21T03:37:59.609921Z");
        assert_eq!(utc("2026-11-21T03:37:59+02:00 vm").unwrap(), "2026-11-21T01:37:59Z");
        assert_eq!(utc("2026-11-21T03:37:59-0230 vm").unwrap(), "2026-11-21T06:07:59Z");
        assert_eq!(utc("2026-11-21 03:37:59.123456789Z vm").unwrap(), "2026-11-21T03:37:59.123456789Z");
        assert_eq!(utc("2026-02-30T03:37:59Z vm"), None);
        assert_eq!(utc("9999-12-31T23:59:59Z vm"), None);
    }

    #[test]
    fn what_is_no_stamp_is_none() {
        for stamp in ["", "Nov", "Foo 21 03:34:11", "Nov 32 03:34:11", "Nov 21 24:00:00", "Nov 21 3:4:5 x"] {
            assert_eq!(at(stamp, "2026-07-01T00:00:00Z", &TimeZone::UTC), None, "{stamp}");
        }
    }
}
