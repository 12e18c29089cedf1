//! Commands on whole databases.

use super::parse::{database_number, integer, is_option};
use super::{Args, CommandSpec, KeyPositions, Run};
use crate::keyspace::{DATABASE_COUNT, Txn};
use crate::reply::{CommandError, CommandResult, Reply};

/// Counts keys, expired ones that are not yet deleted among them.
fn dbsize(txn: &mut Txn<'_>, _args: &Args) -> CommandResult {
    let db = txn.db();
    Ok(Reply::count(txn.database(db)?.key_count))
}

/// `SYNC` and `ASYNC` make no difference: flushing is two changes, however much there was.
fn check_flush_options(options: &Args) -> Result<(), CommandError> {
    match options {
        [] => Ok(()),
        [option] if is_option(option, "SYNC") || is_option(option, "ASYNC") => Ok(()),
        _ => Err(CommandError::SYNTAX),
    }
}

fn flushdb(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    check_flush_options(&args[1..])?;
    let db = txn.db();
    txn.flush_database(db)?;
    Ok(Reply::Ok)
}

fn flushall(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    check_flush_options(&args[1..])?;
    for db in 0..DATABASE_COUNT {
        txn.flush_database(db)?;
    }
    Ok(Reply::Ok)
}

fn swapdb(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let number = |text: &[u8]| integer(text).and_then(|value| i32::try_from(value).ok());
    let one = number(&args[1]).ok_or(CommandError::fixed("ERR invalid first DB index"))?;
    let other = number(&args[2]).ok_or(CommandError::fixed("ERR invalid second DB index"))?;
    txn.swap_databases(database_number(one)?, database_number(other)?)?;
    Ok(Reply::Ok)
}

const WRITE: CommandSpec = CommandSpec {
    name: "",
    arity: -1,
    flags: &["write"],
    keys: KeyPositions::NONE,
    group: "server",
    since: "1.0.0",
    summary: "",
    heavy: false,
    run: Run::Write(flushdb),
};

/// The commands of this file.
pub(crate) const SPECS: &[CommandSpec] = &[
    CommandSpec {
        name: "dbsize",
        arity: 1,
        flags: &["readonly", "fast"],
        summary: "Tells how many keys the database has",
        run: Run::Read(dbsize),
        ..WRITE
    },
    CommandSpec {
        name: "flushall",
        summary: "Deletes every key of every database",
        run: Run::Write(flushall),
        ..WRITE
    },
    CommandSpec { name: "flushdb", summary: "Deletes every key of the database", run: Run::Write(flushdb), ..WRITE },
    CommandSpec {
        name: "swapdb",
        arity: 3,
        flags: &["write", "fast"],
        since: "4.0.0",
        summary: "Exchanges the contents of two databases",
        run: Run::Write(swapdb),
        ..WRITE
    },
];
