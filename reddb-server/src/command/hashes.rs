//! Commands on hashes.
//!
//! Fields are kept, and so listed, in byte order. The last field takes the key with it.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

use bytes::Bytes;

use super::budget::AnswerBudget;
use super::long_double::LongDouble;
use super::parse::{integer, integer_argument, is_option};
use super::scan::hscan;
use super::{Args, CommandSpec, KeyPositions, Run};
use crate::keyspace::{HashRef, Txn};
use crate::reply::{CommandError, CommandResult, Reply};

/// How many fields `HRANDFIELD` gives at most where they may repeat: no hash bounds that answer.
const REPEATED_PICKS_MAX: u64 = 1 << 20;

fn field_value_pairs(args: &Args) -> impl Iterator<Item = (&[u8], &[u8])> {
    args[2..].chunks_exact(2).map(|pair| (&pair[0][..], &pair[1][..]))
}

fn hset(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::wrong_arity("hset"));
    }
    Ok(Reply::count(txn.hash_put(&args[1], field_value_pairs(args))?))
}

fn hmset(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::wrong_arity("hmset"));
    }
    txn.hash_put(&args[1], field_value_pairs(args))?;
    Ok(Reply::Ok)
}

/// The value of a field of the hash at a key, if there are both.
fn field(txn: &mut Txn<'_>, key: &[u8], field: &[u8]) -> Result<Option<Bytes>, CommandError> {
    match txn.hash(key)? {
        Some(hash) => Ok(txn.hash_get(&hash, field)?),
        None => Ok(None),
    }
}

fn hsetnx(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    if field(txn, &args[1], &args[2])?.is_some() {
        return Ok(Reply::Int(0));
    }
    txn.hash_put(&args[1], [(&args[2][..], &args[3][..])])?;
    Ok(Reply::Int(1))
}

fn hget(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    Ok(Reply::optional(field(txn, &args[1], &args[2])?))
}

fn hmget(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let hash = txn.hash(&args[1])?;
    let mut values = Vec::with_capacity(args.len() - 2);
    let mut budget = AnswerBudget::whole();
    for field in &args[2..] {
        let value = match &hash {
            Some(hash) => txn.hash_get(hash, field)?,
            None => None,
        };
        budget.take(value.as_ref().map_or(0, Bytes::len))?;
        values.push(Reply::optional(value));
    }
    Ok(Reply::Array(values))
}

fn hexists(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    Ok(Reply::Int(i64::from(field(txn, &args[1], &args[2])?.is_some())))
}

fn hstrlen(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    Ok(Reply::count(field(txn, &args[1], &args[2])?.map_or(0, |value| value.len() as u64)))
}

fn hlen(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    Ok(Reply::count(txn.hash(&args[1])?.map_or(0, |hash| hash.field_count)))
}

fn hdel(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    Ok(Reply::count(txn.hash_delete(&args[1], args[2..].iter().map(|field| &field[..]))?))
}

/// The fields of a hash and what is to be shown of them.
fn all_of(txn: &Txn<'_>, hash: &HashRef, shown: Shown) -> Result<Vec<(Bytes, Bytes)>, CommandError> {
    let mut budget = AnswerBudget::whole();
    let mut all = Vec::new();
    for item in txn.hash_fields(hash, Bound::Unbounded) {
        let (field, value) = item?;
        let (field, value) = shown.of(field, value);
        budget.take(field.len() + value.len())?;
        all.push((field, value));
    }
    Ok(all)
}

/// What of its fields a command shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Fields,
    Values,
    Both,
}

impl Shown {
    /// What is shown; the rest is let go of.
    fn of(self, field: Bytes, value: Bytes) -> (Bytes, Bytes) {
        match self {
            Self::Fields => (field, Bytes::new()),
            Self::Values => (Bytes::new(), value),
            Self::Both => (field, value),
        }
    }
}

fn all(
    txn: &mut Txn<'_>,
    key: &[u8],
    shown: Shown,
) -> Result<impl Iterator<Item = (Bytes, Bytes)> + use<>, CommandError> {
    let all = match txn.hash(key)? {
        Some(hash) => all_of(txn, &hash, shown)?,
        None => Vec::new(),
    };
    Ok(all.into_iter())
}

fn hgetall(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let pairs = all(txn, &args[1], Shown::Both)?.map(|(field, value)| (Reply::Bulk(field), Reply::Bulk(value)));
    Ok(Reply::Map(pairs.collect()))
}

fn hkeys(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    Ok(Reply::Array(all(txn, &args[1], Shown::Fields)?.map(|(field, _)| Reply::Bulk(field)).collect()))
}

fn hvals(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    Ok(Reply::Array(all(txn, &args[1], Shown::Values)?.map(|(_, value)| Reply::Bulk(value)).collect()))
}

