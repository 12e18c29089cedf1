//! What the commands answer. Where Redis 7.0 has an opinion, this is it.

use crate::keyspace::Touched;
use crate::keyspace::tests::{TestDatabase, find, show};

use super::{DATA_COMMANDS, KeyPositions};

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const SYNTAX: &str = "ERR syntax error";
const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
const NOT_A_FLOAT: &str = "ERR value is not a valid float";

#[test]
fn every_command_is_described_once() {
    let mut names: Vec<&str> = DATA_COMMANDS.iter().copied().flatten().map(|spec| spec.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for spec in DATA_COMMANDS.iter().copied().flatten() {
        assert!(!spec.name.is_empty() && !spec.summary.is_empty(), "{spec:?}");
        assert_eq!(spec.is_write(), spec.flags.contains(&"write"), "{spec:?}");
        assert!(spec.arity != 0 && (spec.keys == KeyPositions::NONE || spec.arity.unsigned_abs() >= 2), "{spec:?}");
    }
}

#[test]
fn set_and_its_options() {
    TestDatabase::new().expect(&[
        ("SET s v", "OK"),
        ("HSET h f v", "1"),
        ("SET s v EX 0", "ERR invalid expire time in 'set' command"),
        ("SET s v EX -1", "ERR invalid expire time in 'set' command"),
        ("SET s v EX x", NOT_AN_INTEGER),
        ("SET s v EX", SYNTAX),
        ("SET s v EX 10 PX 10", SYNTAX),
        ("SET s v NX XX", SYNTAX),
        ("SET s v KEEPTTL EX 10", SYNTAX),
        ("SET s v EX 10 KEEPTTL", SYNTAX),
        ("SET s v PERSIST", SYNTAX),
        ("SET s v EX 9223372036854775807", "ERR invalid expire time in 'set' command"),
        ("SET s v PX 9223372036854775807", "ERR invalid expire time in 'set' command"),
        ("SET h v GET", WRONG_TYPE),
        ("SET h v GET EX 0", "ERR invalid expire time in 'set' command"),
        ("TYPE h", "hash"),
        ("SET s w NX GET", "'v'"),
        ("GET s", "'v'"),
        ("SET none w XX GET", "nil"),
        ("SET none w XX", "nil"),
        ("EXISTS none", "0"),
        ("SET new w NX GET", "nil"),
        ("GET new", "'w'"),
        ("SET s w NX", "nil"),
        ("SET s w XX nx", SYNTAX),
        ("SET s w XX ex 10 EX 20", "OK"),
        ("TTL s", "20"),
        ("SET s x KEEPTTL", "OK"),
        ("TTL s", "20"),
        ("SET s x", "OK"),
        ("TTL s", "-1"),
        ("SET s x PXAT 9223372036854775807", "OK"),
        ("PEXPIRETIME s", "9223372036854775807"),
        ("SET h v", "OK"),
        ("TYPE h", "string"),
        ("SET s v EXAT 1", "OK"),
        ("EXISTS s", "0"),
        ("SET s v GET EXAT 1", "nil"),
        ("DBSIZE", "2"),
        ("SETNX s v", "1"),
        ("SETNX s w", "0"),
        ("SETEX s 0 v", "ERR invalid expire time in 'setex' command"),
        ("SETEX s 7 v", "OK"),
        ("PTTL s", "7000"),
        ("PSETEX s -1 v", "ERR invalid expire time in 'psetex' command"),
        ("PSETEX s 1499 v", "OK"),
        ("TTL s", "1"),
        ("PSETEX s 1500 v", "OK"),
        ("TTL s", "2"),
        ("SET s", "ERR wrong number of arguments for 'set' command"),
    ]);
}

#[test]
fn getting_with_side_effects() {
    TestDatabase::new().expect(&[
        ("GETEX s EX 0", "nil"),
        ("HSET h f v", "1"),
        ("GETEX h EX 0", WRONG_TYPE),
        ("SET s v", "OK"),
        ("GETEX s EX 0", "ERR invalid expire time in 'getex' command"),
        ("GETEX s NX", SYNTAX),
        ("GETEX s KEEPTTL", SYNTAX),
        ("GETEX s EX 10 PERSIST", SYNTAX),
        ("GETEX s EX 10", "'v'"),
        ("GETEX s", "'v'"),
        ("TTL s", "10"),
        ("GETEX s PERSIST", "'v'"),
        ("TTL s", "-1"),
        ("GETEX s EXAT 1", "'v'"),
        ("GET s", "nil"),
        ("GETSET s a", "nil"),
        ("GETSET s b", "'a'"),
        ("GETSET h b", WRONG_TYPE),
        ("GETDEL s", "'b'"),
        ("GETDEL s", "nil"),
        ("GETDEL h", WRONG_TYPE),
        ("GET h", WRONG_TYPE),
        ("MGET s h none", "[nil nil nil]"),
    ]);
}

#[test]
fn several_at_once() {
    TestDatabase::new().expect(&[
        ("MSET a", "ERR wrong number of arguments for 'mset' command"),
        ("MSET a 1 b", "ERR wrong number of arguments for 'mset' command"),
        ("MSETNX a 1 b", "ERR wrong number of arguments for 'msetnx' command"),
        ("MSET a 1 b 2 a 3", "OK"),
        ("MGET a b c", "['3' '2' nil]"),
        ("MSETNX c 1 a 1", "0"),
        ("EXISTS c", "0"),
        ("MSETNX c 1 d 1", "1"),
        ("EXISTS a a b c d e", "5"),
        ("TOUCH a e", "1"),
        ("DEL a a e", "1"),
        ("UNLINK b c d", "3"),
        ("DBSIZE", "0"),
    ]);
}

#[test]
fn parts_of_strings() {
    TestDatabase::new().expect(&[
        ("APPEND s Hello", "5"),
        ("APPEND s ''", "5"),
        ("APPEND e ''", "0"),
        ("EXISTS e", "1"),
        ("STRLEN s", "5"),
        ("STRLEN none", "0"),
        ("GETRANGE s 0 -1", "'Hello'"),
        ("GETRANGE s -3 -1", "'llo'"),
        ("GETRANGE s -1 -3", "''"),
        ("GETRANGE s 3 1", "''"),
        ("GETRANGE s -100 100", "'Hello'"),
        ("GETRANGE s 9223372036854775807 -1", "''"),
        ("GETRANGE s -9223372036854775808 9223372036854775807", "'Hello'"),
        ("GETRANGE s 0 -9223372036854775808", "'H'"),
        ("GETRANGE e 0 -1", "''"),
        ("GETRANGE s x 1", NOT_AN_INTEGER),
        ("SUBSTR s 1 2", "'el'"),
        ("SETRANGE s -1 x", "ERR offset is out of range"),
        ("SETRANGE s x y", NOT_AN_INTEGER),
        ("SETRANGE s 9223372036854775807 x", "ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
        ("SETRANGE s 134217728 x", "ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
        ("SETRANGE none 9223372036854775807 ''", "0"),
        ("EXISTS none", "0"),
        ("SETRANGE s 1 ipp", "5"),
        ("GET s", "'Hippo'"),
        ("EXPIRE s 100", "1"),
        ("SETRANGE s 7 !", "8"),
        ("GET s", r"'Hippo\x00\x00!'"),
        ("TTL s", "100"),
        ("HSET h f v", "1"),
        ("SETRANGE h 0 ''", WRONG_TYPE),
        ("APPEND h x", WRONG_TYPE),
        ("STRLEN h", WRONG_TYPE),
        ("GETRANGE h 0 0", WRONG_TYPE),
    ]);
}

#[test]
fn counters() {
    TestDatabase::new().expect(&[
        ("INCR n", "1"),
        ("INCRBY n 41", "42"),
        ("DECR n", "41"),
        ("DECRBY n -1", "42"),
        ("GET n", "'42'"),
        ("EXPIRE n 10", "1"),
        ("INCR n", "43"),
        ("TTL n", "10"),
        ("DECRBY n -9223372036854775808", "ERR decrement would overflow"),
        ("SET n 9223372036854775807", "OK"),
        ("INCR n", "ERR increment or decrement would overflow"),
        ("SET n 01", "OK"),
        ("INCR n", NOT_AN_INTEGER),
        ("INCRBY n x", NOT_AN_INTEGER),
        ("SET n 3.0e3", "OK"),
        ("INCR n", NOT_AN_INTEGER),
        ("INCRBYFLOAT n 5", "'3005'"),
        ("INCRBYFLOAT n 0.1", "'3005.10000000000000009'"),
        ("INCRBYFLOAT n x", NOT_A_FLOAT),
        ("INCRBYFLOAT n inf", "ERR increment would produce NaN or Infinity"),
        ("INCRBYFLOAT fresh 1.5e2", "'150'"),
        ("HSET h f v", "1"),
        ("INCR h", WRONG_TYPE),
        ("INCRBYFLOAT h x", WRONG_TYPE),
        ("SET s text", "OK"),
        ("INCRBYFLOAT s 1", NOT_A_FLOAT),
    ]);
}

#[test]
fn the_longest_common_subsequence() {
    TestDatabase::new().expect(&[
        ("MSET k1 ohmytext k2 mynewtext", "OK"),
        ("LCS k1 k2", "'mytext'"),
        ("LCS k1 k2 LEN", "6"),
        ("LCS k1 k2 IDX", "{'matches'=[[[4 7] [5 8]] [[2 3] [0 1]]] 'len'=6}"),
        ("LCS k1 k2 IDX WITHMATCHLEN", "{'matches'=[[[4 7] [5 8] 4] [[2 3] [0 1] 2]] 'len'=6}"),
        ("LCS k1 k2 IDX MINMATCHLEN 4", "{'matches'=[[[4 7] [5 8]]] 'len'=6}"),
        ("LCS k1 k2 IDX MINMATCHLEN -4 WITHMATCHLEN", "{'matches'=[[[4 7] [5 8] 4] [[2 3] [0 1] 2]] 'len'=6}"),
        ("LCS k1 none", "''"),
        ("LCS none none IDX", "{'matches'=[] 'len'=0}"),
        ("LCS k1 k2 IDX LEN", "ERR If you want both the length and indexes, please just use IDX."),
        ("LCS k1 k2 foo", SYNTAX),
        ("LCS k1 k2 MINMATCHLEN", SYNTAX),
        ("HSET h f v", "1"),
        ("LCS h k1 foo", "ERR The specified keys must contain string values"),
    ]);
    let mut db = TestDatabase::new();
    let long = vec![b'x'; 8_192];
    db.run(&[b"SET", b"long", &long]);
    let answer = show(&db.read(&[b"LCS", b"long", b"long", b"LEN"]));
    assert_eq!(answer, "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
}

#[test]
fn expiring() {
    let mut db = TestDatabase::new();
    db.expect(&[
        ("SET k v", "OK"),
        ("EXPIRE k 10 FOO", "ERR Unsupported option FOO"),
        ("EXPIRE k x NX GT", "ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("EXPIRE k 10 GT LT", "ERR GT and LT options at the same time are not compatible"),
        ("EXPIRE k 9223372036854775807", "ERR invalid expire time in 'expire' command"),
        ("EXPIRE k -9223372036854775808", "ERR invalid expire time in 'expire' command"),
        ("PEXPIRE k 9223372036854775807", "ERR invalid expire time in 'pexpire' command"),
        ("EXPIREAT k 9223372036854776", "ERR invalid expire time in 'expireat' command"),
        ("EXPIRE none x", NOT_AN_INTEGER),
        ("EXPIRE none 10", "0"),
        ("EXPIRE k 10 XX", "0"),
        ("EXPIRE k 10 GT", "0"),
        ("EXPIRE k 10 LT", "1"),
        ("EXPIRE k 10 NX", "0"),
        ("EXPIRE k 10 GT", "0"),
        ("EXPIRE k 11 GT XX", "1"),
        ("EXPIRE k 11 LT", "0"),
        ("TTL k", "11"),
        ("PTTL k", "11000"),
        ("EXPIRETIME k", "1700000011"),
        ("PEXPIRETIME k", "1700000011000"),
        ("EXPIREAT k 1700000005", "1"),
        ("TTL k", "5"),
        ("PEXPIREAT k 1700000006000", "1"),
        ("PEXPIRE k 1499", "1"),
        ("TTL k", "1"),
        ("PERSIST k", "1"),
        ("PERSIST k", "0"),
        ("PERSIST none", "0"),
        ("TTL k", "-1"),
        ("TTL none", "-2"),
        ("PEXPIREAT k 9223372036854775807", "1"),
        ("PEXPIRETIME k", "9223372036854775807"),
        ("EXPIRE k -1 GT", "0"),
        ("EXPIRE k -1 LT", "1"),
        ("EXISTS k", "0"),
        ("SET k v PX 1000", "OK"),
        ("DBSIZE", "1"),
    ]);
    db.now_ms += 999;
    assert_eq!(db.ask("GET k"), "'v'");
    db.now_ms += 1;
    // A read hides what has expired and leaves it; a write deletes it.
    assert_eq!(show(&db.read(&[b"GET", b"k"])), "nil");
    assert_eq!(show(&db.read(&[b"DBSIZE"])), "1");
    assert_eq!(db.ask("DEL k"), "0");
    assert_eq!(db.touched, [], "to a watcher nothing has changed");
    assert_eq!(db.ask("DBSIZE"), "0");
}

#[test]
fn absolute_times_are_the_wall_clocks() {
    let mut db = TestDatabase::new();
    db.env = crate::keyspace::Env::new(5_000, 1);
    db.expect(&[
        ("SET k v EXAT 1700000010", "OK"),
        ("TTL k", "5"),
        ("EXPIRETIME k", "1700000010"),
        ("EXPIREAT k 1700000005", "1"),
        ("EXISTS k", "0"),
        ("SET k v EX 5", "OK"),
        ("PEXPIRETIME k", "1700000010000"),
    ]);
}

#[test]
fn names_and_places() {
    let mut db = TestDatabase::new();
    db.expect(&[
        ("RENAME none none", "ERR no such key"),
        ("RENAMENX none other", "ERR no such key"),
        ("SET s v EX 100", "OK"),
        ("HSET h f v g w", "2"),
        ("RENAME s s", "OK"),
        ("RENAMENX s s", "0"),
        ("RENAMENX s h", "0"),
        ("RENAME s t", "OK"),
        ("TTL t", "100"),
        ("RENAME t h", "OK"),
        ("TYPE h", "string"),
        ("TTL h", "100"),
        ("HSET h2 f v", "1"),
        ("RENAME h2 h3", "OK"),
        ("HGETALL h3", "{'f'='v'}"),
        ("COPY h3 h3", "ERR source and destination objects are the same"),
        ("COPY h3 h3 DB 16", "ERR DB index is out of range"),
        ("COPY h3 h4 DB", SYNTAX),
        ("COPY h3 h4 DB 99999999999", "ERR value is out of range, value must between -2147483648 and 2147483647"),
        ("COPY none h4", "0"),
        ("COPY h3 h4", "1"),
        ("HSET h4 f x", "0"),
        ("HGET h3 f", "'v'"),
        ("COPY h3 h", "0"),
        ("COPY h3 h REPLACE", "1"),
        ("TTL h", "-1"),
        ("COPY h3 h3 DB 1", "1"),
        ("MOVE h3 1", "0"),
        ("MOVE none 1", "0"),
        ("MOVE none 0", "ERR source and destination objects are the same"),
        ("MOVE h3 16", "ERR DB index is out of range"),
        ("MOVE h3 x", NOT_AN_INTEGER),
        ("MOVE h3 2", "1"),
        ("SWAPDB x 1", "ERR invalid first DB index"),
        ("SWAPDB 0 y", "ERR invalid second DB index"),
        ("SWAPDB 0 16", "ERR DB index is out of range"),
        ("SWAPDB 0 2", "OK"),
        ("KEYS *", "['h3']"),
        ("FLUSHDB foo", SYNTAX),
        ("FLUSHDB SYNC", "OK"),
        ("DBSIZE", "0"),
        ("SET after flush", "OK"),
        ("KEYS *", "['after']"),
        ("FLUSHALL SYNC ASYNC", SYNTAX),
        ("FLUSHALL ASYNC", "OK"),
        ("KEYS *", "[]"),
    ]);
    db.db = 1;
    assert_eq!(db.ask("DBSIZE"), "0");
}

#[test]
fn hashes() {
    TestDatabase::new().expect(&[
        ("HSET h a", "ERR wrong number of arguments for 'hset' command"),
        ("HSET h a 1 b", "ERR wrong number of arguments for 'hset' command"),
        ("HMSET h a", "ERR wrong number of arguments for 'hmset' command"),
        ("HSET h b 2 a 1 b 3", "2"),
        ("HMSET h c 4", "OK"),
        ("HSETNX h c 5", "0"),
        ("HSETNX h d ''", "1"),
        ("HGET h b", "'3'"),
        ("HGET h x", "nil"),
        ("HGET none x", "nil"),
        ("HMGET h a x d", "['1' nil '']"),
        ("HMGET none a b", "[nil nil]"),
        ("HGETALL h", "{'a'='1' 'b'='3' 'c'='4' 'd'=''}"),
        ("HGETALL none", "{}"),
        ("HKEYS h", "['a' 'b' 'c' 'd']"),
        ("HVALS h", "['1' '3' '4' '']"),
        ("HLEN h", "4"),
        ("HEXISTS h a", "1"),
        ("HEXISTS h x", "0"),
        ("HSTRLEN h a", "1"),
        ("HSTRLEN none a", "0"),
        ("HINCRBY h a x", NOT_AN_INTEGER),
        ("HINCRBY h a 41", "42"),
        ("HINCRBY h d 1", "ERR hash value is not an integer"),
        ("HINCRBY h a 9223372036854775807", "ERR increment or decrement would overflow"),
        ("HINCRBYFLOAT h a inf", "ERR value is NaN or Infinity"),
        ("HINCRBYFLOAT h a nan", NOT_A_FLOAT),
        ("HINCRBYFLOAT h a 0.5", "'42.5'"),
        ("HINCRBYFLOAT h d 1", "ERR hash value is not a float"),
        ("HINCRBYFLOAT fresh f 1", "'1'"),
        ("HDEL h a a x", "1"),
        ("HDEL h b c d", "3"),
        ("EXISTS h", "0"),
        ("HDEL h a", "0"),
        ("SET s v", "OK"),
        ("HSET s a b", WRONG_TYPE),
        ("HGET s a", WRONG_TYPE),
        ("HMGET s a", WRONG_TYPE),
        ("HDEL s a", WRONG_TYPE),
        ("HLEN s", WRONG_TYPE),
        ("HINCRBY s a 1", WRONG_TYPE),
        ("HINCRBYFLOAT s a x", NOT_A_FLOAT),
        ("EXPIRE fresh 100", "1"),
        ("HSET fresh g 1", "1"),
        ("TTL fresh", "100"),
    ]);
}

#[test]
fn objects_are_described_as_redis_would() {
    let mut db = TestDatabase::new();
    db.expect(&[
        ("MSET i 12345 e text r 123456789012345678901234567890123456789012345 s 7", "OK"),
        ("HSET h f v", "1"),
        ("OBJECT ENCODING i", "'int'"),
        ("OBJECT ENCODING e", "'embstr'"),
        ("OBJECT ENCODING r", "'raw'"),
        ("OBJECT ENCODING h", "'listpack'"),
        ("HSET h g 12345678901234567890123456789012345678901234567890123456789012345", "1"),
        ("OBJECT ENCODING h", "'hashtable'"),
        ("OBJECT encoding none", "nil"),
        ("OBJECT REFCOUNT i", "1"),
        ("OBJECT REFCOUNT s", "2147483647"),
        ("OBJECT IDLETIME i", "0"),
        ("OBJECT FREQ none", "nil"),
        ("OBJECT", "ERR wrong number of arguments for 'object' command"),
        ("OBJECT ENCODING", "ERR wrong number of arguments for 'object|encoding' command"),
        ("OBJECT HELP x", "ERR wrong number of arguments for 'object|help' command"),
        ("OBJECT foo bar", "ERR unknown subcommand 'foo'. Try OBJECT HELP."),
    ]);
    assert!(db.ask("OBJECT FREQ i").starts_with("ERR An LFU maxmemory policy is not selected"));
    assert!(db.ask("OBJECT HELP").starts_with("[OBJECT <subcommand>"));
}

#[test]
fn keys_by_pattern() {
    TestDatabase::new().expect(&[
        ("MSET user:1 a user:2 b userx c other d '' e", "OK"),
        ("KEYS *", "['' 'other' 'user:1' 'user:2' 'userx']"),
        ("KEYS user:*", "['user:1' 'user:2']"),
        ("KEYS user[:x]*", "['user:1' 'user:2' 'userx']"),
        ("KEYS ''", "['']"),
        ("KEYS **", "['other' 'user:1' 'user:2' 'userx']"),
        (r"KEYS user\:1", "['user:1']"),
        ("KEYS nothing*", "[]"),
    ]);
}

#[test]
fn what_a_record_changes_is_told() {
    let mut db = TestDatabase::new();
    db.ask("SET k v");
    assert_eq!(db.touched, [Touched::Key(0, "k".into())]);
    db.ask("HSET h f v");
    db.ask("HSET h f w");
    assert_eq!(db.touched, [Touched::Key(0, "h".into())]);
    db.ask("FLUSHDB");
    assert_eq!(db.touched, [Touched::Flushed(0)]);
    db.ask("SWAPDB 0 1");
    assert!(db.touched.contains(&Touched::Database(1)));
}

#[test]
fn names_longer_than_any_are_refused_and_never_found() {
    let mut db = TestDatabase::new();
    let (long, longest) = (vec![b'k'; 65_001], vec![b'k'; 65_000]);
    assert_eq!(show(&db.run(&[b"GET", &long])), "nil");
    assert_eq!(show(&db.run(&[b"DEL", &long])), "0");
    assert!(show(&db.run(&[b"SET", &long, b"v"])).starts_with("ERR a key or field of 65001 bytes"));
    assert_eq!(show(&db.run(&[b"SET", &longest, b"v"])), "OK");
    assert_eq!(show(&db.run(&[b"GET", &longest])), "'v'");
    assert!(show(&db.run(&[b"RENAME", &longest, &long])).starts_with("ERR a key or field of 65001 bytes"));
    assert_eq!(show(&db.run(&[b"GET", &longest])), "'v'");
    assert!(show(&db.run(&[b"HSET", b"h", b"f", b"v", &long, b"v"])).starts_with("ERR a key or field"));
    assert_eq!(show(&db.run(&[b"EXISTS", b"h"])), "0");
    assert_eq!(show(&db.run(&[b"HSET", b"h", &longest, b"v"])), "1");
    assert_eq!(show(&db.run(&[b"HGET", b"h", &long])), "nil");
    assert_eq!(show(&db.run(&[b"HDEL", b"h", &long])), "0");
}

#[test]
fn every_command_is_found_by_its_name() {
    assert!(find(b"Get").is_some_and(|spec| spec.name == "get"));
    assert!(find(b"nothing").is_none());
}

#[test]
fn an_answer_larger_than_memory_is_refused_before_it_is_gathered() {
    let mut db = TestDatabase::new();
    let value = vec![0; 1 << 20];
    db.run(&[b"SET", b"s", &value]);
    db.run(&[b"HSET", b"h", b"f", &value]);
    let many = |command: &'static [u8], key: &'static [u8]| [vec![command], vec![key; 512]].concat();
    let refused = "ERR the answer would take more than 512 MiB; ask for less at once, or use SCAN or HSCAN";
    assert_eq!(show(&db.read(&many(b"MGET", b"s"))), refused);
    assert_eq!(show(&db.read(&[&[&b"HMGET"[..], b"h"][..], &[&b"f"[..]; 512]].concat())), refused);
    assert_eq!(show(&db.read(&[b"HRANDFIELD", b"h", b"-512", b"WITHVALUES"])), refused);
    assert!(show(&db.read(&[b"HRANDFIELD", b"h", b"-512"])).starts_with("['f' 'f' "));
}
