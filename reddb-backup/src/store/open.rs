//! From an [`ArchiveUrl`] and [`StoreSettings`] to a [`Store`].
//!
//! Credentials come from the environment (`AWS_*`, `GOOGLE_*`, `AZURE_*`) or from a file, never from the URL. Retrying is
//! this crate's own: the clients below make one attempt each, so that one policy counts.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use object_store::ObjectStore;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::{ClientOptions, RetryConfig};
use parking_lot::Mutex;

use super::credentials::{self, CredentialsError, Hint};
use super::local::{Absent, LocalRoot, make_directory};
use super::object::Store;
use super::retry::RetryPolicy;
use super::url::{ArchiveUrl, Bucket};

/// How a bucket is named in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addressing {
    /// In the path: `https://endpoint/bucket/key`. What every S3-compatible service understands; the default.
    #[default]
    Path,
    /// In the host: `https://bucket.endpoint/key`.
    VirtualHosted,
}

/// What an object store needs to know beside its URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreSettings {
    /// The service's address, e.g. `https://s3.example.org`; for `az://` with the account, where that is not in the host's
    /// name. Default: the provider's own (or what `AWS_ENDPOINT_URL`, `AZURE_STORAGE_ENDPOINT` or `GOOGLE_BASE_URL` says).
    pub endpoint: Option<String>,
    /// The bucket's region. Default: `AWS_REGION`, else `us-east-1`.
    pub region: Option<String>,
    /// How the bucket is named in requests. Default: in the path.
    pub addressing: Addressing,
    /// Whether the endpoint may be plain `http://`. Default: no.
    pub plain_http: PlainHttp,
    /// An S3 credentials file in the usual INI form. Default: `AWS_SHARED_CREDENTIALS_FILE`, then `~/.aws/credentials`,
    /// both only where the environment holds no key.
    pub credentials_file: Option<PathBuf>,
    /// How requests are retried.
    pub retry: RetryPolicy,
}

/// Whether requests may go out unencrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlainHttp {
    /// They may not.
    #[default]
    Refuse,
    /// They may: for services on this machine or a trusted network.
    Allow,
}

/// What to do where a local archive's directory is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Make it; where its disk has no space for it, every request fails until it could be made. For writers that begin an
    /// archive.
    Create,
    /// Every request fails, and may later succeed, until it is there and holds an archive. For writers that go on.
    MayBeAway,
    /// It is an error. For readers.
    MustExist,
}

/// A store that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A local archive's directory.
    #[error("{path}: the archive's directory cannot be {attempted}: {source}")]
    Directory {
        /// The directory.
        path: String,
        /// What was tried: `opened` or `made`.
        attempted: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The settings do not make a client.
    #[error("{url}: the object store's client refuses these settings: {source}")]
    Client {
        /// The archive.
        url: String,
        /// Why.
        source: object_store::Error,
    },
    /// The endpoint is plain HTTP and that was not allowed.
    #[error("{endpoint}: this endpoint is not encrypted; use https:// or allow plain HTTP in so many words")]
    PlainHttp {
        /// The endpoint.
        endpoint: String,
    },
    /// An `az://` URL names a container; the account that it belongs to comes from the environment.
    #[error(
        "{url}: no storage account was given: set AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY to its key"
    )]
    NoAccount {
        /// The archive.
        url: String,
    },
    /// The credentials file.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

static MEMORIES: LazyLock<Mutex<HashMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);

const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Store {
    /// Opens the store at `url`. Nothing is asked of a remote service yet.
    ///
    /// # Errors
    /// Any [`OpenError`].
    pub fn open(url: &ArchiveUrl, settings: &StoreSettings, mode: OpenMode) -> Result<Self, OpenError> {
        let store = match url {
            ArchiveUrl::File(path) => open_local(path, url, mode)?,
            ArchiveUrl::Memory(bucket) => {
                let memory = Arc::clone(MEMORIES.lock().entry(bucket.name.clone()).or_default());
                Self::new(memory, &bucket.prefix, url.to_string())
            }
            ArchiveUrl::S3(bucket) => {
                let builder = s3_builder(bucket, settings)?;
                let hint = credentials::s3_hint(&builder);
                remote(builder.build(), bucket, url, hint)?
            }
            ArchiveUrl::Google(bucket) => {
                let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(&bucket.name);
                if let Some(endpoint) = &settings.endpoint {
                    builder = builder.with_base_url(endpoint);
                }
                // The environment may name it too.
                let endpoint = builder.get_config_value(&GoogleConfigKey::BaseUrl);
                let options = client_options(settings, endpoint.as_deref())?;
                let builder = builder.with_retry(no_retries()).with_client_options(options);
                let hint = credentials::google_hint(&builder);
                remote(builder.build(), bucket, url, hint)?
            }
            ArchiveUrl::Azure(bucket) => {
                let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(&bucket.name);
                if let Some(endpoint) = &settings.endpoint {
                    builder = builder.with_endpoint(endpoint.clone());
                }
                // The environment may name it too.
                let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
                let options = client_options(settings, endpoint.as_deref())?;
                let emulated = builder.get_config_value(&AzureConfigKey::UseEmulator).is_some_and(|on| on == "true");
                if builder.get_config_value(&AzureConfigKey::AccountName).is_none() && !emulated {
                    return Err(OpenError::NoAccount { url: url.to_string() });
                }
                let builder = builder.with_retry(no_retries()).with_client_options(options);
                let hint = credentials::azure_hint(&builder);
                remote(builder.build(), bucket, url, hint)?
            }
        };
        Ok(store.with_retry(settings.retry))
    }
}

