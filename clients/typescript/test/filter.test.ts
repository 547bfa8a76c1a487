import assert from "node:assert/strict";
import { test } from "node:test";

import { and, everything, F, type Filter, ids, not, or, timestampFromDate } from "../src/node.js";
import { standIn } from "./stand-in.js";

const NOON = new Date("2024-05-01T12:00:00Z");

/** The condition of a filter as Protobuf writes it. */
function written(filter: Filter) {
  return JSON.parse(JSON.stringify(filter));
}

test("every test of a condition has its word", () => {
  for (const [filter, test] of [
    [F("f").eq("a"), { equals: "a" }],
    [F("f").eq(null), { equals: null }],
    [F("f").eq({ a: [1, true] }), { equals: { a: [1, true] } }],
    [F("f").eq(NOON), { equals: "2024-05-01T12:00:00.000Z" }],
    [F("f").ne(7n), { notEquals: 7 }],
    [F("f").lt(2), { lessThan: 2 }],
    [F("f").lte("m"), { atMost: "m" }],
    [F("f").gt(-0.5), { greaterThan: -0.5 }],
    [F("f").gte(2000), { atLeast: 2000 }],
    [F("f").oneOf(["a", 1, true]), { oneOf: ["a", 1, true] }],
    [F("f").noneOf(new Set(["a"])), { noneOf: ["a"] }],
    [F("f").containsAny(["a"]), { containsAny: ["a"] }],
    [F("f").containsAll(["a", "b"]), { containsAll: ["a", "b"] }],
    [F("f").startsWith("a"), { startsWith: "a" }],
    [F("f").containsText("a"), { containsText: "a" }],
    [F("f").exists(), { exists: true }],
    [F("f").exists(false), { exists: false }],
    [F("f").before(NOON), { before: "2024-05-01T12:00:00Z" }],
    [F("f").since(NOON), { since: "2024-05-01T12:00:00Z" }],
    [F("f").since(timestampFromDate(NOON)), { since: "2024-05-01T12:00:00Z" }],
    [F("f").lt(NOON), { before: "2024-05-01T12:00:00Z" }],
    [F("f").gte(NOON), { since: "2024-05-01T12:00:00Z" }],
    // A microsecond later is the next time that the server distinguishes.
    [F("f").lte(NOON), { before: "2024-05-01T12:00:00.000001Z" }],
    [F("f").gt(NOON), { since: "2024-05-01T12:00:00.000001Z" }],
  ] as const) {
    assert.deepEqual(written(filter), { condition: { field: "f", ...test, ignoreCase: false } });
  }
});

test("strings can be compared without regard to case", () => {
  const ignoreCase = true;
  for (const filter of [
    F("f").eq("a", { ignoreCase }),
    F("f").ne("a", { ignoreCase }),
    F("f").oneOf(["a"], { ignoreCase }),
    F("f").noneOf(["a"], { ignoreCase }),
    F("f").containsAny(["a"], { ignoreCase }),
    F("f").containsAll(["a"], { ignoreCase }),
    F("f").startsWith("a", { ignoreCase }),
    F("f").containsText("a", { ignoreCase }),
  ]) {
    assert.equal(written(filter).condition.ignoreCase, true);
  }
});

test("a field is a path or keys", () => {
  assert.equal(F("variants[].color").path, "variants[].color");
  assert.equal(F(["author", "first.name", 'the "x\\y"']).path, 'author."first.name"."the \\"x\\\\y\\""');
});

test("filters are combined", async (t) => {
  const [a, b] = [F("a").eq(1), F("b").eq(2)];
  const c = (field: string, equals: number) => ({ condition: { field, equals, ignoreCase: false } });
  assert.deepEqual(written(and(a, or(b, not(a)))), {
    allOf: { filters: [c("a", 1), { anyOf: { filters: [c("b", 2), { noneOf: { filters: [c("a", 1)] } }] } }] },
  });
  assert.deepEqual(written(ids(["x", "y"])), { ids: { ids: ["x", "y"] } });
  assert.deepEqual(written(everything()), { everything: true });

  const seen: (Filter | undefined)[] = [];
  const { client } = await standIn(t, {
    deleteDocuments({ filter }) {
      seen.push(filter);
      return {};
    },
  });
  for (const filter of [and(a, b), ids(new Set(["x"])), everything(), F("a[].b").containsText("x")]) {
    await client.deleteDocuments({ filter });
    assert.deepEqual(seen.pop(), filter);
  }
});

test("mistakes are refused where they are made", () => {
  const any = (value: unknown) => value as never;
  for (const [make, message] of [
    [() => F("f").eq(any(undefined)), 'F("f").eq is undefined, which JSON cannot hold'],
    [() => F("f").gte(Number.NaN), 'F("f").gte is NaN, which JSON cannot hold'],
    [() => F("f").eq(2n ** 60n), 'F("f").eq is 1152921504606846976, beyond 2^53: send it as a string'],
    [() => F("f").oneOf([1, any(undefined)]), 'F("f").oneOf[1] is undefined, which JSON cannot hold'],
    [() => F("f").oneOf(any("abc")), 'F("f").oneOf must be given an array or a Set, not abc'],
    [() => F("f").containsText(any(7)), 'F("f").containsText must be given a string, not 7'],
    [() => F("f").since(any("2024-05-01")), 'F("f").since must be given a Date or a Timestamp, not 2024-05-01'],
    [() => F("f").before(new Date(Number.NaN)), 'F("f").before is an invalid Date'],
    [() => F("f").gt(new Date(Number.NaN)), 'F("f").gt is an invalid Date'],
    [() => ids(any("abc")), "ids must be given an array or a Set, not abc"],
    [() => and(), "and() must be given at least one filter"],
    [() => or(F("f").exists(), any(undefined)), "or() must be given filters; argument 1 is undefined"],
    [() => not(any([F("f").exists()])), "not() must be given filters; argument 0 is an Array"],
  ] as const) {
    assert.throws(make, { name: "TypeError", message });
  }
});
