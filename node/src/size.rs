//! Sizes in the configuration: `"64MiB"`.

use std::fmt;

use serde::{Deserialize, Deserializer, de::Error as _};

/// A number of bytes, written with its unit: `"512KiB"`, `"64MiB"`, `"1GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub usize);

/// Units, as they are written, and how far they shift.
const UNITS: [(&str, u32); 3] = [("KiB", 10), ("MiB", 20), ("GiB", 30)];

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().rev().find(|(_, shift)| self.0 != 0 && self.0.is_multiple_of(1 << shift)) {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

impl std::str::FromStr for ByteSize {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = UNITS.iter().find_map(|(unit, shift)| {
            let number: usize = text.strip_suffix(unit)?.trim_end().parse().ok()?;
            number.checked_mul(1 << shift).map(ByteSize)
        });
        parsed.ok_or_else(|| format!("{text:?} is no size; write a number and its unit, as in \"64MiB\""))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_as_it_is_written_and_nothing_else_is_one() {
        for text in ["1KiB", "64MiB", "3GiB", "1536KiB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        assert_eq!("64 MiB".parse(), Ok(ByteSize(64 << 20)));
        for bad in
            ["", "64", "MiB", "64MB", "-1MiB", "99999999999999999999GiB", "64mib", "18014398509481984KiB"]
        {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }
}
