//! [`Store`]: the requests themselves.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use object_store::path::Path as ObjectPath;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
};
use reddb_file::archive::{ArchiveKey, Document, DocumentError, MissingDigest, Opened, sealed};

use super::counters::{Counters, RequestCounts};
use super::credentials::Hint;
use super::error::{Answer, Operation, StoreError, classify, give_up};
use super::local::LocalRoot;
use super::retry::RetryPolicy;
use super::stream::{ObjectStream, chunks_of, counted};

/// How a create-only write succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// This call wrote the object.
    New,
    /// The object is there with exactly these bytes: an earlier attempt, this call's or another's, had written it.
    Found,
}

/// One listed object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its key, below the archive's prefix.
    pub key: String,
    /// Its size.
    pub bytes: u64,
}

/// What lies directly in an archive's place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Top {
    /// The names of its folders.
    pub folders: Vec<String>,
    /// The objects that are in none of them.
    pub objects: Vec<Listed>,
}

/// The objects below one prefix of an object store. Cheap to clone; clones share their counters.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) inner: Arc<dyn ObjectStore>,
    pub(super) prefix: String,
    pub(super) label: String,
    pub(super) local: Option<LocalRoot>,
    pub(super) hint: Option<Hint>,
    pub(super) retry: RetryPolicy,
    pub(super) counters: Arc<Counters>,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label)
    }
}

