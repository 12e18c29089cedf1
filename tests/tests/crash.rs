//! What survives when the process is killed at any moment: everything acknowledged, everything any reader saw, and nothing
//! that no history allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reddb_tests::digest::{digest, receipt};
use reddb_tests::load::{History, Load};
use reddb_tests::{Client, Node, Options, Value, wait};

const WRITERS: u64 = 4;
const ROUNDS: u64 = 5;

#[test]
fn every_acknowledged_write_survives_kill_9_under_load() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("node");
    let mut histories: Vec<_> = (0..WRITERS).map(History::new).collect();
    let mut node = Node::start(&dir, &Options::new());
    let mut last_lsn = 0;
    for round in 0..ROUNDS {
        let acknowledged_before: u64 = histories.iter().map(|history| history.acknowledged_count).sum();
        let load = Load::start(node.data, histories);
        let mut observer = node.client();
        // Killed at another depth into the round each time: a count of commits, not a time, so that slow machines do work too.
        let wanted = last_lsn + 100 + round * 150;
        last_lsn = wait::until("the writers get on", || {
            let lsn = receipt(&mut observer).lsn;
            (lsn >= wanted).then_some(lsn)
        });
        node.kill9();
        histories = load.finish();
        let acknowledged: u64 = histories.iter().map(|history| history.acknowledged_count).sum();
        assert!(acknowledged > acknowledged_before, "round {round} acknowledged nothing: it proves nothing");

        node = Node::start(&dir, &Options::new());
        let mut client = node.client();
        assert!(receipt(&mut client).lsn >= last_lsn, "the log went back behind what a reader was told is durable");
        for history in &mut histories {
            history.expect_kept(&mut client);
        }
        last_lsn = receipt(&mut client).lsn;
    }
}

#[test]
fn what_any_reader_saw_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("node");
    let mut node = Node::start(&dir, &Options::new());
    for _ in 0..3 {
        let address = node.data;
        let stop = Arc::new(AtomicBool::new(false));
        let writer = std::thread::spawn(move || {
            let Ok(mut client) = Client::connect(address) else { return };
            while client.call(&["INCR", "counter"]).is_ok() {}
        });
        let reader_stop = Arc::clone(&stop);
        let reader = std::thread::spawn(move || {
            let Ok(mut client) = Client::connect(address) else { return 0 };
            let mut newest = 0;
            while !reader_stop.load(Ordering::Relaxed) {
                match client.call(&["GET", "counter"]) {
                    Ok(Value::Null) => {}
                    Ok(value) => newest = value.text().parse().unwrap(),
                    Err(_) => break,
                }
            }
            newest
        });
        let mut observer = node.client();
        let start: u64 = counter(&mut observer);
        wait::until("the counter moves", || (counter(&mut observer) > start + 200).then_some(()));
        node.kill9();
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap();
        let seen = reader.join().unwrap();
        assert!(seen > start, "the reader saw nothing: the round proves nothing");

        node = Node::start(&dir, &Options::new());
        let kept = counter(&mut node.client());
        assert!(kept >= seen, "a reader saw {seen}, and {kept} is left");
    }
}

fn counter(client: &mut Client) -> u64 {
    match client.expect(&["GET", "counter"]) {
        Value::Null => 0,
        value => value.text().parse().unwrap(),
    }
}

#[test]
fn a_kill_during_the_start_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("node");
    let node = Node::start(&dir, &Options::new());
    let mut client = node.client();
    for index in 0..500 {
        client.expect(&["SET", &format!("key:{index}"), "value"]);
    }
    let before = digest(&mut client);
    node.kill9();
    for delay_ms in [1, 5, 20, 60, 120] {
        let mut child = std::process::Command::new(reddb_tests::cli::binary())
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--dir"])
            .arg(&dir)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Sleep: the moment of the kill is what is varied; there is no event to wait for.
        std::thread::sleep(Duration::from_millis(delay_ms));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let node = Node::start(&dir, &Options::new());
    assert_eq!(digest(&mut node.client()).sha256, before.sha256);
}

#[test]
fn sigterm_ends_with_success_and_leaves_everything() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("node");
    let node = Node::start(&dir, &Options::new());
    let mut client = node.client();
    for index in 0..200 {
        client.expect(&["HSET", &format!("hash:{}", index % 20), &index.to_string(), "value"]);
    }
    let before = digest(&mut client);
    let started = Instant::now();
    assert_eq!(node.stop().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(30), "a clean stop took {:?}", started.elapsed());

    let node = Node::start(&dir, &Options::new());
    assert_eq!(digest(&mut node.client()).sha256, before.sha256);
}

#[test]
fn a_directory_in_use_is_refused_and_its_owner_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("node");
    let node = Node::start(&dir, &Options::new());
    let second = reddb_tests::cli::reddb(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--dir",
        dir.to_str().unwrap(),
    ])
    .expect_code(6);
    assert!(!second.stderr.is_empty(), "a refusal says why");
    assert_eq!(node.client().expect(&["SET", "still", "here"]), Value::ok());
}

#[test]
fn a_port_in_use_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = folder.path().join("node");
    let arguments = ["serve", "--listen", &address, "--admin", "127.0.0.1:0", "--dir", dir.to_str().unwrap()];
    let outcome = reddb_tests::cli::reddb(&arguments);
    assert_ne!(outcome.code, 0);
    assert!(outcome.stderr.contains(&address), "{}", outcome.stderr);
}
