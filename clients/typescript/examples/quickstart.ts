import { readFileSync } from "node:fs";
import { connect, ErrorReason, IndexPhase, ingest, PgfoxError } from "@pgfox/client";

const { PGFOX_SERVER, PGFOX_API_KEY, PGFOX_CA } = process.env;
const pgfox = connect({
  endpoint: PGFOX_SERVER || "127.0.0.1:50051",
  apiKey: PGFOX_API_KEY,
  ca: PGFOX_CA ? readFileSync(PGFOX_CA) : undefined,
});

try {
  await pgfox.createCollection({ collection: { name: "foxes" } });
} catch (error) {
  const exists = error instanceof PgfoxError && error.reason === ErrorReason.COLLECTION_EXISTS;
  if (!exists) throw error;
}

const totals = await ingest(pgfox, "foxes", [
  { id: "diet", text: "Foxes are omnivores: predators of small animals that also eat fruit" },
  { id: "sounds", text: "Foxes can make over 40 different sounds", metadata: { topic: "voice" } },
  { id: "hunting", text: "Foxes use the magnetic field of the Earth when they hunt" },
  { id: "kits", text: "Baby foxes are called kits", metadata: { topic: "family" } },
]);
console.log(`${totals.documents} documents, ${totals.unchanged} of them stored before`);

for await (const { phase, fractionDone } of pgfox.buildIndex({ collection: "foxes" })) {
  console.log(`index: ${IndexPhase[phase]}, ${Math.round(fractionDone * 100)} %`);
}

const text = "I was wondering, how many sounds can foxes make?";
const { results } = await pgfox.search({ collection: "foxes", query: { case: "text", value: text }, limit: 1 });
for (const { document, distance } of results) {
  console.log(`Distance: ${distance?.toPrecision(8)}, Content: ${document?.text}`);
}

pgfox.close();
