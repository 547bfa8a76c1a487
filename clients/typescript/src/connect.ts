import { type Client, Code, ConnectError, createClient, type Interceptor, type Transport } from "@connectrpc/connect";

import { PgfoxService } from "./gen/pgfox/v1/pgfox_service_pb.js";
import { withPolicy } from "./policy.js";

/** The version of this package, as in package.json. */
const VERSION = "0.1.0";

/** Where a server listens that is told nothing else. */
const DEFAULT_ENDPOINT = "127.0.0.1:50051";
const DEFAULT_TIMEOUT_MS = 30_000;
/** A header of gRPC carries eight digits. */
const TIMEOUT_MS_MAX = 99_999_999;

/** Where the server is and how to call it. */
export interface ConnectOptions {
  /** `host:port`, `http://host:port` or `https://host:port`. Without a scheme: http. Default `127.0.0.1:50051`. */
  endpoint?: string | undefined;
  /** Sent as `authorization: Bearer <key>`. Default: nothing is sent. */
  apiKey?: string | undefined;
  /**
   * Deadline in milliseconds of every call but IngestStream and BuildIndex, all attempts together, unless the call sets its
   * own `timeoutMs`. At most 99,999,999, which is 27 hours. 0: none. Default 30,000.
   */
  timeoutMs?: number | undefined;
  /** Repeat calls that may succeed later; see the README for which. Default true. */
  retry?: boolean | undefined;
  /** Connect's interceptors, around each attempt. Default none. */
  interceptors?: Interceptor[] | undefined;
}

/** What a client has beside the methods of the service. */
export interface Connection {
  /** The endpoint with its scheme. */
  readonly endpoint: string;
  /** Whether IngestStream can be called, which is not so in a browser. */
  readonly canStream: boolean;
  /** Ends the connection and every call on it. */
  close(): void;
}

/** The generated client: a method for each of the service, taking and returning generated messages. */
export type PgfoxClient = Client<typeof PgfoxService> & Connection;

/** What a transport has of its own. */
interface Underlying extends Connection {
  /** The header that tells the server who calls. */
  readonly userAgentHeader: string;
}

/** The generated client over a transport. */
export function createPgfoxClient(transport: Transport, underlying: Underlying, options: ConnectOptions): PgfoxClient {
  const { endpoint, canStream, userAgentHeader } = underlying;
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  if (!(timeoutMs >= 0 && timeoutMs <= TIMEOUT_MS_MAX)) {
    throw new RangeError(`timeoutMs must be a number from 0 to ${TIMEOUT_MS_MAX}, not ${timeoutMs}`);
  }
  const closed = new AbortController();
  const policy = {
    endpoint,
    headers: { ...authorization(options.apiKey), [userAgentHeader]: `pgfox-typescript/${VERSION}` },
    timeoutMs,
    retry: options.retry ?? true,
    closed: closed.signal,
  };
  const close = () => {
    closed.abort(new ConnectError("the client is closed", Code.Canceled));
    underlying.close();
  };
  return Object.assign(createClient(PgfoxService, withPolicy(transport, policy)), { endpoint, canStream, close });
}

/** Reads an endpoint as a URL without a path. Throws a TypeError that says how to write it. */
export function readEndpoint(endpoint: string = DEFAULT_ENDPOINT, hasCa = false): string {
  const invalid = (why: string) => new TypeError(`${JSON.stringify(endpoint)} is no server address: ${why}`);
  const given = endpoint.trim();
  const url = given.includes("://") ? given : `${hasCa ? "https" : "http"}://${given}`;
  if (hasCa && url.startsWith("http://")) {
    throw invalid("http:// has no TLS, so that the CA would not be used; write https://");
  }
  // URL would forgive a path, a user and much else.
  if (!/^https?:\/\/([\w.-]+|\[[\da-fA-F:.]+\])(:\d+)?\/?$/.test(url) || !URL.canParse(url)) {
    throw invalid("write host:port, http://host:port or https://host:port");
  }
  return new URL(url).origin;
}

function authorization(apiKey: string | undefined): Record<string, string> {
  if (apiKey === undefined) {
    return {};
  }
  const key = apiKey.trim();
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw new TypeError("the API key may have visible ASCII characters only");
  }
  return { authorization: `Bearer ${key}` };
}
