//! What a run found, for people, for tools and for `docs/BENCHMARKS.md`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::bench::peers::Program;
use crate::bench::row::Row;
use crate::bench::sample::{Figure, Verdict};
use crate::process;
use crate::workspace::Workspace;

/// What became of a row.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Every round was measured.
    Measured,
    /// It was not tried: why.
    Skipped(String),
    /// A round failed: why.
    Failed(String),
}

/// A row with what was measured.
#[derive(Debug)]
pub(crate) struct Result {
    /// The row.
    pub(crate) row: Row,
    /// How many rounds were measured.
    pub(crate) rounds: u32,
    /// What was measured.
    pub(crate) figures: Vec<Figure>,
    /// How it ended.
    pub(crate) outcome: Outcome,
}

impl Result {
    fn verdicts(&self) -> Vec<Verdict> {
        self.row.goals.iter().filter_map(|goal| goal.judge(&self.figures)).collect()
    }

    /// `skipped: …`, `failed: …`, or nothing.
    fn complaint(&self) -> Option<String> {
        match &self.outcome {
            Outcome::Measured => None,
            Outcome::Skipped(reason) => Some(format!("skipped: {reason}")),
            Outcome::Failed(reason) => Some(format!("failed: {reason}")),
        }
    }

    fn json(&self) -> Value {
        let figure = |figure: &Figure| {
            let mut value = figure.summary()?.json(figure.unit);
            value["name"] = json!(figure.name);
            value["samples"] = json!(figure.samples);
            Some(value)
        };
        let (status, reason) = match &self.outcome {
            Outcome::Measured => ("measured", None),
            Outcome::Skipped(reason) => ("skipped", Some(reason)),
            Outcome::Failed(reason) => ("failed", Some(reason)),
        };
        json!({
            "name": self.row.name,
            "title": self.row.title,
            "status": status,
            "reason": reason,
            "rounds": self.rounds,
            "figures": self.figures.iter().filter_map(figure).collect::<Vec<_>>(),
            "goals": self.verdicts().iter().map(Verdict::json).collect::<Vec<_>>(),
        })
    }
}

