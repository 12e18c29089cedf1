//! A database without a port: commands as words, replies as values.

use bytes::Bytes;

use super::Database;
use crate::command::Run;
use crate::command::table::resolve;
use crate::commit::{Invocation, Job, Receipt, Step};
use crate::keyspace::DATABASE_COUNT;
use crate::reply::{CommandError, Reply};

/// A connection within the process that opened the database; see [`Database::connect`].
///
/// It takes the data commands of the data port, with the same replies. What belongs to a network connection (`AUTH`,
/// `MULTI`, `CLIENT`, …) it does not take.
#[derive(Clone)]
pub struct Connection {
    database: Database,
    db: u32,
    receipt: Option<Receipt>,
}

impl Database {
    /// A connection to database 0.
    #[must_use]
    pub fn connect(&self) -> Connection {
        Connection { database: self.clone(), db: 0, receipt: None }
    }
}

impl Connection {
    /// Selects another database.
    ///
    /// # Errors
    /// Where there is no such database.
    pub const fn select(&mut self, db: u32) -> Result<(), CommandError> {
        if db >= DATABASE_COUNT {
            return Err(CommandError::DB_OUT_OF_RANGE);
        }
        self.db = db;
        Ok(())
    }

    /// Carries out one command. A write is durable when this returns.
    ///
    /// # Errors
    /// What a client would get as an error reply.
    pub async fn execute<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Result<Reply, CommandError> {
        let args: Vec<Bytes> = args.iter().map(|arg| Bytes::copy_from_slice(arg.as_ref())).collect();
        let spec = resolve(&args).map_err(|rejected| rejected.error)?.entry.spec;
        let invocation = Invocation { spec, args, db: self.db };
        let reply = match spec.run {
            Run::Read(_) => {
                let database = self.database.clone();
                let read = tokio::task::spawn_blocking(move || database.read(&invocation));
                read.await.map_err(|_| CommandError::fixed("ERR the command stopped on an internal error"))?
            }
            Run::Write(_) => {
                let outcome = self.database.submit(Job { steps: vec![Step::Run(invocation)] }).await;
                let outcome = outcome.map_err(|_| CommandError::fixed("ERR the database is closed"))?;
                self.receipt = outcome.receipt.or(self.receipt);
                outcome.replies.into_iter().next().unwrap_or(Reply::Null)
            }
            Run::Session => {
                return Err(CommandError::new(format!("ERR '{}' needs a network connection", spec.name)));
            }
        };
        match reply {
            Reply::Error(error) => Err(error),
            reply => Ok(reply),
        }
    }

    /// This connection's last commit: what proves later that its write is in the archive.
    #[must_use]
    pub const fn receipt(&self) -> Option<Receipt> {
        self.receipt
    }
}
