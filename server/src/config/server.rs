//! The settings of the gRPC server: who may reach it, and its limits.

use std::net::ToSocketAddrs as _;

use http::HeaderName;

use super::{
    ServerArgs, WatchedFiles,
    value::{self, read_file, read_secret},
};
use crate::{
    app::{FollowLimits, Limits},
    layers::{auth::ApiKeys, connections::Certificate, web::Origin},
};

/// The minimum length of a key in characters, so that nobody guesses it.
const MIN_KEY_CHARS: usize = 16;

/// The gRPC server.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerSettings {
    pub(super) limits: Limits,
    pub(super) api_keys: ApiKeys,
    pub(super) tls: Option<Certificate>,
    pub(super) web_origins: Vec<Origin>,
    pub(super) web_headers: Vec<HeaderName>,
}

impl ServerArgs {
    pub(super) fn read(&self, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> ServerSettings {
        let api_keys = self.read_api_keys(errors);
        let tls = self.read_tls(errors);
        match self.listen.to_socket_addrs() {
            Ok(addresses) if addresses.as_slice().iter().all(|address| address.ip().is_loopback()) => {}
            Ok(_) if api_keys.is_empty() && !self.insecure => errors.push(format!(
                "--listen {}: without API keys anyone who can reach this address can read and change all data. Set \
                 PGFOX_API_KEYS or --api-keys-file, or pass --insecure if something else keeps strangers away",
                self.listen
            )),
            Ok(_) if tls.is_none() && !api_keys.is_empty() => warnings.push(format!(
                "API keys travel to {} in plain text: set --tls-cert and --tls-key, unless a proxy in front adds TLS",
                self.listen
            )),
            Ok(_) if api_keys.is_empty() => {
                warnings.push(format!("anyone who can reach {} can read and change all data", self.listen));
            }
            Ok(_) => {}
            Err(error) => errors.push(format!(
                "--listen {:?}: expected an address and a port, such as 127.0.0.1:50051 or [::]:50051 ({error})",
                self.listen
            )),
        }
        if let Some(listen) = &self.metrics_listen {
            match listen.to_socket_addrs() {
                Ok(addresses) if addresses.as_slice().iter().all(|address| address.ip().is_loopback()) => {}
                Ok(_) if api_keys.is_empty() && !self.insecure => errors.push(format!(
                    "--metrics-listen {listen}: to listen beyond this machine, set PGFOX_API_KEYS, --api-keys-file or \
                     --insecure"
                )),
                Ok(_) => warnings.push(format!("anyone who can reach {listen} can read the metrics")),
                Err(error) => errors.push(format!(
                    "--metrics-listen {listen:?}: expected an address and a port, such as 127.0.0.1:9464 ({error})"
                )),
            }
        }
        if self.max_bytes_in_flight / 4 < self.max_request_bytes {
            warnings.push(
                "--max-bytes-in-flight is less than four times --max-request-bytes: a request of the maximum size \
                 uses all of it or is refused"
                    .into(),
            );
        }
        ServerSettings {
            limits: Limits {
                max_request_bytes: to_usize(self.max_request_bytes),
                max_bytes_in_flight: to_usize(self.max_bytes_in_flight),
                bytes_wait: self.bytes_wait,
                max_response_bytes: to_usize(self.max_response_bytes),
                max_bulk_documents: self.max_bulk_documents as usize,
                call_timeout: self.call_timeout,
                ingest_timeout: self.ingest_timeout,
                fill_up: self.fill_up_timeout,
                notes: Limits::default().notes,
                max_concurrent_calls: self.max_calls_per_connection,
                max_connections: self.max_connections as usize,
                first_call: self.first_call_timeout,
                max_connection_idle: self.max_connection_idle,
                keepalive: self.keepalive,
                max_connection_age: self.max_connection_age,
                drain: self.drain_timeout,
                follow: FollowLimits {
                    concurrency: self.follow_concurrency as usize,
                    look_every: Limits::default().follow.look_every,
                    compare_every: self.follow_compare_every,
                    rows_per_second: self.follow_rows_per_second,
                },
            },
            api_keys,
            tls,
            web_origins: self.web_origins.clone(),
            web_headers: self.web_headers.clone(),
        }
    }

    /// Reads the files of the API keys and of the certificate again when they change.
    pub(super) fn watch(&self, settings: &ServerSettings, files: &mut WatchedFiles) {
        if let Some(file) = &self.api_keys_file {
            let (args, keys) = (self.clone(), settings.api_keys.clone());
            files.add("API keys", vec![file.clone()], move || {
                let mut errors = Vec::new();
                let new = args.read_api_keys(&mut errors);
                if !errors.is_empty() {
                    return Err(errors);
                }
                keys.replace(&new);
                Ok(())
            });
        }
        if let (Some(tls), Some(chain), Some(key)) = (&settings.tls, &self.tls_cert, &self.tls_key) {
            let (args, tls) = (self.clone(), tls.clone());
            files.add("the certificate", vec![chain.clone(), key.clone()], move || {
                let mut errors = Vec::new();
                match args.read_tls(&mut errors) {
                    Some(new) if errors.is_empty() => tls.replace(&new),
                    _ => return Err(errors),
                }
                Ok(())
            });
        }
    }

    /// The keys from the variable, separated by commas, and from the file, one per line.
    fn read_api_keys(&self, errors: &mut Vec<String>) -> ApiKeys {
        let from_variable = value::variable(&["PGFOX_API_KEYS"]).unwrap_or_default();
        let from_variable = from_variable.split(',').map(str::trim).filter(|key| !key.is_empty());
        let mut keys: Vec<(&str, &str)> = from_variable.map(|key| ("PGFOX_API_KEYS", key)).collect();
        let from_file = self.api_keys_file.as_ref().and_then(|path| read_secret("--api-keys-file", path, errors));
        if let Some(text) = &from_file {
            let before = keys.len();
            keys.extend(key_lines(text).map(|key| ("--api-keys-file", key)));
            if keys.len() == before {
                errors.push("--api-keys-file: the file contains no key".into());
            }
        }
        // The texts must not show the keys themselves.
        for (setting, key) in &keys {
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                errors.push(format!(
                    "{setting}: a key contains white space or characters beyond ASCII, which a header cannot carry"
                ));
            } else if key.len() < MIN_KEY_CHARS {
                errors.push(format!(
                    "{setting}: a key has {} characters but needs at least {MIN_KEY_CHARS}: make one with `openssl \
                     rand -hex 32`",
                    key.len()
                ));
            }
        }
        ApiKeys::new(keys.into_iter().map(|(_, key)| key))
    }

    fn read_tls(&self, errors: &mut Vec<String>) -> Option<Certificate> {
        match (self.tls_cert.as_ref(), self.tls_key.as_ref()) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                let chain = read_file("--tls-cert", certificate, errors);
                let private = read_secret("--tls-key", key, errors);
                let read = Certificate::from_pem(chain?.as_bytes(), private?.as_bytes());
                read.map_err(|error| {
                    let (certificate, key) = (certificate.display(), key.display());
                    errors.push(format!("--tls-cert {certificate} and --tls-key {key}: {error}"));
                })
                .ok()
            }
            (Some(_), None) => {
                errors.push("--tls-cert needs --tls-key".into());
                None
            }
            (None, Some(_)) => {
                errors.push("--tls-key needs --tls-cert".into());
                None
            }
        }
    }
}

/// Lines that are neither empty nor comments.
fn key_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
