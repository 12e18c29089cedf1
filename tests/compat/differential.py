#!/usr/bin/env python3
"""Compares RedDB's answers with those of Redis 7.0, byte for byte.

Starts a real `redis-server` and `reddb` on free ports, sends both the same commands over raw sockets (RESP2 and RESP3, one by
one and pipelined), and prints every difference that is not on the list of intended ones (INTENDED, below). Exits 1 if there
is one, 3 if a server cannot be started. Needs Python 3.9 and nothing else.

    tests/compat/differential.py [--reddb target/debug/reddb] [--redis redis-server] [--seed N] [--random COUNT]
    tests/compat/differential.py --reddb-port 7398        a running reddb instead; its data is flushed
"""

import argparse
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

# What differs on purpose: a pattern for the command as text, and why.
INTENDED = [
    (r"^(lolwut|role|lastsave|time)\b", "names the server, its position or the time"),
    (r"^client (list|info|id)\b", "tells of the connection itself"),
    (r"^client tracking on", "there are no invalidation messages, so tracking is refused rather than ignored"),
    (r"^client (help|kill 127)", "our own help texts; addresses differ"),
    (r"^(command|config|function|object) help", "our own help texts"),
    (r"^config get (port|appendonly|appendfsync|proto-max-bulk-len|hz|dir|\*)", "settings of this server"),
    (r"^config set hz", "not clamped"),
    (r"^function (stats|dump|kill|load|delete|restore)", "there is no function engine"),
    (r"^command( |$)(?!foo|getkeys |info foo|info client\|id|list (x|filterby x))", "other commands, other texts"),
    (r"^command getkeysandflags set", "flags do not depend on the arguments"),
    (r"^info\b", "tells of the server itself"),
    (r"^(debug|monitor|subscribe|eval|lpush|zadd|sadd|xadd)\b", "unknown commands here"),
    (r"^object (encoding|freq|idletime|refcount)", "plausible answers, not those of Redis's memory"),
    (r"^client (no-touch|setinfo)", "Redis 7.2's"),
    (r"^(bgsave|save)\b", "whether one is running is a matter of time"),
]

# Answers whose elements come in no particular order.
UNORDERED = re.compile(r"^(keys|hgetall|hkeys|hvals|config get|command list|scan|hscan)\b", re.I)
# Answers that may differ by a little, because time passes.
TIMED = re.compile(r"^(ttl|pttl|expiretime|pexpiretime)\b", re.I)


class Reply:
    """One answer: its bytes, and its value with containers as lists."""

    def __init__(self, raw, value):
        self.raw = raw
        self.value = value


class Items(list):
    """A container: its elements and its kind."""

    def __init__(self, kind, items):
        super().__init__(items)
        self.kind = kind

    def __eq__(self, other):
        return isinstance(other, Items) and self.kind == other.kind and list.__eq__(self, other)


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")
        self.raw = b""

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError
        self.raw += line
        return line

    def value(self):
        line = self.line()
        kind, rest = line[:1], line[1:-2]
        if kind in b"$=":
            length = int(rest)
            if length < 0:
                return line
            data = self.file.read(length + 2)
            if len(data) != length + 2:
                raise EOFError
            self.raw += data
            return data[:-2]
        if kind in b"*~>":
            return line if int(rest) < 0 else Items(kind, [self.value() for _ in range(int(rest))])
        if kind == b"%":
            return Items(kind, [Items(kind, [self.value(), self.value()]) for _ in range(int(rest))])
        return line[:-2]

    def reply(self):
        self.raw = b""
        try:
            value = self.value()
        except (EOFError, ConnectionError):
            return Reply(self.raw + b"<closed>", None)
        except socket.timeout:
            return Reply(self.raw + b"<silent>", None)
        return Reply(self.raw, value)


def encode(words):
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def name(words):
    return " ".join(word.decode("latin-1") if isinstance(word, bytes) else str(word) for word in words)


