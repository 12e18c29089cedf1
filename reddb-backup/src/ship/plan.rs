//! What to do next. Pure.

use std::time::Duration;

use reddb_file::Lsn;

/// The next step of a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ship the records from `from` to `to`.
    Ship {
        /// The record after the archived mark.
        from: Lsn,
        /// The newest durable record.
        to: Lsn,
    },
    /// Nothing to ship, and the head is old: write it again.
    Beat,
    /// Nothing to do.
    Rest,
}

/// Decides it from how far the archive and the log are, and from the head's age.
#[must_use]
pub(crate) fn next_step(archived: Lsn, durable: Lsn, head_age: Duration, beat_interval: Duration) -> Step {
    match archived.next() {
        Some(from) if durable > archived => Step::Ship { from, to: durable },
        _ if head_age >= beat_interval => Step::Beat,
        _ => Step::Rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_thing_to_do_at_a_time() {
        let lsn = Lsn::new;
        let ship = |from, to| Step::Ship { from: lsn(from), to: lsn(to) };
        for (archived, durable, age_s, expected) in [
            (0, 0, 0, Step::Rest),
            (0, 0, 10, Step::Beat),
            (0, 1, 0, ship(1, 1)),
            (5, 9, 99, ship(6, 9)),
            (9, 9, 9, Step::Rest),
            // A log that is behind its archive is never shipped; the claim has refused it before.
            (9, 8, 9, Step::Rest),
            (u64::MAX, u64::MAX, 0, Step::Rest),
            (u64::MAX - 1, u64::MAX, 0, ship(u64::MAX, u64::MAX)),
        ] {
            let step = next_step(lsn(archived), lsn(durable), Duration::from_secs(age_s), Duration::from_secs(10));
            assert_eq!(step, expected, "{archived} {durable} {age_s}");
        }
    }
}
