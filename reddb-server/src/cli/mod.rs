//! The `reddb` command: arguments, settings, and one module for each thing it does.

pub mod args;
pub mod exit;
pub mod settings;
pub mod units;