def flat_sorted(value, pairs):
    if not isinstance(value, Items):
        return value
    if pairs and len(value) % 2 == 0 and not any(isinstance(item, Items) for item in value):
        return value.kind, sorted(repr([value[at], value[at + 1]]) for at in range(0, len(value), 2))
    return value.kind, sorted((flat_sorted(item, pairs) for item in value), key=repr)


def same(command, ours, theirs, queued=()):
    if ours.raw == theirs.raw:
        return True
    if ours.raw[:1] != theirs.raw[:1]:
        return False
    if name(command).lower() == "exec" and isinstance(ours.value, list) and isinstance(theirs.value, list):
        return len(ours.value) == len(theirs.value) == len(queued) and all(map(same_value, queued, ours.value, theirs.value))
    return same_value(command, ours.value, theirs.value)


def same_value(command, ours, theirs):
    text = name(command)
    if ours == theirs:
        return True
    if UNORDERED.match(text):
        pairs = text.lower().startswith(("hgetall", "config get", "hscan"))
        return flat_sorted(ours, pairs) == flat_sorted(theirs, pairs)
    if TIMED.match(text) and isinstance(ours, bytes) and isinstance(theirs, bytes):
        return abs(int(ours[1:]) - int(theirs[1:])) <= 1500
    if text.lower().startswith("hello"):
        without_id = [re.sub(r"b'id', b':\d+'", "id", re.sub(r"[\[\]]", "", repr(value))) for value in (ours, theirs)]
        return without_id[0] == without_id[1]
    return False


def intended(command):
    text = name(command).lower()
    return next((reason for pattern, reason in INTENDED if re.search(pattern, text)), None)


def words(line):
    """A line of a script: words, double quotes enclosing Python bytes; LONG is a long one that is not UTF-8."""
    found = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line)
    found = [("\\xff\\xc3" * 100, "") if plain == "LONG" else (quoted, plain) for quoted, plain in found]
    return [
        plain.encode() if plain else quoted.encode("latin-1").decode("unicode_escape").encode("latin-1")
        for quoted, plain in found
    ]


