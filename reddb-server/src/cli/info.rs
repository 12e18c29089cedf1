//! `reddb info`: what an archive can restore, as its documents say.

use reddb_backup::info::ArchiveInfo;

use super::args::InfoArgs;
use super::exit::{CliError, Exit};
use super::restore::history_error;
use super::{archive, output, progress};

/// Runs `reddb info`.
///
/// # Errors
/// Where the archive cannot be read; what its documents say is wrong is [`Exit::Integrity`] and no error.
pub(crate) async fn run(args: InfoArgs) -> Result<Exit, CliError> {
    let store = archive::open(&args.archive)?;
    let watcher = progress::watcher();
    let info = ArchiveInfo::read(&store, &watcher).await.map_err(|error| history_error(&error))?;
    drop(watcher);
    if args.output.json {
        output::print_json(&info)?;
    } else {
        output::print(&format!("{info}\n"))?;
    }
    Ok(if info.faults.is_empty() { Exit::Ok } else { Exit::Integrity })
}
