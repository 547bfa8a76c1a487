//! The connection to a provider: its address, what every request contains, and how an answer is read.

use std::{fmt, sync::LazyLock, time::Duration};

use async_openai::{config::Config, error::OpenAIError, middleware::HttpRequestFactory};
use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    config::{OPENAI_BASE_URL, OpenAiConfig, ProviderKey},
    failure::{Failure, Kind},
    message::shown_url,
};
use crate::embed::ConfigError;

/// Maximum number of bytes read from an answer without success. Errors are short, and a page of HTML says nothing.
const MAX_ERROR_BYTES: usize = 64 << 10;

pub(super) type Client = async_openai::Client<Endpoint>;

const API_KEY: HeaderName = HeaderName::from_static("api-key");

/// Hosts that take the key in the header `api-key`. An address with `api-version` in its query does so too.
const AZURE_HOSTS: [&str; 3] = [".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com"];

/// A client, and the address of its requests that callers may see. Does not connect yet.
pub(super) fn client(config: &OpenAiConfig) -> Result<(Client, String), ConfigError> {
    let endpoint = Endpoint::new(config)?;
    let url = endpoint.shown_url();
    let http = endpoint.http_client()?;
    let max_bytes = config.max_reply_bytes;
    let client = Client::build(http.clone(), endpoint);
    // Replaces async-openai's own way to send, which retries.
    let send = move |request: HttpRequestFactory| send(http.clone(), request, max_bytes);
    Ok((client.with_http_service(tower::service_fn(send)), url))
}

/// Address and headers. Replaces `OpenAIConfig`, which reads the environment and panics on a key with a line break.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// The address without `/embeddings`.
    base_url: reqwest::Url,
    /// Whether the key goes into the header `api-key`.
    is_azure: bool,
    key: Option<ProviderKey>,
}

impl Endpoint {
    fn new(config: &OpenAiConfig) -> Result<Self, ConfigError> {
        let text = config.base_url.as_deref().unwrap_or(OPENAI_BASE_URL);
        let invalid = |why: String| ConfigError::BaseUrl { url: shown_url(text), why };
        let mut base_url = reqwest::Url::parse(text).map_err(|error| invalid(error.to_string()))?;
        if !matches!(base_url.scheme(), "http" | "https") || base_url.fragment().is_some() {
            return Err(invalid("use the form http://host:port/v1 or https://host/v1".to_owned()));
        }

        if let Some(key) = &config.api_key {
            secret(key, "").map_err(|_| ConfigError::ApiKey)?;
        }
        let host = base_url.host_str().unwrap_or_default();
        let is_azure_host = AZURE_HOSTS.iter().any(|azure| host.ends_with(azure));
        let is_azure = is_azure_host || base_url.query_pairs().any(|(name, _)| name == "api-version");
        let path = base_url.path().trim_end_matches('/');
        let path = match path.strip_suffix("/embeddings") {
            Some(base) => base,
            // The address is only a host: add the usual path of the API.
            None if path.is_empty() && is_azure_host => "/openai/v1",
            None if path.is_empty() => "/v1",
            None => path,
        };
        let path = path.to_owned();
        base_url.set_path(&path);
        Ok(Self { base_url, is_azure, key: config.api_key.clone() })
    }

    /// The address of embedding requests, without secrets.
    fn shown_url(&self) -> String {
        let mut url = self.base_url.clone();
        url.set_query(None);
        shown_url(&with_path(url, "/embeddings"))
    }

