//! The machine's state: directories, which of their entries are on disk, faults to come.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};

use super::super::{EntryKind, OpenMode, VfsEntry, VfsError, VfsMetadata, VfsOp, VfsResult};
use super::Keep;
use super::cache::{CachedFile, Rng};

const ROOT: u64 = 0;

#[derive(Debug)]
pub(super) struct Machine {
    rng: Rng,
    boot: u64,
    next_inode: u64,
    next_handle: u64,
    inodes: BTreeMap<u64, Node>,
    /// Changes of entries that are not on disk yet, in order.
    pending: Vec<DirChange>,
    /// Locked inodes and who holds them.
    locks: BTreeMap<u64, u64>,
    pub(super) faults: Faults,
    pub(super) space: Option<u64>,
}

#[derive(Debug)]
enum Node {
    File(CachedFile),
    Dir(Dir),
}

#[derive(Debug, Default)]
struct Dir {
    /// What programs see.
    entries: BTreeMap<String, u64>,
    /// What the disk holds.
    durable: BTreeMap<String, u64>,
}

/// One operation on entries: on disk as a whole or not at all.
#[derive(Clone, Debug)]
struct DirChange(Vec<EntryChange>);

#[derive(Clone, Debug)]
struct EntryChange {
    dir: u64,
    name: String,
    inode: Option<u64>,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Work,
    Fail(io::ErrorKind),
    /// The call works as far as the page cache goes, then the power is gone.
    LosePower,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    calls: u64,
    planned: Vec<Planned>,
    power_at: Option<u64>,
    no_power: bool,
}

#[derive(Debug)]
struct Planned {
    op: Option<VfsOp>,
    left: u64,
    kind: io::ErrorKind,
}

impl Faults {
    pub(super) fn fail_nth(&mut self, op: Option<VfsOp>, nth: u64, kind: io::ErrorKind) {
        self.planned.push(Planned { op, left: nth, kind });
    }

    pub(super) fn lose_power(&mut self, nth: u64) {
        self.power_at = Some(self.calls.saturating_add(nth));
    }

