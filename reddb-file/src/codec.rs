//! The one place that uses bincode: a versioned, bounded, canonical encoding of small structures.
//!
//! ```text
//! offset  size  field
//!      0     2  version, u16 LE
//!      2     …  the structure in bincode 2's standard configuration: little-endian, variable-length integers
//! ```
//! Decoding accepts exactly the bytes that encoding makes: the version must be the expected one, every byte must be
//! consumed, and encoding the result again must give the same bytes (so no integer is written longer than it needs to be).
//! What is decoded holds no length-prefixed data beyond the limit, so nothing is allocated that the input does not justify.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};

/// The largest encoded structure in bytes, without the version.
pub const CODEC_BYTES_MAX: usize = 3072;

const CONFIG: Configuration<LittleEndian, Varint, Limit<CODEC_BYTES_MAX>> =
    bincode::config::standard().with_limit::<CODEC_BYTES_MAX>();

/// Bytes that are not the expected structure, or a structure that is too large to be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The structure needs more than [`CODEC_BYTES_MAX`].
    #[error("the structure cannot be encoded: {reason}")]
    Encode {
        /// What bincode said.
        reason: String,
    },
    /// The bytes end within the version.
    #[error("{available_bytes} bytes are too few for a version")]
    NoVersion {
        /// How many bytes there are.
        available_bytes: u64,
    },
    /// Another version.
    #[error("version {found} was found, this program reads version {expected}: use the version of reddb that wrote it")]
    Version {
        /// What this program reads.
        expected: u16,
        /// What the bytes say.
        found: u16,
    },
    /// The bytes are not such a structure.
    #[error("the structure cannot be decoded: {reason}")]
    Decode {
        /// What bincode said.
        reason: String,
    },
    /// Bytes are left over.
    #[error("{left_bytes} bytes follow the structure")]
    TrailingBytes {
        /// How many.
        left_bytes: u64,
    },
    /// The bytes say the right thing in a way that encoding never does.
    #[error("the structure is not encoded canonically")]
    NotCanonical,
}

/// Encodes `value` as version `version`.
///
/// # Errors
/// [`CodecError::Encode`].
pub fn encode<T: Encode>(version: u16, value: &T) -> Result<Vec<u8>, CodecError> {
    let body =
        bincode::encode_to_vec(value, CONFIG).map_err(|error| CodecError::Encode { reason: error.to_string() })?;
    if body.len() > CODEC_BYTES_MAX {
        return Err(CodecError::Encode { reason: format!("{} bytes; the limit is {CODEC_BYTES_MAX}", body.len()) });
    }
    let mut bytes = version.to_le_bytes().to_vec();
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// Decodes all of `bytes` as a structure of version `version`.
///
/// # Errors
/// Any [`CodecError`] but [`CodecError::Encode`].
pub fn decode<T: Decode<()> + Encode>(version: u16, bytes: &[u8]) -> Result<T, CodecError> {
    let (found, body) =
        bytes.split_first_chunk::<2>().ok_or(CodecError::NoVersion { available_bytes: bytes.len() as u64 })?;
    let found = u16::from_le_bytes(*found);
    if found != version {
        return Err(CodecError::Version { expected: version, found });
    }
    let (value, used) = bincode::decode_from_slice::<T, _>(body, CONFIG)
        .map_err(|error| CodecError::Decode { reason: error.to_string() })?;
    if used != body.len() {
        return Err(CodecError::TrailingBytes { left_bytes: (body.len() - used) as u64 });
    }
    if encode(version, &value).as_deref() != Ok(bytes) {
        return Err(CodecError::NotCanonical);
    }
    Ok(value)
}
