//! `<dir>/control`: what the node knows about its log besides the log itself.
//!
//! ```text
//! slot 0 at offset 0, slot 1 at offset 4096; the file has exactly 8192 bytes. A slot:
//! offset  size  field           encoding
//!      0     8  magic           "RedDBctl"
//!      8     4  format version  u32 LE, 1
//!     12     4  payload length  u32 LE
//!     16     8  sequence        u64 LE, from 1; slot n holds the sequences with remainder n when divided by 2
//!     24    16  cluster id
//!     40     …  payload         codec version 1 (see `crate::codec`), then zeros
//!   4092     4  CRC-32 (IEEE)   u32 LE, of bytes 0..4092
//! ```
//! A slot that was never written is zeros. A write goes to the slot that does not hold the newest state, and is synced; so
//! a torn write never loses the state before it. Reading takes the valid slot with the highest sequence.
//!
//! Marks here are lower bounds: `archived ≤ durable` and `checkpoint ≤ durable` always, and marks at one LSN agree on the
//! chain. The control file decides timeline and epoch; the log decides where the log ends.

mod slot;
mod state;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use slot::{CONTROL_MAGIC, SLOT_BYTES, Slot, SlotError, decode_slot, encode_slot};
pub use state::{ControlState, ControlStateError, RestoredFrom, Shutdown, TtlMode, UnknownTtlMode};

use crate::durable;
use crate::ids::ClusterId;
use crate::layout::control_path;
use crate::vfs::{OpenMode, Vfs, VfsError, VfsFile};
use slot::SLOT_BYTES_U64;

/// The file's size in bytes.
pub const CONTROL_BYTES: usize = 2 * SLOT_BYTES;

/// A control file that cannot be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ControlError {
    /// There is none.
    #[error(
        "{} does not exist: the directory is incomplete; restore from the archive into a new directory",
        path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is one already.
    #[error("{} exists already", path.display())]
    Exists {
        /// Where it is.
        path: PathBuf,
    },
    /// Neither slot can be used.
    #[error(
        "{}: neither slot is valid (slot 0: {slot_0}; slot 1: {slot_1}): the marks that say which log is durable are lost; \
         restore from the archive into a new directory, and keep this one for inspection",
        path.display()
    )]
    BothSlotsBad {
        /// The file.
        path: PathBuf,
        /// What is wrong with slot 0.
        slot_0: SlotError,
        /// What is wrong with slot 1.
        slot_1: SlotError,
    },
    /// The state breaks a rule; nothing was written.
    #[error("the control state may not be written: {0}")]
    Invalid(#[from] ControlStateError),
    /// The state could not be encoded; nothing was written.
    #[error("the control state cannot be encoded: {0}")]
    Encode(SlotError),
    /// The file system failed. The state before the last successful write is still there.
    #[error(transparent)]
    Io(#[from] VfsError),
}

/// What both slots of a control file hold: for `inspect`.
#[derive(Clone, Debug)]
pub struct ControlSlots {
    /// Slot 0 and slot 1, or what is wrong with them.
    pub slots: [Result<Slot, SlotError>; 2],
}

impl ControlSlots {
    /// The newest valid slot.
    #[must_use]
    pub fn newest(&self) -> Option<&Slot> {
        self.slots.iter().flatten().max_by_key(|slot| slot.sequence)
    }
}

/// The open control file of the node that holds the directory's lock.
#[derive(Debug)]
pub struct ControlFile {
    file: Arc<dyn VfsFile>,
    cluster: ClusterId,
    sequence: u64,
    state: ControlState,
}

impl ControlFile {
    /// Durably creates the control file of the data directory `dir`, which must exist and have none.
    ///
    /// # Errors
    /// [`ControlError::Exists`], `Invalid`, `Encode` and `Io`.
    pub fn create(vfs: &dyn Vfs, dir: &Path, cluster: ClusterId, state: &ControlState) -> Result<Self, ControlError> {
        let path = control_path(dir);
        let sequence = 1;
        let slot = encode_slot(sequence, cluster, state)?;
        let mut contents = vec![0; CONTROL_BYTES];
        contents[SLOT_BYTES..].copy_from_slice(&slot);
        match durable::create_file(vfs, &path, &contents) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(ControlError::Exists { path }),
            Err(error) => Err(error.into()),
            Ok(()) => {
                let file = vfs.open(&path, OpenMode::ReadWrite)?;
                Ok(Self { file, cluster, sequence, state: state.clone() })
            }
        }
    }

    /// Opens the control file of the data directory `dir` for writing. The newest state is written again and synced before
    /// it is believed: what a killed process left in the page cache need not be on disk.
    ///
    /// # Errors
    /// [`ControlError::Missing`], `BothSlotsBad` and `Io`.
    pub fn open(vfs: &dyn Vfs, dir: &Path, cluster: ClusterId) -> Result<Self, ControlError> {
        let path = control_path(dir);
        let Slot { sequence, state, .. } = newest(read_slots(vfs, dir, cluster)?, &path)?;
        let file = vfs.open(&path, OpenMode::ReadWrite)?;
        let mut control = Self { file, cluster, sequence, state: state.clone() };
        control.put(sequence, &state)?;
        Ok(control)
    }

    /// The newest durable state.
    #[must_use]
    pub fn state(&self) -> &ControlState {
        &self.state
    }

    /// Durably replaces the state. After an error the file holds the old state or the new; writing may be tried again.
    ///
    /// # Errors
    /// [`ControlError::Invalid`], `Encode` and `Io`.
    pub fn write(&mut self, state: &ControlState) -> Result<(), ControlError> {
        let sequence = self.sequence.checked_add(1).ok_or(ControlError::Encode(SlotError::SequenceExhausted))?;
        self.put(sequence, state)
    }

    fn put(&mut self, sequence: u64, state: &ControlState) -> Result<(), ControlError> {
        let slot = encode_slot(sequence, self.cluster, state)?;
        self.file.write_at(&slot, sequence % 2 * SLOT_BYTES_U64)?;
        self.file.sync_data()?;
        self.sequence = sequence;
        self.state = state.clone();
        Ok(())
    }
}

