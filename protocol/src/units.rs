//! Sizes and durations as people write them in a configuration: `256MiB`, `7d`.

use std::time::Duration;

/// Bytes: a whole number and `B`, `KiB`, `MiB`, `GiB` or `TiB`.
///
/// # Errors
/// Anything else, with what would be right.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size, such as \"64MiB\" or \"2GiB\"");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// A duration: a whole number and `s`, `m`, `h`, `d` or `w`.
///
/// # Errors
/// Anything else, with what would be right.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration, such as \"30s\", \"12h\" or \"7d\"");
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let secs = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        "w" => 7 * 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    number.checked_mul(secs).map(Duration::from_secs).ok_or_else(wrong)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_understood_and_the_rest_refused() {
        assert_eq!((bytes("256MiB"), bytes("2 GiB")), (Ok(256 << 20), Ok(2 << 30)));
        assert_eq!((bytes("0B"), bytes("3KiB"), bytes("1TiB")), (Ok(0), Ok(3072), Ok(1 << 40)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!((duration("90s"), duration("1w")), (Ok(Duration::from_secs(90)), duration("7d")));
        for bad in ["", "5", "MiB", "-1MiB", "1MB", "1.5GiB", "20000000000TiB", "1MiB "] {
            assert!(bytes(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "7", "d", "7D", "1 day", "99999999999999999999s", "30000000000000000w"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }
}
