//! The archive under bad luck: gone and back, somebody else's, ahead of the log, damaged anywhere.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reddb_tests::cli::{Outcome, binary, reddb, run};
use reddb_tests::digest::{Digest, digest, receipt};
use reddb_tests::door::Door;
use reddb_tests::gcs::account::Account;
use reddb_tests::gcs::http::{Outage, Server};
use reddb_tests::scene::wait_until_archived;
use reddb_tests::{Client, Node, Options, Scene, Value, wait};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Waits until nothing is under way in the archive of a server that has made no snapshot but the first, and no mark: the
/// catalogue is written last, beside everything else.
fn wait_until_quiet(scene: &Scene, node: &Node) -> u64 {
    wait::until("the catalogue names the first snapshot", || {
        let text = std::fs::read(scene.archive_dir().join("manifest.json")).ok()?;
        let catalogue: serde_json::Value = serde_json::from_slice(&text).ok()?;
        (catalogue["body"]["snapshots"].as_array()?.len() == 1).then_some(())
    });
    wait_until_archived(node)
}

fn write_some(client: &mut Client, prefix: &str, count: usize) {
    for index in 0..count {
        client.expect(&["SET", &format!("{prefix}:{index}"), "value"]);
    }
}

#[test]
fn an_archive_that_goes_away_and_comes_back_is_caught_up_with() {
    let scene = Scene::new();
    let node = scene.start("node");
    let mut client = node.client();
    write_some(&mut client, "before", 50);
    let archived = wait_until_archived(&node);

    take_away(&scene);
    write_some(&mut client, "during", 50);
    let status = wait::until("the server notices", || {
        let status = node.get("/admin/status").unwrap().json();
        (status["archive"]["online"] == false).then_some(status)
    });
    assert!(status["archive"]["last_error"].is_string(), "{status}");
    assert!(node.archived_lsn() < receipt(&mut client).lsn, "it claims to have archived to nowhere");
    assert!(node.archived_lsn() >= archived, "the mark went back");
    let check = reddb(&["check", "--admin", &node.admin_url(), "--json"]);
    assert!([1, 2].contains(&check.code), "check found nothing wrong: {}", check.stdout);
    assert_eq!(node.get("/health/live").unwrap().status, 200);

    bring_back(&scene);
    wait_until_archived(&node);
    let state = digest(&mut client);
    assert_eq!(node.stop().code(), Some(0));
    let _ = scene.verify().expect_code(0);
    let report = scene.restore("into", &["--json"]).expect_code(0).json();
    assert_eq!(report["digest"].as_str(), Some(state.sha256.as_str()), "{report}");
}

#[test]
fn a_backup_that_failed_while_the_archive_was_away_is_made_good_by_itself() {
    let scene = Scene::new();
    let node = scene.start_with_snapshot("node");
    let mut client = node.client();
    write_some(&mut client, "before", 5);
    wait_until_archived(&node);
    let _ = reddb(&["check", "--admin", &node.admin_url()]).expect_code(0);
    let snapshot_lsn = || node.get("/admin/status").unwrap().json()["archive"]["snapshot_lsn"].as_u64().unwrap();
    let before = snapshot_lsn();

    take_away(&scene);
    write_some(&mut client, "during", 5);
    let _ = reddb(&["backup", "--admin", &node.admin_url()]).expect_code(4);
    let _ = reddb(&["check", "--admin", &node.admin_url()]).expect_code(1);

    bring_back(&scene);
    wait::until("nothing wants attention any more", || {
        (reddb(&["check", "--admin", &node.admin_url()]).code == 0).then_some(())
    });
    assert_ne!(snapshot_lsn(), before, "another snapshot was made");

    let admin = node.admin_url();
    assert_eq!(node.stop().code(), Some(0));
    let _ = reddb(&["check", "--admin", &admin]).expect_code(2);
    let _ = reddb(&["backup", "--admin", &admin]).expect_code(4);
}

/// The store is gone: another kind of file stands where its directory was, so that nothing can be made there.
fn take_away(scene: &Scene) {
    std::fs::write(scene.path("archive-away"), "not a directory").unwrap();
    exchange(scene);
}

fn bring_back(scene: &Scene) {
    exchange(scene);
    std::fs::remove_file(scene.path("archive-away")).unwrap();
}

/// At once: at no moment is there nothing where whoever writes at that moment could make a directory.
fn exchange(scene: &Scene) {
    let (archive, away) = (scene.archive_dir(), scene.path("archive-away"));
    renameat_with(CWD, archive, CWD, away, RenameFlags::EXCHANGE).unwrap();
}

#[test]
fn writes_are_refused_with_a_reason_when_the_log_is_full_and_taken_again_after() {
    let scene = Scene::new();
    let options = scene.options().flag("--wal-local-max", "16mb").flag("--wal-segment-size", "1mb");
    let node = Node::start(&scene.path("node"), &options);
    let mut client = node.client();
    write_some(&mut client, "before", 10);
    wait_until_archived(&node);
    take_away(&scene);
    let value = "v".repeat(256 * 1024);
    let refusal = (0..400).find_map(|index| match client.call(&["SET", &format!("big:{index}"), &value]).unwrap() {
        Value::Error(text) => Some(text),
        _ => None,
    });
    let refusal = refusal.expect("100 MB of log were kept although 16 MB are allowed");
    assert!(refusal.contains("archive"), "the refusal names no reason: {refusal}");
    assert_eq!(client.expect(&["GET", "before:0"]), Value::bulk("value"), "reads go on");
    assert_eq!(node.get("/health/live").unwrap().status, 200);

    bring_back(&scene);
    wait::until("writes are taken again", || (!client.call(&["SET", "after", "1"]).unwrap().is_error()).then_some(()));
    wait_until_archived(&node);
    let state = digest(&mut client);
    assert_eq!(node.stop().code(), Some(0));
    let _ = scene.verify().expect_code(0);
    let report = scene.restore("into", &["--json"]).expect_code(0).json();
    assert_eq!(report["digest"].as_str(), Some(state.sha256.as_str()), "{report}");
}