/// The newest state in the control file of `dir`, without writing anything.
///
/// # Errors
/// [`ControlError::Missing`], `BothSlotsBad` and `Io`.
pub fn read(vfs: &dyn Vfs, dir: &Path, cluster: ClusterId) -> Result<ControlState, ControlError> {
    newest(read_slots(vfs, dir, cluster)?, &control_path(dir)).map(|slot| slot.state)
}

/// Both slots of the control file of `dir`, without judging them.
///
/// # Errors
/// [`ControlError::Missing`] and `Io`.
pub(crate) fn read_slots(vfs: &dyn Vfs, dir: &Path, cluster: ClusterId) -> Result<ControlSlots, ControlError> {
    let path = control_path(dir);
    let file = match vfs.open(&path, OpenMode::Read) {
        Err(error) if error.is_not_found() => return Err(ControlError::Missing { path }),
        result => result?,
    };
    let mut contents = vec![0; CONTROL_BYTES];
    let count = file.read_at(&mut contents, 0)?;
    contents.truncate(count);
    Ok(decode_slots(&contents, Some(cluster)))
}

/// Both slots of a control file with these contents. `cluster` is compared where it is known.
#[must_use]
pub(crate) fn decode_slots(contents: &[u8], cluster: Option<ClusterId>) -> ControlSlots {
    let slot = |index: u64, start: usize| {
        let bytes = contents.get(start..).unwrap_or_default();
        let bytes = bytes.get(..SLOT_BYTES).unwrap_or(bytes);
        let slot = decode_slot(bytes)?;
        if slot.sequence % 2 != index {
            return Err(SlotError::WrongSlot { sequence: slot.sequence });
        }
        match cluster {
            Some(expected) if expected != slot.cluster => Err(SlotError::Cluster { expected, found: slot.cluster }),
            _ => Ok(slot),
        }
    };
    ControlSlots { slots: [slot(0, 0), slot(1, SLOT_BYTES)] }
}

fn newest(slots: ControlSlots, path: &Path) -> Result<Slot, ControlError> {
    if let Some(newest) = slots.newest() {
        return Ok(newest.clone());
    }
    match slots.slots {
        [Err(slot_0), Err(slot_1)] => Err(ControlError::BothSlotsBad { path: path.to_owned(), slot_0, slot_1 }),
        [Ok(newest), _] | [_, Ok(newest)] => Ok(newest),
    }
}
