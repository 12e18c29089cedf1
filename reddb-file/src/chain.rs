//! The hash chain over the log.
//!
//! `chain(0) = SHA-256("reddb-chain-1" ‖ cluster id)` and `chain(n) = SHA-256(chain(n-1) ‖ record bytes of n)`, where the
//! record bytes are those of [`crate::record`]. Two holders of the log at LSN n agree on all of history if and only if
//! their 32 bytes at n agree.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::ClusterId;

/// The prefix hashed into `chain(0)`; names the version of the chain's rule.
pub const CHAIN_DOMAIN: &[u8] = b"reddb-chain-1";

/// The chain at one LSN: 32 bytes, printed as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Chain([u8; 32]);

impl Chain {
    /// `chain(0)` of a cluster.
    #[must_use]
    pub fn genesis(cluster: ClusterId) -> Self {
        let mut hash = Sha256::new();
        hash.update(CHAIN_DOMAIN);
        hash.update(cluster.as_bytes());
        Self(hash.finalize().into())
    }

    /// The chain made of these bytes, as read from a file.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The chain after the record with these encoded bytes.
    #[must_use]
    pub fn extend(&self, record_bytes: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(record_bytes);
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({self})")
    }
}

/// A text that is not 64 lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chain is 64 lower-case hex digits, got {0:?}")]
pub struct ParseChainError(String);

impl FromStr for Chain {
    type Err = ParseChainError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseChainError(text.chars().take(80).collect());
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(error());
        }
        let nibble = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(error()),
        };
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Chain {
    type Error = ParseChainError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Chain> for String {
    fn from(chain: Chain) -> Self {
        chain.to_string()
    }
}
