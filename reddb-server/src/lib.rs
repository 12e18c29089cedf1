//! The RedDB server: engine, write path, RESP, archive, admin port and the `reddb` command.
//!
//! The binary is [`run`]. A program that wants the database without a port opens a [`Database`] in its own process:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use reddb_server::{Config, Database, Reply};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let database = Database::open(Config::new("data", 64 << 20)).await?;
//! let mut connection = database.connect();
//! connection.execute(&["SET", "greeting", "hello"]).await?; // durable when it returns
//! assert_eq!(connection.execute(&["GET", "greeting"]).await?, Reply::bulk("hello"));
//! database.backup("nightly").await?;
//! database.close(Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! `examples/embedded.rs` is the same to run. [`EngineSink`] is what `reddb_backup::restore` fills to make a directory that
//! [`Database::open`] takes. Everything else is private.

// They panic where they cannot write, as on a full disk: `cli::output` is for that.
#![cfg_attr(not(test), warn(clippy::print_stderr, clippy::print_stdout))]

mod admin;
mod cli;
mod clock;
mod command;
mod commit;
mod config;
mod database;
mod engine;
mod exit;
mod info;
mod keyspace;
mod per_thread;
mod replay;
mod reply;
mod resp;
mod restore;
mod session;
mod status;

pub use cli::run;
pub use commit::Receipt;
pub use config::{ArchiveConfig, Config};
pub use database::{BackupSummary, CloseError, Connection, Database, MarkSummary, OpenError};
pub use exit::Exit;
pub use reply::{CommandError, Reply};
pub use restore::{EngineSink, RestoredState};
pub use status::{ArchiveReport, Status};
