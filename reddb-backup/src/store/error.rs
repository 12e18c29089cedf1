//! What can go wrong with a store, and what each answer of an object store means.

use std::error::Error;
use std::io;

use super::credentials::Hint;

/// An object store's own error.
pub type Source = Box<dyn Error + Send + Sync + 'static>;

/// A request that did not do what was asked. Every variant names the key.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("{key}: no such object in the archive")]
    NotFound {
        /// The object.
        key: String,
    },
    /// A create-only object exists and says something else.
    #[error("{key}: an object with other content exists already; nothing was overwritten")]
    ExistsDifferent {
        /// The object.
        key: String,
    },
    /// The object is larger than it may be. Nothing was read.
    #[error("{key}: {bytes} bytes, the limit is {limit_bytes}; not read")]
    TooLarge {
        /// The object.
        key: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// Fewer or more bytes arrived than the object has.
    #[error("{key}: {got_bytes} bytes arrived, the object has {expected_bytes}")]
    Length {
        /// The object.
        key: String,
        /// Its size.
        expected_bytes: u64,
        /// What arrived.
        got_bytes: u64,
    },
    /// A part of the key's path is a symbolic link.
    #[error("{key}: {path} is a symbolic link; an archive holds none, remove it or choose another directory")]
    SymbolicLink {
        /// The object.
        key: String,
        /// The link.
        path: String,
    },
    /// The store did not do it, and may later.
    #[error("{key}: the store could not {operation} it after {attempts} attempts: {source}")]
    Unavailable {
        /// The object, or the listed folder.
        key: String,
        /// What was asked.
        operation: Operation,
        /// How often.
        attempts: u32,
        /// The last answer.
        source: Source,
    },
    /// The store refuses: permissions or credentials.
    #[error("{key}: the store refuses to {operation} it; check the credentials and what they permit: {source}")]
    Denied {
        /// The object, or the listed folder.
        key: String,
        /// What was asked.
        operation: Operation,
        /// The answer.
        source: Source,
    },
    /// The store cannot do this, however often it is asked.
    #[error("{key}: the store cannot {operation} it: {source}")]
    Unsupported {
        /// The object, or the listed folder.
        key: String,
        /// What was asked.
        operation: Operation,
        /// The answer.
        source: Source,
    },
    /// A local file that was to be uploaded cannot be read, or changed meanwhile.
    #[error("{path}: cannot be uploaded: {source}")]
    LocalFile {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// What was asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Read an object.
    Get,
    /// Ask for an object's size.
    Head,
    /// List a folder.
    List,
    /// Write an object.
    Put,
    /// Remove an object.
    Delete,
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Get => "read",
            Self::Head => "find",
            Self::List => "list",
            Self::Put => "write",
            Self::Delete => "delete",
        })
    }
}

/// What to do about a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// The object is not there.
    NotFound,
    /// Ask again later.
    Retry,
    /// Somebody else wrote it.
    Conflict,
    /// The archive's content is not what it should be.
    Integrity,
    /// An operator must change settings or permissions.
    Configuration,
    /// The local file, not the store, is at fault.
    Local,
}

impl StoreError {
    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::NotFound { .. } => StoreErrorKind::NotFound,
            Self::ExistsDifferent { .. } => StoreErrorKind::Conflict,
            Self::TooLarge { .. } | Self::Length { .. } => StoreErrorKind::Integrity,
            Self::Unavailable { .. } => StoreErrorKind::Retry,
            Self::SymbolicLink { .. } | Self::Denied { .. } | Self::Unsupported { .. } => StoreErrorKind::Configuration,
            Self::LocalFile { .. } => StoreErrorKind::Local,
        }
    }
}

/// What an object store's answer means for the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    NotFound,
    /// The object exists, or the store says so: never believed without reading it back.
    Exists,
    Denied,
    Unsupported,
    Retry,
}

/// The one place that decides it.
pub(crate) fn classify(error: &object_store::Error) -> Answer {
    use object_store::Error as E;
    match error {
        E::NotFound { .. } => Answer::NotFound,
        E::AlreadyExists { .. } | E::Precondition { .. } | E::NotModified { .. } => Answer::Exists,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => Answer::Denied,
        E::NotSupported { .. }
        | E::NotImplemented { .. }
        | E::InvalidPath { .. }
        | E::UnknownConfigurationKey { .. } => Answer::Unsupported,
        other => match io_kind(other) {
            Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => Answer::Denied,
            Some(io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory) => Answer::Unsupported,
            _ => Answer::Retry,
        },
    }
}

fn io_kind(error: &object_store::Error) -> Option<io::ErrorKind> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        next = cause.source();
    }
    None
}

/// The error that ends the attempts. `hint` says what to set where no credentials were given.
pub(crate) fn give_up(
    key: &str,
    operation: Operation,
    attempts: u32,
    source: object_store::Error,
    hint: Option<Hint>,
) -> StoreError {
    let key = key.to_owned();
    let answer = classify(&source);
    let source = match hint {
        Some(hint) => NoCredentials { hint, source }.into(),
        None => source.into(),
    };
    match answer {
        Answer::NotFound => StoreError::NotFound { key },
        Answer::Denied => StoreError::Denied { key, operation, source },
        Answer::Unsupported => StoreError::Unsupported { key, operation, source },
        Answer::Exists | Answer::Retry => StoreError::Unavailable { key, operation, attempts, source },
    }
}

/// An answer to a request that went out without credentials of an operator's.
#[derive(Debug, thiserror::Error)]
#[error("{source}; {hint}")]
struct NoCredentials {
    hint: Hint,
    source: object_store::Error,
}
