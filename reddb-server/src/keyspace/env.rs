//! What commands share beside the data: scan cursors, randomness, the clock's offset.

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// The services of one open database.
#[derive(Debug)]
pub struct Env {
    clock_offset_ms: i64,
    random: Mutex<SmallRng>,
}

impl Env {
    /// The services of a database whose expiry clock is `clock_offset_ms` behind the wall clock; the seed decides every
    /// random pick.
    #[must_use]
    pub fn new(clock_offset_ms: i64, seed: u64) -> Self {
        Self { clock_offset_ms, random: Mutex::new(SmallRng::seed_from_u64(seed)) }
    }

    /// A number below `bound`, all equally likely; 0 where `bound` is 0.
    #[must_use]
    pub fn random_below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.random.lock().random_range(0..bound) }
    }

    /// The expiry clock's time that corresponds to a wall clock's, in Unix milliseconds; saturates.
    #[must_use]
    pub const fn expiry_from_wall_ms(&self, wall_ms: u64) -> u64 {
        if self.clock_offset_ms >= 0 {
            wall_ms.saturating_sub(self.clock_offset_ms.unsigned_abs())
        } else {
            wall_ms.saturating_add(self.clock_offset_ms.unsigned_abs())
        }
    }

    /// The wall clock's time that corresponds to the expiry clock's, in Unix milliseconds; saturates.
    #[must_use]
    pub const fn wall_from_expiry_ms(&self, expiry_ms: u64) -> u64 {
        if self.clock_offset_ms >= 0 {
            expiry_ms.saturating_add(self.clock_offset_ms.unsigned_abs())
        } else {
            expiry_ms.saturating_sub(self.clock_offset_ms.unsigned_abs())
        }
    }
}
