//! Commands on strings.
//!
//! A command that rewrites a part of a string keeps the key's expiry; one that replaces the string as a whole drops it,
//! unless told otherwise. An expiry that is not in the future deletes the key.

use bytes::Bytes;
use reddb_wire::VALUE_BYTES_MAX;

use super::budget::AnswerBudget;
use super::expiry::{Base, Unit, positive_expiry};
use super::lcs::lcs;
use super::long_double::LongDouble;
use super::parse::{integer, integer_argument, is_option};
use super::{Args, CommandSpec, KeyPositions, Run};
use crate::keyspace::Txn;
use crate::reply::{CommandError, CommandResult, Reply};

const TOO_LONG: CommandError = CommandError::fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
const OVERFLOW: CommandError = CommandError::fixed("ERR increment or decrement would overflow");

fn get(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    Ok(Reply::optional(txn.string(&args[1])?))
}

fn mget(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let mut values = Vec::with_capacity(args.len() - 1);
    let mut budget = AnswerBudget::whole();
    for key in &args[1..] {
        let value = txn.lookup(key)?.and_then(|entry| entry.into_string().ok());
        budget.take(value.as_ref().map_or(0, Bytes::len))?;
        values.push(Reply::optional(value));
    }
    Ok(Reply::Array(values))
}

fn strlen(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    Ok(Reply::count(txn.string(&args[1])?.map_or(0, |value| value.len() as u64)))
}

/// What an option says about the expiry.
#[derive(Clone, Copy, Debug)]
enum ExpiryOption<'a> {
    Unspecified,
    Keep,
    Persist,
    At(&'a Bytes, Unit, Base),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Always,
    IfAbsent,
    IfPresent,
}

/// Whose options they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Set,
    GetEx,
}

#[derive(Debug)]
struct Options<'a> {
    condition: Condition,
    get: bool,
    expiry: ExpiryOption<'a>,
}

impl<'a> Options<'a> {
    /// Reads options. Repeating one is allowed, contradicting one is not.
    fn parse(options: &'a [Bytes], form: Form) -> Result<Self, CommandError> {
        const TIMES: [(&str, Unit, Base); 4] = [
            ("EX", Unit::Seconds, Base::Now),
            ("PX", Unit::Milliseconds, Base::Now),
            ("EXAT", Unit::Seconds, Base::Epoch),
            ("PXAT", Unit::Milliseconds, Base::Epoch),
        ];
        let mut parsed = Self { condition: Condition::Always, get: false, expiry: ExpiryOption::Unspecified };
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            let is = |name| is_option(option, name);
            let time = TIMES.into_iter().find(|(name, ..)| is(name));
            match (parsed.condition, parsed.expiry) {
                (Condition::Always | Condition::IfAbsent, _) if form == Form::Set && is("NX") => {
                    parsed.condition = Condition::IfAbsent;
                }
                (Condition::Always | Condition::IfPresent, _) if form == Form::Set && is("XX") => {
                    parsed.condition = Condition::IfPresent;
                }
                _ if form == Form::Set && is("GET") => parsed.get = true,
                (_, ExpiryOption::Unspecified | ExpiryOption::Keep) if form == Form::Set && is("KEEPTTL") => {
                    parsed.expiry = ExpiryOption::Keep;
                }
                (_, ExpiryOption::Unspecified | ExpiryOption::Persist) if form == Form::GetEx && is("PERSIST") => {
                    parsed.expiry = ExpiryOption::Persist;
                }
                (_, before) => {
                    let (_, unit, base) = time.ok_or(CommandError::SYNTAX)?;
                    let agrees = match before {
                        ExpiryOption::Unspecified => true,
                        ExpiryOption::At(_, unit_before, base_before) => (unit_before, base_before) == (unit, base),
                        ExpiryOption::Keep | ExpiryOption::Persist => false,
                    };
                    let text = rest.next().filter(|_| agrees).ok_or(CommandError::SYNTAX)?;
                    parsed.expiry = ExpiryOption::At(text, unit, base);
                }
            }
        }
        Ok(parsed)
    }
}

/// Replaces the string, unless it would have expired already.
fn put_or_expire(txn: &mut Txn<'_>, key: &[u8], value: &[u8], expires_at_ms: Option<u64>) -> Result<(), CommandError> {
    if expires_at_ms.is_some_and(|expires_at_ms| expires_at_ms <= txn.now_ms()) {
        txn.delete(key)?;
    } else {
        txn.put_string(key, value, expires_at_ms)?;
    }
    Ok(())
}

