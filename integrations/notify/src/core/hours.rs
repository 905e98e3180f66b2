//! Hours of days in a zone: the times of rules, and quiet hours. A day may have 23 or 25 hours; what is meant is the clock on the wall.

use jiff::{Timestamp, civil, tz::TimeZone};
use secmon_protocol::time::UnixNanos;

use super::BadRules;
use crate::config::{Days, HoursSection};

/// Hours, ready to be asked.
#[derive(Debug, Clone)]
pub(super) struct Hours {
    days: Days,
    from: civil::Time,
    to: civil::Time,
    zone: TimeZone,
}

impl Hours {
    /// `zone` is that of the destination.
    pub(super) fn new(section: &HoursSection, zone: &TimeZone) -> Result<Self, BadRules> {
        let zone = match &section.zone {
            Some(name) => self::zone(name)?,
            None => zone.clone(),
        };
        Ok(Self { days: section.days, from: section.from.0, to: section.to.0, zone })
    }

    /// When the hours end in which a moment lies; none where it lies in none.
    pub(super) fn end(&self, now: UnixNanos) -> Option<UnixNanos> {
        let now = now.timestamp();
        let today = now.to_zoned(self.zone.clone()).date();
        // Of those that began yesterday, some go on.
        [today, today.yesterday().ok()?].into_iter().find_map(|day| {
            if !self.days.has(day.weekday()) {
                return None;
            }
            let last = if self.to > self.from { day } else { day.tomorrow().ok()? };
            let (start, end) = (self.moment(day, self.from)?, self.moment(last, self.to)?);
            (start <= now && now < end).then(|| end.into())
        })
    }

    /// A time that the clock skips is as much later; of one that comes twice, it is the first (RFC 5545 §3.3.5).
    fn moment(&self, day: civil::Date, time: civil::Time) -> Option<Timestamp> {
        self.zone.to_ambiguous_timestamp(day.to_datetime(time)).compatible().ok()
    }
}

/// A zone by its name, or as a POSIX TZ string.
pub(super) fn zone(name: &str) -> Result<TimeZone, BadRules> {
    TimeZone::get(name).or_else(|_| TimeZone::posix(name)).map_err(|_| {
        BadRules(format!(
            "zone {name:?} is not known here: a name such as \"Europe/Berlin\" needs the system's time zone database (package \
             tzdata), a POSIX form such as \"CET-1CEST,M3.5.0,M10.5.0/3\" does not"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixNanos {
        text.parse::<Timestamp>().unwrap().into()
    }

    fn hours(toml: &str) -> Hours {
        let berlin = zone("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        Hours::new(&toml::from_str(toml).unwrap(), &berlin).unwrap()
    }

    #[test]
    fn a_night_goes_over_midnight_and_belongs_to_the_day_on_which_it_begins() {
        let nights = hours("from = '22:00'\nto = '06:00'\ndays = ['mon-fri']");
        // 2026-11-20 is a Friday; Berlin is an hour ahead.
        assert_eq!(nights.end(at("2026-11-20T21:30:00Z")), Some(at("2026-11-21T05:00:00Z")));
        assert_eq!(nights.end(at("2026-11-21T04:59:59Z")), Some(at("2026-11-21T05:00:00Z")));
        assert_eq!(nights.end(at("2026-11-21T05:00:00Z")), None);
        assert_eq!(nights.end(at("2026-11-21T21:30:00Z")), None, "Saturday's");
        let whole = hours("days = 'sun'");
        assert_eq!(whole.end(at("2026-11-22T12:00:00Z")), Some(at("2026-11-22T23:00:00Z")));
    }

    #[test]
    fn the_clock_on_the_wall_counts_when_it_is_changed() {
        let nights = hours("from = '22:00'\nto = '06:00'");
        // In the night to 2026-03-29 an hour is missing, in that to 2026-10-25 there is one more.
        assert_eq!(nights.end(at("2026-03-28T21:00:00Z")), Some(at("2026-03-29T04:00:00Z")));
        assert_eq!(nights.end(at("2026-10-24T20:00:00Z")), Some(at("2026-10-25T05:00:00Z")));
        let skipped = hours("from = '02:30'\nto = '04:00'");
        assert_eq!(skipped.end(at("2026-03-29T01:00:00Z")), None);
        assert_eq!(skipped.end(at("2026-03-29T01:30:00Z")), Some(at("2026-03-29T02:00:00Z")));
    }

    #[test]
    fn a_zone_that_is_not_known_is_refused() {
        assert!(zone("Middle/Earth").unwrap_err().to_string().contains("Middle/Earth"));
    }
}
