//! Commands on keys of any type.

use super::parse::{database_argument, is_option};
use super::{Args, CommandSpec, KeyPositions, Run};
use crate::keyspace::{Txn, Value};
use crate::reply::{CommandError, CommandResult, Reply};

const SAME_OBJECT: CommandError = CommandError::fixed("ERR source and destination objects are the same");

fn del(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let mut count = 0;
    for key in &args[1..] {
        count += i64::from(txn.delete(key)?);
    }
    Ok(Reply::Int(count))
}

/// Counts the arguments that are keys; one that is named twice counts twice.
fn exists(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let mut count = 0;
    for key in &args[1..] {
        count += i64::from(txn.lookup(key)?.is_some());
    }
    Ok(Reply::Int(count))
}

/// The name of a value's type.
pub(super) const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "string",
        Value::Hash(_) => "hash",
    }
}

fn type_of(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let entry = txn.lookup(&args[1])?;
    Ok(Reply::Simple(entry.map_or("none", |entry| type_name(&entry.value)).into()))
}

/// Renames, where the new name may be taken or `target_must_be_free`; says whether it did.
fn rename_to(txn: &mut Txn<'_>, args: &Args, target_must_be_free: bool) -> Result<bool, CommandError> {
    let (from, to) = (&args[1], &args[2]);
    if txn.lookup(from)?.is_none() {
        return Err(CommandError::NO_SUCH_KEY);
    }
    if target_must_be_free && txn.lookup(to)?.is_some() {
        return Ok(false);
    }
    if from != to {
        let db = txn.db();
        txn.rename((db, from), (db, to))?;
    }
    Ok(true)
}

fn rename(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    rename_to(txn, args, false)?;
    Ok(Reply::Ok)
}

fn renamenx(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    Ok(Reply::Int(i64::from(rename_to(txn, args, true)?)))
}

fn copy(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let (from, to) = (&args[1], &args[2]);
    let (source, mut target) = (txn.db(), txn.db());
    let mut replace = false;
    let mut rest = args[3..].iter();
    while let Some(option) = rest.next() {
        if is_option(option, "REPLACE") {
            replace = true;
        } else if is_option(option, "DB") {
            target = database_argument(rest.next().ok_or(CommandError::SYNTAX)?)?;
        } else {
            return Err(CommandError::SYNTAX);
        }
    }
    if source == target && from == to {
        return Err(SAME_OBJECT);
    }
    if txn.lookup(from)?.is_none() || (!replace && txn.lookup_in(target, to)?.is_some()) {
        return Ok(Reply::Int(0));
    }
    txn.copy((source, from), (target, to))?;
    Ok(Reply::Int(1))
}

fn move_key(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let key = &args[1];
    let (source, target) = (txn.db(), database_argument(&args[2])?);
    if source == target {
        return Err(SAME_OBJECT);
    }
    if txn.lookup(key)?.is_none() || txn.lookup_in(target, key)?.is_some() {
        return Ok(Reply::Int(0));
    }
    txn.rename((source, key), (target, key))?;
    Ok(Reply::Int(1))
}

const READ: CommandSpec = CommandSpec {
    name: "",
    arity: -2,
    flags: &["readonly", "fast"],
    keys: KeyPositions::ALL,
    group: "generic",
    since: "1.0.0",
    summary: "",
    heavy: false,
    run: Run::Read(exists),
};

const WRITE: CommandSpec = CommandSpec { flags: &["write"], run: Run::Write(del), ..READ };
const TWO_KEYS: KeyPositions = KeyPositions { first: 1, last: 2, step: 1 };

/// The commands of this file.
pub(crate) const SPECS: &[CommandSpec] = &[
    CommandSpec {
        name: "copy",
        arity: -3,
        flags: &["write", "denyoom"],
        keys: TWO_KEYS,
        since: "6.2.0",
        summary: "Copies a key with its value and expiry",
        run: Run::Write(copy),
        ..WRITE
    },
    CommandSpec { name: "del", summary: "Deletes keys", run: Run::Write(del), ..WRITE },
    CommandSpec { name: "exists", summary: "Tells how many of the keys exist", run: Run::Read(exists), ..READ },
    CommandSpec {
        name: "move",
        arity: 3,
        flags: &["write", "fast"],
        keys: KeyPositions::FIRST,
        summary: "Moves a key to another database",
        run: Run::Write(move_key),
        ..WRITE
    },
    CommandSpec {
        name: "rename",
        arity: 3,
        keys: TWO_KEYS,
        summary: "Gives a key another name, over whatever has it",
        run: Run::Write(rename),
        ..WRITE
    },
    CommandSpec {
        name: "renamenx",
        arity: 3,
        flags: &["write", "fast"],
        keys: TWO_KEYS,
        summary: "Gives a key another name, unless that is taken",
        run: Run::Write(renamenx),
        ..WRITE
    },
    CommandSpec {
        name: "touch",
        since: "3.2.1",
        summary: "Tells how many of the keys exist, and counts as a use of them",
        run: Run::Read(exists),
        ..READ
    },
    CommandSpec {
        name: "type",
        arity: 2,
        keys: KeyPositions::FIRST,
        summary: "Tells what type of value a key holds",
        run: Run::Read(type_of),
        ..READ
    },
    CommandSpec {
        name: "unlink",
        flags: &["write", "fast"],
        since: "4.0.0",
        summary: "Deletes keys; here the same as DEL, which is never slow",
        run: Run::Write(del),
        ..WRITE
    },
];
