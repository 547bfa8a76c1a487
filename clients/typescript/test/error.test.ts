import assert from "node:assert/strict";
import { test } from "node:test";

import { ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { Code, connect, ErrorReason, PgfoxError, vector } from "../src/node.js";
import { standIn, webStandIn } from "./stand-in.js";

test("details are read", async (t) => {
  const limit = { field: "limit", description: "must be 0 to 1000, not -1" };
  const offset = { field: "offset", description: "must be 0 or more" };
  const search = () => {
    const error = new ConnectError("no", Code.InvalidArgument, { "x-request-id": "fox" });
    const info = { domain: "pgfox", reason: "DIMENSION_MISMATCH", metadata: { expected: "3" } };
    error.details.push({ desc: ErrorInfoSchema, value: info });
    error.details.push({ desc: BadRequestSchema, value: { fieldViolations: [limit, offset] } });
    throw error;
  };
  for (const start of [standIn, webStandIn]) {
    const { client } = await start(t, { search });
    const error = await client.search({}).catch((error) => error);
    assert.ok(error instanceof PgfoxError && error instanceof ConnectError);
    assert.equal(error.code, Code.InvalidArgument);
    assert.equal(error.reason, ErrorReason.DIMENSION_MISMATCH);
    assert.deepEqual(error.reasonMetadata, { expected: "3" });
    assert.deepEqual(
      error.violations,
      [limit, offset].map(({ field, description }) => ({ field, rule: description })),
    );
    assert.equal(error.requestId, "fox");
    assert.equal(
      error.message,
      "[invalid_argument] no\n  limit: must be 0 to 1000, not -1\n  offset: must be 0 or more",
    );
  }
});

test("other errors have no reason", async (t) => {
  const { client } = await standIn(t, {
    search() {
      const error = new ConnectError("no", Code.Internal);
      error.details.push({ desc: ErrorInfoSchema, value: { domain: "other.example", reason: "INTERNAL" } });
      throw error;
    },
    getCollection() {
      const error = new ConnectError("no", Code.Internal);
      error.details.push({ desc: ErrorInfoSchema, value: { domain: "pgfox", reason: "OF_THE_FUTURE" } });
      throw error;
    },
  });
  for (const call of [client.search({}), client.getCollection({})]) {
    const error = await call.catch((error) => error);
    assert.deepEqual([error.code, error.reason], [Code.Internal, ErrorReason.UNSPECIFIED]);
  }
  assert.ok(!(new ConnectError("no") instanceof PgfoxError));
});

test("streams fail in the same way", async (t) => {
  const { client } = await standIn(t, {
    // biome-ignore lint/correctness/useYield: it fails before it has anything to say.
    async *buildIndex() {
      throw new ConnectError("gone", Code.NotFound);
    },
  });
  const watch = async () => {
    for await (const _ of client.buildIndex({})) {
    }
  };
  await assert.rejects(watch, (error) => error instanceof PgfoxError && error.code === Code.NotFound);
});

test("what cannot be encoded is a bad argument", async (t) => {
  const { client } = await standIn(t, {});
  const error = await client.search({ limit: 1.5 }).catch((error) => error);
  assert.ok(error instanceof PgfoxError);
  assert.equal(error.code, Code.InvalidArgument);
  assert.match(error.message, /SearchRequest\.limit .*: invalid int32: 1\.5/);
});

test("what would be encoded as something else is a bad argument", async (t) => {
  for (const start of [standIn, webStandIn]) {
    const { client } = await start(t, { ingest: () => ({}), deleteDocuments: () => ({}), search: () => ({}) });
    const why = "is not well-formed Unicode: it has half of a surrogate pair";
    for (const [call, where] of [
      [client.ingest({ documents: [{ id: "\u{1f98a}" }, { id: "\ud83d" }] }), "documents[1].id"],
      [client.ingest({ documents: [{ id: "a", metadata: { tags: [1, "\udd8a"] } }] }), "documents[0].metadata.tags[1]"],
      [client.ingest({ ifVersion: { "\ud83d": 1 } }), 'ifVersion."\\ud83d"'],
      [client.deleteDocuments({ ids: ["\ud83e"] }), "ids[0]"],
      [client.search({ query: { case: "text", value: "fox\ud83e" } }), "query.value"],
    ] as const) {
      await assert.rejects(call, { code: Code.InvalidArgument, rawMessage: `${where} ${why}` });
    }
    await client.ingest({
      documents: [{ id: "\u{1f98a}", text: "\ufffd", vector: vector([1]), metadata: { a: null } }],
    });
  }
});

test("a server without TLS is distinguished from one that is not trusted", async (t) => {
  const { client: plaintext } = await standIn(t, {});
  const client = connect({ endpoint: plaintext.endpoint.replace("http:", "https:") });
  const error = await client.listCollections({}).catch((error) => error);
  client.close();
  assert.equal(error.code, Code.Unavailable);
  assert.match(error.message, /what listens there does not speak TLS; write http:\/\//);
  assert.doesNotMatch(error.message, /pass the certificate|attempts/);
});

test("vectors are made of arrays", () => {
  assert.deepEqual(vector([1, 2]).values, [1, 2]);
  assert.deepEqual(vector(new Float32Array([0.5, 0.25])).values, [0.5, 0.25]);
});
