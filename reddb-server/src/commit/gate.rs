//! The write gate: whether writes are taken now, and why not.
//!
//! Every write needs a [`WritePermit`], which only [`WriteGate::admit`] makes. Conditions are set and cleared by whoever
//! watches them; where several hold, the first in the order of [`Condition`] is named.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::reply::CommandError;

/// Why writes are refused, in the order in which reasons are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Condition {
    /// The process is stopping.
    ShuttingDown,
    /// A write or sync of the log failed: nothing may be acknowledged any more.
    Poisoned,
    /// The archive belongs to another history, or another writer has taken over.
    Fenced,
    /// The directory's timeline has not begun in the archive yet: it has no number there, or nothing that a restore could start
    /// from.
    TimelinePending,
    /// The wall clock jumped forward further than allowed.
    ClockJump,
    /// The data directory is not in its place any more: what is written would be lost with it.
    DirectoryGone,
    /// The disk has too little space left.
    DiskFull,
    /// The local log has reached its limit because the archive does not take it.
    ArchiveLag,
}

impl Condition {
    /// The code under which tools know the condition.
    #[must_use]
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::ShuttingDown => "shutting_down",
            Self::Poisoned => "poisoned",
            Self::Fenced => "fenced",
            Self::TimelinePending => "timeline_pending",
            Self::ClockJump => "clock_jump",
            Self::DirectoryGone => "directory_gone",
            Self::DiskFull => "disk_full",
            Self::ArchiveLag => "archive_lag",
        }
    }
}

/// Proof that a write was admitted.
#[derive(Debug)]
pub(crate) struct WritePermit(());

/// The gate of one database.
#[derive(Debug, Default)]
pub(crate) struct WriteGate {
    closed: AtomicBool,
    conditions: Mutex<BTreeMap<Condition, Held>>,
}

/// A condition that holds.
#[derive(Debug)]
struct Held {
    reason: String,
    /// Whether the log says so.
    said: bool,
}

impl WriteGate {
    /// An open gate.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Lets one write through, or says why not.
    ///
    /// # Errors
    /// `MISCONF` with the reason and what to do.
    pub(crate) fn admit(&self) -> Result<WritePermit, CommandError> {
        if !self.closed.load(Ordering::Acquire) {
            return Ok(WritePermit(()));
        }
        match self.refusal() {
            None => Ok(WritePermit(())),
            Some((condition, reason)) => {
                Err(CommandError::new(format!("MISCONF writes are refused ({}): {reason}", condition.code())))
            }
        }
    }

    /// The condition that refuses writes, if one does, with its reason.
    #[must_use]
    pub(crate) fn refusal(&self) -> Option<(Condition, String)> {
        self.conditions.lock().first_key_value().map(|(condition, held)| (*condition, held.reason.clone()))
    }

    /// Whether the condition holds.
    #[must_use]
    pub(crate) fn holds(&self, condition: Condition) -> bool {
        self.conditions.lock().contains_key(&condition)
    }

    /// Sets a condition; the first reason given stays until it is cleared. Says whether it is new.
    pub(crate) fn set(&self, condition: Condition, reason: impl FnOnce() -> String) -> bool {
        let mut conditions = self.conditions.lock();
        if conditions.contains_key(&condition) {
            return false;
        }
        let reason = reason();
        warn(condition, &reason);
        self.insert(&mut conditions, condition, Held { reason, said: true });
        true
    }

    /// Sets a condition that is expected to be over before anybody can ask for a write: [`WriteGate::say`] tells of it if it is not.
    pub(crate) fn set_silently(&self, condition: Condition, reason: impl FnOnce() -> String) {
        let mut conditions = self.conditions.lock();
        if !conditions.contains_key(&condition) {
            self.insert(&mut conditions, condition, Held { reason: reason(), said: false });
        }
    }

    fn insert(&self, conditions: &mut BTreeMap<Condition, Held>, condition: Condition, held: Held) {
        conditions.insert(condition, held);
        self.closed.store(true, Ordering::Release);
    }

    /// Tells of a condition that was set silently and still holds.
    pub(crate) fn say(&self, condition: Condition) {
        if let Some(held) = self.conditions.lock().get_mut(&condition)
            && !held.said
        {
            held.said = true;
            warn(condition, &held.reason);
        }
    }

    /// Gives a condition that holds another reason: why it still does.
    pub(crate) fn explain(&self, condition: Condition, reason: impl FnOnce() -> String) {
        if let Some(held) = self.conditions.lock().get_mut(&condition) {
            held.reason = reason();
        }
    }

    /// Clears a condition. [`Condition::Poisoned`] and [`Condition::Fenced`] last as long as the process.
    pub(crate) fn clear(&self, condition: Condition) {
        if matches!(condition, Condition::Poisoned | Condition::Fenced) {
            return;
        }
        let mut conditions = self.conditions.lock();
        if let Some(held) = conditions.remove(&condition) {
            if held.said {
                tracing::info!(code = condition.code(), "the condition that refused writes is over");
            }
            self.closed.store(!conditions.is_empty(), Ordering::Release);
        }
    }
}

fn warn(condition: Condition, reason: &str) {
    tracing::warn!(code = condition.code(), %reason, "writes are refused");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_condition_in_order_is_named_and_the_gate_opens_when_the_last_is_cleared() {
        let gate = WriteGate::new();
        gate.admit().expect("open");
        gate.set(Condition::ArchiveLag, || "behind".to_owned());
        gate.set(Condition::DiskFull, || "full".to_owned());
        assert!(gate.admit().expect_err("closed").text().starts_with("MISCONF writes are refused (disk_full): full"));
        gate.clear(Condition::DiskFull);
        assert!(gate.admit().expect_err("closed").text().contains("archive_lag"));
        gate.clear(Condition::ArchiveLag);
        gate.admit().expect("open again");
    }

    #[test]
    fn a_condition_that_holds_can_be_explained_anew() {
        let gate = WriteGate::new();
        gate.explain(Condition::TimelinePending, || "it does not hold".to_owned());
        gate.admit().expect("open");
        gate.set(Condition::TimelinePending, || "away".to_owned());
        gate.explain(Condition::TimelinePending, || "being claimed".to_owned());
        assert_eq!(gate.refusal(), Some((Condition::TimelinePending, "being claimed".to_owned())));
    }

    #[test]
    fn a_condition_that_is_set_silently_refuses_writes_and_leaves_another_reason_alone() {
        let gate = WriteGate::new();
        gate.set_silently(Condition::TimelinePending, || "being begun".to_owned());
        gate.set_silently(Condition::TimelinePending, || "again".to_owned());
        gate.say(Condition::TimelinePending);
        assert!(gate.admit().expect_err("closed").text().contains("(timeline_pending): being begun"));
        gate.clear(Condition::TimelinePending);
        gate.say(Condition::TimelinePending);
        gate.admit().expect("open again");
    }

    #[test]
    fn poison_and_fencing_last() {
        for condition in [Condition::Poisoned, Condition::Fenced] {
            let gate = WriteGate::new();
            gate.set(condition, || "for ever".to_owned());
            gate.clear(condition);
            assert!(gate.admit().is_err());
        }
    }
}
