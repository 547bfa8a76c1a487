// A thousand films with their own vectors: stores them, searches with a filter, and handles errors.
import {
  and,
  Code,
  connect,
  Distance,
  document,
  ErrorReason,
  F,
  IngestError,
  ingest,
  listAll,
  metadata,
  PgfoxError,
  vector,
} from "@pgfox/client";

interface Film {
  title: string;
  year: number;
  genres: string[];
  released: string;
}

async function main() {
  const collection = process.env.FILMS_COLLECTION || "films";
  const pgfox = connect({ endpoint: process.env.PGFOX_SERVER || "127.0.0.1:50051", apiKey: process.env.PGFOX_API_KEY });

  try {
    await pgfox.createCollection({
      collection: { name: collection, embedding: { dimensions: 8 }, distance: Distance.COSINE },
    });
  } catch (error) {
    if (!(error instanceof PgfoxError && error.reason === ErrorReason.COLLECTION_EXISTS)) throw error;
  }

  const { documents } = await ingest(pgfox, collection, films(1_000));
  const { count } = await pgfox.countDocuments({ collection });
  console.log(`${documents} documents sent, ${count} stored`);

  // The results, as plain values and as JSON.
  const filter = and(
    F("year").gte(2000),
    F("genres").containsAny(["heist"]),
    F("released").before(new Date("2010-01-01")),
  );
  const query = { case: "vector", value: vector(features(17)) } as const;
  const found = await pgfox.search({ collection, query, filter, limit: 3 });
  for (const { document, score } of found.results) {
    const { title, year } = metadata<Film>(document);
    console.log(`${title} (${year}), score ${score.toFixed(2)}`);
  }
  console.log(`${JSON.stringify(found.results[0]?.document)}`);

  let heists = 0;
  for await (const film of listAll(pgfox, { collection, filter, pageSize: 20 })) {
    if (metadata<Film>(film).year >= 2000) heists++;
  }
  console.log(`${heists} heist films of the years 2000 to 2009`);

  // A mistake in the request names the field.
  try {
    await pgfox.search({ collection, query: { case: "vector", value: vector([1, 2, 3]) } });
  } catch (error) {
    if (!(error instanceof PgfoxError)) throw error;
    const { expected, actual } = error.reasonMetadata;
    console.log(`${ErrorReason[error.reason]}: ${actual} dimensions instead of ${expected}`);
  }

  // A deadline, with the web's own means.
  try {
    await pgfox.search({ collection, query }, { signal: AbortSignal.timeout(0) });
  } catch (error) {
    if (!(error instanceof PgfoxError)) throw error;
    console.log(`deadline: ${Code[error.code]}`);
  }

  // An ingest that is cancelled says what is stored.
  const leave = new AbortController();
  try {
    await ingest(pgfox, collection, films(1_000), {
      signal: leave.signal,
      documentsPerRequest: 100,
      requestsInFlight: 1,
      onAcknowledged: ({ documents }) => documents >= 300 && leave.abort(),
    });
  } catch (error) {
    if (!(error instanceof IngestError && error.cause instanceof PgfoxError)) throw error;
    console.log(`cancelled: ${Code[error.cause.code]} after ${error.acknowledged.documents} documents`);
  }

  await pgfox.deleteCollection({ name: collection });
  pgfox.close();
}

function* films(count: number) {
  const genres = ["heist", "animation", "western"];
  for (let i = 0; i < count; i++) {
    const year = 1950 + (i % 75);
    yield document({
      id: `film-${i}`,
      text: `Film ${i}`,
      vector: features(i),
      metadata: {
        title: `Film ${i}`,
        year,
        genres: genres.filter((_, genre) => i % (genre + 2) === 0),
        released: new Date(Date.UTC(year, i % 12)),
      },
    });
  }
}

function features(i: number) {
  return new Float32Array(8).map((_, j) => Math.sin(i + j * 0.7));
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
