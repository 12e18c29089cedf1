//! Whether an operator gave credentials, and which; S3 keys from a credentials file.
//!
//! Credentials come from the environment or from files. Where there are none, the provider's own service on this machine is
//! asked for those of the machine's role; that is for nobody to guess from its refusal, so the error says what to set.
//!
//! The file of S3 keys is the usual INI: sections in brackets, `name = value` lines, `#` and `;` comments. The section is that of
//! `AWS_PROFILE`, else `default`. The environment's own keys (`AWS_ACCESS_KEY_ID`) win over a file that was not asked for.

use std::env;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};

/// What an operator can set where nothing was.
pub(super) type Hint = &'static str;

const S3_HINT: Hint = "no credentials were given, so those of this machine's role were asked for: set AWS_ACCESS_KEY_ID and \
                       AWS_SECRET_ACCESS_KEY, or name a file of them with --archive-credentials-file or \
                       AWS_SHARED_CREDENTIALS_FILE";
const GOOGLE_HINT: Hint = "no credentials were given, so those of this machine's service account were asked for: set \
                           GOOGLE_SERVICE_ACCOUNT to a service account's key file, or GOOGLE_APPLICATION_CREDENTIALS to a \
                           file that gcloud made";
const AZURE_HINT: Hint = "no credentials were given, so those of this machine's managed identity were asked for: set \
                          AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, or AZURE_CLIENT_ID, AZURE_CLIENT_SECRET and \
                          AZURE_TENANT_ID";
/// Where gcloud keeps a person's own credentials, below the home directory.
const GCLOUD_FILE: &str = ".config/gcloud/application_default_credentials.json";

/// What to set, unless `builder` has credentials or another place than this machine's role to get them from.
pub(super) fn s3_hint(builder: &AmazonS3Builder) -> Option<Hint> {
    use AmazonS3ConfigKey as Key;
    let places = [
        Key::AccessKeyId,
        Key::SecretAccessKey,
        Key::WebIdentityTokenFile,
        Key::ContainerCredentialsRelativeUri,
        Key::ContainerCredentialsFullUri,
    ];
    let given = places.iter().any(|key| builder.get_config_value(key).is_some());
    let unsigned = builder.get_config_value(&Key::SkipSignature);
    (!given && !is_on(unsigned)).then_some(S3_HINT)
}

/// As [`s3_hint`].
pub(super) fn google_hint(builder: &GoogleCloudStorageBuilder) -> Option<Hint> {
    use GoogleConfigKey as Key;
    let places = [Key::ServiceAccount, Key::ServiceAccountKey, Key::ApplicationCredentials, Key::BearerToken];
    let given = places.iter().any(|key| builder.get_config_value(key).is_some());
    let of_gcloud = env::var_os("HOME").is_some_and(|home| Path::new(&home).join(GCLOUD_FILE).exists());
    let unsigned = builder.get_config_value(&Key::SkipSignature);
    (!given && !of_gcloud && !is_on(unsigned)).then_some(GOOGLE_HINT)
}

/// As [`s3_hint`].
pub(super) fn azure_hint(builder: &MicrosoftAzureBuilder) -> Option<Hint> {
    use AzureConfigKey as Key;
    let places = [Key::AccessKey, Key::SasKey, Key::Token, Key::ClientSecret, Key::FederatedTokenFile];
    let given = places.iter().any(|key| builder.get_config_value(key).is_some());
    let other = [Key::UseAzureCli, Key::UseEmulator, Key::SkipSignature];
    let other = other.iter().any(|key| is_on(builder.get_config_value(key)));
    (!given && !other).then_some(AZURE_HINT)
}

fn is_on(value: Option<String>) -> bool {
    value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

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
