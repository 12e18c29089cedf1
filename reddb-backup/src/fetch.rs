//! From an object in the store to a reader on a thread that may block.
//!
//! [`fetch`] streams an object through a short channel and, where a stream breaks off, opens it again at the offset it has
//! reached. [`ObjectReader`] is the blocking end: it hashes and counts every byte that it hands out. What fits into the
//! channel bounds the memory.

use std::io::{self, BufRead, Read};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use reddb_file::archive::{ArchiveKey, Sha256Digest};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::progress::Meter;
use crate::store::{Store, StoreError, StoreErrorKind};

/// How many chunks wait between the store and the reader.
const CHUNKS_WAITING_MAX: usize = 8;
/// How large a chunk is at most; a store's larger ones are cut.
const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// How often a stream that breaks off is opened again without any progress.
const REOPENS_MAX: u32 = 5;
/// How long to wait before it is.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

type Chunk = Result<Bytes, StoreError>;

/// An object that does not have the declared size, or that the store does not give.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The store's error.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its size is not the declared one.
    #[error("{key}: it has {found_bytes} bytes, {declared_bytes} are declared")]
    Size {
        /// The object.
        key: String,
        /// The declared size.
        declared_bytes: u64,
        /// Its size.
        found_bytes: u64,
    },
    /// Its content is not the declared one.
    #[error("{key}: its SHA-256 is {computed}, {declared} is declared")]
    Digest {
        /// The object.
        key: String,
        /// The declared digest.
        declared: Sha256Digest,
        /// Its digest.
        computed: Sha256Digest,
    },
}

impl FetchError {
    /// Whether the object is absent or damaged, as opposed to a store that does not answer.
    #[must_use]
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Store(error) => matches!(error.kind(), StoreErrorKind::NotFound | StoreErrorKind::Integrity),
            Self::Size { .. } | Self::Digest { .. } => true,
        }
    }
}

/// Begins to fetch an object of exactly `declared_bytes` bytes. The task ends when the reader is dropped.
///
/// # Errors
/// [`FetchError::Store`] where it cannot be opened, [`FetchError::Size`].
pub(crate) async fn fetch(
    store: &Store,
    key: &ArchiveKey,
    declared_bytes: u64,
    meter: Meter,
) -> Result<ObjectReader, FetchError> {
    let stream = store.get_stream(key, 0).await?;
    if stream.object_bytes != declared_bytes {
        return Err(FetchError::Size { key: key.to_string(), declared_bytes, found_bytes: stream.object_bytes });
    }
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING_MAX);
    let (store, source) = (store.clone(), key.clone());
    tokio::spawn(async move {
        if let Err(error) = pump(&store, &source, declared_bytes, stream, &sender, &meter).await {
            // Without a reader nobody wants to know.
            let _ = sender.send(Err(error)).await;
        }
    });
    Ok(ObjectReader {
        key: key.to_string(),
        receiver,
        chunk: Bytes::new(),
        hash: Sha256::new(),
        read_bytes: 0,
        declared_bytes,
        failure: None,
    })
}

async fn pump(
    store: &Store,
    key: &ArchiveKey,
    declared_bytes: u64,
    mut stream: crate::store::ObjectStream,
    sender: &mpsc::Sender<Chunk>,
    meter: &Meter,
) -> Result<(), StoreError> {
    let mut offset: u64 = 0;
    let mut failed = 0;
    loop {
        let error = match stream.chunks.try_next().await {
            Ok(None) => return Ok(()),
            Ok(Some(mut chunk)) => {
                failed = 0;
                offset = offset.saturating_add(chunk.len() as u64);
                meter.bytes(chunk.len() as u64);
                while !chunk.is_empty() {
                    let part = chunk.split_to(chunk.len().min(CHUNK_BYTES_MAX));
                    if sender.send(Ok(part)).await.is_err() {
                        return Ok(());
                    }
                }
                continue;
            }
            Err(error) => error,
        };
        failed += 1;
        if failed > REOPENS_MAX || error.kind() != StoreErrorKind::Retry || offset >= declared_bytes {
            return Err(error);
        }
        tokio::time::sleep(REOPEN_PAUSE * failed).await;
        stream = store.get_stream(key, offset).await?;
    }
}

/// The bytes of an object that is being fetched. Blocks; must not be used on a thread of the runtime.
#[derive(Debug)]
pub(crate) struct ObjectReader {
    key: String,
    receiver: mpsc::Receiver<Chunk>,
    chunk: Bytes,
    hash: Sha256,
    read_bytes: u64,
    declared_bytes: u64,
    failure: Option<StoreError>,
}

impl ObjectReader {
    /// The next bytes; empty at the end.
    fn fill(&mut self) -> io::Result<&[u8]> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                None => break,
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => {
                    let shown = io::Error::other(error.to_string());
                    self.failure = Some(error);
                    return Err(shown);
                }
            }
        }
        Ok(&self.chunk)
    }

    /// Reads what is left and says whether the object was the declared one.
    ///
    /// # Errors
    /// Any [`FetchError`].
    pub(crate) fn finish(self, declared: Sha256Digest) -> Result<(), FetchError> {
        let key = self.key.clone();
        let computed = self.digest()?;
        if computed == declared { Ok(()) } else { Err(FetchError::Digest { key, declared, computed }) }
    }

    /// Reads what is left and gives the whole object's digest.
    ///
    /// # Errors
    /// [`FetchError::Store`] and [`FetchError::Size`].
    pub(crate) fn digest(mut self) -> Result<Sha256Digest, FetchError> {
        while self.failure.is_none() {
            let available = match self.fill() {
                Ok(bytes) => bytes.len(),
                Err(_) => break,
            };
            if available == 0 {
                break;
            }
            self.consume(available);
        }
        if let Some(error) = self.failure {
            return Err(error.into());
        }
        if self.read_bytes != self.declared_bytes {
            let (declared_bytes, found_bytes) = (self.declared_bytes, self.read_bytes);
            return Err(FetchError::Size { key: self.key, declared_bytes, found_bytes });
        }
        Ok(Sha256Digest::finish(self.hash))
    }
}

impl Read for ObjectReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let available = self.fill()?;
        let taken = available.len().min(into.len());
        into[..taken].copy_from_slice(&available[..taken]);
        self.consume(taken);
        Ok(taken)
    }
}

impl BufRead for ObjectReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.fill()
    }

    fn consume(&mut self, amount: usize) {
        let taken = self.chunk.split_to(amount.min(self.chunk.len()));
        self.hash.update(&taken);
        self.read_bytes = self.read_bytes.saturating_add(taken.len() as u64);
    }
}
