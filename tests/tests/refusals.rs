//! What a server refuses to start with: each with its exit code, its reason, and what to do.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use reddb_tests::cli::{binary, obeying_permissions, run};
use reddb_tests::digest::digest;
use reddb_tests::scene::wait_for_snapshot;
use reddb_tests::{Client, Node, Options, wait};

/// Starts a server that must refuse; returns what it said last.
fn refused(dir: &Path, options: &Options, code: i32) -> String {
    let refusal = Node::try_start(dir, options).expect_err("it should refuse");
    assert_eq!(refusal.code, Some(code), "{}", refusal.log);
    refusal.log.lines().rev().take(2).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_directory_that_cannot_be_made_is_a_mistake_in_the_settings() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    for dir in [file.clone(), file.join("below")] {
        let said = reddb_tests::cli::reddb(&[
            "serve".as_ref(),
            "--listen".as_ref(),
            "127.0.0.1:0".as_ref(),
            "--admin".as_ref(),
            "127.0.0.1:0".as_ref(),
            "--dir".as_ref(),
            dir.as_os_str(),
        ]);
        let said = said.expect_code(3).stderr;
        assert!(said.contains("cannot be the data directory") && said.contains(dir.to_str().unwrap()), "{said}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_reserve_that_the_disk_does_not_have_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("node");
    let said = refused(&dir, &Options::new().flag("--disk-reserve", "1000000tb"), 3);
    assert!(said.contains("--disk-reserve") && said.contains("smaller"), "{said}");
    drop(Node::start(&dir, &Options::new().flag("--disk-reserve", "0")));
}

#[test]
fn arguments_that_mean_nothing_are_refused_with_what_is_meant() {
    for (arguments, meant) in [
        (&["serve", "--listen", "6379"][..], "127.0.0.1:6379"),
        (&["serve", "--admin", "localhost:6380"], "an IP address and a port"),
        (&["restore", "--archive", "file:///nowhere", "--into", "/nowhere", "--memory", "1"], "the least is 16.0 MiB"),
    ] {
        let said = reddb_tests::cli::reddb(arguments).expect_code(3).stderr;
        assert!(said.contains(meant), "{meant} is not in: {said}");
    }
}

#[test]
fn a_port_for_everybody_is_refused_with_what_to_set() {
    let said =
        reddb_tests::cli::reddb(&["serve", "--listen", "0.0.0.0:0", "--admin", "127.0.0.1:0"]).expect_code(3).stderr;
    for part in ["REDDB_PASSWORD", "--password-file", "--insecure-listen"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

fn remove_manifest(dir: &Path) {
    let names = std::fs::read_dir(dir.join("engine")).unwrap().map(|entry| entry.unwrap().path());
    let manifests: Vec<_> = names.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with('v')).collect();
    assert!(!manifests.is_empty());
    for path in manifests {
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_missing_manifest_is_damage_and_the_log_builds_the_engine_again_where_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("node");
    let node = Node::start(&dir, &Options::new());
    let mut client = node.client();
    for index in 0..20 {
        client.expect(&["SET", &format!("key:{index}"), "value"]);
    }
    let before = digest(&mut client).sha256;
    assert_eq!(node.stop().code(), Some(0));
    remove_manifest(&dir);
    let engine = dir.join("engine");
    let said = refused(&dir, &Options::new(), 5);
    assert!(said.contains("the log holds every record") && said.contains(engine.to_str().unwrap()), "{said}");
    // What it says is true.
    std::fs::rename(&engine, folder.path().join("away")).unwrap();
    let node = Node::start(&dir, &Options::new());
    assert_eq!(digest(&mut node.client()).sha256, before);
}

#[test]
fn a_restored_directory_without_its_engine_cannot_be_built_from_its_log() {
    let scene = reddb_tests::scene::Scene::new();
    let node = scene.start("node");
    node.client().expect(&["SET", "key", "value"]);
    reddb_tests::scene::wait_until_archived(&node);
    assert_eq!(node.stop().code(), Some(0));
    let _ = scene.restore("again", &[]).expect_code(0);
    let node = Node::start(&scene.path("again"), &scene.options());
    node.client().expect(&["SET", "key", "other"]);
    assert_eq!(node.stop().code(), Some(0));
    remove_manifest(&scene.path("again"));
    let said = refused(&scene.path("again"), &scene.options(), 5);
    assert!(said.contains("restore from the archive into a new one"), "{said}");
    std::fs::remove_dir_all(scene.path("again/engine")).unwrap();
    let said = refused(&scene.path("again"), &scene.options(), 5);
    assert!(said.contains("the log begins with") && said.contains("restore from the archive"), "{said}");
}

/// Whatever is closed to the user is named before anything is touched, and all is well once it is open again.
#[test]
fn files_that_the_user_may_not_use_are_named_with_what_to_do() {
    if obeying_permissions(Path::new("true")).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("node");
    let node = Node::start(&dir, &Options::new());
    let mut client = node.client();
    client.expect(&["SET", "key", "value"]);
    wait_for_snapshot(&node);
    client.expect(&["SAVE"]);
    let state = digest(&mut client).sha256;
    assert_eq!(node.stop().code(), Some(0));

    let first_in = |folder: &str| std::fs::read_dir(dir.join(folder)).unwrap().next().unwrap().unwrap().path();
    let (segment, table) = (first_in("wal/0000000001"), first_in("engine/tables"));
    let paths = [dir.join("control"), dir.join("identity"), segment, table, dir.join("engine/current")];
    let folders =
        [dir.clone(), dir.join("wal"), dir.join("wal/0000000001"), dir.join("engine"), dir.join("engine/tables")];
    let closed = paths.iter().map(|path| (path, 0o000)).chain(folders.iter().map(|folder| (folder, 0o555)));
    for (path, mode) in closed {
        let before = std::fs::metadata(path).unwrap().permissions();
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let said = refused(&dir, &Options::new().obeys_permissions(), 3);
        std::fs::set_permissions(path, before).unwrap();
        for part in [path.to_str().unwrap(), "Permission denied", "chown -R"] {
            assert!(said.contains(part), "{part} is not in: {said}");
        }
    }
    let node = Node::start(&dir, &Options::new().obeys_permissions());
    assert_eq!(digest(&mut node.client()).sha256, state);
}

/// `/dev/full` fails every write as a full disk does.
#[test]
fn a_command_that_cannot_say_why_it_failed_has_its_exit_code_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let missing = format!("file://{}/missing", folder.path().display());
    for (arguments, code) in [
        (&["verify", "--archive", &missing][..], 4),
        (&["check", "--admin", "http://127.0.0.1:1"], 2),
        (&["serve", "--listen", "0.0.0.0:0"], 3),
        (&["serve", "--no-such-flag"], 3),
    ] {
        let status = Command::new(binary()).args(arguments).stdout(Stdio::null()).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("node");
    assert_eq!(Node::start(&dir, &Options::new()).stop().code(), Some(0));
    let control = dir.join("control").display().to_string();
    for arguments in [&["--help"][..], &["--version"], &["inspect", &control], &["inspect", &control, "--json"]] {
        let _ = run(Command::new(binary()).args(arguments)).expect_code(0);
        let status = Command::new(binary()).args(arguments).stdout(full()).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_server_whose_log_cannot_be_written_serves_and_stops_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("node");
    let mut server = Command::new(binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--memory", "64mb", "--dir"])
        .arg(&dir)
        .stdout(full())
        .stderr(full())
        .spawn()
        .unwrap();
    let mut client = wait::until("the server serves", || {
        assert_eq!(server.try_wait().unwrap(), None, "it ended");
        let addresses: serde_json::Value =
            serde_json::from_slice(&std::fs::read(dir.join("addresses.json")).ok()?).ok()?;
        Client::connect(addresses["data"].as_str()?.parse().ok()?).ok()
    });
    client.expect(&["SET", "key", "value"]);
    let _ = run(Command::new("kill").args(["-TERM", &server.id().to_string()])).expect_code(0);
    let ended = wait::until("the server ends", || server.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}
