//! A JSON document that carries the digest of its own content.
//!
//! The file is exactly these bytes, where `<body>` is the document as pretty-printed JSON:
//!
//! ```text
//! {"format":"<format>","sha256":"<64 lower-case hex digits>","body":
//! <body>
//! }
//! ```
//!
//! with one line feed at each line's end. The digest is that of the `<body>` bytes as they stand in the file, without
//! the line feeds around them. Everything else is fixed and compared byte by byte, so any changed bit, anywhere in the
//! object, is an error. The whole is one JSON value: `jq .body` shows the document.
//!
//! A document without a digest lacks the member `sha256` and is an error unless the caller says otherwise; a document
//! with a wrong digest, or one that was reformatted, is always an error.

use std::str;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::digest::Sha256Digest;

/// A document of the archive: a type that knows its format's name, its limit and its own rules.
pub trait Document: Serialize + DeserializeOwned {
    /// The format's name with its version, e.g. `reddb-epoch-claim-1`.
    const FORMAT: &'static str;

    /// The largest encoded size, in bytes.
    const BYTES_MAX: u64;

    /// Checks what the types alone cannot: how the fields relate.
    ///
    /// # Errors
    /// A sentence that names the fields which contradict each other.
    fn check(&self) -> Result<(), String>;
}

/// What to do about a document that carries no digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingDigest {
    /// It is an error. The rule.
    Refuse,
    /// It is accepted, and [`Opened::verified`] says so. For operators who ask for it in so many words.
    Accept,
}

/// A decoded document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened<T> {
    /// What it says.
    pub document: T,
    /// The digest that was checked; `None` where there was none and the caller accepted that.
    pub verified: Option<Sha256Digest>,
}

/// Bytes that are not the document they should be, or a document that may not be written.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// More bytes than this document may have.
    #[error("{format} document of {bytes} bytes; the limit is {limit_bytes}")]
    TooLarge {
        /// Which document.
        format: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The bytes around the body are not as they are written.
    #[error("not a sealed {format} document: {detail}")]
    Malformed {
        /// Which document.
        format: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The document has no digest.
    #[error("{format} document carries no digest; it cannot be told whether it was changed")]
    MissingDigest {
        /// Which document.
        format: &'static str,
    },
    /// The content is not what the digest says.
    #[error("{format} document is damaged: its digest is {computed}, it declares {declared:?}")]
    DigestMismatch {
        /// Which document.
        format: &'static str,
        /// What the file says.
        declared: String,
        /// What its body hashes to.
        computed: Sha256Digest,
    },
    /// The body is not this document.
    #[error("{format} document cannot be read: {source}")]
    Json {
        /// Which document.
        format: &'static str,
        /// Where and why.
        source: serde_json::Error,
    },
    /// The fields contradict each other.
    #[error("{format} document contradicts itself: {detail}")]
    Inconsistent {
        /// Which document.
        format: &'static str,
        /// How.
        detail: String,
    },
}

const SHA256_MEMBER: &str = "\",\"sha256\":\"";
const BODY_MEMBER: &str = "\",\"body\":\n";
const TAIL: &[u8] = b"\n}\n";
const HEX_DIGITS: usize = 64;

/// Encodes `document` with its digest.
///
/// # Errors
/// [`DocumentError::Inconsistent`] and [`DocumentError::TooLarge`]: what could not be read back is not written.
pub fn encode<T: Document>(document: &T) -> Result<Vec<u8>, DocumentError> {
    document.check().map_err(|detail| DocumentError::Inconsistent { format: T::FORMAT, detail })?;
    let body =
        serde_json::to_vec_pretty(document).map_err(|source| DocumentError::Json { format: T::FORMAT, source })?;
    let mut out =
        format!("{{\"format\":\"{}{SHA256_MEMBER}{}{BODY_MEMBER}", T::FORMAT, Sha256Digest::of(&body)).into_bytes();
    out.extend_from_slice(&body);
    out.extend_from_slice(TAIL);
    check_size::<T>(&out)?;
    Ok(out)
}

/// Decodes and checks a document.
///
/// # Errors
/// Any [`DocumentError`].
pub fn decode<T: Document>(bytes: &[u8], missing: MissingDigest) -> Result<Opened<T>, DocumentError> {
    check_size::<T>(bytes)?;
    let opened = match split_sealed::<T>(bytes) {
        Ok((declared, body)) => {
            let computed = Sha256Digest::of(body);
            if declared != computed.to_string().as_bytes() {
                let declared = String::from_utf8_lossy(declared).into_owned();
                return Err(DocumentError::DigestMismatch { format: T::FORMAT, declared, computed });
            }
            Opened { document: from_json::<T>(body)?, verified: Some(computed) }
        }
        Err(malformed) => Opened { document: open_unsealed::<T>(bytes, missing, malformed)?, verified: None },
    };
    opened.document.check().map_err(|detail| DocumentError::Inconsistent { format: T::FORMAT, detail })?;
    Ok(opened)
}

fn check_size<T: Document>(bytes: &[u8]) -> Result<(), DocumentError> {
    let size_bytes = bytes.len() as u64;
    if size_bytes > T::BYTES_MAX {
        return Err(DocumentError::TooLarge { format: T::FORMAT, bytes: size_bytes, limit_bytes: T::BYTES_MAX });
    }
    Ok(())
}

fn from_json<T: Document>(bytes: &[u8]) -> Result<T, DocumentError> {
    serde_json::from_slice(bytes).map_err(|source| DocumentError::Json { format: T::FORMAT, source })
}

/// The declared digits and the body's bytes.
fn split_sealed<T: Document>(bytes: &[u8]) -> Result<(&[u8], &[u8]), DocumentError> {
    let malformed = |detail: &str| DocumentError::Malformed { format: T::FORMAT, detail: detail.into() };
    let rest = bytes
        .strip_prefix(b"{\"format\":\"".as_slice())
        .ok_or_else(|| malformed("it does not begin as one, or its format's name is damaged"))?;
    let rest = rest.strip_prefix(T::FORMAT.as_bytes()).ok_or_else(|| {
        let found: String = String::from_utf8_lossy(rest.get(..40).unwrap_or(rest)).into_owned();
        DocumentError::Malformed { format: T::FORMAT, detail: format!("its format's name begins {found:?}") }
    })?;
    let rest = rest.strip_prefix(SHA256_MEMBER.as_bytes()).ok_or_else(|| malformed("no digest where it belongs"))?;
    let (declared, rest) = rest.split_at_checked(HEX_DIGITS).ok_or_else(|| malformed("cut short in its digest"))?;
    let rest = rest.strip_prefix(BODY_MEMBER.as_bytes()).ok_or_else(|| malformed("no body where it belongs"))?;
    let body = rest.strip_suffix(TAIL).ok_or_else(|| malformed("its end is missing or changed"))?;
    Ok((declared, body))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unsealed<T> {
    format: String,
    body: T,
}

fn open_unsealed<T: Document>(
    bytes: &[u8],
    missing: MissingDigest,
    malformed: DocumentError,
) -> Result<T, DocumentError> {
    // A document with a `sha256` member is not one without a digest: however damaged, it stays an error.
    let Ok(unsealed) = serde_json::from_slice::<Unsealed<T>>(bytes) else { return Err(malformed) };
    if unsealed.format != T::FORMAT {
        return Err(malformed);
    }
    match missing {
        MissingDigest::Accept => Ok(unsealed.body),
        MissingDigest::Refuse => Err(DocumentError::MissingDigest { format: T::FORMAT }),
    }
}
