import assert from "node:assert/strict";
import { test } from "node:test";
import { runInNewContext } from "node:vm";

import { Code, document, type IngestRequest, ingest, json, metadata, timestampFromDate, vector } from "../src/node.js";
import { failure, recording, standIn, webStandIn } from "./stand-in.js";

interface Film {
  title: string;
  released?: Date;
}

class Money {
  readonly #cents = 1250;
  toJSON() {
    return (this.#cents / 100).toFixed(2);
  }
}

test("plain values make a document", () => {
  const film: Film = { title: "Fantastic Mr. Fox", released: new Date(Date.UTC(2009, 9, 14)) };
  const made = document({
    id: "fox",
    text: "Clay foxes",
    vector: new Float32Array([0.5, 0.25]),
    metadata: { ...film, runtime: 87n, price: new Money(), sequel: undefined, nothing: null, tags: ["a", ["b"]] },
  });
  assert.deepEqual(metadata(made), {
    title: "Fantastic Mr. Fox",
    released: "2009-10-14T00:00:00.000Z",
    runtime: 87,
    price: "12.50",
    nothing: null,
    tags: ["a", ["b"]],
  });
  assert.deepEqual(made.vector?.values, [0.5, 0.25]);
  assert.equal(made.version, 0);
  assert.equal(JSON.parse(JSON.stringify(made)).metadata.runtime, 87);
  // An interface is an object too, and the type says what comes back.
  const { title } = metadata<Film>(document({ id: "a", metadata: film }));
  assert.equal(title, film.title);
  assert.deepEqual(metadata(undefined), {});
  assert.deepEqual(metadata(document({ id: "a" })), {});
  assert.deepEqual(document(made), made, "a message is one as it is");
  assert.deepEqual(document({ ...made, id: "b" }).metadata, made.metadata);
  assert.deepEqual(document({ id: "a", vector: vector([1]) }), document({ id: "a", vector: [1] }));
});

test("objects of another realm are objects", () => {
  const foreign = runInNewContext("({ a: { b: [1] }, at: new Date(0) })");
  assert.deepEqual(json(foreign), { a: { b: [1] }, at: "1970-01-01T00:00:00.000Z" });
});

test("a key may have any name", () => {
  assert.equal(JSON.stringify(json(JSON.parse('{"__proto__":{"a":1}}'))), '{"__proto__":{"a":1}}');
});

const cyclic: Record<string, unknown> = {};
cyclic.self = { cyclic };

test("what JSON cannot hold is refused by its path", () => {
  for (const [given, message] of [
    [{ a: Number.NaN }, "metadata.a is NaN, which JSON cannot hold"],
    [{ a: [1, { b: Infinity }] }, "metadata.a[1].b is Infinity, which JSON cannot hold"],
    [{ a: 2n ** 53n + 1n }, "metadata.a is 9007199254740993, beyond 2^53: send it as a string"],
    [{ a: new Map() }, "metadata.a is a Map, which JSON cannot hold"],
    [{ a: new Set() }, "metadata.a is a Set, which JSON cannot hold"],
    [{ a: new Float32Array(1) }, "metadata.a is a Float32Array, which JSON cannot hold"],
    [{ a: () => 1 }, "metadata.a is a function, which JSON cannot hold"],
    [{ a: [undefined] }, "metadata.a[0] is undefined, which JSON cannot hold"],
    [{ a: new Date(Number.NaN) }, "metadata.a is an invalid Date"],
    [{ a: "\ud83d" }, /^metadata\.a is not well-formed Unicode/],
    [{ "\ud83d": 1 }, /^metadata\."\\ud83d" is not well-formed Unicode/],
    [cyclic, /is nested too deeply, or contains itself$/],
    [[1], "metadata must be an object, not an Array"],
    [new Date(0), "metadata must be an object, not a Date"],
  ] as const) {
    assert.throws(() => json(given), { name: "TypeError", message });
    assert.throws(() => document({ id: "a", metadata: given }), { name: "TypeError", message });
  }
});

test("what is not a vector or a field is refused", () => {
  for (const [numbers, message] of [
    [[1, Number.NaN], "vector[1] must be a finite number, not NaN"],
    [["1"] as unknown as number[], "vector[0] must be a finite number, not 1"],
    [[[1]] as unknown as number[], "vector[0] must be a finite number, not an Array"],
    [7 as unknown as number[], "vector must hold numbers, not 7"],
  ] as const) {
    assert.throws(() => document({ id: "a", vector: numbers }), { name: "TypeError", message });
  }
  const misspelled = { id: "a", meta: {} };
  assert.throws(() => document(misspelled), { message: /^meta is not a field of documents/ });
});

test("an ingest takes what document takes", async (t) => {
  for (const start of [standIn, webStandIn]) {
    const requests: IngestRequest[] = [];
    const { client } = await start(t, recording(requests));
    const at = new Date(0);
    await ingest(client, "c", [{ id: "a", metadata: { at }, vector: new Float64Array([1, 2]) }]);
    const [sent] = requests.flatMap(({ documents }) => documents);
    assert.deepEqual(sent?.metadata, { at: "1970-01-01T00:00:00.000Z" });
    assert.deepEqual(sent?.vector?.values, [1, 2]);
    const error = await failure(ingest(client, "c", [{ id: "a" }, { id: "b", metadata: { n: Number.NaN } }]));
    assert.equal(error.message, 'document 1 ("b") cannot be sent: metadata.n is NaN, which JSON cannot hold');
  }
});

test("a call refuses what would be stored as something else", async (t) => {
  const any = (value: unknown) => value as never;
  for (const start of [standIn, webStandIn]) {
    const { client } = await start(t, { ingest: () => ({}), deleteDocuments: () => ({}), search: () => ({}) });
    const time = (value: unknown) => any({ node: { case: "condition", value: { test: { case: "since", value } } } });
    for (const [call, message] of [
      [
        client.ingest({ documents: [{}, { metadata: any({ at: [new Date(0)] }) }] }),
        /^documents\[1\]\.metadata\.at\[0\] is a Date;/,
      ],
      [client.ingest({ documents: [{ metadata: any({ a: Number.NaN }) }] }), /^documents\[0\]\.metadata\.a is NaN,/],
      [
        client.ingest({ documents: [{ metadata: any({ a: undefined }) }] }),
        /^documents\[0\]\.metadata\.a is undefined,/,
      ],
      [client.ingest({ documents: [{ metadata: any({ a: 1n }) }] }), /^documents\[0\]\.metadata\.a is 1; `json`/],
      [
        client.ingest({ documents: [{ metadata: any([1]) }] }),
        /^documents\[0\]\.metadata must be an object, not an Array$/,
      ],
      [
        client.ingest({ documents: [{ vector: any(new Float32Array(2)) }] }),
        /^documents\[0\]\.vector must be a Vector, not a Float32Array; `vector`/,
      ],
      [
        client.ingest({ documents: [{ vector: any([1, 2]) }] }),
        /^documents\[0\]\.vector must be a Vector, not an Array; `vector`/,
      ],
      [client.ingest({ documents: any(new Set([{}])) }), /^documents must be an array, not a Set$/],
      [client.deleteDocuments({ ids: any(new Set(["a"])) }), /^ids must be an array, not a Set$/],
      [client.deleteDocuments({ ids: any("abc") }), /^ids must be an array, not abc$/],
      [
        client.search({ filter: time(new Date()) }),
        /since|test\.value must be a Timestamp, not a Date; `timestampFromDate`/,
      ],
      [client.ingest({ ifVersion: any(new Map([["a", 1]])) }), /^ifVersion must be an object, not a Map$/],
    ] as const) {
      await assert.rejects(call, { code: Code.InvalidArgument, rawMessage: message });
    }
    await client.search({ filter: time(timestampFromDate(new Date())) });
    await client.ingest({ documents: [{ vector: { values: any(new Float32Array(2)) }, metadata: {} }] });
  }
});

test("a stream refuses it too", async (t) => {
  const { client } = await standIn(t, recording([]));
  async function* requests() {
    yield { documents: [{ id: "\ud83d" }] };
  }
  const stream = async () => {
    for await (const _ of client.ingestStream(requests())) {
    }
  };
  await assert.rejects(stream, { code: Code.InvalidArgument, rawMessage: /^documents\[0\]\.id is not well-formed/ });
});
