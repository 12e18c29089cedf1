//! Sizes, durations and moments as people write them, and as people read them.
//!
//! Sizes: a whole number of bytes, or with a suffix `k`, `m`, `g`, `t` (also `kb`, `kib`, …; any case); all of them are
//! binary: `1k` is 1024 bytes. Durations: `500ms`, `30s`, `5m`, `1h`, `7d`, also joined as in `1h30m`. Moments: RFC 3339
//! with an offset (`2026-01-02T03:04:05Z`) or Unix milliseconds. What could mean two things is refused.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub u64);

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub Duration);

/// A length of time, or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanOrNever(pub Option<Duration>);

/// A moment, in Unix milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub u64);

/// A text that is no size, duration or moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UnitError(String);

/// Unix milliseconds below this (March 1973) are taken for seconds by mistake.
const MOMENT_MS_MIN: u64 = 100_000_000_000;

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bad = || UnitError(format!("{text:?} is no size: write bytes, or for example 64k, 512mb, 8gb"));
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match lower[digits.len()..].trim() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(bad()),
        };
        let number: u64 = whole_number(digits.trim()).ok_or_else(bad)?;
        number
            .checked_mul(1 << shift)
            .map(Self)
            .ok_or_else(|| UnitError(format!("{text:?} is more than 2^64 - 1 bytes")))
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bad = || {
            UnitError(format!(
                "{text:?} is no duration: write a number with its unit, for example 500ms, 30s, 5m, 1h, 7d"
            ))
        };
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(bad());
        }
        let mut total = Duration::ZERO;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, after) = rest.split_at(digits);
            let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
            let (unit, after) = after.split_at(letters);
            let unit_ms: u64 = match unit {
                "ms" => 1,
                "s" => 1000,
                "m" | "min" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return Err(bad()),
            };
            let part = whole_number(number).and_then(|number| number.checked_mul(unit_ms)).ok_or_else(bad)?;
            total = total.checked_add(Duration::from_millis(part)).ok_or_else(bad)?;
            rest = after;
        }
        Ok(Self(total))
    }
}

impl FromStr for SpanOrNever {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text.trim().eq_ignore_ascii_case("never") {
            return Ok(Self(None));
        }
        let span: Span = text.parse().map_err(|UnitError(text)| UnitError(format!("{text}, or `never`")))?;
        if span.0.is_zero() {
            return Err(UnitError("a duration of 0 is ambiguous here: write `never`, or how often".into()));
        }
        Ok(Self(Some(span.0)))
    }
}

impl FromStr for Moment {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let text = text.trim();
        if let Some(ms) = whole_number(text) {
            if ms < MOMENT_MS_MIN {
                return Err(UnitError(format!(
                    "{text} milliseconds after 1970 looks like seconds: write Unix milliseconds, or RFC 3339 such as \
                     2026-01-02T03:04:05Z"
                )));
            }
            return Ok(Self(ms));
        }
        let timestamp: Timestamp = text.parse().map_err(|error| {
            UnitError(format!(
                "{text:?} is no moment: write RFC 3339 with its offset, such as 2026-01-02T03:04:05Z or \
                 2026-01-02T03:04:05+01:00, or Unix milliseconds ({error})"
            ))
        })?;
        // What is finer than a millisecond is cut off: records have whole milliseconds, and a target takes all at or before it.
        u64::try_from(timestamp.as_millisecond()).map(Self).map_err(|_| UnitError(format!("{text} is before 1970")))
    }
}