# Scripts: each runs on a fresh connection and empty databases.
SCRIPTS = """
ping | ping a | ping a b | echo | echo hi | PING
quit
quit now | ping
foo | foo a b | FOO "a\\r\\nb" c | "" | "" a | "foo\\x00bar" "x\\x00y" | foo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa b
client | client foo | client getname x | client setname "a b" | client setname "" | client getname | client setname me | client getname | reset | client getname
client list x | client list type x | client list id x | client list id 99999999 | client list type pubsub | client list foo bar
client kill 1 | client kill id x | client kill id 0 | client kill id 99999999 | client kill foo x | client kill addr x | client kill type x | client kill type master | client kill skipme x | client kill user x | client kill id 5 foo | client kill
client reply x | client reply skip | ping | ping
client reply off | ping | client reply skip | client reply on | ping
client no-evict x | client no-evict on | client no-evict off | client trackinginfo | client tracking off | client tracking x | client getredir | client caching yes
client pause x | client pause -1 | client pause 1 x | client pause 1 all x | client pause 1 write | client unpause | client unblock 999 | client unblock x | client unblock 1 foo | client unblock 1 error
hello | hello 2 | hello 3 | hello 4 | hello x | hello 3 foo | hello 3 auth a | hello 2 auth a b | hello 2 setname "a b" | hello 3 setname me | client getname | hello 3 noproto
auth | auth x | auth a b | auth default b | auth a b c
select 16 | select x | select -1 | select 99999999999 | select 1 | set a 1 | select 0 | get a | move b 1 | swapdb 0 1 | get a | swapdb 0 99 | swapdb x 1 | swapdb 0 x | swapdb 0
reset | reset x | multi | reset | exec
wait 0 0 | wait 1 10 | wait x 1 | wait 1 x | wait 1 -1 | wait -1 10 | wait
time x | role x | lastsave x | bgsave x | save x | lolwut version x
config | config foo | config get | config get foo | config get maxmemory | config get maxmem* timeout | config get MAXMEMORY-policy
config set foo | config set foo bar | config set maxmemory x | config set maxclients x | config set maxclients 0 | config set timeout -1 | config set databases 4 | config set appendonly x | config set maxmemory-policy x | config set maxmemory 1mb maxmemory 2mb | config set maxmemory 1mb foo
config set maxmemory 100mb | config get maxmemory | config set maxmemory 1k | config get maxmemory | config set maxmemory 0 | config set maxmemory-policy ALLKEYS-lru | config get maxmemory-policy | config set maxmemory-policy noeviction
config set save x | config set save "900 1 300 10" | config get save | config set save "" | config get save | config set notify-keyspace-events KEA | config get notify-keyspace-events | config set notify-keyspace-events Elg | config get notify-keyspace-events | config set notify-keyspace-events ? | config set notify-keyspace-events ""
config set hash-max-listpack-entries 5 | config get hash-max-listpack-entries | config get hash-max-ziplist-entries | config set hash-max-ziplist-entries 512 | config set client-output-buffer-limit "normal 0 0" | config set slowlog-log-slower-than -2 | config set slowlog-log-slower-than 10000 | config rewrite | config resetstat | config resetstat x
function flush | function flush async | function flush x | function list | function list x | function list withcode | function list libraryname | function foo | function
command foo | command getkeys get | command getkeys foo a | command getkeys mset a b c d | command getkeys ping x | command getkeys get a b | command info foo | command info client|id | command list x | command list filterby x y
exec a | multi | exec a | exec | multi | exec | multi | set a 1 | incr a | get a | exec | get a | exec | discard
multi | set a 1 | foo | exec | get a | multi | get | exec | multi | client foo | exec
multi | multi | watch a | exec | multi | watch a | discard | watch | unwatch x | unwatch
multi | select 99 | select 3 | set a 3 | ping | exec | get a | select 0 | get a
multi | save | exec | multi | auth x | echo b | exec | multi | client setname a | client getname | exec | client getname
multi | incr a | hset a f v | get a | exec | get a
watch a | set a 1 | multi | get a | exec | get a | multi | get a | exec
watch a b | unwatch | set a 1 | multi | get a | exec
watch a | multi | discard | set a 1 | multi | get a | exec
watch a | flushall | multi | ping | exec | watch a | set a 1 | flushdb | multi | ping | exec
set a 1 | get a | set a 2 nx | set a 2 xx | get a | set a 3 get | set b 1 xx get | set b 1 nx get | set a 4 nx get | set a 1 ex 10 | ttl a | set a 1 keepttl | ttl a | set a 1 | ttl a | set a 1 px 10000 | pttl a | set a 1 ex 0 | set a 1 ex -1 | set a 1 ex x | set a 1 ex | set a 1 nx xx | set a 1 ex 1 px 1 | set a 1 foo | set a
set a 1 exat 1 | get a | set a 1 exat 99999999999 | expiretime a | pexpiretime a | set a 1 pxat 99999999999999 | set a 1 ex 9223372036854775807 | set a 1 px 9223372036854775807 | hset h f v | set h 1 get | get h
getex a | set a 1 | getex a ex 100 | ttl a | getex a persist | ttl a | getex a exat 1 | get a | getex a foo | getex a ex x | getex a ex 0 | getdel a | set a x | getdel a | get a | getset a y | getset a z | hset h f v | getset h x | getdel h | getex h
mset a 1 b 2 | mget a b c | mset a | mset a 1 b | msetnx a 1 c 2 | msetnx c 3 d 4 | mget a b c d | hset h f v | mget a h | setnx a 5 | setnx e 5 | setex f 10 x | ttl f | setex f 0 x | setex f x x | psetex f 10000 y | pttl f | psetex f -1 y
append a hello | append a " world" | get a | strlen a | strlen nosuch | hset h f v | append h x | strlen h | getrange a 0 4 | getrange a -5 -1 | getrange a 5 2 | getrange a 0 -100 | getrange a x 1 | substr a 0 3 | getrange nosuch 0 1 | getrange h 0 1
setrange a 5 hello | get a | setrange a 0 "" | setrange b 3 "" | exists b | setrange a -1 x | setrange a 536870912 x | setrange a x y | hset h f v | setrange h 0 x
incr a | incrby a 10 | decr a | decrby a 3 | get a | set a x | incr a | set a 9223372036854775807 | incr a | incrby a 1 | decrby a -9223372036854775808 | incrby a x | set a " 1" | incr a | set a 1.5 | incr a | hset h f v | incr h | decrby a 9223372036854775808
incrbyfloat a 1.5 | incrbyfloat a 0.1 | incrbyfloat a -1.6 | incrbyfloat a 5e3 | incrbyfloat a x | incrbyfloat a inf | set a 3.0e3 | incrbyfloat a 200 | set a 1e400 | incrbyfloat a 1 | set a 10.50 | incrbyfloat a 0.1 | get a | incrbyfloat a 1e308 | incrbyfloat a nan
lcs a b | mset a ohmytext b mynewtext | lcs a b | lcs a b len | lcs a b idx | lcs a b idx minmatchlen 4 | lcs a b idx minmatchlen 4 withmatchlen | lcs a b len idx | lcs a b foo | hset h f v | lcs a h | lcs a
del a | set a 1 | set b 1 | del a b c | exists a b | set a 1 | exists a a b | unlink a | touch a b | set a 1 | touch a a | type a | hset h f v | type h | type nosuch | dbsize | flushdb | dbsize | flushdb sync | flushdb async | flushdb x | flushall x | flushall sync foo
mset aa 1 ab 2 b 3 | keys * | keys a* | keys ? | keys [ab] | keys a[^a] | keys nosuch | keys a\\\\a | scan 0 | scan 0 match a* | scan 0 count 100 type string | scan 0 type hash | scan x | scan 0 count 0 | scan 0 count x | scan 0 foo | scan 0 match | randomkey x
set a 1 | rename a b | rename a b | get b | renamenx b c | set b 2 | renamenx b c | get c | rename b b | renamenx b b | rename nosuch nosuch | hset h f v | rename h c | type c | set x 1 ex 100 | rename x y | ttl y
set a 1 | copy a b | copy a b | copy a b replace | get b | copy nosuch b | copy a a | copy a b db 1 | copy a b db 99 | copy a b db x | copy a a db 1 | copy a b foo | hset h f v | copy h g | hset g f w | hget h f | hget g f | set a 1 ex 100 | copy a t | ttl t
set a 1 | move a 1 | exists a | select 1 | get a | move a 1 | move a 99 | move a x | move nosuch 0 | select 0 | set a 2 | select 1 | move a 0 | get a
set a 1 | expire a 100 | ttl a | expire a 50 gt | ttl a | expire a 50 lt | ttl a | expire a 10 nx | expire a 10 xx | ttl a | persist a | ttl a | persist a | persist nosuch | expire a 10 gt | ttl a | expire a 10 lt | ttl a | expire a 10 nx xx | expire a 10 gt lt | expire a 10 foo | expire a x | expire nosuch 10 | expire a -1 | exists a
set a 1 | pexpire a 100000 | pttl a | expireat a 99999999999 | expiretime a | pexpireat a 99999999999000 | pexpiretime a | expireat a 1 | exists a | set a 1 | expire a 9223372036854775807 | pexpire a 9223372036854775807 | expire a -9223372036854775808 | ttl nosuch | pttl nosuch | expiretime nosuch | set b 1 | ttl b | expiretime b
scan -1 | scan "" | scan +0 | scan -0 | scan 00 | scan "0\\x00x" | scan "\\x00" | scan " 0" | scan "0 " | scan "0\\n" | scan + | scan - | scan +-1 | scan 0x10 | scan 1e3 | scan 18446744073709551615 | scan 18446744073709551616 | scan -18446744073709551615 | scan -18446744073709551616 | hscan h "0\\x00x" | hscan h 99999999999999999999999 | hscan h -1
object foo | object help x | object | object encoding | object encoding nosuch | object freq nosuch | object refcount nosuch | object idletime nosuch
hset h a 1 b 2 | hset h a 2 c 3 | hset h a | hset h | hget h a | hget h nosuch | hget nosuch a | hmget h a nosuch b | hmget nosuch a | hgetall h | hgetall nosuch | hlen h | hkeys h | hvals h | hexists h a | hexists h x | hdel h a x | hdel h b c | exists h | hdel nosuch a
hsetnx h a 1 | hsetnx h a 2 | hget h a | hmset h a 1 b 2 | hmset h a | hstrlen h a | hstrlen h x | hincrby h n 5 | hincrby h n -7 | hincrby h n x | hset h s x | hincrby h s 1 | hset h m 9223372036854775807 | hincrby h m 1 | hincrbyfloat h f 1.5 | hincrbyfloat h f x | hincrbyfloat h s 1 | hincrbyfloat h f 1e400 | hincrbyfloat h f 0.1
set s 1 | hset s f v | hget s f | hmget s f | hgetall s | hlen s | hkeys s | hvals s | hexists s f | hdel s f | hsetnx s f v | hstrlen s f | hincrby s f 1 | hincrbyfloat s f 1 | hrandfield s | hscan s 0
hset h a 1 | hrandfield h | hrandfield h 1 | hrandfield h 5 | hrandfield h -3 | hrandfield h 1 withvalues | hrandfield h -2 withvalues | hrandfield nosuch | hrandfield nosuch 1 | hrandfield h x | hrandfield h 1 foo | hrandfield h 0 | hscan h 0 | hscan h 0 match x* | hscan h 0 count 0 | hscan h x | hscan nosuch 0 | hscan h 0 foo
get | get a b | set | mget | mset | del | exists | type | hset | hget h | hgetall | expire a | rename a | scan | hscan h | incrby a | append a | object | dbsize x | flushall a b c
lolwut | role | client help | command help | command docs get | function stats | client tracking on | debug sleep 0
"\\xff\\xfe" "\\xc3" | "\\xe2\\x82" | "\\n\\r" "\\r\\n\\xff" | LONG LONG x | client "\\xff\\r\\n" | client LONG | object "\\xffa\\x00b" | object LONG | command "\\xff" foo | function "\\xff" | config "\\xff\\x00"
client list type "\\xff\\n" | client kill type "a\\x00b" | client kill user "\\xff\\x00" | hello 3 "\\xff\\n" | hello 3 "\\x00" | expire a 1 "\\xff\\n" | expire a 1 "a\\nb\\r\\n" | expire a 1 LONG | function list "\\xff\\r\\n" | function list "a\\x00b"
config set "\\xff\\n\\x00" y | config set LONG y | config set MaxClients x | config set DATABASES 10 | config set timeout 1 TIMEOUT 2 | config set HASH-max-ziplist-entries x | config set timeout 0
multi | "\\xff" "\\xff" | exec | multi | client "\\xff" | exec
set "\\x00\\xff" "\\r\\n" | get "\\x00\\xff" | strlen "\\x00\\xff" | keys * | hset h "\\x00" "\\xff" | hgetall h
""".strip().splitlines()

