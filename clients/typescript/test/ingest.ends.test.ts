import assert from "node:assert/strict";
import { test } from "node:test";

import { Code, type DocumentInit, type IngestRequest, ingest, PgfoxError } from "../src/node.js";
import { documents, eventually, failure, recording, refusal, standIn, unavailable, webStandIn } from "./stand-in.js";

test("an ingest gives up", async (t) => {
  for (const start of [standIn, webStandIn]) {
    const { client } = await start(t, {
      // biome-ignore lint/correctness/useYield: it never acknowledges anything.
      async *ingestStream() {
        throw unavailable();
      },
      ingest: () => Promise.reject(unavailable()),
    });
    const began = performance.now();
    const error = await failure(ingest(client, "c", documents(1), { retryTimeoutMs: 500 }));
    assert.ok(performance.now() - began < 5_000);
    assert.match(error.message, /nothing was acknowledged in \d\.\d s of trying again/);
    assert.equal(error.acknowledged.documents, 0);
  }
});

test("a silent server is waited for only so long", async (t) => {
  for (const start of [standIn, webStandIn]) {
    const never = (signal: AbortSignal) => new Promise<never>((_, reject) => signal.addEventListener("abort", reject));
    const { client } = await start(t, {
      // biome-ignore lint/correctness/useYield: it never acknowledges anything.
      async *ingestStream(_, { signal }) {
        await never(signal);
      },
      ingest: (_, { signal }) => never(signal),
    });
    const error = await failure(ingest(client, "c", documents(1), { acknowledgeTimeoutMs: 200 }));
    assert.ok(error.cause instanceof PgfoxError);
    assert.equal(error.cause.code, Code.DeadlineExceeded);
  }
});

test("acknowledgements come in order", async (t) => {
  const { client } = await standIn(t, {
    async *ingestStream(stream) {
      for await (const _ of stream) {
        yield { sequence: 7 };
      }
    },
  });
  const error = await failure(ingest(client, "c", documents(1)));
  assert.equal(error.message, "the server acknowledged request 7 instead of request 1");
});

test("a signal, the source and a callback end an ingest", async (t) => {
  const requests: IngestRequest[] = [];
  const { client } = await standIn(t, recording(requests));
  let returned = 0;
  async function* endless(fails: boolean) {
    try {
      yield* documents(2);
      if (fails) {
        throw new SyntaxError("line 3");
      }
      for (let i = 0; ; i++) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        yield { id: `e${i}` };
      }
    } finally {
      returned++;
    }
  }
  const signal = AbortSignal.timeout(1_000);
  const aborted = await failure(ingest(client, "c", endless(false), { signal, documentsPerRequest: 1 }));
  assert.ok(aborted.cause instanceof PgfoxError && aborted.cause.code === Code.DeadlineExceeded, aborted.message);
  assert.ok(aborted.acknowledged.documents > 2);
  const before = await failure(ingest(client, "c", endless(false), { signal }));
  assert.equal(before.acknowledged.documents, 0);

  const source = await failure(ingest(client, "c", endless(true), { documentsPerRequest: 1 }));
  assert.ok(source.cause instanceof SyntaxError);

  const thrown = new Error("enough");
  const onAcknowledged = () => {
    throw thrown;
  };
  const callback = await failure(ingest(client, "c", endless(false), { onAcknowledged, documentsPerRequest: 1 }));
  assert.equal(callback.cause, thrown);
  await eventually("every source was left", () => returned === 4);
});

test("a closed client ends an ingest", async (t) => {
  const { client } = await standIn(t, recording([]));
  async function* source() {
    yield* documents(1);
    client.close();
    await new Promise((resolve) => setTimeout(resolve, 50));
    yield* documents(1);
  }
  const error = await failure(ingest(client, "c", source(), { documentsPerRequest: 1 }));
  assert.match(error.message, /the client is closed/);
});

test("a closed client ends a pause, and the wait for the source", { timeout: 15_000 }, async (t) => {
  const never = () => Promise.reject(refusal(Code.Unavailable, "SHUTTING_DOWN", 10_000));
  for (const start of [standIn, webStandIn]) {
    const began = performance.now();
    const { client } = await start(t, {
      // biome-ignore lint/correctness/useYield: it never acknowledges anything.
      async *ingestStream() {
        await never();
      },
      ingest: never,
    });
    let isReading = false;
    async function* silent() {
      isReading = true;
      yield await new Promise<DocumentInit>(() => {});
    }
    const waiting = failure(ingest(client, "c", silent()));
    let pauseMs = 0;
    const onInterrupted = (_: PgfoxError, pause: number) => {
      pauseMs = pause;
    };
    const pausing = failure(ingest(client, "c", documents(1), { onInterrupted }));
    await eventually("one waits and the other pauses", () => isReading && pauseMs >= 10_000);
    client.close();
    for (const error of [await waiting, await pausing]) {
      assert.ok(error.cause instanceof PgfoxError);
      assert.deepEqual([error.cause.code, error.message], [Code.Canceled, "[canceled] the client is closed"]);
    }
    assert.ok(performance.now() - began < 5_000);
  }
});