fn hincrby(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let increment = integer_argument(&args[3])?;
    let value = match field(txn, &args[1], &args[2])? {
        Some(text) => integer(&text).ok_or(CommandError::fixed("ERR hash value is not an integer"))?,
        None => 0,
    };
    let value = value.checked_add(increment).ok_or(CommandError::fixed("ERR increment or decrement would overflow"))?;
    txn.hash_put(&args[1], [(&args[2][..], value.to_string().as_bytes())])?;
    Ok(Reply::Int(value))
}

fn hincrbyfloat(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let increment = LongDouble::parse(&args[3]).ok_or(CommandError::NOT_A_FLOAT)?;
    if increment.is_infinite() {
        return Err(CommandError::fixed("ERR value is NaN or Infinity"));
    }
    let value = match field(txn, &args[1], &args[2])? {
        Some(text) => LongDouble::parse(&text).ok_or(CommandError::fixed("ERR hash value is not a float"))?,
        None => LongDouble::ZERO,
    };
    let value = value.plus(increment)?.to_string();
    txn.hash_put(&args[1], [(&args[2][..], value.as_bytes())])?;
    Ok(Reply::bulk(value))
}

/// How many picks `HRANDFIELD` makes of how many fields, and whether one may come twice.
#[derive(Clone, Copy, Debug)]
struct Picks {
    count: u64,
    repeat: bool,
    shown: Shown,
}

impl Picks {
    /// Whether going through all fields costs less than finding each pick by itself.
    fn are_many(self, field_count: u64) -> bool {
        const ENUMERATED_MAX: u64 = 4096;
        const FIELDS_A_PICK: u64 = 1024;
        field_count <= ENUMERATED_MAX || self.count >= field_count / FIELDS_A_PICK
    }

    /// Which fields to pick, by their position, each with where it stands in the answer.
    fn positions(self, txn: &Txn<'_>, field_count: u64) -> BTreeMap<u64, Vec<usize>> {
        let mut positions: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        let mut place = 0;
        while u64::try_from(place).is_ok_and(|place| place < self.count) {
            let position = txn.env().random_below(field_count);
            let places = positions.entry(position).or_default();
            if self.repeat || places.is_empty() {
                places.push(place);
                place += 1;
            }
        }
        positions
    }
}

/// Picks fields by going through all of them; every choice is equally likely.
fn pick_by_position(txn: &Txn<'_>, hash: &HashRef, picks: Picks) -> Result<Vec<(Bytes, Bytes)>, CommandError> {
    let fields = txn.hash_fields(hash, Bound::Unbounded);
    let mut picked = Vec::new();
    let mut budget = AnswerBudget::whole();
    if picks.count > hash.field_count / 2 && !picks.repeat {
        // Nearly all of them: leave the others out, in the fields' own order.
        let left_out = Picks { count: hash.field_count - picks.count, ..picks };
        let left_out = left_out.positions(txn, hash.field_count);
        for (position, item) in (0u64..).zip(fields) {
            let (field, value) = item?;
            if !left_out.contains_key(&position) {
                let (field, value) = picks.shown.of(field, value);
                budget.take(field.len() + value.len())?;
                picked.push((field, value));
            }
        }
        return Ok(picked);
    }
    let mut positions = picks.positions(txn, hash.field_count);
    let mut placed = BTreeMap::new();
    for (position, item) in (0u64..).zip(fields) {
        if positions.is_empty() {
            break;
        }
        let (field, value) = item?;
        let Some(places) = positions.remove(&position) else { continue };
        let (field, value) = picks.shown.of(field, value);
        for place in places {
            budget.take(field.len() + value.len())?;
            placed.insert(place, (field.clone(), value.clone()));
        }
    }
    picked.extend(placed.into_values());
    Ok(picked)
}

/// Picks fields one by one, each from near a random point; see [`Txn::random_name`].
fn pick_one_by_one(txn: &Txn<'_>, hash: &HashRef, picks: Picks) -> Result<Vec<(Bytes, Bytes)>, CommandError> {
    let names = Txn::field_names(hash);
    let mut picked = Vec::new();
    let mut known = HashSet::new();
    let mut budget = AnswerBudget::whole();
    let mut misses = 0u64;
    while u64::try_from(picked.len()).is_ok_and(|done| done < picks.count) {
        let Some((field, value)) = txn.random_name(&names, hash.field_count, |_| Ok(true))? else { break };
        if picks.repeat || known.insert(field.clone()) {
            let (field, value) = picks.shown.of(field, value);
            budget.take(field.len() + value.len())?;
            picked.push((field, value));
        } else {
            misses += 1;
            if misses > 8 + 4 * picks.count {
                // The same few are met again and again.
                return pick_by_position(txn, hash, picks);
            }
        }
    }
    Ok(picked)
}

