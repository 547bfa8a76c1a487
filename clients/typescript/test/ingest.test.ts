import assert from "node:assert/strict";
import { test } from "node:test";

import { Code, type DocumentInit, ErrorReason, type IngestRequest, ingest, PgfoxError, vector } from "../src/node.js";
import {
  acknowledgement,
  documents,
  eventually,
  failure,
  ids,
  recording,
  refusal,
  standIn,
  unavailable,
  webStandIn,
} from "./stand-in.js";

test("requests are bounded by count and bytes", async (t) => {
  for (const start of [standIn, webStandIn]) {
    const requests: IngestRequest[] = [];
    const { client } = await start(t, recording(requests));
    const totals = await ingest(client, "c", documents(10, 10), { documentsPerRequest: 4 });
    assert.deepEqual(
      requests.map((request) => request.documents.length),
      [4, 4, 2],
    );
    assert.deepEqual(
      requests.map((request) => request.sequence),
      [1, 2, 3],
    );
    assert.deepEqual([totals.documents, totals.upserted], [10, 10]);

    requests.length = 0;
    const mixed = [10, 2000, 10, 600, 600, 10].map((bytes, i) => ({ id: `d${i}`, text: "x".repeat(bytes) }));
    await ingest(client, "c", mixed, { bytesPerRequest: 1_000 });
    assert.deepEqual(
      requests.map((request) => request.documents.length),
      [1, 1, 2, 2],
    );

    requests.length = 0;
    assert.equal((await ingest(client, "c", [])).documents, 0);
    assert.equal(requests.length, 0);
  }
});

test("options reach the server", async (t) => {
  const requests: IngestRequest[] = [];
  const { client } = await standIn(t, recording(requests));
  await ingest(client, "c", documents(1), { skipInvalid: true, onlyIfAbsent: true });
  const [{ collection, skipInvalid, onlyIfAbsent } = assert.fail()] = requests;
  assert.deepEqual([collection, skipInvalid, onlyIfAbsent], ["c", true, true]);
  const outermost = {
    documentsPerRequest: 1_000,
    bytesPerRequest: (16 << 20) - (64 << 10),
    requestsInFlight: 100,
    acknowledgeTimeoutMs: 86_400_000,
    retryTimeoutMs: 0,
  };
  assert.equal((await ingest(client, "c", documents(1), outermost)).documents, 1);
});

test("options outside their range are refused before any request", async (t) => {
  const requests: IngestRequest[] = [];
  const { client } = await standIn(t, recording(requests));
  for (const [option, value, range] of [
    ["documentsPerRequest", 0, "1 to 1000"],
    ["documentsPerRequest", 1_001, "1 to 1000"],
    ["documentsPerRequest", 1.5, "1 to 1000"],
    ["bytesPerRequest", 0, "1 to 16711680"],
    ["bytesPerRequest", 16 << 20, "1 to 16711680"],
    ["requestsInFlight", 0, "1 to 100"],
    ["requestsInFlight", 101, "1 to 100"],
    ["acknowledgeTimeoutMs", 0, "1 to 86400000"],
    ["acknowledgeTimeoutMs", 86_400_001, "1 to 86400000"],
    ["acknowledgeTimeoutMs", Number.NaN, "1 to 86400000"],
    ["retryTimeoutMs", -1, "0 to 86400000"],
    ["retryTimeoutMs", 86_400_001, "0 to 86400000"],
  ] as const) {
    const unread: Iterable<DocumentInit> = {
      [Symbol.iterator]: () => assert.fail(`the source was read with ${option} ${value}`),
    };
    await assert.rejects(ingest(client, "c", unread, { [option]: value }), {
      name: "RangeError",
      message: `${option} must be ${range}, not ${value}`,
    });
  }
  assert.equal(requests.length, 0);
});

