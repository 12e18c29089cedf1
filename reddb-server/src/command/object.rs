//! `OBJECT`: what a client may want to know of how a value is kept.
//!
//! RedDB keeps values in its engine, not in Redis's memory encodings; the answers are those that Redis with its default
//! settings gives for a value freshly written.

use bytes::Bytes;

use super::parse::integer;
use super::{Args, CommandSpec, KeyPositions, Run};
use crate::keyspace::{Entry, Txn, Value};
use crate::reply::{CommandError, CommandResult, Reply};

/// The longest string that Redis keeps together with its header, in bytes.
const EMBEDDED_BYTES_MAX: usize = 44;
/// Up to how many fields Redis keeps a hash in one piece.
const LISTPACK_FIELDS_MAX: u64 = 512;
/// Up to how long fields and values Redis keeps a hash in one piece, in bytes.
const LISTPACK_NAME_BYTES_MAX: usize = 64;
/// Integers below this are shared in Redis.
const SHARED_INTEGER_END: i64 = 10_000;

const HELP: &[&str] = &[
    "OBJECT <subcommand> [<arg> ...]. Subcommands are:",
    "ENCODING <key>",
    "    Tell how Redis would keep the value of <key> in memory.",
    "FREQ <key>",
    "    Tell how often <key> is used; needs an LFU eviction policy, which there is none of.",
    "IDLETIME <key>",
    "    Tell for how many seconds <key> has not been used; always 0.",
    "REFCOUNT <key>",
    "    Tell how many references there are to the value of <key>.",
    "HELP",
    "    Print this help.",
];

fn encoding(txn: &Txn<'_>, entry: &Entry) -> Result<&'static str, CommandError> {
    Ok(match &entry.value {
        Value::String(value) if integer(value).is_some() => "int",
        Value::String(value) if value.len() <= EMBEDDED_BYTES_MAX => "embstr",
        Value::String(_) => "raw",
        Value::Hash(hash) if hash.field_count > LISTPACK_FIELDS_MAX => "hashtable",
        Value::Hash(hash) => {
            for item in txn.hash_fields(hash, std::ops::Bound::Unbounded) {
                let (field, value) = item?;
                if field.len().max(value.len()) > LISTPACK_NAME_BYTES_MAX {
                    return Ok("hashtable");
                }
            }
            "listpack"
        }
    })
}

fn reference_count(entry: &Entry) -> i64 {
    match &entry.value {
        Value::String(value) if integer(value).is_some_and(|value| (0..SHARED_INTEGER_END).contains(&value)) => {
            i64::from(i32::MAX)
        }
        _ => 1,
    }
}

fn describe(subcommand: &str, txn: &Txn<'_>, entry: &Entry) -> CommandResult {
    match subcommand {
        "encoding" => Ok(Reply::text(encoding(txn, entry)?)),
        "idletime" => Ok(Reply::Int(0)),
        "refcount" => Ok(Reply::Int(reference_count(entry))),
        _ => Err(CommandError::fixed(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.",
        )),
    }
}

fn object(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    const ABOUT_KEYS: [&str; 4] = ["encoding", "freq", "idletime", "refcount"];
    let given: &Bytes = &args[1];
    if super::parse::is_option(given, "help") {
        if args.len() != 2 {
            return Err(CommandError::wrong_arity("object|help"));
        }
        return Ok(Reply::Array(HELP.iter().map(|&line| Reply::Simple(line.into())).collect()));
    }
    let Some(subcommand) = ABOUT_KEYS.into_iter().find(|name| super::parse::is_option(given, name)) else {
        return Err(super::table::unknown_subcommand("object", given));
    };
    let [_, _, key] = args else {
        return Err(CommandError::wrong_arity(&format!("object|{subcommand}")));
    };
    match txn.lookup(key)? {
        None => Ok(Reply::Null),
        Some(entry) => describe(subcommand, txn, &entry),
    }
}

/// The commands of this file.
pub(crate) const SPECS: &[CommandSpec] = &[CommandSpec {
    name: "object",
    arity: -2,
    flags: &[],
    keys: KeyPositions::NONE,
    group: "generic",
    since: "2.2.3",
    summary: "Tells how a key's value is kept",
    heavy: false,
    run: Run::Read(object),
}];
