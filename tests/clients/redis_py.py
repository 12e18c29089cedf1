"""What an ordinary program does through redis-py, over RESP2 and RESP3.

Usage: redis_py.py PORT. Ends with 0 where everything answered as Redis would.
"""

import sys

import redis

PORT = int(sys.argv[1])


def connect(protocol, **more):
    return redis.Redis(host="127.0.0.1", port=PORT, protocol=protocol, socket_timeout=20, **more)


def equal(found, wanted):
    assert found == wanted, f"{found!r} is not {wanted!r}"


def raises(error, text, call):
    try:
        call()
    except error as caught:
        assert text in str(caught), f"{caught!r} does not say {text!r}"
        return
    raise AssertionError(f"no {error.__name__}")


def strings(client):
    equal(client.set("py:s", b"\x00\xff\r\n"), True)
    equal(client.get("py:s"), b"\x00\xff\r\n")
    equal(client.get("py:none"), None)
    equal(client.set("py:s", "other", nx=True), None)
    equal(client.incr("py:n"), 1)
    equal(client.incrbyfloat("py:f", 1.5), 1.5)
    equal(client.mset({"py:a": 1, "py:b": 2}), True)
    equal(client.mget("py:a", "py:none", "py:b"), [b"1", None, b"2"])
    equal(client.set("py:e", "x", px=60_000), True)
    assert 0 < client.pttl("py:e") <= 60_000
    equal(client.persist("py:e"), True)
    equal(client.ttl("py:e"), -1)


def hashes(client):
    equal(client.hset("py:h", mapping={"one": 1, "two": b"\x02"}), 2)
    equal(client.hgetall("py:h"), {b"one": b"1", b"two": b"\x02"})
    equal(client.hincrby("py:h", "one", 41), 42)
    equal(sorted(client.hkeys("py:h")), [b"one", b"two"])
    equal(client.hdel("py:h", "one", "none"), 1)
    equal(dict(client.hscan_iter("py:h")), {b"two": b"\x02"})


def pipelines(client):
    with client.pipeline(transaction=False) as pipe:
        for index in range(1000):
            pipe.set(f"py:p:{index}", index)
        equal(pipe.execute(), [True] * 1000)
    with client.pipeline(transaction=True) as pipe:
        pipe.incr("py:t").incr("py:t").get("py:t")
        equal(pipe.execute(), [1, 2, b"2"])


def optimistic(client, other):
    with client.pipeline() as pipe:
        pipe.watch("py:w")
        other.set("py:w", "theirs")
        pipe.multi()
        pipe.set("py:w", "mine")
        raises(redis.WatchError, "", pipe.execute)
    equal(client.get("py:w"), b"theirs")

    def ours(pipe):
        pipe.multi()
        pipe.set("py:w", "ours")

    equal(client.transaction(ours, "py:w"), [True])


def scans(client):
    found = set(client.scan_iter(match="py:p:*", count=50))
    equal(found, {f"py:p:{index}".encode() for index in range(1000)})
    equal(client.dbsize() >= 1000, True)


def errors(client):
    raises(redis.ResponseError, "WRONGTYPE", lambda: client.hget("py:s", "f"))
    raises(redis.ResponseError, "unknown command", lambda: client.execute_command("NOSUCHCOMMAND"))
    raises(redis.ResponseError, "not an integer", lambda: client.incr("py:s"))
    equal(client.ping(), True)


def server(client):
    info = client.info()
    equal(info["redis_version"], "7.0.15")
    assert info["reddb_version"]
    assert "db0" in info, info.keys()
    equal(client.client_setname("py"), True)
    equal(client.client_getname() in ("py", b"py"), True)
    assert client.client_id() > 0
    assert client.time()[0] > 0
    assert len(client.execute_command("COMMAND", "INFO", "GET")) == 1


def main():
    for protocol in (2, 3):
        with connect(protocol) as client, connect(protocol) as other:
            client.flushall()
            for part in (strings, hashes, pipelines, scans, errors, server):
                part(client)
            optimistic(client, other)
        with connect(protocol, decode_responses=True, db=3) as client:
            equal(client.set("py:db", "three"), True)
            equal(client.get("py:db"), "three")
            client.flushdb()
        print(f"redis-py {redis.__version__} over RESP{protocol}: ok")


main()