# Bytes that are no well-formed commands, and some that just look so.
RAW = [
    b"*1\r\n$x\r\n", b"*1\r\nx\r\n", b"*x\r\n", b"*3000000000\r\n", b"*-1\r\nPING\r\n", b"*0\r\nPING\r\n", b"*1\r\n$-1\r\n",
    b"*1\r\n$600000000\r\n", b"*+1\r\n", b"*1\r\n$04\r\nPING\r\n", b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
    b'PING "a\r\n', b'PING "a"b\r\n', b'PING "a\\x41\\n\\q"\r\n', b"PING 'a\\'b\\n'\r\n", b'PING a"b c"\r\n', b"\r\nPING\r\n",
    b"PING\n", b"  PING   x  \n", b"PING \x80\r\n", b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", b"host: x\r\nPING\r\n",
    b"*1\r\n\xff\r\n", b"*1\r\n\n\r\n", b"*2147483647\r\n$4\r\nPING\r\n", b"*2147483648\r\n$4\r\nPING\r\n",
    b"*" + b"1" * 70000, b"*1\r\n$" + b"1" * 70000, b"a" * 70000,
]


def random_commands(rng, count):
    keys, fields = ["k%d" % n for n in range(6)], ["f%d" % n for n in range(4)]
    values = ["", "0", "1", "-5", "10", "abc", "3.5", "9223372036854775807", b"\x00\xff\r\n"]
    integers = ["0", "1", "-1", "7", "-3", "100", "x", "9223372036854775807", "-9223372036854775808"]
    choices = [
        lambda k, f, v, n: ["set", k, v], lambda k, f, v, n: ["get", k], lambda k, f, v, n: ["append", k, v],
        lambda k, f, v, n: ["incr", k], lambda k, f, v, n: ["incrby", k, n], lambda k, f, v, n: ["decrby", k, n],
        lambda k, f, v, n: ["incrbyfloat", k, v], lambda k, f, v, n: ["strlen", k], lambda k, f, v, n: ["getset", k, v],
        lambda k, f, v, n: ["setrange", k, rng.choice(["0", "3", "10", "-1"]), v],
        lambda k, f, v, n: ["getrange", k, n, rng.choice(integers)], lambda k, f, v, n: ["getdel", k],
        lambda k, f, v, n: ["del", k, rng.choice(keys)], lambda k, f, v, n: ["exists", k], lambda k, f, v, n: ["type", k],
        lambda k, f, v, n: ["rename", k, rng.choice(keys)], lambda k, f, v, n: ["renamenx", k, rng.choice(keys)],
        lambda k, f, v, n: ["copy", k, rng.choice(keys)], lambda k, f, v, n: ["copy", k, rng.choice(keys), "replace"],
        lambda k, f, v, n: ["hset", k, f, v], lambda k, f, v, n: ["hset", k, f, v, rng.choice(fields), v],
        lambda k, f, v, n: ["hget", k, f], lambda k, f, v, n: ["hdel", k, f], lambda k, f, v, n: ["hgetall", k],
        lambda k, f, v, n: ["hlen", k], lambda k, f, v, n: ["hsetnx", k, f, v], lambda k, f, v, n: ["hincrby", k, f, n],
        lambda k, f, v, n: ["hincrbyfloat", k, f, v], lambda k, f, v, n: ["hmget", k, f, "nosuch"],
        lambda k, f, v, n: ["hstrlen", k, f], lambda k, f, v, n: ["mget", k, rng.choice(keys)],
        lambda k, f, v, n: ["mset", k, v, rng.choice(keys), v], lambda k, f, v, n: ["msetnx", k, v, rng.choice(keys), v],
        lambda k, f, v, n: ["expire", k, "1000"], lambda k, f, v, n: ["persist", k], lambda k, f, v, n: ["ttl", k],
        lambda k, f, v, n: ["set", k, v, rng.choice(["nx", "xx", "get", "keepttl"])], lambda k, f, v, n: ["dbsize"],
        lambda k, f, v, n: ["keys", "*"], lambda k, f, v, n: ["lcs", k, rng.choice(keys)],
        lambda k, f, v, n: ["select", rng.choice(["0", "0", "1"])], lambda k, f, v, n: ["move", k, rng.choice(["0", "1"])],
        lambda k, f, v, n: ["multi"], lambda k, f, v, n: ["exec"], lambda k, f, v, n: ["discard"],
        lambda k, f, v, n: ["watch", k], lambda k, f, v, n: ["unwatch"], lambda k, f, v, n: ["swapdb", "0", "1"],
    ]
    weights = [1 if choice(*"kfvn")[0] in ("flushall", "swapdb", "discard", "multi", "watch") else 3 for choice in choices]
    # A watched key that the transaction's own connection changed makes EXEC fail; that is wanted too.
    return [
        rng.choices(choices, weights)[0](rng.choice(keys), rng.choice(fields), rng.choice(values), rng.choice(integers))
        for _ in range(count)
    ]


