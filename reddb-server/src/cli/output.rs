//! What commands write to stdout: text for people, or one JSON document for programs; and to stderr, for people.
//!
//! The macros of the standard library are not for this: they panic where they cannot write, as on a full disk.

use std::io::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::exit::CliError;

/// Writes one JSON document, pretty-printed, with a line feed at its end.
///
/// # Errors
/// Where stdout cannot be written.
pub(crate) fn print_json<T: Serialize>(value: &T) -> Result<(), CliError> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::critical(format!("cannot be written as JSON: {error}")))?;
    text.push('\n');
    print(&text)
}

/// Writes text as it is. A reader that went away (`| head`) is no error.
///
/// # Errors
/// Where stdout cannot be written.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if !is_reader_gone(&error) => Err(CliError::critical(format!("stdout cannot be written: {error}"))),
        _ => Ok(()),
    }
}

/// Whether whoever read stdout has seen enough.
pub(crate) fn is_reader_gone(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}

/// Writes text to stderr. Where that cannot be written, the exit code has to do.
pub(crate) fn print_error(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).ok();
}

/// A value as JSON.
///
/// # Errors
/// Where the type cannot be JSON.
pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<Value, CliError> {
    serde_json::to_value(value).map_err(|error| CliError::critical(format!("cannot be written as JSON: {error}")))
}
