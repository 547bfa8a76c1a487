import {
  create,
  type DescMessage,
  type DescMethod,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { Code, ConnectError, type ContextKey, type Transport } from "@connectrpc/connect";

import { PgfoxError } from "./error.js";
import type { IngestRequestSchema } from "./gen/pgfox/v1/documents_pb.js";
import { PgfoxService } from "./gen/pgfox/v1/pgfox_service_pb.js";
import { readable } from "./readable.js";
import { Backoff, sleep } from "./retry.js";
import { unsendable } from "./sendable.js";

/** Unary calls that are never retried: the second attempt would report an error although the first succeeded. */
const ONCE: readonly DescMethod[] = [
  PgfoxService.method.createCollection,
  PgfoxService.method.deleteCollection,
  PgfoxService.method.dropIndex,
];

/** Whether a call may be retried, for callers that retry it themselves. The same in every copy of this package. */
export const repeat: ContextKey<boolean> = { id: Symbol.for("pgfox.repeat"), defaultValue: true };

/** The settings for every call of a client. */
export interface Policy {
  readonly endpoint: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly retry: boolean;
  /** Aborts when the client is closed. */
  readonly closed: AbortSignal;
}

/** Adds headers, a deadline and retries to the calls of a transport, and makes its errors {@link PgfoxError}s. */
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
      const wrong = unsendable(method.input, input);
      if (wrong !== undefined) {
        throw read(new ConnectError(wrong, Code.InvalidArgument), signal);
      }
      // Interceptors may want to log it.
      const request = readable(method.input, create(method.input, input));
      const headers = withHeaders(header);
      const mayRepeat = policy.retry && (contextValues?.get(repeat) ?? true) && isRepeatable(method, request);
      const backoff = new Backoff();
      const began = performance.now();
      let before: PgfoxError | undefined;
      const left = () => (timeoutMs > 0 ? timeoutMs - (performance.now() - began) : Infinity);
      for (let attempts = 1; ; attempts++) {
        try {
          policy.closed.throwIfAborted();
          // For the transport 0 means no deadline, and it accepts only whole milliseconds.
          const attemptMs = timeoutMs > 0 ? Math.max(1, Math.ceil(left())) : 0;
          return await transport.unary(method, signal, attemptMs, headers, request, contextValues);
        } catch (thrown) {
          const error = read(thrown, signal);
          const pause = mayRepeat && error.isRetryable ? backoff.pause(error) : Infinity;
          if (pause >= left()) {
            if (!before) {
              throw error;
            }
            const seconds = (performance.now() - began) / 1000;
            // That an attempt was cut short does not show what is wrong.
            const why = error.code === Code.DeadlineExceeded && !error.isAnswer ? `; before: ${before.rawMessage}` : "";
            throw error.with(`${attempts} attempts in ${seconds.toFixed(1)} s${why}`);
          }
          before = error;
          const ended = signal ? AbortSignal.any([signal, policy.closed]) : policy.closed;
          await sleep(pause, ended).catch((reason) => {
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
        const requests = sendable(method.input, input);
        const response = await transport.stream(method, signal, timeoutMs, headers, requests, contextValues);
        return { ...response, message: readErrors(response.message) };
      } catch (thrown) {
        throw read(thrown, signal);
      }
    },
  };
}

/** The requests of a stream, up to the first that cannot be sent. */
async function* sendable<I extends DescMessage>(
  schema: I,
  requests: AsyncIterable<MessageInitShape<I>>,
): AsyncGenerator<MessageInitShape<I>> {
  for await (const request of requests) {
    const wrong = unsendable(schema, request);
    if (wrong !== undefined) {
      throw new ConnectError(wrong, Code.InvalidArgument);
    }
    yield request;
  }
}

function isRepeatable(method: DescMethod, input: unknown): boolean {
  if (method === PgfoxService.method.ingest) {
    const { ifVersion } = input as Partial<MessageShape<typeof IngestRequestSchema>>;
    return Object.keys(ifVersion ?? {}).length === 0;
  }
  return !ONCE.includes(method);
}
