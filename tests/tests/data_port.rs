//! Clients that misbehave, by accident or on purpose: the server answers or hangs up, and goes on serving the others.

use std::io::{Read, Write};
use std::net::TcpStream;

use reddb_tests::resp::words;
use reddb_tests::{Client, Node, Options, Value};

struct Served {
    _folder: tempfile::TempDir,
    node: Node,
}

fn served() -> Served {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("node"), &Options::new());
    Served { _folder: folder, node }
}

impl Served {
    /// Sends bytes on a connection of their own; the answer, if any, is an error; and the server still serves.
    #[track_caller]
    fn survives(&self, bytes: &[u8]) {
        let mut client = self.node.client();
        // The server may hang up before it has read everything.
        drop(client.send(bytes));
        if let Ok(answer) = client.read() {
            assert!(answer.is_error(), "{:?} was answered with {answer:?}", String::from_utf8_lossy(bytes));
        }
        drop(client);
        self.still_serves();
    }

    #[track_caller]
    fn still_serves(&self) {
        assert_eq!(self.node.client().expect(&["ECHO", "there"]), Value::bulk("there"));
    }
}

#[test]
fn malformed_requests_are_refused_and_harm_nobody() {
    let server = served();
    let inputs: [&[u8]; 11] = [
        b"*\r\n",
        b"*x\r\n",
        b"*1\r\n$x\r\n",
        b"*1\r\n:1\r\n",
        b"*1\r\n$-5\r\n",
        b"*-5\r\nnonsense nonsense\r\n",
        b"*1\r\n+PING\r\n",
        b"*99999999999999999999\r\n",
        b"*1\r\n$99999999999999999999\r\n",
        b"\xff\xfe\xfd\xfc\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    for input in inputs {
        server.survives(input);
    }
}

#[test]
fn declared_lengths_are_not_believed() {
    let server = served();
    for input in
        ["*1\r\n$9223372036854775807\r\n", "*2147483647\r\n$3\r\nGET\r\n", "*2147483648\r\n", "*1\r\n$536870913\r\n"]
    {
        let mut client = server.node.client();
        client.send(input.as_bytes()).unwrap();
        drop(client);
    }
    let resident = resident_bytes(server.node.pid());
    // Many at once that promise much and send little.
    let promising: Vec<_> = (0..200)
        .map(|_| {
            let mut client = server.node.client();
            client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\nx").unwrap();
            client
        })
        .collect();
    server.still_serves();
    let grown = resident_bytes(server.node.pid()).saturating_sub(resident);
    assert!(grown < 256 << 20, "200 promises of 500 MB made the server grow by {grown} bytes");
    drop(promising);
    server.still_serves();
}

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1024
}

#[test]
fn noise_of_every_kind_is_survived() {
    let server = served();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    for _ in 0..200 {
        let mut bytes = Vec::new();
        for _ in 0..64 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        // Half of it begins as a request does.
        if state.is_multiple_of(2) {
            bytes[..4].copy_from_slice(b"*3\r\n");
        }
        let mut client = server.node.client();
        drop(client.send(&bytes));
    }
    server.still_serves();
}

#[test]
fn an_error_reply_never_costs_the_connection() {
    let server = served();
    let mut client = server.node.client();
    client.expect(&["SET", "text", "no number"]);
    let wrong: [&[&str]; 6] =
        [&["NOSUCHCOMMAND"], &["GET"], &["INCR", "text"], &["HGET", "text", "f"], &["SELECT", "99"], &["EXEC"]];
    for command in wrong {
        assert!(client.call(command).unwrap().is_error(), "{command:?}");
        assert_eq!(client.expect(&["PING"]), Value::Simple("PONG".to_owned()));
    }
}

#[test]
fn inline_commands_are_commands() {
    let server = served();
    let mut client = server.node.client();
    client.send(b"SET inline \"with space\"\r\nGET inline\r\n\r\nPING\r\n").unwrap();
    assert_eq!(client.read().unwrap(), Value::ok());
    assert_eq!(client.read().unwrap(), Value::bulk("with space"));
    assert_eq!(client.read().unwrap(), Value::Simple("PONG".to_owned()));
}

