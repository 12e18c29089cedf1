//! Archive URLs: `file:///path`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, `memory://name`.
//!
//! A URL says where, never with which credentials: a user name or password in it is refused, and so is a query.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

/// Where an archive is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ArchiveUrl {
    /// A local directory; the path is absolute.
    File(PathBuf),
    /// An S3 bucket, or one of a service that speaks its protocol.
    S3(Bucket),
    /// A Google Cloud Storage bucket.
    Google(Bucket),
    /// An Azure container.
    Azure(Bucket),
    /// Memory of this process: everything that opens the same name shares it. For tests.
    Memory(Bucket),
}

/// A bucket and a prefix in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bucket {
    /// The bucket's, container's or memory's name.
    pub name: String,
    /// The prefix, without slashes around it; empty for none.
    pub prefix: String,
}

/// A text that is no archive URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is no archive URL: {detail}")]
pub struct UrlError {
    /// The text, without anything that might be a password.
    pub url: String,
    /// What is wrong, and what to write instead.
    pub detail: String,
}

const FORMS: &str = "use file:///absolute/path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix";

impl FromStr for ArchiveUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|detail| UrlError { url: without_userinfo(text), detail })
    }
}

impl fmt::Display for ArchiveUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, bucket) = match self {
            Self::File(path) => {
                // Any absolute path makes a file URL; the parser only accepts those.
                return match Url::from_file_path(path) {
                    Ok(url) => url.fmt(f),
                    Err(()) => write!(f, "file://{}", path.display()),
                };
            }
            Self::S3(bucket) => ("s3", bucket),
            Self::Google(bucket) => ("gs", bucket),
            Self::Azure(bucket) => ("az", bucket),
            Self::Memory(bucket) => ("memory", bucket),
        };
        write!(f, "{scheme}://{}", bucket.name)?;
        if bucket.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", bucket.prefix) }
    }
}

fn parse(text: &str) -> Result<ArchiveUrl, String> {
    let (scheme, rest) = text.split_once("://").ok_or_else(|| FORMS.to_owned())?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("credentials do not belong in a URL; put them into the environment or a credentials file".into());
    }
    if rest.contains(['?', '#']) {
        return Err("a query or fragment means nothing here; settings have options of their own".into());
    }
    match scheme {
        "file" => parse_file(text, rest),
        "s3" => Ok(ArchiveUrl::S3(parse_bucket(rest)?)),
        "gs" => Ok(ArchiveUrl::Google(parse_bucket(rest)?)),
        "az" => Ok(ArchiveUrl::Azure(parse_bucket(rest)?)),
        "memory" => Ok(ArchiveUrl::Memory(parse_bucket(rest)?)),
        _ => Err(format!("{scheme:?} is no known scheme; {FORMS}")),
    }
}

fn parse_file(text: &str, rest: &str) -> Result<ArchiveUrl, String> {
    if !rest.starts_with('/') {
        return Err(format!("the path must be absolute: file:///{rest}"));
    }
    if rest.split('/').any(|part| matches!(part, "." | "..")) {
        return Err("write the path without `.` and `..`".into());
    }
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let path = url.to_file_path().map_err(|()| "it is no path of this machine".to_owned())?;
    if path.parent().is_none() {
        return Err("the root directory cannot be an archive".into());
    }
    Ok(ArchiveUrl::File(path))
}

fn parse_bucket(rest: &str) -> Result<Bucket, String> {
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if name.is_empty() || name.starts_with('.') || !plain(name) {
        return Err(format!("{name:?} is no bucket's name (letters, digits, `-`, `_` and `.`)"));
    }
    let prefix = prefix.trim_end_matches('/');
    let good = |part: &str| !matches!(part, "" | "." | "..") && plain(part);
    if !prefix.is_empty() && !prefix.split('/').all(good) {
        return Err(format!("{prefix:?} is no prefix: use letters, digits, `-`, `_`, `.` and single slashes"));
    }
    Ok(Bucket { name: name.into(), prefix: prefix.into() })
}

fn without_userinfo(text: &str) -> String {
    match (text.split_once("://"), text.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://…{}", &text[at..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_urls_print_as_they_were_written() {
        for text in ["file:///var/lib/red/archive", "s3://b/a/c", "s3://b", "gs://b/p", "az://c/p", "memory://t-1/x"] {
            let url: ArchiveUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), text);
        }
        assert_eq!("s3://b/p/".parse::<ArchiveUrl>().unwrap().to_string(), "s3://b/p");
        let spaced: ArchiveUrl = "file:///a%20b".parse().unwrap();
        assert_eq!(spaced, ArchiveUrl::File("/a b".into()));
    }

    #[test]
    fn bad_urls_say_what_to_write() {
        for (text, word) in [
            ("", "use file"),
            ("/var/lib", "use file"),
            ("file://relative/path", "absolute"),
            ("file://", "absolute"),
            ("file:///", "root"),
            ("file:///a/../b", "without"),
            ("s3://", "bucket"),
            ("s3://b//c", "prefix"),
            ("s3://b/../c", "prefix"),
            ("s3://b:9000/c", "bucket"),
            ("s3://b/c?versionId=1", "query"),
            ("http://host/x", "scheme"),
            ("S3://b", "scheme"),
        ] {
            let error = text.parse::<ArchiveUrl>().unwrap_err();
            assert!(error.to_string().contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for text in ["s3://key:hunter2@bucket/p", "s3://hun@ter2@bucket/p", "file://user:hunter2@host/p"] {
            let error = text.parse::<ArchiveUrl>().unwrap_err();
            assert!(error.detail.contains("credentials"), "{error}");
            assert!(!error.to_string().contains("hun"), "{error}");
        }
    }
}