fn hrandfield(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let Some(count) = args.get(2) else {
        let Some(hash) = txn.hash(&args[1])? else { return Ok(Reply::Null) };
        let names = Txn::field_names(&hash);
        let found = txn.random_name(&names, hash.field_count, |_| Ok(true))?;
        return Ok(Reply::optional(found.map(|(field, _)| field)));
    };
    let count = integer_argument(count)?;
    if count == i64::MIN {
        return Err(CommandError::fixed(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    let with_values = match &args[3..] {
        [] => false,
        [option] if is_option(option, "WITHVALUES") => true,
        _ => return Err(CommandError::SYNTAX),
    };
    const OUT_OF_RANGE: CommandError = CommandError::fixed("ERR value is out of range");
    if with_values && count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
        return Err(OUT_OF_RANGE);
    }
    let Some(hash) = txn.hash(&args[1])? else { return Ok(Reply::Array(Vec::new())) };
    let shown = if with_values { Shown::Both } else { Shown::Fields };
    let picks = Picks { count: count.unsigned_abs(), repeat: count < 0, shown };
    let picked = if picks.count == 0 {
        Vec::new()
    } else if !picks.repeat && picks.count >= hash.field_count {
        all_of(txn, &hash, shown)?
    } else if picks.repeat && picks.count > REPEATED_PICKS_MAX {
        return Err(OUT_OF_RANGE);
    } else if picks.are_many(hash.field_count) {
        pick_by_position(txn, &hash, picks)?
    } else {
        pick_one_by_one(txn, &hash, picks)?
    };
    let picked = picked.into_iter();
    Ok(if with_values {
        Reply::Pairs(picked.map(|(field, value)| (Reply::Bulk(field), Reply::Bulk(value))).collect())
    } else {
        Reply::Array(picked.map(|(field, _)| Reply::Bulk(field)).collect())
    })
}

const READ: CommandSpec = CommandSpec {
    name: "",
    arity: 3,
    flags: &["readonly", "fast"],
    keys: KeyPositions::FIRST,
    group: "hash",
    since: "2.0.0",
    summary: "",
    heavy: false,
    run: Run::Read(hget),
};

const WRITE: CommandSpec =
    CommandSpec { arity: 4, flags: &["write", "denyoom", "fast"], run: Run::Write(hset), ..READ };

const WHOLE: CommandSpec = CommandSpec { arity: 2, flags: &["readonly"], heavy: true, ..READ };

/// The commands of this file.
pub(crate) const SPECS: &[CommandSpec] = &[
    CommandSpec {
        name: "hdel",
        arity: -3,
        flags: &["write", "fast"],
        summary: "Deletes fields of a hash",
        run: Run::Write(hdel),
        ..WRITE
    },
    CommandSpec { name: "hexists", summary: "Tells whether a hash has a field", run: Run::Read(hexists), ..READ },
    CommandSpec { name: "hget", summary: "Gives the value of a field", run: Run::Read(hget), ..READ },
    CommandSpec {
        name: "hgetall",
        summary: "Gives all fields of a hash and their values",
        run: Run::Read(hgetall),
        ..WHOLE
    },
    CommandSpec {
        name: "hincrby",
        summary: "Adds a number to an integer in a field",
        run: Run::Write(hincrby),
        ..WRITE
    },
    CommandSpec {
        name: "hincrbyfloat",
        since: "2.6.0",
        summary: "Adds a floating point number to a number in a field",
        run: Run::Write(hincrbyfloat),
        ..WRITE
    },
    CommandSpec { name: "hkeys", summary: "Gives all fields of a hash", run: Run::Read(hkeys), ..WHOLE },
    CommandSpec { name: "hlen", arity: 2, summary: "Tells how many fields a hash has", run: Run::Read(hlen), ..READ },
    CommandSpec {
        name: "hmget",
        arity: -3,
        summary: "Gives the values of several fields",
        run: Run::Read(hmget),
        ..READ
    },
    CommandSpec {
        name: "hmset",
        arity: -4,
        summary: "Sets several fields; the old form of HSET",
        run: Run::Write(hmset),
        ..WRITE
    },
    CommandSpec {
        name: "hrandfield",
        arity: -2,
        since: "6.2.0",
        summary: "Gives random fields of a hash",
        run: Run::Read(hrandfield),
        ..WHOLE
    },
    CommandSpec {
        name: "hscan",
        arity: -3,
        since: "2.8.0",
        summary: "Goes through the fields of a hash, a part at a time",
        run: Run::Read(hscan),
        ..WHOLE
    },
    CommandSpec {
        name: "hset",
        arity: -4,
        summary: "Sets fields of a hash, creating it if need be",
        run: Run::Write(hset),
        ..WRITE
    },
    CommandSpec {
        name: "hsetnx",
        summary: "Sets a field of a hash if there is none such",
        run: Run::Write(hsetnx),
        ..WRITE
    },
    CommandSpec {
        name: "hstrlen",
        since: "3.2.0",
        summary: "Tells the length of a field's value",
        run: Run::Read(hstrlen),
        ..READ
    },
    CommandSpec { name: "hvals", summary: "Gives the values of all fields of a hash", run: Run::Read(hvals), ..WHOLE },
];
