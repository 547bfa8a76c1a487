import assert from "node:assert/strict";
import { test } from "node:test";

import { Code, connect, PgfoxError, PgfoxService } from "../src/node.js";
import { refusal, standIn, unavailable, webStandIn } from "./stand-in.js";

test("what is unavailable is asked again", async (t) => {
  for (const start of [standIn, webStandIn]) {
    const timeouts: number[] = [];
    const { client } = await start(t, {
      listCollections(_, { requestHeader }) {
        timeouts.push(Number.parseInt(requestHeader.get("grpc-timeout") ?? "", 10));
        if (timeouts.length < 3) {
          throw unavailable();
        }
        return {};
      },
    });
    const began = performance.now();
    await client.listCollections({}, { timeoutMs: 5_000 });
    assert.ok(performance.now() - began >= 150, "two pauses, of 50 and 100 ms at least");
    const [first = 0, second = 0, third = 0] = timeouts;
    assert.ok(first > 4_000 && second <= first - 50 && third <= second - 100, `one deadline for all: ${timeouts}`);
  }
});

test("the server says when to come back", async (t) => {
  let attempts = 0;
  const busy = (retryMs?: number) => refusal(Code.ResourceExhausted, "DATABASE_BUSY", retryMs);
  const { client } = await standIn(t, {
    listCollections() {
      if (++attempts === 1) {
        throw busy(400);
      }
      return {};
    },
    countDocuments() {
      attempts++;
      throw busy(5_000);
    },
    listIndexes() {
      attempts++;
      throw busy();
    },
  });
  const began = performance.now();
  await client.listCollections({});
  assert.ok(performance.now() - began >= 400);

  attempts = 0;
  const error = await client.countDocuments({}, { timeoutMs: 2_000 }).catch((error) => error);
  assert.deepEqual([error.code, error.retryDelayMs, attempts], [Code.ResourceExhausted, 5_000, 1]);

  attempts = 0;
  await assert.rejects(client.listIndexes({}), { code: Code.ResourceExhausted });
  assert.equal(attempts, 1, "without a time to come back it is final");
});

test("some calls are made once", async (t) => {
  let attempts = 0;
  const fail = () => {
    attempts++;
    throw unavailable();
  };
  const all = { createCollection: fail, deleteCollection: fail, dropIndex: fail, ingest: fail, search: fail };
  const { client } = await standIn(t, all);
  const impatient = { timeoutMs: 1_000 };
  for (const call of [
    () => client.createCollection({}, impatient),
    () => client.deleteCollection({}, impatient),
    () => client.dropIndex({}, impatient),
    () => client.ingest({ ifVersion: { a: 1 } }, impatient),
  ]) {
    attempts = 0;
    await assert.rejects(call, { code: Code.Unavailable });
    assert.equal(attempts, 1);
  }
  attempts = 0;
  await assert.rejects(
    client.ingest({}, impatient),
    /no \(\d attempts in \d\.\d s\)|\(\d attempts in \d\.\d s; before: no\)/,
  );
  assert.ok(attempts > 1);

  const { client: resigned } = await standIn(t, all, { retry: false });
  attempts = 0;
  await assert.rejects(resigned.search({}), { code: Code.Unavailable });
  assert.equal(attempts, 1);
});

test("every call is either repeated or known to be made once", async (t) => {
  const attempts: Record<string, number> = {};
  const unary = PgfoxService.methods.filter(({ methodKind }) => methodKind === "unary");
  const implementation = Object.fromEntries(
    unary.map(({ localName }) => [
      localName,
      () => {
        attempts[localName] = (attempts[localName] ?? 0) + 1;
        if (attempts[localName] === 1) {
          throw unavailable();
        }
        return {};
      },
    ]),
  );
  const { client } = await standIn(t, implementation);
  const calls = client as unknown as Record<string, (request: object) => Promise<unknown>>;
  await Promise.allSettled(unary.map(({ localName }) => calls[localName]?.({})));
  const once = unary.map(({ localName }) => localName).filter((name) => attempts[name] === 1);
  assert.deepEqual(once.sort(), ["createCollection", "deleteCollection", "dropIndex"]);
  assert.equal(attempts.facetDocuments, 2);
});

test("a signal ends the pause", async (t) => {
  const { client } = await standIn(t, {
    listCollections: () => Promise.reject(refusal(Code.Unavailable, "SHUTTING_DOWN", 10_000)),
  });
  const began = performance.now();
  const signal = AbortSignal.timeout(100);
  const error = await client.listCollections({}, { signal }).catch((error) => error);
  assert.ok(error instanceof PgfoxError);
  assert.equal(error.code, Code.DeadlineExceeded);
  assert.equal(error.cause, signal.reason);
  assert.ok(performance.now() - began < 5_000);

  const leave = new AbortController();
  const canceled = client.listCollections({}, { signal: leave.signal }).catch((error) => error);
  leave.abort();
  const { code, cause } = await canceled;
  assert.deepEqual([code, cause], [Code.Canceled, leave.signal.reason]);
});

test("a dead server is named", async () => {
  const client = connect({ endpoint: "127.0.0.1:1", timeoutMs: 1_000 });
  const began = performance.now();
  const error = await client.listCollections({}).catch((error) => error);
  assert.ok(performance.now() - began < 3_000);
  // The deadline may cut the last attempt short.
  assert.ok([Code.Unavailable, Code.DeadlineExceeded].includes(error.code), error.message);
  assert.match(error.message, /127\.0\.0\.1:1: connect ECONNREFUSED.*check that pgfox-server runs there/);
  assert.match(error.message, /\(\d+ attempts in \d\.\d s/);
});

test("a call whose connection breaks is repeated", async (t) => {
  let attempts = 0;
  const { client, cut } = await standIn(t, {
    async listCollections() {
      if (++attempts === 1) {
        cut();
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      return {};
    },
  });
  await client.listCollections({});
  assert.equal(attempts, 2);
});

test("a deadline that cuts an attempt short reports the earlier error too", async (t) => {
  let attempts = 0;
  const { client } = await standIn(t, {
    async listCollections(_, { signal }) {
      if (++attempts > 1) {
        await new Promise((_, reject) => signal.addEventListener("abort", reject));
      }
      throw unavailable();
    },
  });
  const error = await client.listCollections({}, { timeoutMs: 1_000 }).catch((error) => error);
  assert.equal(error.code, Code.DeadlineExceeded);
  assert.match(error.message, /timed out at http:.*:\d+ \(2 attempts in 1\.\d s; before: no\)$/);

  const alone = await client.listCollections({}, { timeoutMs: 200 }).catch((error) => error);
  assert.equal(alone.code, Code.DeadlineExceeded);
  assert.match(alone.message, /timed out at http:\/\/127\.0\.0\.1:\d+$/);
});
