//! What a restore starts from: a snapshot, or genesis.
//!
//! Genesis is the state before LSN 1. Everybody knows it without reading anything: it is empty, and the chain there is the
//! cluster's. So it serves wherever the archive's log begins at LSN 1. It is no state that can be restored: those begin with
//! the first record.

use std::fmt;
use std::str::FromStr;

use reddb_file::archive::SnapshotRef;
use reddb_file::{ClusterId, Lsn, TimedMark};
use serde::Serialize;
use uuid::Uuid;

use super::contents::Snapshot;

/// How [`Base::Genesis`] is called where a snapshot's id is expected.
const NO_SNAPSHOT: &str = "none";

/// What a restore starts from, with as much of the snapshot as `S` says. In JSON it is the snapshot, or null.
///
/// As a text, which is how an operator names it, it is the snapshot's id or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Base<S> {
    /// The empty state before LSN 1.
    Genesis,
    /// A snapshot.
    Snapshot(S),
}

impl<S> Base<S> {
    /// The snapshot, where it is one.
    #[must_use]
    pub const fn snapshot(&self) -> Option<&S> {
        match self {
            Self::Genesis => None,
            Self::Snapshot(snapshot) => Some(snapshot),
        }
    }

    /// The same base, with something else of the snapshot.
    #[must_use]
    pub(crate) fn map<T>(self, change: impl FnOnce(S) -> T) -> Base<T> {
        match self {
            Self::Genesis => Base::Genesis,
            Self::Snapshot(snapshot) => Base::Snapshot(change(snapshot)),
        }
    }
}

impl Base<Snapshot> {
    /// The same base without its contents.
    #[must_use]
    pub const fn as_ref(&self) -> Base<&Snapshot> {
        match self {
            Self::Genesis => Base::Genesis,
            Self::Snapshot(snapshot) => Base::Snapshot(snapshot),
        }
    }
}

impl Base<&Snapshot> {
    /// The last record of the state; 0 for none.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.snapshot().map_or(Lsn::ZERO, |snapshot| snapshot.lsn)
    }

    /// The last record of the state, the chain after it and its time, in `cluster`'s history.
    #[must_use]
    pub(crate) fn mark(&self, cluster: ClusterId) -> TimedMark {
        match self {
            Self::Genesis => TimedMark::genesis(cluster),
            Self::Snapshot(snapshot) => {
                TimedMark { lsn: snapshot.lsn, chain: snapshot.chain, time_ms: snapshot.time_ms }
            }
        }
    }

    /// What names it.
    #[must_use]
    pub(crate) fn reference(&self) -> Base<SnapshotRef> {
        self.map(Snapshot::reference)
    }

    /// How an operator names it.
    #[must_use]
    pub fn name(&self) -> Base<Uuid> {
        self.map(|snapshot| snapshot.id)
    }
}

impl fmt::Display for Base<Uuid> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Genesis => f.write_str(NO_SNAPSHOT),
            Self::Snapshot(id) => write!(f, "{id}"),
        }
    }
}

impl FromStr for Base<Uuid> {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == NO_SNAPSHOT { Ok(Self::Genesis) } else { text.parse().map(Self::Snapshot) }
    }
}
