//! What identifies a state: `RED.DIGEST` and `RED.LSN`, asked as a client.

use crate::resp::Client;

/// The answer of `RED.DIGEST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// The record up to which the state counts.
    pub lsn: u64,
    /// SHA-256 of the whole logical state, in hex.
    pub sha256: String,
}

/// The answer of `RED.LSN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The branch of history.
    pub timeline: u64,
    /// The record.
    pub lsn: u64,
    /// The chain at that record, in hex.
    pub chain: String,
}

/// Asks for the digest of the whole state.
///
/// # Panics
/// Where the answer has another shape.
pub fn digest(client: &mut Client) -> Digest {
    let answer = client.expect(&["RED.DIGEST"]);
    let [lsn, sha256] = answer.items() else { panic!("RED.DIGEST answered {answer:?}") };
    assert_eq!(sha256.text().len(), 64, "a SHA-256 in hex");
    Digest { lsn: position(lsn.integer()), sha256: sha256.text() }
}

/// Asks for the receipt of this connection's last commit.
///
/// # Panics
/// Where the answer has another shape.
pub fn receipt(client: &mut Client) -> Receipt {
    let answer = client.expect(&["RED.LSN"]);
    let [timeline, lsn, chain] = answer.items() else { panic!("RED.LSN answered {answer:?}") };
    assert_eq!(chain.text().len(), 64, "a SHA-256 in hex");
    Receipt { timeline: position(timeline.integer()), lsn: position(lsn.integer()), chain: chain.text() }
}

fn position(value: i64) -> u64 {
    u64::try_from(value).expect("positions are not negative")
}