fn remote<S: ObjectStore>(
    built: Result<S, object_store::Error>,
    bucket: &Bucket,
    url: &ArchiveUrl,
    hint: Option<Hint>,
) -> Result<Store, OpenError> {
    let inner = built.map_err(|source| OpenError::Client { url: url.to_string(), source })?;
    Ok(Store::new(Arc::new(inner), &bucket.prefix, url.to_string()).with_hint(hint))
}

fn open_local(path: &Path, url: &ArchiveUrl, mode: OpenMode) -> Result<Store, OpenError> {
    let directory_error =
        |attempted| move |source| OpenError::Directory { path: path.display().to_string(), attempted, source };
    let absent = match mode {
        OpenMode::MustExist => None,
        OpenMode::MayBeAway => (!path.is_dir()).then_some(Absent::Away),
        OpenMode::Create => match make_directory(path) {
            Ok(()) => None,
            Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                Some(Absent::ToBeMade)
            }
            Err(error) => return Err(directory_error("made")(error)),
        },
    };
    if let Some(absent) = absent {
        let (root, prefix) = open_absent(path, absent).map_err(directory_error("opened"))?;
        let local = LocalFileSystem::new().with_fsync(true);
        return Ok(Store::new(Arc::new(local), &prefix, url.to_string()).with_local_root(root));
    }
    let root = path.canonicalize().map_err(directory_error("opened"))?;
    if !root.is_dir() {
        return Err(directory_error("opened")(io::ErrorKind::NotADirectory.into()));
    }
    let local = LocalFileSystem::new_with_prefix(&root)
        .map_err(|source| OpenError::Client { url: url.to_string(), source })?
        .with_fsync(true);
    let root = LocalRoot::present(root).map_err(directory_error("opened"))?;
    Ok(Store::new(Arc::new(local), "", url.to_string()).with_local_root(root))
}

/// The root of an archive whose directory is not there, and the prefix of its keys below `/`. What exists of the path is resolved
/// now, so that links on the way there are no links in the archive.
fn open_absent(path: &Path, absent: Absent) -> io::Result<(LocalRoot, String)> {
    let path = std::path::absolute(path)?;
    let present = path.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(Path::new("/"));
    let rest = path.strip_prefix(present).map_err(io::Error::other)?;
    let directory = present.canonicalize()?.join(rest);
    let prefix = directory.to_str().ok_or_else(|| io::Error::other("the path is not text"))?.to_owned();
    Ok((LocalRoot::absent(directory, absent), prefix))
}

fn s3_builder(bucket: &Bucket, settings: &StoreSettings) -> Result<AmazonS3Builder, OpenError> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&bucket.name)
        .with_virtual_hosted_style_request(settings.addressing == Addressing::VirtualHosted)
        .with_retry(no_retries());
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    // The environment may name it too.
    let endpoint = [AmazonS3ConfigKey::Endpoint, AmazonS3ConfigKey::S3Endpoint]
        .iter()
        .find_map(|key| builder.get_config_value(key));
    builder = builder.with_client_options(client_options(settings, endpoint.as_deref())?);
    if let Some(region) = &settings.region {
        builder = builder.with_region(region);
    }
    if let Some(keys) = credentials::s3_keys(settings.credentials_file.as_deref())? {
        builder = builder.with_access_key_id(keys.access_key_id).with_secret_access_key(keys.secret_access_key);
        if let Some(token) = keys.session_token {
            builder = builder.with_token(token);
        }
    }
    Ok(builder)
}

fn client_options(settings: &StoreSettings, endpoint: Option<&str>) -> Result<ClientOptions, OpenError> {
    let plain = settings.plain_http == PlainHttp::Allow;
    if let Some(endpoint) = endpoint.filter(|endpoint| endpoint.starts_with("http://") && !plain) {
        return Err(OpenError::PlainHttp { endpoint: endpoint.into() });
    }
    Ok(ClientOptions::new().with_allow_http(plain).with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT))
}

fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}
