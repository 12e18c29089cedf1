//! Restore points: a name for an LSN that the archive has reached. Create-only, so a name never moves.

use reddb_file::Lsn;
use reddb_file::archive::{ArchiveKey, DocumentError, MissingDigest, PointName, RestorePoint, sealed};

use crate::store::{ReadError, Store, StoreError};

/// A restore point that did not come about.
#[derive(Debug, thiserror::Error)]
pub enum PointError {
    /// The name is another LSN's.
    #[error("the restore point {name} exists already and names LSN {lsn}; choose another name")]
    NameTaken {
        /// The name.
        name: PointName,
        /// What it names.
        lsn: Lsn,
    },
    /// The store, or a damaged point of this name.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The point cannot be written.
    #[error("the restore point cannot be made: {0}")]
    Document(#[from] DocumentError),
}

impl From<StoreError> for PointError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// Writes `point`. Where its name exists for the same record, that point is returned: asking twice is no error.
///
/// # Errors
/// Any [`PointError`].
pub(crate) async fn write_point(store: &Store, point: &RestorePoint) -> Result<RestorePoint, PointError> {
    let key = ArchiveKey::Point(point.name.clone());
    match store.put_create_only(&key, sealed::encode(point)?.into()).await {
        Ok(_) => return Ok(point.clone()),
        Err(StoreError::ExistsDifferent { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let found: RestorePoint = store.get_document(&key, MissingDigest::Refuse).await?.document;
    let same = (found.timeline, found.lsn, found.chain) == (point.timeline, point.lsn, point.chain);
    if same { Ok(found) } else { Err(PointError::NameTaken { name: found.name, lsn: found.lsn }) }
}
