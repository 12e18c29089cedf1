//! The signals that stop a server, or a long command, in order: SIGTERM and SIGINT.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::cli::exit::CliError;

/// What arrives so soon after a signal is the same one: GNU timeout, for one, sends it to the process and then to its group.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// Both signals, from now on.
#[derive(Debug)]
pub(in crate::cli) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(in crate::cli) fn listen() -> Result<Self, CliError> {
        let listen =
            |kind| signal(kind).map_err(|error| CliError::critical(format!("cannot listen for signals: {error}")));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The next of either that is not the last one once more.
    pub(in crate::cli) async fn another(&mut self) {
        let until = Instant::now() + SAME_SIGNAL;
        loop {
            self.next().await;
            if Instant::now() >= until {
                return;
            }
        }
    }

    /// The next of either. Each call takes a signal of its own.
    pub(in crate::cli) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
