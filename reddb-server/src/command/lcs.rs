//! `LCS`: the longest common subsequence of two strings.
//!
//! The table that is needed to find the subsequence holds one number for each pair of prefixes. What it may take is
//! bounded before it is allocated, and the same bound holds where only the length is asked for: it bounds the time.

use reddb_wire::VALUE_BYTES_MAX;

use super::Args;
use super::parse::{integer_argument, is_option};
use crate::keyspace::Txn;
use crate::reply::{CommandError, CommandResult, Reply};

/// How many bytes the table may take.
const TABLE_BYTES_MAX: usize = VALUE_BYTES_MAX;

/// What is asked for.
#[derive(Debug, Default)]
struct Question {
    length_only: bool,
    ranges: bool,
    range_bytes_min: usize,
    range_lengths: bool,
}

impl Question {
    fn parse(options: &Args) -> Result<Self, CommandError> {
        let mut question = Self::default();
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            if is_option(option, "IDX") {
                question.ranges = true;
            } else if is_option(option, "LEN") {
                question.length_only = true;
            } else if is_option(option, "WITHMATCHLEN") {
                question.range_lengths = true;
            } else if is_option(option, "MINMATCHLEN") {
                let text = rest.next().ok_or(CommandError::SYNTAX)?;
                let least = integer_argument(text)?.max(0);
                question.range_bytes_min = usize::try_from(least).unwrap_or(usize::MAX);
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        if question.ranges && question.length_only {
            return Err(CommandError::fixed("ERR If you want both the length and indexes, please just use IDX."));
        }
        Ok(question)
    }
}

/// The length of the longest common subsequence for each pair of prefixes.
struct Table {
    lengths: Vec<u32>,
    columns: usize,
}

impl Table {
    fn new(one: &[u8], other: &[u8]) -> Result<Self, CommandError> {
        let columns = other.len() + 1;
        let cells =
            (one.len() + 1).checked_mul(columns).filter(|cells| *cells <= TABLE_BYTES_MAX / size_of::<u32>()).ok_or(
                CommandError::fixed("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"),
            )?;
        let mut lengths = vec![0u32; cells];
        for (row, byte) in one.iter().enumerate() {
            let (above, below) = lengths[row * columns..(row + 2) * columns].split_at_mut(columns);
            for (column, other_byte) in other.iter().enumerate() {
                below[column + 1] =
                    if byte == other_byte { above[column] + 1 } else { above[column + 1].max(below[column]) };
            }
        }
        Ok(Self { lengths, columns })
    }

    fn at(&self, row: usize, column: usize) -> u32 {
        self.lengths[row * self.columns + column]
    }

    fn total(&self) -> u32 {
        self.lengths.last().copied().unwrap_or(0)
    }
}

/// A run of bytes that both strings have, at these places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    one: usize,
    other: usize,
    bytes: usize,
}

impl Run {
    fn reply(self, with_length: bool) -> Reply {
        let range = |start: usize| {
            Reply::Array(vec![Reply::count(start as u64), Reply::count((start + self.bytes - 1) as u64)])
        };
        let mut parts = vec![range(self.one), range(self.other)];
        if with_length {
            parts.push(Reply::count(self.bytes as u64));
        }
        Reply::Array(parts)
    }
}

/// The runs that the subsequence consists of, the last one first.
fn runs(one: &[u8], other: &[u8], table: &Table) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut in_run = false;
    let (mut row, mut column) = (one.len(), other.len());
    while row > 0 && column > 0 {
        if one[row - 1] == other[column - 1] {
            row -= 1;
            column -= 1;
            match runs.last_mut() {
                Some(run) if in_run => *run = Run { one: row, other: column, bytes: run.bytes + 1 },
                _ => runs.push(Run { one: row, other: column, bytes: 1 }),
            }
            in_run = true;
        } else {
            if table.at(row - 1, column) > table.at(row, column - 1) {
                row -= 1;
            } else {
                column -= 1;
            }
            in_run = false;
        }
    }
    runs
}

pub(super) fn lcs(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    let (one, other) = (txn.string(&args[1]), txn.string(&args[2]));
    let not_strings = |error| {
        if error == CommandError::WRONG_TYPE {
            CommandError::fixed("ERR The specified keys must contain string values")
        } else {
            error
        }
    };
    let one = one.map_err(not_strings)?.unwrap_or_default();
    let other = other.map_err(not_strings)?.unwrap_or_default();
    let question = Question::parse(&args[3..])?;
    let table = Table::new(&one, &other)?;
    let length = Reply::Int(i64::from(table.total()));
    if question.length_only {
        return Ok(length);
    }
    let runs = runs(&one, &other, &table);
    if question.ranges {
        let long_enough = runs.into_iter().filter(|run| run.bytes >= question.range_bytes_min);
        let matches = long_enough.map(|run| run.reply(question.range_lengths)).collect();
        return Ok(Reply::Map(vec![(Reply::text("matches"), Reply::Array(matches)), (Reply::text("len"), length)]));
    }
    let common: Vec<&[u8]> = runs.iter().rev().map(|run| &one[run.one..run.one + run.bytes]).collect();
    Ok(Reply::bulk(common.concat()))
}
