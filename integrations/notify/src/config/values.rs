//! How values are written in the configuration: durations, limits, networks, hours, days, lists of one.

use std::{fmt, net::IpAddr, str::FromStr, time::Duration};

use ipnet::IpNet;
use jiff::civil::{Time, Weekday};
use secmon_protocol::units;
use serde::{Deserialize, Deserializer, de};

/// Nanoseconds of a second.
const SECOND: i64 = 1_000_000_000;
/// Longest duration: what is longer is a slip, and would not fit beside a time.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err = String>>(from: D) -> Result<T, D::Error> {
    String::deserialize(from)?.parse().map_err(de::Error::custom)
}

macro_rules! from_text {
    ($($name:ty),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                parsed(from)
            }
        }
    )*};
}

from_text!(Span, Repeat, Limit, Network, Clock);

/// A duration: `"30s"`, `"5m"`, `"12h"`, `"7d"`; at most a year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(i64);

impl Span {
    /// That many seconds.
    #[must_use]
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds * SECOND)
    }

    /// In nanoseconds, as times are.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        self.0
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let span = units::duration(text)?;
        if span > LONGEST {
            return Err(format!("{text:?} is longer than a year"));
        }
        Ok(Self(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)))
    }
}

/// How often something is told again: a duration of at least a minute, or `"never"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Once is enough.
    Never,
    /// That often.
    Every(Span),
}

impl FromStr for Repeat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self::Never);
        }
        let span: Span = text.parse().map_err(|error| format!("{error}, or \"never\""))?;
        if span < Span::seconds(60) {
            return Err(format!("{text:?} is less than a minute; \"never\" turns it off"));
        }
        Ok(Self::Every(span))
    }
}

/// Messages per time: `"30/10m"`, or `"none"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(Option<(u32, Span)>);

impl Limit {
    /// Most messages of one limit.
    const MOST: u32 = 1_000_000;

    /// That many messages per that time; none where there is no limit.
    #[must_use]
    pub fn rate(self) -> Option<(u32, Span)> {
        self.0
    }
}

impl Default for Limit {
    /// Thirty at once, and three a minute for long: what a person reads, and what every service takes.
    fn default() -> Self {
        Self(Some((30, Span::seconds(600))))
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let wrong = || format!("{text:?} is no limit, such as \"30/10m\" (messages per time) or \"none\"");
        let (count, span) = text.split_once('/').ok_or_else(wrong)?;
        let count: u32 = count.trim().parse().map_err(|_| wrong())?;
        let span: Span = span.trim().parse().map_err(|_| wrong())?;
        if count == 0 || count > Self::MOST || span < Span::seconds(1) {
            return Err(format!("{text:?}: from 1 to 1000000 messages per second or longer"));
        }
        Ok(Self(Some((count, span))))
    }
}

/// A network, `10.0.0.0/8`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let net = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        net.map(|net| Self(net.trunc()))
            .ok_or_else(|| format!("{text:?} is no network, such as \"10.0.0.0/8\", and no address"))
    }
}

/// A time of the day: `"22:00"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock(pub Time);

impl FromStr for Clock {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let part = |text: &str| match text.as_bytes() {
            [a @ b'0'..=b'9', b @ b'0'..=b'9'] => i8::try_from((a - b'0') * 10 + (b - b'0')).ok(),
            _ => None,
        };
        let time =
            text.split_once(':').and_then(|(hour, minute)| Time::new(part(hour)?, part(minute)?, 0, 0).ok());
        time.map(Self).ok_or_else(|| format!("{text:?} is no time of the day, such as \"22:00\""))
    }
}

/// Days of the week: `["mon-fri", "sun"]`. None are all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Days(u8);

impl Days {
    const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

    /// Whether a day is among them.
    #[must_use]
    pub fn has(self, day: Weekday) -> bool {
        self.0 == 0 || self.0 & (1 << day.to_monday_zero_offset()) != 0
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        let of = |name: &str| {
            Self::NAMES.iter().position(|known| *known == name.trim().to_ascii_lowercase()).ok_or_else(|| {
                format!("{text:?} is no day: they are mon, tue, wed, thu, fri, sat, sun, and \"mon-fri\"")
            })
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (mut day, last) = (of(first)?, of(last)?);
        self.0 |= 1 << last;
        while day != last {
            self.0 |= 1 << day;
            day = (day + 1) % 7;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut days = Self::default();
        for text in OneOrMany::<String>::deserialize(from)?.0 {
            days.add(&text).map_err(de::Error::custom)?;
        }
        Ok(days)
    }
}

/// A list, of which one may be written without brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(vec![])
    }
}

impl<T> std::ops::Deref for OneOrMany<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

/// Keeps the words of an error about the one value, which serde's untagged enums lose.
struct Visitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
    type Value = OneOrMany<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one value, or a list of them")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        T::deserialize(de::value::StrDeserializer::new(text)).map(|one| OneOrMany(vec![one]))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(de::value::MapAccessDeserializer::new(map)).map(|one| OneOrMany(vec![one]))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut out = vec![];
        while let Some(one) = list.next_element()? {
            out.push(one);
        }
        Ok(OneOrMany(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_understood_and_the_rest_refused() {
        assert_eq!("30/10m".parse(), Ok(Limit::default()));
        assert_eq!("none".parse(), Ok(Limit(None)));
        assert_eq!("192.0.2.9/24".parse::<Network>(), "192.0.2.0/24".parse());
        assert_eq!("2001:db8::1".parse::<Network>().map(|n| n.0.prefix_len()), Ok(128));
        assert_eq!("never".parse(), Ok(Repeat::Never));
        for bad in ["30", "0/1m", "30/", "30/0s", "/1m", "-1/1m", "30/10", "off"] {
            assert!(bad.parse::<Limit>().is_err(), "{bad:?}");
        }
        for bad in ["7:00", "24:00", "12:60", "12", "12:00:00", "+1:00", ""] {
            assert!(bad.parse::<Clock>().is_err(), "{bad:?}");
        }
        assert!("400d".parse::<Span>().is_err() && "10s".parse::<Repeat>().is_err());
        assert!("10.0.0.0/33".parse::<Network>().is_err());
    }

    #[test]
    fn days_are_single_or_ranges_and_a_range_may_go_over_sunday() {
        let days = |texts: &[&str]| {
            let mut days = Days::default();
            texts.iter().try_for_each(|text| days.add(text)).map(|()| days)
        };
        let weekend = days(&["Sat-sun"]).unwrap();
        assert!(weekend.has(Weekday::Sunday) && !weekend.has(Weekday::Friday));
        let over = days(&["fri-mon", "wed"]).unwrap();
        let named: Vec<bool> =
            (0..7).map(|n| over.has(Weekday::from_monday_zero_offset(n).unwrap())).collect();
        assert_eq!(named, [true, false, true, false, true, true, true]);
        assert!(Days::default().has(Weekday::Monday) && days(&["monday"]).is_err());
    }
}