class Differences:
    def __init__(self):
        self.count = self.compared = self.allowed = 0

    def check(self, where, command, ours, theirs, queued=()):
        self.compared += 1
        if same(command, ours, theirs, queued):
            return
        if intended(command):
            self.allowed += 1
            return
        self.count += 1
        print("DIFFERS (%s): %s\n   redis  %r\n   reddb  %r" % (where, name(command)[:160], theirs.raw[:600], ours.raw[:600]))


def prove():
    """Planted differences are found, and what may differ is not taken for one."""

    def reply(raw):
        left, right = socket.socketpair()
        right.sendall(raw)
        right.close()
        connection = Connection.__new__(Connection)
        connection.socket, connection.file, connection.raw = left, left.makefile("rb"), b""
        found = connection.reply()
        left.close()
        return found

    for command, ours, theirs, queued, equal in [
        (["get", "a"], b"$1\r\n1\r\n", b"$1\r\n2\r\n", (), False),
        (["get", "a"], b"$-1\r\n", b"_\r\n", (), False),
        (["get", "a"], b"-ERR a\r\n", b"-ERR b\r\n", (), False),
        (["get", "a"], b"+1\r\n", b"$1\r\n1\r\n", (), False),
        (["get", "a"], b"", b"$1\r\n1\r\n", (), False),
        (["mget", "a"], b"*1\r\n$1\r\n1\r\n", b"~1\r\n$1\r\n1\r\n", (), False),
        (["keys", "*"], b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"*2\r\n$1\r\nb\r\n$1\r\na\r\n", (), True),
        (["keys", "*"], b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"*2\r\n$1\r\na\r\n$1\r\na\r\n", (), False),
        (["mget", "a"], b"*2\r\n$1\r\na\r\n$1\r\nb\r\n", b"*2\r\n$1\r\nb\r\n$1\r\na\r\n", (), False),
        (["ttl", "a"], b":100\r\n", b":99\r\n", (), True),
        (["ttl", "a"], b":-1\r\n", b":5000\r\n", (), False),
        (["exec"], b"*1\r\n:100\r\n", b"*1\r\n:99\r\n", [["ttl", "a"]], True),
        (["exec"], b"*1\r\n:100\r\n", b"*1\r\n:99\r\n", [["incr", "a"]], False),
        (["exec"], b"*1\r\n:1\r\n", b"*-1\r\n", [["incr", "a"]], False),
    ]:
        if same(command, reply(ours), reply(theirs), queued) != equal:
            raise SystemExit("the comparison is wrong: %r, %r, %r" % (command, ours, theirs))


