// Servers that behave as the tests need, over real connections.
import assert from "node:assert/strict";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:http2";
import type { AddressInfo, Server, Socket } from "node:net";
import type { TestContext } from "node:test";

import type { Message } from "@bufbuild/protobuf";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ConnectRouter, type Interceptor, type ServiceImpl } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { ErrorInfoSchema, RetryInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import * as node from "../src/node.js";
import { type ConnectOptions, IngestError, type IngestRequest, type PgfoxClient, PgfoxService } from "../src/node.js";
import { readable } from "../src/readable.js";
import * as web from "../src/web.js";

export type Implementation = Partial<ServiceImpl<typeof PgfoxService>>;

export interface StandIn {
  client: PgfoxClient;
  /** Ends every connection at once, as a crash would. */
  cut(): void;
}

/** A server by gRPC and a client of it, both gone with the test. */
export async function standIn(
  test: TestContext,
  implementation: Implementation,
  options: ConnectOptions = {},
  host = "127.0.0.1",
): Promise<StandIn> {
  const server = createServer({ maxSessionMemory: 1_000 }, adapter(implementation));
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("session", (session) => session.on("error", () => {}));
  const cut = () => {
    for (const socket of sockets) {
      socket.destroy();
    }
  };
  const client = node.connect({ endpoint: await listen(server, host), ...options });
  test.after(() => {
    client.close();
    cut();
    server.close();
  });
  return { client, cut };
}

/** The same over gRPC-Web. */
export async function webStandIn(
  test: TestContext,
  implementation: Implementation,
  options: ConnectOptions = {},
  host = "127.0.0.1",
): Promise<StandIn> {
  const server = createHttpServer(adapter(implementation));
  const client = web.connect({ endpoint: await listen(server, host), ...options });
  const cut = () => server.closeAllConnections();
  test.after(() => {
    client.close();
    cut();
    server.close();
  });
  return { client, cut };
}

function adapter(implementation: Implementation) {
  const routes = (router: ConnectRouter) => router.service(PgfoxService, implementation);
  return connectNodeAdapter({ routes, interceptors: [readableRequests] });
}

/** Implementations see the numbers that the types promise. */
const readableRequests: Interceptor = (next) => async (request) => {
  const { input } = request.method;
  if (!request.stream) {
    readable(input, request.message);
    return next(request);
  }
  async function* each(messages: AsyncIterable<Message>) {
    for await (const message of messages) {
      yield readable(input, message);
    }
  }
  return next({ ...request, message: each(request.message) });
};

async function listen(server: Server, host: string): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return `${host.includes(":") ? `[${host}]` : host}:${(server.address() as AddressInfo).port}`;
}

/** An error with a reason of pgfox, and with the time to come back in milliseconds. */
export function refusal(code: Code, reason: string, retryMs?: number): ConnectError {
  const error = new ConnectError("no", code);
  error.details.push({ desc: ErrorInfoSchema, value: { reason, domain: "pgfox" } });
  if (retryMs !== undefined) {
    error.details.push({ desc: RetryInfoSchema, value: { retryDelay: durationFromMs(retryMs) } });
  }
  return error;
}

export const unavailable = () => refusal(Code.Unavailable, "DATABASE_UNAVAILABLE");

/** Acknowledges a request. */
export function acknowledgement({ sequence, documents }: IngestRequest) {
  return { sequence, upsertedCount: documents.length };
}

/** Numbered documents, beginning with `d0`. */
export function documents(count: number, bytes = 1) {
  return Array.from({ length: count }, (_, i) => ({ id: `d${i}`, text: "x".repeat(bytes) }));
}

export const ids = (request: IngestRequest) => request.documents.map((document) => document.id);

/** Waits until something is true; fails if it is not within 10 s. */
export async function eventually(what: string, holds: () => boolean): Promise<void> {
  for (const began = performance.now(); !holds(); ) {
    assert.ok(performance.now() - began < 10_000, `not within 10 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** The error that an ingest fails with. */
export async function failure(promise: Promise<unknown>): Promise<IngestError> {
  const error = await promise.then(
    () => assert.fail("it did not fail"),
    (error) => error,
  );
  assert.ok(error instanceof IngestError, String(error));
  return error;
}

/** Answers every request, and records it. */
export function recording(requests: IngestRequest[]) {
  return {
    async *ingestStream(stream: AsyncIterable<IngestRequest>) {
      for await (const request of stream) {
        requests.push(request);
        yield acknowledgement(request);
      }
    },
    ingest(request: IngestRequest) {
      requests.push(request);
      return acknowledgement(request);
    },
  };
}
