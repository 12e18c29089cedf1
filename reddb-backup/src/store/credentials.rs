//! S3 keys from a credentials file.
//!
//! The file is the usual INI: sections in brackets, `name = value` lines, `#` and `;` comments. The section is that of
//! `AWS_PROFILE`, else `default`. The environment's own keys (`AWS_ACCESS_KEY_ID`) win over a file that was not asked for.

use std::env;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The keys of one section.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct S3Keys {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) session_token: Option<String>,
}

/// A credentials file that cannot be used. Never shows what is in it.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// It cannot be read.
    #[error("{path}: the credentials file cannot be read: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It does not hold the keys.
    #[error("{path}: the credentials file has no {name} in its section [{section}]")]
    Missing {
        /// The file.
        path: String,
        /// The missing name.
        name: &'static str,
        /// The section that was looked at.
        section: String,
    },
}

/// The keys of `file`, or of the usual places where it is `None`. `None` where the client finds its own way: keys in the
/// environment, or a role of this machine.
pub(super) fn s3_keys(file: Option<&Path>) -> Result<Option<S3Keys>, CredentialsError> {
    let section = env::var("AWS_PROFILE").unwrap_or_else(|_| "default".into());
    if let Some(file) = file {
        return read(file, &section).map(Some);
    }
    if env::var_os("AWS_ACCESS_KEY_ID").is_some() {
        return Ok(None);
    }
    if let Some(file) = env::var_os("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from) {
        return read(&file, &section).map(Some);
    }
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".aws/credentials"));
    home.filter(|file| file.is_file()).map(|file| read(&file, &section)).transpose()
}

fn read(file: &Path, section: &str) -> Result<S3Keys, CredentialsError> {
    let path = file.display().to_string();
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|source| CredentialsError::Read { path: path.clone(), source })?;
    let need = |name| {
        value(&text, section, name).ok_or_else(|| CredentialsError::Missing {
            path: path.clone(),
            name,
            section: section.into(),
        })
    };
    Ok(S3Keys {
        access_key_id: need("aws_access_key_id")?,
        secret_access_key: need("aws_secret_access_key")?,
        session_token: value(&text, section, "aws_session_token"),
    })
}

fn value(text: &str, section: &str, name: &str) -> Option<String> {
    let mut inside = false;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = title.trim() == section;
        } else if let (true, Some((key, value))) = (inside, line.split_once('='))
            && key.trim().eq_ignore_ascii_case(name)
        {
            return Some(value.trim().into());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# mine\n[other]\naws_access_key_id = X\n\n[default]\naws_access_key_id = A\n\
                        aws_secret_access_key=s/e=c \n[third]\naws_session_token = t\n";

    #[test]
    fn a_section_gives_its_own_values_only() {
        assert_eq!(value(FILE, "default", "aws_access_key_id").as_deref(), Some("A"));
        assert_eq!(value(FILE, "default", "aws_secret_access_key").as_deref(), Some("s/e=c"));
        assert_eq!(value(FILE, "default", "aws_session_token"), None);
        assert_eq!(value(FILE, "other", "aws_access_key_id").as_deref(), Some("X"));
    }

    #[test]
    fn a_missing_key_is_named_and_no_other_is_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), FILE).unwrap();
        assert!(read(file.path(), "default").is_ok());
        let Err(error) = read(file.path(), "other") else { panic!("a section without a secret was accepted") };
        assert!(error.to_string().contains("aws_secret_access_key"), "{error}");
        assert!(!error.to_string().contains(" X"), "{error}");
    }
}
