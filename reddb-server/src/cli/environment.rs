//! The environment: which of its variables name a setting, and which only look so.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::CommandFactory as _;

use super::args::Cli;
use super::exit::CliError;

/// What the names of all settings begin with.
const PREFIX: &str = "REDDB_";
/// The password, which is no flag.
const PASSWORD: &str = "REDDB_PASSWORD";
/// What the log says, which is no flag either.
pub(super) const LOG: &str = "REDDB_LOG";

/// The password that the environment holds.
///
/// # Errors
/// It is not text.
pub(super) fn password() -> Result<Option<String>, CliError> {
    std::env::var_os(PASSWORD)
        .map(|password| password.into_string().map_err(|_| CliError::usage(format!("{PASSWORD} is not text"))))
        .transpose()
}

/// Tells of each variable that is named like a setting and is none: a misspelt one would quietly leave a default in place. It
/// cannot be an error, since container platforms put names of their own making there (`REDDB_PORT` beside a service `reddb`).
pub(super) fn warn_of_unknown() {
    for name in unknown(std::env::vars_os().map(|(name, _)| name)) {
        tracing::warn!(%name, "no setting has this name: the variable is ignored; `reddb serve --help` lists those that count");
    }
}

fn unknown(names: impl IntoIterator<Item = OsString>) -> Vec<String> {
    let known = known();
    let names = names.into_iter().map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(PREFIX) && !known.contains(name)).collect()
}

fn known() -> BTreeSet<String> {
    let command = Cli::command();
    let flags = command.get_subcommands().flat_map(clap::Command::get_arguments).filter_map(clap::Arg::get_env);
    let flags = flags.map(|name| name.to_string_lossy().into_owned());
    flags.chain([PASSWORD, LOG].map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_look_like_settings_and_are_none_are_told_of() {
        let names = [
            "PATH",
            "REDDB_ARCHIVE",
            "REDDB_ARCHVE",
            "REDDB_ADMIN",
            "REDDB_PASSWORD",
            "REDDB_LOG",
            "REDDB_",
            "reddb_dir",
        ];
        assert_eq!(unknown(names.map(OsString::from)), ["REDDB_ARCHVE", "REDDB_"]);
    }
}
