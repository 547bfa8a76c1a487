// The story of ../README.md from Node.
import { readFileSync } from "node:fs";

import * as pgfox from "@pgfox/client";
import { Code, connect, ErrorReason, F, ingest, listAll, PgfoxError } from "@pgfox/client";

import { foxes, QUESTION } from "./foxes.js";
import { check, equal, failure, run } from "./steps.js";

const endpoint = variable("PGFOX_SERVER");
const collection = variable("STORY_COLLECTION");
const vectors = `${collection}_vectors`;
const client = connect({ endpoint });
const common = foxes(pgfox, client, collection, variable("STORY_TABLE"));

const passed = await run(
  {
    create: common.create,
    ingest: common.ingest,

    async "ingest-stream"() {
      const totals = await ingest(client, collection, notes(300), { documentsPerRequest: 100 });
      equal([totals.documents, totals.upserted, totals.embedded], [300, 300, 300], "the totals");
      equal((await client.countDocuments({ collection })).count, 304, "the count");
    },

    "build-index": common["build-index"],
    "search-text": common["search-text"],
    "search-vector": common["search-vector"],
    "search-id": common["search-id"],
    filter: common.filter,
    "bad-request": common["bad-request"],

    async deadline() {
      const began = performance.now();
      const documents = [...notes(1_000)].map(({ id, text }) => ({ id: `late-${id}`, text: text.repeat(50) }));
      const error = await failure(client.ingest({ collection, documents }, { timeoutMs: 50 }));
      check(error instanceof PgfoxError, `no PgfoxError: ${error}`);
      equal(Code[error.code], "DeadlineExceeded", "the code");
      const took = performance.now() - began;
      check(took < 2_000, `it took ${took.toFixed(0)} ms`);
    },

    async "tls-and-key"() {
      const secure = { endpoint: variable("PGFOX_TLS_SERVER"), ca: readFileSync(variable("PGFOX_CA"), "utf8") };
      const search = { collection, query: { case: "text", value: QUESTION } } as const;

      const known = connect({ ...secure, apiKey: variable("PGFOX_API_KEY") });
      const { results } = await known.search(search);
      equal(results[0]?.document?.id, "sounds", "the best");
      known.close();

      const keyless = connect(secure);
      const refused = await failure(keyless.search(search));
      keyless.close();
      check(refused instanceof PgfoxError, `no PgfoxError: ${refused}`);
      equal(
        [Code[refused.code], ErrorReason[refused.reason]],
        ["Unauthenticated", "UNAUTHENTICATED"],
        "code and reason",
      );

      const trusting = connect({ endpoint: `https://${secure.endpoint.replace(/^https:\/\//, "")}` });
      const began = performance.now();
      const untrusted = await failure(trusting.search(search));
      trusting.close();
      check(untrusted instanceof PgfoxError && /certificate.*`ca`/.test(untrusted.message), `unclear: ${untrusted}`);
      check(performance.now() - began < 5_000, "a certificate does not change by waiting");
    },

    async "dead-server"() {
      const address = variable("PGFOX_DEAD_SERVER").replace(/^http:\/\//, "");
      const dead = connect({ endpoint: address, timeoutMs: 2_000 });
      const began = performance.now();
      const error = await failure(dead.listCollections({}));
      const took = performance.now() - began;
      check(error instanceof PgfoxError, `no PgfoxError: ${error}`);
      // The deadline may cut the last attempt short.
      check([Code.Unavailable, Code.DeadlineExceeded].includes(error.code), `the code is ${Code[error.code]}`);
      check(error.message.includes(address), `the endpoint is missing in: ${error.message}`);
      check(/[2-9] attempts|\d\d attempts/.test(error.message), `it was not tried again: ${error.message}`);
      check(took < 3_000, `it took ${took.toFixed(0)} ms`);
    },

    async resume() {
      await client.createCollection({ collection: { name: vectors, embedding: { dimensions: 384 } } });
      const cut = connect({ endpoint: variable("PGFOX_CUT_SERVER") });
      let interruptions = 0;
      const onInterrupted = () => interruptions++;
      const totals = await ingest(cut, vectors, points(2_000), { documentsPerRequest: 50, onInterrupted });
      cut.close();
      equal(interruptions, 3, "the number of interruptions");
      equal(totals.documents, 2_000, "the documents of the totals");
      // The second connection swallows acknowledgements.
      check(totals.unchanged > 0, "nothing was sent again that was stored before");
      equal((await client.countDocuments({ collection: vectors })).count, 2_000, "the count");
      const ids: string[] = [];
      for await (const { id, version } of listAll(client, { collection: vectors, pageSize: 1_000 })) {
        ids.push(id);
        check(version === 1, `${id} was written twice`);
      }
      equal(ids, [...points(2_000)].map(({ id }) => id).sort(), "the list of ids");
    },

    attached: common.attached,

    async delete() {
      equal(
        (await client.deleteDocuments({ collection, filter: F("topic").eq("food") })).deletedCount,
        2,
        "what is deleted",
      );
      equal((await client.countDocuments({ collection })).count, 302, "the count");
      for (const name of [collection, vectors]) {
        await client.deleteCollection({ name });
        const error = await failure(client.getCollection({ name }));
        check(error instanceof PgfoxError && error.code === Code.NotFound, `not gone: ${error}`);
      }
    },
  },
  console.log,
);

if (!passed) {
  process.exitCode = 1;
  await Promise.allSettled(
    [collection, vectors, `${collection}_attached`].map((name) => client.deleteCollection({ name })),
  );
}
client.close();

function variable(name: string): string {
  const value = process.env[name];
  if (!value) {
    console.log(`FAILED setup: ${name} is not set`);
    process.exit(1);
  }
  return value;
}

function* notes(count: number) {
  for (let i = 0; i < count; i++) {
    yield { id: `note-${i}`, text: `Shelf ${i % 17} holds crate ${i}, which weighs ${(i * 7) % 90} kilograms` };
  }
}

/** Vectors that differ from each other. */
function* points(count: number) {
  for (let i = 0; i < count; i++) {
    const values = new Float32Array(384).map((_, j) => Math.sin(i + j * 0.37));
    yield { id: `point-${i}`, vector: pgfox.vector(values) };
  }
}