#[test]
fn a_pipeline_is_answered_in_order_and_reads_its_own_writes() {
    let server = served();
    let mut client = server.node.client();
    let mut commands = Vec::new();
    for index in 0..500 {
        commands.push(words(&["SET", "key", &index.to_string()]));
        commands.push(words(&["GET", "key"]));
    }
    let answers = client.pipeline(&commands).unwrap();
    for (index, pair) in answers.chunks(2).enumerate() {
        assert_eq!(pair, [Value::ok(), Value::bulk(index.to_string())]);
    }
}

#[test]
fn a_command_may_arrive_byte_by_byte() {
    let server = served();
    let mut client = server.node.client();
    for byte in b"*3\r\n$3\r\nSET\r\n$4\r\nslow\r\n$4\r\nly\r\n\r\n*2\r\n$3\r\nGET\r\n$4\r\nslow\r\n" {
        client.send(&[*byte]).unwrap();
    }
    assert_eq!(client.read().unwrap(), Value::ok());
    assert_eq!(client.read().unwrap(), Value::bulk("ly\r\n"));
}

#[test]
fn a_client_that_never_reads_does_not_grow_the_server_without_bound() {
    let server = served();
    let mut client = server.node.client();
    let value = "v".repeat(1 << 20);
    client.expect(&["SET", "big", &value]);
    let before = resident_bytes(server.node.pid());
    let mut greedy = TcpStream::connect(server.node.data).unwrap();
    greedy.set_write_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
    let request = b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n".repeat(2000);
    // It asks for 2 GB and reads none of it: the server stops reading, or hangs up.
    drop(greedy.write_all(&request));
    server.still_serves();
    let grown = resident_bytes(server.node.pid()).saturating_sub(before);
    assert!(grown < 512 << 20, "a client that reads nothing made the server grow by {grown} bytes");
    drop(greedy);
    server.still_serves();
}

#[test]
fn a_half_open_connection_harms_nobody() {
    let server = served();
    let mut half = TcpStream::connect(server.node.data).unwrap();
    half.write_all(b"*2\r\n$3\r\nGET\r\n$100\r\nabc").unwrap();
    half.shutdown(std::net::Shutdown::Write).unwrap();
    half.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let mut rest = Vec::new();
    let read = half.read_to_end(&mut rest);
    assert!(read.is_ok(), "the server keeps a connection that can never finish its request: {read:?}");
    server.still_serves();
}

#[test]
fn thousands_of_idle_connections_are_held() {
    let server = served();
    // Two descriptors a connection count here where the server has one: as many as this process may open.
    let wanted = 900.min(open_files_max() / 2);
    let mut idle: Vec<Client> = (0..wanted).map(|_| server.node.client()).collect();
    server.still_serves();
    let first = idle.first_mut().unwrap();
    assert_eq!(first.expect(&["PING"]), Value::Simple("PONG".to_owned()));
    let last = idle.last_mut().unwrap();
    assert_eq!(last.expect(&["PING"]), Value::Simple("PONG".to_owned()));
}

fn open_files_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(1024)
}

#[test]
fn transactions_are_all_or_nothing() {
    let server = served();
    let mut client = server.node.client();
    client.expect(&["MULTI"]);
    client.expect(&["SET", "one", "1"]);
    assert!(client.call(&["NOSUCHCOMMAND"]).unwrap().is_error());
    let refused = client.call(&["EXEC"]).unwrap();
    assert!(matches!(&refused, Value::Error(text) if text.starts_with("EXECABORT")), "{refused:?}");
    assert_eq!(client.expect(&["EXISTS", "one"]), Value::Integer(0));

    let mut other = server.node.client();
    client.expect(&["WATCH", "watched"]);
    other.expect(&["SET", "watched", "by another"]);
    client.expect(&["MULTI"]);
    client.expect(&["SET", "watched", "mine"]);
    assert_eq!(client.expect(&["EXEC"]), Value::Null);
    assert_eq!(client.expect(&["GET", "watched"]), Value::bulk("by another"));
}
