import {
  type CallOptions,
  type Client,
  Code,
  ConnectError,
  createClient,
  type Interceptor,
  type Transport,
} from "@connectrpc/connect";

import { PgfoxService } from "./gen/pgfox/v1/pgfox_service_pb.js";
import { withPolicy } from "./policy.js";

/** The user agent, with the version in package.json. */
export const USER_AGENT = "pgfox-typescript/0.1.0";

/** The address of a server with default settings. */
const DEFAULT_ENDPOINT = "127.0.0.1:50051";
const DEFAULT_TIMEOUT_MS = 30_000;
/** Maximum value of every timeout option, here and for an ingest: one day. */
export const MAX_TIMEOUT_MS = 86_400_000;

/** The address of the server, and how to call it. */
export interface ConnectOptions {
  /**
   * `host:port`, `http://host:port` or `https://host:port`. Without a scheme: http, and there must be a port, 1 to 65,535.
   * Default `127.0.0.1:50051`.
   */
  endpoint?: string | undefined;
  /** Sent as `authorization: Bearer <key>`. Default, and if it is empty: no key is sent. */
  apiKey?: string | undefined;
  /**
   * Deadline in milliseconds of every call except IngestStream and BuildIndex, for all attempts together, unless the
   * call sets its own `timeoutMs`. Above 0 and at most 86,400,000, one day. Default 30,000.
   */
  timeoutMs?: number | undefined;
  /** Retry calls that may succeed later; the README lists them. Default true. */
  retry?: boolean | undefined;
  /** Connect's interceptors, around each attempt. Default none. */
  interceptors?: Interceptor[] | undefined;
}

/** The properties of a client beside the methods of the service. */
export interface Connection {
  /** The endpoint with its scheme. */
  readonly endpoint: string;
  /** Whether IngestStream can be called. False in a browser. */
  readonly canStream: boolean;
  /** Aborts when the client is closed. */
  readonly closed: AbortSignal;
  /** Ends the connection and every call and ingest at once, even one that waits before its next attempt. */
  close(): void;
}

/** The generated client, with one method for each method of the service. It takes and returns generated messages. */
export type PgfoxClient = Client<typeof PgfoxService> & Connection;

/** The parts that depend on the transport. */
interface Underlying extends Omit<Connection, "closed"> {
  /** Sent with every call. */
  readonly headers: Readonly<Record<string, string>>;
}

/** The generated client over a transport. */
export function createPgfoxClient(transport: Transport, underlying: Underlying, options: ConnectOptions): PgfoxClient {
  const { endpoint, canStream, headers } = underlying;
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  if (!(timeoutMs > 0 && timeoutMs <= MAX_TIMEOUT_MS)) {
    throw new RangeError(`timeoutMs must be above 0 and at most ${MAX_TIMEOUT_MS}, not ${timeoutMs}`);
  }
  const closed = new AbortController();
  const policy = {
    endpoint,
    headers: { ...headers, ...authorization(options.apiKey) },
    timeoutMs,
    retry: options.retry ?? true,
    closed: closed.signal,
  };
  const close = () => {
    closed.abort(new ConnectError("the client is closed", Code.Canceled));
    underlying.close();
  };
  const connection: Connection = { endpoint, canStream, closed: closed.signal, close };
  const client = createClient(PgfoxService, withPolicy(transport, policy));
  const { buildIndex, ingestStream } = client;
  const streams: Pick<PgfoxClient, "buildIndex" | "ingestStream"> = {
    buildIndex: (request, options) => leavable(options, (options) => buildIndex(request, options)),
    ingestStream: (requests, options) => leavable(options, (options) => ingestStream(requests, options)),
  };
  return Object.assign(client, streams, connection);
}

/**
 * Ends the call when the caller leaves the loop over its answers, which Connect does not. The call begins at once,
 * whether or not it is read.
 */
function leavable<T>(options: CallOptions = {}, call: (options: CallOptions) => AsyncIterable<T>): AsyncIterable<T> {
  const left = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, left.signal]) : left.signal;
  const answers = call({ ...options, signal });
  return (async function* () {
    try {
      yield* answers;
    } finally {
      left.abort();
    }
  })();
}

/** Reads an endpoint as a URL without a path. Throws a TypeError that says how to write it. */
export function readEndpoint(endpoint: string = DEFAULT_ENDPOINT, hasCa = false): string {
  const invalid = (why: string) => new TypeError(`${JSON.stringify(endpoint)} is not a server address: ${why}`);
  const given = endpoint.trim();
  const hasScheme = given.includes("://");
  const url = hasScheme ? given : `${hasCa ? "https" : "http"}://${given}`;
  if (hasCa && url.startsWith("http://")) {
    throw invalid("http:// uses no TLS, so the CA would be ignored; write https://");
  }
  // URL would accept a path, a user and much else.
  const [isWhole, , port] = /^https?:\/\/([\w.-]+|\[[\da-fA-F:.]+\])(:\d+)?\/?$/.exec(url) ?? [];
  // A name without a port could mean any port.
  const isNameAlone = !hasScheme && port === undefined;
  if (!isWhole || isNameAlone || !URL.canParse(url) || new URL(url).port === "0") {
    throw invalid("write host:port, http://host:port or https://host:port");
  }
  return new URL(url).origin;
}

function authorization(apiKey: string | undefined): Record<string, string> {
  const key = apiKey?.trim();
  if (!key) {
    return {};
  }
  if (!/^[\x21-\x7e]+$/.test(key)) {
    throw new TypeError("the API key may contain only visible ASCII characters");
  }
  return { authorization: `Bearer ${key}` };
}
