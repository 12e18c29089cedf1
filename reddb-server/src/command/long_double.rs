//! The numbers of `INCRBYFLOAT` and `HINCRBYFLOAT`: 80-bit extended floating point, as Redis's `long double` is on x86-64,
//! so that the same increments give the same digits.
//!
//! A finite number is `±mantissa × 2^exponent` with a mantissa of 64 bits. Every operation rounds to nearest, ties to even.
//! Numbers too small for the format's normal range keep their full mantissa instead of losing bits gradually: they are so
//! far below the 17th decimal that no answer shows the difference.

use std::fmt;

use num_bigint::BigUint;

use crate::reply::CommandError;

/// The longest text that is read as a number.
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;
/// How many decimals are written, before trailing zeros go.
const DECIMALS: u32 = 17;
/// The exponent of the largest number's last mantissa bit.
const EXPONENT_MAX: i64 = 16383 - 63;
/// The exponent of the least significant bit of the smallest number above zero.
const EXPONENT_MIN: i64 = -16445;

/// A number that is not NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LongDouble {
    negative: bool,
    magnitude: Magnitude,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Magnitude {
    Zero,
    Finite {
        /// The highest bit is set.
        mantissa: u64,
        exponent: i64,
    },
    Infinite,
}

impl LongDouble {
    /// Zero.
    pub(crate) const ZERO: Self = Self { negative: false, magnitude: Magnitude::Zero };

    /// The number that the text spells as C's `strtold` reads it: decimal or hexadecimal (`0x1.8p3`), or an infinity; no
    /// space, nothing after it, no NaN, nothing that only rounds to zero or infinity.
    #[must_use]
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let (negative, unsigned) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let magnitude = if unsigned.eq_ignore_ascii_case(b"inf") || unsigned.eq_ignore_ascii_case(b"infinity") {
            Magnitude::Infinite
        } else if let [b'0', b'x' | b'X', hex @ ..] = unsigned {
            parse_hexadecimal(hex)?
        } else {
            parse_decimal(unsigned)?
        };
        Some(Self { negative, magnitude })
    }

    /// Whether it is an infinity.
    #[must_use]
    pub(crate) const fn is_infinite(&self) -> bool {
        matches!(self.magnitude, Magnitude::Infinite)
    }

    /// The sum, where it is finite.
    ///
    /// # Errors
    /// `ERR increment would produce NaN or Infinity`.
    pub(crate) fn plus(self, other: Self) -> Result<Self, CommandError> {
        let sum = match (self.magnitude, other.magnitude) {
            (Magnitude::Infinite, _) | (_, Magnitude::Infinite) => None,
            (Magnitude::Zero, Magnitude::Zero) => {
                Some(Self { negative: self.negative && other.negative, ..Self::ZERO })
            }
            (Magnitude::Zero, _) => Some(other),
            (_, Magnitude::Zero) => Some(self),
            (Magnitude::Finite { mantissa: m1, exponent: e1 }, Magnitude::Finite { mantissa: m2, exponent: e2 }) => {
                let (one, two) = ((self.negative, m1, e1), (other.negative, m2, e2));
                if (e1, m1) >= (e2, m2) { add(one, two) } else { add(two, one) }
            }
        };
        sum.ok_or(CommandError::fixed("ERR increment would produce NaN or Infinity"))
    }
}

/// Adds two numbers, each a sign, a mantissa and an exponent, the first of them not the smaller.
fn add(
    (negative, big, exponent): (bool, u64, i64),
    (other, small, small_exponent): (bool, u64, i64),
) -> Option<LongDouble> {
    // Sixty-two bits below the mantissa and one above; what does not fit below is remembered in the lowest.
    const GUARD: u32 = 62;
    let big = u128::from(big) << GUARD;
    let small = u128::from(small) << GUARD;
    let distance = u32::try_from(exponent - small_exponent).unwrap_or(u32::MAX);
    let small = match small.checked_shr(distance) {
        Some(kept) => kept | u128::from(kept << distance != small),
        None => 1,
    };
    let sum = if negative == other { big + small } else { big - small };
    if sum == 0 {
        return Some(LongDouble::ZERO);
    }
    let magnitude = round(sum, false, exponent - i64::from(GUARD))?;
    Some(LongDouble { negative, magnitude })
}

