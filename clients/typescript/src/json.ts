import { type JsonObject, type JsonValue, toJson } from "@bufbuild/protobuf";
import { type Value, ValueSchema } from "@bufbuild/protobuf/wkt";

/** Deepest nesting that is followed, so that an object within itself ends. The server takes less. */
const MAX_DEPTH = 100;

/** Where a value stands that cannot be sent, and why. */
export interface Fault {
  /** Such as ".metadata.tags[1]". */
  readonly path: string;
  /** Such as "is NaN". */
  readonly why: string;
}

/**
 * Makes plain JSON of an object, as metadata is. What has a `toJSON`, such as a Date, becomes what that returns, a bigint a number, and
 * properties that are undefined are left out. What JSON cannot hold is a TypeError that names its place: NaN, a bigint beyond 2^53,
 * a Map, a function.
 */
export function json(value: object): JsonObject {
  const made = toPlain(value, "metadata");
  if (typeof made !== "object" || made === null || Array.isArray(made)) {
    throw new TypeError(`metadata must be an object, not ${nameOf(value)}`);
  }
  return made;
}

/** The plain value in a Value, such as that of a facet; undefined when there is none. */
export function plain(value: Value | undefined): JsonValue | undefined {
  return value && toJson(ValueSchema, value);
}

/** Makes plain JSON of any value. Throws a TypeError that begins with `path` and leads from there. */
export function toPlain(given: unknown, path: string, depth = 0): JsonValue {
  const value = replaced(given);
  if (typeof value === "bigint" && isSafe(value)) {
    return Number(value);
  }
  const why = faultOf(value) ?? (depth > MAX_DEPTH ? "is nested too deep, or contains itself" : undefined);
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

/** The first value in what should be plain JSON that is not. */
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
    return { path: "", why: "is nested too deep, or contains itself" };
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

/** The same fault, seen from farther out. */
export function within(step: string, fault: Fault): Fault {
  return { path: step + fault.path, why: fault.why };
}

/** Encoding would write U+FFFD there, and so make one document of two whose ids differ. */
export const ILL_FORMED = "is not well-formed Unicode: it has half of a surrogate pair";

/** What a value is, for people: "NaN", "a Map", "undefined". */
export function nameOf(value: unknown): string {
  if (typeof value === "object" && value !== null) {
    const name = Object.getPrototypeOf(value)?.constructor?.name ?? "object";
    return /^[aeiou]/i.test(name) ? `an ${name}` : `a ${name}`;
  }
  return typeof value === "function" || typeof value === "symbol" ? `a ${typeof value}` : String(value);
}

/** Whether a value is an object of named fields, be it of a class or of another realm, and none of the built-in kinds. */
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

/** Why JSON cannot hold a value itself, whatever is in it. */
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
