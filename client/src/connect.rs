//! Opens a connection to a pgfox server.

mod peer;

use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use pgfox::v1::pgfox_service_client::PgfoxServiceClient;
use tonic::{
    GrpcMethod, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use self::peer::{Connector, First};
use crate::retry::{Backoff, Retry};

/// Maximum size of a message in bytes, both ways: the server's limit of 16 MiB and a little for its frame.
pub const MAX_MESSAGE_BYTES: usize = (16 << 20) + (64 << 10);
/// Maximum value of every timeout option, here and in [`crate::ingest`](mod@crate::ingest): one day.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(86_400);

/// Interval of the HTTP/2 pings, which detect a server that vanished without closing the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// Maximum time for the answer to a ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Calls without a deadline, because they last as long as they have something to send.
const LASTING_METHODS: [&str; 3] = ["IngestStream", "BuildIndex", "Watch"];

/// The generated stub over [`Transport`].
pub type Client = PgfoxServiceClient<Transport>;

/// A connection that adds the API key and the deadline to every call, and retries calls that may succeed later. It
/// reconnects by itself.
pub type Transport = InterceptedService<Retry<Channel>, CallSettings>;

/// The address of the server, and how to connect to it.
#[derive(Clone)]
pub struct ConnectOptions {
    /// `host:port`, `http://host:port` or `https://host:port`. Without a scheme: https if `ca_pem` is set, else http.
    pub endpoint: String,
    /// Sent as `authorization: Bearer <key>`. None or empty: no key is sent.
    pub api_key: Option<String>,
    /// Trusted CA certificates in PEM. None: those of the system.
    pub ca_pem: Option<Vec<u8>>,
    /// Maximum time to connect, above 0 and at most [`MAX_TIMEOUT`]. With `retry`, a server that does not answer is
    /// tried again within this time. Default 10 s.
    pub connect_timeout: Duration,
    /// Deadline of every call except IngestStream, BuildIndex and Watch, unless the request sets its own. Above 0 and
    /// at most [`MAX_TIMEOUT`]. Default 30 s.
    pub call_timeout: Duration,
    /// Retry unary calls within their deadline, as [`Retry`] describes. Default true.
    pub retry: bool,
    /// Compress messages both ways, for slow networks. Vectors hardly get smaller. An Ingest is not retried then.
    /// Default false.
    pub gzip: bool,
}

impl ConnectOptions {
    /// The defaults for a server at `endpoint`.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            api_key: None,
            ca_pem: None,
            connect_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(30),
            retry: true,
            gzip: false,
        }
    }
}

/// Leaves out the API key.
impl std::fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("endpoint", &self.endpoint)
            .field("api_key", &self.api_key.as_ref().map(|_| "<hidden>"))
            .field("connect_timeout", &self.connect_timeout)
            .field("call_timeout", &self.call_timeout)
            .field("retry", &self.retry)
            .field("gzip", &self.gzip)
            .finish_non_exhaustive()
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint cannot be read, or contradicts the other options.
    #[error("`{endpoint}` is not a server address: {reason}")]
    Endpoint {
        /// The endpoint as given.
        endpoint: String,
        /// The mistake in it.
        reason: String,
    },
    /// The API key has characters that a header cannot contain.
    #[error("the API key may contain only visible ASCII characters")]
    ApiKey,
    /// A timeout is outside its range.
    #[error("{option} must be above 0 and at most {} s, not {value:?}", MAX_TIMEOUT.as_secs())]
    Timeout {
        /// Name of the option, a field of [`ConnectOptions`].
        option: &'static str,
        /// Its value.
        value: Duration,
    },
    /// The certificates of `ca_pem` cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// Nobody answers there, or something other than a gRPC server does.
    #[error("cannot connect to {endpoint}: {reason}")]
    Unreachable {
        /// The endpoint with its scheme.
        endpoint: String,
        /// The program that answers instead, or the error of the system, in one sentence.
        reason: String,
    },
}

/// Connects and returns the stub, configured for the message sizes of the server.
///
/// # Errors
///
/// [`ConnectError`] if an option cannot be used, or if nobody answers within `connect_timeout`.
pub async fn connect(options: &ConnectOptions) -> Result<Client, ConnectError> {
    let mut client = PgfoxServiceClient::new(transport(options).await?)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    if options.gzip {
        use tonic::codec::CompressionEncoding::Gzip;
        client = client.send_compressed(Gzip).accept_compressed(Gzip);
    }
    Ok(client)
}