    fn http_client(&self) -> Result<reqwest::Client, ConfigError> {
        // reqwest is built without a crypto provider. Installing one fails only if one is installed already, which is
        // fine.
        let _ = rustls::crypto::ring::default_provider().install_default();

        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("pgfox/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            // A redirected POST becomes a GET and would take the key along.
            .redirect(reqwest::redirect::Policy::none());
        if self.base_url.scheme() == "http" {
            // Plain HTTP needs no certificates, and a small container has none.
            builder = builder.tls_certs_only([]);
        }
        if self.is_loopback() {
            // HTTP_PROXY is meant for addresses outside.
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| ConfigError::HttpClient { why: chain(&error) })
    }

    fn is_loopback(&self) -> bool {
        let host = self.base_url.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("base_url", &shown_url(self.base_url.as_str())).finish_non_exhaustive()
    }
}

fn secret(key: &ProviderKey, scheme: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{scheme}{}", key.current().expose_secret()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The URL with `path` appended. Its query stays.
fn with_path(mut url: reqwest::Url, path: &str) -> String {
    let path = format!("{}{path}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url.into()
}

impl Config for Endpoint {
    fn headers(&self) -> HeaderMap {
        // A key that replaces the first one passed the same check.
        let (name, scheme) = if self.is_azure { (API_KEY, "") } else { (AUTHORIZATION, "Bearer ") };
        self.key.iter().filter_map(|key| Some((name.clone(), secret(key, scheme).ok()?))).collect()
    }

    fn url(&self, path: &str) -> String {
        with_path(self.base_url.clone(), path)
    }

    fn query(&self) -> Vec<(&str, &str)> {
        Vec::new()
    }

    fn api_base(&self) -> &str {
        self.base_url.as_str()
    }

    fn api_key(&self) -> &SecretString {
        // The headers include the key, which can change.
        static NONE: LazyLock<SecretString> = LazyLock::new(SecretString::default);
        &NONE
    }
}

/// Sends a request and reads the whole answer. Only here the status, the headers and the size are known.
async fn send(
    client: reqwest::Client,
    request: HttpRequestFactory,
    max_bytes: usize,
) -> Result<reqwest::Response, OpenAIError> {
    let fail = |failure: Failure| OpenAIError::Boxed(Box::new(failure));
    let request = request.build().await?;
    // The key of this request, since it can change.
    let header = request.headers().get(AUTHORIZATION).or_else(|| request.headers().get(API_KEY));
    let header = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let key = SecretString::from(header.trim_start_matches("Bearer "));
    let key = key.expose_secret();
    let mut response = client.execute(request).await.map_err(|error| fail(lost(error, key)))?;
    let status = response.status();
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| fail(lost(error, key)))? {
        if !status.is_success() && body.len() + chunk.len() > MAX_ERROR_BYTES {
            break; // An HTML page; its contents do not matter.
        }
        if body.len() + chunk.len() > max_bytes {
            let why = format!("gives an answer of more than {max_bytes} bytes");
            return Err(fail(Failure { status: Some(status), ..Failure::new(Kind::Garbage, why) }));
        }
        body.extend_from_slice(&chunk);
    }
    if !status.is_success() {
        return Err(fail(Failure::from_answer(status, response.headers(), &body, key)));
    }
    // async-openai would log a body that is not JSON in full.
    if !(body.trim_ascii().starts_with(b"{") && body.trim_ascii().ends_with(b"}")) {
        let failure = Failure::new(Kind::Garbage, "gives an answer that is not JSON");
        return Err(fail(Failure { status: Some(status), ..failure }));
    }
    Ok(::http::Response::new(Bytes::from(body)).into())
}

/// Converts an error of the library and hides `key` in its message.
pub(super) fn into_failure(error: OpenAIError, key: &str) -> Failure {
    match error {
        OpenAIError::Boxed(error) => match error.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(error) => Failure::new(Kind::Unavailable, "cannot be asked").saying(&error.to_string(), key),
        },
        OpenAIError::JSONDeserialize(error, _body) => {
            Failure::new(Kind::Garbage, "gives an answer that is not a list of embeddings")
                .saying(&error.to_string(), key)
        }
        OpenAIError::Reqwest(error) => lost(error, key),
        error => Failure::new(Kind::Refused, "cannot be asked").saying(&error.to_string(), key),
    }
}

/// The failure for a connection that could not be made, or that broke.
fn lost(error: reqwest::Error, key: &str) -> Failure {
    Failure::new(Kind::Unavailable, "cannot be reached").saying(&chain(&error.without_url()), key)
}

/// An error with its causes: reqwest's own text is only "error sending request".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