#[test]
fn a_server_starts_without_its_archive_and_keeps_the_log() {
    let scene = Scene::new();
    let node = scene.start("node");
    write_some(&mut node.client(), "before", 10);
    wait_until_archived(&node);
    assert_eq!(node.stop().code(), Some(0));
    // As when a disk is not mounted: the directory is not there.
    std::fs::rename(scene.archive_dir(), scene.path("archive-away")).unwrap();
    let node = scene.start("node");
    let mut client = node.client();
    write_some(&mut client, "without", 50);
    assert_eq!(client.expect(&["GET", "before:0"]), Value::bulk("value"));
    assert!(!scene.archive_dir().exists(), "a second archive was begun where the first one was");
    let status = node.get("/admin/status").unwrap().json();
    assert_eq!(status["archive"]["online"], false, "{status}");
    assert_eq!(snapshot_status(&mut client), "ok", "none was asked for");
    let refused = reddb(&["mark", "nowhere", "--admin", &node.admin_url()]).expect_code(4);
    assert!(refused.stderr.contains("the archive is not available"), "{}", refused.stderr);
    let _ = client.call(&["BGSAVE"]).unwrap();
    wait::until("the failed snapshot shows", || (snapshot_status(&mut client) == "err").then_some(()));
    std::fs::rename(scene.path("archive-away"), scene.archive_dir()).unwrap();
    wait_until_archived(&node);
    assert_eq!(node.stop().code(), Some(0));
    let _ = scene.verify().expect_code(0);
}

/// `rdb_last_bgsave_status` of INFO.
fn snapshot_status(client: &mut Client) -> String {
    let said = client.expect(&["INFO", "persistence"]).text();
    let line = said.lines().find_map(|line| line.strip_prefix("rdb_last_bgsave_status:"));
    line.unwrap_or_else(|| panic!("no status in {said}")).to_owned()
}

/// A store that is away until its door is opened.
struct Away {
    scene: Scene,
    door: Door,
    store: SocketAddr,
    outage: Outage,
    account: PathBuf,
}

impl Away {
    fn new() -> Self {
        let scene = Scene::below("gs://bucket");
        let (account, path) = (Account::new(), scene.path("account.json"));
        std::fs::write(&path, account.file().to_string()).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let server = Server::new("bucket", account);
        let outage = server.outage();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(server.serve(|address| tell.send(address).unwrap()))
        });
        Self { scene, door: Door::shut(), store: told.recv().unwrap(), outage, account: path }
    }

    fn environment(&self, endpoint: SocketAddr) -> [(&'static str, String); 4] {
        [
            // Whatever proxy the environment names, the way to loopback is not through it.
            ("NO_PROXY", "127.0.0.1".to_owned()),
            ("REDDB_ARCHIVE_ENDPOINT", format!("http://{endpoint}")),
            ("REDDB_ARCHIVE_ALLOW_HTTP", "true".to_owned()),
            ("GOOGLE_SERVICE_ACCOUNT", self.account.display().to_string()),
        ]
    }

    fn start(&self, name: &str, endpoint: SocketAddr) -> Node {
        let options = self.environment(endpoint).into_iter();
        let small = self.scene.options().flag("--wal-segment-size", "1mb");
        let options = options.fold(small, |options, (name, value)| options.environment(name, &value));
        Node::start(&self.scene.path(name), &options)
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(binary());
        run(command.args(arguments).args(["--archive", self.scene.archive()]).envs(self.environment(self.store)))
    }

    /// The archive is sound, and gives each of these states back.
    fn expect_restores(&self, states: &[Digest]) {
        let _ = self.run(&["verify"]).expect_code(0);
        for wanted in states {
            let lsn = wanted.lsn.to_string();
            let into = self.scene.path(&format!("restored-{lsn}"));
            let arguments = ["restore", "--into", into.to_str().unwrap(), "--to-lsn", &lsn, "--json"];
            let report = self.run(&arguments).expect_code(0).json();
            assert_eq!(report["digest"].as_str(), Some(wanted.sha256.as_str()), "{report}");
        }
    }
}

#[test]
fn a_new_directory_starts_without_its_archive_and_every_record_of_it_can_be_restored_when_the_archive_is_back() {
    let away = Away::new();
    let node = away.start("node", away.door.address());
    let mut client = node.client();
    write_some(&mut client, "first", 10);
    let first = digest(&mut client);
    let status = node.get("/admin/status").unwrap().json();
    assert_eq!(status["archive"]["online"], false, "{status}");
    assert!(status["archive"]["last_error"].is_string(), "it does not say why: {status}");
    assert_eq!(reddb(&["check", "--admin", &node.admin_url()]).code, 1, "a warning");
    // The next start finds a directory that has begun and is in no archive.
    node.kill9();
    let node = away.start("node", away.door.address());
    let mut client = node.client();
    assert_eq!(digest(&mut client), first);
    client.expect(&["DEL", "first:3"]);
    write_some(&mut client, "second", 10);
    let last = digest(&mut client);

    away.door.open(away.store);
    wait_until_archived(&node);
    wait::until("the first snapshot", || {
        node.get("/admin/status").unwrap().json()["archive"]["snapshot_lsn"].as_u64().filter(|lsn| *lsn == last.lsn)
    });
    assert_eq!(node.stop().code(), Some(0));
    away.expect_restores(&[first, last]);
}

/// The state after each of some records, from the first one on; `write` makes the records.
fn states_of_every_record(client: &mut Client, count: usize) -> Vec<Digest> {
    let mut states = vec![digest(client)];
    assert_eq!(states[0].lsn, 1, "nothing was written but the timeline's record");
    for index in 1..count {
        client.expect(&["SET", &format!("key:{}", index % 5), &index.to_string()]);
        states.push(digest(client));
    }
    states
}

#[test]
fn every_record_comes_back_where_the_server_dies_right_after_the_first_snapshot_of_an_archive_that_came_late() {
    let away = Away::new();
    let node = away.start("node", away.door.address());
    let mut client = node.client();
    let mut states = states_of_every_record(&mut client, 8);
    let at_time = states[7].clone();
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().to_string();
    // Sleep: the next record must carry a later time, in milliseconds, than the one asked for.
    std::thread::sleep(Duration::from_millis(5));
    for index in 0..3 {
        client.expect(&["SET", "later", &index.to_string()]);
        states.push(digest(&mut client));
    }

    away.door.open(away.store);
    let snapshot = wait::until("a backup is published", || {
        let backup = reddb(&["backup", "--admin", &node.admin_url(), "--json"]);
        (backup.code == 0).then(|| backup.json())
    });
    node.kill9();
    assert_eq!(snapshot["lsn"].as_u64(), Some(11), "it is of the present state");
    away.expect_restores(&states);
    let into = away.scene.path("by-time");
    let by_time = away.run(&["restore", "--into", into.to_str().unwrap(), "--to-time", &time, "--json"]);
    let by_time = by_time.expect_code(0).json();
    assert_eq!(by_time["digest"].as_str(), Some(at_time.sha256.as_str()), "{by_time}");
    assert!(by_time["snapshot"].is_null(), "no snapshot lies before it: {by_time}");
}

