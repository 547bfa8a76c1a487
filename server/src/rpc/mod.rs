//! The generated trait, with one line per RPC: the deadline of the call, then the function of its noun.

mod collections;
mod documents;
mod embedding;
mod indexes;
mod ingest;
mod messages;
mod search;

pub(crate) use ingest::ingest_followed;
pub(crate) use messages::to_message as document_message;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use pgfox::v1::{self, pgfox_service_server::PgfoxService};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Extensions, Request, Response, Status, Streaming};

use crate::{
    app::{App, Limits},
    budget::{Budget, Received},
    error::Error,
    layers::transport::ClientDeadline,
    store::Class,
};

/// The number of answers that wait for the client to read them. The next one is made only if there is room.
const RESPONSES_QUEUED: usize = 1;

type Reply<T> = Result<Response<T>, Status>;
type ReplyStream<T> = ReceiverStream<Result<T, Status>>;

/// The service: the state that each class of calls needs.
#[derive(Debug)]
pub(crate) struct Service {
    apps: [App; Class::ALL.len()],
    limits: Arc<Limits>,
}

#[tonic::async_trait]
impl PgfoxService for Service {
    async fn create_collection(
        &self,
        request: Request<v1::CreateCollectionRequest>,
    ) -> Reply<v1::CreateCollectionResponse> {
        self.call(Class::Administration, request, self.limits.call_timeout, collections::create).await
    }

    async fn get_collection(&self, request: Request<v1::GetCollectionRequest>) -> Reply<v1::GetCollectionResponse> {
        self.call(Class::Administration, request, self.limits.call_timeout, collections::get).await
    }

    async fn list_collections(
        &self,
        request: Request<v1::ListCollectionsRequest>,
    ) -> Reply<v1::ListCollectionsResponse> {
        self.call(Class::Administration, request, self.limits.call_timeout, collections::list).await
    }

    async fn update_collection(
        &self,
        request: Request<v1::UpdateCollectionRequest>,
    ) -> Reply<v1::UpdateCollectionResponse> {
        self.call(Class::Administration, request, self.limits.ingest_timeout, collections::update).await
    }

    async fn delete_collection(
        &self,
        request: Request<v1::DeleteCollectionRequest>,
    ) -> Reply<v1::DeleteCollectionResponse> {
        self.call(Class::Administration, request, self.limits.call_timeout, collections::delete).await
    }

    async fn retry_failed(&self, request: Request<v1::RetryFailedRequest>) -> Reply<v1::RetryFailedResponse> {
        self.call(Class::Administration, request, self.limits.call_timeout, collections::retry_failed).await
    }

    async fn pause_source(&self, request: Request<v1::PauseSourceRequest>) -> Reply<v1::PauseSourceResponse> {
        self.call(Class::Administration, request, self.limits.call_timeout, collections::pause).await
    }

    async fn resume_source(&self, request: Request<v1::ResumeSourceRequest>) -> Reply<v1::ResumeSourceResponse> {
        self.call(Class::Administration, request, self.limits.call_timeout, collections::resume).await
    }

    async fn ingest(&self, request: Request<v1::IngestRequest>) -> Reply<v1::IngestResponse> {
        let held = received(request.extensions()).take();
        let request = request.map(|request| (request, held));
        self.call(Class::Ingest, request, self.limits.ingest_timeout, ingest::ingest).await
    }

    type IngestStreamStream = ReplyStream<v1::IngestResponse>;

    async fn ingest_stream(&self, request: Request<Streaming<v1::IngestRequest>>) -> Reply<Self::IngestStreamStream> {
        Ok(Response::new(ingest::ingest_stream(self.admit(Class::Ingest)?, request)))
    }

    async fn get_documents(&self, request: Request<v1::GetDocumentsRequest>) -> Reply<v1::GetDocumentsResponse> {
        self.call(Class::Search, request, self.limits.call_timeout, documents::get).await
    }

    async fn list_documents(&self, request: Request<v1::ListDocumentsRequest>) -> Reply<v1::ListDocumentsResponse> {
        self.call(Class::Search, request, self.limits.call_timeout, documents::list).await
    }

    async fn count_documents(&self, request: Request<v1::CountDocumentsRequest>) -> Reply<v1::CountDocumentsResponse> {
        self.call(Class::Search, request, self.limits.call_timeout, documents::count).await
    }

