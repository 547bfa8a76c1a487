import { type JsonObject, type JsonValue, toJson } from "@bufbuild/protobuf";
import { type Value, ValueSchema } from "@bufbuild/protobuf/wkt";

/** Maximum nesting that is followed, so that an object that contains itself ends. The server accepts less. */
const MAX_DEPTH = 100;

/** The place of a value that cannot be sent, and the reason. */
export interface Fault {
  /** The path, such as ".metadata.tags[1]". */
  readonly path: string;
  /** The reason, such as "is NaN". */
  readonly why: string;
}

/**
 * Converts an object to plain JSON, as for metadata. A value with a `toJSON`, such as a Date, becomes what that
 * returns. A bigint becomes a number, and undefined properties are left out. A value that JSON cannot hold is a
 * TypeError that names its place: NaN, a bigint beyond 2^53, a Map, a function.
 */
export function json(value: object): JsonObject {
  const made = toPlain(value, "metadata");
  if (typeof made !== "object" || made === null || Array.isArray(made)) {
    throw new TypeError(`metadata must be an object, not ${nameOf(value)}`);
  }
  return made;
}

/** The plain value in a Value, such as a facet's value; undefined if there is none. */
export function plain(value: Value | undefined): JsonValue | undefined {
  return value && toJson(ValueSchema, value);
}

/** Converts any value to plain JSON. Throws a TypeError with a path that begins with `path`. */
export function toPlain(given: unknown, path: string, depth = 0): JsonValue {
  const value = replaced(given);
  if (typeof value === "bigint" && isSafe(value)) {
    return Number(value);
  }
  const why = faultOf(value) ?? (depth > MAX_DEPTH ? "is nested too deeply, or contains itself" : undefined);
  if (why !== undefined) {
    // An invalid Date becomes null by its toJSON.
    throw new TypeError(`${path} ${why}`);
  }
  if (given instanceof Date && value === null) {
    throw new TypeError(`${path} is an invalid Date`);
  }
  if (typeof value !== "object" || value === null) {
    return value as JsonValue;
  }
  if (Array.isArray(value)) {
    // `map` would pass over holes.
    return Array.from(value, (part, i) => toPlain(part, `${path}[${i}]`, depth + 1));
  }
  const entries = Object.entries(value).filter(([, part]) => part !== undefined);
  return Object.fromEntries(
    entries.map(([key, part]) => {
      if (!key.isWellFormed()) {
        throw new TypeError(`${path}.${JSON.stringify(key)} ${ILL_FORMED}`);
      }
      return [key, toPlain(part, `${path}.${key}`, depth + 1)];
    }),
  );
}

/** The first value in supposedly plain JSON that is not plain. */
export function jsonFault(value: unknown, depth = 0): Fault | undefined {
  const isReplaceable = typeof value === "bigint" || !Object.is(replaced(value), value);
  const why = isReplaceable ? `is ${nameOf(value)}; \`json\` and \`document\` convert it` : faultOf(value);
  if (why !== undefined) {
    return { path: "", why };
  }
  if (typeof value !== "object" || value === null) {
    return undefined;
  }
  if (depth > MAX_DEPTH) {
    return { path: "", why: "is nested too deeply, or contains itself" };
  }
  const isArray = Array.isArray(value);
  for (const [key, part] of isArray ? value.entries() : Object.entries(value)) {
    if (typeof key === "string" && !key.isWellFormed()) {
      return { path: `.${JSON.stringify(key)}`, why: ILL_FORMED };
    }
    const fault = jsonFault(part, depth + 1);
    if (fault) {
      return within(isArray ? `[${key}]` : `.${key}`, fault);
    }
  }
  return undefined;
}

/** The same fault, seen from one level farther out. */
export function within(step: string, fault: Fault): Fault {
  return { path: step + fault.path, why: fault.why };
}

/** Encoding would write U+FFFD there, and so merge two documents whose ids differ. */
export const ILL_FORMED = "is not well-formed Unicode: it has half of a surrogate pair";

/** A description of a value for people: "NaN", "a Map", "undefined". */
export function nameOf(value: unknown): string {
  if (typeof value === "object" && value !== null) {
    const name = Object.getPrototypeOf(value)?.constructor?.name ?? "object";
    return /^[aeiou]/i.test(name) ? `an ${name}` : `a ${name}`;
  }
  return typeof value === "function" || typeof value === "symbol" ? `a ${typeof value}` : String(value);
}

/**
 * Whether a value is an object with named fields, even one of a class or of another realm, but not of a built-in kind.
 */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return Object.prototype.toString.call(value) === "[object Object]";
}

function replaced(value: unknown): unknown {
  const hasOwn = typeof value === "object" && value !== null && "toJSON" in value && typeof value.toJSON === "function";
  return hasOwn ? (value as { toJSON(): unknown }).toJSON() : value;
}

function isSafe(value: bigint): boolean {
  return BigInt.asIntN(54, value) === value;
}

/** Why JSON cannot hold the value itself, whatever it contains. */
function faultOf(value: unknown): string | undefined {
  switch (typeof value) {
    case "string":
      return value.isWellFormed() ? undefined : ILL_FORMED;
    case "number":
      return Number.isFinite(value) ? undefined : `is ${value}, which JSON cannot hold`;
    case "boolean":
      return undefined;
    case "bigint":
      return `is ${value}, beyond 2^53: send it as a string`;
    default:
      return value === null || Array.isArray(value) || isRecord(value)
        ? undefined
        : `is ${nameOf(value)}, which JSON cannot hold`;
  }
}
