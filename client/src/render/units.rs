//! Numbers for people: bytes and durations.

/// Bytes with a binary unit and at most four digits, as wg(8) does: `1.4 MiB`.
#[must_use]
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    // Tenths of the unit, rounded down, in whole numbers: no float, no surprise at a border.
    let mut scaled = u128::from(n) * 10;
    let mut unit = "B";
    for next in UNITS {
        if scaled < 10_240 {
            break;
        }
        scaled /= 1024;
        unit = next;
    }
    format!("{}.{} {unit}", scaled / 10, scaled % 10)
}

/// A duration in its two largest units: `3d 4h`, `2m 5s`, `0s`. Negative ones count as 0.
#[must_use]
pub fn duration(nanos: i64) -> String {
    let seconds = nanos.max(0) / 1_000_000_000;
    let (d, h, m, s) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let parts = [(d, "d"), (h, "h"), (m, "m"), (s, "s")];
    let first = parts.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    let shown: Vec<String> = parts[first..]
        .iter()
        .take(2)
        .filter(|(n, unit)| *n > 0 || (*unit == "s" && first == 3))
        .map(|(n, unit)| format!("{n}{unit}"))
        .collect();
    shown.join(" ")
}

/// How long something took: `0.12s`, `3.4s`, `2m 5s`.
pub(super) fn took(nanos: i64) -> String {
    let hundredths = nanos.max(0) / 10_000_000;
    match hundredths {
        0..1_000 => format!("{}.{:02}s", hundredths / 100, hundredths % 100),
        1_000..6_000 => format!("{}.{}s", hundredths / 100, hundredths / 10 % 10),
        _ => duration(nanos),
    }
}

/// A number of milliseconds as a timeout: `30s`, `1m 30s`, `250ms`.
pub(super) fn timeout(ms: u64) -> String {
    if ms.is_multiple_of(1000) {
        duration(i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000_000))
    } else {
        format!("{ms}ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_a_unit_that_fits() {
        let all = [0, 1023, 1024, 1536, 1 << 20, 5_368_709_120, u64::MAX].map(bytes);
        assert_eq!(all, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "5.0 GiB", "15.9 EiB"]);
    }

    #[test]
    fn durations_show_their_two_largest_units() {
        let all = [-5, 0, 59, 60, 125, 3600, 3661, 90_000, 864_000].map(|s| duration(s * 1_000_000_000));
        assert_eq!(all, ["0s", "0s", "59s", "1m", "2m 5s", "1h", "1h 1m", "1d 1h", "10d"]);
        assert_eq!(
            [0, 120_000_000, 12_340_000_000, 61_000_000_000].map(took),
            ["0.00s", "0.12s", "12.3s", "1m 1s"]
        );
        assert_eq!([timeout(30_000), timeout(250), timeout(90_000)], ["30s", "250ms", "1m 30s"]);
    }
}
