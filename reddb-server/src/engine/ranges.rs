//! Ranges of keys, made safe to give to the tree.

use std::ops::Bound;

use super::{KeyRange, RESERVED_KEY_BYTE};

const RESERVED: &[u8] = &[RESERVED_KEY_BYTE];

/// The part of a range outside the engine's own keys; `None` where nothing can be in it.
pub(super) fn clip(range: KeyRange<'_>) -> Option<KeyRange<'_>> {
    let (start, end) = range;
    let end = match end {
        Bound::Included(key) | Bound::Excluded(key) if key < RESERVED => end,
        _ => Bound::Excluded(RESERVED),
    };
    let is_empty = match (start, end) {
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (Bound::Included(low), Bound::Excluded(high)) => low >= high,
        (Bound::Excluded(low), Bound::Included(high) | Bound::Excluded(high)) => low >= high,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    };
    if is_empty { None } else { Some((start, end)) }
}

#[cfg(test)]
mod tests {
    use std::ops::Bound::{Excluded, Included, Unbounded};

    use super::*;

    #[test]
    fn the_reserved_keys_are_outside_every_range() {
        for end in [Unbounded, Included(b"\xff\xff".as_slice()), Excluded(b"\xff\x01".as_slice()), Included(RESERVED)] {
            assert_eq!(clip((Unbounded, end)), Some((Unbounded, Excluded(RESERVED))));
            assert_eq!(clip((Included(b"\xffa"), end)), None);
        }
        let kept = (Included(b"a".as_slice()), Included(b"\xfe\xff".as_slice()));
        assert_eq!(clip(kept), Some(kept));
    }

    #[test]
    fn a_range_that_holds_no_key_is_none() {
        let (a, b) = (b"a".as_slice(), b"b".as_slice());
        for range in [
            (Included(b), Included(a)),
            (Included(b), Excluded(a)),
            (Excluded(b), Included(a)),
            (Included(a), Excluded(a)),
            (Excluded(a), Included(a)),
            (Excluded(a), Excluded(a)),
        ] {
            assert_eq!(clip(range), None, "{range:?}");
        }
        for range in [(Included(a), Included(a)), (Included(a), Excluded(b)), (Excluded(a), Included(b))] {
            assert_eq!(clip(range), Some(range));
        }
    }
}
