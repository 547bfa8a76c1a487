//! Finds out who answers at an address. The first bytes of a connection show it, so that a mistake gets its own message
//! before a call fails.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::{AlertDescription, CertificateError};
use tokio::{net::TcpStream, sync::watch};
use tonic::codegen::{BoxFuture, Service, http::Uri};

/// The HTTP/2 code for a client that should use TLS.
const INADEQUATE_SECURITY: u8 = 0xc;
/// Length of the header of an HTTP/2 frame.
const FRAME_HEADER: usize = 9;

/// The first bytes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// None so far.
    Nothing,
    /// From a server that the client can talk to.
    Fit,
    /// From something else. The text says why it cannot work.
    Unfit(String),
    /// The connection ended without any bytes.
    Closed,
}

type TcpError = <HttpConnector as Service<Uri>>::Error;

/// Connects by TCP and checks the first bytes.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    tcp: HttpConnector,
    first: watch::Sender<First>,
}

impl Connector {
    pub(super) fn new(tcp: HttpConnector) -> (Self, watch::Receiver<First>) {
        let (first, receiver) = watch::channel(First::Nothing);
        (Self { tcp, first }, receiver)
    }
}

impl Service<Uri> for Connector {
    type Response = Observed;
    type Error = TcpError;
    type Future = BoxFuture<Observed, TcpError>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let is_tls = uri.scheme_str() == Some("https");
        let first = self.first.clone();
        first.send_replace(First::Nothing);
        let connecting = self.tcp.call(uri);
        Box::pin(async move { Ok(Observed { socket: connecting.await?, is_tls, first: Some(first) }) })
    }
}

/// A connection whose first bytes are checked.
#[derive(Debug)]
pub(super) struct Observed {
    socket: TokioIo<TcpStream>,
    is_tls: bool,
    /// Present until the first bytes have come.
    first: Option<watch::Sender<First>>,
}

impl hyper::rt::Read for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_none() {
            return Pin::new(&mut self.socket).poll_read(context, buffer);
        }
        let mut bytes = vec![0; buffer.remaining().min(8 * 1024)];
        let mut read = hyper::rt::ReadBuf::new(&mut bytes);
        let ended = ready!(Pin::new(&mut self.socket).poll_read(context, read.unfilled()));
        let read = read.filled();
        let first = match &ended {
            Ok(()) if !read.is_empty() => judge(read, self.is_tls),
            _ => First::Closed,
        };
        if let Some(sender) = self.first.take() {
            sender.send_replace(first.clone());
        }
        ended?;
        match first {
            First::Unfit(why) => Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why))),
            _ => {
                buffer.put_slice(read);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl hyper::rt::Write for Observed {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }
}

/// The message for a connection that ended without any bytes.
pub(super) const CLOSED: &str = "the server closes the connection without an answer, as PostgreSQL does, or a server \
    that requires TLS, or a proxy without its server";
const WANTS_TLS: &str = "the server speaks TLS; write https://";
const NO_TLS: &str = "the server speaks without TLS; write http://";

/// Whether the first bytes from a server belong to TLS, or to HTTP/2 without it.
fn judge(bytes: &[u8], is_tls: bool) -> First {
    let has_tls = matches!(bytes, [0x15 | 0x16, 3, ..]);
    if is_tls && has_tls || !is_tls && is_settings(bytes) && !refuses_plain(bytes) {
        return First::Fit;
    }
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().next().unwrap_or_default();
    First::Unfit(if text.starts_with("SSH-") {
        "an SSH server answers, not a gRPC server".into()
    } else if !is_tls && (has_tls || refuses_plain(bytes) || is_http(&text) && says_tls(&text)) {
        WANTS_TLS.into()
    } else if is_tls && (is_settings(bytes) || is_http(&text)) {
        NO_TLS.into()
    } else if is_http(&text) {
        format!("the server speaks only HTTP/1, like a web server or a proxy, but gRPC needs HTTP/2 ({line})")
    } else {
        "something answers that is not a gRPC server".into()
    })
}

