//! The options of an ingest.

use std::time::Duration;

use super::IngestCause;
use crate::connect::MAX_TIMEOUT;

/// Maximum number of documents in one request, the server's limit.
pub const MAX_DOCUMENTS_PER_REQUEST: usize = 1_000;
/// Maximum number of bytes of documents in one request: the server's 16 MiB less room for the rest of the message.
pub const MAX_BYTES_PER_REQUEST: usize = (16 << 20) - (64 << 10);
/// Maximum number of requests that are sent but not acknowledged.
pub const MAX_REQUESTS_IN_FLIGHT: usize = 100;

/// The options of an ingest. [`ingest`](fn@crate::ingest) refuses a value outside its range.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// Store the valid documents and report the invalid ones, instead of ending at the first invalid request. Default
    /// false.
    pub skip_invalid: bool,
    /// Store only documents whose id does not exist yet, and leave the others as they are. Default false.
    pub only_if_absent: bool,
    /// Documents per request, 1 to [`MAX_DOCUMENTS_PER_REQUEST`]. Default 500.
    pub documents_per_request: usize,
    /// Number of bytes of documents at which a request is sent, 1 to [`MAX_BYTES_PER_REQUEST`]. A larger document is
    /// sent alone. Default 2 MiB.
    pub bytes_per_request: usize,
    /// Maximum number of requests that are sent but not acknowledged, 1 to [`MAX_REQUESTS_IN_FLIGHT`]. They are kept to
    /// be sent again. Default 4.
    pub requests_in_flight: usize,
    /// Maximum wait for an acknowledgement over an open connection, above 0 and at most [`MAX_TIMEOUT`]. Default 10
    /// minutes: embedding 1,000 long texts on a busy machine takes minutes.
    pub acknowledge_timeout: Duration,
    /// How long to retry after an interruption without an acknowledgement, at most [`MAX_TIMEOUT`]; 0 means no retries.
    /// Default 60 s.
    pub retry_timeout: Duration,
}

impl Default for IngestOptions {
    fn default() -> Self {
        Self {
            skip_invalid: false,
            only_if_absent: false,
            documents_per_request: 500,
            bytes_per_request: 2 << 20,
            requests_in_flight: 4,
            acknowledge_timeout: Duration::from_secs(600),
            retry_timeout: Duration::from_secs(60),
        }
    }
}

impl IngestOptions {
    pub(super) fn check(&self) -> Result<(), IngestCause> {
        let counts = [
            ("documents_per_request", self.documents_per_request, MAX_DOCUMENTS_PER_REQUEST),
            ("bytes_per_request", self.bytes_per_request, MAX_BYTES_PER_REQUEST),
            ("requests_in_flight", self.requests_in_flight, MAX_REQUESTS_IN_FLIGHT),
        ];
        let refused = |option, value: String, range: String| Err(IngestCause::Option { option, value, range });
        for (option, value, most) in counts {
            if !(1..=most).contains(&value) {
                return refused(option, value.to_string(), format!("1 to {most}"));
            }
        }
        let most = MAX_TIMEOUT.as_secs();
        if self.acknowledge_timeout.is_zero() || self.acknowledge_timeout > MAX_TIMEOUT {
            let value = format!("{:?}", self.acknowledge_timeout);
            return refused("acknowledge_timeout", value, format!("above 0 and at most {most} s"));
        }
        if self.retry_timeout > MAX_TIMEOUT {
            return refused("retry_timeout", format!("{:?}", self.retry_timeout), format!("0 to {most} s"));
        }
        Ok(())
    }
}
