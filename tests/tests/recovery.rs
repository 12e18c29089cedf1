//! Starting again on what a killed process left: a torn tail is dropped and said, damage stops the start and is named, a full
//! disk costs only the writes.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use reddb_file::TimelineId;
use reddb_file::layout::timeline_dir;
use reddb_file::vfs::StdVfs;
use reddb_file::wal::{SegmentDescription, SegmentEnd, describe_segment};
use reddb_tests::digest::{digest, receipt};
use reddb_tests::scene::wait_until_archived;
use reddb_tests::{Node, Options, Scene, Value, cli, wait};

const KEYS: u64 = 50;

/// A server that took some writes, one batch each, and was killed.
fn killed(dir: &Path, options: &Options) -> (u64, String) {
    let node = Node::start(dir, options);
    let mut client = node.client();
    for index in 0..KEYS {
        client.expect(&["SET", &format!("key:{index}"), "value"]);
    }
    let left = (receipt(&mut client).lsn, digest(&mut client).sha256);
    node.kill9();
    left
}

fn last_segment(dir: &Path) -> (PathBuf, SegmentDescription) {
    let folder = timeline_dir(dir, TimelineId::FIRST);
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let path = paths.max().expect("the log has a segment");
    let description = describe_segment(&StdVfs, &path).expect("a segment");
    (path, description)
}

fn overwrite(path: &Path, bytes: &[u8], offset: u64) {
    File::options().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

#[test]
fn what_is_torn_beyond_the_last_acknowledged_record_is_dropped_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("node");
    let (lsn, state) = killed(&dir, &Options::new());
    let (path, found) = last_segment(&dir);
    assert_eq!(
        (found.last_lsn.get(), &found.end),
        (lsn, &SegmentEnd::Blank),
        "the log ends with what was acknowledged"
    );
    // The first sector of the batch that was being written: its header names the next record, its checksum is missing.
    let mut torn = b"RBat".to_vec();
    torn.extend_from_slice(&400_u32.to_le_bytes());
    torn.extend_from_slice(&(lsn + 1).to_le_bytes());
    overwrite(&path, &torn, found.used_bytes);
    assert!(matches!(last_segment(&dir).1.end, SegmentEnd::BadBatch { later_lsn: None, .. }));

    let node = Node::start(&dir, &Options::new());
    let mut client = node.client();
    assert_eq!((receipt(&mut client).lsn, digest(&mut client).sha256), (lsn, state));
    let log = node.log();
    let said = log.lines().find(|line| line.contains("was dropped")).expect("it says so");
    for part in [path.to_str().unwrap(), &format!("offset={}", found.used_bytes), &format!("lsn={}", lsn + 1)] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

#[test]
fn a_last_segment_without_the_blocks_after_its_last_record_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("node");
    let (lsn, state) = killed(&dir, &Options::new());
    let (path, found) = last_segment(&dir);
    File::options().write(true).open(&path).unwrap().set_len(found.used_bytes).unwrap();
    let node = Node::start(&dir, &Options::new());
    let mut client = node.client();
    assert_eq!((receipt(&mut client).lsn, digest(&mut client).sha256), (lsn, state));
    client.expect(&["SET", "still", "writes"]);
}

#[test]
fn a_flipped_byte_in_an_acknowledged_record_stops_the_start_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("node");
    killed(&dir, &Options::new());
    let (path, found) = last_segment(&dir);
    let middle = found.used_bytes / 4096 / 2 * 4096;
    let before = std::fs::read(&path).unwrap();
    let at = usize::try_from(middle).unwrap() + 80;
    overwrite(&path, &[before[at] ^ 1], at as u64);
    let lsn = u64::from_le_bytes(before[at - 72..at - 64].try_into().unwrap());

    for _ in 0..2 {
        let refusal = Node::try_start(&dir, &Options::new()).expect_err("an acknowledged record is damaged");
        assert_eq!(refusal.code, Some(5), "{}", refusal.log);
        let said = refusal.log.lines().last().unwrap_or_default();
        let offset = format!("offset {middle}");
        for part in [path.to_str().unwrap(), &offset, &format!("LSN {lsn}"), "nothing was changed", "restore"] {
            assert!(said.contains(part), "{part} is not in: {said}");
        }
    }
    overwrite(&path, &[before[at]], at as u64);
    assert_eq!(std::fs::read(&path).unwrap(), before, "a refused start changes nothing");
    drop(Node::start(&dir, &Options::new()));
}