#[test]
fn an_archive_whose_store_never_took_a_snapshot_gives_every_record_back() {
    let away = Away::new();
    let node = away.start("node", away.door.address());
    let states = states_of_every_record(&mut node.client(), 5);
    away.outage.of(Some("/objects/"));
    away.door.open(away.store);
    wait_until_archived(&node);
    assert_ne!(reddb(&["backup", "--admin", &node.admin_url()]).code, 0);
    node.kill9();
    let info = away.run(&["info"]).expect_code(0).stdout;
    assert!(info.contains("restorable  LSN 1 to 5") && !info.contains("NO STATE"), "{info}");
    away.expect_restores(&states);
}

#[test]
fn a_new_directory_whose_archive_turns_out_to_be_anothers_takes_no_more_writes_and_changes_nothing_there() {
    let away = Away::new();
    let late = away.start("late", away.door.address());
    let mut client = late.client();
    write_some(&mut client, "late", 10);
    let owner = away.start("owner", away.store);
    write_some(&mut owner.client(), "owner", 10);
    wait_until_archived(&owner);

    away.door.open(away.store);
    let refusal = wait::until("writes are refused", || {
        let answer = client.call(&["SET", "more", "1"]).unwrap();
        answer.is_error().then(|| format!("{answer:?}"))
    });
    assert!(refusal.contains("cluster"), "the refusal names no reason: {refusal}");
    assert_eq!(client.expect(&["GET", "late:0"]), Value::bulk("value"), "what was acknowledged is there");
    let wanted = digest(&mut owner.client());
    wait_until_archived(&owner);
    assert_eq!(owner.stop().code(), Some(0));
    let _ = away.run(&["verify"]).expect_code(0);
    let into = away.scene.path("into");
    let report = away.run(&["restore", "--into", into.to_str().unwrap(), "--json"]).expect_code(0).json();
    assert_eq!(report["digest"].as_str(), Some(wanted.sha256.as_str()), "{report}");
}

/// A restored directory, and the state that it was restored to.
fn restored(away: &Away, name: &str) -> Digest {
    let node = away.start("original", away.store);
    let mut client = node.client();
    write_some(&mut client, "original", 10);
    client.expect(&["SET", "short", "lived", "PX", "1"]);
    let wanted = digest(&mut client);
    assert_eq!(node.stop().code(), Some(0));
    let into = away.scene.path(name);
    let lsn = wanted.lsn.to_string();
    let report = away.run(&["restore", "--into", into.to_str().unwrap(), "--to-lsn", &lsn, "--json"]);
    assert_eq!(report.expect_code(0).json()["digest"].as_str(), Some(wanted.sha256.as_str()));
    wanted
}

#[test]
fn a_restored_directory_starts_without_its_archive_answers_reads_and_takes_writes_when_the_archive_is_back() {
    let away = Away::new();
    let wanted = restored(&away, "restored");
    for stops_in_order in [true, false] {
        let node = away.start("restored", away.door.address());
        let mut client = node.client();
        assert_eq!(client.expect(&["GET", "original:3"]), Value::bulk("value"));
        assert_eq!(digest(&mut client), wanted);
        let before = receipt(&mut client);
        assert_eq!((before.timeline, before.lsn), (1, wanted.lsn));
        for write in [&["SET", "new", "1"][..], &["DEL", "original:3"], &["FLUSHALL"], &["EXPIRE", "original:3", "0"]] {
            let answer = format!("{:?}", client.call(write).unwrap());
            assert!(answer.contains("MISCONF writes are refused (timeline_pending)"), "{write:?}: {answer}");
        }
        client.expect(&["MULTI"]);
        client.expect(&["SET", "new", "1"]);
        let answer = format!("{:?}", client.call(&["EXEC"]).unwrap());
        assert!(answer.contains("timeline_pending"), "{answer}");
        let status = node.get("/admin/status").unwrap().json();
        assert_eq!((&status["archive"]["online"], &status["timeline"]), (&false.into(), &1.into()), "{status}");
        assert_ne!(reddb(&["check", "--admin", &node.admin_url()]).code, 0);
        assert_ne!(reddb(&["backup", "--admin", &node.admin_url()]).code, 0);
        assert_eq!(digest(&mut client), wanted, "nothing was logged");
        if stops_in_order {
            assert_eq!(node.stop().code(), Some(0));
        } else {
            node.kill9();
        }
    }

    let node = away.start("restored", away.door.address());
    let mut client = node.client();
    assert_eq!(digest(&mut client), wanted);
    away.door.open(away.store);
    wait_for_writes(&mut client);
    let after = receipt(&mut client);
    assert_eq!(after.timeline, 2);
    assert!(after.lsn > wanted.lsn + 1, "the timeline's first record comes before");
    let last = digest(&mut client);
    wait_until_archived(&node);
    // What came after is found again by a start that knows nothing but the directory.
    node.kill9();
    let node = away.start("restored", away.store);
    let mut client = node.client();
    assert_eq!(client.expect(&["GET", "new"]), Value::bulk("1"));
    assert_eq!(receipt(&mut client).timeline, 2);
    assert_eq!(node.stop().code(), Some(0));
    away.expect_restores(&[wanted, last]);
}

#[test]
fn a_restored_directory_whose_archive_comes_back_with_a_live_writer_takes_no_writes_and_leaves_that_one_alone() {
    let away = Away::new();
    let wanted = restored(&away, "restored");
    let late = away.start("restored", away.door.address());
    let mut client = late.client();
    let owner = away.start("original", away.store);
    write_some(&mut owner.client(), "owner", 10);
    wait_until_archived(&owner);

    away.door.open(away.store);
    let refusal = wait::until("writes are refused for good", || {
        let answer = format!("{:?}", client.call(&["SET", "more", "1"]).unwrap());
        assert!(answer.contains("MISCONF"), "a write was taken: {answer}");
        answer.contains("(fenced)").then_some(answer)
    });
    assert!(refusal.contains("--takeover"), "it does not say what to do: {refusal}");
    assert_eq!(digest(&mut client), wanted, "reads go on");
    assert_eq!(late.stop().code(), Some(0));

    write_some(&mut owner.client(), "owner-later", 10);
    let last = digest(&mut owner.client());
    wait_until_archived(&owner);
    assert_eq!(owner.stop().code(), Some(0));
    away.expect_restores(&[wanted, last]);
}

