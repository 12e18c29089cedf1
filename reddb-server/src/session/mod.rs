//! The data port: connections, their state, and what they share.
//!
//! Connections are served by threads of their own (`network`), as many as their load needs (`spread`), each by one task
//! (`connection`): it reads what is there, carries out every complete command in order,
//! and writes the answers together. Reads go straight to the database; from the first write of a batch on, commands are
//! gathered into one job for the committer, so that a pipeline shares syncs and its reads see its writes.
//!
//! Invariants:
//! * Answers leave in the order of the commands.
//! * What a connection holds is bounded: one command being received, one batch being carried out, one answer and
//!   `wire::OUTPUT_BYTES_HELD` being sent. Who does not read is not read from, and in the end disconnected.
//! * An idle connection holds no buffers.
//! * A network thread waits for nobody, and what may take long is done by another thread.

mod clients;
mod connection;
mod network;
mod pause;
mod port;
mod setting_names;
mod settings;
mod shared;
mod spread;
mod state;
mod stats;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use clients::Client;
pub(crate) use pause::PauseScope;
pub(crate) use port::{Port, PortConfig, PortError};
pub(crate) use shared::Shared;
pub(crate) use state::{Answer, Later, Session};