def silent(command):
    """How `CLIENT REPLY` changes what is answered: the script is then compared as a whole."""
    return name(command).lower().startswith("client reply")


def flush(port):
    connection = Connection(port)
    connection.send(encode(["flushall"]))
    reply = connection.reply()
    connection.close()
    if reply.raw != b"+OK\r\n":
        raise SystemExit("FLUSHALL on port %d: %r" % (port, reply.raw))


def run_script(differences, ports, commands, resp3, pipelined):
    where = "%s%s" % ("RESP3" if resp3 else "RESP2", ", pipelined" if pipelined else "")
    for port in ports:
        flush(port)
    sides = [Connection(port) for port in ports]
    if any(silent(command) for command in commands):
        raws = []
        for side in sides:
            side.send(b"".join(encode(command) for command in commands) + encode(["quit"]))
            raws.append(Reply(side.file.read(), None))
        differences.check(where, ["script:"] + [name(command) + ";" for command in commands], *raws)
        return
    if resp3:
        for side in sides:
            side.send(encode(["hello", "3"]))
            side.reply()
    if pipelined:
        for side in sides:
            side.send(b"".join(encode(command) for command in commands))
    closed = False
    queued = []
    for command in commands:
        if not pipelined:
            for side in sides:
                try:
                    side.send(encode(command))
                except OSError:
                    pass
        ours, theirs = (side.reply() for side in sides)
        first = name(command).lower()
        if theirs.raw == b"+QUEUED\r\n":
            queued.append(command)
        differences.check(where, command, ours, theirs, queued)
        if first in ("multi", "exec", "discard", "reset") and not theirs.raw.startswith(b"-ERR MULTI"):
            queued = []
        if theirs.raw.endswith(b"<closed>") or ours.raw.endswith(b"<closed>"):
            closed = True
            break
    for side in sides:
        side.close()
    return closed


