//! A pgfox server in memory, with just enough of the service for the client to talk to.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use pgfox_client::v1::{
    pgfox_service_server::{PgfoxService, PgfoxServiceServer},
    *,
};
use tokio_stream::{Stream, StreamExt as _, wrappers::TcpListenerStream};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt as _};

type Reply<T> = Result<Response<T>, Status>;
type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Default)]
pub(crate) struct State {
    pub(crate) collections: BTreeMap<String, (Collection, BTreeMap<String, Document>)>,
    /// Errors for the next IngestStream requests, one each.
    pub(crate) refuse_ingest: VecDeque<Status>,
    /// Pause before a request is stored.
    pub(crate) ingest_pause: Duration,
    /// Number of received requests and of stored documents, repeated ones included.
    pub(crate) ingest_requests: usize,
    pub(crate) stored: usize,
    pub(crate) build_requests: Vec<BuildIndexRequest>,
    /// Number of messages after which the next BuildIndex breaks off.
    pub(crate) break_build_after: Option<usize>,
    /// The `authorization` of the last call.
    pub(crate) authorization: Option<String>,
    pub(crate) search_requests: Vec<SearchRequest>,
    /// Number of searches of each received SearchBatch.
    pub(crate) batches: Vec<usize>,
    /// Number of searches above which a SearchBatch is refused for its size.
    pub(crate) batch_max: Option<usize>,
    pub(crate) list_requests: Vec<ListDocumentsRequest>,
    pub(crate) delete_requests: Vec<DeleteDocumentsRequest>,
    pub(crate) metadata_requests: Vec<UpdateMetadataRequest>,
    /// The notes of every answer that can have notes.
    pub(crate) notes: Vec<String>,
    pub(crate) last_facets: Option<FacetDocumentsRequest>,
    pub(crate) last_count: Option<CountDocumentsRequest>,
    pub(crate) last_update: Option<UpdateCollectionRequest>,
}

#[derive(Clone, Default)]
pub(crate) struct Server {
    pub(crate) state: Arc<Mutex<State>>,
}

impl Server {
    /// Starts on a free port; it ends with the runtime of the test. Returns it with its endpoint.
    pub(crate) async fn start() -> (Self, String) {
        let server = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status("pgfox.v1.PgfoxService", tonic_health::ServingStatus::Serving).await;
        health.set_service_status("pgfox.embedder", tonic_health::ServingStatus::NotServing).await;
        let router = tonic::transport::Server::builder()
            .add_service(PgfoxServiceServer::new(server.clone()).max_decoding_message_size(17 << 20))
            .add_service(health_service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(router);
        (server, endpoint)
    }

    pub(crate) async fn with_collection(collection: Collection) -> (Self, String) {
        let (server, endpoint) = Self::start().await;
        let name = collection.name.clone();
        server.lock().collections.insert(name, (collection, BTreeMap::new()));
        (server, endpoint)
    }

    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn documents(&self, collection: &str) -> BTreeMap<String, Document> {
        self.lock().collections[collection].1.clone()
    }

    fn store(&self, request: IngestRequest) -> Result<IngestResponse, Status> {
        let mut state = self.lock();
        let state = &mut *state;
        state.ingest_requests += 1;
        if let Some(status) = state.refuse_ingest.pop_front() {
            return Err(status);
        }
        let Some((_, stored)) = state.collections.get_mut(&request.collection) else {
            return Err(not_found(&request.collection));
        };
        let mut response = IngestResponse { sequence: request.sequence, ..Default::default() };
        for (index, document) in request.documents.into_iter().enumerate() {
            if document.id.is_empty() || document.text.contains("refuse me") {
                if !request.skip_invalid {
                    return Err(invalid(&format!("documents[{index}].id"), "must not be empty"));
                }
                response.errors.push(DocumentError {
                    index: index as i32,
                    id: document.id,
                    reason: ErrorReason::InvalidField.into(),
                    message: "id: must not be empty".into(),
                });
                continue;
            }
            if request.only_if_absent && stored.contains_key(&document.id) {
                response.skipped_count += 1;
                continue;
            }
            state.stored += 1;
            response.embedded_count += i32::from(!document.text.is_empty());
            match stored.get(&document.id) {
                Some(old) if *old == document => response.unchanged_count += 1,
                Some(_) => {
                    response.upserted_count += 1;
                    response.updated_count += 1;
                }
                None => response.upserted_count += 1,
            }
            response.unembedded_count += i32::from(document.text.is_empty() && document.vector.is_none());
            stored.insert(document.id.clone(), document);
        }
        Ok(response)
    }
}

pub(crate) fn collection(name: &str) -> Collection {
    Collection {
        name: name.into(),
        embedding: Some(Embedding { model: "local/tiny".into(), dimensions: 3, ..Default::default() }),
        distance: Distance::L2.into(),
        vector_type: VectorType::Vector.into(),
        ..Default::default()
    }
}

pub(crate) fn failed(code: Code, reason: &str, message: &str, retry_after: Option<Duration>) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, "pgfox", HashMap::new());
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    Status::with_error_details(code, message, details)
}

