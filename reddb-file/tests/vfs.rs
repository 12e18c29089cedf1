//! One conformance suite that both file systems pass; then what only the simulated one can show.

use std::io;
use std::path::Path;
use std::sync::Arc;

use reddb_file::vfs::sim::{Keep, SimVfs};
use reddb_file::vfs::{EntryKind, OpenMode, StdVfs, Vfs, VfsMetadata, VfsOp, read_small_file};

fn on_both(test: impl Fn(&dyn Vfs, &Path)) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    test(&StdVfs, dir.path());
    let sim = SimVfs::new(1);
    sim.create_dir_all(Path::new("/disk")).expect("works");
    test(&sim, Path::new("/disk"));
}

fn put(vfs: &dyn Vfs, path: &Path, contents: &[u8]) {
    let file = vfs.open(path, OpenMode::CreateTruncate).expect("creates");
    file.write_at(contents, 0).expect("writes");
}

fn get(vfs: &dyn Vfs, path: &Path) -> Option<Vec<u8>> {
    read_small_file(vfs, path, 1 << 20).ok()
}

#[test]
fn reads_and_writes_at_positions() {
    on_both(|vfs, dir| {
        let file = vfs.open(&dir.join("a"), OpenMode::CreateNew).expect("creates");
        file.write_at(b"world", 6).expect("writes");
        file.write_at(b"hello ", 0).expect("writes");
        assert_eq!(file.len_bytes().expect("works"), 11);
        let mut buf = [0; 20];
        assert_eq!(file.read_at(&mut buf, 0).expect("reads"), 11);
        assert_eq!(&buf[..11], b"hello world");
        assert_eq!(file.read_at(&mut buf, 11).expect("reads"), 0);
        assert_eq!(file.read_at(&mut buf, 1 << 40).expect("reads"), 0);
        let eof = file.read_exact_at(&mut buf, 0).expect_err("too short");
        assert_eq!((eof.kind(), eof.op), (io::ErrorKind::UnexpectedEof, VfsOp::Read));
        file.set_len(3).expect("cuts");
        file.set_len(6).expect("extends");
        assert_eq!(get(vfs, &dir.join("a")), Some(b"hel\0\0\0".to_vec()));
        file.sync_data().expect("syncs");
        file.sync_all().expect("syncs");
    });
}

#[test]
fn opens_as_the_mode_says() {
    on_both(|vfs, dir| {
        let path = dir.join("a");
        let kind = |mode| vfs.open(&path, mode).err().map(|error| error.kind());
        assert_eq!(kind(OpenMode::Read), Some(io::ErrorKind::NotFound));
        assert_eq!(kind(OpenMode::ReadWrite), Some(io::ErrorKind::NotFound));
        assert_eq!(kind(OpenMode::OpenOrCreate), None);
        assert_eq!(kind(OpenMode::CreateNew), Some(io::ErrorKind::AlreadyExists));
        put(vfs, &path, b"abc");
        assert_eq!(kind(OpenMode::OpenOrCreate), None);
        assert_eq!(get(vfs, &path), Some(b"abc".to_vec()));
        assert_eq!(kind(OpenMode::CreateTruncate), None);
        assert_eq!(get(vfs, &path), Some(Vec::new()));
        let nowhere = vfs.open(&dir.join("none/a"), OpenMode::CreateNew).expect_err("no such directory");
        assert!(nowhere.is_not_found());
        assert!(nowhere.to_string().contains("none/a"), "{nowhere}");
    });
}

