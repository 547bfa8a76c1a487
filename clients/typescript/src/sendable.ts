import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";

import { type Fault, ILL_FORMED, isRecord, jsonFault, nameOf, within } from "./json.js";

const VALUE = "google.protobuf.Value";
/** How to make a value of this type from something else. */
const HINTS: Readonly<Record<string, string>> = {
  "google.protobuf.Timestamp": "; `timestampFromDate` makes one from a Date",
  "pgfox.v1.Vector": "; `vector` makes one from numbers",
};

/**
 * The part of a message that cannot be sent, such as "documents[1].id is ..."; undefined if all of it can. Encoding
 * would silently store something else: an empty object for a Date, null for NaN, no elements for a Set or a bare
 * Float32Array.
 */
export function unsendable(schema: DescMessage, message: object): string | undefined {
  const fault = messageFault(schema, message);
  return fault && `${fault.path.replace(/^\./, "")} ${fault.why}`;
}

function messageFault(schema: DescMessage, message: unknown): Fault | undefined {
  if (!isRecord(message)) {
    return { path: "", why: `must be a ${schema.name}, not ${nameOf(message)}${HINTS[schema.typeName] ?? ""}` };
  }
  for (const field of schema.fields) {
    const fault = field.oneof ? oneofFault(field, message[field.oneof.localName]) : fieldFault(field, message);
    if (fault) {
      return fault;
    }
  }
  return undefined;
}

function oneofFault(field: DescField, chosen: unknown): Fault | undefined {
  if (!isRecord(chosen) || chosen.case !== field.localName) {
    return undefined;
  }
  const fault = valueFault(field, chosen.value);
  return fault && within(`.${field.oneof?.localName}.value`, fault);
}

function fieldFault(field: DescField, message: Record<string, unknown>): Fault | undefined {
  const value = message[field.localName];
  if (value === undefined || value === null) {
    return undefined;
  }
  const fault = valueFault(field, value);
  return fault && within(`.${field.localName}`, fault);
}

function valueFault(field: DescField, value: unknown): Fault | undefined {
  switch (field.fieldKind) {
    case "list":
      return listFault(field, value);
    case "map":
      return mapFault(field, value);
    default:
      return singleFault(field, value);
  }
}

function listFault(field: DescField, value: unknown): Fault | undefined {
  if (!Array.isArray(value)) {
    // Typed arrays are lists too, of numbers.
    return ArrayBuffer.isView(value) ? undefined : { path: "", why: `must be an array, not ${nameOf(value)}` };
  }
  if (!field.message && field.scalar !== ScalarType.STRING) {
    return undefined;
  }
  for (const [i, element] of value.entries()) {
    const fault = singleFault(field, element);
    if (fault) {
      return within(`[${i}]`, fault);
    }
  }
  return undefined;
}

function mapFault(field: DescField, value: unknown): Fault | undefined {
  if (!isRecord(value)) {
    return { path: "", why: `must be an object, not ${nameOf(value)}` };
  }
  for (const [key, element] of Object.entries(value)) {
    if (!key.isWellFormed()) {
      return { path: `.${JSON.stringify(key)}`, why: ILL_FORMED };
    }
    const fault = singleFault(field, element);
    if (fault) {
      return within(`.${key}`, fault);
    }
  }
  return undefined;
}

function singleFault(field: DescField, value: unknown): Fault | undefined {
  if (field.message) {
    // In memory a Struct is a plain JSON object, except one inside a Value.
    const isJson = field.message.typeName === "google.protobuf.Struct" && field.parent?.typeName !== VALUE;
    if (!isJson) {
      return messageFault(field.message, value);
    }
    return isRecord(value) ? jsonFault(value) : { path: "", why: `must be an object, not ${nameOf(value)}` };
  }
  return typeof value === "string" && !value.isWellFormed() ? { path: "", why: ILL_FORMED } : undefined;
}
