//! The connections of callers: their number, what each has to do to stay, and how it ends.
//!
//! A connection is closed if its first call does not come in time; this limit includes the TLS handshake. After its
//! first call it stays until it is idle for too long or the server ends. The client is then asked to leave, so that no
//! call is lost.

mod accept;
mod certificate;
mod slots;
mod without_tls;

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{either::Either, sync::CancellationToken};
use tonic::Code;
use tower::ServiceExt as _;

pub(crate) use accept::Acceptor;
pub use certificate::Certificate;
use slots::Slot;
pub(crate) use slots::Slots;

use crate::app::Limits;

/// Maximum time for a client to answer a ping.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of bytes of a call that may arrive before the server reads them, such as those of a message that
/// waits for its share of the budget.
const STREAM_WINDOW: u32 = 512 * 1024;
/// The same for all calls of a connection. It is larger, so that a few waiting calls do not stop the others.
const CONNECTION_WINDOW: u32 = 32 * STREAM_WINDOW;
/// Maximum size of headers that HTTP accepts, as HTTP/2 counts it. Up to this size, headers that are too large for a
/// call get a clear answer.
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// Maximum time for a client without a call to leave.
const LEAVING: Duration = Duration::from_secs(1);
/// Much longer than any connection lives.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Serves connections.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    http: auto::Builder<TokioExecutor>,
    tls: Option<TlsAcceptorOf>,
    limits: Arc<Limits>,
}

/// A wrapper whose `Debug` hides the session keys.
#[derive(Clone)]
struct TlsAcceptorOf(TlsAcceptor);

impl std::fmt::Debug for TlsAcceptorOf {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TLS")
    }
}

impl Connections {
    /// Serves HTTP/2, and HTTP/1.1 for web pages and for a hint to other clients.
    pub(crate) fn new(limits: Arc<Limits>, certificate: Option<&Certificate>) -> Result<Self, rustls::Error> {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1().timer(TokioTimer::new()).max_buf_size(MAX_HEADER_LIST as usize);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_concurrent_calls)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_LIST)
            .keep_alive_interval(limits.keepalive)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        let tls = certificate.map(Certificate::acceptor).transpose()?.map(TlsAcceptorOf);
        Ok(Self { http, tls, limits })
    }

    /// Accepts connections until `draining`, then waits for the running calls. Dropping the future drops all
    /// connections.
    pub(crate) async fn serve<S, B>(
        self,
        listener: TcpListener,
        slots: Arc<Slots>,
        service: S,
        draining: CancellationToken,
    ) where
        S: tower::Service<Request<tonic::body::Body>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut acceptor = Acceptor::new(listener, slots, "the service");
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                (socket, slot) = acceptor.accept() => {
                    connections.spawn(self.clone().serve_one(socket, slot, service.clone()));
                }
                Some(_) = connections.join_next() => {}
                () = draining.cancelled() => break,
            }
        }
        drop(acceptor);
        while connections.join_next().await.is_some() {}
    }

    async fn serve_one<S, B>(self, socket: TcpStream, slot: Slot, service: S)
    where
        S: tower::Service<Request<tonic::body::Body>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let caller = Arc::new(Caller::new(slot));
        let first_call = caller.since + self.limits.first_call;
        let mut clock = pin!(sleep_until(first_call));
        let stream = tokio::select! {
            stream = self.handshake(socket) => stream,
            () = caller.slot.ended() => return,
            () = &mut clock => {
                caller.slot.stats().silent.add(1);
                return;
            }
        };
        let stream = match stream {
            Ok(stream) => TokioIo::new(stream),
            Err(error) => {
                tracing::debug!("no TLS: {error}");
                return;
            }
        };

        let service = Serving { service, caller: Arc::clone(&caller) };
        let mut connection = pin!(self.http.serve_connection(stream, service));
        let oldest = caller.since + self.limits.max_connection_age.unwrap_or(NEVER);
        clock.as_mut().reset(first_call.min(oldest));
        let mut leaving = false;
        loop {
            tokio::select! {
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!("a connection ended: {error}");
                    }
                    return;
                }
                () = caller.slot.ended(), if !leaving => {
                    if !caller.slot.is_kept() {
                        return;
                    }
                }
                () = &mut clock => {
                    let (is_kept, now) = (caller.slot.is_kept(), Instant::now());
                    let due = if is_kept { caller.last_call() + self.limits.max_connection_idle } else { first_call };
                    if now < due.min(oldest) {
                        clock.as_mut().reset(due.min(oldest));
                        continue;
                    }
                    if leaving && !is_kept {
                        return;
                    }
                    if !leaving && due <= now {
                        let stats = caller.slot.stats();
                        if is_kept { stats.idle.add(1) } else { stats.silent.add(1) }
                    }
                    clock.as_mut().reset(now + if is_kept { NEVER } else { LEAVING });
                }
            }
            leaving = true;
            connection.as_mut().graceful_shutdown();
        }
    }

    async fn handshake(&self, socket: TcpStream) -> io::Result<Either<TcpStream, TlsStream<TcpStream>>> {
        // A client that has already left is detected below.
        let _ = socket.set_nodelay(true);
        match &self.tls {
            None => Ok(Either::Left(socket)),
            Some(_) if without_tls::is_http(&socket).await? => {
                without_tls::answer(socket).await?;
                Err(io::Error::other("a client speaks HTTP without TLS"))
            }
            Some(TlsAcceptorOf(tls)) => tls.accept(socket).await.map(Either::Right),
        }
    }
}

