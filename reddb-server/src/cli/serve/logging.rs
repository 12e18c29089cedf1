//! The log of the process, to stderr. `REDDB_LOG` sets what is said: a level, or filters such as `info,reddb_backup=debug`.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::cli::environment;

/// Begins to log; does nothing where somebody has begun before.
pub(super) fn start() {
    let chosen = std::env::var(environment::LOG).unwrap_or_default();
    let filter = if chosen.is_empty() { EnvFilter::new("info") } else { EnvFilter::new(&chosen) };
    let colours = std::io::stderr().is_terminal();
    // What cannot be written is lost; saying so on stderr too would panic, and a full disk must not end the server.
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .log_internal_errors(false);
    // An error says that a subscriber is set already, as in a test.
    subscriber.try_init().ok();
}
