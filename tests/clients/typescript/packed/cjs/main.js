// The client by `require`.
const assert = require("node:assert/strict");
const { connect, ErrorReason, PgfoxError } = require("@pgfox/client");
const web = require("@pgfox/client/web");

async function main() {
  for (const start of [connect, web.connect]) {
    const client = start({ endpoint: process.env.PGFOX_SERVER });
    JSON.stringify(await client.listCollections({}));
    const error = await client.getCollection({ name: `${process.env.PACKED_COLLECTION}_none` }).catch((error) => error);
    assert.ok(error instanceof PgfoxError && error.reason === ErrorReason.COLLECTION_NOT_FOUND);
  }
}

main();
