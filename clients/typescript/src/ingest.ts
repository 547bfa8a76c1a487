import { Code, ConnectError, createContextValues } from "@connectrpc/connect";

import { MAX_TIMEOUT_MS, type PgfoxClient } from "./connect.js";
import type { DocumentInit } from "./document.js";
import { PgfoxError } from "./error.js";
import type { IngestRequest, IngestResponse } from "./gen/pgfox/v1/documents_pb.js";
import type { ErrorReason } from "./gen/pgfox/v1/errors_pb.js";
import { ingestEach } from "./ingest/each.js";
import { MAX_BYTES_PER_REQUEST, MAX_DOCUMENTS_PER_REQUEST, Requests } from "./ingest/requests.js";
import { repeat } from "./policy.js";
import { abortable, Backoff, sleep } from "./retry.js";

/** How long to wait for the end of the stream once everything is acknowledged. */
const CLOSE_WAIT_MS = 2_000;
/** Maximum number of requests that are sent but not acknowledged. */
const MAX_REQUESTS_IN_FLIGHT = 100;

/** The options of an ingest. {@link ingest} refuses a value outside its range. */
export interface IngestOptions {
  /**
   * Store the valid documents and report the invalid ones, instead of ending at the first invalid request. Default
   * false.
   */
  skipInvalid?: boolean | undefined;
  /** Store only documents whose id does not exist yet, and leave the others as they are. Default false. */
  onlyIfAbsent?: boolean | undefined;
  /** Documents per request, 1 to 1,000. Default 500. */
  documentsPerRequest?: number | undefined;
  /**
   * Number of bytes of documents at which a request is sent, 1 to 16 MiB less 64 KiB. A larger document is sent alone.
   * Default 2 MiB.
   */
  bytesPerRequest?: number | undefined;
  /**
   * Maximum number of requests that are sent but not acknowledged, 1 to 100. They are kept to be sent again. Default 4.
   */
  requestsInFlight?: number | undefined;
  /**
   * Maximum wait in milliseconds for an acknowledgement over an open connection, 1 to 86,400,000, one day. Default
   * 600,000: embedding 1,000 long texts on a busy machine takes minutes.
   */
  acknowledgeTimeoutMs?: number | undefined;
  /**
   * How many milliseconds to retry after an interruption without an acknowledgement, at most 86,400,000; 0 means no
   * retries. Default 60,000.
   */
  retryTimeoutMs?: number | undefined;
  /** Ends the ingest early. */
  signal?: AbortSignal | undefined;
  /**
   * Called for every committed request, with everything acknowledged so far and the skipped documents of this request.
   */
  onAcknowledged?: ((totals: Readonly<IngestTotals>, skipped: readonly SkippedDocument[]) => void) | undefined;
  /** Called for every interruption. The ingest resumes after the pause. */
  onInterrupted?: ((error: PgfoxError, pauseMs: number) => void) | undefined;
}

/** Counts everything that is acknowledged, which means committed. */
export interface IngestTotals {
  /** Documents, including skipped ones. */
  documents: number;
  /** Documents that were inserted or changed. */
  upserted: number;
  /** Documents among `upserted` that existed before. */
  updated: number;
  /**
   * Documents that were already stored unchanged. After an interruption this includes documents that were sent twice.
   */
  unchanged: number;
  /** Documents that the server refused, with `skipInvalid`. */
  skipped: number;
  /**
   * Documents whose id existed, with `onlyIfAbsent`. After an interruption this includes documents that were sent
   * twice.
   */
  existing: number;
  /** Embedded texts: documents or their chunks. */
  embedded: number;
  /** Documents whose text is longer than the model reads. */
  truncated: number;
  /** Documents that were stored without a vector because they have no text. */
  unembedded: number;
  /** Documents whose text is so long that full-text search does not know all of it. */
  fullTextCut: number;
  /** Tokens that the model read. */
  tokens: number;
}

/** A document that the server refused. */
export interface SkippedDocument {
  /** Position in the whole stream, from 0. */
  readonly position: number;
  /** Id of the document, cut to at most 512 bytes. */
  readonly id: string;
  /** The reason for programs. */
  readonly reason: ErrorReason;
  /** The reason for people. */
  readonly message: string;
}

/**
 * Says why an ingest ended early. `cause` is the {@link PgfoxError} of the server or of the connection, the error of
 * the source, or the RangeError or TypeError that names a document that cannot be sent.
 */
export class IngestError extends Error {
  /** What is stored: the first `acknowledged.documents` documents of the source. */
  readonly acknowledged: Readonly<IngestTotals>;

  constructor(cause: unknown, acknowledged: IngestTotals) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.name = "IngestError";
    this.acknowledged = acknowledged;
  }

  /** The values for a log. */
  toJSON(): object {
    const { name, message, acknowledged, cause } = this;
    return { name, message, acknowledged, cause };
  }

  // A program may have two copies of this package, for `import` and for `require`.
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof Error && value.name === "IngestError" && "acknowledged" in value;
  }
}