fn is_http(text: &str) -> bool {
    text.starts_with("HTTP/")
}

/// The wording of web servers and of pgfox.
fn says_tls(text: &str) -> bool {
    ["HTTPS port", "HTTPS server", "speaks TLS"].iter().any(|words| text.contains(words))
}

/// Whether the bytes are the first frame of HTTP/2.
fn is_settings(bytes: &[u8]) -> bool {
    matches!(bytes, [0, _, _, 4, _, 0, 0, 0, 0, ..])
}

/// Whether GOAWAY follows, because the client came without TLS.
fn refuses_plain(bytes: &[u8]) -> bool {
    let length = bytes.get(2).map_or(0, |length| usize::from(*length));
    let next = bytes.get(FRAME_HEADER + length..).unwrap_or_default();
    next.get(3) == Some(&7) && next.get(FRAME_HEADER + 7) == Some(&INADEQUATE_SECURITY)
}

/// Why there is no connection, in one sentence. `host` is the name that the connection was for.
pub(super) fn why(error: &(dyn std::error::Error + 'static), host: &str) -> String {
    let mut last = error;
    loop {
        if let Some(error) = last.downcast_ref::<rustls::Error>() {
            return why_no_tls(error, host);
        }
        let io = last.downcast_ref::<io::Error>();
        let inner = io.and_then(io::Error::get_ref);
        if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return why_no_tls(error, host);
        }
        match io.map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => return format!("nobody listens there ({last})"),
            Some(io::ErrorKind::TimedOut) => return "nobody answers there in time".into(),
            Some(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => return CLOSED.into(),
            _ => {}
        }
        let Some(source) = last.source() else { break };
        last = source;
    }
    let text = last.to_string();
    if text.starts_with("failed to lookup address") {
        format!("the name {host} is not known ({text})")
    } else if text.contains("HTTP/2 was not negotiated") {
        NO_HTTP_2.into()
    } else {
        text
    }
}

const NO_HTTP_2: &str = "the server speaks TLS but not HTTP/2, which gRPC needs: it is a web server or a proxy";

fn why_no_tls(error: &rustls::Error, host: &str) -> String {
    use rustls::Error::{AlertReceived, InvalidCertificate};
    match error {
        InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the certificate of the server is not trusted, because no known CA has signed it; name its CA".into()
        }
        InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            format!("the certificate of the server is not for the name {host} ({error})")
        }
        InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            format!("the certificate of the server has expired ({error})")
        }
        InvalidCertificate(_) => format!("the certificate of the server is not trusted ({error})"),
        AlertReceived(AlertDescription::NoApplicationProtocol) => NO_HTTP_2.into(),
        _ => format!("TLS cannot be agreed on ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_show_who_answers() {
        let settings = b"\0\0\0\x04\0\0\0\0\0";
        let more_settings = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\x01\0\0\0\0\x04\x08\0\0\0\0\0\0\x0f\0\x01";
        let goaway = [&settings[..], b"\0\0\x0b\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0cTLS"].concat();
        for (bytes, by_http, by_https) in [
            (&settings[..], "", "write http://"),
            (more_settings, "", "write http://"),
            (&goaway, "write https://", "write http://"),
            (b"\x16\x03\x03\0\x7a", "write https://", ""),
            (b"\x15\x03\x01\0\x02\x02\x46", "write https://", ""),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "only HTTP/1", "write http://"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\nsent to HTTPS port", "write https://", "write http://"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH server", "an SSH server"),
            (b"-ERR unknown command\r\n", "not a gRPC server", "not a gRPC server"),
            (b"N", "not a gRPC server", "not a gRPC server"),
        ] {
            for (is_tls, said) in [(false, by_http), (true, by_https)] {
                match judge(bytes, is_tls) {
                    First::Fit => assert_eq!(said, "", "{bytes:?}"),
                    First::Unfit(why) => assert!(!said.is_empty() && why.contains(said), "{bytes:?}: {why}"),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}