    async fn facet_documents(&self, request: Request<v1::FacetDocumentsRequest>) -> Reply<v1::FacetDocumentsResponse> {
        self.call(Class::Search, request, self.limits.call_timeout, documents::facet).await
    }

    async fn delete_documents(
        &self,
        request: Request<v1::DeleteDocumentsRequest>,
    ) -> Reply<v1::DeleteDocumentsResponse> {
        self.call(Class::Ingest, request, self.limits.ingest_timeout, documents::delete).await
    }

    async fn update_metadata(&self, request: Request<v1::UpdateMetadataRequest>) -> Reply<v1::UpdateMetadataResponse> {
        self.call(Class::Ingest, request, self.limits.ingest_timeout, documents::update_metadata).await
    }

    type BuildIndexStream = ReplyStream<v1::BuildIndexResponse>;

    async fn build_index(&self, request: Request<v1::BuildIndexRequest>) -> Reply<Self::BuildIndexStream> {
        Ok(Response::new(indexes::build(self.admit(Class::Administration)?, request).await?))
    }

    async fn list_indexes(&self, request: Request<v1::ListIndexesRequest>) -> Reply<v1::ListIndexesResponse> {
        self.call(Class::Administration, request, self.limits.call_timeout, indexes::list).await
    }

    async fn drop_index(&self, request: Request<v1::DropIndexRequest>) -> Reply<v1::DropIndexResponse> {
        self.call(Class::Administration, request, self.limits.call_timeout, indexes::drop).await
    }

    async fn search(&self, request: Request<v1::SearchRequest>) -> Reply<v1::SearchResponse> {
        self.call(Class::Search, request, self.limits.call_timeout, search::search).await
    }

    async fn search_batch(&self, request: Request<v1::SearchBatchRequest>) -> Reply<v1::SearchBatchResponse> {
        self.call(Class::Search, request, self.limits.call_timeout, search::search_batch).await
    }
}

impl Service {
    pub(crate) fn new(app: &App) -> Self {
        let apps = Class::ALL.map(|class| App { store: app.store.of(class), ..app.clone() });
        Self { apps, limits: Arc::clone(&app.limits) }
    }

    /// The state for a call of a class, unless there are too many such calls.
    fn admit(&self, class: Class) -> Result<&App, Error> {
        let app = &self.apps[class as usize];
        app.store.admit()?;
        Ok(app)
    }

    /// Runs an operation until the deadline of the client, but at most for `longest`.
    async fn call<'a, Q, A, F>(
        &'a self,
        class: Class,
        request: Request<Q>,
        longest: Duration,
        operation: fn(&'a App, Q, Instant) -> F,
    ) -> Reply<A>
    where
        F: Future<Output = Result<A, Error>>,
    {
        let app = self.admit(class)?;
        let deadline = client_deadline(request.extensions()).min(Instant::now() + longest);
        // A panic is a defect of one call: the call gets an answer, and the connection continues. The operation is
        // boxed, since operations are large and each combinator around them would copy them on the stack.
        let operation = AssertUnwindSafe(Box::pin(operation(app, request.into_inner(), deadline))).catch_unwind();
        let answer =
            within(deadline, async { operation.await.unwrap_or_else(|_| Err(Error::Internal("a panic".into()))) });
        Ok(Response::new(answer.await?))
    }
}

/// When the client gives up. Without a deadline, much later than any connection lives.
fn client_deadline(extensions: &Extensions) -> Instant {
    const NO_DEADLINE: Duration = Duration::from_secs(365 * 24 * 3600);
    extensions.get::<ClientDeadline>().map_or_else(|| Instant::now() + NO_DEADLINE, |deadline| deadline.0)
}

/// The memory that the messages of a call hold.
fn received(extensions: &Extensions) -> Received {
    // The transport sets it for every call. Without it nothing is counted.
    extensions.get().cloned().unwrap_or_else(|| Received::new(Budget::new(usize::MAX, Duration::ZERO)))
}

/// Runs an operation until its deadline. Then dropping it cancels its query.
async fn within<T>(deadline: Instant, operation: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout_at(deadline.into(), operation).await {
        Ok(result) => result,
        Err(_) => Err(Error::DeadlineExceeded),
    }
}
