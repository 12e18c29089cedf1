//! Times to live: how they are given, and the commands that set, show and remove them.
//!
//! Stored expiries are on the expiry clock. Relative times are added to that clock's now; absolute ones are the wall
//! clock's and are converted both ways.

use bytes::Bytes;

use super::parse::{integer_argument, is_option};
use super::{Args, CommandSpec, KeyPositions, Run};
use crate::keyspace::Txn;
use crate::reply::{CommandError, CommandResult, Reply, until_zero};

/// The unit of a time argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// What a time argument counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// The present.
    Now,
    /// The Unix epoch.
    Epoch,
}

fn invalid(command: &str) -> CommandError {
    CommandError::new(format!("ERR invalid expire time in '{command}' command"))
}

fn wall_now_ms(txn: &Txn<'_>) -> i64 {
    i64::try_from(txn.env().wall_from_expiry_ms(txn.now_ms())).unwrap_or(i64::MAX)
}

/// The expiry that a time argument of the `SET` family means, on the expiry clock; it must be above zero.
///
/// # Errors
/// Where it is no integer, or no time above zero and below the end of time.
pub(crate) fn positive_expiry(
    txn: &Txn<'_>,
    text: &[u8],
    unit: Unit,
    base: Base,
    command: &str,
) -> Result<u64, CommandError> {
    let time = integer_argument(text)?;
    let time_ms = match unit {
        Unit::Seconds => time.checked_mul(1000),
        Unit::Milliseconds => Some(time),
    };
    let time_ms = time_ms.filter(|&time_ms| time_ms > 0).ok_or_else(|| invalid(command))?;
    match base {
        Base::Now => {
            // The sum must be a time on the wall clock, too.
            wall_now_ms(txn).checked_add(time_ms).ok_or_else(|| invalid(command))?;
            Ok(txn.now_ms().saturating_add(time_ms.unsigned_abs()))
        }
        Base::Epoch => Ok(txn.env().expiry_from_wall_ms(time_ms.unsigned_abs())),
    }
}

/// The conditions of the `EXPIRE` family.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    none_yet: bool,
    some_already: bool,
    later: bool,
    earlier: bool,
}