/**
 * Stores any number of documents in a collection, and returns when everything is committed. Documents are sent in
 * requests, several of them in flight at a time, and the source is read no farther ahead. After a broken connection
 * everything is sent again that was not acknowledged. Ids make that safe: nothing is lost and nothing is stored twice.
 *
 * Throws {@link IngestError}. An option outside its range is a RangeError before anything is sent.
 */
export async function ingest(
  client: PgfoxClient,
  collection: string,
  documents: Iterable<DocumentInit> | AsyncIterable<DocumentInit>,
  options: IngestOptions = {},
): Promise<IngestTotals> {
  const ingest = new Ingest(client, collection, documents, options);
  try {
    await ingest.run();
    return ingest.totals;
  } catch (thrown) {
    throw new IngestError(ingest.read(thrown), ingest.totals);
  } finally {
    ingest.close();
  }
}

class Ingest {
  readonly totals: IngestTotals = {
    documents: 0,
    upserted: 0,
    updated: 0,
    unchanged: 0,
    skipped: 0,
    existing: 0,
    embedded: 0,
    truncated: 0,
    unembedded: 0,
    fullTextCut: 0,
    tokens: 0,
  };
  readonly #client: PgfoxClient;
  readonly #options: IngestOptions;
  /** Aborts when the caller or the end of the client ends the ingest. */
  readonly #signal: AbortSignal;
  readonly #requestsInFlight: number;
  readonly #acknowledgeTimeoutMs: number;
  readonly #retryTimeoutMs: number;
  readonly #requests: Requests;
  /** The request that is being filled. It outlives the connection that waits for it. */
  #filling: Promise<IngestRequest | undefined> | undefined;
  #isExhausted = false;
  readonly #unacknowledged: IngestRequest[] = [];
  /** Wakes the code that waits for an acknowledgement. */
  #onRoom: () => void = () => {};
  /** A failure that another connection would not change. */
  #failure: { cause: unknown } | undefined;
  readonly #backoff = new Backoff();
  #failingSince: number | undefined;

