//! Texts that become part of a key or of a path, checked once and carried as types.
//!
//! A [`RelativePath`] can be joined to a directory without leaving it; a [`PointName`] is one path component on every
//! store; a [`Text`] is a short line for people. None of them can be made without its check, from JSON neither.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{ARCHIVE_PATH_BYTES_MAX, ARCHIVE_POINT_NAME_BYTES_MAX, ARCHIVE_TEXT_BYTES_MAX};

/// A text that may not stand where it was put.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A restore point's name outside its alphabet or length.
    #[error(
        "{name:?} cannot name a restore point: use 1 to {ARCHIVE_POINT_NAME_BYTES_MAX} of A-Z a-z 0-9 . _ - \
         and do not begin with a dot"
    )]
    PointName {
        /// The beginning of the refused text.
        name: String,
    },
    /// A path that is not relative and normalised.
    #[error(
        "{path:?} is not a relative, normalised path of at most {ARCHIVE_PATH_BYTES_MAX} bytes \
         (no empty, `.` or `..` component, no backslash, colon or control character)"
    )]
    Path {
        /// The beginning of the refused text.
        path: String,
    },
    /// A line for people that is too long or holds control characters.
    #[error("a text of {bytes} bytes was refused: at most {ARCHIVE_TEXT_BYTES_MAX} bytes without control characters")]
    Text {
        /// Its size.
        bytes: u64,
    },
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $check:ident, $error:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and takes `text`.
            ///
            /// # Errors
            /// [`NameError`] where the text breaks this type's rule.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                let error: fn(&str) -> NameError = $error;
                if $check(&text) { Ok(Self(text)) } else { Err(error(&text)) }
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

checked_text! {
    /// A restore point's name: 1 to 128 of `[A-Za-z0-9._-]`, not beginning with a dot.
    PointName, is_point_name, |text| NameError::PointName { name: shown(text) }
}
checked_text! {
    /// A file's path below a directory: components joined by `/`, none empty, `.` or `..`; at most 1024 bytes.
    RelativePath, is_relative_path, |text| NameError::Path { path: shown(text) }
}
checked_text! {
    /// A short line for people: at most 512 bytes, without control characters. May be empty.
    Text, is_text, |text| NameError::Text { bytes: text.len() as u64 }
}

fn is_point_name(text: &str) -> bool {
    (1..=ARCHIVE_POINT_NAME_BYTES_MAX).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn is_relative_path(text: &str) -> bool {
    text.len() <= ARCHIVE_PATH_BYTES_MAX
        && !text.contains(['\\', ':'])
        && !text.chars().any(char::is_control)
        && text.split('/').all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255)
}

fn is_text(text: &str) -> bool {
    text.len() <= ARCHIVE_TEXT_BYTES_MAX && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn point_names_are_one_plain_component() {
        for good in ["a", "before-upgrade_2.1", "-x", "_", &"n".repeat(128)] {
            assert!(PointName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", ".hidden", "a/b", "a b", "ä", "a\0", "..", &"n".repeat(129)] {
            assert!(PointName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_cannot_leave_their_directory() {
        for good in ["a", "tables/17", "a.b/..c/d", "v0..1"] {
            assert!(RelativePath::new(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a\\b", "C:a", "a\nb", &"x/".repeat(600)] {
            assert!(RelativePath::new(bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<RelativePath>("\"../../etc/passwd\"").is_err());
    }
}
