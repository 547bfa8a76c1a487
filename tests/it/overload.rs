//! Requests that demand much of the server, by mistake or on purpose.

mod counts;
mod gzip;
mod in_flight;

use std::io::Write as _;

use http_body_util::{Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use tonic::{Status, body::Body};

/// A client that sends any bytes.
struct RawClient {
    transport: legacy::Client<HttpConnector, Body>,
    address: String,
}

impl RawClient {
    fn new(address: &str) -> Self {
        let transport = legacy::Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        Self { transport, address: address.to_owned() }
    }

    /// The error of a method for a body.
    async fn refusal(&self, method: &str, body: Body) -> Status {
        let request = hyper::Request::post(format!("http://{}/pgfox.v1.PgfoxService/{method}", self.address))
            .header("content-type", "application/grpc")
            .header("grpc-encoding", "gzip")
            .body(body)
            .expect("a request");
        let answer = self.transport.request(request).await.expect("an answer");
        Status::from_header_map(answer.headers()).expect("an error")
    }
}

/// A message as gRPC sends it.
fn framed(compression: u8, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![compression];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    frame
}

fn body(frames: Vec<u8>) -> Body {
    Body::new(Full::new(Bytes::from(frames)))
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(message).expect("memory");
    encoder.finish().expect("memory")
}

/// The beginning of a message, with nothing after it.
fn stalled(length: u32) -> Body {
    use tokio_stream::StreamExt as _;
    let mut beginning = vec![0];
    beginning.extend(length.to_be_bytes());
    let beginning = tokio_stream::once(Ok::<_, Status>(Frame::data(Bytes::from(beginning))));
    Body::new(StreamBody::new(beginning.chain(tokio_stream::pending())))
}

/// A field of a protobuf message that has a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut field);
    field.extend(content);
    field
}
