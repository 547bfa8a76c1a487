//! A small embedding server with OpenAI's API on 127.0.0.1, whose answers a test can choose.
//!
//! Without a script it embeds: `POST /v1/embeddings` returns [`vector`]s. [`Provider::script`] puts other answers
//! first.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Frame, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

/// Default dimensions of every model.
pub(crate) const DIMENSIONS: usize = 32;

/// An answer instead of embeddings.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// This status with an OpenAI-shaped error.
    Status(u16),
    /// Status, headers and body as given.
    Raw(u16, Vec<(&'static str, String)>, String),
    /// 429 `insufficient_quota`.
    QuotaExhausted,
    /// 200 with this body.
    Body(String),
    /// Embeddings, after a wait.
    Slow(Duration),
    /// Embeddings, when the test notifies.
    Held(Arc<Notify>),
    /// Embeddings without that of the last text.
    TooFew,
    /// Embeddings with this many dimensions, whatever was requested.
    Dimensions(usize),
    /// The connection is closed without an answer.
    Hangup,
    /// The connection is closed in the middle of the answer.
    CutOff,
}

/// Stops when dropped.
pub(crate) struct Provider {
    address: SocketAddr,
    state: Arc<State>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    script: Mutex<VecDeque<Answer>>,
    /// Body and authorization of each request.
    requests: Mutex<Vec<(Value, Option<String>)>>,
    texts: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    /// Path and query, and the header `api-key`, of each request.
    addresses: Mutex<Vec<(String, Option<String>)>>,
    /// 0 = no limit.
    max_text_bytes: AtomicUsize,
    max_texts: AtomicUsize,
    /// The form in which limits are refused.
    refusal: Mutex<Option<Refusal>>,
    /// A word that no text may contain, and the status of the answer to those that do.
    forbidden: Mutex<Option<(String, u16)>>,
}

/// Makes the status and the body of a refusal from the actual and the maximum number: bytes of a text, or texts.
pub(crate) type Refusal = fn(actual: usize, max: usize) -> (u16, String);

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { address, state, server }
    }

    /// The value for `OPENAI_BASE_URL`.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The next `times` requests that no earlier script has taken get this answer.
    pub(crate) fn script(&self, answer: Answer, times: usize) {
        self.state.script.lock().unwrap().extend(std::iter::repeat_n(answer, times));
    }

    /// Holds back the answer to the next request that no earlier script has taken, until it is released with
    /// [`Notify::notify_one`].
    pub(crate) fn hold(&self) -> Arc<Notify> {
        let release = Arc::new(Notify::new());
        self.script(Answer::Held(Arc::clone(&release)), 1);
        release
    }

    /// Refuses longer texts, as vLLM refuses more tokens than the model reads. A token is a byte here.
    pub(crate) fn limit_text_bytes(&self, max: usize) {
        self.state.max_text_bytes.store(max, Ordering::SeqCst);
    }

    /// Refuses more texts in a request, like TEI.
    pub(crate) fn limit_texts(&self, max: usize) {
        self.state.max_texts.store(max, Ordering::SeqCst);
    }

    /// Changes the wording of refusals beyond the limits.
    pub(crate) fn refuse_with(&self, refusal: Refusal) {
        *self.state.refusal.lock().unwrap() = Some(refusal);
    }

    /// Refuses texts that contain this word.
    pub(crate) fn forbid(&self, word: &str) {
        *self.state.forbidden.lock().unwrap() = Some((word.to_owned(), 400));
    }

    /// Fails with texts that contain this word.
    pub(crate) fn break_at(&self, word: &str) {
        *self.state.forbidden.lock().unwrap() = Some((word.to_owned(), 500));
    }

    /// Path and query of the last request, and its header `api-key`.
    pub(crate) fn last_address(&self) -> (String, Option<String>) {
        self.state.addresses.lock().unwrap().last().expect("a request").clone()
    }

    /// Number of requests so far, whatever the answer.
    pub(crate) fn requests(&self) -> usize {
        self.state.requests.lock().unwrap().len()
    }

    /// Texts embedded so far.
    pub(crate) fn texts(&self) -> usize {
        self.state.texts.load(Ordering::SeqCst)
    }

    /// Number of requests that are being answered, without those whose client has gone.
    pub(crate) fn under_way(&self) -> usize {
        self.state.under_way.load(Ordering::SeqCst)
    }

    /// Maximum number of requests at a time so far.
    pub(crate) fn most_under_way(&self) -> usize {
        self.state.most_under_way.load(Ordering::SeqCst)
    }

    /// The JSON of each request so far.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.state.requests.lock().unwrap().iter().map(|(body, _)| body.clone()).collect()
    }

    pub(crate) fn last_body(&self) -> Value {
        self.bodies().pop().expect("a request")
    }

    pub(crate) fn last_authorization(&self) -> Option<String> {
        self.state.requests.lock().unwrap().last().expect("a request").1.clone()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The unit vector of a text: the sum of a pseudo-random vector for each word, so texts with common words are near.
pub(crate) fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut sum = vec![0.0_f64; dimensions];
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    for word in words.chain([""]) {
        // FNV-1a, then xorshift64*
        let mut state = word
            .to_lowercase()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        for value in &mut sum {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            let bits = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11;
            *value += bits as f64 / (1_u64 << 52) as f64 - 1.0;
        }
    }
    let norm = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
    sum.iter().map(|value| (value / norm) as f32).collect()
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    // connections end with the server
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = hyper::service::service_fn(|request| answer(Arc::clone(&state), request));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

struct UnderWay(Arc<State>);

impl UnderWay {
    fn start(state: &Arc<State>) -> Self {
        let now = state.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        state.most_under_way.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(state))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

type Answered = Result<Response<BoxBody<Bytes, io::Error>>, io::Error>;

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Answered {
    let _under_way = UnderWay::start(&state);
    let path = request.uri().path();
    let is_embeddings =
        request.method() == "POST" && (path == "/v1/embeddings" || path.starts_with("/openai/deployments/"));
    let api_key = request.headers().get("api-key").map(|value| value.to_str().unwrap().to_owned());
    let address = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    state.addresses.lock().unwrap().push((address, api_key));
    let authorization = request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return error(400, "not JSON", None);
    };
    if !is_embeddings {
        return error(404, "only POST /v1/embeddings is here", None);
    }
    state.requests.lock().unwrap().push((body.clone(), authorization));

    let scripted = state.script.lock().unwrap().pop_front();
    match scripted {
        None => embeddings(&state, &body, None),
        Some(Answer::Status(status)) => error(status, "scripted", None),
        Some(Answer::Raw(status, headers, text)) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(full(text)).unwrap())
        }
        Some(Answer::QuotaExhausted) => error(429, "You exceeded your current quota", Some("insufficient_quota")),
        Some(Answer::Body(text)) => Ok(Response::new(full(text))),
        Some(Answer::Slow(wait)) => {
            tokio::time::sleep(wait).await;
            embeddings(&state, &body, None)
        }
        Some(Answer::Held(release)) => {
            release.notified().await;
            embeddings(&state, &body, None)
        }
        Some(Answer::TooFew) => {
            let mut body = body;
            body["input"].as_array_mut().map(Vec::pop);
            embeddings(&state, &body, None)
        }
        Some(Answer::Dimensions(dimensions)) => embeddings(&state, &body, Some(dimensions)),
        Some(Answer::Hangup) => Err(io::Error::other("scripted")),
        Some(Answer::CutOff) => {
            let half = Ok(Frame::data(Bytes::from_static(br#"{"data": [{"index": 0, "#)));
            let end = Err(io::Error::other("scripted"));
            let body = StreamBody::new(tokio_stream::iter([half, end]));
            Ok(Response::builder().header(CONTENT_TYPE, "application/json").body(BoxBody::new(body)).unwrap())
        }
    }
}

/// Models whose names begin with `fixed-` do not take `dimensions`, and `missing` does not exist.
fn embeddings(state: &State, body: &Value, dimensions: Option<usize>) -> Answered {
    let model = body["model"].as_str().unwrap_or_default();
    let asked = body["dimensions"].as_u64().map(|asked| usize::try_from(asked).unwrap());
    if model.is_empty() || model == "missing" {
        return error(404, &format!("The model `{model}` does not exist"), Some("model_not_found"));
    }
    if asked.is_some() && model.starts_with("fixed-") {
        return error(400, "This model does not support specifying dimensions.", None);
    }
    let Some(texts) = body["input"].as_array() else {
        return error(400, "input is a list here", None);
    };
    let texts: Vec<&str> = texts.iter().map(|text| text.as_str().unwrap_or_default()).collect();
    if texts.iter().any(|text| text.is_empty()) {
        return error(400, "input must be non-empty strings", None);
    }
    let refusal = *state.refusal.lock().unwrap();
    let forbidden = state.forbidden.lock().unwrap().clone();
    if let Some((word, status)) = forbidden
        && texts.iter().any(|text| text.contains(&word))
    {
        return error(status, "input is not allowed", None);
    }
    let max_texts = state.max_texts.load(Ordering::SeqCst);
    if max_texts > 0 && texts.len() > max_texts {
        if let Some((status, body)) = refusal.map(|refusal| refusal(texts.len(), max_texts)) {
            return Ok(Response::builder().status(status).body(full(body)).unwrap());
        }
        return error(422, &format!("batch size {} > maximum allowed batch size {max_texts}", texts.len()), None);
    }
    let max_bytes = state.max_text_bytes.load(Ordering::SeqCst);
    let longest = texts.iter().map(|text| text.len()).max().unwrap_or_default();
    if max_bytes > 0 && longest > max_bytes {
        if let Some((status, body)) = refusal.map(|refusal| refusal(longest, max_bytes)) {
            return Ok(Response::builder().status(status).body(full(body)).unwrap());
        }
        let message = format!(
            "This model's maximum context length is {max_bytes} tokens. However, you requested {longest} tokens in the input"
        );
        return error(400, &message, None);
    }

    state.texts.fetch_add(texts.len(), Ordering::SeqCst);
    let dimensions = dimensions.or(asked).unwrap_or(DIMENSIONS);
    let data = texts
        .iter()
        .enumerate()
        .map(|(index, text)| json!({ "object": "embedding", "index": index, "embedding": vector(text, dimensions) }));
    let tokens: usize = texts.iter().map(|text| text.split_whitespace().count()).sum();
    let reply = json!({
        "object": "list",
        "model": model,
        // OpenAI does not promise an order
        "data": data.rev().collect::<Vec<_>>(),
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    });
    Ok(json_response(200, &reply))
}

fn error(status: u16, message: &str, code: Option<&str>) -> Answered {
    let error = json!({ "message": message, "type": code.unwrap_or("scripted"), "param": null, "code": code });
    Ok(json_response(status, &json!({ "error": error })))
}

fn json_response(status: u16, body: &Value) -> Response<BoxBody<Bytes, io::Error>> {
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
    response
}

fn full(text: String) -> BoxBody<Bytes, io::Error> {
    Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {}).boxed()
}
