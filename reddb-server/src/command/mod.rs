//! The commands: one table entry each, grouped by file.
//!
//! A data command is a function over a [`Txn`]. A read runs in its session against what is durable; a write runs in the
//! committer against the newest state. Neither knows which: the transaction does. Session commands (connection,
//! transactions, server) are carried out by the session itself.

pub(crate) mod budget;
mod client;
pub(crate) mod connection;
pub(crate) mod databases;
mod describe;
pub(crate) mod expiry;
pub(crate) mod glob;
pub(crate) mod hashes;
pub(crate) mod keys;
mod lcs;
pub(crate) mod long_double;
pub(crate) mod object;
pub(crate) mod parse;
pub(crate) mod scan;
#[cfg(test)]
mod scan_tests;
pub(crate) mod server;
pub(crate) mod strings;
pub(crate) mod subcommands;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub(crate) mod transactions;
mod usage;

use bytes::Bytes;

use crate::keyspace::Txn;
use crate::reply::{CommandResult, Reply};

/// The arguments of a command, its name first.
pub(crate) type Args = [Bytes];

/// A function that carries out a data command.
pub(crate) type DataFn = fn(&mut Txn<'_>, &Args) -> CommandResult;

/// Who carries a command out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Run {
    /// The session, against what is durable; must change nothing.
    Read(DataFn),
    /// The committer, against the newest state. Checks everything before it changes anything.
    Write(DataFn),
    /// The session, with its own state.
    Session,
}

/// Where a command's keys stand among its arguments, as `COMMAND INFO` tells it: positions count the name as 0, a
/// negative last position counts from the end, a step of 0 means "no keys".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyPositions {
    /// The first key's position.
    pub first: i32,
    /// The last key's position.
    pub last: i32,
    /// The distance between keys.
    pub step: i32,
}

impl KeyPositions {
    /// No keys.
    pub(crate) const NONE: Self = Self { first: 0, last: 0, step: 0 };
    /// One key, the first argument.
    pub(crate) const FIRST: Self = Self { first: 1, last: 1, step: 1 };
    /// Every argument is a key.
    pub(crate) const ALL: Self = Self { first: 1, last: -1, step: 1 };
}

/// One command.
#[derive(Debug)]
pub(crate) struct CommandSpec {
    /// Its name, in lower case; a subcommand's container is not part of it.
    pub name: &'static str,
    /// How many arguments it takes, its name included; negative: at least as many.
    pub arity: i32,
    /// Its flags as `COMMAND INFO` names them: `write`, `readonly`, `denyoom`, `admin`, `noscript`, `fast`, `loading`,
    /// `stale`, `no_auth`, `allow_busy`, `skip_monitor`, `movablekeys`.
    pub flags: &'static [&'static str],
    /// Where its keys stand.
    pub keys: KeyPositions,
    /// The documentation group: `string`, `generic`, `hash`, `connection`, `server`, `transactions`.
    pub group: &'static str,
    /// The Redis version that brought it, or RedDB's for our own.
    pub since: &'static str,
    /// One sentence on what it does.
    pub summary: &'static str,
    /// Whether its work may grow with the database or with a big value, so that it must not hold up a network thread.
    pub heavy: bool,
    /// Who carries it out.
    pub run: Run,
}

/// Every data command, by file.
pub(crate) const DATA_COMMANDS: &[&[CommandSpec]] =
    &[databases::SPECS, expiry::SPECS, hashes::SPECS, keys::SPECS, object::SPECS, scan::SPECS, strings::SPECS];

impl CommandSpec {
    /// Whether this many arguments, the name included, fit the command.
    #[must_use]
    pub(crate) fn accepts(&self, argument_count: usize) -> bool {
        let Ok(count) = i32::try_from(argument_count) else { return false };
        if self.arity >= 0 { count == self.arity } else { count >= -self.arity }
    }

    /// Whether the committer carries it out.
    #[must_use]
    pub(crate) const fn is_write(&self) -> bool {
        matches!(self.run, Run::Write(_))
    }
}

/// The lines of a `HELP` subcommand.
fn help_lines(lines: &[&'static str]) -> Reply {
    Reply::Array(lines.iter().map(|line| Reply::Simple((*line).into())).collect())
}
