//! Reads the details of pgfox's errors from a [`tonic::Status`].

use std::{collections::HashMap, time::Duration};

use pgfox::{ERROR_DOMAIN, v1::ErrorReason};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

pub use tonic_types::FieldViolation;

/// Why the call failed, for programs. None if the answer is not from pgfox, as for a lost connection, or if this client
/// is older than the reason.
pub fn reason(status: &Status) -> Option<ErrorReason> {
    let info = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN)?;
    ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason))
}

/// The values that belong to the reason, such as "collection"; [`ErrorReason`] documents the keys. Empty if the answer
/// is not from pgfox.
pub fn metadata(status: &Status) -> HashMap<String, String> {
    let info = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN);
    info.map(|info| info.metadata).unwrap_or_default()
}

/// The id of the call, which is also in the server's log. None if no server has answered.
pub fn request_id(status: &Status) -> Option<&str> {
    status.metadata().get("x-request-id")?.to_str().ok()
}

/// Every field that breaks a rule. Empty if the error is not about fields.
pub fn violations(status: &Status) -> Vec<FieldViolation> {
    status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default()
}

/// How long to wait before retrying, if the server says so.
pub fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// Whether the same call may succeed later: the connection broke, the server is unreachable, or it names a time to come
/// back. Use it only for calls that are safe to repeat. CreateCollection, DeleteCollection, DropIndex and an Ingest
/// with `if_version` are not: they would report an error although the first attempt succeeded.
pub fn is_retryable(status: &Status) -> bool {
    match status.code() {
        // The client never cancels by itself, so a cancelled call was reset on its way.
        Code::Unavailable | Code::Cancelled => true,
        Code::ResourceExhausted => retry_delay(status).is_some(),
        // Broken connections are Unknown or Internal too. Their source distinguishes them: an answer of a server has
        // none.
        Code::Unknown | Code::Internal => is_transport(status),
        _ => false,
    }
}

/// Whether the error arose between client and server, not in the server.
pub fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

/// Whether the deadline of the call has passed, by the clock of the server or of the client.
pub fn is_timeout(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::TimeoutExpired>() {
            return true;
        }
        source = error.source();
    }
    status.code() == Code::DeadlineExceeded
}

/// The system's error for a broken connection, or the message of the status if there is none.
pub fn transport_cause(status: &Status) -> String {
    std::error::Error::source(status).map_or_else(|| status.message().to_owned(), root_cause)
}

/// Describes in one sentence who answered, if it was not a gRPC server: a web server with HTTP/2, or a proxy in front
/// of pgfox. None if a gRPC server answered, or nobody.
pub fn foreign_answer(status: &Status) -> Option<String> {
    const HTTP: &str = "grpc-status header missing, mapped from HTTP status code ";
    if let Some(code) = status.message().strip_prefix(HTTP) {
        return Some(match code {
            "431" => {
                "the headers of the call are too large for the server or for a proxy in front of it (HTTP 431)".into()
            }
            code => format!("a web server or a proxy answers, not a gRPC server (HTTP {code})"),
        });
    }
    let is_page = status.code() == Code::Internal && status.message().contains("invalid compression flag");
    is_page.then(|| "a web server answers with a page, not a gRPC server".into())
}

/// The last error of a chain, where the system says what is wrong.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn details_are_read() {
        let mut details = ErrorDetails::new();
        details.set_error_info("DIMENSION_MISMATCH", "pgfox", HashMap::from([("expected".into(), "3".into())]));
        details.add_bad_request_violation("documents[3].vector", "must have 3 values");
        details.set_retry_info(Some(Duration::from_secs(2)));
        let mut status = Status::with_error_details(Code::InvalidArgument, "no", details);
        assert_eq!(request_id(&status), None);
        status.metadata_mut().insert("x-request-id", "order-42".parse().unwrap());
        assert_eq!(request_id(&status), Some("order-42"));
        assert_eq!(reason(&status), Some(ErrorReason::DimensionMismatch));
        assert_eq!(metadata(&status)["expected"], "3");
        assert_eq!(violations(&status)[0].field, "documents[3].vector");
        assert_eq!(retry_delay(&status), Some(Duration::from_secs(2)));
        assert!(!is_retryable(&status));
    }

    #[test]
    fn foreign_errors_have_no_reason() {
        let details = ErrorDetails::with_error_info("INTERNAL", "other.example", HashMap::new());
        assert_eq!(reason(&Status::with_error_details(Code::Internal, "no", details)), None);
        assert_eq!(reason(&Status::internal("no")), None);
        assert!(violations(&Status::internal("no")).is_empty());
    }

    #[test]
    fn what_is_worth_repeating() {
        assert!(is_retryable(&Status::unavailable("")));
        assert!(!is_retryable(&Status::resource_exhausted("quota")));
        let busy = ErrorDetails::with_retry_info(Some(Duration::from_millis(10)));
        assert!(is_retryable(&Status::with_error_details(Code::ResourceExhausted, "busy", busy)));
        assert!(!is_retryable(&Status::internal("a defect")));
        let mut broken = Status::unknown("h2 protocol error");
        broken.set_source(std::sync::Arc::new(std::io::Error::other("connection reset")));
        assert!(is_retryable(&broken));
    }
}