/// Connects for stubs other than pgfox's own, such as that of `grpc.health.v1`.
///
/// # Errors
///
/// Like [`connect`].
pub async fn transport(options: &ConnectOptions) -> Result<Transport, ConnectError> {
    for (option, value) in [("connect_timeout", options.connect_timeout), ("call_timeout", options.call_timeout)] {
        if value.is_zero() || value > MAX_TIMEOUT {
            return Err(ConnectError::Timeout { option, value });
        }
    }
    let settings = CallSettings::new(options)?;
    let endpoint = endpoint(options)?;
    let patience = if options.retry { options.connect_timeout } else { Duration::ZERO };
    let mut backoff = Backoff::new(patience);
    let mut attempts = 1;
    let channel = loop {
        let Obstacle { why, may_pass } = match connect_once(&endpoint, options.connect_timeout).await {
            Ok(channel) => break channel,
            Err(obstacle) => obstacle,
        };
        match backoff.next_pause(Duration::ZERO).filter(|_| may_pass) {
            Some(pause) => tokio::time::sleep(pause).await,
            None => {
                let tries = if attempts > 1 { format!(", {attempts} times") } else { String::new() };
                return Err(ConnectError::Unreachable {
                    endpoint: endpoint.uri().to_string().trim_end_matches('/').to_owned(),
                    reason: why + &tries,
                });
            }
        }
        attempts += 1;
    };
    Ok(InterceptedService::new(Retry::new(channel, options.retry), settings))
}

/// Why an attempt to connect failed, and whether another one may succeed.
struct Obstacle {
    why: String,
    may_pass: bool,
}

/// Connects and waits for the first bytes of the server, which every HTTP/2 server sends at once.
async fn connect_once(endpoint: &Endpoint, timeout: Duration) -> Result<Channel, Obstacle> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    // With Nagle's algorithm a small call waits 40 ms for a delayed acknowledgement.
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(timeout));
    let (connector, mut first) = Connector::new(tcp);
    let host = endpoint.uri().host().unwrap_or_default();
    let channel = endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|error| Obstacle { why: peer::why(&error, host), may_pass: may_pass(&error) })?;
    let first = tokio::time::timeout(timeout, first.wait_for(|first| *first != First::Nothing)).await;
    let (why, may_pass) = match first.map(|first| first.map(|first| first.clone())) {
        Ok(Ok(First::Fit)) => return Ok(channel),
        Ok(Ok(First::Unfit(why))) => (why, false),
        Ok(_) => (peer::CLOSED.to_owned(), true),
        Err(_) => ("somebody listens there, but does not answer".to_owned(), true),
    };
    Err(Obstacle { why, may_pass })
}

/// Whether another attempt to connect may succeed. Not if TLS refused what it received.
fn may_pass(error: &tonic::transport::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == std::io::ErrorKind::InvalidData) {
            return false;
        }
        source = error.source();
    }
    true
}

