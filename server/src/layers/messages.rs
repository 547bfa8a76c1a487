//! Receives the messages of a call. Before tonic buffers and decodes a message, the message gets its share of the
//! budget, is decompressed, and is searched for counts that are too large. Work that takes long leaves the async
//! threads.

use std::{
    io::Read as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use flate2::read::GzDecoder;
use futures_util::future::BoxFuture;
use http::{Request, request};
use http_body::{Body as _, Frame};
use tokio::time::Sleep;
use tonic::{Status, body::Body};

use crate::{
    blocking::blocking,
    budget::{Budget, Held, Received},
    error::Error,
    rules::counts::{self, Method, Refused},
};

/// A message of at most this size is handled at once and not counted. Nearly all searches are this small.
const SMALL: usize = 64 * 1024;
/// The same limit for the bytes of memory that a small message takes when it is decoded.
const SMALL_DECODED: usize = 1024 * 1024;
/// How often the bytes of a message are in memory: as it arrives, as the copy to decode, and decoded.
const COPIES: usize = 3;
/// Maximum size of a message for health and reflection, in bytes.
const MAX_OTHER_BYTES: usize = SMALL;
/// Maximum time for a large message to arrive after it has got its bytes, so that no client holds them idle.
const ARRIVAL: Duration = Duration::from_secs(60);
/// Length of the header before each message: one byte for compression, four for the length.
const HEADER: usize = 5;

/// The limits for messages.
#[derive(Clone, Debug)]
pub(crate) struct Messages {
    pub(crate) max_bytes: usize,
    /// The budget of requests that store documents.
    pub(crate) ingest: Budget,
    /// The budget of all other requests, so that they never wait for ingest.
    pub(crate) others: Budget,
}

impl Messages {
    /// Wraps the request so that its messages are checked, and adds their share of the budget to its extensions.
    pub(super) fn receive<B>(&self, request: Request<B>) -> (Request<Body>, Received)
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (mut parts, body) = request.into_parts();
        let rules = self.rules(&parts);
        let received = Received::new(rules.budget.clone());
        parts.extensions.insert(received.clone());
        let body = MessageBody {
            inner: Body::new(body),
            rules,
            received: received.clone(),
            buffer: BytesMut::new(),
            held: None,
            arrival: None,
            count: 0,
            state: State::Reading,
        };
        (Request::from_parts(parts, Body::new(body)), received)
    }

    fn rules(&self, parts: &request::Parts) -> Rules {
        let path = parts.uri.path();
        let method = counts::method(path);
        let stores = path.ends_with("/Ingest") || path.ends_with("/IngestStream");
        Rules {
            method,
            max_bytes: if method.is_some() { self.max_bytes } else { MAX_OTHER_BYTES.min(self.max_bytes) },
            has_gzip: parts.headers.get("grpc-encoding").is_some_and(|encoding| encoding == "gzip"),
            budget: if stores { self.ingest.clone() } else { self.others.clone() },
        }
    }
}

/// The rules for the messages of a call.
#[derive(Clone, Debug)]
struct Rules {
    /// `None` for a service other than pgfox's own.
    method: Option<Method>,
    max_bytes: usize,
    has_gzip: bool,
    budget: Budget,
}

/// A body that yields one checked message at a time, as one frame of data.
struct MessageBody {
    inner: Body,
    rules: Rules,
    received: Received,
    /// The part of the next message that has arrived.
    buffer: BytesMut,
    /// The share of a large message while it arrives. `arrival` is the time limit for that.
    held: Option<Held>,
    arrival: Option<Pin<Box<Sleep>>>,
    /// The number of messages passed on.
    count: u64,
    state: State,
}

