//! The settings of the gRPC server: who may reach it, and its limits.

use std::net::ToSocketAddrs as _;

use secrecy::{ExposeSecret as _, SecretString};

use super::{
    ServerArgs,
    value::{self, read_file},
};
use crate::{
    app::Limits,
    layers::{auth::ApiKeys, web::Origin},
};

/// The gRPC server.
#[derive(Clone, Debug, Default)]
pub(super) struct ServerSettings {
    pub(super) limits: Limits,
    pub(super) api_keys: ApiKeys,
    /// Certificate chain and key, PEM.
    pub(super) tls: Option<(Vec<u8>, Vec<u8>)>,
    pub(super) web_origins: Vec<Origin>,
}

impl ServerArgs {
    pub(super) fn read(&self, errors: &mut Vec<String>, warnings: &mut Vec<String>) -> ServerSettings {
        let api_keys = self.read_api_keys(errors);
        let tls = self.read_tls(errors);
        match self.listen.to_socket_addrs() {
            Ok(addresses) if addresses.as_slice().iter().all(|address| address.ip().is_loopback()) => {}
            Ok(_) if api_keys.is_empty() && !self.insecure => errors.push(format!(
                "--listen {}: anyone who can reach this address could read and change all data. Set PGFOX_API_KEYS or \
                 --api-keys-file, or pass --insecure where something else keeps strangers away",
                self.listen
            )),
            Ok(_) if tls.is_none() && !api_keys.is_empty() => warnings.push(format!(
                "API keys travel in plain text to {}: set --tls-cert and --tls-key unless something in front adds TLS",
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
                    "--metrics-listen {listen}: listens beyond this machine, which needs PGFOX_API_KEYS, --api-keys-file \
                     or --insecure"
                )),
                Ok(_) => warnings.push(format!("anyone who can reach {listen} can read the metrics")),
                Err(error) => errors.push(format!(
                    "--metrics-listen {listen:?}: expected an address and a port, such as 127.0.0.1:9464 ({error})"
                )),
            }
        }
        if self.max_bytes_in_flight / 4 < self.max_request_bytes {
            warnings.push(
                "--max-bytes-in-flight is less than four times --max-request-bytes: one of the largest requests takes all \
                 of it, or is refused"
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
                max_concurrent_calls: self.max_calls_per_connection,
                keepalive: self.keepalive,
                max_connection_age: self.max_connection_age,
                drain: self.drain_timeout,
            },
            api_keys: ApiKeys::new(api_keys.iter().map(SecretString::expose_secret)),
            tls,
            web_origins: self.web_origins.clone(),
        }
    }

    /// Keys of the variable, separated by commas, and of the file, one per line.
    fn read_api_keys(&self, errors: &mut Vec<String>) -> Vec<SecretString> {
        let from_variable = value::variable(&["PGFOX_API_KEYS"]).unwrap_or_default();
        let from_file = self
            .api_keys_file
            .as_ref()
            .and_then(|path| read_file("--api-keys-file", path, errors))
            .inspect(|text| {
                if key_lines(text).next().is_none() {
                    errors.push("--api-keys-file: there is no key in it".into());
                }
            })
            .unwrap_or_default();
        let keys: Vec<&str> = from_variable.split(',').map(str::trim).chain(key_lines(&from_file)).collect();
        let keys = keys.into_iter().filter(|key| !key.is_empty());
        keys.inspect(|key| {
            // The key itself must not be shown.
            if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                errors.push("an API key holds white space or characters beyond ASCII, which no header carries".into());
            }
        })
        .map(SecretString::from)
        .collect()
    }

    fn read_tls(&self, errors: &mut Vec<String>) -> Option<(Vec<u8>, Vec<u8>)> {
        match (self.tls_cert.as_ref(), self.tls_key.as_ref()) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                let certificate = read_file("--tls-cert", certificate, errors);
                let key = read_file("--tls-key", key, errors);
                let pem = |text: &str, label: &str| text.contains("-----BEGIN ") && text.contains(label);
                if certificate.as_ref().is_some_and(|text| !pem(text, "CERTIFICATE-----")) {
                    errors.push("--tls-cert: there is no certificate in PEM in it".into());
                }
                if key.as_ref().is_some_and(|text| !pem(text, "PRIVATE KEY-----")) {
                    errors.push("--tls-key: there is no private key in PEM in it".into());
                }
                Some((certificate?.into_bytes(), key?.into_bytes()))
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