fn endpoint(options: &ConnectOptions) -> Result<Endpoint, ConnectError> {
    let invalid =
        |reason: &str| ConnectError::Endpoint { endpoint: options.endpoint.clone(), reason: reason.to_owned() };
    let given = options.endpoint.trim();
    let uri = match given.split_once("://") {
        Some(("http", _)) if options.ca_pem.is_some() => {
            return Err(invalid("http:// uses no TLS, so the CA would be ignored; write https://"));
        }
        Some(("http" | "https", _)) => given.to_owned(),
        Some(_) => return Err(invalid("the scheme must be http or https")),
        None if options.ca_pem.is_some() => format!("https://{given}"),
        None => format!("http://{given}"),
    };
    let endpoint =
        Endpoint::from_shared(uri).map_err(|_| invalid("write host:port, http://host:port or https://host:port"))?;
    let parsed = endpoint.uri();
    // `Uri` does not report a port that is not a number; it is just missing.
    let authority = parsed.authority().map_or("", |authority| authority.as_str());
    let is_whole = parsed.host().is_some_and(|host| match parsed.port_u16() {
        Some(port) => authority == format!("{host}:{port}"),
        None => authority == host,
    });
    // A name without a port could mean any port.
    let is_name_alone = parsed.port_u16().is_none() && !given.contains("://");
    if authority.is_empty() || is_name_alone || !is_whole || parsed.path().len() > 1 || parsed.query().is_some() {
        return Err(invalid("write host:port, http://host:port or https://host:port"));
    }
    let is_tls = parsed.scheme_str() == Some("https");
    let mut endpoint = endpoint
        .connect_timeout(options.connect_timeout)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .user_agent(concat!("pgfox-client/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| invalid(&error.to_string()))?;
    if is_tls {
        let tls = match &options.ca_pem {
            Some(pem) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        endpoint = endpoint.tls_config(tls).map_err(|error| ConnectError::Tls(crate::error::root_cause(&error)))?;
    }
    Ok(endpoint)
}

/// Adds the API key and the deadline to every call.
#[derive(Clone)]
pub struct CallSettings {
    authorization: Option<MetadataValue<Ascii>>,
    call_timeout: Duration,
}

impl CallSettings {
    fn new(options: &ConnectOptions) -> Result<Self, ConnectError> {
        let authorization = match options.api_key.as_deref().map(str::trim).filter(|key| !key.is_empty()) {
            None => None,
            Some(key) if !key.bytes().all(|byte| byte.is_ascii_graphic()) => return Err(ConnectError::ApiKey),
            Some(key) => {
                let mut value: MetadataValue<Ascii> =
                    format!("Bearer {key}").parse().map_err(|_| ConnectError::ApiKey)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self { authorization, call_timeout: options.call_timeout })
    }
}

impl std::fmt::Debug for CallSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallSettings").field("call_timeout", &self.call_timeout).finish_non_exhaustive()
    }
}

impl Interceptor for CallSettings {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        let lasts =
            request.extensions().get::<GrpcMethod<'static>>().is_some_and(|m| LASTING_METHODS.contains(&m.method()));
        if !lasts && !request.metadata().contains_key("grpc-timeout") {
            request.set_timeout(self.call_timeout);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str, ca: Option<&str>) -> Result<String, String> {
        let options = ConnectOptions { ca_pem: ca.map(|pem| pem.as_bytes().to_vec()), ..ConnectOptions::new(text) };
        endpoint(&options).map(|e| e.uri().to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn endpoints() {
        assert_eq!(uri("localhost:50051", None).unwrap(), "http://localhost:50051/");
        assert_eq!(uri("http://[::1]:1", None).unwrap(), "http://[::1]:1/");
        assert_eq!(uri("https://pgfox.example", None).unwrap(), "https://pgfox.example/");
        for bad in ["", "localhost", "ftp://x:1", "http://", "http://host:1/path", "host:port", "a b:1"] {
            assert!(uri(bad, None).is_err(), "{bad:?} was accepted");
        }
        assert!(uri("http://host:1", Some("pem")).unwrap_err().contains("https://"));
    }

    #[test]
    fn the_api_key_stays_hidden() {
        let options = ConnectOptions { api_key: Some("s3cret".into()), ..ConnectOptions::new("h:1") };
        let settings = CallSettings::new(&options).unwrap();
        assert!(!format!("{options:?} {settings:?}").contains("s3cret"));
        let empty = ConnectOptions { api_key: Some(" ".into()), ..options.clone() };
        assert!(CallSettings::new(&empty).unwrap().authorization.is_none());
        for key in ["a\nb", "a b", "ä"] {
            let broken = ConnectOptions { api_key: Some(key.into()), ..options.clone() };
            assert!(matches!(CallSettings::new(&broken), Err(ConnectError::ApiKey)), "{key:?}");
        }
    }

    #[tokio::test]
    async fn timeouts_have_a_range() {
        let default = ConnectOptions::new("127.0.0.1:1");
        let long = MAX_TIMEOUT + Duration::from_secs(1);
        for (options, message) in [
            (
                ConnectOptions { call_timeout: Duration::ZERO, ..default.clone() },
                "call_timeout must be above 0 and at most 86400 s, not 0ns",
            ),
            (
                ConnectOptions { call_timeout: long, ..default.clone() },
                "call_timeout must be above 0 and at most 86400 s, not 86401s",
            ),
            (
                ConnectOptions { connect_timeout: Duration::ZERO, ..default },
                "connect_timeout must be above 0 and at most 86400 s, not 0ns",
            ),
        ] {
            assert_eq!(connect(&options).await.unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_deadline_unless_the_call_lasts_or_has_one() {
        let mut settings = CallSettings::new(&ConnectOptions::new("h:1")).unwrap();
        let mut timeout_of = |method: &'static str, own: Option<u64>| {
            let mut request = Request::new(());
            request.extensions_mut().insert(GrpcMethod::new("pgfox.v1.PgfoxService", method));
            if let Some(seconds) = own {
                request.set_timeout(Duration::from_secs(seconds));
            }
            let request = settings.call(request).unwrap();
            request.metadata().get("grpc-timeout").map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(timeout_of("Search", None).as_deref(), Some("30000000u"));
        assert_eq!(timeout_of("Search", Some(1)).as_deref(), Some("1000000u"));
        assert_eq!(timeout_of("IngestStream", None), None);
    }
}
