//! LSNs as the tree's sequence numbers.
//!
//! The tree orders versions by a 63-bit sequence number that its callers choose, and draws numbers of its own from a shared
//! counter whenever it installs a flush or a compaction. A read below number S sees versions below S, in the newest state
//! of the tree that was installed at a number below S. Each LSN therefore owns 2^16 numbers:
//!
//! | number | used for |
//! |---|---|
//! | `LSN << 16` | every write of the record |
//! | `LSN << 16 \| 1` | entries of dead ranges that are removed while that record is the newest |
//! | `LSN << 16 \| 2` and up | flushes and compactions installed from the start of that record on |
//! | `(LSN + 1) << 16` | what a read at that LSN stays below |
//!
//! Invariant: the counter is above every number written, so that what a flush or a compaction installs is seen only by
//! reads that may see everything in it; older reads use the older state.

use reddb_file::Lsn;

use super::ENGINE_LSN_MAX;

const SHIFT: u32 = 16;

/// Numbers left unused at the end of each LSN's share.
const RESERVE: u64 = 16;

/// Whether the numbers of `lsn` and the one after them fit in 63 bits.
pub(super) fn is_possible(lsn: Lsn) -> bool {
    lsn <= ENGINE_LSN_MAX
}

/// The number of the record's writes.
pub(super) fn of_writes(lsn: Lsn) -> u64 {
    lsn.get() << SHIFT
}

/// The number of removals from dead ranges while `lsn` is the newest.
pub(super) fn of_range_deletion(lsn: Lsn) -> u64 {
    of_writes(lsn) | 1
}

/// The least the counter may be at once writing `lsn` begins.
pub(super) fn counter_floor(lsn: Lsn) -> u64 {
    of_writes(lsn) | 2
}

/// The number that a read at `lsn` stays below.
pub(super) fn read_below(lsn: Lsn) -> u64 {
    (lsn.get() + 1) << SHIFT
}

/// Whether the counter may be drawn from without leaving the share of its LSN.
pub(super) fn has_room(counter: u64) -> bool {
    counter & ((1 << SHIFT) - 1) < (1 << SHIFT) - RESERVE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_an_lsn_are_ordered_and_stay_below_those_of_the_next() {
        for value in [0, 1, 77, ENGINE_LSN_MAX.get()] {
            let lsn = Lsn::new(value);
            assert!(is_possible(lsn));
            assert!(of_writes(lsn) < of_range_deletion(lsn));
            assert!(of_range_deletion(lsn) < counter_floor(lsn));
            assert!(counter_floor(lsn) < read_below(lsn));
            assert!(read_below(lsn) < 1 << 63);
            assert_eq!(read_below(lsn), of_writes(Lsn::new(value + 1)));
        }
        assert!(!is_possible(Lsn::new(ENGINE_LSN_MAX.get() + 1)));
        assert!(!is_possible(Lsn::MAX));
    }

    #[test]
    fn the_counter_stops_short_of_the_next_lsn() {
        let lsn = Lsn::new(5);
        assert!(has_room(counter_floor(lsn)));
        assert!(has_room(read_below(lsn) - RESERVE - 1));
        assert!(!has_room(read_below(lsn) - RESERVE));
        assert!(!has_room(read_below(lsn) - 1));
    }
}
