//! The language of RedDB's whole-process tests.
//!
//! A test starts the real program on a directory ([`Node`]), speaks to it as any client would ([`Client`], [`admin`]), hurts
//! it, and compares what is left with what was promised ([`load`]). Nothing here reaches into the server: the crates of the
//! workspace are used by the tests only to look at files from outside.
//!
//! Invariants: every port is the system's choice; every directory is temporary; a process that a test started never outlives
//! it; a wait ends with an error that shows the server's own log.

pub mod admin;
pub mod cli;
pub mod debian;
pub mod digest;
pub mod door;
pub mod gcs;
pub mod load;
pub mod node;
pub mod resp;
pub mod scene;
pub mod wait;

pub use node::{Node, Options};
pub use resp::{Client, Value};
pub use scene::Scene;
