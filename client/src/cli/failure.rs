//! Why a command failed: the message, the details from the server, a hint, and the exit code.

use std::{collections::BTreeMap, process::ExitCode};

use pgfox_client::{ConnectError, error, v1::ErrorReason};
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::Globals;

/// The exit codes, as `pgfox --help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Refused = 1,
    Usage = 2,
    Connect = 3,
    /// As for a program that Ctrl-C ends in a shell.
    Interrupted = 130,
}

#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    hint: Option<String>,
    status: Option<Box<Status>>,
    /// Everything has been printed already.
    is_silent: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, status: None, is_silent: false }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    /// Exit code 1, after the command itself has printed the reason.
    pub(crate) fn silent() -> Self {
        Self { is_silent: true, ..Self::refused("") }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Prints the failure to stderr and returns the exit code.
    pub(crate) fn report(&self, globals: &Globals) -> ExitCode {
        if !self.is_silent {
            let text = if globals.json { self.to_json(globals).to_string() + "\n" } else { self.to_text(globals) };
            super::output::note(&text);
        }
        ExitCode::from(self.exit as u8)
    }

    fn hint(&self, globals: &Globals) -> Option<String> {
        match self.exit {
            Exit::Connect => Some(format!(
                "the server is {}; use --server or PGFOX_SERVER for another one, or start one with `pgfox-server`",
                globals.server
            )),
            Exit::Refused | Exit::Usage | Exit::Interrupted => self.hint.clone(),
        }
    }

    fn to_text(&self, globals: &Globals) -> String {
        let mut text = format!("error: {}\n", self.message);
        for violation in self.status.as_deref().map(error::violations).unwrap_or_default() {
            // The message is about the first or the only violation.
            let is_said = self.message.contains(&violation.field) && self.message.contains(&violation.description);
            if !is_said {
                text += &format!("  {}: {}\n", violation.field, violation.description);
            }
        }
        if let Some(hint) = self.hint(globals) {
            text += &format!("hint: {hint}\n");
        }
        text
    }

    fn to_json(&self, globals: &Globals) -> Value {
        let mut error = json!({ "message": self.message, "exit_code": self.exit as u8 });
        if let Some(hint) = self.hint(globals) {
            error["hint"] = hint.into();
        }
        if let Some(status) = self.status.as_deref() {
            error["code"] = code_name(status.code()).into();
            if let Some(reason) = error::reason(status) {
                error["reason"] = super::output::reason_name(reason).into();
            }
            let metadata: BTreeMap<String, String> = error::metadata(status).into_iter().collect();
            if !metadata.is_empty() {
                error["metadata"] = json!(metadata);
            }
            if let Some(id) = error::request_id(status) {
                error["request_id"] = id.into();
            }
            if let Some(delay) = error::retry_delay(status) {
                error["retry_after_seconds"] = delay.as_secs_f64().into();
            }
            let violations: Vec<Value> = error::violations(status)
                .into_iter()
                .map(|violation| json!({ "field": violation.field, "description": violation.description }))
                .collect();
            if !violations.is_empty() {
                error["violations"] = violations.into();
            }
        }
        json!({ "error": error })
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let failure = if error::is_timeout(&status) && error::reason(&status).is_none() {
            Self::refused("the server did not answer in time").with_hint("set the seconds to wait with --timeout")
        } else if error::is_transport(&status) {
            Self::new(Exit::Connect, format!("the connection to the server broke: {}", error::transport_cause(&status)))
        } else if let Some(answer) = error::foreign_answer(&status) {
            Self::new(Exit::Connect, answer)
        } else {
            let message = if status.message().is_empty() { status.code().description() } else { status.message() };
            let failure = Self::refused(message);
            match error::reason(&status).and_then(hint) {
                Some(hint) => failure.with_hint(hint),
                None => failure,
            }
        };
        Self { status: Some(Box::new(status)), ..failure }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Unreachable { .. } => Self::new(Exit::Connect, error.to_string()),
            ConnectError::Endpoint { .. }
            | ConnectError::ApiKey
            | ConnectError::Timeout { .. }
            | ConnectError::Tls(_) => Self::usage(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::refused(error.to_string())
    }
}

/// A hint about an error of the server, which cannot know the command.
fn hint(reason: ErrorReason) -> Option<&'static str> {
    match reason {
        ErrorReason::CollectionNotFound => Some("`pgfox collections list` shows all collections"),
        ErrorReason::CollectionExists => Some("`pgfox collections get NAME` shows it"),
        ErrorReason::TooFewRows => Some("use --hnsw or fewer --lists, or build it anyway with --allow-few-rows"),
        ErrorReason::BuildRunning => Some("`pgfox indexes list` shows it; `pgfox indexes drop` stops it"),
        ErrorReason::TooManyDocuments => Some("narrow --where; --dry-run counts the documents that it selects"),
        ErrorReason::Unauthenticated => Some("set PGFOX_API_KEY or --api-key-file"),
        ErrorReason::DeadlineExceeded => Some("set the seconds to wait with --timeout"),
        _ => None,
    }
}

/// The name of a code as gRPC writes it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
