//! `cargo xtask bench`: RedDB beside what people would use instead, on this machine, in this run.
//!
//! Rows are in [`row`], the servers in [`peers`], what is done with numbers in [`sample`] and [`report`]. Each round of a row
//! measures RedDB and then its peer, so that both see the same weather; rounds are summarised by median and spread.
//!
//! The page cache is neither dropped nor avoided: it is warm for everyone. Before each measured stage what it holds is
//! written back (`sync`), so that nobody pays for what came before.
//!
//! Invariants: every RedDB figure is with full durability and the archive running; every program that is started ends with
//! this one, and everything that was written is removed, also after an interrupt.

mod archive;
mod commands;
mod files;
mod guard;
mod latency;
mod load;
mod memory;
mod peers;
mod report;
mod resp;
mod restore;
mod row;
mod sample;
mod snapshot;
mod throughput;
mod whole;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use crate::bench::report::{Machine, Outcome, Result as RowResult};
use crate::bench::row::{Bench, Round, Row};
use crate::process;
use crate::scratch::Scratch;
use crate::workspace::Workspace;

/// Rounds where nothing else is said.
const ROUNDS: u32 = 5;

/// What a quick run loads at most where a size is given in bytes.
const QUICK_BYTES_MAX: u64 = 4_000_000;

/// `cargo xtask bench [--row NAME]… [--rounds N] [--quick] [--json | --markdown]`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only this row; may be given more than once.
    #[arg(long = "row", value_name = "NAME")]
    rows: Vec<String>,
    /// Name the rows and stop.
    #[arg(long)]
    list: bool,
    /// How often each row is measured, 5 where nothing is said; rows that take minutes take fewer.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Small sizes and one round: to see that the rows run, not how fast.
    #[arg(long)]
    quick: bool,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
    /// Print the tables of docs/BENCHMARKS.md instead of text.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// The program to measure, instead of building it in the release profile.
    #[arg(long, value_name = "PATH", env = "REDDB_BIN")]
    binary: Option<PathBuf>,
    /// How much data the row `memory` loads.
    #[arg(long, value_name = "SIZE", default_value = "4gb", value_parser = size)]
    memory_data: u64,
    /// How much data the row `open` loads.
    #[arg(long, value_name = "SIZE", default_value = "10gb", value_parser = size)]
    open_data: u64,
    /// Where data is kept while it is measured: the disk that counts; target/bench where nothing is said.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs the rows; failure where one of them failed.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, String> {
    let rows = chosen(row::all(), &arguments.rows)?;
    if arguments.list {
        for row in rows {
            println!("{:<22} {}", row.name, row.title);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let binary = match &arguments.binary {
        Some(binary) => std::path::absolute(binary).map_err(|error| format!("{}: {error}", binary.display()))?,
        None => build(workspace)?,
    };
    let parent = arguments.dir.clone().unwrap_or_else(|| workspace.target().join("bench"));
    let scratch = Scratch::make(&parent)?;
    guard::clean_up_when_interrupted(scratch.path().to_owned())?;
    let machine = Machine::look(workspace, scratch.path(), arguments.binary.as_deref());
    let data_bytes = |bytes: u64| if arguments.quick { bytes.min(QUICK_BYTES_MAX) } else { bytes };
    let bench = Bench {
        workspace,
        binary,
        scratch: scratch.path().to_owned(),
        quick: arguments.quick,
        memory_data_bytes: data_bytes(arguments.memory_data),
        open_data_bytes: data_bytes(arguments.open_data),
        started: Instant::now(),
    };
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 1 } else { ROUNDS });
    let results: Vec<RowResult> = rows.into_iter().map(|row| measure(&bench, row, rounds)).collect();
    if arguments.json {
        println!("{:#}", report::json(&machine, &results));
    } else if arguments.markdown {
        print!("{}", report::markdown(&machine, &results));
    } else {
        print!("{}", report::text(&machine, &results));
    }
    let failed = results.iter().any(|result| matches!(result.outcome, Outcome::Failed(_)));
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The rows of these names, all of them where there is none.
fn chosen(rows: Vec<Row>, names: &[String]) -> Result<Vec<Row>, String> {
    if let Some(name) = names.iter().find(|name| !rows.iter().any(|row| row.name == **name)) {
        return Err(format!("no row is called {name}; `cargo xtask bench --list` names them"));
    }
    Ok(rows.into_iter().filter(|row| names.is_empty() || names.iter().any(|name| name == row.name)).collect())
}

fn build(workspace: &Workspace) -> Result<PathBuf, String> {
    let mut cargo = process::cargo(workspace.root());
    process::inherit(cargo.args(["build", "--quiet", "--release", "--locked", "--package", "reddb-server"]))?;
    Ok(workspace.target().join("release").join("reddb"))
}

fn measure(bench: &Bench<'_>, row: Row, rounds: u32) -> RowResult {
    let mut result = RowResult { row, rounds: 0, figures: Vec::new(), outcome: Outcome::Measured };
    if let Some(program) = row.needs.iter().find(|program| program.version(bench.workspace).is_none()) {
        result.outcome = Outcome::Skipped(format!("{} is not installed", program.name()));
        bench.say(&format!("{}: {} is not installed", row.name, program.name()));
        return result;
    }
    let rounds = rounds.min(row.rounds_max);
    for number in 1..=rounds {
        let place = bench.scratch.join(format!("{}-{number}", row.name));
        let label = format!("{}, round {number} of {rounds}", row.name);
        let mut round = Round { bench, label, place: place.clone(), figures: &mut result.figures };
        let measured = make(&place).and_then(|()| (row.measure)(&mut round));
        if let Err(error) = measured.and_then(|()| row::remove(&place)) {
            bench.say(&format!("{}, round {number}: {error}", row.name));
            // What it left behind goes with the run's directory.
            result.outcome = Outcome::Failed(error);
            return result;
        }
        result.rounds = number;
    }
    result
}

/// `4gb`, `64mb`, `100` in bytes; units are binary, as in the program's own settings.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" | "b" => 1,
        "kb" => 1 << 10,
        "mb" => 1 << 20,
        "gb" => 1 << 30,
        other => return Err(format!("{other} is no unit: b, kb, mb, gb")),
    };
    let count: u64 = digits.parse().map_err(|_| format!("{digits} is no number"))?;
    count.checked_mul(unit).ok_or_else(|| format!("{text} is too much"))
}

fn make(place: &std::path::Path) -> Result<(), String> {
    std::fs::create_dir_all(place).map_err(|error| format!("cannot make {}: {error}", place.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!((size("4gb"), size("7")), (Ok(4 << 30), Ok(7)));
        assert!(size("4tb").is_err() && size("gb").is_err() && size("99999999999gb").is_err());
    }

    #[test]
    fn rows_are_chosen_by_name_and_unknown_names_are_refused() {
        let names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            chosen(row::all(), &names).map(|rows| rows.iter().map(|row| row.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["set-c1", "set-c50"]).unwrap(), ["set-c50", "set-c1"]);
        assert_eq!(names(&[]).unwrap().len(), row::all().len());
        assert!(names(&["set-c51"]).unwrap_err().contains("set-c51"));
    }
}