#[test]
fn a_restored_directory_begins_an_archive_of_its_own_when_the_store_comes_back_empty() {
    let away = Away::new();
    let _ = restored(&away, "restored");
    // Another prefix of the same store: nobody has begun there.
    let options = away.environment(away.door.address()).into_iter();
    let elsewhere = Options::new().archive("gs://bucket/elsewhere").switch("--new-archive");
    let options = options.fold(elsewhere, |options, (name, value)| options.environment(name, &value));
    let node = Node::start(&away.scene.path("restored"), &options);
    let mut client = node.client();
    away.door.open(away.store);
    wait_for_writes(&mut client);
    let status = node.get("/admin/status").unwrap().json();
    assert!(status["archive"]["snapshot_lsn"].is_u64(), "a write was taken before the first snapshot: {status}");
    let first = digest(&mut client);
    wait_until_archived(&node);
    assert_eq!(node.stop().code(), Some(0));
    let into = away.scene.path("again");
    let lsn = first.lsn.to_string();
    let mut command = Command::new(binary());
    command.args(["restore", "--archive", "gs://bucket/elsewhere", "--into", into.to_str().unwrap(), "--to-lsn", &lsn]);
    let report = run(command.arg("--json").envs(away.environment(away.store))).expect_code(0).json();
    assert_eq!(report["digest"].as_str(), Some(first.sha256.as_str()), "{report}");
}

fn expect_no_writes(client: &mut Client) -> String {
    let answer = format!("{:?}", client.call(&["SET", "new", "1"]).unwrap());
    assert!(answer.contains("MISCONF writes are refused (timeline_pending)"), "{answer}");
    answer
}

fn wait_for_writes(client: &mut Client) {
    wait::until("writes are taken", || (!client.call(&["SET", "new", "1"]).unwrap().is_error()).then_some(()));
}

#[test]
fn a_restored_directory_takes_no_write_that_its_own_archive_could_not_give_back() {
    let away = Away::new();
    let wanted = restored(&away, "restored");
    // Records are taken there, snapshots are not.
    away.outage.of(Some("/objects/"));
    let start = |endpoint| {
        let options = away.environment(endpoint).into_iter();
        let elsewhere = Options::new().archive("gs://bucket/elsewhere").switch("--new-archive");
        let options = options.fold(elsewhere, |options, (name, value)| options.environment(name, &value));
        Node::start(&away.scene.path("restored"), &options)
    };
    for (endpoint, stops_in_order) in [(away.store, false), (away.store, true), (away.door.address(), true)] {
        let node = start(endpoint);
        let mut client = node.client();
        assert_eq!(client.expect(&["GET", "original:3"]), Value::bulk("value"));
        let _ = expect_no_writes(&mut client);
        let state = digest(&mut client);
        assert_eq!(state.lsn, wanted.lsn + 1, "the timeline's record");
        if endpoint == away.store {
            wait_until_archived(&node);
            wait::until("the reason is named", || expect_no_writes(&mut client).contains("was not made").then_some(()));
        }
        if stops_in_order {
            assert_eq!(node.stop().code(), Some(0));
        } else {
            node.kill9();
        }
    }

    let node = start(away.store);
    let mut client = node.client();
    let _ = expect_no_writes(&mut client);
    away.outage.of(None);
    wait_for_writes(&mut client);
    let mut states = vec![digest(&mut client)];
    for index in 0..3 {
        client.expect(&["SET", "later", &index.to_string()]);
        states.push(digest(&mut client));
    }
    wait_until_archived(&node);
    node.kill9();
    for state in states {
        let (lsn, into) = (state.lsn.to_string(), away.scene.path(&format!("again-{}", state.lsn)));
        let mut command = Command::new(binary());
        command.args(["restore", "--archive", "gs://bucket/elsewhere", "--to-lsn", &lsn, "--json", "--into"]);
        let report = run(command.arg(into).envs(away.environment(away.store))).expect_code(0).json();
        assert_eq!(report["digest"].as_str(), Some(state.sha256.as_str()), "{report}");
    }
}

#[test]
fn a_restored_directory_whose_log_cannot_be_begun_answers_reads_and_goes_on_when_it_can() {
    let scene = Scene::new();
    let node = scene.start("original");
    write_some(&mut node.client(), "original", 10);
    let wanted = digest(&mut node.client());
    assert_eq!(node.stop().code(), Some(0));
    for name in ["same", "own"] {
        let _ = scene.restore(name, &[]).expect_code(0);
    }
    let own = Options::new().flag("--archive-interval", "50ms");
    let own_archive = format!("file://{}", scene.path("own/archive").display());
    for (name, options, archive) in [("same", scene.options(), scene.archive()), ("own", own, &own_archive)] {
        // No log can be begun where its directory should be; each start takes the next number.
        let [second, third, fourth] = [2, 3, 4].map(|number| scene.path(name).join(format!("wal/{number:010}")));
        for in_the_way in [&second, &third, &fourth] {
            std::fs::write(in_the_way, "not a directory").unwrap();
        }
        for (in_the_way, stops_in_order) in [(second, false), (third, true)] {
            let node = Node::start(&scene.path(name), &options);
            let mut client = node.client();
            assert_eq!(digest(&mut client), wanted, "{name}");
            let refusal = expect_no_writes(&mut client);
            assert!(refusal.contains("the log cannot go on"), "it does not say why: {refusal}");
            let check = reddb(&["check", "--admin", &node.admin_url()]);
            assert_eq!(check.code, 2, "{}", check.stdout);
            if stops_in_order {
                assert_eq!(node.stop().code(), Some(0));
            } else {
                node.kill9();
            }
            std::fs::remove_file(in_the_way).unwrap();
        }
        let node = Node::start(&scene.path(name), &options);
        let mut client = node.client();
        let _ = expect_no_writes(&mut client);
        std::fs::remove_file(fourth).unwrap();
        wait_for_writes(&mut client);
        let (first, state) = (receipt(&mut client), digest(&mut client));
        assert_eq!((first.timeline, first.lsn), (4, wanted.lsn + 2), "{name}");
        wait_until_archived(&node);
        assert_eq!(node.stop().code(), Some(0));
        let _ = reddb(&["verify", "--archive", archive]).expect_code(0);
        let into = scene.path(&format!("{name}-again"));
        let into = into.to_str().unwrap();
        let report = reddb(&["restore", "--archive", archive, "--into", into, "--json"]).expect_code(0).json();
        assert_eq!(report["digest"].as_str(), Some(state.sha256.as_str()), "{name}: {report}");
    }
}

