//! The write path: sessions submit jobs, one batch after the other is executed, logged, synced, applied and answered.

mod committer;
mod core;
pub(crate) mod gate;
mod job;
mod log_clock;
mod mailbox;
mod pipeline;
mod tail;
mod upkeep;
mod watch;

pub(crate) use committer::{Committer, NewTimeline, StartError};
pub(crate) use core::CoreParts;
pub use job::Receipt;
pub(crate) use job::{Invocation, Job, JobOutcome, Step, TxnStep, Watcher};
pub(crate) use mailbox::Mailbox;

#[cfg(test)]
mod lead_tests;
#[cfg(test)]
mod overlap_tests;
#[cfg(test)]
mod tests;
