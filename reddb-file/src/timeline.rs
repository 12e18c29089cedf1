//! The payload of a timeline's first record.
//!
//! ```text
//! offset  size  field             encoding
//!      0     4  id                u32 LE, from 1
//!      4     4  parent            u32 LE; 0 = none: the cluster's first timeline
//!      8     8  fork LSN          u64 LE: the parent's last record that belongs to this history; 0 without a parent
//!     16    16  random id          distinguishes two timelines that were given the same number
//!     32     8  clock offset      i64 LE, milliseconds: the expiry clock is the wall clock minus this
//! ```
//! Exactly 40 bytes.

use serde::Serialize;

use crate::fields::Fields;
use crate::ids::{Lsn, TimelineId};

/// The size of the payload in bytes.
pub const TIMELINE_RECORD_BYTES: usize = 40;

const _: () = assert!(TIMELINE_RECORD_BYTES == 4 + 4 + 8 + 16 + 8, "the fields fill the payload");

/// What a timeline is and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TimelineRecord {
    /// Its number, from 1.
    pub id: TimelineId,
    /// The timeline that it forked from; none for the cluster's first.
    pub parent: Option<TimelineId>,
    /// The parent's last record that belongs to this history; 0 without a parent.
    pub fork_lsn: Lsn,
    /// Distinguishes two timelines that were given the same number.
    pub random_id: [u8; 16],
    /// The expiry clock is the wall clock minus this, in milliseconds.
    pub clock_offset_ms: i64,
}

/// A payload that is not a timeline's, or a timeline that may not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimelineRecordError {
    /// Not [`TIMELINE_RECORD_BYTES`] long.
    #[error("a timeline record has {TIMELINE_RECORD_BYTES} bytes, got {found_bytes}")]
    Length {
        /// What it has.
        found_bytes: u64,
    },
    /// Number 0.
    #[error("a timeline cannot have the number 0")]
    ZeroId,
    /// A timeline that is its own parent.
    #[error("timeline {id} names itself as its parent")]
    OwnParent {
        /// Its number.
        id: TimelineId,
    },
    /// A fork without a parent.
    #[error("timeline {id} has no parent but says that it forked at LSN {fork_lsn}")]
    ForkWithoutParent {
        /// Its number.
        id: TimelineId,
        /// Where it says that it forked.
        fork_lsn: Lsn,
    },
}

impl TimelineRecord {
    /// The payload.
    ///
    /// # Errors
    /// Any [`TimelineRecordError`] but `Length`.
    pub fn encode(&self) -> Result<[u8; TIMELINE_RECORD_BYTES], TimelineRecordError> {
        self.check()?;
        let mut bytes = [0; TIMELINE_RECORD_BYTES];
        let parent = self.parent.map_or(0, TimelineId::get);
        bytes[0..4].copy_from_slice(&self.id.get().to_le_bytes());
        bytes[4..8].copy_from_slice(&parent.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.fork_lsn.get().to_le_bytes());
        bytes[16..32].copy_from_slice(&self.random_id);
        bytes[32..40].copy_from_slice(&self.clock_offset_ms.to_le_bytes());
        Ok(bytes)
    }

    /// Decodes a payload.
    ///
    /// # Errors
    /// Any [`TimelineRecordError`].
    pub fn decode(payload: &[u8]) -> Result<Self, TimelineRecordError> {
        let bytes: &[u8; TIMELINE_RECORD_BYTES] =
            payload.try_into().map_err(|_| TimelineRecordError::Length { found_bytes: payload.len() as u64 })?;
        let mut fields = Fields(bytes);
        let id = TimelineId::new(u32::from_le_bytes(fields.take()));
        let parent = u32::from_le_bytes(fields.take());
        let record = Self {
            id,
            parent: (parent != 0).then_some(TimelineId::new(parent)),
            fork_lsn: Lsn::new(u64::from_le_bytes(fields.take())),
            random_id: fields.take(),
            clock_offset_ms: i64::from_le_bytes(fields.take()),
        };
        record.check()?;
        Ok(record)
    }

    fn check(&self) -> Result<(), TimelineRecordError> {
        if self.id.get() == 0 || self.parent.is_some_and(|parent| parent.get() == 0) {
            return Err(TimelineRecordError::ZeroId);
        }
        if self.parent == Some(self.id) {
            return Err(TimelineRecordError::OwnParent { id: self.id });
        }
        if self.parent.is_none() && self.fork_lsn != Lsn::ZERO {
            return Err(TimelineRecordError::ForkWithoutParent { id: self.id, fork_lsn: self.fork_lsn });
        }
        Ok(())
    }
}
