//! The data port over real sockets, on a real database.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{Port, PortConfig};
use crate::config::Config;
use crate::database::Database;

/// How long anything may take that surely comes, on a busy machine with a slow disk. Reached only where a test fails.
const PATIENCE: Duration = Duration::from_secs(300);

struct Server {
    port: Option<Port>,
    db: Option<Database>,
    address: SocketAddr,
    _dir: TempDir,
}

impl Server {
    async fn start(change: impl FnOnce(&mut PortConfig)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config::new(dir.path().join("data"), 64 << 20);
        config.snapshot_interval = None;
        config.disk_reserve_bytes = 0;
        let db = Database::open(config).await.expect("open");
        let mut port_config =
            PortConfig { listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))], ..PortConfig::default() };
        change(&mut port_config);
        let port = Port::open(port_config, db.clone()).await.expect("listen");
        let address = port.addresses()[0];
        Self { port: Some(port), db: Some(db), address, _dir: dir }
    }

    async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.expect("connect") }
    }

    async fn stop(mut self) {
        self.port.take().expect("open").close(Duration::from_secs(5)).await;
        self.db.take().expect("open").close(Duration::from_secs(5)).await.expect("closed");
    }
}

struct Client {
    stream: TcpStream,
}

fn encode(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

impl Client {
    async fn send(&mut self, commands: &[&[&str]]) {
        let bytes: Vec<u8> = commands.iter().flat_map(|words| encode(words)).collect();
        self.stream.write_all(&bytes).await.expect("sent");
    }

    /// The next bytes that the server sends are exactly these.
    async fn expect(&mut self, expected: &str) {
        let mut got = vec![0; expected.len()];
        let read = timeout(PATIENCE, self.stream.read_exact(&mut got)).await;
        let got = String::from_utf8_lossy(&got).into_owned();
        assert!(read.is_ok_and(|read| read.is_ok()), "expected {expected:?}, got {got:?} and no more");
        assert_eq!(got, expected);
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(timeout(PATIENCE, self.stream.read_u8()).await.expect("in time").expect("a byte"));
        }
        String::from_utf8(line).expect("text").trim_end().to_owned()
    }

    async fn bulk(&mut self) -> String {
        let length: usize = self.line().await.strip_prefix('$').expect("a bulk string").parse().expect("a length");
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes).await.expect("the string");
        bytes.truncate(length);
        String::from_utf8(bytes).expect("text")
    }

    async fn call(&mut self, words: &[&str], expected: &str) {
        self.send(&[words]).await;
        self.expect(expected).await;
    }

    /// The server closes the connection without another byte.
    async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        match timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("in time") {
            Ok(_) => assert_eq!(String::from_utf8_lossy(&rest), ""),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }

    async fn lsn(&mut self) -> u64 {
        self.send(&[&["RED.LSN"]]).await;
        self.expect("*3\r\n:1\r\n:").await;
        let lsn = self.line().await.parse().expect("an LSN");
        assert_eq!(self.bulk().await.len(), 64);
        lsn
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_answered_in_order_and_sees_its_own_writes() {
    let server = Server::start(|_| {}).await;
    let mut client = server.connect().await;
    client
        .send(&[
            &["PING"],
            &["GET", "k"],
            &["SET", "k", "1"],
            &["INCR", "k"],
            &["GET", "k"],
            &["ECHO", "between"],
            &["SELECT", "3"],
            &["GET", "k"],
            &["SET", "k", "other"],
            &["SELECT", "0"],
            &["GET", "k"],
            &["KEYS", "*"],
            &["NOSUCH"],
            &["DEL", "k"],
            &["DBSIZE"],
        ])
        .await;
    client
        .expect(
            "+PONG\r\n$-1\r\n+OK\r\n:2\r\n$1\r\n2\r\n$7\r\nbetween\r\n+OK\r\n$-1\r\n+OK\r\n+OK\r\n$1\r\n2\r\n*1\r\n$1\r\nk\r\n\
             -ERR unknown command 'NOSUCH', with args beginning with: \r\n:1\r\n:0\r\n",
        )
        .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_of_a_pipeline_come_in_order() {
    let server = Server::start(|_| {}).await;
    let mut client = server.connect().await;
    let value = "v".repeat(1 << 20);
    client.call(&["SET", "large", &value], "+OK\r\n").await;
    let mut pipeline: Vec<&[&str]> = vec![&["SET", "n", "1"]];
    for _ in 0..20 {
        pipeline.extend([&["GET", "large"][..], &["NOSUCH"], &["INCR", "n"]]);
    }
    client.send(&pipeline).await;
    client.expect("+OK\r\n").await;
    for n in 0..20 {
        client.expect(&format!("$1048576\r\n{value}\r\n")).await;
        assert!(client.line().await.starts_with("-ERR unknown command"));
        client.expect(&format!(":{}\r\n", n + 2)).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_watches_only_so_many_keys() {
    let server = Server::start(|_| {}).await;
    let mut client = server.connect().await;
    let names: Vec<String> = (0..4096).map(|number| number.to_string()).collect();
    let all: Vec<&str> = std::iter::once("WATCH").chain(names.iter().map(String::as_str)).collect();
    client.call(&all, "+OK\r\n").await;
    client.send(&[&["WATCH", "one more"]]).await;
    assert!(client.line().await.starts_with("-ERR a connection may watch 4096 keys"));
    client.call(&["UNWATCH"], "+OK\r\n").await;
    client.call(&["WATCH", "one more"], "+OK\r\n").await;
    client.call(&["RESET"], "+RESET\r\n").await;
    let long = "k".repeat(60_000);
    for _ in 0..17 {
        client.call(&["WATCH", &long], "+OK\r\n").await;
    }
    client.send(&[&["WATCH", &long]]).await;
    assert!(client.line().await.starts_with("-ERR a connection may watch"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipelines_writes_share_syncs() {
    let server = Server::start(|_| {}).await;
    let mut client = server.connect().await;
    let syncs = |server: &Server| server.db.as_ref().expect("open").status().syncs;
    let before = syncs(&server);
    let commands: Vec<Vec<String>> =
        (0..500).map(|n| vec!["SET".to_owned(), format!("k{n}"), "v".to_owned()]).collect();
    let words: Vec<Vec<&str>> = commands.iter().map(|words| words.iter().map(String::as_str).collect()).collect();
    client.send(&words.iter().map(Vec::as_slice).collect::<Vec<_>>()).await;
    client.expect(&"+OK\r\n".repeat(500)).await;
    assert!(syncs(&server) - before < 50, "{} syncs for 500 pipelined writes", syncs(&server) - before);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipelines_writes_share_a_sync_however_many_reads_they_take() {
    const WRITES: usize = 400;
    let server = Server::start(|_| {}).await;
    let (mut operator, mut client) = (server.connect().await, server.connect().await);
    let syncs = |server: &Server| server.db.as_ref().expect("open").status().syncs;
    // All of it fits, so that it is under way before the first of it is carried out.
    SockRef::from(&client.stream).set_send_buffer_size(4 * 1024 * 1024).expect("a buffer");
    operator.call(&["CLIENT", "PAUSE", "60000", "WRITE"], "+OK\r\n").await;
    let value = "v".repeat(500);
    let commands: Vec<Vec<String>> =
        (0..WRITES).map(|n| vec!["SET".to_owned(), format!("k{n}"), value.clone()]).collect();
    let words: Vec<Vec<&str>> = commands.iter().map(|words| words.iter().map(String::as_str).collect()).collect();
    client.send(&words.iter().map(Vec::as_slice).collect::<Vec<_>>()).await;
    let before = syncs(&server);
    operator.call(&["CLIENT", "UNPAUSE"], "+OK\r\n").await;
    client.expect(&"+OK\r\n".repeat(WRITES)).await;
    // More than three reads' worth, so that a sync for each would be four. A network that takes its time costs one or two.
    assert!(syncs(&server) - before <= 3, "{} syncs for {WRITES} pipelined writes", syncs(&server) - before);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_are_all_or_nothing_and_keep_the_session_right() {
    let server = Server::start(|_| {}).await;
    let (mut client, mut other) = (server.connect().await, server.connect().await);
    client
        .send(&[
            &["MULTI"],
            &["SET", "a", "1"],
            &["SELECT", "2"],
            &["SET", "a", "2"],
            &["PING"],
            &["EXEC"],
            &["GET", "a"],
        ])
        .await;
    client
        .expect("+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*4\r\n+OK\r\n+OK\r\n+OK\r\n+PONG\r\n$1\r\n2\r\n")
        .await;
    client.call(&["SELECT", "0"], "+OK\r\n").await;
    client.call(&["GET", "a"], "$1\r\n1\r\n").await;

    client.call(&["WATCH", "a"], "+OK\r\n").await;
    other.call(&["SET", "a", "9"], "+OK\r\n").await;
    client.send(&[&["MULTI"], &["SELECT", "5"], &["SET", "a", "3"], &["EXEC"], &["GET", "a"]]).await;
    client.expect("+OK\r\n+QUEUED\r\n+QUEUED\r\n*-1\r\n$1\r\n9\r\n").await;

    client.send(&[&["WATCH", "a"], &["MULTI"], &["SET", "a", "4"], &["EXEC"], &["MULTI"], &["EXEC"]]).await;
    client.expect("+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n+OK\r\n*0\r\n").await;

    client.send(&[&["MULTI"], &["SET", "a", "5"], &["GET"], &["MULTI"], &["EXEC"], &["EXEC"], &["GET", "a"]]).await;
    client
        .expect(
            "+OK\r\n+QUEUED\r\n-ERR wrong number of arguments for 'get' command\r\n-ERR MULTI calls can not be nested\r\n\
             -EXECABORT Transaction discarded because of previous errors.\r\n-ERR EXEC without MULTI\r\n$1\r\n4\r\n",
        )
        .await;

    client.send(&[&["MULTI"], &["SET", "a", "6"], &["DISCARD"], &["GET", "a"], &["DISCARD"]]).await;
    client.expect("+OK\r\n+QUEUED\r\n+OK\r\n$1\r\n4\r\n-ERR DISCARD without MULTI\r\n").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receipt_is_of_the_connections_last_commit() {
    let server = Server::start(|_| {}).await;
    let (mut client, mut other) = (server.connect().await, server.connect().await);
    client.call(&["SET", "a", "1"], "+OK\r\n").await;
    let first = client.lsn().await;
    other.call(&["SET", "a", "2"], "+OK\r\n").await;
    assert_eq!(other.lsn().await, first + 1);
    assert_eq!(client.lsn().await, first);
    assert_eq!(server.connect().await.lsn().await, first + 1);
    client.send(&[&["RED.DIGEST"]]).await;
    client.expect(&format!("*2\r\n:{}\r\n", first + 1)).await;
    assert_eq!(client.bulk().await.len(), 64);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_may_only_authenticate() {
    let server = Server::start(|config| config.password = Some("secret".to_owned())).await;
    let mut client = server.connect().await;
    client.call(&["GET", "a"], "-NOAUTH Authentication required.\r\n").await;
    client.call(&["NOSUCH"], "-ERR unknown command 'NOSUCH', with args beginning with: \r\n").await;
    client.call(&["AUTH", "wrong"], "-WRONGPASS invalid username-password pair or user is disabled.\r\n").await;
    client
        .call(&["AUTH", "someone", "secret"], "-WRONGPASS invalid username-password pair or user is disabled.\r\n")
        .await;
    client.send(&[&["HELLO", "3"]]).await;
    assert!(client.line().await.starts_with("-NOAUTH HELLO must be called"));
    client.call(&["AUTH", "secret"], "+OK\r\n").await;
    client.call(&["GET", "a"], "$-1\r\n").await;
    client.call(&["RESET"], "+RESET\r\n").await;
    client.call(&["GET", "a"], "-NOAUTH Authentication required.\r\n").await;

    let mut client = server.connect().await;
    client.send(&[&["HELLO", "3", "AUTH", "default", "secret", "SETNAME", "me"]]).await;
    client.expect("%7\r\n").await;

    for (too_much, error) in [
        (&b"*11\r\n"[..], "-ERR Protocol error: unauthenticated multibulk length\r\n"),
        (b"*1\r\n$20000\r\n", "-ERR Protocol error: unauthenticated bulk length\r\n"),
    ] {
        let mut client = server.connect().await;
        client.stream.write_all(too_much).await.expect("sent");
        client.expect(error).await;
        client.expect_end().await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_protocol_errors_cost_the_connection() {
    let server = Server::start(|_| {}).await;
    let mut client = server.connect().await;
    client.call(&["SET", "k", "x"], "+OK\r\n").await;
    client.call(&["INCR", "k"], "-ERR value is not an integer or out of range\r\n").await;
    client.call(&["HGET", "k", "f"], "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n").await;
    client.stream.write_all(b"SET k y\r\nGET k\r\n*1\r\n$x\r\nPING\r\n").await.expect("sent");
    client.expect("+OK\r\n$1\r\ny\r\n-ERR Protocol error: invalid bulk length\r\n").await;
    client.expect_end().await;
    let mut client = server.connect().await;
    client.stream.write_all(&[b"*1\r\n$x\r\n".to_vec(), vec![b'x'; 300_000]].concat()).await.expect("sent");
    client.expect("-ERR Protocol error: invalid bulk length\r\n").await;
    client.expect_end().await;
    let mut client = server.connect().await;
    client.stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET k z\r\n").await.expect("sent");
    client.expect_end().await;
    server.connect().await.call(&["GET", "k"], "$1\r\ny\r\n").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_too_many_is_told_so() {
    let server = Server::start(|config| config.clients_max = 2).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    first.call(&["PING"], "+PONG\r\n").await;
    second.call(&["PING"], "+PONG\r\n").await;
    let mut third = server.connect().await;
    third.expect("-ERR max number of clients reached\r\n").await;
    third.expect_end().await;
    second.call(&["QUIT"], "+OK\r\n").await;
    second.expect_end().await;
    wait_until(|| server.port.as_ref().is_some_and(|port| port.shared().clients.count() == 1)).await;
    server.connect().await.call(&["PING"], "+PONG\r\n").await;
    first.call(&["CONFIG", "SET", "maxclients", "1"], "+OK\r\n").await;
    server.stop().await;
}

async fn wait_until(mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !met() {
        assert!(Instant::now() < deadline, "waited too long");
        // Sleep: the other side is seen only by asking again.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_can_be_ended_and_replies_suppressed() {
    let server = Server::start(|_| {}).await;
    let (mut client, mut other) = (server.connect().await, server.connect().await);
    other.send(&[&["CLIENT", "SETNAME", "other"], &["CLIENT", "ID"]]).await;
    other.expect("+OK\r\n:").await;
    let id = other.line().await;
    client.send(&[&["CLIENT", "LIST", "ID", &id]]).await;
    let line = client.bulk().await;
    assert!(line.starts_with(&format!("id={id} addr=127.0.0.1:")) && line.contains(" name=other "), "{line}");
    client.call(&["CLIENT", "KILL", "ID", &id], ":1\r\n").await;
    other.expect_end().await;
    client.call(&["CLIENT", "KILL", "ID", &id], ":0\r\n").await;

    client
        .send(&[
            &["CLIENT", "REPLY", "OFF"],
            &["SET", "a", "1"],
            &["GET", "a"],
            &["CLIENT", "REPLY", "ON"],
            &["CLIENT", "REPLY", "SKIP"],
            &["INCR", "a"],
            &["GET", "a"],
        ])
        .await;
    client.expect("+OK\r\n$1\r\n2\r\n").await;
    client.call(&["CLIENT", "KILL", "SKIPME", "no"], ":1\r\n").await;
    client.expect_end().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_writes_until_it_ends() {
    let server = Server::start(|_| {}).await;
    let (mut client, mut other) = (server.connect().await, server.connect().await);
    client.call(&["CLIENT", "PAUSE", "60000", "WRITE"], "+OK\r\n").await;
    other.send(&[&["GET", "a"], &["SET", "a", "1"]]).await;
    other.expect("$-1\r\n").await;
    let mut byte = [0];
    assert!(timeout(Duration::from_millis(200), other.stream.read(&mut byte)).await.is_err());
    client.call(&["GET", "a"], "$-1\r\n").await;
    client.call(&["CLIENT", "UNPAUSE"], "+OK\r\n").await;
    other.expect("+OK\r\n").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_clients_are_disconnected_when_asked_for() {
    let server = Server::start(|_| {}).await;
    let mut client = server.connect().await;
    client.call(&["CONFIG", "SET", "timeout", "1"], "+OK\r\n").await;
    client.expect_end().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_holds_up_nobody_else() {
    let server = Server::start(|_| {}).await;
    let (mut slow, mut other) = (server.connect().await, server.connect().await);
    other.call(&["SET", "big", &"x".repeat(1 << 20)], "+OK\r\n").await;
    let gets: Vec<&[&str]> = vec![&["GET", "big"]; 200];
    slow.send(&gets).await;
    for n in 1..=20 {
        other.call(&["INCR", "n"], &format!(":{n}\r\n")).await;
    }
    // What was asked for is still complete and in order.
    for _ in 0..200 {
        assert_eq!(slow.bulk().await.len(), 1 << 20);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_answers_is_disconnected() {
    let server = Server::start(|config| config.write_stall_max = Duration::from_millis(200)).await;
    let mut slow = server.connect().await;
    slow.call(&["SET", "big", &"x".repeat(1 << 20)], "+OK\r\n").await;
    slow.send(&vec![&["GET", "big"][..]; 200]).await;
    wait_until(|| server.port.as_ref().is_some_and(|port| port.shared().clients.count() == 0)).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_takes_are_bounded_over_all_clients() {
    // The sockets' buffers may take some 10 MiB of each client's 32.
    const ANSWERS: usize = 32;
    const MIB: usize = 1 << 20;
    let server = Server::start(|config| config.unsent_bytes_max = 40 * MIB).await;
    let mut reader = server.connect().await;
    reader.call(&["SET", "big", &"x".repeat(MIB)], "+OK\r\n").await;
    let get_all = vec![&["GET", "big"][..]; ANSWERS];
    let mut takes_nothing = Vec::new();
    for _ in 0..3 {
        let mut client = server.connect().await;
        client.send(&[&["MULTI"]]).await;
        client.send(&get_all).await;
        client.send(&[&["EXEC"]]).await;
        takes_nothing.push(client);
    }
    wait_until(|| server.port.as_ref().is_some_and(|port| port.shared().clients.count() == 2)).await;
    for _ in 0..ANSWERS {
        reader.call(&["STRLEN", "big"], ":1048576\r\n").await;
    }
    drop(takes_nothing);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_answers_what_was_received_and_lets_nobody_in() {
    // No other test listens there, and nobody's own port is of that host: whoever answers there is this server.
    let server = Server::start(|config| config.listen = vec![SocketAddr::from(([127, 0, 0, 2], 0))]).await;
    let mut busy = server.connect().await;
    let mut idle = server.connect().await;
    idle.call(&["PING"], "+PONG\r\n").await;
    busy.send(&[&["SET", "a", "1"], &["WAIT", "0", "0"], &["GET", "a"]]).await;
    busy.expect("+OK\r\n:0\r\n$1\r\n1\r\n").await;
    let address = server.address;
    server.stop().await;
    idle.expect_end().await;
    busy.expect_end().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_idle_connections_are_cheap() {
    const CONNECTIONS: usize = 300;
    let server = Server::start(|_| {}).await;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = server.connect().await;
        client.call(&["PING"], "+PONG\r\n").await;
        clients.push(client);
    }
    assert_eq!(server.port.as_ref().map(|port| port.shared().clients.count()), Some(CONNECTIONS));
    for client in &mut clients {
        client.call(&["PING"], "+PONG\r\n").await;
    }
    drop(clients);
    wait_until(|| server.port.as_ref().is_some_and(|port| port.shared().clients.count() == 0)).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_answers_zero_after_its_timeout() {
    let server = Server::start(|_| {}).await;
    let mut client = server.connect().await;
    let started = Instant::now();
    client.call(&["WAIT", "1", "50"], ":0\r\n").await;
    assert!(started.elapsed() >= Duration::from_millis(50));
    client.send(&[&["WAIT", "1", "0"]]).await;
    let mut byte = [0];
    assert!(timeout(Duration::from_millis(200), client.stream.read(&mut byte)).await.is_err());
    drop(client);
    wait_until(|| server.port.as_ref().is_some_and(|port| port.shared().clients.count() == 0)).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn info_has_what_tools_parse() {
    let server = Server::start(|_| {}).await;
    let mut client = server.connect().await;
    client.call(&["SET", "a", "1", "EX", "100"], "+OK\r\n").await;
    client.call(&["GET", "nothing"], "$-1\r\n").await;
    client.call(&["HGET", "a", "f"], "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n").await;
    client.send(&[&["INFO", "everything"]]).await;
    let info = client.bulk().await;
    for line in [
        "redis_version:7.0.15",
        "loading:0",
        "role:master",
        "connected_clients:1",
        "connected_slaves:0",
        "db0:keys=1,expires=1,avg_ttl=0",
        "errorstat_WRONGTYPE:count=1",
        "keyspace_misses:1",
        "timeline:1",
        "# Keyspace",
        "# RedDB",
    ] {
        assert!(info.lines().any(|found| found == line), "{line} is missing:\n{info}");
    }
    for field in
        ["rdb_bgsave_in_progress", "rdb_last_bgsave_status", "rdb_last_save_time", "aof_enabled", "used_memory"]
    {
        assert!(info.contains(&format!("\r\n{field}:")), "{field} is missing:\n{info}");
    }
    assert!(info.contains("cmdstat_set:calls=1,usec="), "{info}");
    client.send(&[&["INFO", "clients"]]).await;
    assert!(client.bulk().await.starts_with("# Clients\r\n"));
    client.call(&["INFO", "nosuch"], "$0\r\n\r\n").await;
    server.stop().await;
}

fn led(server: &Server) -> u64 {
    server.db.as_ref().expect("open").led()
}

/// The client writes until it commits in its own thread, where nobody else does.
async fn write_until_it_leads(server: &Server, writer: &mut Client) {
    let before = led(server);
    for _ in 0..1_000 {
        writer.call(&["SET", "key", "value"], "+OK\r\n").await;
        if led(server) > before {
            return;
        }
    }
    panic!("a client that is alone waits for another thread");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_alone_commits_in_its_own_thread() {
    let server = Server::start(|config| config.network_threads = 1).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    for _ in 0..200 {
        first.call(&["SET", "key", "value"], "+OK\r\n").await;
        second.call(&["PING"], "+PONG\r\n").await;
    }
    assert_eq!(led(&server), 0, "somebody else would wait");
    // The one that led before leaves the seat to the other.
    for _ in 0..5 {
        write_until_it_leads(&server, &mut first).await;
        write_until_it_leads(&server, &mut second).await;
    }
    // What a connection knows goes with it from thread to thread.
    first.call(&["SELECT", "3"], "+OK\r\n").await;
    first.call(&["MULTI"], "+OK\r\n").await;
    first.call(&["SET", "a", "1"], "+QUEUED\r\n").await;
    write_until_it_leads(&server, &mut second).await;
    for _ in 0..100 {
        first.call(&["GET", "a"], "+QUEUED\r\n").await;
    }
    second.call(&["PING"], "+PONG\r\n").await;
    first.call(&["DISCARD"], "+OK\r\n").await;
    write_until_it_leads(&server, &mut first).await;
    second.call(&["EXISTS", "key"], ":1\r\n").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_alone_can_be_killed_and_its_seat_is_free_then() {
    let server = Server::start(|config| config.network_threads = 1).await;
    for _ in 0..3 {
        let mut alone = server.connect().await;
        write_until_it_leads(&server, &mut alone).await;
        alone.send(&[&["CLIENT", "ID"]]).await;
        let id = alone.line().await.trim_matches([':', '\r', '\n']).to_owned();
        let mut other = server.connect().await;
        other.call(&["CLIENT", "KILL", "ID", &id], ":1\r\n").await;
        alone.expect_end().await;
        write_until_it_leads(&server, &mut other).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_connections_know_goes_with_them_when_they_are_spread_and_gathered() {
    let mut server = Server::start(|config| config.network_threads = 3).await;
    server.port.as_mut().expect("open").stop_balancing().await;
    let mut clients: Vec<Client> = Vec::new();
    for number in 0..6 {
        let mut client = server.connect().await;
        client.call(&["SELECT", &number.to_string()], "+OK\r\n").await;
        client.call(&["MULTI"], "+OK\r\n").await;
        clients.push(client);
    }
    let mut watcher = server.connect().await;
    let mut queued = 0;
    for spread in [true, false, true, false] {
        server.port.as_ref().expect("open").shared().network.set_spread(spread);
        // A connection moves behind what it sent after that, and only there.
        for _ in 0..2 {
            queued += 1;
            for client in &mut clients {
                client.call(&["INCR", "count"], "+QUEUED\r\n").await;
            }
            watcher.call(&["PING"], "+PONG\r\n").await;
        }
        watcher.send(&[&["CLIENT", "LIST"]]).await;
        let list = watcher.bulk().await;
        let mut threads: Vec<&str> = list.lines().filter_map(|line| line.split(" io-thread=").nth(1)).collect();
        threads.sort_unstable();
        let expected = if spread { ["0", "0", "1", "1", "1", "2", "2"] } else { ["0"; 7] };
        assert_eq!(threads, expected, "spread: {spread}");
    }
    for client in &mut clients {
        client.send(&[&["EXEC"]]).await;
        let counts: String = (1..=queued).map(|count| format!(":{count}\r\n")).collect();
        client.expect(&format!("*{queued}\r\n{counts}")).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_readable_for_who_has_read_or_waits() {
    let server = Server::start(|config| config.network_threads = 1).await;
    // The one that asks, and nobody else.
    let nobody_reads = || server.db.as_ref().expect("open").status().engine.snapshots == 1;
    let mut clients = [server.connect().await, server.connect().await, server.connect().await];
    for client in &mut clients {
        client.call(&["SET", "key", "value"], "+OK\r\n").await;
        client.call(&["GET", "key"], "$5\r\nvalue\r\n").await;
    }
    wait_until(nobody_reads).await;
    let [reader, writer, pauser] = &mut clients;
    reader.send(&[&["GET", "key"], &["WAIT", "1", "0"]]).await;
    reader.expect("$5\r\nvalue\r\n").await;
    writer.send(&[&["SET", "key", "other"], &["WAIT", "1", "0"]]).await;
    writer.expect("+OK\r\n").await;
    wait_until(nobody_reads).await;
    pauser.call(&["CLIENT", "PAUSE", "3600000", "WRITE"], "+OK\r\n").await;
    pauser.send(&[&["GET", "key"], &["SET", "key", "value"]]).await;
    pauser.expect("$5\r\nother\r\n").await;
    wait_until(nobody_reads).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_reads_and_large_answers_leave_a_network_thread_to_others() {
    let server = Server::start(|config| config.network_threads = 1).await;
    let mut loader = server.connect().await;
    let keys: Vec<String> = (0..20_000).map(|n| format!("key:{n:05}")).collect();
    for keys in keys.chunks(500) {
        let commands: Vec<[&str; 3]> = keys.iter().map(|key| ["SET", key, "value"]).collect();
        let commands: Vec<&[&str]> = commands.iter().map(<[&str; 3]>::as_slice).collect();
        loader.send(&commands).await;
        loader.expect(&"+OK\r\n".repeat(500)).await;
    }
    let elements: String = keys.iter().map(|key| format!("$9\r\n{key}\r\n")).collect();
    let answer = format!("*20000\r\n{elements}");
    let mut slow = server.connect().await;
    let mut others: Vec<Client> = Vec::new();
    for _ in 0..8 {
        others.push(server.connect().await);
    }
    // Nobody takes the answers, which are larger than what the sockets hold.
    slow.send(&[&["KEYS", "*"][..]; 64]).await;
    for _ in 0..50 {
        for other in &mut others {
            other.call(&["GET", "key:00000"], "$5\r\nvalue\r\n").await;
        }
    }
    for _ in 0..64 {
        slow.expect(&answer).await;
    }
    server.stop().await;
}
