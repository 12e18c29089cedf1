//! The write path: sessions submit jobs, one thread executes, logs, syncs, applies and answers.

mod job;

pub use job::{Invocation, Job, JobOutcome, Receipt, Step, TxnStep, Watcher};