test("documents that cannot be sent are named", async (t) => {
  const { client } = await standIn(t, recording([]));
  const large = [...documents(1), { id: "large", text: "x".repeat(17 << 20) }];
  const tooLarge = await failure(ingest(client, "c", large, { documentsPerRequest: 1 }));
  assert.match(tooLarge.message, /^document 1 \("large"\) has \d+ bytes; a request may have at most 16711680/);
  const wrong = [{ id: "a", vector: vector([1e300]) }];
  assert.match(
    (await failure(ingest(client, "c", wrong))).message,
    /^document 0 \("a"\) cannot be sent: .*values.*1e\+300/,
  );
  const halves = [{ id: "\u{1f98a}" }, { id: "\ud83d" }, { id: "\ud83e" }];
  assert.equal(
    (await failure(ingest(client, "c", halves))).message,
    'document 1 ("\\ud83d") cannot be sent: id is not well-formed Unicode: it has half of a surrogate pair',
  );
  const half = [{ id: "a", text: "fox \udd8a" }];
  assert.match(
    (await failure(ingest(client, "c", half))).message,
    /^document 0 \("a"\) cannot be sent: text is not well/,
  );
  for (const [none, message] of [
    [null, "document 1 is null, not an object"],
    [undefined, "document 1 is of type undefined, not an object"],
    ["a", "document 1 is of type string, not an object"],
  ] as const) {
    const unread = [{ id: "a" }, none] as DocumentInit[];
    const error = await failure(ingest(client, "c", unread));
    assert.ok(error.cause instanceof TypeError);
    assert.equal(error.message, message);
  }
});

test("the source is read no farther ahead than the window", async (t) => {
  for (const start of [standIn, webStandIn]) {
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const requests: IngestRequest[] = [];
    const { client } = await start(t, {
      async *ingestStream(stream) {
        for await (const request of stream) {
          requests.push(request);
          await released;
          yield acknowledgement(request);
        }
      },
      async ingest(request) {
        requests.push(request);
        await released;
        return acknowledgement(request);
      },
    });
    let read = 0;
    async function* source() {
      for (const document of documents(20)) {
        read++;
        yield document;
      }
    }
    const ingesting = ingest(client, "c", source(), { documentsPerRequest: 2, requestsInFlight: 3 });
    await eventually("the window is full", () => read === 6);
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.equal(read, 6);
    release();
    assert.equal((await ingesting).documents, 20);
    assert.equal(read, 20);
  }
});

test("many large documents are on the way at a time", async (t) => {
  const { client } = await standIn(t, {
    async *ingestStream(stream) {
      for await (const request of stream) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        yield acknowledgement(request);
      }
    },
  });
  const options = { documentsPerRequest: 2, bytesPerRequest: 15 << 20, retryTimeoutMs: 0 };
  assert.equal((await ingest(client, "c", documents(12, 7 << 20), options)).documents, 12);
});

test("a broken connection loses and repeats nothing", async (t) => {
  for (const start of [standIn, webStandIn]) {
    const stored: string[] = [];
    const sequences: number[] = [];
    let answers = 0;
    const store = async (request: IngestRequest) => {
      sequences.push(request.sequence);
      if (++answers % 4 === 0) {
        server.cut();
        await new Promise((resolve) => setTimeout(resolve, 20));
        throw unavailable();
      }
      stored.push(...ids(request));
      return acknowledgement(request);
    };
    const server = await start(t, {
      async *ingestStream(stream) {
        for await (const request of stream) {
          yield await store(request);
        }
      },
      ingest: store,
    });
    const interruptions: unknown[] = [];
    const all = documents(40);
    const totals = await ingest(server.client, "c", all, {
      documentsPerRequest: 2,
      onInterrupted: (error, pause) => interruptions.push([error instanceof PgfoxError, pause >= 50]),
    });
    assert.equal(totals.documents, 40);
    assert.ok(interruptions.length >= 3 && interruptions.length < 20, `${interruptions.length}`);
    assert.ok(interruptions.every((interruption) => String(interruption) === "true,true"));
    assert.deepEqual([...new Set(stored)].sort(), all.map((document) => document.id).sort());
    // Each connection begins where the acknowledgements ended, and continues in order.
    assert.deepEqual([...new Set(sequences)].length, 20);
  }
});

