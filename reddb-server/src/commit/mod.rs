//! The write path: sessions submit jobs, one thread executes, logs, syncs, applies and answers.

mod committer;
mod core;
pub mod gate;
mod job;
mod log_clock;
mod upkeep;
mod watch;

pub(crate) use committer::Committer;
pub use committer::{Fence, Published};
pub(crate) use core::CoreParts;
pub use job::{Invocation, Job, JobOutcome, Receipt, Step, TxnStep, Watcher};
pub use log_clock::ClockJump;

#[cfg(test)]
mod tests;
