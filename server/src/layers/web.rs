//! Support for web pages: gRPC-Web, and CORS for the origins in the settings.

use std::{
    str::FromStr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use tonic::body::Body;
use tonic_web::{GrpcWebLayer, GrpcWebService};
use tower::{Layer, Service};
use tower_http::cors::{Cors, CorsLayer};

use super::plain::in_words;

/// How long a browser may cache the answer to a preflight request. Chrome caches it for at most this long.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(2 * 60 * 60);

/// The caller's name for its call. It is useful to a page as well.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The headers that clients of gRPC-Web send, beside those that every page may send.
const ALLOWED_HEADERS: [HeaderName; 11] = [
    header::CONTENT_TYPE,
    header::AUTHORIZATION,
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("x-grpc-web"),
    HeaderName::from_static("x-user-agent"),
    REQUEST_ID,
    // Tracing libraries add these by themselves.
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
    HeaderName::from_static("sentry-trace"),
    HeaderName::from_static("b3"),
];

/// The headers that they read. An error without a message is in the headers, not in the body.
const EXPOSED_HEADERS: [HeaderName; 4] = [
    HeaderName::from_static("grpc-status"),
    HeaderName::from_static("grpc-message"),
    HeaderName::from_static("grpc-status-details-bin"),
    REQUEST_ID,
];

/// The origin of a page, as browsers write it: `https://app.example.com`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Origin(HeaderValue);

impl FromStr for Origin {
    type Err = &'static str;

    /// Reads `scheme://host` or `scheme://host:port`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str =
            "expected scheme://host or scheme://host:port, such as https://app.example.com, and nothing after it";
        if text.contains('*') {
            return Err("* is not allowed: name each origin, such as https://app.example.com");
        }
        let text = text.trim().to_ascii_lowercase();
        let uri: Uri = text.parse().map_err(|_| EXPECTED)?;
        let (Some(scheme), Some(host)) = (uri.scheme_str(), uri.host()) else { return Err(EXPECTED) };
        let without_port = format!("{scheme}://{host}");
        let origin = match uri.port_u16() {
            Some(port) => format!("{without_port}:{port}"),
            None => without_port.clone(),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        // If they differ, the text has a path, a user, or an invalid port.
        if origin != text || host.is_empty() || !host.bytes().all(plain) {
            return Err(EXPECTED);
        }
        // Browsers leave out the port that the scheme implies.
        let implied = matches!((scheme, uri.port_u16()), ("http", Some(80)) | ("https", Some(443)));
        HeaderValue::try_from(if implied { without_port } else { origin }).map(Origin).map_err(|_| EXPECTED)
    }
}

/// Wraps the services of a server: calls by gRPC-Web become gRPC calls.
#[derive(Clone, Debug)]
pub(crate) struct Web {
    origins: Arc<[HeaderValue]>,
    cors: CorsLayer,
}

impl Web {
    /// Pages of `origins` may call, and may send `headers` beside the usual ones. `None` without origins: then no page
    /// may call.
    pub(crate) fn new(origins: Vec<Origin>, headers: Vec<HeaderName>) -> Option<Self> {
        if origins.is_empty() {
            return None;
        }
        let origins: Vec<HeaderValue> = origins.into_iter().map(|Origin(origin)| origin).collect();
        // No credentials: pgfox uses no cookies, and a page sets the API key as a header.
        let cors = CorsLayer::new()
            .allow_origin(origins.clone())
            .allow_methods([Method::POST])
            .allow_headers(ALLOWED_HEADERS.into_iter().chain(headers).collect::<Vec<_>>())
            .expose_headers(EXPOSED_HEADERS)
            .max_age(PREFLIGHT_MAX_AGE);
        Some(Self { origins: origins.into(), cors })
    }
}

impl<S> Layer<S> for Web {
    type Service = WebService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WebService { origins: Arc::clone(&self.origins), cors: self.cors.layer(GrpcWebLayer::new().layer(inner)) }
    }
}

/// See [`Web`].
#[derive(Clone, Debug)]
pub(crate) struct WebService<S> {
    origins: Arc<[HeaderValue]>,
    cors: Cors<GrpcWebService<S>>,
}

impl<S> Service<Request<Body>> for WebService<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = futures_util::future::BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.cors, context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match request.headers().get(header::ORIGIN) {
            Some(origin) if self.origins.contains(origin) => Box::pin(self.cors.call(request)),
            // Without this the browser would only hide the answer from the page, but the call would be made.
            Some(_) => Box::pin(std::future::ready(Ok(refusal()))),
            // Only browsers name an origin, so this does not concern other clients.
            None => Box::pin(self.cors.get_mut().call(request)),
        }
    }
}

fn refusal() -> Response<Body> {
    let why = "pages of this origin may not call; --web-origins sets the origins that may\n";
    in_words(StatusCode::FORBIDDEN, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_as_browsers_write_them() {
        for (text, origin) in [
            ("https://app.example.com", "https://app.example.com"),
            (" HTTPS://App.Example.com:443 ", "https://app.example.com"),
            ("http://localhost:80", "http://localhost"),
            ("http://localhost:443", "http://localhost:443"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
        ] {
            assert_eq!(text.parse(), Ok(Origin(HeaderValue::from_static(origin))), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_as_origins() {
        for text in [
            "",
            "null",
            "*",
            "https://*",
            "https://*.example.com",
            "app.example.com",
            "localhost:3000",
            "https://",
            "https://:443",
            "https://app.example.com/",
            "https://app.example.com/page",
            "https://app.example.com?a=b",
            "https://app.example.com#a",
            "https://fox@app.example.com",
            "https://app.example.com:",
            "https://app.example.com:0443",
            "https://app.example.com:65536",
            "https://app.example.com:http",
            "https://app example.com",
            "https://müller.example",
            "https://a.example;https://b.example",
            "file:///index.html",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }
}
