//! Measured values: samples of one figure, one a round, and what is said about them.
//!
//! Invariants: a summary is of at least one sample; its median lies between its least and greatest sample. Ratios are taken
//! round by round, between values that were measured within the same minute, and only then summarised: what slows the whole
//! machine down for a while moves both sides.

use std::fmt;

use serde_json::{Value, json};

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Bytes.
    Bytes,
    /// Bytes per second.
    BytesPerSecond,
    /// Something counted that is neither of the others.
    Count,
    /// Milliseconds.
    Milliseconds,
    /// One number divided by another of the same unit.
    Ratio,
    /// Seconds.
    Seconds,
    /// Operations or records per second.
    PerSecond,
}

impl Unit {
    /// The name that tools read.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "bytes_per_second",
            Self::Count => "count",
            Self::Milliseconds => "ms",
            Self::Ratio => "ratio",
            Self::Seconds => "s",
            Self::PerSecond => "per_second",
        }
    }

    /// A value as a person reads it.
    pub(crate) fn shown(self, value: f64) -> String {
        match self {
            Self::Bytes => bytes(value),
            Self::BytesPerSecond => format!("{}/s", bytes(value)),
            Self::Count => digits(value),
            Self::Milliseconds => format!("{} ms", digits(value)),
            Self::Ratio => format!("{value:.2}"),
            Self::Seconds => format!("{} s", digits(value)),
            Self::PerSecond => format!("{}/s", digits(value)),
        }
    }
}

fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (value, 0);
    while value.abs() >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{} {}", digits(value), UNITS[unit])
}

/// Three significant digits below a thousand, whole numbers in groups of three above.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 || size == 0.0 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    if decimals > 0 {
        return text;
    }
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |rest| ("-", rest));
    let mut grouped = String::from(sign);
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && (text.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Every sample of one figure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// Whose, and of what: `reddb p99`.
    pub(crate) name: String,
    /// What the samples count.
    pub(crate) unit: Unit,
    /// One a round, in the order of rounds.
    pub(crate) samples: Vec<f64>,
}

impl Figure {
    /// What is said about the samples; `None` where there is none.
    pub(crate) fn summary(&self) -> Option<Summary> {
        Summary::of(&self.samples)
    }
}

/// Median and spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    /// The value in the middle; between the two there where their number is even.
    pub(crate) median: f64,
    /// The least.
    pub(crate) min: f64,
    /// The greatest.
    pub(crate) max: f64,
}

impl Summary {
    /// Summarises; `None` of nothing.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Self { median, min, max })
    }

    /// For tools.
    pub(crate) fn json(self, unit: Unit) -> Value {
        json!({ "unit": unit.name(), "median": self.median, "min": self.min, "max": self.max })
    }

    /// For people.
    pub(crate) fn shown(self, unit: Unit) -> String {
        if (self.max - self.min).abs() < f64::EPSILON {
            return unit.shown(self.median);
        }
        format!("{} ({} – {})", unit.shown(self.median), unit.shown(self.min), unit.shown(self.max))
    }
}

/// On which side of a bound a goal lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }

    fn shown(self, unit: Unit) -> String {
        match self {
            Self::AtLeast(bound) => format!("≥ {}", unit.shown(bound)),
            Self::AtMost(bound) => format!("≤ {}", unit.shown(bound)),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown(Unit::Ratio))
    }
}

/// What a row is measured against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Goal {
    /// The figure that is judged.
    pub(crate) figure: &'static str,
    /// The figure that it is divided by, round by round; without one the value itself is judged.
    pub(crate) over: Option<&'static str>,
    /// Where the median must lie.
    pub(crate) bound: Bound,
}

impl Goal {
    /// `figure / over`, to be at least `bound`.
    pub(crate) const fn at_least(figure: &'static str, over: &'static str, bound: f64) -> Self {
        Self { figure, over: Some(over), bound: Bound::AtLeast(bound) }
    }

    /// `figure / over`, to be at most `bound`.
    pub(crate) const fn at_most(figure: &'static str, over: &'static str, bound: f64) -> Self {
        Self { figure, over: Some(over), bound: Bound::AtMost(bound) }
    }

    /// `figure` itself, within `bound`.
    pub(crate) const fn of(figure: &'static str, bound: Bound) -> Self {
        Self { figure, over: None, bound }
    }

