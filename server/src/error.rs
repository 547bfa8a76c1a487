//! Every error of the service, with its gRPC code and its reason. No other module builds a `Status`.

use std::{collections::HashMap, time::Duration};

use http::HeaderMap;
use pgfox::{ERROR_DOMAIN, v1::ErrorReason};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    blocking::Stopped,
    budget::Exhausted,
    embed::EmbedError,
    rules::{Violation, Violations},
    store::{StoreError, log},
};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The request breaks rules. Lists all violations.
    #[error("{0}")]
    Invalid(Violations),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Embed(#[from] EmbedError),
    #[error(
        "an IVFFlat index with {lists} lists needs at least {wanted} rows for good recall, but the collection has \
         {rows}; load the data first, use HNSW, or set allow_few_rows"
    )]
    TooFewRows { rows: i64, lists: i32, wanted: i64 },
    #[error("{0}")]
    IndexUnsupported(String),
    #[error("the deadline of the call has passed; allow more time, or request less at once")]
    DeadlineExceeded,
    #[error("{0}")]
    TooLarge(String),
    #[error(
        "the headers of the call, which include its metadata, have {bytes} bytes; at most {limit} are allowed: send \
         less metadata"
    )]
    HeadersTooLarge { bytes: usize, limit: usize },
    /// Other requests use up the memory for requests.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    #[error("{0}")]
    Unauthenticated(&'static str),
    #[error("the server is shutting down; try again, at another server if there is one")]
    ShuttingDown,
    /// A defect of pgfox.
    #[error("{0}")]
    Internal(String),
    /// The error of one part of the request.
    #[error("{place}: {source}")]
    Within { place: String, source: Box<Error> },
    /// The transport of the call failed. Nobody is left to read the answer.
    #[error("the stream broke")]
    Transport(#[source] Box<Status>),
}

/// When to repeat a call that met a busy or unreachable database.
const RETRY_DATABASE: Duration = Duration::from_secs(1);
/// When to repeat a call that met too many other calls.
const RETRY_BUSY: Duration = Duration::from_secs(1);
/// When another server, or this one after its restart, probably answers.
const RETRY_SHUTDOWN: Duration = Duration::from_secs(1);

// An error travels in HTTP/2 headers, and many clients accept only 8 KiB of them. The message appears twice:
// percent-encoded, with up to three bytes per byte, and in the details, whose base64 makes four bytes of three.
/// Maximum length of a message in bytes.
const MAX_MESSAGE_BYTES: usize = 500;
/// Maximum length of a metadata value in bytes.
const MAX_VALUE_BYTES: usize = 512;
/// Maximum length of all violations in bytes. Each takes a few bytes more than its text.
const MAX_VIOLATION_BYTES: usize = 3_000;
const VIOLATION_OVERHEAD: usize = 6;

const REASON_PREFIX: &str = "ERROR_REASON_";

/// How tonic's message begins if it cannot decode a request. Its code is INTERNAL.
const UNDECODABLE: &str = "failed to decode Protobuf message";

/// Whether tonic could not decode a message. The caller sent it, so INTERNAL would be wrong.
pub(crate) fn is_undecodable(code: Code, message: &str) -> bool {
    code == Code::Internal && message.starts_with(UNDECODABLE)
}

/// The parts of an error that a caller receives beside its message.
struct Answer {
    code: Code,
    reason: ErrorReason,
    metadata: Vec<(&'static str, String)>,
    retry_after: Option<Duration>,
}

fn answer(code: Code, reason: ErrorReason) -> Answer {
    Answer { code, reason, metadata: Vec::new(), retry_after: None }
}

impl Answer {
    fn with(mut self, key: &'static str, value: &(impl ToString + ?Sized)) -> Self {
        self.metadata.push((key, value.to_string()));
        self
    }

    fn retry(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

impl Error {
    /// A single violation.
    pub(crate) fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Violation::new(field, description).into()
    }

    /// The same error for the part of the request at `place`, such as `searches[3]`.
    pub(crate) fn within(self, place: &str) -> Self {
        match self {
            Self::Invalid(violations) => Self::Invalid(violations.within(place)),
            source => Self::Within { place: place.into(), source: Box::new(source) },
        }
    }

    /// The error for a message above the size limit.
    pub(crate) fn message_too_large(limit: usize) -> Self {
        Self::TooLarge(format!("the message has more than {limit} bytes, the maximum; send fewer documents at a time"))
    }

    /// The error for a message that is not protobuf or is nested too deeply. `why` is tonic's message.
    pub(crate) fn undecodable(why: &str) -> Self {
        let why = why.strip_prefix(UNDECODABLE).unwrap_or(why);
        Self::invalid("", format!("the request cannot be read: {}", why.trim_start_matches(": ")))
    }

    fn answer(&self) -> Answer {
        match self {
            Self::Invalid(violations) => {
                let metadata = violations.specific().map(|violation| violation.metadata.clone()).unwrap_or_default();
                Answer { metadata, ..answer(Code::InvalidArgument, violations.reason()) }
            }
            Self::Store(error) => answer_store(error),
            Self::Embed(error) => answer_embed(error),
            Self::TooFewRows { rows, lists, .. } => {
                answer(Code::FailedPrecondition, ErrorReason::TooFewRows).with("rows", rows).with("lists", lists)
            }
            Self::IndexUnsupported(_) => answer(Code::FailedPrecondition, ErrorReason::IndexUnsupported),
            Self::DeadlineExceeded => answer(Code::DeadlineExceeded, ErrorReason::DeadlineExceeded),
            Self::TooLarge(_) => answer(Code::ResourceExhausted, ErrorReason::MessageTooLarge),
            Self::HeadersTooLarge { bytes, limit } => {
                answer(Code::ResourceExhausted, ErrorReason::HeadersTooLarge).with("bytes", bytes).with("limit", limit)
            }
            Self::Exhausted(_) => answer(Code::ResourceExhausted, ErrorReason::TooManyBytes).retry(RETRY_BUSY),
            Self::Unauthenticated(_) => answer(Code::Unauthenticated, ErrorReason::Unauthenticated),
            Self::ShuttingDown => answer(Code::Unavailable, ErrorReason::ShuttingDown).retry(RETRY_SHUTDOWN),
            Self::Internal(_) => answer(Code::Internal, ErrorReason::Internal),
            Self::Within { source, .. } => source.answer(),
            Self::Transport(status) => answer(status.code(), ErrorReason::Internal),
        }
    }

    /// The error for a broken stream: the client left, or sent a message that is too large or unreadable.
    pub(crate) fn from_transport(status: Status) -> Self {
        if status.code() == Code::OutOfRange {
            Self::TooLarge(format!("the message is too large: {}; send fewer documents at a time", status.message()))
        } else if is_undecodable(status.code(), status.message()) {
            Self::undecodable(status.message())
        } else {
            Self::Transport(Box::new(status))
        }
    }
}

fn answer_store(error: &StoreError) -> Answer {
    use ErrorReason as Reason;
    match error {
        StoreError::CollectionNotFound(name) | StoreError::CollectionReplaced(name) => {
            answer(Code::NotFound, Reason::CollectionNotFound).with("collection", name)
        }
        StoreError::CollectionExists(name) => {
            answer(Code::AlreadyExists, Reason::CollectionExists).with("collection", name)
        }
        StoreError::CollectionInUse(name) => {
            answer(Code::FailedPrecondition, Reason::CollectionInUse).with("collection", name)
        }
        StoreError::DocumentsNotFound { collection, ids } => {
            answer(Code::NotFound, Reason::DocumentNotFound).with("collection", collection).with("ids", &first_of(ids))
        }
        StoreError::VersionMismatch { collection, ids } => {
            answer(Code::Aborted, Reason::VersionMismatch).with("collection", collection).with("ids", &first_of(ids))
        }
        StoreError::DocumentWithoutVector { collection, id } => {
            answer(Code::FailedPrecondition, Reason::DocumentWithoutVector)
                .with("collection", collection)
                .with("id", id)
        }
        StoreError::TooManyDocuments { collection, limit } => answer(Code::ResourceExhausted, Reason::TooManyDocuments)
            .with("collection", collection)
            .with("limit", limit),
        StoreError::MetadataTooLarge { id, .. } => answer(Code::InvalidArgument, Reason::InvalidField).with("id", id),
        StoreError::SourceInvalid(_) | StoreError::MetadataInvalid(_) => {
            answer(Code::InvalidArgument, Reason::InvalidField)
        }
        StoreError::SourceRefused { collection, .. } => {
            answer(Code::FailedPrecondition, Reason::DatabaseRefused).with("collection", collection)
        }
        StoreError::Attached { collection, table, .. }
        | StoreError::RowsRefused { collection, table, .. }
        | StoreError::IndexMadeBySql { collection, table, .. } => {
            answer(Code::FailedPrecondition, Reason::CollectionAttached)
                .with("collection", collection)
                .with("table", table)
        }
        StoreError::NotFollowing(name) => {
            answer(Code::FailedPrecondition, Reason::SourceNotFollowed).with("collection", name)
        }
        StoreError::SourceChanged { collection, table, .. } => {
            answer(Code::FailedPrecondition, Reason::SourceChanged).with("collection", collection).with("table", table)
        }
        StoreError::IndexNotFound(name) => answer(Code::NotFound, Reason::IndexNotFound).with("collection", name),
        StoreError::BuildRunning { collection, index } => {
            answer(Code::FailedPrecondition, Reason::BuildRunning).with("collection", collection).with("index", index)
        }
        StoreError::BuildFailed(_) => answer(Code::Aborted, Reason::BuildFailed),
        StoreError::ResponseTooLarge { .. } => answer(Code::ResourceExhausted, Reason::MessageTooLarge),
        StoreError::CollectionDamaged { collection, .. } => {
            answer(Code::FailedPrecondition, Reason::CollectionDamaged).with("collection", collection)
        }
        StoreError::SchemaMissing(_) => answer(Code::FailedPrecondition, Reason::SchemaMissing),
        StoreError::ExtensionMissing(_) => answer(Code::FailedPrecondition, Reason::ExtensionMissing),
        StoreError::NotReady(error) => answer_store(error),
        StoreError::Unavailable { .. } | StoreError::WrongDatabase(_) => {
            answer(Code::Unavailable, Reason::DatabaseUnavailable).retry(RETRY_DATABASE)
        }
        StoreError::ReadOnly => answer(Code::Unavailable, Reason::DatabaseReadOnly).retry(RETRY_DATABASE),
        StoreError::CollectionBusy(name) => {
            answer(Code::ResourceExhausted, Reason::DatabaseBusy).with("collection", name).retry(RETRY_DATABASE)
        }
        // A conflict, or a change that failed after all retries. The caller may try again.
        StoreError::Busy(_) | StoreError::Conflict(_) | StoreError::Stale(_) | StoreError::Overtaken => {
            answer(Code::ResourceExhausted, Reason::DatabaseBusy).retry(RETRY_DATABASE)
        }
        StoreError::Overloaded { retry_after, .. } => {
            answer(Code::ResourceExhausted, Reason::DatabaseBusy).retry(*retry_after)
        }
        StoreError::Refused(_) => answer(Code::FailedPrecondition, Reason::DatabaseRefused),
        StoreError::TimedOut => answer(Code::DeadlineExceeded, Reason::DeadlineExceeded),
        StoreError::Cancelled => answer(Code::Aborted, Reason::QueryCancelled),
        StoreError::Internal(_) | StoreError::Database(_) => answer(Code::Internal, Reason::Internal),
    }
}

/// The first few ids, separated by commas.
fn first_of(ids: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut bytes = 0;
    let fits = |id: &&str| {
        bytes += id.len() + 1;
        bytes <= MAX_VALUE_BYTES + 1
    };
    let ids: Vec<&str> = ids.iter().take(SHOWN).map(String::as_str).take_while(fits).collect();
    ids.join(",")
}

fn answer_embed(error: &EmbedError) -> Answer {
    use ErrorReason as Reason;
    match error {
        EmbedError::UnknownModel { model, .. } => {
            answer(Code::FailedPrecondition, Reason::ModelUnavailable).with("model", model)
        }
        EmbedError::Dimensions { expected, actual, .. } => {
            answer(Code::InvalidArgument, Reason::DimensionMismatch).with("expected", expected).with("actual", actual)
        }
        EmbedError::Unavailable { retry_after, .. } => {
            answer(Code::Unavailable, Reason::ProviderUnavailable).retry(*retry_after)
        }
        EmbedError::RateLimited { retry_after, .. } => {
            answer(Code::ResourceExhausted, Reason::ProviderRateLimited).retry(*retry_after)
        }
        EmbedError::Busy => answer(Code::ResourceExhausted, Reason::ServerBusy).retry(RETRY_BUSY),
        EmbedError::Stopped(_) => answer(Code::Unavailable, Reason::ShuttingDown).retry(RETRY_SHUTDOWN),
        EmbedError::QuotaExhausted { .. } => answer(Code::ResourceExhausted, Reason::ProviderQuotaExhausted),
        EmbedError::Refused { .. } => answer(Code::FailedPrecondition, Reason::ProviderRefused),
        EmbedError::TextRefused { .. } => answer(Code::InvalidArgument, Reason::TextRefused),
    }
}

impl From<Violations> for Error {
    fn from(violations: Violations) -> Self {
        Self::Invalid(violations)
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Self::Invalid(violation.into())
    }
}

impl From<Stopped> for Error {
    fn from(_: Stopped) -> Self {
        Self::ShuttingDown
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        if let Error::Transport(status) = error {
            return *status;
        }
        let Answer { code, reason, mut metadata, retry_after } = error.answer();
        let mut message = error.to_string();
        let error = if let Error::Within { source, .. } = error { *source } else { error };
        if code == Code::Internal {
            // The log gets the details of a defect. The caller gets an id to find them there.
            let id = format!("{:016x}", rand::random::<u64>());
            let detail = if let Error::Store(error) = &error { error.detail() } else { message };
            tracing::error!(id, "internal error: {detail}");
            message = format!("internal error {id}; the log of the server has the details under this id");
            metadata.push(("id", id));
        } else if let Error::Store(store @ (StoreError::Refused(_) | StoreError::CollectionDamaged { .. })) = &error {
            log::error(store.detail());
        }
        let mut details = ErrorDetails::new();
        let metadata: HashMap<String, String> =
            metadata.into_iter().map(|(key, value)| (key.to_owned(), shorten(value, MAX_VALUE_BYTES))).collect();
        details.set_error_info(reason_name(reason), ERROR_DOMAIN, metadata);
        if let Some(retry_after) = retry_after {
            details.set_retry_info(Some(retry_after));
        }
        let violations = match error {
            Error::Invalid(violations) => violations,
            Error::Store(StoreError::MetadataTooLarge { .. }) => Violation::new("metadata", message.clone()).into(),
            // The model has changed since the collection was created.
            Error::Embed(EmbedError::Dimensions { .. }) => Violation::new("collection", message.clone()).into(),
            Error::Embed(EmbedError::TextRefused { .. }) => Violation::new("text", message.clone()).into(),
            _ => Violations::default(),
        };
        let mut bytes = 0;
        for Violation { field, description, .. } in violations {
            bytes += field.len() + description.len() + VIOLATION_OVERHEAD;
            if bytes > MAX_VIOLATION_BYTES {
                break;
            }
            details.add_bad_request_violation(field, description);
        }
        Status::with_error_details(code, shorten(message, MAX_MESSAGE_BYTES), details)
    }
}

/// The reason of an error of this service, from the headers or trailers of its answer.
pub(crate) fn reason_of(headers: &HeaderMap) -> Option<ErrorReason> {
    if !headers.contains_key("grpc-status-details-bin") {
        return None;
    }
    let info = Status::from_header_map(headers)?.get_details_error_info()?;
    ErrorReason::from_str_name(&format!("{REASON_PREFIX}{}", info.reason))
}

/// The name of the enum value without its prefix, as documented.
pub(crate) fn reason_name(reason: ErrorReason) -> &'static str {
    reason.as_str_name().trim_start_matches(REASON_PREFIX)
}

/// Shortens a long text from a caller at the end of a character.
fn shorten(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_is_named() {
        let error = Error::Invalid(Violations::from_iter([
            Violation::new("limit", "must not be negative"),
            Violation::dimensions("vector", 384, 3),
        ]));
        let status = Status::from(error);
        let details = status.get_error_details();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(details.bad_request().map(|bad| bad.field_violations.len()), Some(2));
        let info = details.error_info().expect("an ErrorInfo");
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("DIMENSION_MISMATCH", "pgfox"));
        assert_eq!(info.metadata["expected"], "384");
    }

    #[test]
    fn errors_fit_into_headers() {
        let id = "ü".repeat(256);
        let missing = StoreError::DocumentsNotFound { collection: "c".repeat(63), ids: vec![id.clone(); 9] };
        let unknown = StoreError::CollectionNotFound("\u{1f98a}".repeat(250));
        let many = (0..1_000).map(|i| Violation::new(format!("documents[{i}].id"), "is required")).collect();
        let long = Violation::new("metadata", "\u{1f98a}".repeat(2_000));
        for error in [missing.into(), unknown.into(), Error::Invalid(many), long.into()] {
            let response = Status::from(error).into_http::<()>();
            let bytes: usize =
                response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
            assert!(bytes < 8_000, "{bytes}");
        }
    }

    #[test]
    fn a_defect_keeps_its_words_to_itself() {
        let status = Status::from(Error::Store(StoreError::Internal("secret words".into())));
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("secret"));
    }

    #[test]
    fn what_is_busy_is_worth_repeating() {
        for error in [Error::Store(StoreError::Busy("full".into())), Error::Embed(EmbedError::Busy)] {
            let status = Status::from(error);
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert!(status.get_error_details().retry_info().is_some());
        }
    }
}