test("after an interruption the requests come again in order", async (t) => {
  const connections: number[][] = [];
  const { client } = await standIn(t, {
    async *ingestStream(stream) {
      const sequences: number[] = [];
      connections.push(sequences);
      for await (const request of stream) {
        sequences.push(request.sequence);
        if (connections.length === 1) {
          if (sequences.length < 3) {
            continue;
          }
          yield { sequence: 1 };
          // Ends the stream with its status; nothing of the rest is acknowledged.
          throw unavailable();
        }
        yield acknowledgement(request);
      }
    },
  });
  const totals = await ingest(client, "c", documents(5), { documentsPerRequest: 1, requestsInFlight: 3 });
  assert.equal(totals.documents, 5);
  assert.deepEqual(connections, [
    [1, 2, 3],
    [2, 3, 4, 5],
  ]);
});

test("a stream that ends early is taken up again", async (t) => {
  let connections = 0;
  const { client } = await standIn(t, {
    async *ingestStream(stream) {
      connections++;
      for await (const request of stream) {
        yield acknowledgement(request);
        if (connections < 3) {
          return;
        }
      }
    },
  });
  const reasons: string[] = [];
  const options = { documentsPerRequest: 1, onInterrupted: (error: PgfoxError) => reasons.push(error.message) };
  assert.equal((await ingest(client, "c", documents(5), options)).documents, 5);
  assert.equal(reasons.length, 2);
  assert.match(reasons[0] ?? "", /the server ended the stream early/);
});

test("what the server refuses is final, and what it stored is reported", async (t) => {
  for (const start of [standIn, webStandIn]) {
    const store = (request: IngestRequest) => {
      if (request.sequence === 3) {
        throw refusal(Code.InvalidArgument, "INVALID_FIELD");
      }
      return acknowledgement(request);
    };
    const { client } = await start(t, {
      async *ingestStream(stream) {
        for await (const request of stream) {
          yield store(request);
        }
      },
      ingest: store,
    });
    const error = await failure(ingest(client, "c", documents(9), { documentsPerRequest: 2, requestsInFlight: 1 }));
    assert.equal(error.acknowledged.documents, 4);
    assert.ok(error.cause instanceof PgfoxError);
    assert.equal(error.cause.reason, ErrorReason.INVALID_FIELD);
  }
});

test("skipped documents are reported with their position", async (t) => {
  const { client } = await standIn(t, {
    async *ingestStream(stream) {
      for await (const { sequence, documents } of stream) {
        const last = documents.at(-1);
        const errors = [
          { index: documents.length - 1, id: last?.id ?? "", reason: ErrorReason.INVALID_FIELD, message: "no" },
        ];
        yield { sequence, upsertedCount: documents.length - 1, errors };
      }
    },
  });
  const seen: unknown[] = [];
  const totals = await ingest(client, "c", documents(5), {
    documentsPerRequest: 2,
    skipInvalid: true,
    onAcknowledged: (totals, skipped) =>
      seen.push([totals.documents, ...skipped.map(({ position, id }) => [position, id])]),
  });
  assert.deepEqual(seen, [
    [2, [1, "d1"]],
    [4, [3, "d3"]],
    [5, [4, "d4"]],
  ]);
  assert.deepEqual([totals.documents, totals.upserted, totals.skipped], [5, 2, 3]);
});

test("without streams, requests with a document in common wait for each other", async (t) => {
  let running = 0;
  let most = 0;
  const began: string[][] = [];
  const { client } = await webStandIn(t, {
    async ingest(request) {
      began.push(ids(request));
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 50));
      running--;
      return acknowledgement(request);
    },
  });
  const source = ["a", "b", "a", "c"].map((id) => ({ id }));
  await ingest(client, "c", source, { documentsPerRequest: 1, requestsInFlight: 3 });
  assert.deepEqual(began.slice(0, 2).sort(), [["a"], ["b"]]);
  assert.equal(began.length, 4);
  assert.ok(most > 1 && most <= 3);

  most = 0;
  await ingest(client, "c", Array(4).fill({ id: "a" }), { documentsPerRequest: 1 });
  assert.equal(most, 1);
});
