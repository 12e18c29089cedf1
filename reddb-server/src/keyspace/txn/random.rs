//! Random names.
//!
//! Names are not numbered, so a random one of many is found by descending: among the names that start alike, a random
//! next byte is chosen, and the names that go on with it are next, until few are left. A name is then met with a
//! probability that is known but not the same for all, so several descents are made and one of them is kept with a
//! probability that makes up for the difference.
//!
//! What remains: where names are spread very unevenly, one that is reached much more easily than the others is still met
//! somewhat too often. Sets of at most 256 names are not descended into: every name is equally likely.

use std::ops::Bound;

use super::{Names, Txn};
use crate::keyspace::state::{StateEntry, StateError};

/// Up to how many names are gone through to pick one.
const ENUMERATED_MAX: u64 = 256;
/// At how few names a descent ends.
const LEAF_NAMES_MAX: usize = 16;
/// How many descents are made for one name.
const DESCENTS: usize = 8;

/// Where a descent ended.
struct Leaf {
    entries: Vec<StateEntry>,
    /// How likely it was to end here.
    probability: f64,
}

impl Txn<'_> {
    /// A random one of the names that `wanted` accepts, with its value; `None` only where there is none.
    ///
    /// Where it accepts few of many names this goes through all of them.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub(crate) fn random_name(
        &self,
        names: &Names,
        count: u64,
        mut wanted: impl FnMut(&StateEntry) -> Result<bool, StateError>,
    ) -> Result<Option<StateEntry>, StateError> {
        if count > ENUMERATED_MAX
            && let Some(found) = self.random_name_of_many(names, &mut wanted)?
        {
            return Ok(Some(found));
        }
        let mut chosen = None;
        let mut seen = 0;
        for item in self.names(names, Bound::Unbounded, b"") {
            let entry = item?;
            if wanted(&entry)? {
                seen += 1;
                // The n-th replaces the choice with a probability of 1/n: then each of n is equally likely.
                if self.env.random_below(seen) == 0 {
                    chosen = Some(entry);
                }
            }
        }
        Ok(chosen)
    }

    fn random_name_of_many(
        &self,
        names: &Names,
        wanted: &mut impl FnMut(&StateEntry) -> Result<bool, StateError>,
    ) -> Result<Option<StateEntry>, StateError> {
        let mut chosen: Option<Leaf> = None;
        let mut weights = 0.0;
        for _ in 0..DESCENTS {
            let mut leaf = self.descend(names)?;
            let mut kept = Vec::with_capacity(leaf.entries.len());
            for entry in leaf.entries {
                if wanted(&entry)? {
                    kept.push(entry);
                }
            }
            leaf.entries = kept;
            let size = u32::try_from(leaf.entries.len()).unwrap_or(u32::MAX);
            let weight = f64::from(size) / leaf.probability;
            weights += weight;
            if size > 0 && self.chance() * weights < weight {
                chosen = Some(leaf);
            }
        }
        Ok(chosen.and_then(|mut leaf| {
            let index = self.env.random_below(leaf.entries.len() as u64);
            usize::try_from(index).ok().map(|index| leaf.entries.swap_remove(index))
        }))
    }

    /// A number from 0 up to but not including 1.
    fn chance(&self) -> f64 {
        let bits = u32::try_from(self.env.random_below(1 << 32)).unwrap_or(0);
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }

    fn descend(&self, names: &Names) -> Result<Leaf, StateError> {
        let mut start: Vec<u8> = Vec::new();
        let mut probability = 1.0;
        loop {
            let few = self.names(names, Bound::Unbounded, &start).take(LEAF_NAMES_MAX + 1);
            let entries = few.collect::<Result<Vec<_>, _>>()?;
            let last = if entries.len() > LEAF_NAMES_MAX { self.last_name(names, &start, None)? } else { None };
            let (Some((first, _)), Some(last)) = (entries.first(), last) else {
                return Ok(Leaf { entries, probability });
            };
            // All of them go on alike up to here, and the last one goes on further, as does the second.
            let shared = first.iter().zip(&last).take_while(|(one, other)| one == other).count();
            let lowest = first.get(shared).or_else(|| entries.get(1).and_then(|(second, _)| second.get(shared)));
            let (Some(&lowest), Some(&highest)) = (lowest, last.get(shared)) else {
                return Ok(Leaf { entries, probability });
            };
            let ends_here = first.len() == shared;
            start = last[..shared].to_vec();
            // A slot for each next byte, and one for the name that ends here, if there is one.
            let slots = u16::from(highest - lowest) + 1 + u16::from(ends_here);
            let slot = u16::try_from(self.env.random_below(u64::from(slots))).unwrap_or(0);
            if ends_here && slot == 0 {
                let entries = entries.into_iter().take(1).collect();
                return Ok(Leaf { entries, probability: probability / f64::from(slots) });
            }
            let byte = u8::try_from(u16::from(lowest) + slot - u16::from(ends_here)).unwrap_or(highest);
            // A byte that nothing goes on with stands for the next one that something does.
            let at = [&start[..], &[byte]].concat();
            let Some((found, _)) = self.names(names, Bound::Included(&at), &start).next().transpose()? else {
                return Ok(Leaf { entries, probability });
            };
            let next = found.get(shared).copied().unwrap_or(highest);
            let end = [&start[..], &[next]].concat();
            let before = self.last_name(names, &start, Some(&end))?;
            let before = before.and_then(|name| name.get(shared).copied());
            let stands_for = before.map_or(u16::from(next - lowest) + 1, |before| u16::from(next - before));
            probability *= f64::from(stands_for) / f64::from(slots);
            start = end;
        }
    }
}
