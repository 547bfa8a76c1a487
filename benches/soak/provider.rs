//! A provider with OpenAI's API that can fail.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use http_body_util::BodyExt as _;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use super::documents;

/// How it answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mood {
    Well,
    /// Not at all.
    Hangs,
    /// 503.
    Fails,
    /// 429.
    Limits,
    /// 200, with something other than embeddings.
    Babbles,
    /// After a second.
    Slow,
    /// It closes the connection.
    HangsUp,
}

impl Mood {
    pub(crate) const BAD: [Self; 6] =
        [Self::Hangs, Self::Fails, Self::Limits, Self::Babbles, Self::Slow, Self::HangsUp];

    fn now(state: &AtomicU8) -> Self {
        let moods = [[Self::Well].as_slice(), &Self::BAD].concat();
        let number = state.load(Ordering::Relaxed);
        moods.into_iter().find(|mood| *mood as u8 == number).unwrap_or(Self::Well)
    }
}

/// Stops when dropped.
#[derive(Debug)]
pub(crate) struct Provider {
    address: SocketAddr,
    mood: Arc<AtomicU8>,
    task: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Provider {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let mood = Arc::new(AtomicU8::new(Mood::Well as u8));
        let task = tokio::spawn(serve(listener, Arc::clone(&mood)));
        Ok(Self { address, mood, task })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(crate) fn becomes(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::Relaxed);
    }
}

async fn serve(listener: TcpListener, mood: Arc<AtomicU8>) {
    // They end with the provider.
    let mut connections = JoinSet::new();
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let mood = Arc::clone(&mood);
        connections.spawn(async move {
            let service = hyper::service::service_fn(|request| answer(Arc::clone(&mood), request));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(mood: Arc<AtomicU8>, request: Request<Incoming>) -> io::Result<Response<String>> {
    let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    let (status, text) = match Mood::now(&mood) {
        Mood::Well => embeddings(&body),
        Mood::Slow => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            embeddings(&body)
        }
        Mood::Hangs => {
            while Mood::now(&mood) == Mood::Hangs {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            return Err(io::Error::other("hung"));
        }
        Mood::Fails => (503, json!({ "error": { "message": "the soak", "type": "server_error" } })),
        Mood::Limits => (429, json!({ "error": { "message": "the soak", "type": "rate_limit" } })),
        Mood::Babbles => (200, json!({ "data": "none" })),
        Mood::HangsUp => return Err(io::Error::other("hung up")),
    };
    let mut response = Response::new(text.to_string());
    *response.status_mut() = status.try_into().map_err(io::Error::other)?;
    response
        .headers_mut()
        .insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    Ok(response)
}

fn embeddings(body: &[u8]) -> (u16, Value) {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let texts = request["input"].as_array().map(Vec::as_slice).unwrap_or_default();
    let vectors: Option<Vec<_>> = texts.iter().map(|text| documents::embed(text.as_str()?)).collect();
    // A server that requests any other text sends texts that nobody stored, or cuts them.
    let Some(vectors) = vectors else { return (400, json!({ "error": { "message": "a text of nobody's" } })) };
    let data = vectors.into_iter().enumerate();
    let data = data.map(|(index, vector)| json!({ "object": "embedding", "index": index, "embedding": vector }));
    let usage = json!({ "prompt_tokens": texts.len(), "total_tokens": texts.len() });
    (200, json!({ "object": "list", "model": request["model"], "data": data.collect::<Vec<_>>(), "usage": usage }))
}