#[test]
fn writes_whole_blocks_past_the_page_cache() {
    on_both(|vfs, dir| {
        let path = dir.join("a");
        let missing = |mode| vfs.open(&path, mode).expect_err("missing").kind();
        assert_eq!([OpenMode::WriteDirect, OpenMode::ReadDirect].map(missing), [io::ErrorKind::NotFound; 2]);
        put(vfs, &path, &[0; 3 * 4096 + 5]);
        let file = vfs.open(&path, OpenMode::WriteDirect).expect("opens");
        let reader = vfs.open(&path, OpenMode::ReadDirect).expect("opens");
        // Neither of them begins where a block of memory does, which is what the system asks for.
        let block: Vec<u8> = (0..=4096_u32).map(|number| u8::try_from(number % 251).expect("small")).collect();
        let (first, block) = (&block[..4096], &block[1..]);
        file.write_at(first, 4096).expect("writes");
        file.write_at(block, 8192).expect("writes");
        file.sync_data().expect("syncs");
        for (read_by, name) in [(&file, "the writer"), (&reader, "a reader")] {
            let mut buf = vec![9; 9000];
            assert_eq!(read_by.read_at(&mut buf, 4090).expect("reads"), 3 * 4096 + 5 - 4090, "{name}");
            assert_eq!(&buf[..6], [0; 6], "{name}");
            assert_eq!(&buf[6..4102], first, "{name}");
            assert_eq!(&buf[4102..8198], block, "{name}");
            assert_eq!(&buf[8198..8203], [0; 5], "{name}");
            assert_eq!(read_by.read_at(&mut buf, 1 << 20).expect("reads"), 0, "{name}");
        }
        for (bytes, offset) in [(4095, 4096), (4097, 4096), (4096, 4095), (4096, 1)] {
            let error = file.write_at(&vec![1; bytes], offset).expect_err("not whole blocks");
            assert_eq!((error.kind(), error.op), (io::ErrorKind::InvalidInput, VfsOp::Write), "{bytes} at {offset}");
            assert!(error.to_string().contains(&format!("{bytes} bytes at offset {offset}")), "{error}");
        }
        let mut whole = vec![0; 4096];
        whole.extend_from_slice(first);
        whole.extend_from_slice(block);
        whole.extend_from_slice(&[0; 5]);
        assert_eq!(get(vfs, &path), Some(whole), "nothing else was written");
    });
}

#[test]
fn moves_more_past_the_page_cache_than_fits_one_call() {
    on_both(|vfs, dir| {
        let path = dir.join("a");
        let long: Vec<u8> = (0..3_u32 * 1024 * 1024 / 4).flat_map(u32::to_le_bytes).collect();
        put(vfs, &path, &vec![0; long.len() + 4096]);
        vfs.open(&path, OpenMode::WriteDirect).expect("opens").write_at(&long, 4096).expect("writes");
        let mut read = vec![0; long.len()];
        vfs.open(&path, OpenMode::ReadDirect).expect("opens").read_exact_at(&mut read, 4096).expect("reads");
        assert!(read == long, "what was written is read");
    });
}

#[test]
fn renames_links_removes_and_lists() {
    on_both(|vfs, dir| {
        let (a, b, c) = (dir.join("a"), dir.join("b"), dir.join("c"));
        put(vfs, &a, b"1");
        put(vfs, &b, b"2");
        vfs.rename(&a, &b).expect("replaces");
        assert_eq!((get(vfs, &a), get(vfs, &b)), (None, Some(b"1".to_vec())));
        vfs.link(&b, &c).expect("links");
        assert_eq!(vfs.link(&b, &c).expect_err("exists").kind(), io::ErrorKind::AlreadyExists);
        vfs.open(&c, OpenMode::ReadWrite).expect("opens").write_at(b"3", 0).expect("writes");
        assert_eq!(get(vfs, &b), Some(b"3".to_vec()), "one file, two names");
        vfs.remove(&b).expect("removes");
        assert!(vfs.remove(&b).expect_err("gone").is_not_found());
        assert_eq!(get(vfs, &c), Some(b"3".to_vec()));
        vfs.create_dir_all(&dir.join("x/y")).expect("creates");
        vfs.create_dir_all(&dir.join("x/y")).expect("is there");
        put(vfs, &dir.join("x/y/z"), b"");
        let names: Vec<_> = vfs.list(dir).expect("lists").into_iter().map(|entry| (entry.name, entry.kind)).collect();
        assert_eq!(names, [("c".to_owned(), EntryKind::File), ("x".to_owned(), EntryKind::Dir)]);
        assert_eq!(vfs.metadata(&c).expect("works"), Some(VfsMetadata { kind: EntryKind::File, len_bytes: 1 }));
        assert_eq!(vfs.metadata(&dir.join("x")).expect("works").map(|found| found.kind), Some(EntryKind::Dir));
        vfs.sync_dir(&dir.join("x/y")).expect("syncs");
        vfs.remove_dir_all(&dir.join("x")).expect("removes");
        assert_eq!(vfs.metadata(&dir.join("x")).expect("works"), None);
        assert!(vfs.list(&dir.join("x")).expect_err("gone").is_not_found());
    });
}