fn set(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let (key, value) = (&args[1], &args[2]);
    if args.len() == 3 {
        txn.put_string(key, value, None)?;
        return Ok(Reply::Ok);
    }
    let options = Options::parse(&args[3..], Form::Set)?;
    let given_ms = match options.expiry {
        ExpiryOption::At(text, unit, base) => Some(positive_expiry(txn, text, unit, base, "set")?),
        _ => None,
    };
    let before = txn.lookup(key)?;
    let expires_at_ms = match (options.expiry, &before) {
        (ExpiryOption::Keep, Some(entry)) => entry.expires_at_ms,
        _ => given_ms,
    };
    let met = match options.condition {
        Condition::Always => true,
        Condition::IfAbsent => before.is_none(),
        Condition::IfPresent => before.is_some(),
    };
    let answer = if options.get {
        Reply::optional(before.map(|entry| entry.into_string()).transpose()?)
    } else if met {
        Reply::Ok
    } else {
        Reply::Null
    };
    if met {
        put_or_expire(txn, key, value, expires_at_ms)?;
    }
    Ok(answer)
}

fn setnx(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    if txn.lookup(&args[1])?.is_some() {
        return Ok(Reply::Int(0));
    }
    txn.put_string(&args[1], &args[2], None)?;
    Ok(Reply::Int(1))
}

fn setex(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let expires_at_ms = positive_expiry(txn, &args[2], Unit::Seconds, Base::Now, "setex")?;
    txn.put_string(&args[1], &args[3], Some(expires_at_ms))?;
    Ok(Reply::Ok)
}

fn psetex(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let expires_at_ms = positive_expiry(txn, &args[2], Unit::Milliseconds, Base::Now, "psetex")?;
    txn.put_string(&args[1], &args[3], Some(expires_at_ms))?;
    Ok(Reply::Ok)
}

fn getset(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let before = txn.string(&args[1])?;
    txn.put_string(&args[1], &args[2], None)?;
    Ok(Reply::optional(before))
}

fn getdel(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let before = txn.string(&args[1])?;
    if before.is_some() {
        txn.delete(&args[1])?;
    }
    Ok(Reply::optional(before))
}

fn getex(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let key = &args[1];
    let options = Options::parse(&args[2..], Form::GetEx)?;
    let Some(entry) = txn.lookup(key)? else { return Ok(Reply::Null) };
    let expires_before = entry.expires_at_ms.is_some();
    let value = entry.into_string()?;
    match options.expiry {
        ExpiryOption::At(text, unit, base) => {
            let expires_at_ms = positive_expiry(txn, text, unit, base, "getex")?;
            if expires_at_ms <= txn.now_ms() {
                txn.delete(key)?;
            } else {
                txn.set_expiry(key, Some(expires_at_ms))?;
            }
        }
        ExpiryOption::Persist if expires_before => txn.set_expiry(key, None)?,
        ExpiryOption::Persist | ExpiryOption::Keep | ExpiryOption::Unspecified => {}
    }
    Ok(Reply::Bulk(value))
}

fn put_pairs(txn: &mut Txn<'_>, pairs: &[Bytes]) -> Result<(), CommandError> {
    for pair in pairs.chunks_exact(2) {
        txn.put_string(&pair[0], &pair[1], None)?;
    }
    Ok(())
}

fn mset(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::wrong_arity("mset"));
    }
    put_pairs(txn, &args[1..])?;
    Ok(Reply::Ok)
}

fn msetnx(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::wrong_arity("msetnx"));
    }
    for key in args[1..].iter().step_by(2) {
        if txn.lookup(key)?.is_some() {
            return Ok(Reply::Int(0));
        }
    }
    put_pairs(txn, &args[1..])?;
    Ok(Reply::Int(1))
}

/// The string at a key, empty where there is none, and the key's expiry.
fn string_and_expiry(txn: &mut Txn<'_>, key: &[u8]) -> Result<(Option<Bytes>, Option<u64>), CommandError> {
    Ok(match txn.lookup(key)? {
        None => (None, None),
        Some(entry) => {
            let expires_at_ms = entry.expires_at_ms;
            (Some(entry.into_string()?), expires_at_ms)
        }
    })
}