    pub(super) fn clear(&mut self) {
        *self = Self { calls: self.calls, ..Self::default() };
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    fn next(&mut self, op: VfsOp) -> Fate {
        self.calls += 1;
        if self.no_power {
            return Fate::Fail(io::ErrorKind::Other);
        }
        if self.power_at.is_some_and(|at| self.calls >= at) {
            self.no_power = true;
            return Fate::LosePower;
        }
        let mut fate = Fate::Work;
        for planned in self.planned.iter_mut().filter(|planned| planned.op.is_none_or(|wanted| wanted == op)) {
            planned.left = planned.left.saturating_sub(1);
            if planned.left == 0 {
                fate = Fate::Fail(planned.kind);
            }
        }
        self.planned.retain(|planned| planned.left > 0);
        fate
    }
}

fn error(op: VfsOp, path: &Path, kind: io::ErrorKind) -> VfsError {
    VfsError::new(op, path, io::Error::new(kind, format!("simulated: {kind}")))
}

impl Machine {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng(seed),
            boot: 0,
            next_inode: ROOT + 1,
            next_handle: 0,
            inodes: BTreeMap::from([(ROOT, Node::Dir(Dir::default()))]),
            pending: Vec::new(),
            locks: BTreeMap::new(),
            faults: Faults::default(),
            space: None,
        }
    }

    pub(super) fn crash(&mut self, keep: Keep) {
        self.boot += 1;
        self.locks.clear();
        self.faults.clear();
        if keep == Keep::Everything {
            return;
        }
        for change in std::mem::take(&mut self.pending) {
            if keep == Keep::Random && self.rng.coin() {
                self.make_durable(&change);
            }
        }
        for node in self.inodes.values_mut() {
            match node {
                Node::File(file) => file.crash(keep, &mut self.rng),
                Node::Dir(dir) => dir.entries.clone_from(&dir.durable),
            }
        }
        let reachable = self.reachable();
        self.inodes.retain(|inode, _| reachable.contains(inode));
    }

    pub(super) fn new_handle(&mut self) -> (u64, u64) {
        self.next_handle += 1;
        (self.boot, self.next_handle)
    }

    pub(super) fn close(&mut self, handle: u64) {
        self.locks.retain(|_, holder| *holder != handle);
    }

    pub(super) fn check_boot(&self, boot: u64, op: VfsOp, path: &Path) -> VfsResult<()> {
        if boot == self.boot {
            return Ok(());
        }
        Err(VfsError::new(op, path, io::Error::other("simulated: the machine was restarted since the file was opened")))
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let len = |inode| match self.inodes.get(&inode) {
            Some(Node::File(file)) => file.len() as u64,
            _ => 0,
        };
        self.reachable().into_iter().map(len).sum()
    }

    pub(super) fn rot(&mut self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> VfsResult<()> {
        let inode = self.find(VfsOp::Write, path)?;
        self.file(inode, VfsOp::Write, path)?.rot(change);
        Ok(())
    }

    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> VfsResult<u64> {
        let op = VfsOp::Open;
        self.start(op, path)?;
        let existing = self.lookup(path);
        match (existing, mode) {
            (Some(_), OpenMode::CreateNew) => Err(error(op, path, io::ErrorKind::AlreadyExists)),
            (None, OpenMode::Read | OpenMode::ReadDirect | OpenMode::ReadWrite | OpenMode::WriteDirect) => {
                Err(error(op, path, io::ErrorKind::NotFound))
            }
            (Some(inode), _) => {
                let file = self.file(inode, op, path)?;
                if mode == OpenMode::CreateTruncate {
                    file.set_len(0);
                }
                Ok(inode)
            }
            (None, _) => {
                let (dir, name) = self.parent(op, path)?;
                let inode = self.add(Node::File(CachedFile::default()));
                self.change(vec![EntryChange { dir, name, inode: Some(inode) }]);
                Ok(inode)
            }
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> VfsResult<()> {
        let op = VfsOp::Rename;
        let fate = self.start(op, from)?;
        let inode = self.find(op, from)?;
        let (from_dir, from_name) = self.parent(op, from)?;
        let (to_dir, to_name) = self.parent(op, to)?;
        if from_dir == to_dir && from_name == to_name {
            return self.finish(fate, op, from);
        }
        self.change(vec![
            EntryChange { dir: from_dir, name: from_name, inode: None },
            EntryChange { dir: to_dir, name: to_name, inode: Some(inode) },
        ]);
        self.finish(fate, op, from)
    }

    pub(super) fn link(&mut self, from: &Path, to: &Path) -> VfsResult<()> {
        let op = VfsOp::Link;
        let fate = self.start(op, from)?;
        let inode = self.find(op, from)?;
        self.file(inode, op, from)?;
        if self.lookup(to).is_some() {
            return Err(error(op, to, io::ErrorKind::AlreadyExists));
        }
        let (dir, name) = self.parent(op, to)?;
        self.change(vec![EntryChange { dir, name, inode: Some(inode) }]);
        self.finish(fate, op, from)
    }

    pub(super) fn remove(&mut self, path: &Path) -> VfsResult<()> {
        let op = VfsOp::Remove;
        let fate = self.start(op, path)?;
        let inode = self.find(op, path)?;
        self.file(inode, op, path)?;
        let (dir, name) = self.parent(op, path)?;
        self.change(vec![EntryChange { dir, name, inode: None }]);
        self.finish(fate, op, path)
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path) -> VfsResult<()> {
        let op = VfsOp::Remove;
        let fate = self.start(op, path)?;
        let inode = self.find(op, path)?;
        self.dir(inode, op, path)?;
        let (dir, name) = self.parent(op, path)?;
        self.change(vec![EntryChange { dir, name, inode: None }]);
        self.finish(fate, op, path)
    }

    pub(super) fn list(&mut self, path: &Path) -> VfsResult<Vec<VfsEntry>> {
        let op = VfsOp::List;
        self.start(op, path)?;
        let inode = self.find(op, path)?;
        let entries = self.dir(inode, op, path)?.entries.clone();
        let entry = |(name, inode): (String, u64)| VfsEntry { name, kind: self.kind(inode) };
        Ok(entries.into_iter().map(entry).collect())
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> VfsResult<()> {
        let op = VfsOp::CreateDir;
        let fate = self.start(op, path)?;
        let mut at = ROOT;
        for name in names(path) {
            at = match self.dir(at, op, path)?.entries.get(&name) {
                Some(inode) => *inode,
                None => {
                    let inode = self.add(Node::Dir(Dir::default()));
                    self.change(vec![EntryChange { dir: at, name, inode: Some(inode) }]);
                    inode
                }
            };
        }
        self.dir(at, op, path)?;
        self.finish(fate, op, path)
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> VfsResult<()> {
        let op = VfsOp::SyncDir;
        let fate = self.start(op, path)?;
        let inode = self.find(op, path)?;
        self.dir(inode, op, path)?;
        if fate == Fate::Work {
            let touches = |change: &DirChange| change.0.iter().any(|entry| entry.dir == inode);
            let (synced, pending) = std::mem::take(&mut self.pending).into_iter().partition(touches);
            self.pending = pending;
            let synced: Vec<DirChange> = synced;
            synced.iter().for_each(|change| self.make_durable(change));
        }
        self.finish(fate, op, path)
    }

    pub(super) fn metadata(&mut self, path: &Path) -> VfsResult<Option<VfsMetadata>> {
        self.start(VfsOp::Metadata, path)?;
        Ok(self.lookup(path).map(|inode| match self.inodes.get(&inode) {
            Some(Node::File(file)) => VfsMetadata { kind: EntryKind::File, len_bytes: file.len() as u64 },
            _ => VfsMetadata { kind: EntryKind::Dir, len_bytes: 0 },
        }))
    }

    pub(super) fn read_at(&mut self, inode: u64, path: &Path, buf: &mut [u8], offset: u64) -> VfsResult<usize> {
        self.start(VfsOp::Read, path)?;
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(self.file(inode, VfsOp::Read, path)?.read_at(buf, offset))
    }

    pub(super) fn write_at(&mut self, inode: u64, path: &Path, bytes: &[u8], offset: u64) -> VfsResult<()> {
        let op = VfsOp::Write;
        let fate = match self.start(op, path) {
            Ok(fate) => fate,
            Err(error) => {
                let count = self.rng.below(bytes.len() + 1);
                if let (false, Ok(offset)) = (self.faults.no_power, usize::try_from(offset)) {
                    self.file(inode, op, path)?.write_at(&bytes[..count], offset);
                }
                return Err(error);
            }
        };
        let offset = usize::try_from(offset).map_err(|_| error(op, path, io::ErrorKind::FileTooLarge))?;
        self.check_space(inode, op, path, offset.saturating_add(bytes.len()))?;
        self.file(inode, op, path)?.write_at(bytes, offset);
        self.finish(fate, op, path)
    }

    pub(super) fn len_bytes(&mut self, inode: u64, path: &Path) -> VfsResult<u64> {
        self.start(VfsOp::Len, path)?;
        Ok(self.file(inode, VfsOp::Len, path)?.len() as u64)
    }

    pub(super) fn set_len(&mut self, inode: u64, path: &Path, len_bytes: u64) -> VfsResult<()> {
        let op = VfsOp::SetLen;
        let fate = self.start(op, path)?;
        let len = usize::try_from(len_bytes).map_err(|_| error(op, path, io::ErrorKind::FileTooLarge))?;
        self.check_space(inode, op, path, len)?;
        self.file(inode, op, path)?.set_len(len);
        self.finish(fate, op, path)
    }

    pub(super) fn sync_file(&mut self, inode: u64, path: &Path, op: VfsOp) -> VfsResult<()> {
        let fate = self.start(op, path);
        let no_power = self.faults.no_power;
        let Some(Node::File(file)) = self.inodes.get_mut(&inode) else {
            return Err(error(op, path, io::ErrorKind::NotFound));
        };
        match fate {
            Ok(Fate::Work) => {
                file.sync();
                Ok(())
            }
            Ok(fate) => self.finish(fate, op, path),
            Err(error) => {
                if !no_power {
                    file.fail_sync(&mut self.rng);
                }
                Err(error)
            }
        }
    }

    pub(super) fn try_lock(&mut self, inode: u64, path: &Path, handle: u64) -> VfsResult<bool> {
        self.start(VfsOp::Lock, path)?;
        Ok(*self.locks.entry(inode).or_insert(handle) == handle)
    }

    /// Counts a call and fails it if that is planned.
    fn start(&mut self, op: VfsOp, path: &Path) -> VfsResult<Fate> {
        match self.faults.next(op) {
            Fate::Fail(kind) => Err(error(op, path, kind)),
            fate => Ok(fate),
        }
    }

    /// Reports the loss of power after what the call did to the page cache.
    fn finish(&self, fate: Fate, op: VfsOp, path: &Path) -> VfsResult<()> {
        match fate {
            Fate::LosePower => Err(error(op, path, io::ErrorKind::Other)),
            Fate::Work | Fate::Fail(_) => Ok(()),
        }
    }

    fn check_space(&mut self, inode: u64, op: VfsOp, path: &Path, end: usize) -> VfsResult<()> {
        let Some(space) = self.space else { return Ok(()) };
        let growth = end.saturating_sub(self.file(inode, op, path)?.len()) as u64;
        if growth > 0 && self.used_bytes().saturating_add(growth) > space {
            return Err(error(op, path, io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    fn add(&mut self, node: Node) -> u64 {
        let inode = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(inode, node);
        inode
    }

    /// Changes entries for programs; the disk follows with a sync, or by chance.
    fn change(&mut self, changes: Vec<EntryChange>) {
        for change in &changes {
            if let Some(Node::Dir(dir)) = self.inodes.get_mut(&change.dir) {
                set_entry(&mut dir.entries, change);
            }
        }
        self.pending.push(DirChange(changes));
    }

    fn make_durable(&mut self, change: &DirChange) {
        for change in &change.0 {
            if let Some(Node::Dir(dir)) = self.inodes.get_mut(&change.dir) {
                set_entry(&mut dir.durable, change);
            }
        }
    }

    fn reachable(&self) -> BTreeSet<u64> {
        let mut reachable = BTreeSet::new();
        let mut open = vec![ROOT];
        while let Some(inode) = open.pop() {
            if let (true, Some(Node::Dir(dir))) = (reachable.insert(inode), self.inodes.get(&inode)) {
                open.extend(dir.entries.values());
            }
        }
        reachable
    }

    fn lookup(&self, path: &Path) -> Option<u64> {
        names(path).try_fold(ROOT, |at, name| match self.inodes.get(&at) {
            Some(Node::Dir(dir)) => dir.entries.get(&name).copied(),
            _ => None,
        })
    }

    fn find(&self, op: VfsOp, path: &Path) -> VfsResult<u64> {
        self.lookup(path).ok_or_else(|| error(op, path, io::ErrorKind::NotFound))
    }

    fn parent(&self, op: VfsOp, path: &Path) -> VfsResult<(u64, String)> {
        let name = names(path).last().ok_or_else(|| error(op, path, io::ErrorKind::InvalidInput))?;
        let dir = match path.parent() {
            Some(parent) => self.lookup(parent).ok_or_else(|| error(op, path, io::ErrorKind::NotFound))?,
            None => ROOT,
        };
        Ok((dir, name))
    }

    fn kind(&self, inode: u64) -> EntryKind {
        match self.inodes.get(&inode) {
            Some(Node::File(_)) => EntryKind::File,
            Some(Node::Dir(_)) => EntryKind::Dir,
            None => EntryKind::Other,
        }
    }

    fn file(&mut self, inode: u64, op: VfsOp, path: &Path) -> VfsResult<&mut CachedFile> {
        match self.inodes.get_mut(&inode) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(error(op, path, io::ErrorKind::IsADirectory)),
            None => Err(error(op, path, io::ErrorKind::NotFound)),
        }
    }

    fn dir(&self, inode: u64, op: VfsOp, path: &Path) -> VfsResult<&Dir> {
        match self.inodes.get(&inode) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(error(op, path, io::ErrorKind::NotADirectory)),
            None => Err(error(op, path, io::ErrorKind::NotFound)),
        }
    }
}

fn set_entry(entries: &mut BTreeMap<String, u64>, change: &EntryChange) {
    match change.inode {
        Some(inode) => entries.insert(change.name.clone(), inode),
        None => entries.remove(&change.name),
    };
}

/// The names along a path, from the root; a relative path begins there too.
fn names(path: &Path) -> impl Iterator<Item = String> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    })
}
