//! Any moment comes back, exactly: by LSN, by time, by name; on the machine that lost it and on another; more than once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reddb_tests::cli::reddb;
use reddb_tests::digest::{Digest, digest, receipt};
use reddb_tests::load::{History, Load};
use reddb_tests::scene::wait_until_archived;
use reddb_tests::{Client, Node, Scene, Value, wait};

const WRITERS: u64 = 3;

fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}

/// Lets writers work for a while, with a backup in the middle, and notes the digest at moments while they do.
fn write_and_back_up(node: &Node, histories: Vec<History>) -> (Vec<History>, Vec<Digest>) {
    let load = Load::start(node.data, histories);
    let mut observer = node.client();
    let mut noted = Vec::new();
    let start = receipt(&mut observer).lsn;
    for step in 1..=3 {
        wait::until("the writers get on", || (receipt(&mut observer).lsn > start + step * 100).then_some(()));
        if step == 2 {
            let made = reddb(&["backup", "--admin", &node.admin_url(), "--json"]).expect_code(0).json();
            assert!(made["lsn"].as_u64().unwrap() > start, "{made}");
        }
        noted.push(digest(&mut observer));
    }
    (load.finish(), noted)
}

/// Restores, and asserts that a server on the result holds exactly this state.
#[track_caller]
fn expect_restores_to(scene: &Scene, into: &str, target: &[&str], wanted: &Digest) {
    let report = scene.restore(into, &[target, &["--json"]].concat()).expect_code(0).json();
    assert_eq!(report["mark"]["lsn"].as_u64(), Some(wanted.lsn), "{report}");
    assert_eq!(report["digest"].as_str(), Some(wanted.sha256.as_str()), "{report}");
    let node = Node::start(&scene.path(into), &scene.options().switch("--takeover"));
    assert_eq!(digest(&mut node.client()).sha256, wanted.sha256, "served after {target:?}");
}

#[test]
fn moments_come_back_by_lsn_by_time_and_by_name() {
    let scene = Scene::new();
    let node = scene.start_with_snapshot("node");
    let histories = (0..WRITERS).map(History::new).collect();

    let (histories, mut by_lsn) = write_and_back_up(&node, histories);
    let at_time = digest(&mut node.client());
    let time = now_ms().to_string();
    // Sleep: the next record must carry a later time, in milliseconds, than the one asked for.
    std::thread::sleep(Duration::from_millis(5));
    let (histories, noted) = write_and_back_up(&node, histories);
    by_lsn.extend(noted);
    let at_mark = digest(&mut node.client());
    let _ = reddb(&["mark", "release-1", "--admin", &node.admin_url()]).expect_code(0);
    let (_, noted) = write_and_back_up(&node, histories);
    by_lsn.extend(noted);
    let newest = digest(&mut node.client());
    wait_until_archived(&node);
    let taken = reddb(&["mark", "release-1", "--admin", &node.admin_url()]).expect_code(3);
    assert!(taken.stderr.contains("exists already"), "{}", taken.stderr);
    node.kill9();
    let _ = scene.verify().expect_code(0);

    // The machine is lost: its directory is gone, and its name is used again.
    std::fs::remove_dir_all(scene.path("node")).unwrap();
    expect_restores_to(&scene, "node", &["--to-time", &time], &at_time);
    expect_restores_to(&scene, "by-name", &["--to-label", "release-1"], &at_mark);
    for (index, wanted) in by_lsn.iter().enumerate().step_by(2) {
        let lsn = wanted.lsn.to_string();
        expect_restores_to(&scene, &format!("by-lsn-{index}"), &["--timeline", "1", "--to-lsn", &lsn], wanted);
    }
    let lsn = newest.lsn.to_string();
    expect_restores_to(&scene, "newest", &["--timeline", "1", "--to-lsn", &lsn], &newest);
}

#[test]
fn a_restored_directory_archives_on_a_new_timeline_and_can_be_restored_itself() {
    let scene = Scene::new();
    let node = scene.start("node");
    let mut client = node.client();
    for index in 0..100 {
        client.expect(&["SET", &format!("key:{index}"), "first"]);
    }
    let first = digest(&mut client);
    let fork = receipt(&mut client);
    for index in 0..50 {
        client.expect(&["SET", &format!("key:{index}"), "lost to the fork"]);
    }
    let old_end = digest(&mut client);
    wait_until_archived(&node);
    node.kill9();

    let _ = scene.restore("second", &["--to-lsn", &fork.lsn.to_string()]).expect_code(0);
    let second = Node::start(&scene.path("second"), &scene.options().switch("--takeover"));
    let mut client = second.client();
    assert_eq!(digest(&mut client).sha256, first.sha256);
    for index in 50..100 {
        client.expect(&["HSET", &format!("hash:{index}"), "field", "second"]);
    }
    let there = receipt(&mut client);
    assert!(there.timeline > fork.timeline, "{there:?} after {fork:?}");
    assert!(there.lsn > fork.lsn, "{there:?} after {fork:?}");
    let second_end = digest(&mut client);
    wait_until_archived(&second);
    assert_eq!(second.stop().code(), Some(0));
    let _ = scene.verify().expect_code(0);

    let timeline = there.timeline.to_string();
    let lsn = second_end.lsn.to_string();
    // This LSN exists on both timelines: which one is meant must be said.
    let ambiguous = scene.restore("ambiguous", &["--to-lsn", &(fork.lsn + 2).to_string()]);
    assert_ne!(ambiguous.code, 0, "{}", ambiguous.stdout);
    assert!(ambiguous.stderr.contains("timeline"), "{}", ambiguous.stderr);
    assert!(!scene.path("ambiguous").join("identity").exists());

    expect_restores_to(&scene, "third", &["--timeline", &timeline, "--to-lsn", &lsn], &second_end);
    expect_restores_to(&scene, "old", &["--timeline", "1", "--to-lsn", &old_end.lsn.to_string()], &old_end);
}

