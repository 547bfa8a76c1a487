//! The requests of a page in a browser, and its answers: HTTP/1.1 and the frames of gRPC-Web.

use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Method, Request, Version,
    body::Bytes,
    header::{HeaderName, HeaderValue},
};
use hyper_util::{client::legacy, rt::TokioExecutor};
use prost::Message;
use tonic::{Code, Status};

use super::{APP, PROTO};
use crate::support::{Server, reason};

/// An answer of HTTP.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The names in a header with a list.
    pub(super) fn names(&self, header: &str) -> Vec<&str> {
        self.header(header).split(',').map(str::trim).collect()
    }

    pub(super) fn cors_headers(&self) -> Vec<&HeaderName> {
        self.headers.keys().filter(|name| name.as_str().starts_with("access-control-")).collect()
    }

    /// The messages of gRPC-Web, and its trailers.
    pub(super) fn frames<M: Message + Default>(&self) -> (Vec<M>, HeaderMap) {
        let (mut messages, mut trailers) = (Vec::new(), HeaderMap::new());
        let mut rest = &self.body[..];
        while let Some((head, tail)) = rest.split_first_chunk::<5>() {
            let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
            let (content, tail) = tail.split_at(length);
            rest = tail;
            assert!(trailers.is_empty(), "trailers end an answer");
            match head[0] {
                0 => messages.push(M::decode(content).unwrap()),
                0x80 => trailers = read_trailers(content),
                flag => panic!("a frame with the flag {flag}"),
            }
        }
        assert!(rest.is_empty(), "half a frame: {rest:?}");
        (messages, trailers)
    }

    /// How the call ended, from the trailers, or from the headers of an answer without a message.
    pub(super) fn status(&self) -> Status {
        assert_eq!(self.code, 200, "{self:?}");
        let trailers = if self.headers.contains_key("grpc-status") { &self.headers } else { &self.frames::<()>().1 };
        Status::from_header_map(trailers).unwrap_or_else(|| panic!("no status in {self:?}"))
    }

    /// The code and the reason from the details.
    pub(super) fn error(&self) -> (Code, String) {
        let status = self.status();
        (status.code(), reason(&status).0)
    }
}

fn read_trailers(content: &[u8]) -> HeaderMap {
    let lines = std::str::from_utf8(content).unwrap().lines().map(|line| line.split_once(':').unwrap());
    lines
        .map(|(name, value)| (HeaderName::try_from(name).unwrap(), HeaderValue::from_str(value.trim_start()).unwrap()))
        .collect()
}

/// One request over HTTP/1.1 on a connection of its own.
pub(super) async fn try_send(
    address: &str,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Answer, legacy::Error> {
    let client = legacy::Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = client.request(request.body(Full::new(Bytes::from(body))).unwrap()).await?;
    assert_eq!(response.version(), Version::HTTP_11);
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a whole answer").to_bytes();
    Ok(Answer { code: parts.status.as_u16(), headers: parts.headers, body })
}

pub(super) fn path(method: &str) -> String {
    format!("/pgfox.v1.PgfoxService/{method}")
}

/// The request that a browser sends before it lets a page call.
pub(super) async fn preflight(address: &str, origin: Option<&str>) -> Answer {
    let mut headers = vec![
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,x-grpc-web"),
    ];
    headers.extend(origin.map(|origin| ("origin", origin)));
    try_send(address, Method::OPTIONS, &path("Search"), &headers, Vec::new()).await.unwrap()
}

pub(super) fn frame(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap();
    [&[0], &length.to_be_bytes()[..], &message].concat()
}

/// A call by gRPC-Web with more headers than the usual ones.
pub(super) async fn call_with(
    server: &Server,
    method: &str,
    message: &impl Message,
    headers: &[(&str, &str)],
) -> Answer {
    let usual = [("content-type", PROTO), ("x-grpc-web", "1")];
    let headers = [&usual, headers].concat();
    try_send(&server.address, Method::POST, &path(method), &headers, frame(message)).await.unwrap()
}

/// A call by gRPC-Web from an allowed page.
pub(super) async fn call(server: &Server, method: &str, message: &impl Message) -> Answer {
    let answer = call_with(server, method, message, &[("origin", APP)]).await;
    assert_eq!(answer.header("access-control-allow-origin"), APP, "{answer:?}");
    assert_eq!(answer.header("content-type"), PROTO);
    answer
}
