// Makes messages more convenient than the generated code: counts are numbers, and JSON.stringify accepts every message.
import { type DescField, type DescMessage, type Message, ScalarType, toJson } from "@bufbuild/protobuf";
import type { Interceptor } from "@connectrpc/connect";

/** The fields of a message that need a conversion. */
interface Parts {
  /** 64-bit integers, alone and as values of a map. */
  readonly integers: readonly DescField[];
  /** Messages, alone, in lists and in maps. */
  readonly messages: readonly { readonly field: DescField; readonly schema: DescMessage }[];
}

type Fields = Record<string, unknown>;

const PARTS = new WeakMap<DescMessage, Parts>();

/**
 * Turns the 64-bit integers of a message into numbers, as its type says, and gives it and every message in it a
 * `toJSON`. That method is hidden from loops, comparisons and copies, so that a message stays plain data.
 */
export function readable<T extends Message>(schema: DescMessage, message: T): T {
  const { integers, messages } = partsOf(schema);
  const fields = message as unknown as Fields;
  for (const { fieldKind, localName } of integers) {
    const value = fields[localName];
    if (fieldKind === "map") {
      fields[localName] = mapValues(value as Fields, Number);
    } else if (typeof value === "bigint") {
      fields[localName] = Number(value);
    }
  }
  for (const { field, schema } of messages) {
    for (const part of valuesOf(field, fields)) {
      readable(schema, part as Message);
    }
  }
  // Objects that the caller has frozen stay as they are.
  if (Object.isExtensible(message)) {
    Object.defineProperty(message, "toJSON", {
      configurable: true,
      writable: true,
      value(this: Message) {
        return withNumbers(schema, toJson(schema, this, { alwaysEmitImplicit: true }));
      },
    });
  }
  return message;
}

/** Does the same for every answer, before any other interceptor sees it. */
export const readableAnswers: Interceptor = (next) => async (request) => {
  const response = await next(request);
  const { output } = response.method;
  if (!response.stream) {
    readable(output, response.message);
    return response;
  }
  async function* each(messages: AsyncIterable<Message>) {
    for await (const message of messages) {
      yield readable(output, message);
    }
  }
  return { ...response, message: each(response.message) };
};

/** Protobuf writes 64-bit integers as strings; this turns them into the numbers that they are in the message. */
function withNumbers(schema: DescMessage, json: unknown): unknown {
  // Well-known types have their own form.
  if (typeof json !== "object" || json === null || !isOurs(schema)) {
    return json;
  }
  const { integers, messages } = partsOf(schema);
  const object = json as Fields;
  for (const { fieldKind, jsonName } of integers) {
    const value = object[jsonName];
    if (value !== undefined) {
      object[jsonName] = fieldKind === "map" ? mapValues(value as Fields, Number) : Number(value);
    }
  }
  for (const { field, schema } of messages) {
    const value = object[field.jsonName];
    const parts = field.fieldKind === "message" ? [value] : Object.values(value ?? {});
    for (const part of parts) {
      withNumbers(schema, part);
    }
  }
  return json;
}

function partsOf(schema: DescMessage): Parts {
  const known = PARTS.get(schema);
  if (known) {
    return known;
  }
  // The types of the library keep their own integers, which are bigint.
  const fields = isOurs(schema) ? schema.fields : [];
  const parts = {
    integers: fields.filter((field) => field.fieldKind !== "list" && field.scalar === ScalarType.INT64),
    messages: fields.flatMap((field) => (field.message && !isJson(field) ? [{ field, schema: field.message }] : [])),
  };
  PARTS.set(schema, parts);
  return parts;
}

function valuesOf(field: DescField, fields: Fields): unknown[] {
  if (field.oneof) {
    const { case: name, value } = fields[field.oneof.localName] as { case?: string; value?: unknown };
    return name === field.localName ? [value] : [];
  }
  const value = fields[field.localName];
  if (value === undefined) {
    return [];
  }
  return field.fieldKind === "message" ? [value] : Object.values(value as object);
}

function isOurs(schema: DescMessage): boolean {
  return schema.typeName.startsWith("pgfox.");
}

/** Whether a field is a plain JSON object in memory. */
function isJson(field: DescField): boolean {
  return field.message?.typeName === "google.protobuf.Struct";
}

function mapValues(map: Fields, of: (value: unknown) => unknown): Fields {
  return Object.fromEntries(Object.entries(map).map(([key, value]) => [key, of(value)]));
}