#[test]
fn a_lock_belongs_to_one_handle_and_ends_with_it() {
    on_both(|vfs, dir| {
        let path = dir.join("lock");
        let first = vfs.open(&path, OpenMode::OpenOrCreate).expect("opens");
        let second = vfs.open(&path, OpenMode::OpenOrCreate).expect("opens");
        assert!(first.try_lock().expect("works"));
        assert!(!second.try_lock().expect("works"));
        drop(first);
        assert!(second.try_lock().expect("works"));
    });
}

#[test]
fn a_file_that_is_too_large_is_not_read_into_memory() {
    on_both(|vfs, dir| {
        let file = vfs.open(&dir.join("big"), OpenMode::CreateNew).expect("creates");
        file.set_len(1 << 20).expect("extends");
        let error = read_small_file(vfs, &dir.join("big"), 1000).expect_err("too large");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    });
}

const A: &str = "/a";

fn reopened(sim: &SimVfs, path: &str) -> Option<Vec<u8>> {
    get(sim, Path::new(path))
}

#[test]
fn without_syncs_a_crash_loses_bytes_and_names() {
    let sim = SimVfs::new(1);
    put(&sim, Path::new(A), b"abc");
    sim.crash(Keep::Nothing);
    assert_eq!(reopened(&sim, A), None, "the name was never synced");
    put(&sim, Path::new(A), b"abc");
    sim.sync_dir(Path::new("/")).expect("works");
    sim.crash(Keep::Nothing);
    assert_eq!(reopened(&sim, A), Some(Vec::new()), "the bytes were never synced");
    let file = sim.open(Path::new(A), OpenMode::ReadWrite).expect("there");
    file.write_at(b"abc", 0).expect("works");
    file.sync_data().expect("works");
    file.write_at(b"X", 0).expect("works");
    sim.crash(Keep::Nothing);
    assert_eq!(reopened(&sim, A), Some(b"abc".to_vec()));
    assert!(file.read_at(&mut [0], 0).is_err(), "handles do not survive");
}

#[test]
fn a_kill_loses_nothing_yet() {
    let sim = SimVfs::new(1);
    put(&sim, Path::new(A), b"abc");
    sim.crash(Keep::Everything);
    assert_eq!(reopened(&sim, A), Some(b"abc".to_vec()));
    sim.crash(Keep::Nothing);
    assert_eq!(reopened(&sim, A), None);
}

#[test]
fn a_crash_may_tear_and_reorder_unsynced_writes() {
    let (mut torn, mut reordered, mut lost, mut whole) = (0, 0, 0, 0);
    for seed in 0..300 {
        let sim = SimVfs::new(seed);
        put(&sim, Path::new(A), &[0; 8192]);
        let file = sim.open(Path::new(A), OpenMode::ReadWrite).expect("there");
        file.sync_data().expect("works");
        sim.sync_dir(Path::new("/")).expect("works");
        file.write_at(&[1; 4096], 0).expect("works");
        file.write_at(&[2; 4096], 4096).expect("works");
        sim.crash(Keep::Random);
        let bytes = reopened(&sim, A).expect("there");
        assert_eq!(bytes.len(), 8192);
        let uniform = |sector: &[u8]| sector.iter().all(|byte| *byte == sector[0]);
        assert!(bytes.chunks(512).all(uniform), "512 bytes are whole");
        match (uniform(&bytes[..4096]), uniform(&bytes[4096..]), bytes[0], bytes[4096]) {
            (true, true, 0, 0) => lost += 1,
            (true, true, 1, 2) => whole += 1,
            (true, true, 0, 2) => reordered += 1,
            (true, true, ..) => {}
            _ => torn += 1,
        }
    }
    assert!(torn > 10 && reordered > 10 && lost > 10 && whole > 10, "{torn} {reordered} {lost} {whole}");
}

