// The snippets of README.md beside the quick start, compiled so that they stay true.
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import {
  and,
  connect,
  document,
  ErrorReason,
  F,
  ingest,
  listAll,
  metadata,
  or,
  type PgfoxClient,
  PgfoxError,
  plain,
} from "@pgfox/client";

export async function calls(pgfox: PgfoxClient) {
  const { results } = await pgfox.search({
    collection: "films",
    query: { case: "text", value: "a heist that goes wrong" },
    filter: and(F("year").gte(1990), F("genres").containsAny(["crime", "comedy"])),
    limit: 5,
  });
  return results;
}

export async function lists(pgfox: PgfoxClient, signal: AbortSignal) {
  for await (const { id } of listAll(pgfox, { collection: "films", filter: F("seen").exists(false) }, { signal })) {
    console.log(id);
  }
}

export async function filters(pgfox: PgfoxClient) {
  await pgfox.deleteDocuments({
    collection: "films",
    filter: or(F("title").containsText("trailer", { ignoreCase: true }), F("variants[].price").lt(1)),
  });
}

export function documents() {
  const film = document({
    id: "tt0432283",
    text: "A fox returns to raiding farms",
    metadata: { title: "Fantastic Mr. Fox", released: new Date("2009-10-14"), minutes: 87n, sequel: undefined },
    vector: new Float32Array(512),
  });
  const { title } = metadata<{ title: string }>(film);
  return title;
}

export async function facets(pgfox: PgfoxClient) {
  const { values } = await pgfox.facetDocuments({ collection: "films", field: "genres" });
  for (const { value, count } of values) console.log(plain(value), count);
}

export function connecting() {
  const pgfox = connect({ endpoint: "https://pgfox.example.com", apiKey: process.env.PGFOX_API_KEY });
  return pgfox;
}

export async function errors(pgfox: PgfoxClient) {
  try {
    await pgfox.search({ collection: "films", query: { case: "text", value: "heist" }, limit: -1 });
  } catch (error) {
    if (error instanceof PgfoxError && error.reason === ErrorReason.INVALID_FIELD) {
      for (const { field, rule } of error.violations) console.log(field, rule); // limit must be 0 to 1000, not -1
    }
  }
}

export async function ingesting(pgfox: PgfoxClient) {
  async function* films() {
    for await (const line of createInterface({ input: createReadStream("films.jsonl") })) yield JSON.parse(line);
  }

  const totals = await ingest(pgfox, "films", films(), {
    skipInvalid: true,
    onAcknowledged: (_, skipped) => {
      for (const { position, message } of skipped) console.warn(position, message);
    },
    onInterrupted: (error, pauseMs) => console.warn(`${error.message}; again in ${pauseMs} ms`),
  });
  return totals;
}
