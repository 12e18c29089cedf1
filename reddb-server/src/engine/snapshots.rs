//! Which LSNs are being read, and so which versions must be kept.
//!
//! Invariant: the floor never exceeds an LSN that is registered, and an LSN below the floor cannot be registered. Both
//! are decided under one lock, so whoever raises the floor and then discards what lies below it never takes anything from
//! a registered reader.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use reddb_file::Lsn;

/// The registered readers of one engine.
#[derive(Debug)]
pub(super) struct Snapshots {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The oldest LSN that may be registered.
    floor: Lsn,
    /// Readers by LSN; no count is zero.
    readers: BTreeMap<Lsn, usize>,
}

/// A reader's LSN below the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BelowFloor {
    pub(super) floor: Lsn,
}

impl Snapshots {
    /// No readers; nothing below `floor` can be read.
    pub(super) fn new(floor: Lsn) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { floor, readers: BTreeMap::new() }) })
    }

    /// Registers a reader at `lsn`.
    pub(super) fn register(self: &Arc<Self>, lsn: Lsn) -> Result<Registration, BelowFloor> {
        let mut state = self.state.lock();
        if lsn < state.floor {
            return Err(BelowFloor { floor: state.floor });
        }
        *state.readers.entry(lsn).or_default() += 1;
        Ok(Registration { snapshots: Arc::clone(self), lsn })
    }

    /// Raises the floor as far as the readers allow, but not above what `newest` returns, and returns it. `newest` is
    /// called under the lock and must not return less than an earlier call did.
    pub(super) fn raise_floor(&self, newest: impl FnOnce() -> Lsn) -> Lsn {
        let mut state = self.state.lock();
        let newest = newest();
        let floor = state.readers.keys().next().map_or(newest, |oldest| newest.min(*oldest));
        state.floor = state.floor.max(floor);
        state.floor
    }

    /// The number of readers, and the oldest LSN among theirs.
    pub(super) fn readers(&self) -> (usize, Option<Lsn>) {
        let state = self.state.lock();
        (state.readers.values().sum(), state.readers.keys().next().copied())
    }
}

/// One registered reader; dropping it ends the registration.
#[derive(Debug)]
pub(super) struct Registration {
    snapshots: Arc<Snapshots>,
    lsn: Lsn,
}

impl Registration {
    pub(super) fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// Whether the reader is registered there.
    pub(super) fn is_in(&self, snapshots: &Arc<Snapshots>) -> bool {
        Arc::ptr_eq(&self.snapshots, snapshots)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut state = self.snapshots.state.lock();
        if let Some(count) = state.readers.get_mut(&self.lsn) {
            *count -= 1;
            if *count == 0 {
                state.readers.remove(&self.lsn);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(value: u64) -> Lsn {
        Lsn::new(value)
    }

    #[test]
    fn the_floor_stops_at_the_oldest_reader_and_moves_on_when_it_leaves() {
        let snapshots = Snapshots::new(lsn(3));
        let at_4 = snapshots.register(lsn(4)).unwrap();
        let again_at_4 = snapshots.register(lsn(4)).unwrap();
        let at_6 = snapshots.register(lsn(6)).unwrap();
        assert_eq!(snapshots.readers(), (3, Some(lsn(4))));
        assert_eq!(snapshots.raise_floor(|| lsn(9)), lsn(4));
        drop(at_4);
        assert_eq!(snapshots.raise_floor(|| lsn(9)), lsn(4));
        drop(again_at_4);
        assert_eq!(snapshots.raise_floor(|| lsn(9)), lsn(6));
        drop(at_6);
        assert_eq!(snapshots.raise_floor(|| lsn(9)), lsn(9));
        assert_eq!(snapshots.readers(), (0, None));
    }

    #[test]
    fn nothing_below_the_floor_can_be_registered() {
        let snapshots = Snapshots::new(lsn(3));
        assert_eq!(snapshots.register(lsn(2)).unwrap_err(), BelowFloor { floor: lsn(3) });
        snapshots.raise_floor(|| lsn(8));
        assert_eq!(snapshots.register(lsn(7)).unwrap_err(), BelowFloor { floor: lsn(8) });
        assert_eq!(snapshots.register(lsn(8)).unwrap().lsn(), lsn(8));
    }

    #[test]
    fn the_floor_never_goes_back() {
        let snapshots = Snapshots::new(lsn(0));
        assert_eq!(snapshots.raise_floor(|| lsn(8)), lsn(8));
        assert_eq!(snapshots.raise_floor(|| lsn(5)), lsn(8));
    }
}
