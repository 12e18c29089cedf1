//! Arguments: integers, options and database numbers, read exactly as strictly as Redis reads them.
//!
//! An integer has one spelling: no sign but a minus, no leading zero, no space, nothing after it. Floating point
//! numbers are [`LongDouble`](super::long_double::LongDouble)'s.

use bytes::Bytes;

use crate::keyspace::DATABASE_COUNT;
use crate::reply::{CommandError, until_zero};

/// The longest spelling of a 64-bit integer: nineteen digits and a sign.
const INTEGER_CHARS_MAX: usize = 20;

/// The integer that these bytes spell, if they do.
#[must_use]
pub(crate) fn integer(text: &[u8]) -> Option<i64> {
    if text.len() > INTEGER_CHARS_MAX {
        return None;
    }
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        _ => (false, text),
    };
    match digits {
        [] => return None,
        [b'0', ..] => return (!negative && digits.len() == 1).then_some(0),
        _ => {}
    }
    let mut magnitude: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        magnitude = magnitude.checked_mul(10)?.checked_add(u64::from(digit - b'0'))?;
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// The integer that an argument spells.
///
/// # Errors
/// `ERR value is not an integer or out of range`.
pub(crate) fn integer_argument(text: &[u8]) -> Result<i64, CommandError> {
    integer(text).ok_or(CommandError::NOT_AN_INTEGER)
}

/// The 32-bit integer that an argument spells.
///
/// # Errors
/// `ERR value is not an integer or out of range` where it is no integer, and another text where it is too big a one.
pub(crate) fn small_integer_argument(text: &[u8]) -> Result<i32, CommandError> {
    i32::try_from(integer_argument(text)?)
        .map_err(|_| CommandError::fixed("ERR value is out of range, value must between -2147483648 and 2147483647"))
}

/// The database that an argument names.
///
/// # Errors
/// As [`small_integer_argument`], and `ERR DB index is out of range`.
pub(crate) fn database_argument(text: &[u8]) -> Result<u32, CommandError> {
    database_number(small_integer_argument(text)?)
}

/// The database of this number.
///
/// # Errors
/// `ERR DB index is out of range`.
pub(crate) fn database_number(number: i32) -> Result<u32, CommandError> {
    u32::try_from(number).ok().filter(|&db| db < DATABASE_COUNT).ok_or(CommandError::DB_OUT_OF_RANGE)
}

/// Whether an argument is this option; `name` in upper or lower case, as the argument may be.
#[must_use]
pub(crate) fn is_option(argument: &Bytes, name: &str) -> bool {
    argument.eq_ignore_ascii_case(name.as_bytes())
}

/// The cursor that an argument of the SCAN family spells: what C's `strtoul` takes for one, as Redis does, up to a zero
/// byte.
///
/// # Errors
/// `ERR invalid cursor`.
pub(crate) fn cursor_argument(text: &[u8]) -> Result<u64, CommandError> {
    let text = until_zero(text);
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    let cursor = match digits {
        // Nothing at all reads as zero; a sign alone is no number.
        [] => text.is_empty().then_some(0),
        [b'-', digits @ ..] => unsigned(digits).map(u64::wrapping_neg).filter(|_| text[0] == b'-'),
        _ => unsigned(digits),
    };
    cursor.ok_or(CommandError::fixed("ERR invalid cursor"))
}

fn unsigned(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_has_one_spelling() {
        for value in [0, 1, 9, 10, -1, -10, i64::MAX, i64::MIN, 1_000_000_000_000_000_000] {
            assert_eq!(integer(value.to_string().as_bytes()), Some(value));
        }
        for text in [
            "",
            "-",
            "+1",
            "01",
            "-0",
            "-01",
            "00",
            " 1",
            "1 ",
            "1.0",
            "1e3",
            "0x1",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551616",
            "99999999999999999999",
            "100000000000000000000",
            "1\0",
        ] {
            assert_eq!(integer(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_cursor_is_what_strtoul_takes() {
        for (text, value) in [
            ("0", 0),
            ("", 0),
            ("+0", 0),
            ("017", 17),
            ("-1", u64::MAX),
            ("18446744073709551615", u64::MAX),
            ("7\0x", 7),
        ] {
            assert_eq!(cursor_argument(text.as_bytes()), Ok(value), "{text:?}");
        }
        for text in ["x", "x\0", " 1", "1 ", "+", "-", "+-1", "18446744073709551616", "1x"] {
            assert!(cursor_argument(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_database_number_is_below_sixteen() {
        assert_eq!(database_argument(b"15"), Ok(15));
        assert_eq!(database_argument(b"16"), Err(CommandError::DB_OUT_OF_RANGE));
        assert_eq!(database_argument(b"-1"), Err(CommandError::DB_OUT_OF_RANGE));
        assert_eq!(database_argument(b"one"), Err(CommandError::NOT_AN_INTEGER));
        assert!(database_argument(b"2147483648").is_err_and(|error| error.text().contains("must between")));
    }
}
