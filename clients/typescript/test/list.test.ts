import assert from "node:assert/strict";
import { test } from "node:test";

import { Code, F, listAll, listAllCollections, PgfoxError } from "../src/node.js";
import { standIn, webStandIn } from "./stand-in.js";

/** The page of three items for a token, of 7 items in all. */
function page(pageToken: string) {
  const first = Number(pageToken || 0);
  const items = [0, 1, 2].map((i) => first + i).filter((i) => i < 7);
  return { items, nextPageToken: first + 3 < 7 ? `${first + 3}` : "" };
}

test("every page is listed", async (t) => {
  for (const start of [standIn, webStandIn]) {
    const asked: unknown[] = [];
    const { client } = await start(t, {
      listDocuments({ collection, filter, pageSize, pageToken }) {
        asked.push([collection, filter?.node.case, pageSize, pageToken]);
        const { items, nextPageToken } = page(pageToken);
        return { documents: items.map((i) => ({ id: `d${i}` })), nextPageToken };
      },
      listCollections({ pageToken }) {
        const { items, nextPageToken } = page(pageToken);
        return { collections: items.map((i) => ({ name: `c${i}` })), nextPageToken };
      },
    });
    const ids: string[] = [];
    for await (const { id } of listAll(client, { collection: "c", filter: F("a").exists(), pageSize: 3 })) {
      ids.push(id);
    }
    assert.deepEqual(ids, ["d0", "d1", "d2", "d3", "d4", "d5", "d6"]);
    assert.deepEqual(asked, [
      ["c", "condition", 3, ""],
      ["c", "condition", 3, "3"],
      ["c", "condition", 3, "6"],
    ]);
    const names: string[] = [];
    for await (const { name } of listAllCollections(client)) {
      names.push(name);
    }
    assert.equal(names.length, 7);

    // A caller that leaves early requests no more, and a caller with a token continues from there.
    asked.length = 0;
    for await (const { id } of listAll(client, { pageToken: "3" })) {
      assert.equal(id, "d3");
      break;
    }
    assert.equal(asked.length, 1);
  }
});

test("a signal ends a list between pages and within one", async (t) => {
  const { client } = await standIn(t, {
    listDocuments: ({ pageToken }) => ({ documents: [{ id: "a" }, { id: "b" }], nextPageToken: `${pageToken}x` }),
  });
  for (const last of [1, 2]) {
    const leave = new AbortController();
    let seen = 0;
    const list = async () => {
      for await (const _ of listAll(client, {}, { signal: leave.signal })) {
        if (++seen === last) {
          leave.abort(new Error("seen enough"));
        }
      }
    };
    const error = await list().catch((error) => error);
    assert.ok(error instanceof PgfoxError, String(error));
    assert.deepEqual([error.code, error.rawMessage, seen], [Code.Canceled, "seen enough", last]);
  }
});

test("an error of a page comes out", async (t) => {
  const { client } = await standIn(t, {}, { retry: false });
  const error = await listAll(client, {})
    .next()
    .catch((error) => error);
  assert.ok(error instanceof PgfoxError && error.code === Code.Unimplemented, String(error));
});