/// A limit on the size of files stands for the full disk: the segment that recovery would like to prepare is larger.
#[test]
fn a_start_without_room_for_a_segment_serves_reads_refuses_writes_and_recovers_by_itself() {
    if !cli::has("prlimit") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("node");
    let options = Options::new().flag("--disk-reserve", "0");
    let small = 4 << 20;
    let (lsn, state) = killed(&dir, &options.clone().flag("--wal-segment-size", &small.to_string()));

    let node = Node::start(&dir, &options.flag("--wal-segment-size", "8mb").file_bytes_max(small));
    let mut client = node.client();
    assert_eq!((receipt(&mut client).lsn, digest(&mut client).sha256), (lsn, state), "reads go on");
    for _ in 0..3 {
        let Value::Error(refused) = client.call(&["SET", "key", "value"]).unwrap() else { panic!("there is no room") };
        assert!(refused.starts_with("MISCONF") && refused.contains("(disk_full)"), "{refused}");
    }

    let pid = node.pid().to_string();
    cli::run(std::process::Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:unlimited"])).expect_code(0);
    wait::until("writes go on by themselves", || {
        (!client.call(&["SET", "key", "value"]).unwrap().is_error()).then_some(())
    });
}

/// What is written into a directory that is gone would be acknowledged and lost.
#[test]
fn writes_are_refused_while_the_data_directory_is_not_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, elsewhere) = (folder.path().join("node"), folder.path().join("elsewhere"));
    let node = Node::start(&dir, &Options::new());
    let mut client = node.client();
    assert_eq!(client.expect(&["SET", "key", "before"]), Value::ok());
    for replaced in [false, true] {
        // The server makes nothing there while the directory is away.
        wait_until_archived(&node);
        std::fs::rename(&dir, &elsewhere).unwrap();
        if replaced {
            // Not even another directory with another lock is taken for it.
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join("lock"), "1\n").unwrap();
        }
        wait::until("writes are refused", || match client.call(&["SET", "key", "lost"]).unwrap() {
            Value::Error(refused) if refused.contains("(directory_gone)") => Some(()),
            _ => None,
        });
        if replaced {
            std::fs::remove_dir_all(&dir).unwrap();
        }
        std::fs::rename(&elsewhere, &dir).unwrap();
        wait::until("writes go on by themselves", || {
            (!client.call(&["SET", "key", "after"]).unwrap().is_error()).then_some(())
        });
    }
    assert_eq!(node.log().matches("writes are refused").count(), 2, "each change is said once: {}", node.log());
}

/// Under GNU timeout, for one, a signal arrives twice.
#[test]
fn signals_that_arrive_together_are_one() {
    let scene = Scene::new();
    let node = scene.start("node");
    node.client().expect(&["SET", "key", "value"]);
    node.standing_still(|| {
        node.signal("TERM");
        node.signal("INT");
    });
    assert_eq!(node.ended().code(), Some(0));
    let _ = scene.verify().expect_code(0);
    assert_eq!(scene.start("node").client().expect(&["GET", "key"]), Value::bulk("value"));
}

#[test]
fn a_directory_may_be_named_by_a_way_that_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("beside")).unwrap();
    let node = Node::start(&folder.path().join("beside/../node"), &Options::new());
    node.client().expect(&["SET", "key", "value"]);
    assert_eq!(node.stop().code(), Some(0));
    let archive = folder.path().canonicalize().unwrap().join("node/archive");
    let verified = cli::reddb(&["verify", "--archive", &format!("file://{}", archive.display())]);
    let _ = verified.expect_code(0);
}
