//! Real data, changed while backups run, lost with its machine, and restored to three moments: field by field as it was.
//!
//! The data is Debian's package index. `REDDB_TEST_PACKAGES_MAX` says how many packages; `cargo xtask packages` takes all.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reddb_tests::cli::{has, reddb};
use reddb_tests::debian::{self, Packages};
use reddb_tests::digest::{Digest, digest, receipt};
use reddb_tests::resp::{encode, words};
use reddb_tests::scene::wait_for_snapshot;
use reddb_tests::{Client, Node, Options, Value, wait};

/// Commands sent at once.
const BATCH: usize = 500;

/// A moment that must come back: how to ask for it, and what it was.
struct Moment {
    flag: &'static str,
    target: String,
    model: Packages,
    digest: Digest,
}

#[test]
fn debians_packages_come_back_as_they_were_at_three_moments() {
    let limit = std::env::var("REDDB_TEST_PACKAGES_MAX").map_or(2000, |text| text.parse().expect("a count"));
    if !has("redis-cli") {
        return;
    }
    let Some(mut model) = debian::packages(limit) else { return };
    let folder = tempfile::tempdir().unwrap();
    let archive = format!("file://{}", folder.path().join("archive").display());
    let dir = folder.path().join("node");
    let node = Node::start(&dir, &Options::new().archive(&archive));
    wait_for_snapshot(&node);
    println!("{} packages", model.len());

    load_with_redis_cli(&node, &model);
    let mut moments = vec![moment(&node, "--to-lsn", &model, |client| receipt(client).lsn.to_string())];
    change_while_backing_up(&node, &mut model, 1);
    moments.push(moment(&node, "--to-time", &model, |_| now_ms().to_string()));
    change_while_backing_up(&node, &mut model, 2);
    moments.push(moment(&node, "--to-label", &model, |_| {
        let _ = reddb(&["mark", "third", "--admin", &node.admin_url()]).expect_code(0);
        "third".to_owned()
    }));
    change_while_backing_up(&node, &mut model, 3);
    expect_equal(&mut node.client(), &model);

    wait_until_archived(&node);
    node.kill9();
    std::fs::remove_dir_all(&dir).unwrap();

    let _ = reddb(&["verify", "--archive", &archive]).expect_code(0);
    for moment in &moments {
        expect_restored(folder.path(), &archive, moment);
    }
}

fn moment(node: &Node, flag: &'static str, model: &Packages, target: impl FnOnce(&mut Client) -> String) -> Moment {
    let mut client = node.client();
    // Any write, so that this connection's receipt is the newest record.
    client.expect(&["HSET", "campaign", "moment", flag]);
    // Of a connection of its own: the model does not know it.
    client.expect(&["DEL", "campaign"]);
    let digest = digest(&mut client);
    let target = target(&mut client);
    // Sleep: the next record must carry a later time, in milliseconds, than the target.
    std::thread::sleep(Duration::from_millis(5));
    Moment { flag, target, model: model.clone(), digest }
}

fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}

fn load_with_redis_cli(node: &Node, model: &Packages) {
    let mut cli = Command::new("redis-cli")
        .args(["-h", "127.0.0.1", "-p", &node.data.port().to_string(), "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = cli.stdin.take().unwrap();
    let bytes: Vec<u8> = model.iter().flat_map(|(key, fields)| encode(&hset(key, fields))).collect();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = cli.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let wanted = format!("errors: 0, replies: {}", model.len());
    assert!(output.status.success() && said.contains(&wanted), "redis-cli --pipe said:\n{said}");
}

fn hset(key: &str, fields: &BTreeMap<String, String>) -> Vec<Vec<u8>> {
    let mut command = words(&["HSET", key]);
    for (name, value) in fields {
        command.extend(words(&[name, value]));
    }
    command
}

/// Applies a round of changes to the server and to the model, while a backup runs beside them.
fn change_while_backing_up(node: &Node, model: &mut Packages, round: usize) {
    let admin = node.admin_url();
    let backup = std::thread::spawn(move || reddb(&["backup", "--admin", &admin]));
    let mut client = node.client();
    let mut batch = Vec::new();
    let keys: Vec<String> = model.keys().cloned().collect();
    for (index, key) in keys.iter().enumerate() {
        batch.extend(change(model, key, index + round, round));
        if batch.len() >= BATCH {
            send(&mut client, &mut batch);
        }
    }
    send(&mut client, &mut batch);
    let _ = backup.join().unwrap().expect_code(0);
}

/// What happens to one package in one round: most stay, some change, some lose a field, some go, some come.
fn change(model: &mut Packages, key: &str, choice: usize, round: usize) -> Option<Vec<Vec<u8>>> {
    match choice % 11 {
        0 => {
            model.remove(key);
            Some(words(&["DEL", key]))
        }
        1 | 2 => {
            let version = format!("{round}:{choice}-reddb");
            model.get_mut(key)?.insert("Version".to_owned(), version.clone());
            Some(words(&["HSET", key, "Version", &version]))
        }
        3 => {
            model.get_mut(key)?.remove("Description");
            Some(words(&["HDEL", key, "Description"]))
        }
        4 => {
            let fresh = format!("{key}:round-{round}");
            let fields =
                BTreeMap::from([("Package".to_owned(), fresh.clone()), ("Round".to_owned(), round.to_string())]);
            let command = hset(&fresh, &fields);
            model.insert(fresh, fields);
            Some(command)
        }
        _ => None,
    }
}

fn send(client: &mut Client, batch: &mut Vec<Vec<Vec<u8>>>) {
    for answer in client.pipeline(batch).unwrap() {
        assert!(!answer.is_error(), "{answer:?}");
    }
    batch.clear();
}

fn wait_until_archived(node: &Node) {
    let durable = receipt(&mut node.client()).lsn;
    wait::until("the archive has everything", || (node.archived_lsn() >= durable).then_some(()));
}

fn expect_restored(folder: &Path, archive: &str, moment: &Moment) {
    let into = folder.join(format!("restored{}", moment.flag));
    let into_text = into.to_str().unwrap();
    let _ = reddb(&["restore", "--archive", archive, "--into", into_text, moment.flag, &moment.target]).expect_code(0);
    let node = Node::start(&into, &Options::new().archive(archive).switch("--takeover"));
    let mut client = node.client();
    assert_eq!(digest(&mut client).sha256, moment.digest.sha256, "the digest after {} {}", moment.flag, moment.target);
    expect_equal(&mut client, &moment.model);
    println!("{} {}: {} packages as they were", moment.flag, moment.target, moment.model.len());
}

/// Every key, every field, and nothing else.
fn expect_equal(client: &mut Client, model: &Packages) {
    assert_eq!(client.expect(&["DBSIZE"]), Value::Integer(i64::try_from(model.len()).unwrap()));
    let keys: Vec<&String> = model.keys().collect();
    for keys in keys.chunks(BATCH) {
        let commands: Vec<_> = keys.iter().map(|key| words(&["HGETALL", key])).collect();
        for (key, answer) in keys.iter().zip(client.pipeline(&commands).unwrap()) {
            let pairs = answer.items().chunks(2).map(|pair| (pair[0].text(), pair[1].text()));
            let found: BTreeMap<String, String> = pairs.collect();
            assert_eq!(found, model[*key], "{key}");
        }
    }
}
