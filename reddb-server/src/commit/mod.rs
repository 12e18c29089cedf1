//! The write path: sessions submit jobs, one thread executes, logs, syncs, applies and answers.

mod committer;
mod core;
pub(crate) mod gate;
mod job;
mod log_clock;
mod upkeep;
mod watch;

pub(crate) use committer::Committer;
pub(crate) use core::CoreParts;
pub use job::Receipt;
pub(crate) use job::{Invocation, Job, JobOutcome, Step, TxnStep, Watcher};

#[cfg(test)]
mod tests;
