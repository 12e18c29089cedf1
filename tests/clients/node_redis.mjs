// What an ordinary program does through node-redis, over RESP2 and RESP3. Usage: node node_redis.mjs PORT

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createClient } from "redis";

const require = createRequire(import.meta.url);
const version = JSON.parse(readFileSync(require.resolve("redis/package.json"))).version;
const port = Number(process.argv[2]);

async function connect(RESP) {
  const client = createClient({ RESP, socket: { port, host: "127.0.0.1", reconnectStrategy: false } });
  client.on("error", (error) => {
    throw error;
  });
  return client.connect();
}

for (const RESP of [2, 3]) {
  const client = await connect(RESP);
  const other = await connect(RESP);
  await client.flushAll();

  assert.equal(await client.set("node:s", "värde"), "OK");
  assert.equal(await client.get("node:s"), "värde");
  assert.equal(await client.get("node:none"), null);
  assert.equal(await client.set("node:s", "x", { condition: "NX" }), null);
  assert.equal(await client.incrBy("node:n", 41), 41);
  assert.equal(await client.set("node:e", "x", { expiration: { type: "PX", value: 60_000 } }), "OK");
  assert.ok((await client.pTTL("node:e")) > 0);

  assert.equal(await client.hSet("node:h", { one: "1", two: "zwei" }), 2);
  assert.deepEqual({ ...(await client.hGetAll("node:h")) }, { one: "1", two: "zwei" });
  assert.deepEqual(await client.hmGet("node:h", ["two", "none"]), ["zwei", null]);

  const many = [];
  for (let index = 0; index < 1000; index += 1) many.push(client.set(`node:p:${index}`, String(index)));
  assert.ok((await Promise.all(many)).every((answer) => answer === "OK"));

  assert.deepEqual(await client.multi().incr("node:t").incr("node:t").get("node:t").exec(), [1, 2, "2"]);
  await client.watch("node:w");
  await other.set("node:w", "theirs");
  await assert.rejects(client.multi().set("node:w", "mine").exec());
  assert.equal(await client.get("node:w"), "theirs");

  const found = new Set();
  for await (const keys of client.scanIterator({ MATCH: "node:p:*", COUNT: 50 })) keys.forEach((key) => found.add(key));
  assert.equal(found.size, 1000);

  await assert.rejects(client.hGet("node:s", "f"), /WRONGTYPE/);
  await assert.rejects(client.sendCommand(["NOSUCHCOMMAND"]), /unknown command/);
  assert.match(await client.info(), /redis_version:7\.0\.15/);

  await client.close();
  await other.close();
  console.log(`node-redis ${version} over RESP${RESP}: ok`);
}
