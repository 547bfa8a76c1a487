import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CallOptions } from "@connectrpc/connect";

import type { PgfoxClient } from "./connect.js";
import { PgfoxError } from "./error.js";
import type { Collection, ListCollectionsRequestSchema } from "./gen/pgfox/v1/collections_pb.js";
import type { Document, ListDocumentsRequestSchema } from "./gen/pgfox/v1/documents_pb.js";

/**
 * Every document that ListDocuments lists, page by page: `for await (const document of listAll(client, { collection
 * }))`. The next page is read when it is needed. The options apply to every page, and each page has its own deadline;
 * `signal` ends the whole list.
 */
export function listAll(
  client: PgfoxClient,
  request: MessageInitShape<typeof ListDocumentsRequestSchema>,
  options: CallOptions = {},
): AsyncGenerator<Document, void, undefined> {
  return pages(client, request.pageToken, options, async (pageToken) => {
    const { documents, nextPageToken } = await client.listDocuments({ ...request, pageToken }, options);
    return { items: documents, nextPageToken };
  });
}

/** Every collection, page by page, in the way of {@link listAll}. */
export function listAllCollections(
  client: PgfoxClient,
  request: MessageInitShape<typeof ListCollectionsRequestSchema> = {},
  options: CallOptions = {},
): AsyncGenerator<Collection, void, undefined> {
  return pages(client, request.pageToken, options, async (pageToken) => {
    const { collections, nextPageToken } = await client.listCollections({ ...request, pageToken }, options);
    return { items: collections, nextPageToken };
  });
}

async function* pages<T>(
  { endpoint }: PgfoxClient,
  first: string | undefined,
  { signal }: CallOptions,
  read: (pageToken: string) => Promise<{ items: T[]; nextPageToken: string }>,
): AsyncGenerator<T, void, undefined> {
  let pageToken = first ?? "";
  do {
    const { items, nextPageToken } = await read(pageToken);
    for (const item of items) {
      // The rest of the current page is not returned either.
      if (signal?.aborted) {
        throw PgfoxError.read(signal.reason, endpoint, signal);
      }
      yield item;
    }
    pageToken = nextPageToken;
  } while (pageToken !== "");
}