/// The peer of a connection, stored in the extensions of its requests.
#[derive(Debug)]
pub(crate) struct Caller {
    slot: Slot,
    since: Instant,
    running: AtomicUsize,
    /// When the last call ended, in milliseconds since `since`.
    last: AtomicU64,
}

impl Caller {
    fn new(slot: Slot) -> Self {
        Self { slot, since: Instant::now(), running: AtomicUsize::new(0), last: AtomicU64::new(0) }
    }

    /// The client may call, so its connection stays.
    pub(crate) fn keep(&self) {
        self.slot.keep();
    }

    /// When the last call ended, or now if a call is running.
    fn last_call(&self) -> Instant {
        match self.running.load(Ordering::Acquire) {
            0 => self.since + Duration::from_millis(self.last.load(Ordering::Acquire)),
            _ => Instant::now(),
        }
    }
}

/// A running call.
#[derive(Debug)]
struct Running(Arc<Caller>);

impl Running {
    fn begin(caller: &Arc<Caller>) -> Self {
        caller.running.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(caller))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Caller { since, last, running, .. } = &*self.0;
        last.store(since.elapsed().as_millis() as u64, Ordering::Release);
        running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The service of one connection.
#[derive(Clone, Debug)]
struct Serving<S> {
    service: S,
    caller: Arc<Caller>,
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Serving<S>
where
    S: tower::Service<Request<tonic::body::Body>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: 'static,
{
    type Response = Response<Answer<B>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let running = Running::begin(&self.caller);
        let mut request = request.map(tonic::body::Body::new);
        request.extensions_mut().insert(Arc::clone(&self.caller));
        let answer = self.service.clone().oneshot(request);
        Box::pin(async move {
            let answer = answer.await?;
            // Clients without a key may check the health too. A request that is not a call has another HTTP status.
            let code = answer.headers().get("grpc-status");
            if answer.status() == StatusCode::OK
                && code.is_none_or(|code| Code::from_bytes(code.as_bytes()) != Code::Unauthenticated)
            {
                running.0.keep();
            }
            Ok(answer.map(|body| Answer { body, _running: running }))
        })
    }
}

/// The body of an answer together with its call, which ends with the body.
#[derive(Debug)]
struct Answer<B> {
    body: B,
    _running: Running,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