/// `bits × 2^exponent`, and a little more where `more`, rounded to 64 bits; `None` where that is too big.
fn round(bits: u128, more: bool, exponent: i64) -> Option<Magnitude> {
    debug_assert!(bits != 0, "zero has no highest bit");
    let shift = bits.leading_zeros();
    let bits = bits << shift;
    let mut exponent = exponent + 64 - i64::from(shift);
    let mut mantissa = u64::try_from(bits >> 64).ok()?;
    let rest = u64::try_from(bits & u128::from(u64::MAX)).ok()?;
    let half = 1 << 63;
    if rest > half || (rest == half && (more || mantissa & 1 == 1)) {
        mantissa = mantissa.wrapping_add(1);
        if mantissa == 0 {
            mantissa = half;
            exponent += 1;
        }
    }
    (exponent <= EXPONENT_MAX).then_some(Magnitude::Finite { mantissa, exponent })
}

/// `numerator / denominator × 2^exponent`, rounded; `None` where that is too big or rounds to zero.
fn round_quotient(numerator: &BigUint, denominator: &BigUint, exponent: i64) -> Option<Magnitude> {
    // Enough bits for the quotient to have more than 64 and at most 128.
    let wanted = i64::try_from(denominator.bits()).ok()? + 100 - i64::try_from(numerator.bits()).ok()?;
    let (numerator, denominator) = match u64::try_from(wanted) {
        Ok(up) => (numerator << up, denominator.clone()),
        Err(_) => (numerator.clone(), denominator << wanted.unsigned_abs()),
    };
    let quotient = &numerator / &denominator;
    let more = &quotient * &denominator != numerator;
    let exponent = exponent - wanted;
    let bits = u128::try_from(quotient).ok()?;
    // Half of the smallest number, and everything below, is zero.
    let top = exponent + 127 - i64::from(bits.leading_zeros());
    if top < EXPONENT_MIN - 1 || (top == EXPONENT_MIN - 1 && bits.is_power_of_two() && !more) {
        return None;
    }
    round(bits, more, exponent)
}

/// An exponent's digits, with their sign; saturates far beyond any that matters.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = (value * 10 + i64::from(digit - b'0')).min(1_000_000_000);
    }
    Some(if negative { -value } else { value })
}

