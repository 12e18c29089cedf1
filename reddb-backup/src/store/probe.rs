//! Does a store keep the promises that fencing needs?
//!
//! Asked once at a writer's start, with an object of its own below `probe/`: a create-only write of an existing object is
//! refused and changes nothing, a write is read back at once, and a listing shows it.

use bytes::Bytes;
use uuid::Uuid;

use super::error::{Operation, StoreError};
use super::object::{RawError, Store};
use super::retry::RetryPolicy;

/// The folder that probes write into. Nothing else lives there; what a crash left in it means nothing.
pub const PROBE_PREFIX: &str = "probe";

/// A store that cannot hold an archive, or could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The store could not be asked.
    #[error("the store could not be probed: {0}")]
    Store(#[from] StoreError),
    /// A create-only write replaced what was there.
    #[error("the store does not enforce create-only writes: two writers could overwrite each other; use another store")]
    CreateOnlyNotEnforced,
    /// What was written is not what is read.
    #[error("the store does not return what was just written; use another store")]
    ReadAfterWrite,
    /// A listing lacks what was written.
    #[error("the store's listings lack objects that were just written; use another store")]
    ListInconsistent,
}

impl Store {
    /// Probes the store. Cleans up behind itself.
    ///
    /// # Errors
    /// Any [`ProbeError`].
    pub async fn probe(&self) -> Result<(), ProbeError> {
        let key = format!("{PROBE_PREFIX}/{}", Uuid::new_v4().hyphenated());
        let result = self.probe_with(&key).await;
        if let Err(ProbeError::Store(StoreError::Unavailable { .. })) = result {
            // It would not answer this either; what may be there means nothing.
            return result;
        }
        let cleaned = self.delete_key(&key).await;
        result?;
        cleaned?;
        match self.get_key(&key, 64).await {
            Err(StoreError::NotFound { .. }) => Ok(()),
            Ok(_) => Err(ProbeError::ReadAfterWrite),
            Err(error) => Err(error.into()),
        }
    }

    async fn probe_with(&self, key: &str) -> Result<(), ProbeError> {
        let mine = Bytes::from_static(b"first");
        let other = Bytes::from_static(b"other");
        self.create_probe(key, &mine).await?;
        match self.put_create_raw(key, other).await {
            Ok(()) => return Err(ProbeError::CreateOnlyNotEnforced),
            Err(RawError::Store(error)) => return Err(error.into()),
            // Whatever was answered, the object decides.
            Err(RawError::Answer(_)) => {}
        }
        if self.get_key(key, 64).await? != mine {
            return Err(ProbeError::CreateOnlyNotEnforced);
        }
        let listed = self.list(PROBE_PREFIX).await?;
        if !listed.iter().any(|object| object.key == key && object.bytes == mine.len() as u64) {
            return Err(ProbeError::ListInconsistent);
        }
        Ok(())
    }

    async fn create_probe(&self, key: &str, mine: &Bytes) -> Result<(), ProbeError> {
        // One question an attempt: the attempts themselves are repeated.
        let once = Self { retry: RetryPolicy::once(), ..self.clone() };
        let mut failed = 0;
        loop {
            let error = match self.put_create_raw(key, mine.clone()).await {
                Ok(()) => break,
                Err(RawError::Store(error)) => return Err(error.into()),
                Err(RawError::Answer(error)) => error,
            };
            // The name is random: whatever is there is ours, whatever the answer said.
            if once.get_key(key, 64).await.is_ok() {
                break;
            }
            failed += 1;
            self.again(key, Operation::Put, failed, error).await?;
        }
        match self.get_key(key, 64).await {
            Ok(found) if found == *mine => Ok(()),
            Ok(_) | Err(StoreError::NotFound { .. }) => Err(ProbeError::ReadAfterWrite),
            Err(error) => Err(error.into()),
        }
    }
}