/// What was measured on: facts as name and value.
#[derive(Debug)]
pub(crate) struct Machine(Vec<(&'static str, String)>);

impl Machine {
    /// Looks around. A program that was given, and not built here, is of an unknown commit.
    pub(crate) fn look(workspace: &Workspace, scratch: &Path, given: Option<&Path>) -> Self {
        let mut facts = Vec::new();
        let mut fact = |name, value: Option<String>| facts.extend(value.map(|value| (name, value)));
        fact("processor", line_of("/proc/cpuinfo", "model name"));
        fact("cores", std::thread::available_parallelism().ok().map(|cores| cores.to_string()));
        fact("memory", line_of("/proc/meminfo", "MemTotal"));
        fact("kernel", std::fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned()));
        let filesystem = process::capture(Command::new("stat").args(["-f", "-c", "%T"]).arg(scratch));
        fact("filesystem", filesystem.ok().map(|text| text.trim().to_owned()));
        let commit =
            process::capture(process::command("git", workspace.root()).args(["describe", "--always", "--dirty"]));
        fact("program", given.map(|path| format!("given as {}", path.file_name().unwrap_or_default().display())));
        fact("commit", commit.ok().filter(|_| given.is_none()).map(|text| text.trim().to_owned()));
        for program in Program::ALL {
            fact(program.name(), program.version(workspace));
        }
        Self(facts)
    }
}

/// The value after a name and a colon, in a file of such lines.
fn line_of(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// For people.
pub(crate) fn text(machine: &Machine, results: &[Result]) -> String {
    let mut page = String::new();
    for (name, value) in &machine.0 {
        line(&mut page, format_args!("{name:<16} {value}"));
    }
    for result in results {
        line(&mut page, format_args!("\n{:<16} {} (rounds: {})", result.row.name, result.row.title, result.rounds));
        for figure in &result.figures {
            if let Some(summary) = figure.summary() {
                line(&mut page, format_args!("  {:<40} {}", figure.name, summary.shown(figure.unit)));
            }
        }
        for verdict in result.verdicts() {
            let (what, bound, word) = (verdict.what(), verdict.bound(), verdict.word());
            line(&mut page, format_args!("  goal: {what} {bound:<10}  {}  {word}", verdict.measured()));
        }
        if let Some(complaint) = result.complaint() {
            line(&mut page, format_args!("  {complaint}"));
        }
    }
    page
}

/// For tools.
pub(crate) fn json(machine: &Machine, results: &[Result]) -> Value {
    let facts: serde_json::Map<String, Value> =
        machine.0.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    json!({ "machine": facts, "rows": results.iter().map(Result::json).collect::<Vec<_>>() })
}

/// The part of `docs/BENCHMARKS.md` that is measured.
pub(crate) fn markdown(machine: &Machine, results: &[Result]) -> String {
    let mut page = String::from("| machine | |\n|---|---|\n");
    for (name, value) in &machine.0 {
        line(&mut page, format_args!("| {name} | {value} |"));
    }
    page.push_str("\n| row | judged | goal | median (min – max) | |\n|---|---|---|---|---|\n");
    for result in results {
        for verdict in result.verdicts() {
            let (name, what, bound) = (result.row.name, verdict.what(), verdict.bound());
            line(
                &mut page,
                format_args!("| {name} | {what} | {bound} | {} | {} |", verdict.measured(), verdict.word()),
            );
        }
    }
    page.push_str("\n| row | rounds | figure | median (min – max) |\n|---|---|---|---|\n");
    for result in results {
        for figure in &result.figures {
            if let Some(summary) = figure.summary() {
                let (name, rounds, shown) = (result.row.name, result.rounds, summary.shown(figure.unit));
                line(&mut page, format_args!("| {name} | {rounds} | {} | {shown} |", figure.name));
            }
        }
        if let Some(complaint) = result.complaint() {
            let first = complaint.lines().next().unwrap_or_default();
            line(&mut page, format_args!("| {} | {} | {first} | |", result.row.name, result.rounds));
        }
    }
    page
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(page, "{text}").expect("writing to a String does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::sample::{Goal, Unit};

    fn results() -> Vec<Result> {
        const GOALS: &[Goal] = &[Goal::at_least("reddb", "redis", 2.0)];
        let row = Row { name: "a-row", title: "A row", needs: &[], rounds_max: 9, goals: GOALS, measure: |_| Ok(()) };
        let figure = |name: &str, samples: &[f64]| Figure {
            name: name.to_owned(),
            unit: Unit::PerSecond,
            samples: samples.to_vec(),
        };
        let figures = vec![figure("reddb", &[10.0, 30.0, 20.0]), figure("redis", &[10.0, 10.0, 10.0])];
        vec![
            Result { row, rounds: 3, figures, outcome: Outcome::Measured },
            Result { row, rounds: 0, figures: vec![], outcome: Outcome::Skipped("x is not installed".into()) },
        ]
    }

    fn machine() -> Machine {
        Machine(vec![("cores", "2".to_owned())])
    }

    #[test]
    fn tools_get_every_sample_and_verdict() {
        let value = json(&machine(), &results());
        assert_eq!(value["machine"]["cores"], "2");
        let row = &value["rows"][0];
        assert_eq!((&row["status"], &row["figures"][0]["median"]), (&json!("measured"), &json!(20.0)));
        assert_eq!(row["figures"][0]["samples"], json!([10.0, 30.0, 20.0]));
        let goal = &row["goals"][0];
        assert_eq!((&goal["median"], &goal["at_least"], &goal["met"]), (&json!(2.0), &json!(2.0), &json!(true)));
        let skipped = &value["rows"][1];
        assert_eq!((&skipped["status"], &skipped["reason"]), (&json!("skipped"), &json!("x is not installed")));
    }

    #[test]
    fn people_see_medians_spread_and_whether_a_goal_is_met() {
        let text = text(&machine(), &results());
        assert!(text.contains("20.0/s (10.0/s – 30.0/s)"), "{text}");
        assert!(text.contains("goal: reddb / redis ≥ 2.00      2.00 (1.00 – 3.00)  met"), "{text}");
        assert!(text.contains("skipped: x is not installed"), "{text}");
    }

    #[test]
    fn the_page_has_a_line_for_each_figure_and_goal() {
        let page = markdown(&machine(), &results());
        assert!(page.contains("| a-row | reddb / redis | ≥ 2.00 | 2.00 (1.00 – 3.00) | met |"), "{page}");
        assert!(page.contains("| a-row | 3 | redis | 10.0/s |"), "{page}");
        assert!(page.contains("| a-row | 0 | skipped: x is not installed | |"), "{page}");
    }
}