#[test]
fn keys_with_a_time_to_live_are_part_of_the_moment() {
    let scene = Scene::new();
    let node = scene.start("node");
    let mut client = node.client();
    client.expect(&["SET", "short", "value", "PX", "1500"]);
    client.expect(&["SET", "long", "value", "EX", "100000"]);
    client.expect(&["SET", "forever", "value"]);
    let _ = reddb(&["mark", "alive", "--admin", &node.admin_url()]).expect_code(0);
    wait::until("the short one expires", || (client.expect(&["EXISTS", "short"]) == Value::Integer(0)).then_some(()));
    client.expect(&["SET", "later", "value"]);
    wait_until_archived(&node);
    node.kill9();

    let _ = scene.restore("continue", &["--to-label", "alive"]).expect_code(0);
    let node = Node::start(&scene.path("continue"), &scene.options().switch("--takeover"));
    let mut client = node.client();
    let left = client.expect(&["PTTL", "long"]).integer();
    assert!((99_000_000..=100_000_000).contains(&left), "{left} ms left: the clock did not stand still between");
    // Its clock goes on from the moment, and at its end the key goes.
    wait::until("the short one expires again", || {
        (client.expect(&["EXISTS", "short"]) == Value::Integer(0)).then_some(())
    });
    assert_eq!(client.expect(&["GET", "forever"]), Value::bulk("value"));
    node.kill9();

    let _ = scene.restore("absolute", &["--to-label", "alive", "--ttl", "absolute"]).expect_code(0);
    let node = Node::start(&scene.path("absolute"), &scene.options().switch("--takeover"));
    let mut client = node.client();
    assert_eq!(client.expect(&["EXISTS", "short"]), Value::Integer(0), "by the wall clock it expired long ago");
    let left = client.expect(&["PTTL", "long"]).integer();
    assert!(left > 0 && left < 100_000_000 - 1500, "{left} ms left: the wall clock has gone on");
}

#[test]
fn a_key_that_was_alive_is_alive_again() {
    let scene = Scene::new();
    let node = scene.start("node");
    let mut client = node.client();
    client.expect(&["SET", "short", "value", "PX", "20000"]);
    let _ = reddb(&["mark", "alive", "--admin", &node.admin_url()]).expect_code(0);
    client.expect(&["DEL", "short"]);
    wait_until_archived(&node);
    node.kill9();
    let _ = scene.restore("again", &["--to-label", "alive"]).expect_code(0);
    let node = Node::start(&scene.path("again"), &scene.options().switch("--takeover"));
    assert_eq!(node.client().expect(&["GET", "short"]), Value::bulk("value"));
}

/// A node that wrote a little, was backed up, and is gone; returns its last LSN.
fn small_archive(scene: &Scene) -> u64 {
    let node = scene.start_with_snapshot("node");
    let mut client: Client = node.client();
    for index in 0..20 {
        client.expect(&["SET", &format!("key:{index}"), "value"]);
    }
    let lsn = wait_until_archived(&node);
    assert_eq!(node.stop().code(), Some(0));
    lsn
}

#[test]
fn a_target_that_cannot_be_reached_is_refused_with_the_nearest_ones() {
    let scene = Scene::new();
    let last = small_archive(&scene);
    let beyond = (last + 1000).to_string();
    let refused = scene.restore("into", &["--to-lsn", &beyond]).expect_code(7);
    assert!(refused.stderr.contains(&last.to_string()), "the nearest LSN is not named: {}", refused.stderr);
    let _ = scene.restore("into", &["--to-label", "nobody-made-this"]).expect_code(7);
    let _ = scene.restore("into", &["--to-time", "2100-01-01T00:00:00Z"]).expect_code(7);
    let _ = scene.restore("into", &["--to-time", "2001-01-01T00:00:00Z"]).expect_code(7);
    let _ = scene.restore("into", &["--to-lsn", "1", "--timeline", "9"]).expect_code(7);
    assert!(!scene.path("into").join("identity").exists(), "a refused restore left something");
}

