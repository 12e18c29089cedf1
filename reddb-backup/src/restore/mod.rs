//! Restore: from a plan to a directory.

pub mod sink;

pub use sink::{BaseMark, RestoreSink, RestoredMark, StagedDirectory};
