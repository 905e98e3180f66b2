//! `--since`: a place in the log, or a time in one of the ways in which people write one. Pure, but for boot.

use std::{fs, io, str::FromStr};

use jiff::{Span, SpanRelativeTo, Timestamp, civil::DateTime, tz::TimeZone};
use secmon_protocol::{ids::Cursor, message::client::From as StartFrom, time::UnixNanos};

/// What to write, for whoever wrote something else.
const FORMS: &str = "write it as 10m, 2h or 1d (so long ago), boot, a time (2026-11-21 10:00, or with a zone, \
                     2026-11-21T10:00:00Z), or a cursor (as in secmon.cursor)";

/// Reads what was written behind `--since`, now and here.
///
/// # Errors
/// What could have been written, in words.
pub fn since(text: &str) -> Result<StartFrom, String> {
    at(text, Timestamp::now(), &TimeZone::system(), booted)
}

fn at(
    text: &str,
    now: Timestamp,
    zone: &TimeZone,
    booted: impl Fn() -> Result<Timestamp, String>,
) -> Result<StartFrom, String> {
    let text = text.trim();
    if let Ok(cursor) = text.parse::<Cursor>() {
        return Ok(StartFrom::Cursor(cursor));
    }
    let time = match text {
        "" => return Err(FORMS.to_owned()),
        "boot" => booted()?,
        text => ago(text, now).or_else(|| time(text, zone)).ok_or_else(|| FORMS.to_owned())?,
    };
    if time > now {
        return Err(format!("that is in the future; {FORMS}"));
    }
    Ok(StartFrom::Time(UnixNanos::from(time)))
}

fn ago(text: &str, now: Timestamp) -> Option<Timestamp> {
    let span: Span = text.parse().ok()?;
    let long = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    // "10m ago", which jiff reads as a negative span, is the same as "10m".
    now.checked_sub(long.abs()).ok()
}

fn time(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if let Ok(time) = Timestamp::from_str(text) {
        return Some(time);
    }
    let local = DateTime::from_str(text).ok()?;
    Some(local.to_zoned(zone.clone()).ok()?.timestamp())
}

/// When this machine was started: `btime` of /proc/stat, in seconds since the epoch, proc_stat(5).
fn booted() -> Result<Timestamp, String> {
    let failed = |error: io::Error| format!("cannot read when this machine was started: /proc/stat: {error}");
    let stat = fs::read_to_string("/proc/stat").map_err(failed)?;
    btime(&stat).ok_or_else(|| failed(io::Error::other("it has no btime")))
}

fn btime(stat: &str) -> Option<Timestamp> {
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Timestamp::from_second(seconds.trim().parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use secmon_protocol::ids::LogId;

    use super::*;

    fn read(text: &str) -> Result<StartFrom, String> {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        at(text, now, &zone, || Ok("2026-11-20T00:00:01Z".parse().unwrap()))
    }

    fn time_of(text: &str) -> String {
        match read(text) {
            Ok(StartFrom::Time(time)) => time.rfc3339(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, time) in [
            ("10m", "2026-11-21T11:50:00Z"),
            ("1h 30m", "2026-11-21T10:30:00Z"),
            ("2d", "2026-11-19T12:00:00Z"),
            ("90s", "2026-11-21T11:58:30Z"),
            ("10 minutes ago", "2026-11-21T11:50:00Z"),
            ("boot", "2026-11-20T00:00:01Z"),
            ("2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z"),
            ("2026-11-21T10:00:00+01:00", "2026-11-21T09:00:00Z"),
            ("2026-11-21 10:00:00.5", "2026-11-21T09:00:00.5Z"),
            ("2026-11-21 10:00", "2026-11-21T09:00:00Z"),
            ("2026-11-21", "2026-11-20T23:00:00Z"),
        ] {
            assert_eq!(time_of(text), time, "{text}");
        }
    }

    #[test]
    fn a_cursor_is_a_place_and_not_a_time() {
        let cursor = Cursor { log: LogId(0xfeed), n: 42 };
        assert_eq!(read("000000000000feed-42"), Ok(StartFrom::Cursor(cursor)));
    }

    #[test]
    fn anything_else_is_told_what_could_be_written() {
        for bad in
            ["", "x", "10", "yesterday", "feed-42", "2026-13-01", "-", "2026-11-21T25:00", "99999999999d"]
        {
            let error = read(bad).unwrap_err();
            assert!(error.contains("10m, 2h or 1d") && error.contains("a cursor"), "{bad}: {error}");
        }
        assert!(read("2026-11-21 14:00").unwrap_err().starts_with("that is in the future"));
    }

    #[test]
    fn this_machine_knows_when_it_was_started() {
        assert_eq!(btime("cpu 1 2\nbtime 1792500000\nx 1\n"), Timestamp::from_second(1_792_500_000).ok());
        assert_eq!(btime("cpu 1 2\n"), None);
        assert!(booted().unwrap() <= Timestamp::now());
    }
}
