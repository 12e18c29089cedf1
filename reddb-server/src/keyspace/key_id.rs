//! An id inside an engine key: as short as can be, in the order of ids.
//!
//! ```text
//! id      number (LSN) ‖ number (index)
//! number  00 … f7                          itself
//!         f7 + n ‖ n bytes, big-endian     n from 1 to 8: as few as hold it, for numbers above f7
//! ```
//!
//! Invariants:
//! * Byte order is the order of (LSN, index). No id begins another, so what starts with an id's bytes belongs to that id.
//! * Every id has exactly one form. Any other is an error: two forms of one id would be two entries.

use std::ops::Deref;

use reddb_file::Lsn;
use reddb_wire::ObjectId;

/// The highest number that is its own byte.
const SINGLE_MAX: u8 = 0xf7;
const DIGITS_MAX: usize = 8;
const INDEX_DIGITS_MAX: usize = 4;

const _: () = assert!(SINGLE_MAX as usize + DIGITS_MAX == u8::MAX as usize, "every first byte means something");

/// By the number of digits after it.
const FIRST_BYTES: [u8; 1 + DIGITS_MAX] = {
    let mut bytes = [SINGLE_MAX; 1 + DIGITS_MAX];
    let mut digits = 1;
    while digits < bytes.len() {
        bytes[digits] = bytes[digits - 1] + 1;
        digits += 1;
    }
    bytes
};

/// An id's form in engine keys: 2 to [`KeyId::BYTES_MAX`] bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyId {
    bytes: [u8; KeyId::BYTES_MAX],
    len: usize,
}

impl KeyId {
    /// The length of the longest form, in bytes.
    pub(super) const BYTES_MAX: usize = 1 + DIGITS_MAX + 1 + INDEX_DIGITS_MAX;

    /// The form of `id`.
    #[must_use]
    pub(super) fn new(id: ObjectId) -> Self {
        let mut out = Self { bytes: [0; Self::BYTES_MAX], len: 0 };
        out.push(id.lsn().get());
        out.push(u64::from(id.index()));
        out
    }

    fn push(&mut self, number: u64) {
        let out = &mut self.bytes[self.len..];
        if let Ok(single @ ..=SINGLE_MAX) = u8::try_from(number) {
            out[0] = single;
            self.len += 1;
            return;
        }
        let bytes = number.to_be_bytes();
        let digits = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        out[0] = FIRST_BYTES[digits.len()];
        out[1..=digits.len()].copy_from_slice(digits);
        self.len += 1 + digits.len();
    }

    /// The id that `bytes` begin with, and what follows it.
    ///
    /// # Errors
    /// What is wrong, where they do not begin with an id in its one form.
    pub(super) fn split(bytes: &[u8]) -> Result<(ObjectId, &[u8]), &'static str> {
        let (lsn, rest) = split_number(bytes)?;
        let (index, rest) = split_number(rest)?;
        let index = u32::try_from(index).map_err(|_| "an id's index has more than 32 bits")?;
        Ok((ObjectId::new(Lsn::new(lsn), index), rest))
    }
}

fn split_number(bytes: &[u8]) -> Result<(u64, &[u8]), &'static str> {
    let (first, rest) = bytes.split_first().ok_or("cut short in an id")?;
    let Some(len) = first.checked_sub(SINGLE_MAX).map(usize::from).filter(|len| *len > 0) else {
        return Ok((u64::from(*first), rest));
    };
    let (digits, rest) = rest.split_at_checked(len).ok_or("cut short in an id")?;
    let number = digits.iter().fold(0, |number, digit| number << 8 | u64::from(*digit));
    if digits[0] == 0 || number <= u64::from(SINGLE_MAX) {
        return Err("an id that is longer than it must be");
    }
    Ok((number, rest))
}

impl Deref for KeyId {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(lsn: u64, index: u32) -> ObjectId {
        ObjectId::new(Lsn::new(lsn), index)
    }