#[test]
fn a_failed_sync_may_drop_what_a_later_sync_does_not_bring_back() {
    let mut dropped = 0;
    for seed in 0..50 {
        let sim = SimVfs::new(seed);
        put(&sim, Path::new(A), &[0; 4096]);
        let file = sim.open(Path::new(A), OpenMode::ReadWrite).expect("there");
        file.sync_data().expect("works");
        sim.sync_dir(Path::new("/")).expect("works");
        file.write_at(&[1; 4096], 0).expect("works");
        sim.fail_nth(VfsOp::SyncData, 1, io::ErrorKind::Other);
        file.sync_data().expect_err("fails");
        assert_eq!(reopened(&sim, A), Some(vec![1; 4096]), "the page cache still has it");
        file.sync_data().expect("works");
        sim.crash(Keep::Nothing);
        dropped += u32::from(reopened(&sim, A) == Some(vec![0; 4096]));
    }
    assert!(dropped > 5, "{dropped}");
}

#[test]
fn a_rename_is_there_as_a_whole_or_not_at_all() {
    let (mut before, mut after) = (0, 0);
    for seed in 0..100 {
        let sim = SimVfs::new(seed);
        for (path, contents) in [("/old", b"1"), (A, b"2")] {
            put(&sim, Path::new(path), contents);
            sim.open(Path::new(path), OpenMode::ReadWrite).expect("there").sync_all().expect("works");
        }
        sim.sync_dir(Path::new("/")).expect("works");
        sim.rename(Path::new("/old"), Path::new(A)).expect("works");
        sim.crash(Keep::Random);
        match (reopened(&sim, "/old").as_deref(), reopened(&sim, A).as_deref()) {
            (Some(b"1"), Some(b"2")) => before += 1,
            (None, Some(b"1")) => after += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(before > 10 && after > 10, "{before} {after}");
}

#[test]
fn the_nth_call_fails_once_and_lost_power_fails_until_the_crash() {
    let sim = SimVfs::new(1);
    sim.fail_nth(VfsOp::Metadata, 2, io::ErrorKind::PermissionDenied);
    assert!(sim.metadata(Path::new(A)).is_ok());
    assert_eq!(sim.metadata(Path::new(A)).expect_err("the second").kind(), io::ErrorKind::PermissionDenied);
    assert!(sim.metadata(Path::new(A)).is_ok());
    let calls = sim.calls();
    sim.lose_power_at_nth_call(2);
    put_quietly(&sim);
    assert!(sim.metadata(Path::new(A)).is_err());
    assert!(sim.metadata(Path::new(A)).is_err());
    assert_eq!(sim.calls(), calls + 4);
    sim.crash(Keep::Nothing);
    assert!(sim.metadata(Path::new(A)).is_ok());
}

fn put_quietly(sim: &SimVfs) {
    let file = sim.open(Path::new(A), OpenMode::CreateTruncate).expect("the first call still works");
    file.write_at(b"abc", 0).expect_err("the power went");
}

#[test]
fn a_full_disk_refuses_growth_and_nothing_else() {
    let sim = SimVfs::new(1);
    put(&sim, Path::new(A), &[0; 100]);
    sim.set_space(Some(100));
    let file = sim.open(Path::new(A), OpenMode::ReadWrite).expect("there");
    file.write_at(&[1; 100], 0).expect("overwriting takes no space");
    let full = file.write_at(&[1; 2], 99).expect_err("growing does");
    assert!(full.is_no_space());
    sim.remove(Path::new(A)).expect("works");
    put(&sim, Path::new("/b"), &[0; 100]);
}

#[test]
fn clones_and_shared_handles_are_one_machine() {
    let sim = SimVfs::new(1);
    let shared: Arc<dyn Vfs> = sim.shared();
    put(&sim, Path::new(A), b"abc");
    assert_eq!(get(shared.as_ref(), Path::new(A)), Some(b"abc".to_vec()));
    sim.rot(Path::new(A), |bytes| bytes[0] = b'X').expect("there");
    assert_eq!(get(shared.as_ref(), Path::new(A)), Some(b"Xbc".to_vec()));
}