enum State {
    Reading,
    /// Waits for its share of the budget.
    Waiting(BoxFuture<'static, Result<Held, Error>>),
    /// Checks a large message.
    Checking(BoxFuture<'static, Result<(Bytes, Held), Error>>),
    /// A large message that was announced to the poller.
    Announced(Bytes),
    Ended,
}

type Polled = Option<Result<Frame<Bytes>, Status>>;

impl http_body::Body for MessageBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Polled> {
        let polled = ready!(self.poll_message(context));
        Poll::Ready(
            polled
                .transpose()
                .map_err(|error| {
                    self.state = State::Ended;
                    // A refused call holds no bytes.
                    (self.held, self.buffer) = (None, BytesMut::new());
                    Status::from(error)
                })
                .transpose(),
        )
    }

    fn is_end_stream(&self) -> bool {
        match self.state {
            State::Reading => self.buffer.is_empty() && self.inner.is_end_stream(),
            State::Ended => true,
            _ => false,
        }
    }
}

impl MessageBody {
    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            match &mut self.state {
                State::Reading => {
                    if let Some(header) = self.header(&self.buffer)? {
                        if self.buffer.len() >= header.end() && (self.held.is_some() || header.length <= SMALL) {
                            let message = self.buffer.split_to(header.end()).freeze();
                            if let Some(frame) = self.finish(header, message)? {
                                return Poll::Ready(Some(Ok(frame)));
                            }
                            continue;
                        }
                        if self.held.is_none() && header.length > SMALL {
                            self.state = State::Waiting(self.reserve(header));
                            continue;
                        }
                    }
                    if let Some(arrival) = &mut self.arrival
                        && arrival.as_mut().poll(context).is_ready()
                    {
                        return Poll::Ready(Some(Err(Error::DeadlineExceeded)));
                    }
                    match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                        None if self.buffer.is_empty() => return Poll::Ready(None),
                        None => return Poll::Ready(Some(Err(Error::undecodable("a message ends before its length")))),
                        Some(Err(status)) => return Poll::Ready(Some(Err(Error::Transport(Box::new(status))))),
                        Some(Ok(frame)) => match frame.into_data() {
                            Err(other) => return Poll::Ready(Some(Ok(other))),
                            Ok(data) => {
                                if let Some(frame) = self.arrived(data)? {
                                    return Poll::Ready(Some(Ok(frame)));
                                }
                            }
                        },
                    }
                }
                State::Waiting(waiting) => {
                    self.held = Some(ready!(waiting.as_mut().poll(context))?);
                    self.arrival = Some(Box::pin(tokio::time::sleep(ARRIVAL)));
                    self.state = State::Reading;
                }
                State::Checking(checking) => {
                    let (message, held) = ready!(checking.as_mut().poll(context))?;
                    self.received.put(held);
                    self.state = State::Announced(message);
                    // The poller now knows that decoding takes long.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                State::Announced(message) => {
                    let message = std::mem::take(message);
                    self.state = State::Reading;
                    return Poll::Ready(Some(Ok(Frame::data(message))));
                }
                State::Ended => return Poll::Ready(None),
            }
        }
    }

    /// Takes in data that has arrived. A small message that arrived as a whole is passed on as it is.
    fn arrived(&mut self, data: Bytes) -> Result<Option<Frame<Bytes>>, Error> {
        if self.buffer.is_empty()
            && let Some(header) = self.header(&data)?
            && header.length <= SMALL
            && header.end() == data.len()
        {
            return self.finish(header, data);
        }
        self.buffer.extend_from_slice(&data);
        Ok(None)
    }

    /// The header of the next message, if it has arrived.
    fn header(&self, mut bytes: &[u8]) -> Result<Option<Header>, Error> {
        if bytes.len() < HEADER {
            return Ok(None);
        }
        let compression = bytes.get_u8();
        let header = Header { is_compressed: compression == 1, length: bytes.get_u32() as usize };
        let why = match compression {
            0 => None,
            1 if self.rules.has_gzip || self.rules.method.is_none() => None,
            1 => Some("it is compressed, but grpc-encoding does not name the compression"),
            _ => Some("the byte before its length is neither 0 nor 1"),
        };
        if let Some(why) = why {
            return Err(Error::undecodable(why));
        }
        if self.count > 0 && self.rules.method.is_some_and(|method| !method.is_streaming) {
            return Err(Error::undecodable("the call has more than one message"));
        }
        if header.length > self.rules.max_bytes {
            return Err(Error::message_too_large(self.rules.max_bytes));
        }
        Ok(Some(header))
    }

    /// Waits for the bytes that a large message takes. The size of a compressed message is known only at its end.
    fn reserve(&self, header: Header) -> BoxFuture<'static, Result<Held, Error>> {
        let bytes = if header.is_compressed { self.rules.max_bytes } else { header.length };
        let mut held = self.rules.budget.begin();
        Box::pin(async move {
            held.set(COPIES * bytes).await?;
            Ok(held)
        })
    }

    /// Checks a complete message: a small one at once, a large one off the async threads.
    fn finish(&mut self, header: Header, message: Bytes) -> Result<Option<Frame<Bytes>>, Error> {
        self.count += 1;
        self.arrival = None;
        let rules = &self.rules;
        let Some(method) = rules.method else { return Ok(Some(Frame::data(message))) };
        let size = if header.is_compressed { gzip_size(&message)? } else { header.length };
        if size > rules.max_bytes {
            let most = rules.max_bytes;
            let refusing = async move { Err(blocking(move || oversized(&message, most)).await?) };
            self.state = State::Checking(Box::pin(refusing));
            return Ok(None);
        }
        let held = self.held.take();
        let checked = if held.is_none() && size <= SMALL {
            let (message, decoded) = open(header, &message, size, method)?;
            if decoded <= SMALL_DECODED {
                return Ok(Some(Frame::data(message)));
            }
            Some((message, decoded))
        } else {
            None
        };
        let mut held = held.unwrap_or_else(|| rules.budget.begin());
        let most = rules.budget.bytes();
        self.state = State::Checking(Box::pin(async move {
            let (message, decoded) = match checked {
                Some(checked) => checked,
                None => {
                    held.set(COPIES * size).await?;
                    blocking(move || open(header, &message, size, method)).await??
                }
            };
            let bytes = message.len() + decoded;
            if bytes > most {
                let why = format!(
                    "the request takes {bytes} bytes of memory, and requests may take at most {most}; send fewer \
                     documents at a time"
                );
                return Err(Error::TooLarge(why));
            }
            held.set(bytes).await?;
            Ok((message, held))
        }));
        Ok(None)
    }
}

