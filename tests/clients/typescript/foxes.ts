// The steps that Node and a browser have in common. Only types come from the package, which has an entry for each of the two.
import type * as pgfox from "@pgfox/client";

import { check, equal, failure, type Steps } from "./steps.js";

type Package = Omit<typeof pgfox, "connect">;

const DOCUMENTS = [
  {
    id: "diet",
    text: "Foxes are omnivores: predators of small animals that also eat fruit",
    metadata: { topic: "food", year: 2001 },
  },
  { id: "sounds", text: "Foxes can make over 40 different sounds", metadata: { topic: "voice", year: 2004 } },
  {
    id: "hunting",
    text: "Foxes use the magnetic field of the Earth when they hunt",
    metadata: { topic: "food", year: 2011 },
  },
  { id: "kits", text: "Baby foxes are called kits", metadata: { topic: "family", year: 1999 } },
];

export const QUESTION = "I was wondering, how many sounds can foxes make?";

export function foxes(
  {
    and,
    Code,
    Completeness,
    document,
    ErrorReason,
    everything,
    F,
    IndexPhase,
    listAll,
    metadata,
    PgfoxError,
    plain,
    SearchMode,
    vector,
  }: Package,
  client: pgfox.PgfoxClient,
  collection: string,
  table: string,
) {
  /** What two of the foxes are. */
  const food = F("topic").eq("food");
  return {
    async create() {
      await client.createCollection({ collection: { name: collection } });
      const { collection: created } = await client.getCollection({ name: collection });
      equal(created?.embedding?.model, "local/all-MiniLM-L6-v2", "the model");
      equal(created?.embedding?.dimensions, 384, "the number of dimensions");
    },

    async ingest() {
      const first = await client.ingest({ collection, documents: DOCUMENTS });
      equal([first.upsertedCount, first.updatedCount, first.unchangedCount], [4, 0, 0], "what is stored at first");
      const again = await client.ingest({ collection, documents: DOCUMENTS });
      equal([again.upsertedCount, again.unchangedCount], [0, 4], "what is stored again");
    },

    async "build-index"() {
      let last: pgfox.BuildIndexResponse | undefined;
      for await (const progress of client.buildIndex({ collection })) {
        check(progress.fractionDone >= (last?.fractionDone ?? 0), "the fraction fell");
        last = progress;
      }
      equal(last?.phase, IndexPhase.READY, "the last phase");
      equal(last?.fractionDone, 1, "the last fraction");
      equal(last?.index?.spec?.kind.case, "hnsw", "the kind of the index");
    },

    async "search-text"() {
      const found = await client.search({ collection, query: { case: "text", value: QUESTION } });
      const [best] = found.results;
      equal(best?.document?.text, "Foxes can make over 40 different sounds", "the best");
      check(best?.distance !== undefined && best.distance > 0, "the distance is missing");
      check(found.completeness !== Completeness.UNSPECIFIED, "the completeness is missing");
    },

    async "search-vector"() {
      const { documents } = await client.getDocuments({ collection, ids: ["kits"], includeVector: true });
      const value = documents[0]?.vector;
      check(value?.values.length === 384, "the vector is missing");
      const { results } = await client.search({ collection, query: { case: "vector", value } });
      equal(results[0]?.document?.id, "kits", "the best");
      check(Math.abs(results[0]?.distance ?? 1) < 1e-3, `its distance is ${results[0]?.distance}`);
    },

    async "search-id"() {
      const { results } = await client.search({ collection, query: { case: "documentId", value: "kits" } });
      check(results.length > 0, "nothing is found");
      check(!results.some(({ document }) => document?.id === "kits"), "the document itself is found");
    },

    async filter() {
      const found = await client.search({ collection, query: { case: "text", value: QUESTION }, filter: food });
      equal(found.results.map(({ document }) => document?.id).sort(), ["diet", "hunting"], "what is found");
      const listed: string[] = [];
      for await (const document of listAll(client, { collection, filter: food, pageSize: 1 })) {
        listed.push(`${document.id} ${metadata(document).year}`);
      }
      equal(listed, ["diet 2001", "hunting 2011"], "what is listed");
      for (const filter of [food, and(everything(), F("topic").containsText("OO", { ignoreCase: true }))]) {
        equal((await client.countDocuments({ collection, filter })).count, 2, "the count");
      }
      const { values } = await client.facetDocuments({ collection, field: "topic" });
      equal(
        values.map(({ value, count }) => [plain(value), count]),
        [
          ["food", 2],
          ["family", 1],
          ["voice", 1],
        ],
        "the topics",
      );
    },

    async "bad-request"() {
      const query = { case: "text", value: QUESTION } as const;
      const params = { efSearch: 0 };
      const fields = await failure(client.search({ collection, query, limit: -1, params }));
      check(fields instanceof PgfoxError, `no PgfoxError: ${fields}`);
      equal([Code[fields.code], ErrorReason[fields.reason]], ["InvalidArgument", "INVALID_FIELD"], "code and reason");
      equal(fields.violations.map(({ field }) => field).sort(), ["limit", "params.ef_search"], "the fields");
      for (const { field, rule } of fields.violations) {
        check(rule !== "" && fields.message.includes(`${field}: ${rule}`), `no rule of ${field} in: ${fields.message}`);
      }

      const narrow = { case: "vector", value: vector(new Float32Array([1, 2, 3])) } as const;
      const dimensions = await failure(client.search({ collection, query: narrow }));
      check(dimensions instanceof PgfoxError, `no PgfoxError: ${dimensions}`);
      equal(ErrorReason[dimensions.reason], "DIMENSION_MISMATCH", "the reason");
      const { expected, actual } = dimensions.reasonMetadata;
      equal([expected, actual], ["384", "3"], "the dimensions");

      const unknown = await failure(client.search({ collection: `${collection}_none`, query }));
      check(unknown instanceof PgfoxError, `no PgfoxError: ${unknown}`);
      equal([Code[unknown.code], ErrorReason[unknown.reason]], ["NotFound", "COLLECTION_NOT_FOUND"], "code and reason");
    },

    async attached() {
      const name = `${collection}_attached`;
      const source = { table, textColumns: ["content"] };
      // An empty embedding: callers send vectors.
      const { collection: created } = await client.createCollection({ collection: { name, embedding: {}, source } });
      equal([created?.source?.idColumns, created?.documentCount], [["id", "lang"], 4], "what is attached");

      const near = async (values: number[], filter?: pgfox.Filter) => {
        const query = { case: "vector", value: vector(values) } as const;
        const { results } = await client.search({ collection: name, query, ...(filter && { filter }), limit: 2 });
        return results.map(({ document }) => document?.id);
      };
      // A key of several columns is an id that is a JSON array.
      equal(await near([0, 1, 0], F("year").gte(2005)), ['[4, "en"]', '[3, "en"]'], "what is found");
      const { documents } = await client.getDocuments({ collection: name, ids: [JSON.stringify([2, "en"])] });
      equal(documents[0]?.text, "Foxes can make over 40 different sounds", "the text of the row");
      equal(metadata(documents[0]), { year: 2000 }, "the metadata of the row");

      const climbing = document({
        id: JSON.stringify([5, "en"]),
        text: "Foxes climb trees",
        vector: [1, 1, 1],
        metadata: { year: 2024 },
      });
      const stored = await client.ingest({ collection: name, documents: [climbing] });
      equal([stored.upsertedCount, stored.updatedCount], [1, 0], "what is stored");
      equal((await near([1, 1, 1]))[0], '[5, "en"]', "the nearest");

      const query = { case: "text", value: "trees" } as const;
      const refused = await failure(client.search({ collection: name, query, mode: SearchMode.FULL_TEXT }));
      check(refused instanceof PgfoxError && refused.message.includes(table), `unclear: ${refused}`);
      const { code, reason } = refused;
      equal([Code[code], ErrorReason[reason]], ["FailedPrecondition", "COLLECTION_ATTACHED"], "code and reason");

      // The table stays, which tests/clients/run.sh checks.
      await client.deleteCollection({ name });
      const gone = await failure(client.getCollection({ name }));
      check(gone instanceof PgfoxError && gone.code === Code.NotFound, `not gone: ${gone}`);
    },
  } satisfies Steps;
}
