import { create } from "@bufbuild/protobuf";

import { type Vector, VectorSchema } from "./gen/pgfox/v1/documents_pb.js";
import { nameOf } from "./json.js";

/**
 * Makes a vector from numbers, such as an array or a Float32Array. Throws a TypeError for an element that is not a
 * finite number.
 */
export function vector(numbers: Iterable<number>): Vector {
  const values = Array.from(numbers);
  const wrong = values.findIndex((value) => !Number.isFinite(value));
  if (wrong !== -1) {
    throw new TypeError(`vector[${wrong}] must be a finite number, not ${nameOf(values[wrong])}`);
  }
  return create(VectorSchema, { values });
}
