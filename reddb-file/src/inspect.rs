//! Telling the files of a data directory apart, and showing the control file to people. Segments are described in
//! [`crate::wal::describe_segment`], identities are serializable themselves.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::control::{CONTROL_BYTES, CONTROL_MAGIC, ControlState, decode_slots};
use crate::identity::IDENTITY_PREFIX;
use crate::ids::ClusterId;
use crate::vfs::{OpenMode, Vfs, VfsResult};
use crate::wal::SEGMENT_MAGIC;

/// A kind of local file, by how it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A segment of the local log.
    Segment,
    /// A control file.
    Control,
    /// An identity.
    Identity,
}

impl FileKind {
    /// What a file is that begins with these bytes; a few thousand are enough, none is no error.
    #[must_use]
    pub fn detect(beginning: &[u8]) -> Option<Self> {
        if beginning.starts_with(&SEGMENT_MAGIC) {
            Some(Self::Segment)
        } else if beginning.starts_with(IDENTITY_PREFIX.as_bytes()) {
            Some(Self::Identity)
        } else if beginning.starts_with(&CONTROL_MAGIC)
            || beginning.get(CONTROL_BYTES / 2..).is_some_and(|slot_1| slot_1.starts_with(&CONTROL_MAGIC))
        {
            Some(Self::Control)
        } else {
            None
        }
    }

    /// What the file at `path` is; none where it is nothing of these.
    ///
    /// # Errors
    /// As the file system says.
    pub fn of(vfs: &dyn Vfs, path: &Path) -> VfsResult<Option<Self>> {
        let mut beginning = vec![0; CONTROL_BYTES];
        let count = vfs.open(path, OpenMode::Read)?.read_at(&mut beginning, 0)?;
        Ok(Self::detect(&beginning[..count]))
    }
}

/// What a control file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ControlDescription {
    /// The file.
    pub path: PathBuf,
    /// Slot 0 and slot 1.
    pub slots: [SlotDescription; 2],
    /// Which slot is the newest valid one; none where both are bad.
    pub newest: Option<u8>,
}

/// What a slot of a control file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum SlotDescription {
    /// A state.
    Valid {
        /// The cluster that it belongs to.
        cluster: ClusterId,
        /// Its number.
        sequence: u64,
        /// The state.
        state: Box<ControlState>,
    },
    /// Nothing that can be used.
    Invalid {
        /// What is wrong.
        reason: String,
    },
}

/// Reads the control file at `path` without judging it.
///
/// # Errors
/// As the file system says. Damage is no error but described.
pub fn describe_control(vfs: &dyn Vfs, path: &Path) -> VfsResult<ControlDescription> {
    let mut contents = vec![0; CONTROL_BYTES];
    let count = vfs.open(path, OpenMode::Read)?.read_at(&mut contents, 0)?;
    contents.truncate(count);
    let slots = decode_slots(&contents, None);
    let newest = slots.newest().map(|slot| u8::from(slot.sequence % 2 == 1));
    let slots = slots.slots.map(|slot| match slot {
        Ok(slot) => {
            SlotDescription::Valid { cluster: slot.cluster, sequence: slot.sequence, state: Box::new(slot.state) }
        }
        Err(error) => SlotDescription::Invalid { reason: error.to_string() },
    });
    Ok(ControlDescription { path: path.to_owned(), slots, newest })
}
