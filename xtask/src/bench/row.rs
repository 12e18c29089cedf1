//! A row: one question, how it is answered once, and the goal for the answer. The table of all of them is here.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::bench::peers::Program;
use crate::bench::peers::reddb::Reddb;
use crate::bench::sample::{Figure, Goal, Unit};
use crate::bench::{archive, commands, memory, restore, snapshot, throughput, whole};
use crate::workspace::Workspace;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// What it is called by.
    pub(crate) name: &'static str,
    /// What is measured, in a line.
    pub(crate) title: &'static str,
    /// What must be installed for it.
    pub(crate) needs: &'static [Program],
    /// No more rounds than this: for rows that take minutes each.
    pub(crate) rounds_max: u32,
    /// What it is judged by.
    pub(crate) goals: &'static [Goal],
    /// Measures once.
    pub(crate) measure: fn(&mut Round<'_>) -> Result<(), String>,
}

/// Every row, in the order in which they run.
pub(crate) fn all() -> Vec<Row> {
    let groups: [&[Row]; 7] = [
        &throughput::ROWS,
        &snapshot::ROWS,
        &restore::ROWS,
        &memory::ROWS,
        &archive::ROWS,
        &commands::ROWS,
        &whole::ROWS,
    ];
    groups.concat()
}

/// What all rows of one run have in common.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    /// The repository.
    pub(crate) workspace: &'a Workspace,
    /// The program that is measured.
    pub(crate) binary: PathBuf,
    /// Where everything is kept while it is measured.
    pub(crate) scratch: PathBuf,
    /// Small sizes: to see that the rows run, not how fast.
    pub(crate) quick: bool,
    /// How much the row `memory` loads.
    pub(crate) memory_data_bytes: u64,
    /// How much the row `open` loads.
    pub(crate) open_data_bytes: u64,
    /// When the run began.
    pub(crate) started: Instant,
}

impl Bench<'_> {
    /// A count, or a hundredth of it.
    pub(crate) const fn scaled(&self, count: u64) -> u64 {
        if self.quick { count.div_ceil(100) } else { count }
    }

    /// Says on standard error what happens.
    pub(crate) fn say(&self, what: &str) {
        eprintln!("bench: {:>6.1} s  {what}", self.started.elapsed().as_secs_f64());
    }
}

/// One measurement of one row.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    /// The run.
    pub(crate) bench: &'a Bench<'a>,
    /// `row, round 2 of 5`
    pub(crate) label: String,
    /// A directory of this round alone, empty at its beginning.
    pub(crate) place: PathBuf,
    /// What was measured in all rounds of the row.
    pub(crate) figures: &'a mut Vec<Figure>,
}

impl<'a> Round<'a> {
    /// Says what is being done.
    pub(crate) fn stage(&self, what: &str) {
        self.bench.say(&format!("{}: {what}", self.label));
    }

    /// A path in this round's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    /// A RedDB that keeps data and archive in this round's directory.
    pub(crate) fn reddb(&self) -> Reddb<'a> {
        Reddb::new(&self.bench.binary, &self.place.join("reddb"))
    }

    /// Keeps one sample.
    pub(crate) fn record(&mut self, name: &str, unit: Unit, value: f64) {
        match self.figures.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.samples.push(value),
            None => self.figures.push(Figure { name: name.to_owned(), unit, samples: vec![value] }),
        }
    }

    /// Writes back what the page cache holds, so that the last stage's writes do not disturb the next one's.
    pub(crate) fn settle(&self) {
        rustix::fs::sync();
    }
}

/// Removes a directory and everything in it.
///
/// # Errors
/// It cannot be removed.
pub(crate) fn remove(directory: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", directory.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let rows = all();
        let names: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), rows.len());
    }
}
