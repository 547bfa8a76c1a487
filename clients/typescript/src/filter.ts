// Filters in words: and(F("year").gte(2000), F("variants[].color").eq("red")).
import { create, fromJson, isMessage, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type ListValue,
  ListValueSchema,
  type Timestamp,
  TimestampSchema,
  timestampFromDate,
  type Value,
  ValueSchema,
} from "@bufbuild/protobuf/wkt";

import { type Condition, type Filter, FilterSchema } from "./gen/pgfox/v1/filter_pb.js";
import { isRecord, nameOf, toPlain } from "./json.js";
import { readable } from "./readable.js";

/** A value with an order. Strings compare by their code points, a Date as a time. */
export type Ordered = string | number | bigint | Date;
/** A value that can be in a list of values. */
export type Scalar = string | number | bigint | boolean | Date;
/** Several values. The types distinguish strings from arrays of strings. */
export type Values<T> = readonly T[] | ReadonlySet<T>;

/** How strings are compared. */
export interface CaseOptions {
  /** Ignore case, in every script. Default false. */
  readonly ignoreCase?: boolean | undefined;
}

/** The server compares times to the microsecond. */
const NANOS_PER_MICROSECOND = 1_000;

/** A metadata field. Its methods make filters. Values are converted as `json` does for metadata, even a Date. */
export class Field {
  /** The path of the field, as in `Condition.field`. */
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** The value equals this one; null: there is no value. */
  eq(value: Scalar | object | null, options?: CaseOptions): Filter {
    return this.#filter({ case: "equals", value: this.#value("eq", value) }, options);
  }

  /** The value does not equal this one, or is missing; null: there is a value. */
  ne(value: Scalar | object | null, options?: CaseOptions): Filter {
    return this.#filter({ case: "notEquals", value: this.#value("ne", value) }, options);
  }

  /** The value is less; before a Date. */
  lt(value: Ordered): Filter {
    return value instanceof Date
      ? this.before(value)
      : this.#filter({ case: "lessThan", value: this.#value("lt", value) });
  }