#[test]
fn a_restored_directory_that_waited_to_begin_takes_no_write_when_another_has_taken_over_meanwhile() {
    let scene = Scene::new();
    let node = scene.start("original");
    write_some(&mut node.client(), "original", 10);
    assert_eq!(node.stop().code(), Some(0));
    for name in ["waits", "takes-over"] {
        let _ = scene.restore(name, &[]).expect_code(0);
    }
    let in_the_way = scene.path("waits").join("wal/0000000002");
    std::fs::write(&in_the_way, "not a directory").unwrap();
    let waits = scene.start("waits");
    let _ = expect_no_writes(&mut waits.client());
    let other = Node::start(&scene.path("takes-over"), &scene.options().switch("--takeover"));
    wait_for_writes(&mut other.client());

    std::fs::remove_file(in_the_way).unwrap();
    let mut client = waits.client();
    wait::until("writes are refused for good", || {
        let answer = format!("{:?}", client.call(&["SET", "more", "1"]).unwrap());
        assert!(answer.contains("MISCONF"), "a write was taken: {answer}");
        answer.contains("(fenced)").then_some(())
    });
    assert_eq!(client.expect(&["GET", "original:3"]), Value::bulk("value"), "reads go on");
    let wanted = digest(&mut other.client());
    wait_until_archived(&other);
    assert_eq!(other.stop().code(), Some(0));
    let _ = scene.verify().expect_code(0);
    let report = scene.restore("into", &["--json"]).expect_code(0).json();
    assert_eq!(report["digest"].as_str(), Some(wanted.sha256.as_str()), "{report}");
}

#[test]
fn a_restored_directory_takes_an_empty_place_for_an_archive_that_is_away() {
    let scene = Scene::new();
    let node = scene.start("original");
    write_some(&mut node.client(), "original", 10);
    assert_eq!(node.stop().code(), Some(0));
    let _ = scene.restore("restored", &[]).expect_code(0);
    std::fs::rename(scene.archive_dir(), scene.path("disk")).unwrap();
    for mount_point in [false, true] {
        if mount_point {
            std::fs::create_dir(scene.archive_dir()).unwrap();
        }
        let node = scene.start("restored");
        let mut client = node.client();
        assert_eq!(client.expect(&["GET", "original:3"]), Value::bulk("value"));
        if mount_point {
            wait::until("it says what to do", || expect_no_writes(&mut client).contains("--new-archive").then_some(()));
        } else {
            let _ = expect_no_writes(&mut client);
        }
        node.kill9();
    }
    // A kill may leave what it asked the store with.
    let is_probe = |path: &PathBuf| path.starts_with(scene.archive_dir().join("probe"));
    assert!(files_below(&scene.archive_dir()).iter().all(is_probe), "a second archive was begun there");
    let node = scene.start("restored");
    let mut client = node.client();
    let _ = expect_no_writes(&mut client);
    node.standing_still(|| {
        std::fs::remove_dir_all(scene.archive_dir()).unwrap();
        std::fs::rename(scene.path("disk"), scene.archive_dir()).unwrap();
    });
    wait_for_writes(&mut client);
    assert_eq!(receipt(&mut client).timeline, 2);
    wait_until_archived(&node);
    assert_eq!(node.stop().code(), Some(0));
    let _ = scene.verify().expect_code(0);
}

#[test]
fn a_restored_directory_takes_writes_at_once_where_nothing_is_in_the_way() {
    let scene = Scene::new();
    let node = scene.start("original");
    write_some(&mut node.client(), "original", 10);
    assert_eq!(node.stop().code(), Some(0));
    for (name, options) in [("same", scene.options()), ("own", Options::new())] {
        let _ = scene.restore(name, &[]).expect_code(0);
        let node = Node::start(&scene.path(name), &options);
        node.client().expect(&["SET", "new", "1"]);
        assert!(!node.log().contains("refused"), "{name}: it alarms: {}", node.log());
        // A start that finds nothing written but the timeline's record, or a write, is no different.
        node.kill9();
        let node = Node::start(&scene.path(name), &options);
        node.client().expect(&["SET", "new", "2"]);
        assert!(!node.log().contains("refused"), "{name}: it alarms: {}", node.log());
        assert_eq!(node.stop().code(), Some(0));
    }
}

#[test]
fn a_new_archive_of_an_old_directory_is_written_to_when_it_has_its_first_snapshot() {
    let away = Away::new();
    let mut states = Vec::new();
    let node = Node::start(&away.scene.path("node"), &Options::new().flag("--archive-interval", "50ms"));
    write_some(&mut node.client(), "before", 10);
    wait_until_archived(&node);
    assert_eq!(node.stop().code(), Some(0));
    // Its log does not go back to LSN 1 any more.
    let into = away.scene.path("restored");
    let own = format!("file://{}", away.scene.path("node/archive").display());
    let _ = reddb(&["restore", "--archive", &own, "--into", into.to_str().unwrap()]).expect_code(0);
    let node = Node::start(&into, &Options::new().flag("--archive-interval", "50ms"));
    write_some(&mut node.client(), "restored", 10);
    wait_until_archived(&node);
    assert_eq!(node.stop().code(), Some(0));

    away.outage.of(Some("/objects/"));
    let options = away.environment(away.store).into_iter();
    let new = away.scene.options().switch("--new-archive");
    let options = options.fold(new, |options, (name, value)| options.environment(name, &value));
    let node = Node::start(&into, &options);
    let mut client = node.client();
    assert_eq!(client.expect(&["GET", "restored:3"]), Value::bulk("value"));
    let _ = expect_no_writes(&mut client);
    away.outage.of(None);
    wait_for_writes(&mut client);
    states.push(digest(&mut client));
    for index in 0..3 {
        client.expect(&["SET", "later", &index.to_string()]);
        states.push(digest(&mut client));
    }
    wait_until_archived(&node);
    node.kill9();
    away.expect_restores(&states);
}

#[test]
fn an_archive_that_vanishes_under_a_server_is_not_begun_anew() {
    let scene = Scene::new();
    let node = scene.start("node");
    let mut client = node.client();
    write_some(&mut client, "before", 10);
    wait_until_quiet(&scene, &node);
    std::fs::rename(scene.archive_dir(), scene.path("archive-away")).unwrap();
    write_some(&mut client, "during", 10);
    wait::until("the server notices", || {
        (node.get("/admin/status").unwrap().json()["archive"]["online"] == false).then_some(())
    });
    assert!(!scene.archive_dir().exists(), "a second archive was begun where the first one was");
    // An empty directory in its place, as a mount point is: no archive either.
    std::fs::create_dir(scene.archive_dir()).unwrap();
    write_some(&mut client, "still", 10);
    assert!(reddb(&["backup", "--admin", &node.admin_url()]).code != 0, "a backup went to nowhere");
    assert_eq!(std::fs::read_dir(scene.archive_dir()).unwrap().count(), 0);
    std::fs::remove_dir(scene.archive_dir()).unwrap();
    std::fs::rename(scene.path("archive-away"), scene.archive_dir()).unwrap();
    wait_until_archived(&node);
    assert_eq!(node.stop().code(), Some(0));
    let _ = scene.verify().expect_code(0);
}