#[test]
fn a_dry_run_shows_the_plan_and_touches_nothing() {
    let scene = Scene::new();
    let _ = small_archive(&scene);
    let plan = scene.restore("into", &["--dry-run"]).expect_code(0);
    assert!(!plan.stdout.is_empty());
    assert!(!scene.path("into").exists() || std::fs::read_dir(scene.path("into")).unwrap().next().is_none());
    let _ = scene.restore("into", &["--dry-run", "--json"]).expect_code(0).json();
}

#[test]
fn a_directory_that_is_not_empty_is_not_touched() {
    let scene = Scene::new();
    let _ = small_archive(&scene);
    std::fs::create_dir(scene.path("full")).unwrap();
    std::fs::write(scene.path("full").join("mine.txt"), "mine").unwrap();
    let refused = scene.restore("full", &[]);
    assert_ne!(refused.code, 0, "{}", refused.stdout);
    let names: Vec<_> =
        std::fs::read_dir(scene.path("full")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["mine.txt"]);
    assert_eq!(std::fs::read_to_string(scene.path("full").join("mine.txt")).unwrap(), "mine");
    // Also the directory of the node that made the archive.
    let before = names_in(&scene, "node");
    assert_ne!(scene.restore("node", &[]).code, 0);
    assert_eq!(names_in(&scene, "node"), before);
}

#[test]
fn a_dry_run_refuses_the_targets_that_a_restore_refuses() {
    let scene = Scene::new();
    let _ = small_archive(&scene);
    std::fs::create_dir_all(scene.path("full/x")).unwrap();
    for into in ["full", "archive", "archive/new", "missing/below", "/proc/new"] {
        let before = names_in(&scene, ".");
        let (dry, real) = (scene.restore(into, &["--dry-run"]), scene.restore(into, &[]));
        assert_eq!((dry.code, real.code), (3, 3), "{into}: {}{}", dry.stderr, real.stderr);
        let without_random = |text: &str| text.split(".staging-").next().unwrap().to_owned();
        assert_eq!(without_random(&dry.stderr), without_random(&real.stderr));
        assert_eq!(names_in(&scene, "."), before);
    }
}

#[test]
fn a_killed_restore_is_cleared_away_by_the_next_one() {
    let scene = Scene::new();
    let _ = small_archive(&scene);
    let abandoned = scene.path(&format!(".into.staging-{}", "0".repeat(32)));
    std::fs::create_dir_all(abandoned.join("engine")).unwrap();
    let restored = scene.restore("into", &[]).expect_code(0);
    assert!(restored.stdout.contains(abandoned.to_str().unwrap()), "{}", restored.stdout);
    assert!(!abandoned.exists());
}

fn names_in(scene: &Scene, name: &str) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> =
        std::fs::read_dir(scene.path(name)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn what_is_no_archive_is_refused_with_its_own_code() {
    let scene = Scene::new();
    let _ = scene.restore("into", &[]).expect_code(4);
    let into = scene.path("into");
    let into = into.to_str().unwrap();
    let _ = reddb(&["restore", "--archive", "nonsense://x", "--into", into]).expect_code(3);
    let _ = reddb(&["restore", "--archive", scene.archive(), "--into", into, "--to-lsn", "x"]).expect_code(3);
    let _ = reddb(&["restore", "--archive", scene.archive(), "--into", into, "--to-lsn", "1", "--to-label", "x"])
        .expect_code(3);
    // Nobody listens on this port.
    let nowhere = ["--archive-endpoint", "http://127.0.0.1:9", "--archive-allow-http", "--archive-region", "us-east-1"];
    let mut arguments = vec!["info", "--archive", "s3://bucket/prefix"];
    arguments.extend(nowhere);
    let mut command = std::process::Command::new(reddb_tests::cli::binary());
    command.args(&arguments).env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x");
    let _ = reddb_tests::cli::run(&mut command).expect_code(4);
}

#[test]
fn an_interrupted_restore_leaves_nothing() {
    let scene = Scene::new();
    let node = scene.start("node");
    let load = Load::start(node.data, (0..WRITERS).map(History::new).collect());
    wait::until("enough to take a while", || (receipt(&mut node.client()).lsn > 3_000).then_some(()));
    drop(load.finish());
    wait_until_archived(&node);
    assert_eq!(node.stop().code(), Some(0));

    std::fs::create_dir(scene.path("here")).unwrap();
    let into = scene.path("here/into");
    let archive = format!("file://{}", scene.archive_dir().display());
    let mut restore = std::process::Command::new(reddb_tests::cli::binary())
        .args(["restore", "--archive", &archive, "--into"])
        .arg(&into)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let left = || std::fs::read_dir(scene.path("here")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    wait::until("something is staged", || {
        let staged: Vec<_> = left();
        (!staged.is_empty()).then_some(())
    });
    let sent = std::process::Command::new("sh").args(["-c", &format!("kill -INT {}", restore.id())]).status();
    assert!(sent.unwrap().success());
    let code = restore.wait().unwrap().code();
    let left: Vec<_> = left();
    // A restore that was quicker than the signal is whole.
    let whole = code == Some(0) && left == ["into"];
    assert!(whole || (code == Some(2) && left.is_empty()), "exit {code:?}, left {left:?}");
    let _ = scene.restore("again", &[]).expect_code(0);
}
