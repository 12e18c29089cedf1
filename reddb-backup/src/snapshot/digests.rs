//! Digests of files that do not change, remembered between snapshots of one process.
//!
//! A checkpoint hard-links immutable files, so a file is known again by device, inode, size and modification time. A file
//! that was replaced has another inode or time and is hashed again.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;

use parking_lot::Mutex;
use reddb_file::archive::Sha256Digest;
use sha2::{Digest as _, Sha256};
use xxhash_rust::xxh3::Xxh3Default;

use crate::background::{PIECE_BYTES, let_others_run};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_s: i64,
    modified_ns: i64,
}

/// The digests of one snapshot's files; the next snapshot replaces them.
#[derive(Debug, Default)]
pub(crate) struct DigestCache {
    known: Mutex<HashMap<Identity, Sha256Digest>>,
    used: Mutex<HashMap<Identity, Sha256Digest>>,
}

impl DigestCache {
    /// The size and digest of the regular file at `path`, which must read back as what was written, where that is known: a
    /// file is remembered only after that was seen. May block.
    pub(super) fn digest(&self, path: &Path, written_xxh3: Option<u128>) -> io::Result<(u64, Sha256Digest)> {
        let metadata = path.symlink_metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let identity = identity(&metadata);
        let known = identity.and_then(|identity| self.known.lock().get(&identity).copied());
        let digest = match known {
            Some(digest) => digest,
            None => hash(path, metadata.len(), written_xxh3)?,
        };
        if let Some(identity) = identity {
            self.used.lock().insert(identity, digest);
        }
        Ok((metadata.len(), digest))
    }

    /// Forgets every file that was not asked for since the last call.
    pub(crate) fn end_of_snapshot(&self) {
        *self.known.lock() = std::mem::take(&mut *self.used.lock());
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    Some(Identity {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.size(),
        modified_s: metadata.mtime(),
        modified_ns: metadata.mtime_nsec(),
    })
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<Identity> {
    None
}

fn hash(path: &Path, expected_bytes: u64, written_xxh3: Option<u128>) -> io::Result<Sha256Digest> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut xxh3 = Xxh3Default::new();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut total_bytes = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        total_bytes += read as u64;
        hash.update(&buffer[..read]);
        if written_xxh3.is_some() {
            xxh3.update(&buffer[..read]);
        }
        let_others_run();
    }
    if total_bytes != expected_bytes {
        return Err(io::Error::other(format!("it has {total_bytes} bytes where it had {expected_bytes}")));
    }
    match written_xxh3 {
        Some(written) if xxh3.digest128() != written => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("its XXH3-128 is {:032x}, {written:032x} was written", xxh3.digest128()),
        )),
        _ => Ok(Sha256Digest::finish(hash)),
    }
}
