//! One slot of the control file: the envelope around the state's payload. The byte table is in [`super`].

use crate::codec::{self, CodecError};
use crate::fields::Fields;
use crate::ids::ClusterId;
use crate::limits::BLOCK_BYTES;

use super::ControlError;
use super::state::{ControlState, ControlStateError, Payload};

/// A slot's size in bytes: one block, so that the two never share one.
pub const SLOT_BYTES: usize = 4096;
pub(super) const SLOT_BYTES_U64: u64 = 4096;

/// How a slot that was written begins.
pub const CONTROL_MAGIC: [u8; 8] = *b"RedDBctl";
const FORMAT: u32 = 1;
const PAYLOAD_VERSION: u16 = 1;
const HEADER_BYTES: usize = 8 + 4 + 4 + 8 + 16;
const CRC_AT: usize = SLOT_BYTES - 4;

const _: () = assert!(SLOT_BYTES == BLOCK_BYTES as usize, "a slot is a block");
const _: () = assert!(HEADER_BYTES + 2 + codec::CODEC_BYTES_MAX <= CRC_AT, "every encodable payload fits");

/// Why a slot cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// The file ends within it.
    #[error("it has {found_bytes} of {SLOT_BYTES} bytes")]
    Truncated {
        /// What there is.
        found_bytes: u64,
    },
    /// Nothing but zeros.
    #[error("it was never written")]
    Blank,
    /// The checksum does not match.
    #[error("its checksum does not match (it is torn or damaged)")]
    Checksum,
    /// Not a control file's slot.
    #[error("it does not begin as a control file does")]
    Magic,
    /// Written by another version.
    #[error("it has format {found}, this program reads format {FORMAT}: use the version of reddb that wrote it")]
    Format {
        /// What it says.
        found: u32,
    },
    /// A checksummed slot that no writer writes.
    #[error("its lengths or padding are wrong")]
    Padding,
    /// The sequence belongs in the other slot.
    #[error("sequence {sequence} does not belong into this slot")]
    WrongSlot {
        /// What it says.
        sequence: u64,
    },
    /// Sequence 0.
    #[error("it has sequence 0")]
    ZeroSequence,
    /// The largest sequence has been used.
    #[error("the control file has been written 2^64 - 1 times")]
    SequenceExhausted,
    /// Another cluster's.
    #[error("it belongs to cluster {found}, not to {expected}")]
    Cluster {
        /// The directory's.
        expected: ClusterId,
        /// What it says.
        found: ClusterId,
    },
    /// The payload cannot be decoded or encoded.
    #[error("payload: {0}")]
    Payload(#[from] CodecError),
    /// The payload breaks a rule.
    #[error("{0}")]
    State(#[from] ControlStateError),
}

/// The slot that holds `state` as number `sequence` (from 1).
///
/// # Errors
/// [`ControlError::Invalid`] and [`ControlError::Encode`].
pub fn encode_slot(sequence: u64, cluster: ClusterId, state: &ControlState) -> Result<[u8; SLOT_BYTES], ControlError> {
    if sequence == 0 {
        return Err(ControlError::Encode(SlotError::ZeroSequence));
    }
    state.check()?;
    let payload =
        codec::encode(PAYLOAD_VERSION, &Payload::from(state)).map_err(|error| ControlError::Encode(error.into()))?;
    let length = u32::try_from(payload.len())
        .ok()
        .filter(|_| HEADER_BYTES + payload.len() <= CRC_AT)
        .ok_or(ControlError::Encode(SlotError::Padding))?;
    let mut slot = [0; SLOT_BYTES];
    slot[0..8].copy_from_slice(&CONTROL_MAGIC);
    slot[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    slot[12..16].copy_from_slice(&length.to_le_bytes());
    slot[16..24].copy_from_slice(&sequence.to_le_bytes());
    slot[24..40].copy_from_slice(cluster.as_bytes());
    slot[HEADER_BYTES..HEADER_BYTES + payload.len()].copy_from_slice(&payload);
    let crc = crc32fast::hash(&slot[..CRC_AT]);
    slot[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    Ok(slot)
}

/// What a valid slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its number, from 1: the higher one is the newer.
    pub sequence: u64,
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// The state.
    pub state: ControlState,
}

/// Decodes a slot.
///
/// # Errors
/// Any [`SlotError`] but `WrongSlot`, `Cluster` and `SequenceExhausted`.
pub fn decode_slot(bytes: &[u8]) -> Result<Slot, SlotError> {
    let slot: &[u8; SLOT_BYTES] =
        bytes.try_into().map_err(|_| SlotError::Truncated { found_bytes: bytes.len() as u64 })?;
    if slot.iter().all(|byte| *byte == 0) {
        return Err(SlotError::Blank);
    }
    let (covered, crc) = slot.split_at(CRC_AT);
    if crc != crc32fast::hash(covered).to_le_bytes() {
        return Err(SlotError::Checksum);
    }
    let mut fields = Fields(covered);
    if fields.take() != CONTROL_MAGIC {
        return Err(SlotError::Magic);
    }
    let format = u32::from_le_bytes(fields.take());
    if format != FORMAT {
        return Err(SlotError::Format { found: format });
    }
    let length = usize::try_from(u32::from_le_bytes(fields.take())).map_err(|_| SlotError::Padding)?;
    let sequence = u64::from_le_bytes(fields.take());
    if sequence == 0 {
        return Err(SlotError::ZeroSequence);
    }
    let cluster = ClusterId::from_bytes(fields.take());
    let (payload, padding) = fields.0.split_at_checked(length).ok_or(SlotError::Padding)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(SlotError::Padding);
    }
    let state = ControlState::from(codec::decode::<Payload>(PAYLOAD_VERSION, payload)?);
    state.check()?;
    Ok(Slot { sequence, cluster, state })
}
