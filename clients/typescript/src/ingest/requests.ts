import { create, toBinary } from "@bufbuild/protobuf";

import { type DocumentInit, document as makeDocument } from "../document.js";
import {
  type Document,
  DocumentSchema,
  type IngestRequest,
  IngestRequestSchema,
} from "../gen/pgfox/v1/documents_pb.js";

/** Maximum number of documents in one request, the server's limit. */
export const MAX_DOCUMENTS_PER_REQUEST = 1_000;
/** Maximum number of bytes of documents in one request: the server's 16 MiB less room for the rest of the message. */
export const MAX_BYTES_PER_REQUEST = (16 << 20) - (64 << 10);

/** How documents become requests. */
export interface Grouping {
  readonly collection: string;
  readonly skipInvalid: boolean;
  readonly onlyIfAbsent: boolean;
  readonly documentsPerRequest: number;
  readonly bytesPerRequest: number;
}

/** Groups documents into requests by count and by bytes. */
export class Requests {
  readonly #documents: Iterator<DocumentInit> | AsyncIterator<DocumentInit>;
  readonly #grouping: Grouping;
  #isExhausted = false;
  /** A document that no longer fitted. It is the first of the next request. */
  #carried: { document: Document; bytes: number } | undefined;
  #documentsRead = 0;
  #nextSequence = 1;

  constructor(documents: Iterable<DocumentInit> | AsyncIterable<DocumentInit>, grouping: Grouping) {
    const isAsync = Symbol.asyncIterator in documents;
    this.#documents = isAsync ? documents[Symbol.asyncIterator]() : documents[Symbol.iterator]();
    this.#grouping = grouping;
  }

  /** The next request; undefined at the end. */
  async next(): Promise<IngestRequest | undefined> {
    const { collection, skipInvalid, onlyIfAbsent, documentsPerRequest, bytesPerRequest } = this.#grouping;
    const documents: Document[] = [];
    let bytes = 0;
    while (documents.length < documentsPerRequest && bytes < bytesPerRequest) {
      const next = this.#carried ?? (await this.#read());
      this.#carried = undefined;
      if (next === undefined) {
        break;
      }
      if (documents.length > 0 && bytes + next.bytes > bytesPerRequest) {
        this.#carried = next;
        break;
      }
      documents.push(next.document);
      bytes += next.bytes;
    }
    if (documents.length === 0) {
      return undefined;
    }
    const sequence = this.#nextSequence++;
    return create(IngestRequestSchema, { collection, documents, sequence, skipInvalid, onlyIfAbsent });
  }

  /** Lets the source end early. It may be busy with a document, so do not wait for it. */
  close(): void {
    Promise.resolve(this.#documents.return?.()).catch(() => {});
  }

  async #read(): Promise<{ document: Document; bytes: number } | undefined> {
    // Not every source can be asked again after its end.
    const next = this.#isExhausted ? undefined : await this.#documents.next();
    if (next === undefined || next.done) {
      this.#isExhausted = true;
      return undefined;
    }
    const position = this.#documentsRead++;
    // The source may be JavaScript, or JSON read as any.
    const init: DocumentInit | null | undefined = next.value;
    if (typeof init !== "object" || init === null) {
      throw new TypeError(
        `document ${position} is ${init === null ? "null" : `of type ${typeof init}`}, not an object`,
      );
    }
    const named = `document ${position} (${typeof init.id === "string" ? JSON.stringify(init.id) : String(init.id)})`;
    let document: Document;
    let bytes: number;
    try {
      document = makeDocument(init);
      // The field's tag and length are added to the size of the document.
      bytes = toBinary(DocumentSchema, document).byteLength + 6;
    } catch (error) {
      throw new TypeError(`${named} cannot be sent: ${error instanceof Error ? error.message : error}`, {
        cause: error,
      });
    }
    if (bytes > MAX_BYTES_PER_REQUEST) {
      throw new RangeError(`${named} has ${bytes} bytes; a request may have at most ${MAX_BYTES_PER_REQUEST}`);
    }
    return { document, bytes };
  }
}
