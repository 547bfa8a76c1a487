import { create, isMessage, type JsonObject, type MessageInitShape } from "@bufbuild/protobuf";

import { type Document, DocumentSchema, type Vector, VectorSchema } from "./gen/pgfox/v1/documents_pb.js";
import { json, nameOf } from "./json.js";
import { readable } from "./readable.js";
import { unsendable } from "./sendable.js";
import { vector } from "./vector.js";

/** Input for a document: a message, or a plain object. */
export type DocumentInit = Document | DocumentFields;

/** A document as a plain object. */
export interface DocumentFields {
  /** The caller's id, 1 to 512 bytes. */
  readonly id: string;
  /** The text. */
  readonly text?: string | undefined;
  /** The elements, such as an array or a Float32Array. */
  readonly vector?: Iterable<number> | MessageInitShape<typeof VectorSchema> | undefined;
  /** Any object that {@link json} accepts, so also one with Dates. */
  readonly metadata?: object | undefined;
}

/** The fields of the message, its type marker, and unknown fields from a newer server. */
const KNOWN = new Set(["$typeName", "$unknown", ...DocumentSchema.fields.map(({ localName }) => localName)]);

/**
 * Makes a document from plain values: metadata as {@link json} converts it, and a vector of any numbers. Throws a
 * TypeError that names the place of a value that would be stored changed, or of a field that documents do not have.
 */
export function document(init: DocumentInit): Document {
  const unknown = Object.keys(init).find((key) => !KNOWN.has(key));
  if (unknown !== undefined) {
    throw new TypeError(`${unknown} is not a field of documents: put it into metadata, or leave it out`);
  }
  const { metadata, vector: numbers, ...others } = init;
  const made = create(DocumentSchema, others as MessageInitShape<typeof DocumentSchema>);
  if (numbers !== undefined && numbers !== null) {
    made.vector = toVector(numbers);
  }
  if (metadata !== undefined && metadata !== null) {
    made.metadata = json(metadata);
  }
  const wrong = unsendable(DocumentSchema, made);
  if (wrong !== undefined) {
    throw new TypeError(wrong);
  }
  return readable(DocumentSchema, made);
}

/**
 * The metadata of a document as a plain object, empty if there is none. `T` is the type that you expect; it is not
 * checked.
 */
export function metadata<T extends object = JsonObject>(document: Document | undefined): T {
  return (document?.metadata ?? {}) as T;
}

function toVector(numbers: NonNullable<DocumentFields["vector"]>): Vector {
  if (isMessage(numbers, VectorSchema)) {
    return numbers;
  }
  if (typeof numbers === "object" && Symbol.iterator in numbers) {
    return vector(numbers);
  }
  if (typeof numbers !== "object") {
    throw new TypeError(`vector must hold numbers, not ${nameOf(numbers)}`);
  }
  return create(VectorSchema, numbers);
}
