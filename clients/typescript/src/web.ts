import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { type ConnectOptions, createPgfoxClient, type PgfoxClient, readEndpoint, USER_AGENT } from "./connect.js";
import { readableAnswers } from "./readable.js";

export * from "./api.js";

/**
 * A client over gRPC-Web, for pages in a browser. Start the server with `--web-origins` and the page's origin.
 *
 * gRPC-Web cannot call IngestStream; `ingest` works without it. Throws a TypeError for an invalid endpoint or key, and
 * a RangeError for an invalid deadline.
 */
export function connect(options: ConnectOptions = {}): PgfoxClient {
  const endpoint = readEndpoint(options.endpoint);
  const closed = new AbortController();
  const transport = createGrpcWebTransport({
    baseUrl: endpoint,
    interceptors: [...(options.interceptors ?? []), readableAnswers],
    fetch: (input, init) =>
      fetch(input, { ...init, signal: init?.signal ? AbortSignal.any([init.signal, closed.signal]) : closed.signal }),
  });
  const close = () => closed.abort();
  // Browsers keep the header with the usual name to themselves.
  const headers = { "x-user-agent": USER_AGENT };
  return createPgfoxClient(transport, { endpoint, canStream: false, close, headers }, options);
}
