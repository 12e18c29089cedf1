//! The RedDB server: engine, write path, RESP, archive, admin port and the `reddb` command.

pub mod admin;
pub mod cli;
pub mod clock;
pub mod command;
pub mod commit;
pub mod config;
pub mod database;
pub mod engine;
pub mod info;
pub mod keyspace;
pub mod replay;
pub mod reply;
pub mod resp;
pub mod restore;
pub mod session;
pub mod status;
