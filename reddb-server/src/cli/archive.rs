//! From the arguments that name an archive to an open store.

use reddb_backup::store::open::OpenError;
use reddb_backup::store::{ArchiveUrl, OpenMode, Store};

use super::args::{ArchiveArgs, StoreArgs};
use super::exit::{CliError, Exit};
use crate::config::ArchiveConfig;
use crate::database::store_settings;

impl StoreArgs {
    fn config(&self) -> ArchiveConfig {
        ArchiveConfig {
            endpoint: self.archive_endpoint.clone(),
            region: self.archive_region.clone(),
            virtual_hosted: self.archive_virtual_hosted.unwrap_or_default(),
            allow_http: self.archive_allow_http.unwrap_or_default(),
            credentials_file: self.archive_credentials_file.clone(),
            ..ArchiveConfig::default()
        }
    }
}

/// Opens the archive for reading. A remote store is not asked anything yet.
///
/// # Errors
/// Exit code 3 for a URL or settings that cannot be used, 4 for a directory that cannot be opened.
pub(crate) fn open(args: &ArchiveArgs) -> Result<Store, CliError> {
    let url: ArchiveUrl = args.archive.parse().map_err(CliError::usage)?;
    Store::open(&url, &store_settings(&args.store.config()), OpenMode::MustExist).map_err(|error| match &error {
        OpenError::Directory { .. } => CliError::new(Exit::Unreachable, &error).hint(
            "is it mounted? The archive's URL is in the start-up text of `reddb serve` and in `reddb check --json`",
        ),
        OpenError::PlainHttp { .. } => CliError::usage(&error).hint("--archive-allow-http allows it"),
        OpenError::Client { .. } | OpenError::Credentials(_) | OpenError::NoAccount { .. } => CliError::usage(&error),
    })
}