fn not_found(collection: &str) -> Status {
    failed(Code::NotFound, "COLLECTION_NOT_FOUND", &format!("there is no collection `{collection}`"), None)
}

fn invalid(field: &str, rule: &str) -> Status {
    let mut details = ErrorDetails::with_error_info("INVALID_FIELD", "pgfox", HashMap::new());
    details.add_bad_request_violation(field, rule);
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {rule}"), details)
}

impl Server {
    /// A collection that follows a table.
    fn followed(&self, name: &str) -> Result<(), Status> {
        let state = self.lock();
        let (collection, _) = state.collections.get(name).ok_or_else(|| not_found(name))?;
        match &collection.source_status {
            Some(_) => Ok(()),
            None => Err(failed(Code::FailedPrecondition, "SOURCE_NOT_FOLLOWED", "it follows no table", None)),
        }
    }
}

#[tonic::async_trait]
impl PgfoxService for Server {
    async fn create_collection(&self, request: Request<CreateCollectionRequest>) -> Reply<CreateCollectionResponse> {
        let mut collection = request.into_inner().collection.unwrap_or_default();
        if collection.name.contains('-') {
            return Err(invalid("collection.name", "must match ^[a-z][a-z0-9_]{0,62}$"));
        }
        collection.embedding.get_or_insert_with(|| Embedding {
            model: "local/tiny".into(),
            dimensions: 3,
            ..Default::default()
        });
        if collection.source.as_ref().is_some_and(|source| source.follow.is_some()) {
            // A table whose name has "bad" in it has a row that fails.
            let failures: Vec<SourceFailure> = [SourceFailure { id: "7".into(), message: "text: is too long".into() }]
                .into_iter()
                .filter(|_| collection.source.as_ref().is_some_and(|source| source.table.contains("bad")))
                .collect();
            let failed_count = failures.len() as i64;
            collection.source_status = Some(SourceStatus { failed_count, failures, ..Default::default() });
        }
        let entry = (collection.clone(), BTreeMap::new());
        if self.lock().collections.insert(collection.name.clone(), entry).is_some() {
            return Err(failed(Code::AlreadyExists, "COLLECTION_EXISTS", "the collection exists", None));
        }
        Ok(Response::new(CreateCollectionResponse { collection: Some(collection), ..Default::default() }))
    }

    async fn get_collection(&self, request: Request<GetCollectionRequest>) -> Reply<GetCollectionResponse> {
        let key = request.metadata().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let name = request.into_inner().name;
        let mut state = self.lock();
        state.authorization = key;
        let (collection, _) = state.collections.get(&name).ok_or_else(|| not_found(&name))?;
        Ok(Response::new(GetCollectionResponse { collection: Some(collection.clone()) }))
    }