    #[test]
    fn the_bytes_are_golden() {
        let golden: &[(ObjectId, &[u8])] = &[
            (id(0, 0), &[0, 0]),
            (id(0, 15), &[0, 15]),
            (id(1, 0), &[1, 0]),
            (id(247, 247), &[0xf7, 0xf7]),
            (id(248, 248), &[0xf8, 0xf8, 0xf8, 0xf8]),
            (id(255, 256), &[0xf8, 0xff, 0xf9, 1, 0]),
            (id(65_535, 65_536), &[0xf9, 0xff, 0xff, 0xfa, 1, 0, 0]),
            (id(1_000_000, 0), &[0xfa, 0x0f, 0x42, 0x40, 0]),
            (id(1 << 24, 1 << 24), &[0xfb, 1, 0, 0, 0, 0xfb, 1, 0, 0, 0]),
            (id(1 << 47, 3), &[0xfd, 0x80, 0, 0, 0, 0, 0, 3]),
            (id(u64::MAX, 0), &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]),
            (id(0, u32::MAX), &[0, 0xfb, 0xff, 0xff, 0xff, 0xff]),
            (id(247, 248), &[0xf7, 0xf8, 0xf8]),
            (id(258, 3), &[0xf9, 1, 2, 3]),
        ];
        for (id, bytes) in golden {
            assert_eq!(&*KeyId::new(*id), *bytes, "{id:?}");
            assert_eq!(KeyId::split(bytes), Ok((*id, &[][..])), "{id:?}");
        }
    }

    #[test]
    fn every_other_form_is_an_error() {
        let longer = "an id that is longer than it must be";
        let damaged: &[(&[u8], &str)] = &[
            (&[0xf8, 0, 0], longer),
            (&[0xf8, 0xf7, 0], longer),
            (&[0, 0xf8, 0xf7], longer),
            (&[0xf9, 0, 0xff, 0], longer),
            (&[0xff, 0, 1, 0, 0, 0, 0, 0, 0, 0], longer),
            (&[0, 0xfc, 1, 0, 0, 0, 0], "an id's index has more than 32 bits"),
            (&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "an id's index has more than 32 bits"),
        ];
        for (bytes, reason) in damaged {
            assert_eq!(KeyId::split(bytes), Err(*reason), "{bytes:x?}");
        }
    }

    /// Numbers of every length alike.
    fn number(bits_max: u32) -> impl Strategy<Value = u64> {
        (any::<u64>(), 0..=bits_max).prop_map(|(number, bits)| number.unbounded_shr(64 - bits))
    }

    fn any_id() -> impl Strategy<Value = ObjectId> {
        let near = (0u64..0x120, 0u32..0x120).prop_map(|(lsn, index)| id(lsn, index));
        let far = (number(64), number(32)).prop_map(|(lsn, index)| id(lsn, u32::try_from(index).unwrap()));
        prop_oneof![near, far]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn an_id_comes_back_whatever_follows(id in any_id(), rest in proptest::collection::vec(any::<u8>(), 0..4)) {
            let form = KeyId::new(id);
            let bytes = [&*form, &rest].concat();
            prop_assert_eq!(KeyId::split(&bytes), Ok((id, &rest[..])));
            for cut in 0..form.len() {
                prop_assert_eq!(KeyId::split(&form[..cut]), Err("cut short in an id"));
            }
        }

        #[test]
        fn byte_order_is_the_order_of_ids_and_no_id_begins_another(
            one in any_id(),
            other in any_id(),
            same_record in any::<bool>(),
        ) {
            let other = if same_record { ObjectId::new(one.lsn(), other.index()) } else { other };
            let (one_form, other_form) = (KeyId::new(one), KeyId::new(other));
            prop_assert_eq!(one_form.cmp(&*other_form), one.cmp(&other));
            prop_assert_eq!(one_form.starts_with(&other_form), one == other);
        }

        #[test]
        fn bytes_that_are_an_id_are_its_one_form(
            first in any::<u8>(),
            bytes in proptest::collection::vec(prop_oneof![Just(0u8), 0xf6u8..=0xff, any::<u8>()], 0..20),
        ) {
            let bytes = [&[first], &bytes[..]].concat();
            if let Ok((id, rest)) = KeyId::split(&bytes) {
                prop_assert_eq!(&*KeyId::new(id), &bytes[..bytes.len() - rest.len()]);
            }
        }
    }
}
