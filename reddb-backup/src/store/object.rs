//! [`Store`]: the requests themselves.

use std::fmt;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path as ObjectPath;
use object_store::{
    GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode,
    PutOptions, PutPayload,
};
use reddb_file::archive::{ArchiveKey, Document, DocumentError, MissingDigest, Opened, sealed};

use super::error::{Answer, Operation, StoreError, classify, give_up};
use super::local::LocalRoot;
use super::retry::RetryPolicy;

/// How much of a local file is read at once.
const FILE_CHUNK_BYTES: u64 = 1024 * 1024;

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

/// An object that is being read.
pub struct ObjectStream {
    /// The size of the whole object, from whatever offset it is read.
    pub object_bytes: u64,
    /// The bytes. Ends with an error where fewer or more arrive than the object has.
    pub chunks: BoxStream<'static, Result<Bytes, StoreError>>,
}

impl fmt::Debug for ObjectStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectStream").field("object_bytes", &self.object_bytes).finish_non_exhaustive()
    }
}

/// How many requests were made since the store was opened, and what they moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// Reads.
    pub gets: u64,
    /// Questions for a size.
    pub heads: u64,
    /// Listings (not their pages).
    pub lists: u64,
    /// Writes.
    pub puts: u64,
    /// Removals.
    pub deletes: u64,
    /// Requests that failed for now and were, or will be, repeated.
    pub failures: u64,
    /// Bytes of objects that were written.
    pub bytes_sent: u64,
    /// Bytes of objects that were read.
    pub bytes_received: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    gets: AtomicU64,
    heads: AtomicU64,
    lists: AtomicU64,
    puts: AtomicU64,
    deletes: AtomicU64,
    failures: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
}

impl Counters {
    fn request(&self, operation: Operation) {
        let counter = match operation {
            Operation::Get => &self.gets,
            Operation::Head => &self.heads,
            Operation::List => &self.lists,
            Operation::Put => &self.puts,
            Operation::Delete => &self.deletes,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The objects below one prefix of an object store. Cheap to clone; clones share their counters.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) inner: Arc<dyn ObjectStore>,
    prefix: String,
    label: String,
    local: Option<LocalRoot>,
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

    pub(super) fn with_local_root(mut self, root: LocalRoot) -> Self {
        self.local = Some(root);
        self
    }

    /// What was asked of it so far.
    #[must_use]
    pub fn requests(&self) -> RequestCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        RequestCounts {
            gets: get(&counters.gets),
            heads: get(&counters.heads),
            lists: get(&counters.lists),
            puts: get(&counters.puts),
            deletes: get(&counters.deletes),
            failures: get(&counters.failures),
            bytes_sent: get(&counters.bytes_sent),
            bytes_received: get(&counters.bytes_received),
        }
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
        self.counters.bytes_received.fetch_add(got_bytes, Ordering::Relaxed);
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

    /// The objects below the folder `prefix` whose keys sort after `after`, sorted by key.
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
                Ok(metas) => return Ok(self.listed(metas)),
                // An empty folder is not there at all on some stores.
                Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
                Err(error) => error,
            };
            failed += 1;
            self.again(prefix, Operation::List, failed, error).await?;
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
            return Err(give_up(key, operation, failed, error));
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

/// The object's bytes. A local file is read in pieces of [`FILE_CHUNK_BYTES`]: each costs a hop to a thread that may block,
/// and the store's own pieces of 8 KiB make too many of them.
fn chunks_of(found: GetResult) -> BoxStream<'static, Result<Bytes, object_store::Error>> {
    let range = found.range.clone();
    match found.payload {
        GetResultPayload::File(file, _) => {
            let state = Some((file, range.start, range.end));
            futures_util::stream::try_unfold(state, |state| async move {
                let Some((mut file, start, end)) = state.filter(|(_, start, end)| start < end) else { return Ok(None) };
                let read = tokio::task::spawn_blocking(move || {
                    let mut piece = Vec::new();
                    file.seek(SeekFrom::Start(start))?;
                    (&mut file).take((end - start).min(FILE_CHUNK_BYTES)).read_to_end(&mut piece)?;
                    io::Result::Ok((file, piece))
                });
                let (file, piece) = read
                    .await?
                    .map_err(|source| object_store::Error::Generic { store: "file", source: source.into() })?;
                // A file that became shorter ends here; whoever counts sees it.
                let next = (!piece.is_empty()).then_some((file, start + piece.len() as u64, end));
                Ok(next.map(|next| (Bytes::from(piece), Some(next))))
            })
            .boxed()
        }
        GetResultPayload::Stream(chunks) => chunks,
    }
}

/// Ends with an error where the bytes are not as many as they should be.
fn counted(
    key: String,
    expected_bytes: u64,
    chunks: BoxStream<'static, Result<Bytes, object_store::Error>>,
    counters: Arc<Counters>,
) -> BoxStream<'static, Result<Bytes, StoreError>> {
    let state = (chunks, 0_u64, false);
    futures_util::stream::unfold(state, move |(mut chunks, got_bytes, ended)| {
        let (key, counters) = (key.clone(), Arc::clone(&counters));
        async move {
            if ended {
                return None;
            }
            match chunks.next().await {
                Some(Ok(chunk)) => {
                    let got_bytes = got_bytes + chunk.len() as u64;
                    counters.bytes_received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
                    if got_bytes > expected_bytes {
                        return Some((
                            Err(StoreError::Length { key, expected_bytes, got_bytes }),
                            (chunks, got_bytes, true),
                        ));
                    }
                    Some((Ok(chunk), (chunks, got_bytes, false)))
                }
                Some(Err(error)) => Some((Err(give_up(&key, Operation::Get, 1, error)), (chunks, got_bytes, true))),
                None if got_bytes < expected_bytes => {
                    Some((Err(StoreError::Length { key, expected_bytes, got_bytes }), (chunks, got_bytes, true)))
                }
                None => None,
            }
        }
    })
    .boxed()
}
