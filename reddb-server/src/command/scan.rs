//! Commands that go through keys or fields: `SCAN`, `HSCAN`, `KEYS`, `RANDOMKEY`.
//!
//! A scan goes through names in byte order, from the place that its cursor stands for to the end. Whatever is there
//! during the whole scan is looked at: changes elsewhere do not move a place. A cursor that the server does not know, or
//! that is another database's, a flushed one's or another hash's, starts over. The largest number (`SCAN -1`) is no cursor
//! of any server, but a place behind everything: there is nothing left.
//!
//! A pattern's literal beginning bounds the names that are read: a scan starts and ends with them.

use std::ops::Bound;

use bytes::Bytes;

use super::budget::AnswerBudget;
use super::glob;
use super::keys::type_name;
use super::parse::{cursor_argument, integer_argument, is_option};
use super::{Args, CommandSpec, KeyPositions, Run};
use crate::keyspace::cursors::ScanPlace;
use crate::keyspace::{Names, Txn};
use crate::reply::{CommandError, CommandResult, Reply};

/// How many names a call looks at unless told.
const COUNT_DEFAULT: u64 = 10;
/// How many bytes of names and values a call reads at most, however many it was told to look at.
const READ_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A hash of no more fields than this is given in one call, whatever the count: clients know that from Redis.
const WHOLE_HASH_FIELDS_MAX: u64 = 512;
/// No pattern's beginning is followed further than this.
const PREFIX_BYTES_MAX: usize = 1024;

struct Pattern<'a> {
    /// `None`: everything matches.
    pattern: Option<&'a [u8]>,
    prefix: Vec<u8>,
}

impl<'a> Pattern<'a> {
    const ANY: Self = Self { pattern: None, prefix: Vec::new() };

    fn new(pattern: &'a [u8]) -> Self {
        if pattern == b"*" {
            return Self::ANY;
        }
        let mut prefix = glob::literal_prefix(pattern);
        prefix.truncate(PREFIX_BYTES_MAX);
        Self { pattern: Some(pattern), prefix }
    }

    fn takes(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }
}

struct Options<'a> {
    count: u64,
    pattern: Pattern<'a>,
    type_name: Option<&'a Bytes>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scanned {
    Keys,
    Fields,
}

impl<'a> Options<'a> {
    fn parse(options: &'a Args, scanned: Scanned) -> Result<Self, CommandError> {
        let mut parsed = Self { count: COUNT_DEFAULT, pattern: Pattern::ANY, type_name: None };
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            let value = rest.next().ok_or(CommandError::SYNTAX)?;
            if is_option(option, "COUNT") {
                let count = integer_argument(value)?;
                parsed.count = u64::try_from(count).ok().filter(|&count| count > 0).ok_or(CommandError::SYNTAX)?;
            } else if is_option(option, "MATCH") {
                parsed.pattern = Pattern::new(value);
            } else if scanned == Scanned::Keys && is_option(option, "TYPE") {
                parsed.type_name = Some(value);
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        Ok(parsed)
    }
}

/// Looks at the next names, hands each of the pattern's form to `take`, and gives the cursor to go on with.
fn step(
    txn: &Txn<'_>,
    names: &Names,
    cursor: u64,
    options: &Options<'_>,
    mut take: impl FnMut(&Bytes, Bytes) -> Result<(), CommandError>,
) -> Result<u64, CommandError> {
    if cursor == u64::MAX {
        return Ok(0);
    }
    let place = if cursor == 0 { None } else { txn.env().scan_place(cursor, names.id()) };
    let from = place.as_ref().map_or(Bound::Unbounded, |after| Bound::Excluded(&after[..]));
    let mut entries = txn.names(names, from, &options.pattern.prefix).peekable();
    let (mut looked_at, mut read_bytes) = (0, 0);
    while let Some((name, value)) = entries.next().transpose()? {
        looked_at += 1;
        read_bytes += name.len() + value.len();
        if options.pattern.takes(&name) {
            take(&name, value)?;
        }
        if looked_at >= options.count || read_bytes >= READ_BYTES_MAX {
            if entries.peek().is_none() {
                break;
            }
            return Ok(txn.env().remember_place(ScanPlace { names: names.id(), after: name }));
        }
    }
    Ok(0)
}

fn answer(cursor: u64, items: Vec<Reply>) -> Reply {
    Reply::Array(vec![Reply::text(&cursor.to_string()), Reply::Array(items)])
}

fn scan(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let cursor = cursor_argument(&args[1])?;
    let options = Options::parse(&args[2..], Scanned::Keys)?;
    let names = txn.key_names()?;
    let mut keys = Vec::new();
    let cursor = step(txn, &names, cursor, &options, |key, value| {
        if let Some(entry) = txn.decode_live(key, &value)? {
            let wanted = options.type_name.is_none_or(|wanted| is_option(wanted, type_name(&entry.value)));
            if wanted {
                keys.push(Reply::Bulk(key.clone()));
            }
        }
        Ok(())
    })?;
    Ok(answer(cursor, keys))
}

pub(super) fn hscan(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let cursor = cursor_argument(&args[2])?;
    let Some(hash) = txn.hash(&args[1])? else { return Ok(answer(0, Vec::new())) };
    let mut options = Options::parse(&args[3..], Scanned::Fields)?;
    if hash.field_count <= WHOLE_HASH_FIELDS_MAX {
        options.count = options.count.max(WHOLE_HASH_FIELDS_MAX);
    }
    let mut items = Vec::new();
    let cursor = step(txn, &Txn::field_names(&hash), cursor, &options, |field, value| {
        items.extend([Reply::Bulk(field.clone()), Reply::Bulk(value)]);
        Ok(())
    })?;
    Ok(answer(cursor, items))
}

fn keys(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let pattern = Pattern::new(&args[1]);
    let names = txn.key_names()?;
    let mut keys = Vec::new();
    let mut budget = AnswerBudget::whole();
    for item in txn.names(&names, Bound::Unbounded, &pattern.prefix) {
        let (key, value) = item?;
        if pattern.takes(&key) && txn.decode_live(&key, &value)?.is_some() {
            budget.take(key.len())?;
            keys.push(Reply::Bulk(key));
        }
    }
    Ok(Reply::Array(keys))
}

fn randomkey(txn: &mut Txn<'_>, _args: &Args) -> CommandResult {
    let db = txn.db();
    let (names, key_count) = (txn.key_names()?, txn.database(db)?.key_count);
    let found = txn.random_name(&names, key_count, |(key, value)| Ok(txn.decode_live(key, value)?.is_some()))?;
    Ok(Reply::optional(found.map(|(key, _)| key)))
}

const READ: CommandSpec = CommandSpec {
    name: "",
    arity: 2,
    flags: &["readonly"],
    keys: KeyPositions::NONE,
    group: "generic",
    since: "1.0.0",
    summary: "",
    heavy: true,
    run: Run::Read(keys),
};

/// The commands of this file, but for `HSCAN`.
pub(crate) const SPECS: &[CommandSpec] = &[
    CommandSpec { name: "keys", summary: "Gives all keys of a pattern's form", run: Run::Read(keys), ..READ },
    CommandSpec { name: "randomkey", arity: 1, summary: "Gives a random key", run: Run::Read(randomkey), ..READ },
    CommandSpec {
        name: "scan",
        arity: -2,
        since: "2.8.0",
        summary: "Goes through the keys of the database, a part at a time",
        run: Run::Read(scan),
        ..READ
    },
];
