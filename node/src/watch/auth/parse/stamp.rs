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
        // A change at this very moment has happened already, and stands before neither it nor after it.
        let just_after = now.checked_add(jiff::SignedDuration::from_nanos(1)).ok()?;
        let before = zone.preceding(just_after).next().map_or(i64::MIN / 4, |t| t.timestamp().as_second());
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

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    #[test]
    fn a_time_that_the_clock_skipped_or_said_twice_is_still_a_time() {
        let zone = berlin();
        for (stamp, want) in [
            // 29 March 2026: 02:00 is followed by 03:00.
            ("Mar 29 01:59:59", "2026-03-29T00:59:59Z"),
            ("Mar 29 02:30:00", "2026-03-29T01:30:00Z"),
            ("Mar 29 03:00:00", "2026-03-29T01:00:00Z"),
            // 25 October 2026: 03:00 is followed by 02:00; the first of the two is taken.
            ("Oct 25 01:59:59", "2026-10-24T23:59:59Z"),
            ("Oct 25 02:30:00", "2026-10-25T00:30:00Z"),
            ("Oct 25 03:00:00", "2026-10-25T02:00:00Z"),
        ] {
            for now in [
                "2026-03-29T00:59:59Z",
                "2026-03-29T01:00:00Z",
                "2026-07-01T00:00:00Z",
                "2026-10-25T00:59:59Z",
                "2026-11-21T00:00:00Z",
            ] {
                // Past half a year the next year's would be nearer.
                if (stamp.starts_with("Mar") && now > "2026-09")
                    || (stamp.starts_with("Oct") && now < "2026-05")
                {
                    continue;
                }
                assert_eq!(at(stamp, now, &zone).as_deref(), Some(want), "{stamp} at {now}");
            }
        }
    }

    /// Away from a change of the clock the offset is not looked up; it must be the one that would be found.
    #[test]
    fn a_short_cut_gives_what_the_zone_says() {
        for zone in [
            berlin(),
            TimeZone::UTC,
            TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").unwrap(),
            TimeZone::posix("<+1345>-13:45<+1445>,M9.5.0/2:45,M4.1.0/3:45").unwrap(),
        ] {
            for month in 1..=12 {
                for now_month in 1..=12 {
                    let now = format!("2026-{now_month:02}-15T12:00:00Z");
                    let context = Context::new(now.parse().unwrap(), zone.clone());
                    let slow = Context { steady: None, ..context.clone() };
                    for day in 1..=28 {
                        let stamp = format!("2026-{month:02}-{day:02}T02:30:00.5");
                        assert_eq!(read(&stamp, &context), read(&stamp, &slow), "{stamp} at {now}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_clock_that_jumped_moves_the_year_only_where_it_must() {
        for (stamp, now, want) in [
            // The clock of the machine was set back by a day, or forward by a month.
            ("Nov 22 03:34:11", "2026-11-21T03:40:00Z", "2026-11-22T03:34:11Z"),
            ("Oct 21 03:34:11", "2026-11-21T03:40:00Z", "2026-10-21T03:34:11Z"),
            // A machine without a battery starts in 1970, and its log does as well.
            ("Jan  1 00:00:09", "1970-01-01T00:00:20Z", "1970-01-01T00:00:09Z"),
            ("Dec 31 23:59:59", "1970-01-01T00:00:20Z", "1969-12-31T23:59:59Z"),
            // A log of half a year ago, and of half a year and a day.
            ("May 22 12:00:00", "2026-11-20T12:00:00Z", "2026-05-22T12:00:00Z"),
            ("May 20 12:00:00", "2026-11-20T12:00:00Z", "2027-05-20T12:00:00Z"),
            ("Feb 29 23:59:59", "2028-03-01T00:00:01Z", "2028-02-29T23:59:59Z"),
            ("Feb 29 12:00:00", "2027-01-01T00:00:00Z", "2028-02-29T12:00:00Z"),
            ("Feb 29 12:00:00", "2025-01-01T00:00:00Z", "2024-02-29T12:00:00Z"),
            ("Feb 29 12:00:00", "2100-03-01T00:00:00Z", "2096-02-29T12:00:00Z"),
        ] {
            assert_eq!(at(stamp, now, &TimeZone::UTC).as_deref(), Some(want), "{stamp} at {now}");
        }
    }

    #[test]
    fn the_turn_of_the_year_is_the_zones_own() {
        let zone = TimeZone::posix("<+14>-14").unwrap();
        assert_eq!(at("Jan  1 00:00:01", "2026-12-31T10:00:05Z", &zone).unwrap(), "2026-12-31T10:00:01Z");
        assert_eq!(at("Dec 31 23:59:59", "2026-12-31T10:00:05Z", &zone).unwrap(), "2026-12-31T09:59:59Z");
    }
}
