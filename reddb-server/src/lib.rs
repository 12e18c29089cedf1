//! The RedDB server: engine, write path, RESP, archive, admin port and the `reddb` command.

pub mod clock;
pub mod command;
pub mod commit;
pub mod engine;
pub mod keyspace;
pub mod reply;
pub mod status;
