//! Answers clients that come without TLS to a port with TLS.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy, sink},
    net::TcpStream,
    time::timeout,
};

const WHY: &str = "this port speaks TLS: use https://";
/// Maximum time for a client to read the reason. The server reads what the client still sends for the same time.
const LEAVING: Duration = Duration::from_secs(1);
const MAX_UNREAD: u64 = 64 * 1024;
/// INADEQUATE_SECURITY of HTTP/2.
const INADEQUATE_SECURITY: u8 = 0xc;

/// Whether a client begins with a letter, as HTTP does. TLS begins with byte 22.
pub(super) async fn is_http(socket: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(socket.peek(&mut first).await? > 0 && first[0].is_ascii_uppercase())
}

/// Answers a client that [`is_http`] recognizes, and ends the connection.
pub(super) async fn answer(mut socket: TcpStream) -> io::Result<()> {
    let mut first = [0; 3];
    socket.read_exact(&mut first).await?;
    let answer = if first == *b"PRI" { http_2() } else { http_1() };
    socket.write_all(&answer).await?;
    socket.shutdown().await?;
    // Unread bytes would reset the connection before the client reads the answer.
    let _ = timeout(LEAVING, copy(&mut socket.take(MAX_UNREAD), &mut sink())).await;
    Ok(())
}

fn http_1() -> Vec<u8> {
    format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{WHY}\n",
        WHY.len() + 1
    )
    .into_bytes()
}

/// Empty settings, as the protocol requires, and GOAWAY with the reason.
fn http_2() -> Vec<u8> {
    let length = 8 + WHY.len() as u8;
    let mut frames = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    frames.extend([0, 0, length, 7, 0, 0, 0, 0, 0]);
    frames.extend([0, 0, 0, 0, 0, 0, 0, INADEQUATE_SECURITY]);
    frames.extend(WHY.as_bytes());
    frames
}
