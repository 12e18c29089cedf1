//! The RedDB server.

pub mod engine;
