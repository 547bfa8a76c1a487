// What Node and browsers have alike.

export { Code } from "@connectrpc/connect";
export type { Connection, ConnectOptions, PgfoxClient } from "./connect.js";
export { type FieldViolation, PgfoxError } from "./error.js";
export * from "./gen/pgfox/v1/collections_pb.js";
export * from "./gen/pgfox/v1/documents_pb.js";
export * from "./gen/pgfox/v1/errors_pb.js";
export * from "./gen/pgfox/v1/filter_pb.js";
export * from "./gen/pgfox/v1/indexes_pb.js";
export * from "./gen/pgfox/v1/pgfox_service_pb.js";
export * from "./gen/pgfox/v1/search_pb.js";
export type { DocumentInit } from "./ingest/requests.js";
export { IngestError, type IngestOptions, type IngestTotals, ingest, type SkippedDocument } from "./ingest.js";
export { vector } from "./vector.js";