fn append(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let (key, tail) = (&args[1], &args[2]);
    let (before, expires_at_ms) = string_and_expiry(txn, key)?;
    let before = before.unwrap_or_default();
    if before.len() + tail.len() > VALUE_BYTES_MAX {
        return Err(TOO_LONG);
    }
    let value = [&before[..], tail].concat();
    txn.put_string(key, &value, expires_at_ms)?;
    Ok(Reply::count(value.len() as u64))
}

fn setrange(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let (key, patch) = (&args[1], &args[3]);
    let offset = integer_argument(&args[2])?;
    let offset = usize::try_from(offset).map_err(|_| CommandError::fixed("ERR offset is out of range"))?;
    let (before, expires_at_ms) = string_and_expiry(txn, key)?;
    let before = before.unwrap_or_default();
    if patch.is_empty() {
        return Ok(Reply::count(before.len() as u64));
    }
    let end = offset.checked_add(patch.len()).filter(|&end| end <= VALUE_BYTES_MAX).ok_or(TOO_LONG)?;
    let mut value = Vec::with_capacity(before.len().max(end));
    value.extend_from_slice(&before);
    if value.len() < end {
        value.resize(end, 0);
    }
    value[offset..end].copy_from_slice(patch);
    txn.put_string(key, &value, expires_at_ms)?;
    Ok(Reply::count(value.len() as u64))
}

/// The part of a string from `start` to `end`, both included and counted from the back where they are negative.
fn part(value: &Bytes, start: i64, end: i64) -> Bytes {
    let length = i64::try_from(value.len()).unwrap_or(i64::MAX);
    if start < 0 && end < 0 && start > end {
        return Bytes::new();
    }
    let from_front = |index: i64| if index < 0 { (length + index).max(0) } else { index };
    let (start, end) = (from_front(start), from_front(end).min(length - 1));
    match (usize::try_from(start), usize::try_from(end)) {
        (Ok(start), Ok(end)) if start <= end => value.slice(start..=end),
        _ => Bytes::new(),
    }
}

fn getrange(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let (start, end) = (integer_argument(&args[2])?, integer_argument(&args[3])?);
    let value = txn.string(&args[1])?.unwrap_or_default();
    Ok(Reply::Bulk(part(&value, start, end)))
}

fn add(txn: &mut Txn<'_>, key: &[u8], increment: i64) -> CommandResult {
    let (before, expires_at_ms) = string_and_expiry(txn, key)?;
    let value = match before {
        Some(text) => integer(&text).ok_or(CommandError::NOT_AN_INTEGER)?,
        None => 0,
    };
    let value = value.checked_add(increment).ok_or(OVERFLOW)?;
    txn.put_string(key, value.to_string().as_bytes(), expires_at_ms)?;
    Ok(Reply::Int(value))
}

fn incr(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    add(txn, &args[1], 1)
}

fn decr(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    add(txn, &args[1], -1)
}

fn incrby(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let increment = integer_argument(&args[2])?;
    add(txn, &args[1], increment)
}

fn decrby(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let decrement = integer_argument(&args[2])?;
    let increment = decrement.checked_neg().ok_or(CommandError::fixed("ERR decrement would overflow"))?;
    add(txn, &args[1], increment)
}

fn incrbyfloat(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let key = &args[1];
    let (before, expires_at_ms) = string_and_expiry(txn, key)?;
    let number = |text: &[u8]| LongDouble::parse(text).ok_or(CommandError::NOT_A_FLOAT);
    let before = before.map_or(Ok(LongDouble::ZERO), |text| number(&text))?;
    let value = before.plus(number(&args[2])?)?.to_string();
    txn.put_string(key, value.as_bytes(), expires_at_ms)?;
    Ok(Reply::bulk(value))
}

const READ: CommandSpec = CommandSpec {
    name: "",
    arity: 2,
    flags: &["readonly", "fast"],
    keys: KeyPositions::FIRST,
    group: "string",
    since: "1.0.0",
    summary: "",
    heavy: false,
    run: Run::Read(get),
};

const WRITE: CommandSpec = CommandSpec { arity: 3, flags: &["write", "denyoom", "fast"], run: Run::Write(set), ..READ };

const PAIRS: KeyPositions = KeyPositions { first: 1, last: -1, step: 2 };
const SLOW_WRITE: &[&str] = &["write", "denyoom"];