    async fn list_collections(&self, request: Request<ListCollectionsRequest>) -> Reply<ListCollectionsResponse> {
        // One per page, so that the client has to turn pages.
        let after = request.into_inner().page_token;
        let state = self.lock();
        let mut rest = state.collections.values().map(|(collection, _)| collection).filter(|c| c.name > after);
        let collections: Vec<Collection> = rest.next().cloned().into_iter().collect();
        let next_page_token = rest.next().map(|_| collections[0].name.clone()).unwrap_or_default();
        Ok(Response::new(ListCollectionsResponse { collections, next_page_token }))
    }

    async fn delete_collection(&self, request: Request<DeleteCollectionRequest>) -> Reply<DeleteCollectionResponse> {
        let name = request.into_inner().name;
        self.lock().collections.remove(&name).ok_or_else(|| not_found(&name))?;
        Ok(Response::new(DeleteCollectionResponse::default()))
    }

    async fn retry_failed(&self, request: Request<RetryFailedRequest>) -> Reply<RetryFailedResponse> {
        self.followed(&request.into_inner().name)?;
        Ok(Response::new(RetryFailedResponse { retried_count: 1 }))
    }

    async fn pause_source(&self, request: Request<PauseSourceRequest>) -> Reply<PauseSourceResponse> {
        self.followed(&request.into_inner().name)?;
        Ok(Response::new(PauseSourceResponse {}))
    }

    async fn resume_source(&self, request: Request<ResumeSourceRequest>) -> Reply<ResumeSourceResponse> {
        self.followed(&request.into_inner().name)?;
        Ok(Response::new(ResumeSourceResponse {}))
    }

    async fn ingest(&self, request: Request<IngestRequest>) -> Reply<IngestResponse> {
        self.store(request.into_inner()).map(Response::new)
    }

    type IngestStreamStream = Responses<IngestResponse>;