def run_raw(differences, ports, data):
    sides = [Connection(port) for port in ports]
    raws = []
    for side in sides:
        side.send(data)
        try:
            side.socket.shutdown(socket.SHUT_WR)
            raws.append(Reply(side.file.read(), None))
        except ConnectionError:
            # What was sent after the error was never read: the reset may overtake the answer.
            raws.append(Reply(b"<reset>", None))
        side.close()
    if b"<reset>" not in (raws[0].raw, raws[1].raw):
        differences.check("raw", [data[:60]], *raws)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process, what):
    deadline = time.time() + 60
    while time.time() < deadline:
        if process.poll() is not None:
            break
        try:
            connection = Connection(port)
            connection.send(encode(["ping"]))
            if connection.reply().raw == b"+PONG\r\n":
                return
        except OSError:
            time.sleep(0.05)
    print("%s did not start" % what, file=sys.stderr)
    sys.exit(3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reddb", default="target/debug/reddb")
    parser.add_argument("--reddb-port", type=int)
    parser.add_argument("--redis", default="redis-server")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--random", type=int, default=20, help="how many random scripts of 200 commands")
    options = parser.parse_args()
    prove()
    if not shutil.which(options.redis):
        print("%s is not installed" % options.redis, file=sys.stderr)
        sys.exit(3)
    processes = []
    with tempfile.TemporaryDirectory() as directory:
        try:
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            redis_port = free_port()
            redis = [options.redis, "--port", str(redis_port), "--save", "", "--dir", directory, "--bind", "127.0.0.1"]
            processes.append(subprocess.Popen(redis, **quiet))
            wait_for(redis_port, processes[-1], options.redis)
            reddb_port = options.reddb_port
            if reddb_port is None:
                reddb_port = free_port()
                reddb = [options.reddb, "serve", "--dir", directory + "/reddb", "--listen", "127.0.0.1:%d" % reddb_port]
                reddb += ["--admin", "127.0.0.1:%d" % free_port()]
                processes.append(subprocess.Popen(reddb, **quiet))
                wait_for(reddb_port, processes[-1], options.reddb)
            differences = compare([reddb_port, redis_port], options)
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(timeout=60)
    print(
        "%d answers compared, %d differ as intended, %d differ" % (differences.compared, differences.allowed, differences.count)
    )
    sys.exit(1 if differences.count else 0)


def compare(ports, options):
    differences = Differences()
    scripts = [[words(command) for command in line.split(" | ")] for line in SCRIPTS]
    rng = random.Random(options.seed)
    scripts += [random_commands(rng, 200) for _ in range(options.random)]
    for commands in scripts:
        for resp3 in (False, True):
            for pipelined in (False, True):
                run_script(differences, ports, commands, resp3, pipelined)
    for data in RAW:
        run_raw(differences, ports, data)
    return differences


if __name__ == "__main__":
    main()