#[derive(Clone, Copy)]
struct Header {
    is_compressed: bool,
    length: usize,
}

impl Header {
    fn end(self) -> usize {
        HEADER + self.length
    }
}

/// The uncompressed message of `size` bytes, and the number of bytes of memory that decoding it takes.
fn open(header: Header, message: &Bytes, size: usize, method: Method) -> Result<(Bytes, usize), Error> {
    let message = if header.is_compressed { inflate(&message[HEADER..], size)? } else { message.clone() };
    let decoded = counts::check(method, &message[HEADER..]).map_err(|refused| match refused {
        Refused::TooMany(violations) => Error::Invalid(violations),
        Refused::Undecodable(error) => Error::undecodable(&error.to_string()),
    })?;
    Ok((message, decoded))
}

/// The uncompressed size of a gzip message, as its last four bytes say.
fn gzip_size(message: &[u8]) -> Result<usize, Error> {
    let size = message[HEADER..].last_chunk().copied().map(u32::from_le_bytes);
    size.map(|size| size as usize).ok_or_else(no_gzip)
}

/// The error for a message that claims to be larger than the limit. It may be damaged instead.
fn oversized(message: &[u8], most: usize) -> Error {
    let mut content = GzDecoder::new(&message[HEADER..]).take(most as u64 + 1);
    match std::io::copy(&mut content, &mut std::io::sink()) {
        Ok(read) if read > most as u64 => Error::message_too_large(most),
        _ => no_gzip(),
    }
}

/// Decompresses a message, which must have exactly this size.
fn inflate(compressed: &[u8], size: usize) -> Result<Bytes, Error> {
    let mut message = Vec::with_capacity(HEADER + size + 1);
    message.push(0);
    // At most the size limit of a message, which fits in four bytes.
    message.extend((size as u32).to_be_bytes());
    let read = GzDecoder::new(compressed).take(size as u64 + 1).read_to_end(&mut message);
    if read.ok() == Some(size) { Ok(message.into()) } else { Err(no_gzip()) }
}

fn no_gzip() -> Error {
    Error::undecodable("it is not gzip, or it is damaged")
}
