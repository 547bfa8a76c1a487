// What runs in the browser: the story, or in a page of another origin what must not succeed.
import * as pgfox from "@pgfox/client/web";
import { Code, connect, ErrorReason, ingest, PgfoxError } from "@pgfox/client/web";

import { foxes } from "../foxes.js";
import { check, equal, failure, run } from "../steps.js";

const parameters = new URLSearchParams(location.search);
const parameter = (name: string) => parameters.get(name) ?? "";
const collection = parameter("collection");
const client = connect({ endpoint: parameter("server") });

/** Sends a line to the program that has started the browser; see browser.ts. */
const print = (line: string) => fetch("/line", { method: "POST", body: line });

async function story(): Promise<void> {
  const common = foxes(pgfox, client, collection, parameter("table"));
  const passed = await run(
    {
      create: common.create,
      ingest: common.ingest,

      async "ingest-many"() {
        const texts = Array.from({ length: 60 }, (_, i) => ({
          id: `note-${i}`,
          text: `Shelf ${i % 17} holds crate ${i}`,
        }));
        const totals = await ingest(client, collection, texts, { documentsPerRequest: 10 });
        equal([totals.documents, totals.upserted], [60, 60], "the totals");
        equal((await client.countDocuments({ collection })).count, 64, "the count");
      },

      "build-index": common["build-index"],
      "search-text": common["search-text"],
      "search-vector": common["search-vector"],
      "search-id": common["search-id"],
      filter: common.filter,
      "bad-request": common["bad-request"],

      async deadline() {
        const began = performance.now();
        const texts = Array.from({ length: 500 }, (_, i) => ({ id: `late-${i}`, text: `Crate ${i} `.repeat(100) }));
        const error = await failure(client.ingest({ collection, documents: texts }, { timeoutMs: 50 }));
        check(error instanceof PgfoxError, `no PgfoxError: ${error}`);
        equal(Code[error.code], "DeadlineExceeded", "the code");
        check(performance.now() - began < 2_000, "it took too long");
      },

      async key() {
        // The server asks for none, but the browser asks the server first whether the page may send one.
        const keyed = connect({ endpoint: parameter("server"), apiKey: "story-key-of-many-characters" });
        equal((await keyed.countDocuments({ collection })).count, 64, "the count");
        keyed.close();
      },

      async "other-origin"() {
        const { code, message, origin } = await askFrame(`${parameter("other")}/${location.search}`);
        equal(code, "Unavailable", "the code");
        check(message.includes(`--web-origins names ${origin}`), `unclear: ${message}`);
        await client.getCollection({ name: collection });
      },

      attached: common.attached,

      async delete() {
        await client.deleteCollection({ name: collection });
        const error = await failure(client.getCollection({ name: collection }));
        check(error instanceof PgfoxError, `no PgfoxError: ${error}`);
        equal([Code[error.code], ErrorReason[error.reason]], ["NotFound", "COLLECTION_NOT_FOUND"], "code and reason");
      },
    },
    print,
  );
  if (!passed) {
    await client.deleteCollection({ name: collection }).catch(() => {});
  }
}

/** What the page of another origin says of its calls. */
interface Refusal {
  code: string;
  message: string;
  origin: string;
}

function askFrame(url: string): Promise<Refusal> {
  return new Promise((resolve) => {
    addEventListener("message", ({ data }) => resolve(data), { once: true });
    document.body.append(Object.assign(document.createElement("iframe"), { src: url }));
  });
}

async function trespass(): Promise<void> {
  const error = await failure(client.deleteCollection({ name: collection }));
  const isOurs = error instanceof PgfoxError;
  const refusal = { code: isOurs ? Code[error.code] : "", message: String(error), origin: location.origin };
  parent.postMessage(refusal, "*");
}

if (parent === window) {
  await story().catch((error) => print(`FAILED page: ${error}`));
  await fetch("/end", { method: "POST" });
} else {
  await trespass();
}