impl Conditions {
    fn parse(options: &[Bytes]) -> Result<Self, CommandError> {
        let mut conditions = Self::default();
        for option in options {
            if is_option(option, "NX") {
                conditions.none_yet = true;
            } else if is_option(option, "XX") {
                conditions.some_already = true;
            } else if is_option(option, "GT") {
                conditions.later = true;
            } else if is_option(option, "LT") {
                conditions.earlier = true;
            } else {
                // As in Redis, line breaks at this line's end are dropped; others become spaces.
                let option = until_zero(option);
                let end = option.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
                return Err(CommandError::quoting("ERR Unsupported option ", &option[..end], ""));
            }
        }
        let Self { none_yet, some_already, later, earlier } = conditions;
        if none_yet && (some_already || later || earlier) {
            return Err(CommandError::fixed("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if later && earlier {
            return Err(CommandError::fixed("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// Whether an expiry may become `wanted_ms` where it is `current_ms`; a key without one lives for ever.
    fn allow(&self, current_ms: Option<u64>, wanted_ms: u64) -> bool {
        let later = current_ms.is_some_and(|current_ms| wanted_ms > current_ms);
        let earlier = current_ms.is_none_or(|current_ms| wanted_ms < current_ms);
        !(self.none_yet && current_ms.is_some()
            || self.some_already && current_ms.is_none()
            || self.later && !later
            || self.earlier && !earlier)
    }
}

fn expire_by(txn: &mut Txn<'_>, args: &Args, unit: Unit, base: Base, command: &str) -> CommandResult {
    let conditions = Conditions::parse(&args[3..])?;
    let time = integer_argument(&args[2])?;
    let time_ms = match unit {
        Unit::Seconds => time.checked_mul(1000),
        Unit::Milliseconds => Some(time),
    };
    let time_ms = time_ms.ok_or_else(|| invalid(command))?;
    // Times before the epoch are as past as the epoch.
    let wanted_ms = match base {
        Base::Now => {
            wall_now_ms(txn).checked_add(time_ms).ok_or_else(|| invalid(command))?;
            txn.now_ms().saturating_add_signed(time_ms)
        }
        Base::Epoch => txn.env().expiry_from_wall_ms(u64::try_from(time_ms).unwrap_or(0)),
    };
    let key = &args[1];
    let Some(entry) = txn.lookup(key)? else { return Ok(Reply::Int(0)) };
    if !conditions.allow(entry.expires_at_ms, wanted_ms) {
        return Ok(Reply::Int(0));
    }
    if wanted_ms <= txn.now_ms() {
        txn.delete(key)?;
    } else {
        txn.set_expiry(key, Some(wanted_ms))?;
    }
    Ok(Reply::Int(1))
}

fn expire(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    expire_by(txn, args, Unit::Seconds, Base::Now, "expire")
}

fn pexpire(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    expire_by(txn, args, Unit::Milliseconds, Base::Now, "pexpire")
}

fn expireat(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    expire_by(txn, args, Unit::Seconds, Base::Epoch, "expireat")
}

fn pexpireat(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    expire_by(txn, args, Unit::Milliseconds, Base::Epoch, "pexpireat")
}

/// Milliseconds as whole seconds, rounded half up.
const fn seconds(ms: u64) -> u64 {
    ms / 1000 + (ms % 1000) / 500
}

/// Answers with what `show` makes of the key's expiry, -1 where it has none and -2 where there is no such key.
fn show_expiry(txn: &mut Txn<'_>, args: &Args, show: impl FnOnce(&Txn<'_>, u64) -> u64) -> CommandResult {
    Ok(match txn.lookup(&args[1])? {
        None => Reply::Int(-2),
        Some(entry) => match entry.expires_at_ms {
            None => Reply::Int(-1),
            Some(expires_at_ms) => Reply::count(show(txn, expires_at_ms)),
        },
    })
}

fn ttl(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    show_expiry(txn, args, |txn, at_ms| seconds(at_ms.saturating_sub(txn.now_ms())))
}

fn pttl(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    show_expiry(txn, args, |txn, at_ms| at_ms.saturating_sub(txn.now_ms()))
}

fn expiretime(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    show_expiry(txn, args, |txn, at_ms| seconds(txn.env().wall_from_expiry_ms(at_ms)))
}

fn pexpiretime(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    show_expiry(txn, args, |txn, at_ms| txn.env().wall_from_expiry_ms(at_ms))
}

fn persist(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let key = &args[1];
    let expires = txn.lookup(key)?.is_some_and(|entry| entry.expires_at_ms.is_some());
    if expires {
        txn.set_expiry(key, None)?;
    }
    Ok(Reply::Int(i64::from(expires)))
}

const SETS: CommandSpec = CommandSpec {
    name: "",
    arity: -3,
    flags: &["write", "fast"],
    keys: KeyPositions::FIRST,
    group: "generic",
    since: "1.0.0",
    summary: "",
    heavy: false,
    run: Run::Write(expire),
};

const SHOWS: CommandSpec = CommandSpec { arity: 2, flags: &["readonly", "fast"], run: Run::Read(ttl), ..SETS };

/// The commands of this file.
pub(crate) const SPECS: &[CommandSpec] = &[
    CommandSpec { name: "expire", summary: "Gives a key a time to live, in seconds", run: Run::Write(expire), ..SETS },
    CommandSpec {
        name: "expireat",
        since: "1.2.0",
        summary: "Sets the Unix time, in seconds, at which a key expires",
        run: Run::Write(expireat),
        ..SETS
    },
    CommandSpec {
        name: "expiretime",
        since: "7.0.0",
        summary: "Tells the Unix time, in seconds, at which a key expires",
        run: Run::Read(expiretime),
        ..SHOWS
    },
    CommandSpec {
        name: "persist",
        arity: 2,
        since: "2.2.0",
        summary: "Makes a key live for ever",
        run: Run::Write(persist),
        ..SETS
    },
    CommandSpec {
        name: "pexpire",
        since: "2.6.0",
        summary: "Gives a key a time to live, in milliseconds",
        run: Run::Write(pexpire),
        ..SETS
    },
    CommandSpec {
        name: "pexpireat",
        since: "2.6.0",
        summary: "Sets the Unix time, in milliseconds, at which a key expires",
        run: Run::Write(pexpireat),
        ..SETS
    },
    CommandSpec {
        name: "pexpiretime",
        since: "7.0.0",
        summary: "Tells the Unix time, in milliseconds, at which a key expires",
        run: Run::Read(pexpiretime),
        ..SHOWS
    },
    CommandSpec {
        name: "pttl",
        since: "2.6.0",
        summary: "Tells how many milliseconds a key has left to live",
        run: Run::Read(pttl),
        ..SHOWS
    },
    CommandSpec { name: "ttl", summary: "Tells how many seconds a key has left to live", run: Run::Read(ttl), ..SHOWS },
];
