import assert from "node:assert/strict";
import { test } from "node:test";

import { create, fromJson } from "@bufbuild/protobuf";
import { timestampFromDate, ValueSchema } from "@bufbuild/protobuf/wkt";
import {
  Code,
  type ConnectOptions,
  ErrorReason,
  ingest,
  PgfoxError,
  plain,
  SearchResponseSchema,
} from "../src/node.js";
import { documents, failure, refusal, standIn, webStandIn } from "./stand-in.js";

const TIME = new Date("2024-05-01T12:00:00.500Z");

/** An answer with every kind of field that JSON does not have. */
const found = {
  results: [
    {
      document: {
        id: "a",
        text: "fox",
        vector: { values: [0.5, 1] },
        metadata: { tags: ["x", null], deep: { n: 1 } },
        version: 3,
        createTime: timestampFromDate(TIME),
      },
      distance: 0.25,
    },
  ],
  completeness: 1,
  usage: { tokens: 7 },
  timing: { embed: { seconds: 1n, nanos: 500_000_000 } },
  explanation: { rowsScanned: 2 ** 40 },
};

test("JSON.stringify takes every answer", async (t) => {
  for (const start of [standIn, webStandIn]) {
    const { client } = await start(t, {
      search: () => found,
      listDocuments: () => ({ documents: [found.results[0]?.document ?? {}] }),
      countDocuments: () => ({ count: 0 }),
      ingest: ({ sequence }) => ({ sequence, upsertedCount: 1, usage: { tokens: 9 } }),
      facetDocuments: () => ({
        values: [
          { value: fromJson(ValueSchema, "red"), count: 2 },
          { value: fromJson(ValueSchema, 7), count: 1 },
        ],
        otherValueCount: 4,
      }),
    });
    const answer = await client.search({});
    const json = JSON.parse(JSON.stringify(answer));
    const { document, distance } = json.results[0];
    assert.deepEqual(document, {
      id: "a",
      text: "fox",
      vector: { values: [0.5, 1] },
      metadata: { tags: ["x", null], deep: { n: 1 } },
      version: 3,
      createTime: "2024-05-01T12:00:00.500Z",
    });
    assert.equal(distance, 0.25);
    assert.equal(json.usage.tokens, 7);
    assert.equal(json.timing.embed, "1.500s");
    assert.equal(json.explanation.rowsScanned, 2 ** 40);
    assert.equal(json.completeness, "COMPLETENESS_EXACT");

    // So do its parts, copies of them, and objects that contain them.
    const { documents } = await client.listDocuments({});
    assert.deepEqual(JSON.parse(JSON.stringify(documents)), [document]);
    assert.deepEqual(JSON.parse(JSON.stringify({ ...documents[0] })), { ...document, $typeName: "pgfox.v1.Document" });
    assert.equal(JSON.stringify(documents[0]?.createTime), '"2024-05-01T12:00:00.500Z"');
    assert.equal(JSON.stringify({ timing: answer.timing?.embed }), '{"timing":"1.500s"}');

    // Zero is written too, and numbers are numbers.
    const { count } = await client.countDocuments({});
    assert.equal(JSON.stringify(await client.countDocuments({})), '{"count":0,"notes":[]}');
    assert.equal(JSON.stringify({ count, next: count + 1 }), '{"count":0,"next":1}');
    const { sequence, usage } = await client.ingest({ sequence: 5 });
    assert.deepEqual([sequence, usage?.tokens], [5, 9]);

    const facets = await client.facetDocuments({});
    assert.deepEqual(
      facets.values.map(({ value, count }) => [plain(value), count]),
      [
        ["red", 2],
        [7, 1],
      ],
    );
    assert.deepEqual(JSON.parse(JSON.stringify(facets)).values, [
      { value: "red", count: 2 },
      { value: 7, count: 1 },
    ]);
  }
});

test("the JSON of a message makes the message again", async (t) => {
  const { client } = await standIn(t, { search: () => found });
  const answer = await client.search({});
  const again = fromJson(SearchResponseSchema, JSON.parse(JSON.stringify(answer)));
  assert.equal(again.results[0]?.document?.createTime?.seconds, answer.results[0]?.document?.createTime?.seconds);
  assert.deepEqual(again.results[0]?.document?.metadata, answer.results[0]?.document?.metadata);
});

test("a message stays plain data", async (t) => {
  const { client } = await standIn(t, { search: () => found });
  const answer = await client.search({});
  assert.ok(!Object.keys(answer).includes("toJSON"));
  assert.deepEqual(structuredClone(answer), answer);
  const expected = create(SearchResponseSchema, found);
  assert.deepEqual(answer.results[0]?.document, expected.results[0]?.document);
});

test("each message of a stream has numbers too", async (t) => {
  const { client } = await standIn(t, {
    async *buildIndex() {
      yield { index: { sizeBytes: 8192 } };
    },
  });
  for await (const progress of client.buildIndex({})) {
    assert.equal(progress.index?.sizeBytes, 8192);
    assert.equal(JSON.parse(JSON.stringify(progress)).index.sizeBytes, 8192);
  }
});

test("interceptors can log requests and answers", async (t) => {
  const logged: string[] = [];
  const interceptors: ConnectOptions["interceptors"] = [
    (next) => async (request) => {
      const response = await next(request);
      logged.push(JSON.stringify(request.message), JSON.stringify(response.message));
      return response;
    },
  ];
  const { client } = await standIn(t, { ingest: () => ({ usage: { tokens: 2 } }) }, { interceptors });
  await client.ingest({ collection: "c", ifVersion: { a: 2 } });
  const [request = "", response = ""] = logged;
  assert.deepEqual(JSON.parse(request).ifVersion, { a: 2 });
  assert.equal(JSON.parse(response).usage.tokens, 2);
});

test("frozen requests are sent", async (t) => {
  const { client } = await standIn(t, { search: ({ limit }) => ({ shortReason: limit }) });
  const answer = await client.search(Object.freeze({ limit: 1, filter: Object.freeze({}) }));
  assert.equal(answer.shortReason, 1);
});

test("an error can be logged as JSON", async (t) => {
  const refuse = () => Promise.reject(refusal(Code.NotFound, "COLLECTION_NOT_FOUND"));
  const { client } = await webStandIn(t, { search: refuse, ingest: refuse });
  const failed = JSON.parse(JSON.stringify(await failure(ingest(client, "c", documents(1)))));
  assert.deepEqual([failed.acknowledged.documents, failed.cause.reason], [0, "COLLECTION_NOT_FOUND"]);
  const error = await client.search({}).catch((error) => error);
  assert.ok(error instanceof PgfoxError && error.reason === ErrorReason.COLLECTION_NOT_FOUND);
  const { code, reason, message } = JSON.parse(JSON.stringify({ error })).error;
  assert.deepEqual([code, reason, message], ["NotFound", "COLLECTION_NOT_FOUND", "[not_found] no"]);
});
