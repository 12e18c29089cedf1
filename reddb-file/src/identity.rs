//! `<dir>/identity`: whose directory this is, written once and never changed.
//!
//! ```text
//! reddb identity 1\n                                  format version in decimal, without leading zeros
//! cluster <hyphenated lower-case UUID>\n
//! node <hyphenated lower-case UUID>\n
//! crc32 <8 lower-case hex digits>\n                   CRC-32 (IEEE) of everything before this line
//! ```
//! Text, because people look at it in a disaster. Decoding accepts exactly what encoding writes.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::durable;
use crate::ids::{ClusterId, NodeId};
use crate::layout::identity_path;
use crate::limits::IDENTITY_BYTES_MAX;
use crate::vfs::{Vfs, VfsError, read_small_file};

/// The version of the data directory that this program reads and writes.
pub const DIRECTORY_FORMAT: u32 = 1;

/// How an identity file begins; the version follows.
pub const IDENTITY_PREFIX: &str = "reddb identity ";

/// A data directory's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Identity {
    /// The history that it holds.
    pub cluster: ClusterId,
    /// The directory itself.
    pub node: NodeId,
}

/// An identity that cannot be read or created.
#[derive(Clone, Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is none: not a data directory, or not yet.
    #[error("{} does not exist: this is not a reddb data directory", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is one already.
    #[error("{} exists already: a directory's identity never changes; use an empty directory", path.display())]
    Exists {
        /// Where it is.
        path: PathBuf,
    },
    /// Written by another version.
    #[error(
        "{} says directory format {found}, this program uses format {DIRECTORY_FORMAT}: use the version of reddb that \
         wrote it, or restore from the archive into a new directory",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
    /// The file is damaged.
    #[error(
        "{} is damaged ({reason}): nothing in this directory can be trusted to belong together; restore from the archive \
         into a new directory",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The file system failed.
    #[error(transparent)]
    Io(#[from] VfsError),
}

impl Identity {
    /// The file's contents.
    #[must_use]
    pub fn encode(&self) -> String {
        let body = format!("{IDENTITY_PREFIX}{DIRECTORY_FORMAT}\ncluster {}\nnode {}\n", self.cluster, self.node);
        let crc = crc32fast::hash(body.as_bytes());
        format!("{body}crc32 {crc:08x}\n")
    }

    /// Decodes the contents of the file at `path` (which only names it in errors).
    ///
    /// # Errors
    /// [`IdentityError::Version`] and [`IdentityError::Damaged`].
    pub fn decode(contents: &[u8], path: &Path) -> Result<Self, IdentityError> {
        let damaged = |reason| IdentityError::Damaged { path: path.to_owned(), reason };
        let text = std::str::from_utf8(contents).map_err(|_| damaged("it is not text"))?;
        let (body, crc) = text.rsplit_once("crc32 ").ok_or_else(|| damaged("it has no checksum line"))?;
        if crc != format!("{:08x}\n", crc32fast::hash(body.as_bytes())) {
            return Err(damaged("its checksum does not match"));
        }
        let mut lines = body.lines();
        let version = lines.next().and_then(|line| line.strip_prefix(IDENTITY_PREFIX));
        let version: u32 =
            version.and_then(|text| text.parse().ok()).ok_or_else(|| damaged("its first line is wrong"))?;
        if version != DIRECTORY_FORMAT {
            return Err(IdentityError::Version { path: path.to_owned(), found: version });
        }
        let cluster = lines.next().and_then(|line| line.strip_prefix("cluster ")).and_then(|text| text.parse().ok());
        let node = lines.next().and_then(|line| line.strip_prefix("node ")).and_then(|text| text.parse().ok());
        let (Some(cluster), Some(node)) = (cluster, node) else {
            return Err(damaged("its cluster or node line is wrong"));
        };
        let identity = Self { cluster, node };
        if identity.encode().as_bytes() == contents { Ok(identity) } else { Err(damaged("it is not canonical")) }
    }

    /// Reads the identity of the data directory `dir`.
    ///
    /// # Errors
    /// Any [`IdentityError`] but `Exists`.
    pub fn read(vfs: &dyn Vfs, dir: &Path) -> Result<Self, IdentityError> {
        let path = identity_path(dir);
        match read_small_file(vfs, &path, IDENTITY_BYTES_MAX) {
            Ok(contents) => Self::decode(&contents, &path),
            Err(error) if error.is_not_found() => Err(IdentityError::Missing { path }),
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                Err(IdentityError::Damaged { path, reason: "it is too long" })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Durably gives the data directory `dir`, which must exist, this identity.
    ///
    /// # Errors
    /// [`IdentityError::Exists`] where it has one, and `Io`.
    pub fn create(&self, vfs: &dyn Vfs, dir: &Path) -> Result<(), IdentityError> {
        let path = identity_path(dir);
        match durable::create_file(vfs, &path, self.encode().as_bytes()) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(IdentityError::Exists { path }),
            result => Ok(result?),
        }
    }
}
