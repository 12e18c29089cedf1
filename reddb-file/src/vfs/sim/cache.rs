//! One file: what programs see (the page cache), what the disk holds, and what may be between.

use std::collections::BTreeMap;

use super::Keep;

const SECTOR: usize = 4096;
const TEAR: usize = 512;
/// So many versions of an unsynced sector are remembered, the newest ones.
const VERSIONS_MAX: usize = 4;

/// A generator of random numbers (SplitMix64): small, fast, and the same everywhere.
#[derive(Debug)]
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("a remainder below a usize is one")
    }

    pub(super) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// A file's contents.
#[derive(Debug, Default)]
pub(super) struct CachedFile {
    /// What programs see.
    cache: Vec<u8>,
    /// What the disk surely holds.
    disk: Vec<u8>,
    /// Versions since the last sync that the disk may hold instead, by sector.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Lengths since the last sync that the disk may hold instead.
    dirty_lens: Vec<usize>,
}

impl CachedFile {
    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    pub(super) fn read_at(&self, buf: &mut [u8], offset: usize) -> usize {
        let available = self.cache.get(offset..).unwrap_or_default();
        let count = available.len().min(buf.len());
        buf[..count].copy_from_slice(&available[..count]);
        count
    }

    pub(super) fn write_at(&mut self, bytes: &[u8], offset: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        if end > self.cache.len() {
            self.cache.resize(end, 0);
            self.dirty_lens.push(end);
        }
        self.cache[offset..end].copy_from_slice(bytes);
        self.mark_dirty(offset / SECTOR, (end - 1) / SECTOR);
    }

    pub(super) fn set_len(&mut self, len: usize) {
        if len == self.cache.len() {
            return;
        }
        let (shorter, longer) = (len.min(self.cache.len()), len.max(self.cache.len()));
        self.cache.resize(len, 0);
        self.dirty_lens.push(len);
        if longer > shorter {
            self.mark_dirty(shorter / SECTOR, (longer - 1) / SECTOR);
        }
    }

    fn mark_dirty(&mut self, first: usize, last: usize) {
        for sector in first..=last {
            let versions = self.dirty.entry(sector).or_default();
            if versions.len() == VERSIONS_MAX {
                versions.remove(0);
            }
            versions.push(sector_of(&self.cache, sector));
        }
    }

    /// A sync that works: the disk holds everything that is dirty. What an earlier failed sync dropped is not dirty.
    pub(super) fn sync(&mut self) {
        self.disk.resize(self.cache.len(), 0);
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            put_sector(&mut self.disk, sector, &sector_of(&self.cache, sector));
        }
        self.dirty_lens.clear();
    }

    /// A sync that fails: each dirty sector was written, or will never be.
    pub(super) fn fail_sync(&mut self, rng: &mut Rng) {
        if rng.coin() {
            self.disk.resize(self.cache.len(), 0);
        }
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            if rng.coin() {
                put_sector(&mut self.disk, sector, &sector_of(&self.cache, sector));
            }
        }
        self.dirty_lens.clear();
    }

    /// The power goes; afterwards cache and disk agree.
    pub(super) fn crash(&mut self, keep: Keep, rng: &mut Rng) {
        match keep {
            Keep::Everything => return,
            Keep::Nothing => {}
            Keep::Random => self.keep_some(rng),
        }
        self.dirty.clear();
        self.dirty_lens.clear();
        self.cache.clone_from(&self.disk);
    }

    fn keep_some(&mut self, rng: &mut Rng) {
        let choice = rng.below(self.dirty_lens.len() + 1);
        let len = if choice == 0 { self.disk.len() } else { self.dirty_lens[choice - 1] };
        self.disk.resize(len, 0);
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            let newest = versions.len() - 1;
            let version = &versions[if rng.coin() { newest } else { rng.below(versions.len()) }];
            match rng.below(4) {
                0 => {}
                1 => {
                    let mut torn = sector_of(&self.disk, sector);
                    for at in (0..SECTOR).step_by(TEAR) {
                        if rng.coin() {
                            torn[at..at + TEAR].copy_from_slice(&version[at..at + TEAR]);
                        }
                    }
                    put_sector(&mut self.disk, sector, &torn);
                }
                _ => put_sector(&mut self.disk, sector, version),
            }
        }
    }

    /// Changes the bytes everywhere at once.
    pub(super) fn rot(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.cache);
        self.disk.clone_from(&self.cache);
        self.dirty.clear();
        self.dirty_lens.clear();
    }
}

/// A sector's bytes, with zeros beyond the end.
fn sector_of(bytes: &[u8], sector: usize) -> Vec<u8> {
    let start = (sector * SECTOR).min(bytes.len());
    let end = (start + SECTOR).min(bytes.len());
    let mut copy = bytes[start..end].to_vec();
    copy.resize(SECTOR, 0);
    copy
}

/// Puts as much of a sector in place as the length has room for.
fn put_sector(bytes: &mut [u8], sector: usize, contents: &[u8]) {
    let start = (sector * SECTOR).min(bytes.len());
    let end = (start + SECTOR).min(bytes.len());
    bytes[start..end].copy_from_slice(&contents[..end - start]);
}
