// What a page compiles, without the types of Node.
import { connect, F, type PgfoxClient, PgfoxError } from "@pgfox/client/web";

const pgfox: PgfoxClient = connect({ endpoint: "https://pgfox.example.com" });

export async function titles(): Promise<string[]> {
  try {
    const { documents } = await pgfox.listDocuments({ collection: "films", filter: F("year").gte(2000) });
    return documents.map(({ id, version }) => `${id} ${version + 1}`);
  } catch (error) {
    return error instanceof PgfoxError ? error.violations.map(({ field }) => field) : [];
  }
}