impl Store {
    /// The objects below `prefix` (no slashes around it; empty for all) of `inner`. `label` names it in messages.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, prefix: &str, label: impl Into<String>) -> Self {
        Self {
            inner,
            prefix: prefix.trim_matches('/').into(),
            label: label.into(),
            local: None,
            hint: None,
            retry: RetryPolicy::default(),
            counters: Arc::default(),
        }
    }

    /// The same store with another retry policy.
    #[must_use]
    pub fn with_retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// The archive's directory, where it is one of this machine's.
    #[must_use]
    pub fn local_directory(&self) -> Option<&Path> {
        self.local.as_ref().map(LocalRoot::directory)
    }

    pub(super) fn with_local_root(mut self, root: LocalRoot) -> Self {
        self.local = Some(root);
        self
    }

    /// Errors that missing credentials may be the cause of say so.
    pub(super) fn with_hint(mut self, hint: Option<Hint>) -> Self {
        self.hint = hint;
        self
    }

    /// What was asked of it so far.
    #[must_use]
    pub fn requests(&self) -> RequestCounts {
        self.counters.counts()
    }

    /// Reads a whole object of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::TooLarge`] before anything is read; or any other [`StoreError`].
    pub async fn get_bounded(&self, key: &ArchiveKey, bytes_max: u64) -> Result<Bytes, StoreError> {
        self.get_key(&key.to_string(), bytes_max).await
    }

    pub(super) async fn get_key(&self, key: &str, bytes_max: u64) -> Result<Bytes, StoreError> {
        let path = self.path(key)?;
        let mut failed = 0;
        loop {
            self.counters.request(Operation::Get);
            let error = match self.get_once(key, &path, bytes_max).await? {
                Ok(bytes) => return Ok(bytes),
                Err(error) => error,
            };
            failed += 1;
            self.again(key, Operation::Get, failed, error).await?;
        }
    }

    /// One attempt: the outer error is final, the inner one is the store's and may be retried.
    async fn get_once(
        &self,
        key: &str,
        path: &ObjectPath,
        bytes_max: u64,
    ) -> Result<Result<Bytes, object_store::Error>, StoreError> {
        let found = match self.inner.get(path).await {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let expected_bytes = found.meta.size;
        if expected_bytes > bytes_max {
            return Err(StoreError::TooLarge { key: key.into(), bytes: expected_bytes, limit_bytes: bytes_max });
        }
        let mut chunks = chunks_of(found);
        let mut bytes = BytesMut::new();
        loop {
            match chunks.try_next().await {
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(error) => return Ok(Err(error)),
            }
            if bytes.len() as u64 > expected_bytes {
                break;
            }
        }
        let got_bytes = bytes.len() as u64;
        self.counters.received(got_bytes);
        if got_bytes != expected_bytes {
            return Err(StoreError::Length { key: key.into(), expected_bytes, got_bytes });
        }
        Ok(Ok(bytes.freeze()))
    }

    /// Begins to read an object of any size, from `offset` on. The bytes themselves are not retried: on an error the
    /// caller opens again at the offset it has reached.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Length`] where the object ends before `offset`, or any other.
    pub async fn get_stream(&self, key: &ArchiveKey, offset: u64) -> Result<ObjectStream, StoreError> {
        let key = key.to_string();
        let path = self.path(&key)?;
        let mut failed = 0;
        let found = loop {
            self.counters.request(Operation::Get);
            let range = (offset > 0).then_some(GetRange::Offset(offset));
            match self.inner.get_opts(&path, GetOptions { range, ..GetOptions::default() }).await {
                Ok(found) => break found,
                Err(error) => {
                    failed += 1;
                    self.again(&key, Operation::Get, failed, error).await?;
                }
            }
        };
        let object_bytes = found.meta.size;
        if found.range != (offset..object_bytes) {
            let got_bytes = found.range.end.saturating_sub(found.range.start);
            let expected_bytes = object_bytes.saturating_sub(offset);
            return Err(StoreError::Length { key, expected_bytes, got_bytes });
        }
        let chunks = counted(key, object_bytes - offset, chunks_of(found), Arc::clone(&self.counters));
        Ok(ObjectStream { object_bytes, chunks })
    }

    /// Reads and checks a document.
    ///
    /// # Errors
    /// [`ReadError`]: the store's error, or what is wrong with the document.
    pub async fn get_document<T: Document>(
        &self,
        key: &ArchiveKey,
        missing: MissingDigest,
    ) -> Result<Opened<T>, ReadError> {
        let bytes = self.get_bounded(key, T::BYTES_MAX).await?;
        sealed::decode(&bytes, missing).map_err(|source| ReadError::Document { key: key.to_string(), source })
    }

    /// Writes an object that must not exist. Success means that the object is there with exactly these bytes.
    ///
    /// No answer but success is believed: after any other the object is read back and compared.
    ///
    /// # Errors
    /// [`StoreError::ExistsDifferent`] where somebody else's bytes are there, or any other [`StoreError`], after which
    /// the object may or may not exist: call again with the same bytes.
    pub async fn put_create_only(&self, key: &ArchiveKey, bytes: Bytes) -> Result<Created, StoreError> {
        let key = key.to_string();
        let path = self.path(&key)?;
        let mut failed = 0;
        loop {
            let Err(error) = self.put_once(&path, &bytes, PutMode::Create).await else { return Ok(Created::New) };
            match self.get_key(&key, bytes.len() as u64).await {
                Ok(found) if found == bytes => return Ok(Created::Found),
                Ok(_) | Err(StoreError::TooLarge { .. }) => return Err(StoreError::ExistsDifferent { key }),
                Err(StoreError::NotFound { .. }) => {}
                Err(unreadable) => return Err(unreadable),
            }
            failed += 1;
            self.again(&key, Operation::Put, failed, error).await?;
        }
    }

    /// Writes an object, in place of whatever is there. Only for objects that one writer owns.
    ///
    /// # Errors
    /// Any [`StoreError`], after which the object holds either content.
    pub async fn put_overwrite(&self, key: &ArchiveKey, bytes: Bytes) -> Result<(), StoreError> {
        let key = key.to_string();
        let path = self.path(&key)?;
        let mut failed = 0;
        loop {
            let Err(error) = self.put_once(&path, &bytes, PutMode::Overwrite).await else { return Ok(()) };
            failed += 1;
            self.again(&key, Operation::Put, failed, error).await?;
        }
    }

    async fn put_once(&self, path: &ObjectPath, bytes: &Bytes, mode: PutMode) -> Result<(), object_store::Error> {
        self.counters.request(Operation::Put);
        let options = PutOptions { mode, ..PutOptions::default() };
        self.inner.put_opts(path, PutPayload::from_bytes(bytes.clone()), options).await?;
        self.counters.sent(bytes.len() as u64);
        Ok(())
    }

    /// One create-only attempt without any reading back, for the probe.
    pub(super) async fn put_create_raw(&self, key: &str, bytes: Bytes) -> Result<(), RawError> {
        let path = self.path(key)?;
        self.put_once(&path, &bytes, PutMode::Create).await.map_err(RawError::Answer)
    }

    /// An object's size.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] or any other.
    pub async fn head(&self, key: &ArchiveKey) -> Result<u64, StoreError> {
        let key = key.to_string();
        let path = self.path(&key)?;
        let mut failed = 0;
        loop {
            self.counters.request(Operation::Head);
            match self.inner.head(&path).await {
                Ok(meta) => return Ok(meta.size),
                Err(error) => {
                    failed += 1;
                    self.again(&key, Operation::Head, failed, error).await?;
                }
            }
        }
    }

    /// Whether an object exists.
    ///
    /// # Errors
    /// Any [`StoreError`] but `NotFound`.
    pub async fn exists(&self, key: &ArchiveKey) -> Result<bool, StoreError> {
        match self.head(key).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All objects below the folder `prefix` (empty for the whole archive), sorted by key.
    ///
    /// # Errors
    /// Any [`StoreError`]; never a part of the list.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        self.list_after(prefix, None).await
    }

    /// The objects below the folder `prefix` whose keys sort after `after`, sorted by key. A store that does not know where
    /// to begin lists everything; what is too early is left out here.
    ///
    /// # Errors
    /// Any [`StoreError`]; never a part of the list.
    pub async fn list_after(&self, prefix: &str, after: Option<&str>) -> Result<Vec<Listed>, StoreError> {
        let folder = self.path(prefix)?;
        let offset = after.map(|after| self.path(after)).transpose()?;
        let mut failed = 0;
        loop {
            self.counters.request(Operation::List);
            let metas: Result<Vec<ObjectMeta>, _> = match &offset {
                Some(offset) => self.inner.list_with_offset(Some(&folder), offset).try_collect().await,
                None => self.inner.list(Some(&folder)).try_collect().await,
            };
            let error = match metas {
                Ok(metas) => {
                    let mut listed = self.listed(metas);
                    listed.retain(|object| after.is_none_or(|after| object.key.as_str() > after));
                    return Ok(listed);
                }
                // An empty folder is not there at all on some stores.
                Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
                Err(error) => error,
            };
            failed += 1;
            self.again(prefix, Operation::List, failed, error).await?;
        }
    }

    /// What lies directly in the archive's place: its folders, and the objects that are in none. Both are sorted.
    ///
    /// # Errors
    /// Any [`StoreError`]; never a part of the list.
    pub async fn list_top(&self) -> Result<Top, StoreError> {
        let place = self.path("")?;
        let mut failed = 0;
        loop {
            self.counters.request(Operation::List);
            let error = match self.inner.list_with_delimiter(Some(&place)).await {
                Ok(found) => {
                    let name = |folder: &ObjectPath| folder.filename().map(ToOwned::to_owned);
                    let mut folders: Vec<_> = found.common_prefixes.iter().filter_map(name).collect();
                    folders.sort_unstable();
                    return Ok(Top { folders, objects: self.listed(found.objects) });
                }
                Err(object_store::Error::NotFound { .. }) => return Ok(Top::default()),
                Err(error) => error,
            };
            failed += 1;
            self.again("", Operation::List, failed, error).await?;
        }
    }

    fn listed(&self, metas: Vec<ObjectMeta>) -> Vec<Listed> {
        let below = |meta: &ObjectMeta| {
            let whole = meta.location.as_ref();
            let key =
                if self.prefix.is_empty() { whole } else { whole.strip_prefix(&self.prefix)?.strip_prefix('/')? };
            Some(Listed { key: key.into(), bytes: meta.size })
        };
        let mut listed: Vec<_> = metas.iter().filter_map(below).collect();
        listed.sort_unstable();
        listed
    }

    /// Removes an object. One that is not there is no error.
    ///
    /// # Errors
    /// Any [`StoreError`] but `NotFound`.
    pub async fn delete(&self, key: &ArchiveKey) -> Result<(), StoreError> {
        self.delete_key(&key.to_string()).await
    }

    pub(super) async fn delete_key(&self, key: &str) -> Result<(), StoreError> {
        let path = self.path(key)?;
        let mut failed = 0;
        loop {
            self.counters.request(Operation::Delete);
            match self.inner.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => return Ok(()),
                Err(error) => {
                    failed += 1;
                    self.again(key, Operation::Delete, failed, error).await?;
                }
            }
        }
    }

    /// Waits before the next attempt, or ends the attempts.
    pub(super) async fn again(
        &self,
        key: &str,
        operation: Operation,
        failed: u32,
        error: object_store::Error,
    ) -> Result<(), StoreError> {
        let final_answer = matches!(classify(&error), Answer::NotFound | Answer::Denied | Answer::Unsupported);
        if !final_answer {
            self.counters.failure();
        }
        if final_answer || failed >= self.retry.attempts_max {
            return Err(give_up(key, operation, failed, error, self.hint));
        }
        tracing::debug!(key, %operation, failed, %error, "the store did not answer as it should; trying again");
        self.retry.pause(failed).await;
        Ok(())
    }

    pub(super) fn path(&self, key: &str) -> Result<ObjectPath, StoreError> {
        let whole = match (self.prefix.as_str(), key) {
            ("", key) => key.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, key) => format!("{prefix}/{key}"),
        };
        if let Some(local) = &self.local {
            local.check(&whole)?;
        }
        ObjectPath::parse(&whole).map_err(|source| StoreError::Unsupported {
            key: key.into(),
            operation: Operation::Get,
            source: source.into(),
        })
    }
}

/// An answer of [`Store::put_create_raw`].
#[derive(Debug)]
pub(super) enum RawError {
    Store(StoreError),
    Answer(object_store::Error),
}

impl From<StoreError> for RawError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A document that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store's error.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object is there and is not the document.
    #[error("{key}: {source}")]
    Document {
        /// The object.
        key: String,
        /// What is wrong.
        source: DocumentError,
    },
}
