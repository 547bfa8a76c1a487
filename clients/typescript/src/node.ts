import { X509Certificate } from "node:crypto";

import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import { type ConnectOptions, createPgfoxClient, type PgfoxClient, readEndpoint, USER_AGENT } from "./connect.js";
import { readableAnswers } from "./readable.js";

export * from "./api.js";

/** Maximum size of a message in bytes, both ways: the server's limit of 16 MiB and a little for its frame. */
const MAX_MESSAGE_BYTES = (16 << 20) + (64 << 10);

/**
 * How much may wait to be sent: 256 messages, as many as the server accepts at a time on one connection. With Node's
 * own limit of 10 MB a stream of large messages breaks, and so does every call after it.
 */
const MAX_SESSION_MEMORY_MB = 256 * 17;

/** How to reach the server from Node. */
export interface NodeConnectOptions extends ConnectOptions {
  /**
   * Trusted CA certificates in PEM; an endpoint without a scheme is then https. Default: those that Node trusts.
   */
  ca?: string | Uint8Array | undefined;
}

/**
 * A client over gRPC. It connects with the first call, and reconnects by itself if the connection breaks. It has one
 * connection, which does not keep the process from ending.
 *
 * Throws a TypeError for an invalid endpoint, key or certificate, and a RangeError for an invalid deadline.
 */
export function connect(options: NodeConnectOptions = {}): PgfoxClient {
  const { ca } = options;
  const endpoint = readEndpoint(options.endpoint, ca !== undefined);
  const sessionManager = new Http2SessionManager(
    endpoint,
    // Detects a server that vanished without closing the connection. An idle connection is pinged before its next call
    // instead: pings in between can throw from a timer once it is broken.
    { pingIntervalMs: 20_000, pingTimeoutMs: 10_000 },
    { maxSessionMemory: MAX_SESSION_MEMORY_MB, ...(ca === undefined ? {} : { ca: readCertificates(ca) }) },
  );
  const transport = createGrpcTransport({
    baseUrl: endpoint,
    sessionManager,
    interceptors: [...(options.interceptors ?? []), readableAnswers],
    readMaxBytes: MAX_MESSAGE_BYTES,
    writeMaxBytes: MAX_MESSAGE_BYTES,
    // Compressing an answer takes longer than a search.
    acceptCompression: [],
  });
  const close = () => sessionManager.abort();
  const { host } = new URL(endpoint);
  const headers = {
    "user-agent": USER_AGENT,
    // Node turns an IPv6 address into an authority without brackets, which servers refuse.
    ...(host.startsWith("[") ? { host } : {}),
  };
  return createPgfoxClient(transport, { endpoint, canStream: true, close, headers }, options);
}

function readCertificates(ca: string | Uint8Array): Buffer {
  const pem = Buffer.from(ca);
  try {
    // TLS would ignore an invalid certificate, and then trust no server.
    new X509Certificate(pem);
  } catch (error) {
    throw new TypeError("`ca` must hold certificates in PEM", { cause: error });
  }
  return pem;
}
