//! Something of which threads have their own, for counts that many of them add to: a count in one place would go from core to core
//! with every command.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// More threads than so many share.
const PLACES: usize = 8;

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PLACE: Cell<usize> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % PLACES);
}

/// One `T` for each thread, as far as there are enough.
#[derive(Debug, Default)]
pub(crate) struct PerThread<T> {
    places: [Apart<T>; PLACES],
}

/// Apart from its neighbours in memory: processors fetch two lines of 64 bytes at once.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

impl<T> PerThread<T> {
    /// This thread's own.
    pub(crate) fn mine(&self) -> &T {
        &self.places[PLACE.get()].0
    }

    /// Everybody's.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.places.iter().map(|place| &place.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn what_each_thread_adds_is_in_the_sum() {
        let counts = PerThread::<AtomicU64>::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * PLACES {
                scope.spawn(|| (0..1000).map(|_| counts.mine().fetch_add(1, Ordering::Relaxed)).max());
            }
        });
        assert_eq!(counts.all().map(|count| count.load(Ordering::Relaxed)).sum::<u64>(), 2000 * PLACES as u64);
    }
}