/// The story: a new server begins its archive in a mount point whose disk is missing. Then the disk is mounted, and holds
/// another cluster's archive, with an epoch 1 of its own.
#[test]
fn an_archive_that_is_mounted_over_the_one_of_a_running_server_is_not_touched() {
    let scene = Scene::new();
    let first = scene.start("first");
    write_some(&mut first.client(), "first", 10);
    wait_until_archived(&first);
    assert_eq!(first.stop().code(), Some(0));
    std::fs::rename(scene.archive_dir(), scene.path("disk")).unwrap();
    std::fs::create_dir(scene.archive_dir()).unwrap();
    let second = scene.start("second");
    write_some(&mut second.client(), "second", 10);
    let archived = wait_until_quiet(&scene, &second);

    std::fs::rename(scene.archive_dir(), scene.path("under")).unwrap();
    std::fs::rename(scene.path("disk"), scene.archive_dir()).unwrap();
    let before = contents(&scene.archive_dir());
    write_some(&mut second.client(), "elsewhere", 10);
    wait::until("the server says whose archive is there", || {
        let archive = second.get("/admin/status").unwrap().json()["archive"].clone();
        let said = archive["last_error"].as_str().unwrap_or_default().to_owned();
        (archive["online"] == false && said.contains("does not hold the claim of epoch 1 that this server made"))
            .then_some(())
    });
    let check = reddb(&["check", "--admin", &second.admin_url()]);
    assert!([1, 2].contains(&check.code), "{}{}", check.stdout, check.stderr);
    assert!(check.stdout.contains("does not hold the claim"), "{}", check.stdout);
    assert!(reddb(&["backup", "--admin", &second.admin_url()]).code != 0, "a backup went to another's archive");
    assert_eq!(second.archived_lsn(), archived);
    let changed: Vec<_> = contents(&scene.archive_dir()).into_iter().filter(|file| !before.contains(file)).collect();
    assert!(
        changed.is_empty(),
        "another's archive was changed: {:?}",
        changed.iter().map(|file| &file.0).collect::<Vec<_>>()
    );
    let _ = scene.verify().expect_code(0);
    second.kill9();
    let first = scene.start("first");
    write_some(&mut first.client(), "again", 10);
    wait_until_archived(&first);
    assert_eq!(first.stop().code(), Some(0));
    let _ = scene.verify().expect_code(0);

    std::fs::rename(scene.archive_dir(), scene.path("disk")).unwrap();
    std::fs::rename(scene.path("under"), scene.archive_dir()).unwrap();
    wait_until_archived(&scene.start("second"));
    let _ = scene.verify().expect_code(0);
}

#[test]
fn another_clusters_archive_is_refused() {
    let scene = Scene::new();
    let node = scene.start("one");
    write_some(&mut node.client(), "one", 10);
    wait_until_archived(&node);
    assert_eq!(node.stop().code(), Some(0));
    let before = contents(&scene.archive_dir());
    // A cluster of its own first, then pointed at the other's archive.
    let other = Scene::new();
    let node = other.start("two");
    write_some(&mut node.client(), "two", 10);
    wait_until_archived(&node);
    assert_eq!(node.stop().code(), Some(0));
    let refusal = Node::try_start(&other.path("two"), &scene.options()).unwrap_err();
    assert_ne!(refusal.code, Some(0));
    assert!(refusal.log.contains("cluster"), "{}", refusal.log);
    assert_eq!(contents(&scene.archive_dir()), before, "the other's archive was changed");
}

#[test]
fn a_log_that_is_behind_its_archive_is_refused() {
    let scene = Scene::new();
    let node = scene.start("node");
    write_some(&mut node.client(), "first", 10);
    wait_until_archived(&node);
    assert_eq!(node.stop().code(), Some(0));
    copy_tree(&scene.path("node"), &scene.path("old-copy"));
    let node = scene.start("node");
    write_some(&mut node.client(), "second", 10);
    wait_until_archived(&node);
    assert_eq!(node.stop().code(), Some(0));

    let refusal = Node::try_start(&scene.path("old-copy"), &scene.options()).unwrap_err();
    assert_ne!(refusal.code, Some(0));
    assert!(refusal.log.contains("old copy"), "{}", refusal.log);
    let _ = scene.verify().expect_code(0);
}

