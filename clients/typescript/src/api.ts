// The exports that Node and browsers share.

export { durationMs, timestampDate, timestampFromDate } from "@bufbuild/protobuf/wkt";
export { Code } from "@connectrpc/connect";
export type { Connection, ConnectOptions, PgfoxClient } from "./connect.js";
export { type DocumentFields, type DocumentInit, document, metadata } from "./document.js";
export { type FieldViolation, PgfoxError } from "./error.js";
export {
  and,
  type CaseOptions,
  everything,
  F,
  type Field,
  ids,
  not,
  type Ordered,
  or,
  type Scalar,
  type Values,
} from "./filter.js";
export * from "./gen/pgfox/v1/collections_pb.js";
export * from "./gen/pgfox/v1/documents_pb.js";
export * from "./gen/pgfox/v1/errors_pb.js";
export * from "./gen/pgfox/v1/filter_pb.js";
export * from "./gen/pgfox/v1/indexes_pb.js";
export * from "./gen/pgfox/v1/pgfox_service_pb.js";
export * from "./gen/pgfox/v1/search_pb.js";
export { IngestError, type IngestOptions, type IngestTotals, ingest, type SkippedDocument } from "./ingest.js";
export { json, plain } from "./json.js";
export { listAll, listAllCollections } from "./list.js";
export { vector } from "./vector.js";
