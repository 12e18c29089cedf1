//! The applied mark as it is stored in the tree, under a key of the engine's own.
//!
//! ```text
//! key     ff 61 70 70 6c 69 65 64        (0xff, "applied")
//! value
//! offset  size
//!      0     1  format       the format version of all that the directory holds
//!      1     8  lsn          u64 LE, not 0
//!      9     8  time         u64 LE: Unix milliseconds of that record
//!     17    32  chain        the chain after that record
//! ```
//!
//! Invariant: a memtable is sealed only after the mark of its last record was put into it, and all tables of a flush become
//! part of the tree at once. So what is on disk always ends at the record that the mark names.

use reddb_file::{Chain, Lsn};

use super::{AppliedMark, ENGINE_FORMAT_VERSION};

/// The key of the mark; begins with [`RESERVED_KEY_BYTE`](super::RESERVED_KEY_BYTE).
pub(super) const MARK_KEY: &[u8] = b"\xffapplied";

/// The size of the mark's value.
pub(super) const MARK_BYTES: usize = 1 + 8 + 8 + 32;

/// The mark's value is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MarkError {
    /// Another length than that of a mark.
    #[error("the applied mark has {got} bytes, expected {MARK_BYTES}")]
    Length {
        /// The value's length.
        got: usize,
    },
    /// Another format version.
    #[error("the applied mark is of a directory in format {got}, expected {ENGINE_FORMAT_VERSION}")]
    Format {
        /// The value's first byte.
        got: u8,
    },
    /// The position before the first record.
    #[error("the applied mark names LSN 0")]
    Zero,
}

/// The value of the mark.
pub(super) fn encode(mark: &AppliedMark) -> [u8; MARK_BYTES] {
    let mut out = [0; MARK_BYTES];
    out[0] = ENGINE_FORMAT_VERSION;
    out[1..9].copy_from_slice(&mark.lsn.get().to_le_bytes());
    out[9..17].copy_from_slice(&mark.time_ms.to_le_bytes());
    out[17..].copy_from_slice(mark.chain.as_bytes());
    out
}

/// Reads the value of the mark.
pub(super) fn decode(bytes: &[u8]) -> Result<AppliedMark, MarkError> {
    // The format first: another one's mark may have another length.
    if let Some(&got) = bytes.first().filter(|format| **format != ENGINE_FORMAT_VERSION) {
        return Err(MarkError::Format { got });
    }
    let bytes: &[u8; MARK_BYTES] = bytes.try_into().map_err(|_| MarkError::Length { got: bytes.len() })?;
    let [_, rest @ ..] = bytes;
    let mut lsn = [0; 8];
    lsn.copy_from_slice(&rest[..8]);
    let mut time = [0; 8];
    time.copy_from_slice(&rest[8..16]);
    let mut chain = [0; 32];
    chain.copy_from_slice(&rest[16..]);
    let lsn = Lsn::new(u64::from_le_bytes(lsn));
    if lsn == Lsn::ZERO {
        return Err(MarkError::Zero);
    }
    Ok(AppliedMark { lsn, chain: Chain::from_bytes(chain), time_ms: u64::from_le_bytes(time) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> AppliedMark {
        AppliedMark {
            lsn: Lsn::new(0x0102_0304_0506_0708),
            chain: Chain::from_bytes([0xab; 32]),
            time_ms: u64::MAX - 1,
        }
    }

    #[test]
    fn the_bytes_are_golden() {
        let mut golden = vec![2, 8, 7, 6, 5, 4, 3, 2, 1, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        golden.extend([0xab; 32]);
        assert_eq!(encode(&mark()).as_slice(), golden);
        assert_eq!(decode(&golden), Ok(mark()));
    }

    #[test]
    fn another_length_or_format_is_an_error() {
        let bytes = encode(&mark());
        assert_eq!(decode(&bytes[..MARK_BYTES - 1]), Err(MarkError::Length { got: MARK_BYTES - 1 }));
        assert_eq!(decode(&[]), Err(MarkError::Length { got: 0 }));
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert_eq!(decode(&longer), Err(MarkError::Length { got: MARK_BYTES + 1 }));
        for got in (0..=u8::MAX).filter(|got| *got != ENGINE_FORMAT_VERSION) {
            longer[0] = got;
            assert_eq!(decode(&longer), Err(MarkError::Format { got }));
            assert_eq!(decode(&longer[..MARK_BYTES]), Err(MarkError::Format { got }));
        }
        let mut zero = bytes;
        zero[1..9].fill(0);
        assert_eq!(decode(&zero), Err(MarkError::Zero));
    }
}