    /// Judges the figures of a row; `None` where one of them was not measured.
    pub(crate) fn judge(&self, figures: &[Figure]) -> Option<Verdict> {
        let find = |name: &str| figures.iter().find(|figure| figure.name == name);
        let figure = find(self.figure)?;
        let (unit, samples) = match self.over {
            None => (figure.unit, figure.samples.clone()),
            Some(over) => {
                let below = &find(over)?.samples;
                let ratios = figure.samples.iter().zip(below).filter(|(_, below)| **below > 0.0);
                (Unit::Ratio, ratios.map(|(above, below)| above / below).collect())
            }
        };
        let summary = Summary::of(&samples)?;
        Some(Verdict { goal: *self, unit, summary, met: self.bound.holds(summary.median) })
    }
}

/// A goal and what became of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Verdict {
    goal: Goal,
    unit: Unit,
    summary: Summary,
    /// Whether the median lies where it must.
    pub(crate) met: bool,
}

impl Verdict {
    /// What is judged, in words.
    pub(crate) fn what(&self) -> String {
        self.goal.over.map_or_else(|| self.goal.figure.to_owned(), |over| format!("{} / {over}", self.goal.figure))
    }

    /// Where it must lie.
    pub(crate) fn bound(&self) -> String {
        self.goal.bound.shown(self.unit)
    }

    /// Where it lies.
    pub(crate) fn measured(&self) -> String {
        self.summary.shown(self.unit)
    }

    /// In a word.
    pub(crate) const fn word(&self) -> &'static str {
        if self.met { "met" } else { "NOT MET" }
    }

    /// For tools.
    pub(crate) fn json(&self) -> Value {
        let mut value = self.summary.json(self.unit);
        let (kind, bound) = match self.goal.bound {
            Bound::AtLeast(bound) => ("at_least", bound),
            Bound::AtMost(bound) => ("at_most", bound),
        };
        value["figure"] = json!(self.goal.figure);
        value["over"] = json!(self.goal.over);
        value[kind] = json!(bound);
        value["met"] = json!(self.met);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &str, samples: &[f64]) -> Figure {
        Figure { name: name.to_owned(), unit: Unit::PerSecond, samples: samples.to_vec() }
    }

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        let odd = Summary::of(&[9.0, 1.0, 3.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (3.0, 1.0, 9.0));
        assert_eq!(Summary::of(&[4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was three times as slow in the second round: the ratio was 2 in each.
        let figures = [figure("reddb", &[60.0, 20.0, 62.0]), figure("redis", &[30.0, 10.0, 31.0])];
        let verdict = Goal::at_least("reddb", "redis", 1.9).judge(&figures).unwrap();
        assert_eq!((verdict.summary.min, verdict.summary.max), (2.0, 2.0));
        assert!(verdict.met);
        assert!(!Goal::at_most("reddb", "redis", 1.9).judge(&figures).unwrap().met);
    }

    #[test]
    fn a_goal_is_judged_by_the_median_alone() {
        let figures = [figure("reddb", &[1.0, 100.0, 101.0])];
        assert!(Goal::of("reddb", Bound::AtLeast(100.0)).judge(&figures).unwrap().met);
        assert!(!Goal::of("reddb", Bound::AtMost(99.0)).judge(&figures).unwrap().met);
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert_eq!(Goal::at_least("reddb", "redis", 1.0).judge(&[figure("reddb", &[1.0])]), None);
        let against_nothing = [figure("reddb", &[1.0]), figure("redis", &[0.0])];
        assert_eq!(Goal::at_least("reddb", "redis", 1.0).judge(&against_nothing), None);
    }

    #[test]
    fn values_are_shown_with_their_units() {
        assert_eq!(Unit::PerSecond.shown(44_464.2), "44,464/s");
        assert_eq!(Unit::Bytes.shown(1_234_567_890.0), "1.23 GB");
        assert_eq!(Unit::Milliseconds.shown(0.863), "0.863 ms");
        assert_eq!(Unit::Milliseconds.shown(26.575), "26.6 ms");
        assert_eq!(Unit::Seconds.shown(999.6), "1,000 s");
        assert_eq!(Unit::Ratio.shown(1.195), "1.20");
        assert_eq!(Unit::Count.shown(-1_000_000.0), "-1,000,000");
    }
}