/// Digits only: no sign, no spaces, no underscores.
fn whole_number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a size: bytes as a number, or a text such as \"512mb\"")]
        enum Written {
            Bytes(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Bytes(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for SpanOrNever {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for Size {
    /// `1536` as `1.5 KiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        let units = [("TiB", 40_u32), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match units.into_iter().find(|(_, shift)| bytes >> shift > 0) {
            None => write!(f, "{bytes} B"),
            Some((unit, shift)) => {
                let whole = bytes >> shift;
                let tenths = ((bytes - (whole << shift)) * 10) >> shift;
                write!(f, "{whole}.{tenths} {unit}")
            }
        }
    }
}

impl fmt::Display for Span {
    /// The two largest units: `1h 5m`, `2.5s`, `12ms`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let millis = self.0.subsec_millis();
        match seconds {
            0 => write!(f, "{millis}ms"),
            1..60 => write!(f, "{seconds}.{}s", millis / 100),
            60..3600 => write!(f, "{}m {}s", seconds / 60, seconds % 60),
            3600..86_400 => write!(f, "{}h {}m", seconds / 3600, seconds % 3600 / 60),
            _ => write!(f, "{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
        }
    }
}

impl fmt::Display for Moment {
    /// RFC 3339 in UTC with milliseconds; the bare number where that is impossible.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()) {
            Some(timestamp) => write!(f, "{timestamp:.3}"),
            None => write!(f, "{} ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_binary_and_take_any_case() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("64k", 64 << 10),
            ("64KB", 64 << 10),
            ("1 KiB", 1 << 10),
            ("512mb", 512 << 20),
            ("8gb", 8 << 30),
            ("2T", 2 << 40),
            ("18446744073709551615", u64::MAX),
            ("7b", 7),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "k", "-1", "+1", "1.5g", "1_000", "0x10", "8gbb", "8 g b", "16777216t", "18446744073709551616"]
        {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit_and_may_be_joined() {
        for (text, ms) in [
            ("0s", 0),
            ("500ms", 500),
            ("1s", 1000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("18446744073709551615ms", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(ms))), "{text}");
        }
        for text in ["", "5", "s", "1 s 5", "-1s", "1.5h", "1w", "18446744073709551615d", "1S"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert_eq!("never".parse(), Ok(SpanOrNever(None)));
        assert_eq!("1h".parse(), Ok(SpanOrNever(Some(Duration::from_hours(1)))));
        assert!("0s".parse::<SpanOrNever>().is_err());
    }

    #[test]
    fn moments_are_rfc_3339_with_an_offset_or_unix_milliseconds() {
        for (text, ms) in [
            ("1767323045000", 1_767_323_045_000),
            ("2026-01-02T03:04:05Z", 1_767_323_045_000),
            ("2026-01-02T04:04:05+01:00", 1_767_323_045_000),
            ("2026-01-02T03:04:05.1239Z", 1_767_323_045_123),
            ("2026-01-02 03:04:05Z", 1_767_323_045_000),
        ] {
            assert_eq!(text.parse(), Ok(Moment(ms)), "{text}");
        }
    }

    #[test]
    fn ambiguous_moments_are_refused() {
        for text in ["", "2026-01-02", "2026-01-02T03:04:05", "1767323045", "-5", "yesterday", "1969-01-01T00:00:00Z"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
        let error = "1767323045".parse::<Moment>().expect_err("these are seconds");
        assert!(error.to_string().contains("seconds"), "{error}");
    }

    #[test]
    fn a_moment_is_shown_as_it_can_be_given() {
        let moment = Moment(1_767_323_045_120);
        assert_eq!(moment.to_string(), "2026-01-02T03:04:05.120Z");
        assert_eq!(moment.to_string().parse(), Ok(moment));
        assert_eq!(Moment(u64::MAX).to_string(), "18446744073709551615 ms");
    }

    #[test]
    fn sizes_and_spans_are_shown_in_a_readable_unit() {
        assert_eq!(Size(1023).to_string(), "1023 B");
        assert_eq!(Size(1536).to_string(), "1.5 KiB");
        assert_eq!(Size(u64::MAX).to_string(), "16777215.9 TiB");
        assert_eq!(Span(Duration::from_millis(2500)).to_string(), "2.5s");
        assert_eq!(Span(Duration::from_secs(3900)).to_string(), "1h 5m");
    }
}