/// A copy remembers everything that the original does, its epoch too; what it is not is the same file.
#[test]
fn a_copy_of_a_live_directory_does_not_take_over_and_the_original_starts_without_delay() {
    const WATCHES: &str = "another writer may hold this archive";
    let scene = Scene::new();
    let node = scene.start("node");
    write_some(&mut node.client(), "first", 10);
    wait_until_archived(&node);
    node.standing_still(|| copy_tree(&scene.path("node"), &scene.path("copy")));
    let log = scene.path("copy.log");
    let mut copy = Command::new(binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--memory", "64mb"])
        .args(["--archive", scene.archive(), "--dir"])
        .arg(scene.path("copy"))
        .stderr(File::create(&log).unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait::until("the copy watches the original", || {
        assert_eq!(copy.try_wait().unwrap(), None, "{}", std::fs::read_to_string(&log).unwrap());
        std::fs::read_to_string(&log).unwrap().contains(WATCHES).then_some(())
    });
    // Nothing was served, so a stop is a stop in order.
    let _ = run(Command::new("kill").args(["-TERM", &copy.id().to_string()])).expect_code(0);
    let ended = wait::until("the copy ends", || copy.try_wait().unwrap());
    let said = std::fs::read_to_string(&log).unwrap();
    assert_eq!(ended.code(), Some(0), "{said}");
    assert!(said.contains("nothing was served"), "{said}");
    write_some(&mut node.client(), "second", 10);
    wait_until_archived(&node);

    node.kill9();
    std::fs::rename(scene.path("node"), scene.path("moved")).unwrap();
    let node = scene.start("moved");
    assert!(!node.log().contains(WATCHES), "{}", node.log());
    write_some(&mut node.client(), "third", 10);
    wait_until_archived(&node);
}

fn copy_tree(from: &Path, to: &Path) {
    for path in files_below(from) {
        let copy = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(&path, &copy).unwrap();
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files_below(folder).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// An archive with two snapshots, a mark, a fork, and nobody writing to it.
fn finished_archive() -> Scene {
    let scene = Scene::new();
    let node = scene.start_with_snapshot("node");
    let mut client = node.client();
    write_some(&mut client, "first", 30);
    let _ = reddb(&["backup", "--admin", &node.admin_url()]).expect_code(0);
    write_some(&mut client, "second", 30);
    let _ = reddb(&["mark", "here", "--admin", &node.admin_url()]).expect_code(0);
    write_some(&mut client, "third", 30);
    wait_until_archived(&node);
    assert_eq!(node.stop().code(), Some(0));
    let _ = scene.verify().expect_code(0);
    scene
}

#[test]
fn any_flipped_bit_in_the_archive_is_seen() {
    let scene = finished_archive();
    let files = files_below(&scene.archive_dir());
    assert!(files.len() > 8, "{files:?}");
    for path in files {
        let good = std::fs::read(&path).unwrap();
        for place in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[place] ^= 0x10;
            std::fs::write(&path, &bad).unwrap();
            let outcome = scene.verify();
            assert_eq!(outcome.code, 5, "byte {place} of {}:\n{}\n{}", path.display(), outcome.stdout, outcome.stderr);
        }
        std::fs::write(&path, &good).unwrap();
    }
    let _ = scene.verify().expect_code(0);
}

#[test]
fn any_missing_object_is_seen() {
    let scene = finished_archive();
    for path in files_below(&scene.archive_dir()) {
        let good = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let outcome = scene.verify();
        let expected = match path.file_name().and_then(|name| name.to_str()) {
            // Derived from the rest: its loss is told, and loses nothing.
            Some("manifest.json") => 0,
            _ => 5,
        };
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        assert_eq!(outcome.code, expected, "{} is missing:\n{said}", path.display());
        assert!(expected != 0 || said.contains("notice"), "{said}");
        std::fs::write(&path, &good).unwrap();
    }
    let _ = scene.verify().expect_code(0);
}

#[test]
fn without_its_snapshots_an_archive_says_that_they_are_missing_and_gives_every_record_back() {
    let scene = finished_archive();
    let restored = |folder: &str, target: &str| {
        let report = scene.restore(&format!("{folder}-{target}"), &["--to-lsn", target, "--json"]);
        let report = report.expect_code(0).json();
        (report["digest"].as_str().unwrap().to_owned(), report["snapshot"].clone())
    };
    const TARGETS: [&str; 4] = ["1", "20", "31", "91"];
    let with = TARGETS.map(|target| restored("with", target));
    for manifest in files_below(&scene.archive_dir().join("snapshots")) {
        std::fs::remove_file(manifest).unwrap();
    }
    let verified = scene.verify().expect_code(5);
    assert!(verified.stdout.contains("FAULT     snapshots/"), "{}{}", verified.stdout, verified.stderr);
    for (target, (wanted, snapshot)) in TARGETS.into_iter().zip(with) {
        assert!(snapshot.is_object(), "LSN {target}: {snapshot}");
        assert_eq!(restored("without", target), (wanted, serde_json::Value::Null), "LSN {target}");
    }
    // The empty state is what everything begins with, and none that could be served.
    let refused = scene.restore("before", &["--to-time", "2001-01-01T00:00:00Z"]).expect_code(7);
    assert!(refused.stderr.contains("the nearest reachable state is LSN 1 of timeline 1"), "{}", refused.stderr);
    let refused = scene.restore("before", &["--to-lsn", "0"]).expect_code(3);
    assert!(refused.stderr.contains("LSNs begin with 1"), "{}", refused.stderr);
}

#[test]
fn in_place_of_a_damaged_first_snapshot_the_log_is_replayed_only_where_an_operator_says_so() {
    let scene = Scene::new();
    let node = scene.start_with_snapshot("node");
    let mut client = node.client();
    write_some(&mut client, "first", 10);
    let wanted = digest(&mut client);
    wait_until_archived(&node);
    assert_eq!(node.stop().code(), Some(0));
    let damage = |folder: &str| {
        let path = files_below(&scene.archive_dir().join(folder)).pop().unwrap();
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        std::fs::write(&path, bad).unwrap();
        (path, good)
    };
    // A file of it: only reading it tells, and the error says how to go without.
    let (path, good) = damage("objects");
    let refused = scene.restore("file", &[]).expect_code(5);
    assert!(refused.stderr.contains("--snapshot none"), "{}", refused.stderr);
    std::fs::write(path, good).unwrap();
    // Its manifest: there is no plan.
    damage("snapshots");
    let refused = scene.restore("manifest", &[]).expect_code(5);
    assert!(refused.stderr.contains("name `none` as the snapshot"), "{}", refused.stderr);
    let report = scene.restore("none", &["--snapshot", "none", "--json"]).expect_code(0).json();
    assert_eq!(
        (report["digest"].as_str(), &report["snapshot"]),
        (Some(wanted.sha256.as_str()), &serde_json::Value::Null)
    );
    // What was restored is a directory to serve, like any other.
    let _ = scene.restore("serve", &["--snapshot", "none"]).expect_code(0);
    let node = Node::start(&scene.path("serve"), &scene.options().switch("--takeover"));
    assert_eq!(digest(&mut node.client()).sha256, wanted.sha256);
}

/// The id and the objects of each snapshot, the oldest first.
fn snapshots(scene: &Scene) -> Vec<(String, BTreeSet<String>)> {
    let manifests = files_below(&scene.archive_dir().join("snapshots"));
    let read = |path: &PathBuf| -> serde_json::Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let mut manifests: Vec<_> = manifests.iter().map(|path| read(path)["body"].clone()).collect();
    manifests.sort_by_key(|manifest| manifest["lsn"].as_u64().unwrap());
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let objects = |manifest: &serde_json::Value| {
        manifest["files"].as_array().unwrap().iter().map(|file| text(&file["sha256"])).collect()
    };
    manifests.iter().map(|manifest| (text(&manifest["id"]), objects(manifest))).collect()
}

#[test]
fn in_place_of_a_damaged_snapshot_the_newest_one_is_named_that_does_without_what_is_damaged() {
    let scene = Scene::new();
    let node = scene.start_with_snapshot("node");
    let mut client = node.client();
    for index in 0..3 {
        write_some(&mut client, &format!("round:{index}"), 100);
        let _ = reddb(&["backup", "--admin", &node.admin_url()]).expect_code(0);
    }
    let wanted = digest(&mut client);
    assert_eq!(node.stop().code(), Some(0));
    let snapshots = snapshots(&scene);
    let (newest, before) = snapshots.split_last().unwrap();
    let mut named = BTreeSet::new();
    for object in &newest.1 {
        let path = scene.archive_dir().join("objects").join(&object[..2]).join(object);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, "damaged").unwrap();
        let refused = scene.restore(&format!("damaged-{object}"), &[]).expect_code(5);
        let other = before.iter().rev().find(|(_, objects)| !objects.contains(object));
        let other = other.map_or("none", |(id, _)| id);
        assert!(refused.stderr.contains(&format!("--snapshot {other} ")), "{object}: {}", refused.stderr);
        let into = format!("without-{object}");
        let report = scene.restore(&into, &["--snapshot", other, "--json"]).expect_code(0).json();
        assert_eq!(report["digest"].as_str(), Some(wanted.sha256.as_str()));
        std::fs::write(&path, good).unwrap();
        named.insert(other.to_owned());
    }
    assert!(named.len() > 1, "some objects are the newest one's alone, some are shared: {snapshots:?}");
}

#[test]
fn a_damaged_segment_names_its_records_and_is_not_restored() {
    let scene = finished_archive();
    let is_segment = |path: &PathBuf| path.to_str().unwrap().ends_with(".wal.zst");
    let segment = files_below(&scene.archive_dir()).into_iter().rfind(is_segment).unwrap();
    let name = segment.file_name().unwrap().to_str().unwrap();
    let first: u64 = name.split('-').next().unwrap().parse().unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let outcome = scene.verify().expect_code(5);
    let said = outcome.stdout + &outcome.stderr;
    assert!(said.contains(&first.to_string()), "the range that begins with {first} is not named: {said}");
    let refused = scene.restore("into", &[]).expect_code(5);
    assert!(!refused.stderr.contains("--snapshot"), "every base needs these records: {}", refused.stderr);
    assert!(!scene.path("into").join("identity").exists(), "a restore of damaged bytes left a directory to serve");
    // Before the damage everything is still there.
    let _ = scene.restore("earlier", &["--to-lsn", &(first - 1).to_string()]).expect_code(0);
}

#[test]
fn every_object_can_be_inspected_and_the_archive_described() {
    let scene = finished_archive();
    let info = reddb(&["info", "--archive", scene.archive(), "--json"]).expect_code(0).json();
    assert!(info.is_object(), "{info}");
    assert!(!reddb(&["info", "--archive", scene.archive()]).expect_code(0).stdout.is_empty());
    for path in files_below(&scene.archive_dir()) {
        let inside = path.strip_prefix(scene.archive_dir()).unwrap();
        if inside.starts_with("objects") {
            continue; // the engine's files, not ours to explain
        }
        let outcome = reddb(&["inspect", path.to_str().unwrap()]).expect_code(0);
        assert!(!outcome.stdout.is_empty(), "nothing about {}", inside.display());
        let _ = reddb(&["inspect", path.to_str().unwrap(), "--json"]).expect_code(0).json();
    }
    for path in files_below(&scene.path("node")) {
        if path.extension().is_some_and(|extension| extension == "wal") || path.ends_with("control") {
            let _ = reddb(&["inspect", path.to_str().unwrap()]).expect_code(0);
        }
    }
}

/// The story: the machine restarts before the archive's disk is mounted, and the mount point is an empty directory.
#[test]
fn an_empty_directory_is_not_taken_for_the_archive_of_before() {
    let scene = Scene::new();
    let node = scene.start("node");
    write_some(&mut node.client(), "before", 50);
    wait_until_archived(&node);
    assert_eq!(node.stop().code(), Some(0));

    std::fs::rename(scene.archive_dir(), scene.path("archive-away")).unwrap();
    std::fs::create_dir(scene.archive_dir()).unwrap();
    let node = scene.start("node");
    write_some(&mut node.client(), "during", 50);
    wait::until("the server says what is wrong", || {
        let status = node.get("/admin/status").unwrap().json();
        let error = status["archive"]["last_error"].as_str().unwrap_or_default().to_owned();
        error.contains("--new-archive").then_some(())
    });
    assert!(!scene.archive_dir().join("cluster.json").exists(), "a second archive was begun");

    std::fs::remove_dir_all(scene.archive_dir()).unwrap();
    std::fs::rename(scene.path("archive-away"), scene.archive_dir()).unwrap();
    wait_until_archived(&node);
    let state = digest(&mut node.client());
    assert_eq!(node.stop().code(), Some(0));
    let _ = scene.verify().expect_code(0);
    let report = scene.restore("into", &["--json"]).expect_code(0).json();
    assert_eq!(report["digest"].as_str(), Some(state.sha256.as_str()), "{report}");
}

#[test]
fn no_snapshot_is_made_of_a_damaged_engine_and_the_archive_stays_whole() {
    let scene = Scene::new();
    let node = scene.start_with_snapshot("node");
    let mut client = node.client();
    for index in 0..200 {
        client.expect(&["SET", &format!("key:{index}"), &"x".repeat(1000)]);
    }
    let _ = reddb(&["backup", "--admin", &node.admin_url()]).expect_code(0);
    assert_eq!(node.stop().code(), Some(0));
    let tables = std::fs::read_dir(scene.path("node").join("engine/tables")).unwrap();
    let size = |path: &PathBuf| path.metadata().unwrap().len();
    let largest = tables.map(|entry| entry.unwrap().path()).max_by_key(size).unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&largest, bytes).unwrap();

    let node = scene.start("node");
    let mut client = node.client();
    client.expect(&["SET", "after", "1"]);
    let backup = reddb(&["backup", "--admin", &node.admin_url()]).expect_code(5);
    let name = format!("tables/{}", largest.file_name().unwrap().to_str().unwrap());
    assert!(backup.stderr.contains(&name), "{}", backup.stderr);
    wait_until_archived(&node);
    let check = reddb(&["check", "--admin", &node.admin_url()]).expect_code(2);
    assert!(check.stdout.contains("the data directory is damaged") && check.stdout.contains(&name), "{}", check.stdout);
    let lsn = receipt(&mut client).lsn;
    drop(node);
    let _ = scene.verify().expect_code(0);
    let report = scene.restore("into", &["--json"]).expect_code(0).json();
    assert_eq!(report["mark"]["lsn"].as_u64(), Some(lsn), "{report}");
}
