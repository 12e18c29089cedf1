// What an ordinary program does through ioredis. Usage: node ioredis.mjs PORT

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { Redis } from "ioredis";

const require = createRequire(import.meta.url);
const version = JSON.parse(readFileSync(require.resolve("ioredis/package.json"))).version;
const port = Number(process.argv[2]);
const client = new Redis({ port, host: "127.0.0.1", maxRetriesPerRequest: 1 });
const other = new Redis({ port, host: "127.0.0.1", maxRetriesPerRequest: 1 });

await client.flushall();

assert.equal(await client.set("io:s", "värde"), "OK");
assert.equal(await client.get("io:s"), "värde");
assert.equal(await client.get("io:none"), null);
assert.equal(await client.set("io:s", "x", "NX"), null);
assert.deepEqual(await client.getBuffer("io:s"), Buffer.from("värde"));
assert.equal(await client.incrby("io:n", 41), 41);
assert.equal(await client.set("io:e", "x", "PX", 60_000), "OK");
assert.ok((await client.pttl("io:e")) > 0);

assert.equal(await client.hset("io:h", { one: 1, two: "zwei" }), 2);
assert.deepEqual(await client.hgetall("io:h"), { one: "1", two: "zwei" });
assert.deepEqual(await client.hmget("io:h", "two", "none"), ["zwei", null]);

const pipeline = client.pipeline();
for (let index = 0; index < 1000; index += 1) pipeline.set(`io:p:${index}`, index);
const answers = await pipeline.exec();
assert.equal(answers.length, 1000);
assert.ok(answers.every(([error, answer]) => error === null && answer === "OK"));

assert.deepEqual(await client.multi().incr("io:t").incr("io:t").get("io:t").exec(), [
  [null, 1],
  [null, 2],
  [null, "2"],
]);
await client.watch("io:w");
await other.set("io:w", "theirs");
assert.equal(await client.multi().set("io:w", "mine").exec(), null);
assert.equal(await client.get("io:w"), "theirs");

const found = new Set();
for await (const keys of client.scanStream({ match: "io:p:*", count: 50 })) keys.forEach((key) => found.add(key));
assert.equal(found.size, 1000);

await assert.rejects(client.hget("io:s", "f"), /WRONGTYPE/);
await assert.rejects(client.call("NOSUCHCOMMAND"), /unknown command/);
assert.match(await client.info(), /redis_version:7\.0\.15/);

await client.quit();
await other.quit();
console.log(`ioredis ${version}: ok`);