  constructor(
    client: PgfoxClient,
    collection: string,
    documents: Iterable<DocumentInit> | AsyncIterable<DocumentInit>,
    options: IngestOptions,
  ) {
    this.#client = client;
    this.#options = options;
    this.#signal = AbortSignal.any([client.closed, ...(options.signal ? [options.signal] : [])]);
    this.#requestsInFlight = inRange(options, "requestsInFlight", 1, MAX_REQUESTS_IN_FLIGHT, 4);
    this.#acknowledgeTimeoutMs = inRange(options, "acknowledgeTimeoutMs", 1, MAX_TIMEOUT_MS, 600_000);
    this.#retryTimeoutMs = inRange(options, "retryTimeoutMs", 0, MAX_TIMEOUT_MS, 60_000);
    this.#requests = new Requests(documents, {
      collection,
      skipInvalid: options.skipInvalid ?? false,
      onlyIfAbsent: options.onlyIfAbsent ?? false,
      documentsPerRequest: inRange(options, "documentsPerRequest", 1, MAX_DOCUMENTS_PER_REQUEST, 500),
      bytesPerRequest: inRange(options, "bytesPerRequest", 1, MAX_BYTES_PER_REQUEST, 2 << 20),
    });
  }

  async run(): Promise<void> {
    while (!this.#isComplete()) {
      // The server may answer the call only after it has received a request, so send one first.
      if (this.#unacknowledged.length === 0 && !(await abortable(this.#take(), this.#signal))) {
        return;
      }
      try {
        await this.#connection();
      } catch (thrown) {
        if (this.#failure) {
          throw this.#failure.cause;
        }
        if (!this.#isComplete()) {
          await this.#pauseAfter(thrown);
        }
      }
    }
  }

  /** The error to throw: a {@link PgfoxError} if the ingest was ended from outside. */
  read(thrown: unknown): unknown {
    return this.#signal.aborted ? PgfoxError.read(thrown, this.#client.endpoint, this.#signal) : thrown;
  }

  close(): void {
    if (!this.#isExhausted) {
      this.#requests.close();
    }
  }

  #isComplete(): boolean {
    return this.#isExhausted && this.#unacknowledged.length === 0;
  }

  /** Adds the next request to the unacknowledged ones. False at the end, or if the connection has ended meanwhile. */
  async #take(connection?: AbortSignal): Promise<boolean> {
    this.#filling ??= this.#requests.next();
    let request: IngestRequest | undefined;
    try {
      request = await this.#filling;
    } catch (cause) {
      throw this.#fail(cause);
    }
    if (connection?.aborted) {
      return false;
    }
    this.#filling = undefined;
    if (request === undefined) {
      this.#isExhausted = true;
      return false;
    }
    this.#unacknowledged.push(request);
    return true;
  }

  #fail(cause: unknown): unknown {
    this.#failure ??= { cause };
    return cause;
  }

  /** Sends everything over one connection, beginning with requests that an earlier connection left unacknowledged. */
  async #connection(): Promise<void> {
    const ended = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const silent = `the server acknowledged nothing for ${this.#acknowledgeTimeoutMs / 1_000} s`;
    const awaitAnswer = () => {
      clearTimeout(timer);
      if (ended.signal.aborted || (this.#unacknowledged.length === 0 && !this.#isExhausted)) {
        return;
      }
      const wait = this.#isComplete() ? CLOSE_WAIT_MS : this.#acknowledgeTimeoutMs;
      timer = setTimeout(() => ended.abort(new ConnectError(silent, Code.DeadlineExceeded)), wait);
    };
    try {
      const either = AbortSignal.any([this.#signal, ended.signal]);
      for await (const response of this.#answers(this.#offer(ended.signal, awaitAnswer), either)) {
        this.#acknowledge(response);
        awaitAnswer();
      }
      if (!this.#isComplete()) {
        throw new ConnectError("the server ended the stream early", Code.Unavailable);
      }
    } finally {
      ended.abort();
      clearTimeout(timer);
      this.#onRoom();
    }
  }

  #answers(requests: AsyncGenerator<IngestRequest>, signal: AbortSignal): AsyncIterable<IngestResponse> {
    if (this.#client.canStream) {
      return this.#client.ingestStream(requests, { signal });
    }
    return ingestEach(this.#client, requests, this.#requestsInFlight, {
      signal,
      timeoutMs: this.#acknowledgeTimeoutMs,
      contextValues: createContextValues().set(repeat, false),
    });
  }

  async *#offer(connection: AbortSignal, awaitAnswer: () => void): AsyncGenerator<IngestRequest> {
    awaitAnswer();
    for (const request of [...this.#unacknowledged]) {
      yield request;
    }
    while (!connection.aborted) {
      if (this.#unacknowledged.length >= this.#requestsInFlight) {
        await new Promise<void>((resolve) => {
          this.#onRoom = resolve;
        });
        continue;
      }
      const isFirst = this.#unacknowledged.length === 0;
      if (!(await this.#take(connection))) {
        awaitAnswer();
        return;
      }
      if (isFirst) {
        awaitAnswer();
      }
      const request = this.#unacknowledged.at(-1);
      if (request) {
        yield request;
      }
    }
  }

  #acknowledge(response: IngestResponse): void {
    const request = this.#unacknowledged[0];
    if (response.sequence !== request?.sequence) {
      const due = request ? `request ${request.sequence}` : "none";
      throw this.#fail(new Error(`the server acknowledged request ${response.sequence} instead of ${due}`));
    }
    this.#unacknowledged.shift();
    this.#backoff.reset();
    this.#failingSince = undefined;
    const { totals } = this;
    const skipped = response.errors.map(({ index, id, reason, message }) => ({
      position: totals.documents + index,
      id,
      reason,
      message,
    }));
    totals.documents += request.documents.length;
    totals.upserted += response.upsertedCount;
    totals.updated += response.updatedCount;
    totals.unchanged += response.unchangedCount;
    totals.skipped += skipped.length;
    totals.existing += response.skippedCount;
    totals.embedded += response.embeddedCount;
    totals.truncated += response.truncatedCount;
    totals.unembedded += response.unembeddedCount;
    totals.fullTextCut += response.fullTextCutCount;
    totals.tokens += response.usage?.tokens ?? 0;
    this.#onRoom();
    this.#tell(() => this.#options.onAcknowledged?.({ ...totals }, skipped));
  }

  /** Waits before the next connection. Throws if another connection would not help. */
  async #pauseAfter(thrown: unknown): Promise<void> {
    const error = PgfoxError.read(thrown, this.#client.endpoint, this.#signal);
    // A call that neither the signal nor the client cancelled was reset on its way.
    const isReset = error.code === Code.Canceled && error.isAnswer;
    if (!error.isRetryable && !isReset) {
      throw error;
    }
    this.#failingSince ??= performance.now();
    const failingMs = performance.now() - this.#failingSince;
    const pause = this.#backoff.pause(error);
    if (failingMs + pause > this.#retryTimeoutMs) {
      throw error.with(`nothing was acknowledged in ${(failingMs / 1_000).toFixed(1)} s of trying again`);
    }
    this.#tell(() => this.#options.onInterrupted?.(error, pause));
    await sleep(pause, this.#signal);
  }

  /** An error of the caller's own callback ends the ingest. */
  #tell(callback: () => void): void {
    try {
      callback();
    } catch (cause) {
      throw this.#fail(cause);
    }
  }
}

type Limit = "documentsPerRequest" | "bytesPerRequest" | "requestsInFlight" | "acknowledgeTimeoutMs" | "retryTimeoutMs";

function inRange(options: IngestOptions, name: Limit, min: number, max: number, otherwise: number): number {
  const value = options[name] ?? otherwise;
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${name} must be ${min} to ${max}, not ${value}`);
  }
  return value;
}
