//! Local files into content-addressed objects, in bounded memory.
//!
//! A file up to [`PART_BYTES`] is one write; a larger one goes in parts of that size. The file is hashed while it is
//! read: an object whose bytes are not what its name says is never completed, and its size is asked for afterwards.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutMode, PutPayload};
use reddb_file::archive::{ArchiveKey, Sha256Digest};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::error::{Operation, StoreError};
use super::local_upload::{LocalUploadError, write_object};
use super::object::Store;
use crate::background::{PIECE_BYTES, in_background, let_others_run};

/// The size of a part of a large object, in bytes. At least 5 MiB for S3.
pub(super) const PART_BYTES: usize = 8 * 1024 * 1024;

impl Store {
    /// Writes the file at `path` as the object named by its content. `sent` is told of each part's size.
    ///
    /// # Errors
    /// [`StoreError::LocalFile`] where the file is not the one that was hashed before, or any other [`StoreError`].
    pub(crate) async fn put_object_file(
        &self,
        digest: Sha256Digest,
        file_bytes: u64,
        path: &Path,
        sent: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), StoreError> {
        let key = ArchiveKey::Object(digest);
        let name = key.to_string();
        let mut failed = 0;
        loop {
            let attempt = Attempt { store: self, name: &name, digest, file_bytes, path };
            let Err(error) = attempt.run(sent).await? else { break };
            failed += 1;
            self.again(&name, Operation::Put, failed, error).await?;
        }
        let got_bytes = self.head(&key).await?;
        if got_bytes == file_bytes {
            Ok(())
        } else {
            Err(StoreError::Length { key: name, expected_bytes: file_bytes, got_bytes })
        }
    }
}

/// A file that is read from its beginning, with the digest of what was read.
struct Source {
    file: File,
    hash: Sha256,
}

impl Source {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, hash: Sha256::new() })
    }

    /// The next [`PART_BYTES`], fewer where the file ends.
    fn next_part(mut self) -> io::Result<(Self, Bytes)> {
        let mut part = Vec::new();
        while part.len() < PART_BYTES {
            let read_bytes = part.len();
            let piece_bytes = PIECE_BYTES.min(PART_BYTES - read_bytes);
            if (&self.file).take(piece_bytes as u64).read_to_end(&mut part)? == 0 {
                break;
            }
            self.hash.update(&part[read_bytes..]);
            let_others_run();
        }
        Ok((self, part.into()))
    }
}

/// What may be tried again.
fn failed(source: io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "archive", source: source.into() }
}

struct Attempt<'a> {
    store: &'a Store,
    name: &'a str,
    digest: Sha256Digest,
    file_bytes: u64,
    path: &'a Path,
}

impl Attempt<'_> {
    /// The outer error is final, the inner one is the store's.
    async fn run(&self, sent: &(dyn Fn(u64) + Send + Sync)) -> Result<Result<(), object_store::Error>, StoreError> {
        let key = self.store.path(self.name)?;
        if let Some(root) = &self.store.local {
            return self.run_locally(root.object_path(key.as_ref()), sent).await;
        }
        let path = self.path.to_owned();
        let begun = in_background(move || Source::open(&path)?.next_part()).await;
        let (mut source, first) = match begun {
            Ok(begun) => begun.map_err(|source| self.local(source))?,
            Err(error) => return Ok(Err(failed(error))),
        };
        if (first.len() as u64) >= self.file_bytes {
            self.check(first.len() as u64, source.hash)?;
            let bytes = first.len() as u64;
            let put = self.store.inner.put_opts(&key, PutPayload::from_bytes(first), PutMode::Overwrite.into());
            if let Err(error) = put.await {
                return Ok(Err(error));
            }
            self.store.counters.sent(bytes);
            sent(bytes);
            return Ok(Ok(()));
        }
        let mut upload = match self.store.inner.put_multipart(&key).await {
            Ok(upload) => AbortOnDrop(Some(upload)),
            Err(error) => return Ok(Err(error)),
        };
        let mut part = first;
        let mut total_bytes = 0;
        while !part.is_empty() {
            let bytes = part.len() as u64;
            total_bytes += bytes;
            if let Err(error) = upload.put_part(part).await {
                return Ok(Err(error));
            }
            self.store.counters.sent(bytes);
            sent(bytes);
            (source, part) = match in_background(|| source.next_part()).await {
                Ok(read) => read.map_err(|source| self.local(source))?,
                Err(error) => return Ok(Err(failed(error))),
            };
        }
        self.check(total_bytes, source.hash)?;
        Ok(upload.complete().await)
    }

    /// In a thread of its own. It goes on to the end of a piece where nobody waits for it any more.
    async fn run_locally(
        &self,
        to: PathBuf,
        sent: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<Result<(), object_store::Error>, StoreError> {
        let (pieces, mut written) = mpsc::unbounded_channel();
        let (from, what) = (self.path.to_owned(), (self.file_bytes, self.digest));
        let work = in_background(move || write_object(&from, what, &to, |bytes| pieces.send(bytes).is_ok()));
        let count = async {
            while let Some(bytes) = written.recv().await {
                self.store.counters.sent(bytes);
                sent(bytes);
            }
        };
        let (result, ()) = tokio::join!(work, count);
        match result {
            Ok(Ok(())) => Ok(Ok(())),
            Ok(Err(LocalUploadError::Source(source))) => Err(self.local(source)),
            Ok(Err(LocalUploadError::Archive(source))) | Err(source) => Ok(Err(failed(source))),
            Ok(Err(LocalUploadError::Gone)) => Ok(Err(failed(io::ErrorKind::Interrupted.into()))),
        }
    }

    fn check(&self, read_bytes: u64, hash: Sha256) -> Result<(), StoreError> {
        let found = Sha256Digest::finish(hash);
        if read_bytes == self.file_bytes && found == self.digest {
            return Ok(());
        }
        let detail =
            format!("it changed while it was read: {found}, {read_bytes} bytes, where {} was expected", self.digest);
        Err(self.local(std::io::Error::other(detail)))
    }

    fn local(&self, source: std::io::Error) -> StoreError {
        StoreError::LocalFile { path: self.path.display().to_string(), source }
    }
}

/// Tells the store to forget an upload's parts where it is not completed, also when the caller gives up half-way.
struct AbortOnDrop(Option<Box<dyn MultipartUpload>>);

impl AbortOnDrop {
    async fn put_part(&mut self, part: Bytes) -> Result<(), object_store::Error> {
        match &mut self.0 {
            Some(upload) => upload.put_part(PutPayload::from_bytes(part)).await,
            None => Ok(()),
        }
    }

    async fn complete(mut self) -> Result<(), object_store::Error> {
        let Some(upload) = &mut self.0 else { return Ok(()) };
        upload.complete().await?;
        self.0 = None;
        Ok(())
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let (Some(mut upload), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::debug!(%error, "an unfinished upload could not be aborted; the store's own rules must expire it");
                }
            });
        }
    }
}
