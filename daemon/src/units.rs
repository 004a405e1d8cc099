//! Sizes, counts and durations as users write and read them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

const UNITS: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// A number of bytes, written as `64MiB`, `100 kB` or `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size, like 64MiB or 4096");
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start();
        let factor = match unit {
            "" => 1,
            unit => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(wrong)?.1,
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number
            .checked_mul(factor)
            .map(Size)
            .ok_or_else(|| format!("`{text}` is more bytes than can be counted"))
    }
}

/// The size in the largest binary unit that leaves no remainder.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, factor): &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*factor);
        match UNITS.iter().filter(|(name, _)| name.ends_with("iB")).rev().find(whole) {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"64MiB\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Size, E> {
                u64::try_from(number).map(Size).map_err(|_| E::custom("a size is not negative"))
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

/// A number of bytes for display: `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    let binary = UNITS.iter().filter(|(name, _)| name.ends_with("iB")).rev();
    match binary.into_iter().find(|(_, factor)| count >= *factor) {
        Some((name, factor)) => format!("{:.1} {name}", count as f64 / *factor as f64),
        None => format!("{count} B"),
    }
}

/// A count with its noun: `1 route`, `2 routes`.
pub fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Parses a duration such as `7d`, `30s` or `1m 30s`. A plain number, such as `90` or `0.5`, is in seconds.
///
/// # Errors
/// The reason, and how a duration is written.
pub fn duration(text: &str) -> Result<Duration, String> {
    let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if let Some(seconds) = text.parse::<f64>().ok().filter(|_| is_plain(text)) {
        return Duration::try_from_secs_f64(seconds)
            .map_err(|_| format!("{text} seconds are too long; the longest time is some 10¹⁹ seconds"));
    }
    humantime::parse_duration(text)
        .map_err(|_| format!("`{text}` is no duration; write it as 90 (seconds), 500ms, 30s, 5m or 7d"))
}

/// Seconds for display, in at most two units: `6 days 23 h`.
pub fn seconds(count: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("day", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let shown = |count: u64, unit: &str| match unit {
        "day" => counted(count, unit),
        unit => format!("{count} {unit}"),
    };
    let largest = UNITS.iter().position(|(_, length)| count >= *length).unwrap_or(UNITS.len() - 1);
    let mut parts = UNITS.iter().skip(largest).take(2).scan(count, |rest, (unit, length)| {
        let whole = *rest / length;
        *rest %= length;
        Some((whole, *unit))
    });
    let first = parts.next().map(|(whole, unit)| shown(whole, unit)).unwrap_or_default();
    match parts.next().filter(|(whole, _)| *whole > 0) {
        Some((whole, unit)) => format!("{first} {}", shown(whole, unit)),
        None => first,
    }
}

/// A time for display; a short one in milliseconds.
pub fn time(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        count => seconds(count),
    }
}

/// Microseconds as milliseconds.
pub fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_and_perhaps_a_unit() {
        for (text, expected) in [
            ("64MiB", 64 << 20),
            ("1 gib", 1 << 30),
            ("100kB", 100_000),
            ("4096", 4096),
            (" 7B ", 7),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(Size(expected)), "{text}");
        }
        for text in ["", "MiB", "1.5MiB", "-1", "64 parsecs", "99999999999GiB", "18446744073709551616"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_size_printed_is_the_size_read() {
        for size in [0, 1, 1000, 1 << 10, 1536, 64 << 20, 3 << 30, u64::MAX] {
            assert_eq!(Size(size).to_string().parse(), Ok(Size(size)));
        }
        assert_eq!(Size(64 << 20).to_string(), "64MiB");
    }

    #[test]
    fn a_count_of_one_is_singular() {
        let texts = [0, 1, 2].map(|count| counted(count, "route"));
        assert_eq!(texts, ["0 routes", "1 route", "2 routes"]);
    }

    #[test]
    fn a_duration_is_shown_in_at_most_two_units() {
        let shown = [0, 59, 60, 3600, 3661, 86_400, 90_000, 604_799, 31_536_000].map(seconds);
        let expected =
            ["0 s", "59 s", "1 min", "1 h", "1 h 1 min", "1 day", "1 day 1 h", "6 days 23 h", "365 days"];
        assert_eq!(shown, expected);
        assert_eq!(
            [time(Duration::from_millis(250)), time(Duration::from_secs(90))],
            ["250 ms", "1 min 30 s"]
        );
    }

    #[test]
    fn a_duration_is_in_seconds_unless_it_has_a_unit() {
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86400)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        for text in ["soon", "", "-1s", "-1", "inf", "NaN", "1e3"] {
            assert!(duration(text).unwrap_err().contains("30s"), "{text}");
        }
    }
}
