// The client in plain JavaScript, beside the copy of it that `require` gives: what one makes the other takes.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

import * as esm from "@pgfox/client";
import * as web from "@pgfox/client/web";

const required = createRequire(import.meta.url)("@pgfox/client");
assert.notEqual(esm.connect, required.connect);

const collection = process.env.PACKED_COLLECTION;
const endpoint = process.env.PGFOX_SERVER;
const clients = [esm, required, web].map(({ connect }) => connect({ endpoint }));
const [client] = clients;
await client.createCollection({ collection: { name: collection, embedding: { dimensions: 2 } } });
for (const [i, from] of clients.entries()) {
  for (const { ingest, document } of [esm, required]) {
    await ingest(from, collection, [document({ id: `${i}`, vector: [i, 1], metadata: { i } })]);
  }
}
for (const { and, F } of [esm, required]) {
  const filter = and(F("i").gte(1), F("i").lt(9n));
  for (const from of clients) {
    assert.deepEqual(JSON.parse(JSON.stringify(await from.countDocuments({ collection, filter }))).count, 2);
  }
}
for (const from of clients) {
  const error = await from.getCollection({ name: `${collection}_none` }).catch((error) => error);
  for (const { PgfoxError, ErrorReason } of [esm, required, web]) {
    assert.ok(error instanceof PgfoxError && error.reason === ErrorReason.COLLECTION_NOT_FOUND);
  }
  for (const { ingest } of [esm, required]) {
    const error = await ingest(from, collection, [{ id: "" }]).catch((error) => error);
    assert.ok(error instanceof esm.IngestError && error instanceof required.IngestError);
    assert.ok(error.cause instanceof esm.PgfoxError && error.cause instanceof required.PgfoxError);
  }
}
await client.deleteCollection({ name: collection });
// No client is closed: an open connection keeps no process from its end.