  /** The value is less or equal; at or before a Date. */
  lte(value: Ordered): Filter {
    return value instanceof Date
      ? this.before(this.#justAfter("lte", value))
      : this.#filter({ case: "atMost", value: this.#value("lte", value) });
  }

  /** The value is greater; after a Date. */
  gt(value: Ordered): Filter {
    return value instanceof Date
      ? this.since(this.#justAfter("gt", value))
      : this.#filter({ case: "greaterThan", value: this.#value("gt", value) });
  }

  /** The value is greater or equal; at or after a Date. */
  gte(value: Ordered): Filter {
    return value instanceof Date
      ? this.since(value)
      : this.#filter({ case: "atLeast", value: this.#value("gte", value) });
  }

  /** The value is one of these, 1 to 1,000. */
  oneOf(values: Values<Scalar>, options?: CaseOptions): Filter {
    return this.#filter({ case: "oneOf", value: this.#list("oneOf", values) }, options);
  }

  /** The value is none of these, 1 to 1,000, or is missing. */
  noneOf(values: Values<Scalar>, options?: CaseOptions): Filter {
    return this.#filter({ case: "noneOf", value: this.#list("noneOf", values) }, options);
  }

  /** The value is a list with at least one of these, 1 to 1,000. */
  containsAny(values: Values<Scalar>, options?: CaseOptions): Filter {
    return this.#filter({ case: "containsAny", value: this.#list("containsAny", values) }, options);
  }

  /** The value is a list with all of these, 1 to 1,000. */
  containsAll(values: Values<Scalar>, options?: CaseOptions): Filter {
    return this.#filter({ case: "containsAll", value: this.#list("containsAll", values) }, options);
  }

  /** The value is a string that starts with this one. */
  startsWith(text: string, options?: CaseOptions): Filter {
    return this.#filter({ case: "startsWith", value: this.#text("startsWith", text) }, options);
  }

  /** The value is a string that contains this one. */
  containsText(text: string, options?: CaseOptions): Filter {
    return this.#filter({ case: "containsText", value: this.#text("containsText", text) }, options);
  }

  /** There is a value; with false: the value is missing. */
  exists(exists = true): Filter {
    return this.#filter({ case: "exists", value: exists });
  }

  /** The value is a string with a time before this one. */
  before(time: Date | Timestamp): Filter {
    return this.#filter({ case: "before", value: this.#time("before", time) });
  }

  /** The value is a string with this time or a later one. */
  since(time: Date | Timestamp): Filter {
    return this.#filter({ case: "since", value: this.#time("since", time) });
  }

  #filter(test: Condition["test"], options?: CaseOptions): Filter {
    const condition = { field: this.path, test, ignoreCase: options?.ignoreCase ?? false };
    return filter({ case: "condition", value: condition });
  }

  #value(method: string, value: unknown): Value {
    return fromJson(ValueSchema, toPlain(value, this.#name(method)));
  }

  #list(method: string, values: Values<unknown>): ListValue {
    const list = elements(this.#name(method), values);
    return create(ListValueSchema, { values: list.map((value, i) => this.#value(`${method}[${i}]`, value)) });
  }

  #text(method: string, text: string): string {
    if (typeof text !== "string") {
      throw new TypeError(`${this.#name(method)} must be given a string, not ${nameOf(text)}`);
    }
    return text;
  }

  #time(method: string, time: Date | Timestamp): Timestamp {
    if (isMessage(time, TimestampSchema)) {
      return time;
    }
    if (!(time instanceof Date)) {
      throw new TypeError(`${this.#name(method)} must be given a Date or a Timestamp, not ${nameOf(time)}`);
    }
    if (Number.isNaN(time.getTime())) {
      throw new TypeError(`${this.#name(method)} is an invalid Date`);
    }
    return timestampFromDate(time);
  }

  #justAfter(method: string, time: Date): Timestamp {
    const { seconds, nanos } = this.#time(method, time);
    return create(TimestampSchema, { seconds, nanos: nanos + NANOS_PER_MICROSECOND });
  }

  #name(method: string): string {
    return `F(${JSON.stringify(this.path)}).${method}`;
  }
}

/**
 * A metadata field, by its path as in `Condition.field`, such as `author.name` or `variants[].color`; or by its keys,
 * which may contain any characters: `F(["first.name"])`.
 */
export function F(path: string | readonly string[]): Field {
  return new Field(typeof path === "string" ? path : path.map(quoted).join("."));
}

/** All of these are true. */
export function and(...filters: Filter[]): Filter {
  return filter({ case: "allOf", value: { filters: operands("and", filters) } });
}

/** At least one of these is true. */
export function or(...filters: Filter[]): Filter {
  return filter({ case: "anyOf", value: { filters: operands("or", filters) } });
}

/** None of these is true. */
export function not(...filters: Filter[]): Filter {
  return filter({ case: "noneOf", value: { filters: operands("not", filters) } });
}

/** The document has one of these ids, 1 to 1,000. */
export function ids(values: Values<string>): Filter {
  return filter({ case: "ids", value: { ids: elements("ids", values) } });
}

/** Every document, for calls that require a filter. */
export function everything(): Filter {
  return filter({ case: "everything", value: true });
}

function filter(node: MessageInitShape<typeof FilterSchema>["node"]): Filter {
  return readable(FilterSchema, create(FilterSchema, node ? { node } : {}));
}

/** Refuses an empty list, which would match everything or nothing by accident, and undefined filters. */
function operands(name: string, filters: Filter[]): Filter[] {
  if (filters.length === 0) {
    throw new TypeError(`${name}() must be given at least one filter`);
  }
  for (const [i, filter] of filters.entries()) {
    if (!isRecord(filter) || !("node" in filter)) {
      throw new TypeError(`${name}() must be given filters; argument ${i} is ${nameOf(filter)}`);
    }
  }
  return filters;
}

function elements<T>(name: string, values: Values<T>): T[] {
  // A string would be read as a list of its characters.
  if (!Array.isArray(values) && !(values instanceof Set)) {
    throw new TypeError(`${name} must be given an array or a Set, not ${nameOf(values)}`);
  }
  return [...values];
}

function quoted(key: string): string {
  return /^[\w-]+$/.test(key) ? key : `"${key.replace(/["\\]/g, "\\$&")}"`;
}
