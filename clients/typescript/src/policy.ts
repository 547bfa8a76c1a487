import type { DescMethod, MessageShape } from "@bufbuild/protobuf";
import { Code, createContextKey, type Transport } from "@connectrpc/connect";

import { PgfoxError } from "./error.js";
import type { IngestRequestSchema } from "./gen/pgfox/v1/documents_pb.js";
import { PgfoxService } from "./gen/pgfox/v1/pgfox_service_pb.js";
import { Backoff, sleep } from "./retry.js";

/** Unary calls that are never repeated: the second attempt would report an error though the first has done it. */
const ONCE: readonly DescMethod[] = [
  PgfoxService.method.createCollection,
  PgfoxService.method.deleteCollection,
  PgfoxService.method.dropIndex,
];

/** Whether a call may be repeated; for callers that repeat it themselves. */
export const repeat = createContextKey(true, { description: "repeat a pgfox call that failed" });

/** What holds for every call of a client. */
export interface Policy {
  readonly endpoint: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly retry: boolean;
  /** Aborts when the client is closed. */
  readonly closed: AbortSignal;
}

/** Adds headers, a deadline and repetition to the calls of a transport, and makes its errors {@link PgfoxError}s. */
export function withPolicy(transport: Transport, policy: Policy): Transport {
  const withHeaders = (given: HeadersInit | undefined) => {
    const headers = new Headers(policy.headers);
    new Headers(given).forEach((value, name) => {
      headers.set(name, value);
    });
    return headers;
  };
  const read = (thrown: unknown, signal: AbortSignal | undefined) => {
    const aborted = policy.closed.aborted ? policy.closed : signal;
    return PgfoxError.read(aborted?.aborted ? aborted.reason : thrown, policy.endpoint, aborted);
  };
  return {
    async unary(method, signal, timeoutMs = policy.timeoutMs, header, input, contextValues) {
      const headers = withHeaders(header);
      const mayRepeat = policy.retry && (contextValues?.get(repeat) ?? true) && isRepeatable(method, input);
      const backoff = new Backoff();
      const began = performance.now();
      let failed: PgfoxError | undefined;
      const left = () => (timeoutMs > 0 ? timeoutMs - (performance.now() - began) : Infinity);
      for (let attempts = 1; ; attempts++) {
        try {
          policy.closed.throwIfAborted();
          // The transport takes 0 for no deadline, and whole milliseconds only.
          const attemptMs = timeoutMs > 0 ? Math.max(1, Math.ceil(left())) : 0;
          return await transport.unary(method, signal, attemptMs, headers, input, contextValues);
        } catch (thrown) {
          const last = read(thrown, signal);
          // An attempt that the deadline cut short says less than the one before.
          const error = failed && last.code === Code.DeadlineExceeded && !last.isAnswer ? failed : last;
          failed = error;
          const pause = mayRepeat && error.isRetryable ? backoff.pause(error) : Infinity;
          if (pause >= left()) {
            const seconds = (performance.now() - began) / 1000;
            throw attempts === 1 ? error : error.with(`${attempts} attempts in ${seconds.toFixed(1)} s`);
          }
          await sleep(pause, signal).catch((reason) => {
            throw read(reason, signal);
          });
        }
      }
    },

    async stream(method, signal, timeoutMs, header, input, contextValues) {
      async function* readErrors<T>(messages: AsyncIterable<T>): AsyncIterable<T> {
        try {
          yield* messages;
        } catch (thrown) {
          throw read(thrown, signal);
        }
      }
      try {
        policy.closed.throwIfAborted();
        const headers = withHeaders(header);
        const response = await transport.stream(method, signal, timeoutMs, headers, input, contextValues);
        return { ...response, message: readErrors(response.message) };
      } catch (thrown) {
        throw read(thrown, signal);
      }
    },
  };
}

function isRepeatable(method: DescMethod, input: unknown): boolean {
  if (method === PgfoxService.method.ingest) {
    const { ifVersion } = input as Partial<MessageShape<typeof IngestRequestSchema>>;
    return Object.keys(ifVersion ?? {}).length === 0;
  }
  return !ONCE.includes(method);
}
