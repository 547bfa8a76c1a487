//! The connection to a provider: where it is, what goes into every request, and how an answer is read.

use std::{sync::LazyLock, time::Duration};

use async_openai::{config::Config, error::OpenAIError, middleware::HttpRequestFactory};
use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, InvalidHeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    OPENAI_BASE_URL, OpenAiConfig, ProviderKey,
    failure::{Failure, Kind},
};
use crate::embed::ConfigError;

pub(super) type Client = async_openai::Client<Endpoint>;

/// Connects to nothing yet.
pub(super) fn client(config: &OpenAiConfig) -> Result<Client, ConfigError> {
    let endpoint = Endpoint::new(config)?;
    let http = endpoint.http_client()?;
    let (key, max_bytes) = (endpoint.key.clone(), config.max_reply_bytes);
    let client = Client::build(http.clone(), endpoint);
    // in place of async-openai's own way to send, which retries
    let send = move |request: HttpRequestFactory| send(http.clone(), request, key.clone(), max_bytes);
    Ok(client.with_http_service(tower::service_fn(send)))
}

/// Address and headers; in place of `OpenAIConfig`, which reads the environment and panics on a key with a line break.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    base_url: reqwest::Url,
    key: Option<ProviderKey>,
}

impl Endpoint {
    fn new(config: &OpenAiConfig) -> Result<Self, ConfigError> {
        let text = config.base_url.as_deref().unwrap_or(OPENAI_BASE_URL);
        let invalid = |why: String| ConfigError::BaseUrl { url: text.to_owned(), why };
        let base_url = reqwest::Url::parse(text).map_err(|error| invalid(error.to_string()))?;
        if !matches!(base_url.scheme(), "http" | "https") || base_url.query().is_some() || base_url.fragment().is_some()
        {
            return Err(invalid("it has the form http://host:port/v1 or https://host/v1".to_owned()));
        }

        if let Some(key) = &config.api_key {
            bearer(key).map_err(|_| ConfigError::ApiKey)?;
        }
        Ok(Self { base_url, key: config.api_key.clone() })
    }

    fn http_client(&self) -> Result<reqwest::Client, ConfigError> {
        // reqwest is built without a TLS provider of its own. Fails when there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();

        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("pgfox/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            // a redirected POST becomes a GET, and would take the key along
            .redirect(reqwest::redirect::Policy::none());
        if self.base_url.scheme() == "http" {
            // no certificates are needed then, and a small container has none
            builder = builder.tls_certs_only([]);
        }
        if self.is_loopback() {
            // HTTP_PROXY is meant for the world outside
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

fn bearer(key: &ProviderKey) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", key.current().expose_secret()))?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

impl Config for Endpoint {
    fn headers(&self) -> HeaderMap {
        // A key that replaces the first one was checked as that was.
        self.key.iter().filter_map(|key| Some((AUTHORIZATION, bearer(key).ok()?))).collect()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url.as_str().trim_end_matches('/'))
    }

    fn query(&self) -> Vec<(&str, &str)> {
        Vec::new()
    }

    fn api_base(&self) -> &str {
        self.base_url.as_str()
    }

    fn api_key(&self) -> &SecretString {
        // The headers hold it, which can change.
        static NONE: LazyLock<SecretString> = LazyLock::new(SecretString::default);
        &NONE
    }
}

/// Sends a request and reads the whole answer: the place where the status, the headers and the size can be seen.
async fn send(
    client: reqwest::Client,
    request: HttpRequestFactory,
    key: Option<ProviderKey>,
    max_bytes: usize,
) -> Result<reqwest::Response, OpenAIError> {
    let fail = |failure: Failure| OpenAIError::Boxed(Box::new(failure));
    let lost = |error: reqwest::Error| fail(Failure::new(Kind::Unavailable, chain(&error.without_url())));

    let mut response = client.execute(request.build().await?).await.map_err(lost)?;
    let status = response.status();
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > max_bytes {
            return Err(fail(Failure::new(Kind::Garbage, format!("its answer is longer than {max_bytes} bytes"))));
        }
        body.extend_from_slice(&chunk);
    }
    if !status.is_success() {
        let mut failure = Failure::from_answer(status, response.headers(), &body);
        let key = key.map(|key| key.current()).unwrap_or_default();
        if !key.expose_secret().is_empty() {
            failure.why = failure.why.replace(key.expose_secret(), "***");
        }
        return Err(fail(failure));
    }
    // async-openai logs a body that is not JSON in full
    if !(body.trim_ascii().starts_with(b"{") && body.trim_ascii().ends_with(b"}")) {
        return Err(fail(Failure::new(Kind::Garbage, format!("its answer (status {}) is not JSON", status.as_u16()))));
    }
    Ok(::http::Response::new(Bytes::from(body)).into())
}

pub(super) fn into_failure(error: OpenAIError) -> Failure {
    match error {
        OpenAIError::Boxed(error) => match error.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(error) => Failure::new(Kind::Unavailable, error.to_string()),
        },
        OpenAIError::JSONDeserialize(error, _body) => {
            Failure::new(Kind::Garbage, format!("its answer is not a list of embeddings: {error}"))
        }
        OpenAIError::Reqwest(error) => Failure::new(Kind::Unavailable, chain(&error.without_url())),
        error => Failure::new(Kind::Refused, error.to_string()),
    }
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
