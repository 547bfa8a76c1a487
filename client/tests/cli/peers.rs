//! Anything that answers instead of pgfox gets its own message.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::pgfox;

/// A server that answers every connection with these bytes and closes it. Returns its address.
async fn answering(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = socket.read(&mut [0; 1024]).await;
                let _ = socket.write_all(answer).await;
                let _ = socket.shutdown().await;
                // A reset would discard the answer.
                let _ = tokio::time::timeout(Duration::from_secs(1), socket.read_to_end(&mut Vec::new())).await;
            });
        }
    });
    address
}

const PAGE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nserver: nginx\r\ncontent-length: 4\r\nconnection: close\r\n\r\noops";
const TO_HTTPS: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\r\nThe plain HTTP request was sent to HTTPS port";
const SETTINGS_AND_GOAWAY: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x0b\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0cTLS";

#[tokio::test]
async fn servers_of_other_kinds_are_named() {
    for (answer, by_http, by_https) in [
        (PAGE, "speaks only HTTP/1", "the server speaks without TLS; write http://"),
        (TO_HTTPS, "the server speaks TLS; write https://", "the server speaks without TLS; write http://"),
        (b"\x15\x03\x01\0\x02\x02\x46", "the server speaks TLS; write https://", ""),
        (SETTINGS_AND_GOAWAY, "the server speaks TLS; write https://", "write http://"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "an SSH server answers", "an SSH server answers"),
        (b"-ERR unknown command 'PRI'\r\n", "not a gRPC server", "not a gRPC server"),
        // As PostgreSQL does.
        (b"", "closes the connection without an answer, as PostgreSQL does", "closes the connection without an answer"),
    ] {
        let address = answering(answer).await;
        for (scheme, said) in [("http", by_http), ("https", by_https)] {
            let output = pgfox(&format!("{scheme}://{address}"), &["collections", "list"]).await.expect(3);
            output.says(&[&format!("error: cannot connect to {scheme}://{address}: "), said]);
            let error = output.stderr.lines().next().unwrap();
            assert_eq!(output.stderr.lines().filter(|line| line.starts_with("error")).count(), 1, "{error}");
        }
    }
}

#[tokio::test]
async fn nobody_and_nothing_are_named() {
    let output = pgfox("http://127.0.0.1:1", &["collections", "list"]).await.expect(3);
    output.says(&["nobody listens there", "refused"]);
    let output = pgfox("http://no-such-host.invalid:50051", &["collections", "list"]).await.expect(3);
    output.says(&["no-such-host.invalid"]);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut options = pgfox_client::ConnectOptions::new(endpoint);
    options.connect_timeout = Duration::from_millis(300);
    options.retry = false;
    let began = Instant::now();
    let error = pgfox_client::connect(&options).await.unwrap_err().to_string();
    assert!(error.contains("does not answer"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20));
}