/// Splits `digits[.digits][marker exponent]`: all the digits, how many of them follow the point, and the exponent.
fn split(text: &[u8], marker: u8, is_digit: fn(&u8) -> bool) -> Option<(Vec<u8>, i64, i64)> {
    let (body, exponent) = match text.iter().position(|byte| byte.eq_ignore_ascii_case(&marker)) {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (whole, fraction) = match body.iter().position(|&byte| byte == b'.') {
        Some(at) => (&body[..at], &body[at + 1..]),
        None => (body, &body[..0]),
    };
    if whole.is_empty() && fraction.is_empty() || !whole.iter().chain(fraction).all(is_digit) {
        return None;
    }
    let decimals = i64::try_from(fraction.len()).ok()?;
    Some(([whole, fraction].concat(), decimals, exponent))
}

fn parse_decimal(text: &[u8]) -> Option<Magnitude> {
    let (digits, decimals, exponent) = split(text, b'e', u8::is_ascii_digit)?;
    let number = BigUint::parse_bytes(&digits, 10)?;
    if number.bits() == 0 {
        return Some(Magnitude::Zero);
    }
    let exponent = exponent - decimals;
    // With at most some five thousand digits, nothing beyond this is in the format's range.
    if exponent.unsigned_abs() > 11_000 {
        return None;
    }
    let power = BigUint::from(10u32).pow(u32::try_from(exponent.unsigned_abs()).ok()?);
    let one = BigUint::from(1u32);
    if exponent >= 0 { round_quotient(&(number * power), &one, 0) } else { round_quotient(&number, &power, 0) }
}

fn parse_hexadecimal(text: &[u8]) -> Option<Magnitude> {
    let (digits, decimals, exponent) = split(text, b'p', u8::is_ascii_hexdigit)?;
    let number = BigUint::parse_bytes(&digits, 16)?;
    if number.bits() == 0 {
        return Some(Magnitude::Zero);
    }
    round_quotient(&number, &BigUint::from(1u32), exponent - 4 * decimals)
}

impl fmt::Display for LongDouble {
    /// Seventeen decimals, without trailing zeros, without a minus before zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mantissa, exponent) = match self.magnitude {
            Magnitude::Zero => return f.write_str("0"),
            Magnitude::Infinite => return f.write_str(if self.negative { "-inf" } else { "inf" }),
            Magnitude::Finite { mantissa, exponent } => (mantissa, exponent),
        };
        let scaled = BigUint::from(mantissa) * BigUint::from(10u32).pow(DECIMALS);
        let shift = exponent.unsigned_abs();
        let units = if exponent >= 0 {
            scaled << shift
        } else if shift > scaled.bits() + 1 {
            BigUint::ZERO
        } else {
            let floor = &scaled >> shift;
            let rest = scaled - (&floor << shift);
            let half = BigUint::from(1u32) << (shift - 1);
            let up = rest > half || (rest == half && floor.bit(0));
            floor + u32::from(up)
        };
        let digits = units.to_string();
        let digits = format!("{digits:0>width$}", width = DECIMALS as usize + 1);
        let (whole, decimals) = digits.split_at(digits.len() - DECIMALS as usize);
        let decimals = decimals.trim_end_matches('0');
        let point = if decimals.is_empty() { "" } else { "." };
        let sign = if self.negative && (whole != "0" || !decimals.is_empty()) { "-" } else { "" };
        write!(f, "{sign}{whole}{point}{decimals}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> LongDouble {
        LongDouble::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text} is a number"))
    }

    #[test]
    fn sums_show_the_digits_that_redis_shows() {
        for (one, two, sum) in [
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("3005", "0.1", "3005.10000000000000009"),
            ("1e17", "0.1", "100000000000000000.1015625"),
            ("3", "-3", "0"),
            ("-0.0", "-0", "0"),
            ("1", "-1e-20", "1"),
            ("0", "-1e-18", "0"),
            ("0", "0.000000000000000006", "0.00000000000000001"),
            ("1", "5e-18", "1"),
            ("9223372036854775807", "1", "9223372036854775808"),
            ("0x1p3", "0", "8"),
            ("+.5", "1.", "1.5"),
            ("0", "3.6e-4951", "0"),
        ] {
            assert_eq!(number(one).plus(number(two)).unwrap().to_string(), sum, "{one} + {two}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let long = "1".repeat(TEXT_BYTES_MAX + 1);
        for text in [
            "",
            " 1",
            "1 ",
            "1e",
            "1e+",
            "e5",
            ".",
            "-",
            "--1",
            "0x",
            "0x.p1",
            "nan",
            "NaN(1)",
            "infin",
            "1e5000",
            "1e-5000",
            "1.2.3",
            "1,5",
            "1\0",
            "0x1p99999",
            "1e-4951",
            &long,
        ] {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn sums_that_are_not_finite_are_refused() {
        let largest = number("1.18973149535723176502e4932");
        assert!(largest.plus(largest).is_err());
        assert!(number("inf").plus(number("-infinity")).is_err());
        assert!(number("inf").plus(number("1")).is_err());
        assert!(largest.plus(number("1")).is_ok());
    }

    #[test]
    fn a_double_is_written_exactly_where_it_fits() {
        // Every double is an extended number, and adding two of them loses at most what 64 bits cannot hold.
        for value in [0.5f64, 1.25, 1024.0, -3.0625, 1e15, 123_456_789.75] {
            assert_eq!(number(&value.to_string()).plus(LongDouble::ZERO).unwrap().to_string(), value.to_string());
        }
    }
}