    async fn ingest_stream(&self, request: Request<Streaming<IngestRequest>>) -> Reply<Self::IngestStreamStream> {
        let server = self.clone();
        let pause = self.lock().ingest_pause;
        let responses = request.into_inner().then(move |request| {
            let server = server.clone();
            async move {
                tokio::time::sleep(pause).await;
                server.store(request?)
            }
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn get_documents(&self, request: Request<GetDocumentsRequest>) -> Reply<GetDocumentsResponse> {
        let request = request.into_inner();
        let state = self.lock();
        let (_, stored) = state.collections.get(&request.collection).ok_or_else(|| not_found(&request.collection))?;
        let mut response = GetDocumentsResponse::default();
        for id in request.ids {
            match stored.get(&id) {
                Some(document) => response.documents.push(document.clone()),
                None => response.missing_ids.push(id),
            }
        }
        Ok(Response::new(response))
    }

    async fn delete_documents(&self, request: Request<DeleteDocumentsRequest>) -> Reply<DeleteDocumentsResponse> {
        let request = request.into_inner();
        let mut state = self.lock();
        state.delete_requests.push(request.clone());
        let notes = state.notes.clone();
        let (_, stored) =
            state.collections.get_mut(&request.collection).ok_or_else(|| not_found(&request.collection))?;
        let before = stored.len();
        if request.dry_run {
            let count = stored.keys().filter(|id| request.filter.is_some() || request.ids.contains(id)).count();
            return Ok(Response::new(DeleteDocumentsResponse { deleted_count: count as i64, notes }));
        }
        stored.retain(|id, _| request.filter.is_none() && !request.ids.contains(id));
        Ok(Response::new(DeleteDocumentsResponse { deleted_count: (before - stored.len()) as i64, notes }))
    }

    type BuildIndexStream = Responses<BuildIndexResponse>;

    async fn build_index(&self, request: Request<BuildIndexRequest>) -> Reply<Self::BuildIndexStream> {
        let request = request.into_inner();
        let break_after = {
            let mut state = self.lock();
            state.build_requests.push(request.clone());
            state.break_build_after.take()
        };
        let index = Index { name: "films_1".into(), spec: request.spec, size_bytes: 3 << 20, ..Default::default() };
        let message = |phase: IndexPhase, fraction_done: f64| BuildIndexResponse {
            phase: phase.into(),
            fraction_done,
            elapsed: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
            index: Some(index.clone()),
            warnings: Vec::new(),
        };
        let mut messages = vec![
            Ok(BuildIndexResponse { warnings: vec!["little memory".into()], ..message(IndexPhase::Queued, 0.0) }),
            Ok(message(IndexPhase::Building, 0.5)),
            Ok(message(IndexPhase::Ready, 1.0)),
        ];
        if let Some(count) = break_after {
            messages.truncate(count);
            messages.push(Err(failed(Code::Unavailable, "SHUTTING_DOWN", "shutting down", None)));
        }
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }

    async fn list_indexes(&self, _: Request<ListIndexesRequest>) -> Reply<ListIndexesResponse> {
        let spec = IndexSpec { kind: Some(index_spec::Kind::IvfFlat(IvfFlat { lists: 10 })), allow_few_rows: false };
        let index = Index {
            name: "films_1".into(),
            spec: Some(spec),
            state: IndexState::Ready.into(),
            size_bytes: 1024,
            scan_count: 1_234,
            create_time: None,
            ..Default::default()
        };
        Ok(Response::new(ListIndexesResponse { indexes: vec![index] }))
    }

    async fn drop_index(&self, _: Request<DropIndexRequest>) -> Reply<DropIndexResponse> {
        Ok(Response::new(DropIndexResponse {}))
    }

    async fn update_collection(&self, request: Request<UpdateCollectionRequest>) -> Reply<UpdateCollectionResponse> {
        let request = request.into_inner();
        self.lock().last_update = Some(request.clone());
        Ok(Response::new(UpdateCollectionResponse { collection: request.collection }))
    }

    /// Two documents per page, so that the client has to turn pages. A filter excludes only documents of another
    /// source.
    async fn list_documents(&self, request: Request<ListDocumentsRequest>) -> Reply<ListDocumentsResponse> {
        let request = request.into_inner();
        let mut state = self.lock();
        state.list_requests.push(request.clone());
        let (_, stored) = state.collections.get(&request.collection).ok_or_else(|| not_found(&request.collection))?;
        let is_asked_for = |document: &&Document| match request.filter.as_ref().and_then(|filter| filter.node.as_ref())
        {
            Some(filter::Node::Condition(Condition {
                field,
                test: Some(condition::Test::Equals(source)),
                ignore_case: false,
            })) if field == "source" => {
                document.metadata.as_ref().and_then(|metadata| metadata.fields.get(field)) == Some(source)
            }
            _ => true,
        };
        let mut rest = stored.values().filter(|document| document.id > request.page_token).filter(is_asked_for);
        let documents: Vec<Document> = rest.by_ref().take(2.min(request.page_size as usize)).cloned().collect();
        let next_page_token = rest.next().and(documents.last()).map(|last| last.id.clone()).unwrap_or_default();
        let time = prost_types::Timestamp { seconds: 1_714_521_600, nanos: 250_000_000 };
        let stored = |document| Document { version: 2, create_time: Some(time), update_time: Some(time), ..document };
        let documents = documents.into_iter().map(stored).collect();
        Ok(Response::new(ListDocumentsResponse { documents, next_page_token, notes: state.notes.clone() }))
    }

    /// Always the same: a string, a number and a boolean.
    async fn facet_documents(&self, request: Request<FacetDocumentsRequest>) -> Reply<FacetDocumentsResponse> {
        use prost_types::value::Kind;
        let mut state = self.lock();
        state.last_facets = Some(request.into_inner());
        let notes = state.notes.clone();
        let facet = |kind, count| FacetValue { value: Some(prost_types::Value { kind: Some(kind) }), count };
        let values = match notes.is_empty() {
            true => vec![
                facet(Kind::StringValue("red".into()), 1_234),
                facet(Kind::NumberValue(-0.5), 5),
                facet(Kind::BoolValue(true), 1),
            ],
            false => Vec::new(),
        };
        Ok(Response::new(FacetDocumentsResponse { values, other_value_count: 1, without_value_count: 2, notes }))
    }

    async fn count_documents(&self, request: Request<CountDocumentsRequest>) -> Reply<CountDocumentsResponse> {
        let request = request.into_inner();
        let count = self.documents(&request.collection).len() as i64;
        let mut state = self.lock();
        state.last_count = Some(request);
        Ok(Response::new(CountDocumentsResponse { count, notes: state.notes.clone() }))
    }

    async fn update_metadata(&self, request: Request<UpdateMetadataRequest>) -> Reply<UpdateMetadataResponse> {
        let request = request.into_inner();
        let count = self.documents(&request.collection).len() as i64;
        self.lock().metadata_requests.push(request);
        let notes = self.lock().notes.clone();
        Ok(Response::new(UpdateMetadataResponse { matched_count: count, updated_count: count - 1, notes }))
    }

    async fn search_batch(&self, request: Request<SearchBatchRequest>) -> Reply<SearchBatchResponse> {
        let searches = request.into_inner().searches;
        {
            let mut state = self.lock();
            state.batches.push(searches.len());
            if state.batch_max.is_some_and(|max| searches.len() > max) {
                return Err(failed(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", "the response is too large", None));
            }
        }
        let mut responses = Vec::new();
        for search in searches {
            responses.push(self.search(Request::new(search)).await?.into_inner());
        }
        Ok(Response::new(SearchBatchResponse { responses }))
    }

    /// Finds every document in the order of the ids. A text such as `find b a` finds these. With `highlight` the
    /// word is "fox", and "dog" is excluded.
    async fn search(&self, request: Request<SearchRequest>) -> Reply<SearchResponse> {
        let request = request.into_inner();
        if request.collection == "slow" {
            std::future::pending::<()>().await;
        }
        let mut state = self.lock();
        state.search_requests.push(request.clone());
        let (_, stored) = state.collections.get(&request.collection).ok_or_else(|| not_found(&request.collection))?;
        let asked: Option<Vec<&str>> = match &request.query {
            Some(search_request::Query::Text(text)) => text.strip_prefix("find ").map(|ids| ids.split(' ').collect()),
            _ => None,
        };
        let documents: Vec<&Document> = match asked {
            Some(ids) => ids.iter().filter_map(|id| stored.get(*id)).collect(),
            None => stored.values().collect(),
        };
        let found = documents.into_iter().take(request.limit as usize).enumerate().map(|(i, document)| SearchResult {
            document: Some(document.clone()),
            distance: Some(i as f32 + 0.1),
            score: 1.0 / (i as f32 + 1.1),
            highlights: highlights(&document.text, request.highlight),
            ..Default::default()
        });
        let results: Vec<SearchResult> = found.collect();
        let is_short = results.len() < request.limit as usize;
        Ok(Response::new(SearchResponse {
            completeness: Completeness::Exact.into(),
            usage: Some(Usage { tokens: 4, ..Default::default() }),
            short_reason: if is_short { ShortReason::FewDocuments.into() } else { 0 },
            results,
            explanation: request.explain.then(|| Explanation {
                plan_node: "Index Scan".into(),
                index: "films_1".into(),
                rows_scanned: 1_234,
                rows_filtered: 12,
                notes: vec!["year is never a string".into()],
                plan_json: "[{\"Plan\": {}}]".into(),
                ..Default::default()
            }),
            notes: state.notes.clone(),
            excluded_words: if request.highlight { vec!["dog".into()] } else { Vec::new() },
            ..Default::default()
        }))
    }
}

fn highlights(text: &str, is_wanted: bool) -> Vec<Highlight> {
    let place = text.find("fox").filter(|_| is_wanted).map(|at| at as i32);
    let highlight = |start: i32| Highlight {
        end: text.chars().count() as i32,
        text: text.into(),
        words: vec![Span { start, end: start + 3 }],
        ..Default::default()
    };
    place.map(highlight).into_iter().collect()
}