/// The commands of this file.
pub(crate) const SPECS: &[CommandSpec] = &[
    CommandSpec {
        name: "append",
        since: "2.0.0",
        summary: "Adds bytes to the end of a string, creating it if need be",
        run: Run::Write(append),
        ..WRITE
    },
    CommandSpec { name: "decr", arity: 2, summary: "Takes one from an integer", run: Run::Write(decr), ..WRITE },
    CommandSpec { name: "decrby", summary: "Takes a number from an integer", run: Run::Write(decrby), ..WRITE },
    CommandSpec { name: "get", summary: "Gives a key's string", run: Run::Read(get), ..READ },
    CommandSpec {
        name: "getdel",
        arity: 2,
        flags: &["write", "fast"],
        since: "6.2.0",
        summary: "Gives a key's string and deletes the key",
        run: Run::Write(getdel),
        ..WRITE
    },
    CommandSpec {
        name: "getex",
        arity: -2,
        flags: &["write", "fast"],
        since: "6.2.0",
        summary: "Gives a key's string and sets or removes its expiry",
        run: Run::Write(getex),
        ..WRITE
    },
    CommandSpec {
        name: "getrange",
        arity: 4,
        flags: &["readonly"],
        since: "2.4.0",
        summary: "Gives a part of a key's string",
        run: Run::Read(getrange),
        ..READ
    },
    CommandSpec {
        name: "getset",
        summary: "Replaces a key's string and gives the old one",
        run: Run::Write(getset),
        ..WRITE
    },
    CommandSpec { name: "incr", arity: 2, summary: "Adds one to an integer", run: Run::Write(incr), ..WRITE },
    CommandSpec { name: "incrby", summary: "Adds a number to an integer", run: Run::Write(incrby), ..WRITE },
    CommandSpec {
        name: "incrbyfloat",
        since: "2.6.0",
        summary: "Adds a floating point number to a number",
        run: Run::Write(incrbyfloat),
        ..WRITE
    },
    CommandSpec {
        name: "lcs",
        arity: -3,
        flags: &["readonly"],
        keys: KeyPositions { first: 1, last: 2, step: 1 },
        since: "7.0.0",
        summary: "Finds the longest common subsequence of two strings",
        heavy: true,
        run: Run::Read(lcs),
        ..READ
    },
    CommandSpec {
        name: "mget",
        arity: -2,
        keys: KeyPositions::ALL,
        summary: "Gives the strings of several keys",
        run: Run::Read(mget),
        ..READ
    },
    CommandSpec {
        name: "mset",
        arity: -3,
        flags: SLOW_WRITE,
        keys: PAIRS,
        since: "1.0.1",
        summary: "Sets the strings of several keys",
        run: Run::Write(mset),
        ..WRITE
    },
    CommandSpec {
        name: "msetnx",
        arity: -3,
        flags: SLOW_WRITE,
        keys: PAIRS,
        since: "1.0.1",
        summary: "Sets the strings of several keys if none of them exists",
        run: Run::Write(msetnx),
        ..WRITE
    },
    CommandSpec {
        name: "psetex",
        arity: 4,
        flags: SLOW_WRITE,
        since: "2.6.0",
        summary: "Sets a key's string and its time to live in milliseconds",
        run: Run::Write(psetex),
        ..WRITE
    },
    CommandSpec {
        name: "set",
        arity: -3,
        flags: SLOW_WRITE,
        summary: "Sets a key's string, whatever the key held",
        run: Run::Write(set),
        ..WRITE
    },
    CommandSpec {
        name: "setex",
        arity: 4,
        flags: SLOW_WRITE,
        since: "2.0.0",
        summary: "Sets a key's string and its time to live in seconds",
        run: Run::Write(setex),
        ..WRITE
    },
    CommandSpec {
        name: "setnx",
        summary: "Sets a key's string if there is no such key",
        run: Run::Write(setnx),
        ..WRITE
    },
    CommandSpec {
        name: "setrange",
        arity: 4,
        flags: SLOW_WRITE,
        since: "2.2.0",
        summary: "Overwrites a part of a string, with zeros before it where the string is too short",
        run: Run::Write(setrange),
        ..WRITE
    },
    CommandSpec {
        name: "strlen",
        since: "2.2.0",
        summary: "Tells the length of a key's string",
        run: Run::Read(strlen),
        ..READ
    },
    CommandSpec {
        name: "substr",
        arity: 4,
        flags: &["readonly"],
        summary: "Gives a part of a key's string; the old name of GETRANGE",
        run: Run::Read(getrange),
        ..READ
    },
];
