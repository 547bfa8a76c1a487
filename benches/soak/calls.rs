//! Calls as clients make them, and their results.

use std::{
    error::Error as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use pgfox::v1::{ErrorReason, pgfox_service_client::PgfoxServiceClient};
use tonic::{Code, Request, Response, Status, transport::Channel};
use tonic_types::StatusExt as _;

use super::report::{Kind, Report};

pub(crate) type Client = PgfoxServiceClient<Channel>;

/// The deadline of a call.
pub(crate) const DEADLINE: Duration = Duration::from_secs(4);
/// How long after the deadline to wait for an answer.
const LATE: Duration = Duration::from_secs(1);

/// The result of a call.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    Done(T),
    /// For one of the expected reasons.
    Refused(ErrorReason),
    /// It may have been carried out, or may still be.
    Unknown,
}

/// Calls through the proxies before both servers.
#[derive(Debug)]
pub(crate) struct Callers {
    clients: [Client; 2],
    report: Arc<Report>,
    /// No fault is active, so no call may fail.
    is_calm: AtomicBool,
}

impl Callers {
    pub(crate) fn new(channels: [Channel; 2], report: Arc<Report>) -> Self {
        Self { clients: channels.map(PgfoxServiceClient::new), report, is_calm: AtomicBool::new(false) }
    }

    pub(crate) fn set_calm(&self, calm: bool) {
        self.is_calm.store(calm, Ordering::SeqCst);
    }

    /// Calls a server. An error that neither a fault nor `expected` explains is a violation.
    pub(crate) async fn call<T, F>(
        &self,
        server: usize,
        method: &str,
        expected: &[ErrorReason],
        call: impl FnOnce(Client) -> F,
    ) -> Outcome<T>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let was_calm = self.is_calm.load(Ordering::SeqCst);
        let answered = tokio::time::timeout(DEADLINE + LATE, call(self.clients[server].clone())).await;
        let is_calm = was_calm && self.is_calm.load(Ordering::SeqCst);
        let status = match answered {
            Ok(Ok(answer)) => {
                self.report.count("calls answered", 1);
                return Outcome::Done(answer);
            }
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded("no answer"),
        };
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.clone());
        let named = reason.as_ref().and_then(|reason| ErrorReason::from_str_name(&format!("ERROR_REASON_{reason}")));
        if let Some(reason) = named.filter(|reason| expected.contains(reason)) {
            return Outcome::Refused(reason);
        }
        self.report
            .count(&format!("failed: {:?}, {}", status.code(), reason.as_deref().unwrap_or("the client's own")), 1);
        let reported =
            || format!("{method} of server {}: {:?}, {reason:?}: {}", server + 1, status.code(), status.message());
        // The client's own errors, such as those of a broken connection, have a source and no details.
        let is_own = reason.is_none()
            && (status.source().is_some() || matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled));
        let is_passing = matches!(
            status.code(),
            Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted
        );
        if !is_own && !is_passing {
            self.report.violation(Kind::Error, reported());
        } else if !is_own && status.code() == Code::Unavailable && details.retry_info().is_none() {
            self.report.violation(Kind::Error, format!("{}, without RetryInfo", reported()));
        } else if is_calm {
            self.report.violation(Kind::Service, format!("a call failed while nothing was wrong: {}", reported()));
        }
        Outcome::Unknown
    }
}

/// A request with the deadline of a call.
pub(crate) fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// For unary calls.
pub(crate) async fn unary<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    Ok(call.await?.into_inner())
}
