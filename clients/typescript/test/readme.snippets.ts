// The snippets of README.md beside the quick start, compiled so that they stay true.
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import { connect, ErrorReason, ingest, type PgfoxClient, PgfoxError, vector } from "@pgfox/client";

export async function calls(pgfox: PgfoxClient) {
  const { results } = await pgfox.search({
    collection: "films",
    query: { case: "text", value: "a heist that goes wrong" },
    filter: {
      node: {
        case: "condition",
        value: { field: "year", test: { case: "atLeast", value: { kind: { case: "numberValue", value: 1990 } } } },
      },
    },
    limit: 5,
  });
  return results;
}

export async function vectors(pgfox: PgfoxClient) {
  await pgfox.search({ collection: "pictures", query: { case: "vector", value: vector(new Float32Array(512)) } });
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
