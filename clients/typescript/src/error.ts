import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";

import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { ErrorReason } from "./gen/pgfox/v1/errors_pb.js";

/** The domain of pgfox's own reasons. */
const ERROR_DOMAIN = "pgfox";

/** Errors of OpenSSL and Node that mean that a certificate is not trusted. Retrying does not help. */
const UNTRUSTED = /CERT|ISSUER|VERIFY|SELF_SIGNED|ERR_SSL|EPROTO/;

/** Errors of OpenSSL that mean that the other side does not use TLS. */
const NO_TLS = /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG/;

/** A field of a request that breaks a rule. */
export interface FieldViolation {
  /** The path of the field, such as `documents[3].vector`. */
  readonly field: string;
  /** The rule that it breaks. */
  readonly rule: string;
}

/** The error of every method of the client. `code` is the gRPC code, `rawMessage` the text without it. */
export class PgfoxError extends ConnectError {
  /**
   * Why the call failed, for programs. UNSPECIFIED if the answer is not from pgfox, or if this client is older than the
   * reason.
   */
  readonly reason: ErrorReason;
  /** The values that {@link ErrorReason} documents as metadata of the reason, such as "collection". */
  readonly reasonMetadata: Readonly<Record<string, string>>;
  /** Every field that breaks a rule. Empty if the error is not about fields. */
  readonly violations: readonly FieldViolation[];
  /** How many milliseconds to wait before retrying the call, if the server says so. */
  readonly retryDelayMs: number | undefined;
  /** Whether the server, or a proxy in front of it, has answered. */
  readonly isAnswer: boolean;
  /** The id of the call in the server's log. Undefined if no server answered. */
  readonly requestId: string | undefined;

  private constructor(message: string, error: ConnectError, code: Code = error.code) {
    super(message, code, error.metadata, undefined, error.cause);
    this.details = error.details;
    const info = error.findDetails(ErrorInfoSchema).find((info) => info.domain === ERROR_DOMAIN);
    const reason = ErrorReason[info?.reason as keyof typeof ErrorReason];
    this.reason = typeof reason === "number" ? reason : ErrorReason.UNSPECIFIED;
    this.reasonMetadata = { ...info?.metadata };
    this.violations = violations(error);
    const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
    this.retryDelayMs = delay && durationMs(delay);
    this.isAnswer = hasHeaders(error);
    this.requestId = error.metadata.get("x-request-id") ?? undefined;
  }

  /** Reads an error that a call to `endpoint` threw. */
  static read(thrown: unknown, endpoint: string, signal?: AbortSignal): PgfoxError {
    if (thrown instanceof PgfoxError) {
      return thrown;
    }
    const error = connectError(thrown, signal);
    if (hasHeaders(error)) {
      return new PgfoxError([error.rawMessage, ...unsaid(error)].join("\n"), error);
    }
    if (error.rawMessage.startsWith("serialize binary: ")) {
      return new PgfoxError(error.rawMessage.slice("serialize binary: ".length), error, Code.InvalidArgument);
    }
    if (error.code === Code.DeadlineExceeded) {
      return new PgfoxError(`${error.rawMessage} at ${endpoint}`, error);
    }
    if (isLost(error, signal)) {
      return new PgfoxError(`no answer from ${endpoint}: ${lostText(error)}`, error, Code.Unavailable);
    }
    return new PgfoxError(error.rawMessage, error);
  }

  /** The same error with more text. */
  with(text: string): PgfoxError {
    return new PgfoxError(`${this.rawMessage} (${text})`, this);
  }

  /** Whether the same call may succeed later: nobody answered, or the server says when to come back. */
  get isRetryable(): boolean {
    return (
      (this.code === Code.Unavailable && !isUntrusted(this)) ||
      (this.code === Code.ResourceExhausted && this.retryDelayMs !== undefined)
    );
  }

  /** The values for a log, with codes and reasons by name. */
  toJSON(): object {
    const { name, message, reasonMetadata, violations, retryDelayMs, requestId } = this;
    const [code, reason] = [Code[this.code], ErrorReason[this.reason]];
    return { name, message, code, reason, reasonMetadata, violations, retryDelayMs, requestId };
  }

  // ConnectError recognizes its kind by its fields, which would make every ConnectError a PgfoxError.
  static override [Symbol.hasInstance](value: unknown): boolean {
    return value instanceof ConnectError && "violations" in value && "reasonMetadata" in value;
  }
}

function connectError(thrown: unknown, signal?: AbortSignal): ConnectError {
  const name = thrown instanceof Error ? thrown.name : "";
  // Connect would lose the cause of these two, and treats the timeout of a signal as a cancellation.
  if (name === "AbortError" || name === "TimeoutError") {
    const code = name === "TimeoutError" ? Code.DeadlineExceeded : Code.Canceled;
    return new ConnectError((thrown as Error).message, code, undefined, undefined, thrown);
  }
  return ConnectError.from(thrown, signal?.aborted ? Code.Canceled : Code.Unknown);
}

/** A real answer has headers; an error of Connect or Node has none. */
function hasHeaders(error: ConnectError): boolean {
  return !error.metadata.keys().next().done;
}

function violations(error: ConnectError): FieldViolation[] {
  return error
    .findDetails(BadRequestSchema)
    .flatMap((details) => details.fieldViolations)
    .map(({ field, description }) => ({ field, rule: description }));
}

/** A line for each violation, unless the message already contains the only one. */
function unsaid(error: ConnectError): string[] {
  const fields = violations(error);
  const [only] = fields;
  if (fields.length === 1 && only && error.rawMessage.includes(`${only.field} ${only.rule}`)) {
    return [];
  }
  return fields.map(({ field, rule }) => `  ${field}: ${rule}`);
}

/** Whether an error that did not come from the server arose on the way to it. */
function isLost(error: ConnectError, signal?: AbortSignal): boolean {
  switch (error.code) {
    case Code.Unavailable:
    case Code.Aborted:
      return true;
    case Code.Canceled:
      // Node resets the streams of a connection that ends.
      return !signal?.aborted;
    case Code.Internal:
    case Code.Unknown:
      // The system's errors have a code. fetch throws TypeErrors without saying what is wrong.
      return systemCode(error.cause) !== "" || error.cause instanceof TypeError;
    default:
      return false;
  }
}

function lostText(error: ConnectError): string {
  if (NO_TLS.test(systemCode(error.cause))) {
    return `${causeText(error)}: what listens there does not speak TLS; write http:// and pass no \`ca\`, or take another port`;
  }
  if (isUntrusted(error)) {
    return `${causeText(error)}; check the scheme, and pass the certificate that the server's descends from as \`ca\``;
  }
  const page = globalThis.location?.origin;
  const origins = page === undefined ? "" : `, and that its --web-origins names ${page}`;
  return `${causeText(error)}; check that pgfox-server runs there with this scheme${origins}`;
}

function causeText({ cause, rawMessage }: ConnectError): string {
  if (cause instanceof AggregateError) {
    // Node has tried every address of the name, and says nothing itself.
    return cause.errors.map((error) => error.message).join(", ");
  }
  // OpenSSL's own message contains addresses and line numbers.
  const isOpenSsl = cause instanceof Error && "reason" in cause && typeof cause.reason === "string";
  return isOpenSsl ? `${cause.reason}` : rawMessage;
}

function isUntrusted(error: ConnectError): boolean {
  return UNTRUSTED.test(systemCode(error.cause));
}

function systemCode(cause: unknown): string {
  return cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : "";
}
