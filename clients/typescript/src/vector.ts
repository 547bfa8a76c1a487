import { create } from "@bufbuild/protobuf";

import { type Vector, VectorSchema } from "./gen/pgfox/v1/documents_pb.js";

/** A vector of numbers, such as an array or a Float32Array. */
export function vector(values: Iterable<number>): Vector {
  return create(VectorSchema, { values: Array.from(values) });
}
