//! What commands share beside the data: scan cursors, randomness, the clock's offset.

use bytes::Bytes;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use reddb_wire::ObjectId;

use super::cursors::{CURSOR_END, CursorTable, ScanPlace};

/// The services of one open database.
#[derive(Debug)]
pub(crate) struct Env {
    clock_offset_ms: i64,
    random: Mutex<SmallRng>,
    cursors: Mutex<CursorTable>,
}

impl Env {
    /// The services of a database whose expiry clock is `clock_offset_ms` behind the wall clock; the seed decides every
    /// random pick and every scan cursor, so outside of tests it must be another one at each start.
    #[must_use]
    pub(crate) fn new(clock_offset_ms: i64, seed: u64) -> Self {
        Self { clock_offset_ms, random: Mutex::new(SmallRng::seed_from_u64(seed)), cursors: Mutex::default() }
    }

    /// How far the expiry clock is behind the wall clock, in milliseconds.
    #[must_use]
    pub(crate) const fn clock_offset_ms(&self) -> i64 {
        self.clock_offset_ms
    }

    /// A number below `bound`, all equally likely; 0 where `bound` is 0.
    #[must_use]
    pub(crate) fn random_below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.random.lock().random_range(0..bound) }
    }

    /// A cursor under which the place is remembered for a while.
    #[must_use]
    pub(crate) fn remember_place(&self, place: ScanPlace) -> u64 {
        self.cursors.lock().remember(place, || self.random_below(CURSOR_END))
    }

    /// The last name that a scan of these names had looked at under this cursor; `None` where it is not remembered, and
    /// the scan must start over.
    #[must_use]
    pub(crate) fn scan_place(&self, cursor: u64, names: ObjectId) -> Option<Bytes> {
        self.cursors.lock().place(cursor, names)
    }

    /// The expiry clock's time that corresponds to a wall clock's, in Unix milliseconds; saturates.
    #[must_use]
    pub(crate) const fn expiry_from_wall_ms(&self, wall_ms: u64) -> u64 {
        if self.clock_offset_ms >= 0 {
            wall_ms.saturating_sub(self.clock_offset_ms.unsigned_abs())
        } else {
            wall_ms.saturating_add(self.clock_offset_ms.unsigned_abs())
        }
    }

    /// The wall clock's time that corresponds to the expiry clock's, in Unix milliseconds; saturates.
    #[must_use]
    pub(crate) const fn wall_from_expiry_ms(&self, expiry_ms: u64) -> u64 {
        if self.clock_offset_ms >= 0 {
            expiry_ms.saturating_add(self.clock_offset_ms.unsigned_abs())
        } else {
            expiry_ms.saturating_sub(self.clock_offset_ms.unsigned_abs())
        }
    }
}
