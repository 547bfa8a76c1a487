//! The generated trait: each call gets its deadline and goes to the file of its operation.

use std::time::{Duration, Instant};

use pgfox::v1::{self, pgfox_service_server::PgfoxService};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Extensions, Request, Response, Status, Streaming};
use tracing::Instrument as _;

use crate::{
    App, build_index, collections, documents, error::Error, ingest, ingest_stream, list_documents, search,
    search_batch, transport::ClientDeadline, update_collection, update_metadata,
};

/// Answers that wait for the client to read them: the next one is made only when there is room.
const RESPONSES_QUEUED: usize = 1;

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl PgfoxService for App {
    async fn create_collection(
        &self,
        request: Request<v1::CreateCollectionRequest>,
    ) -> Reply<v1::CreateCollectionResponse> {
        let deadline = self.deadline(request.extensions(), self.limits.call_timeout);
        until(deadline, collections::create(self, request.into_inner())).await
    }

    async fn get_collection(&self, request: Request<v1::GetCollectionRequest>) -> Reply<v1::GetCollectionResponse> {
        let deadline = self.deadline(request.extensions(), self.limits.call_timeout);
        until(deadline, collections::get(self, request.into_inner())).await
    }

    async fn list_collections(
        &self,
        request: Request<v1::ListCollectionsRequest>,
    ) -> Reply<v1::ListCollectionsResponse> {
        let deadline = self.deadline(request.extensions(), self.limits.call_timeout);
        until(deadline, collections::list(self, request.into_inner())).await
    }

    async fn update_collection(
        &self,
        request: Request<v1::UpdateCollectionRequest>,
    ) -> Reply<v1::UpdateCollectionResponse> {
        let deadline = self.deadline(request.extensions(), self.limits.ingest_timeout);
        until(deadline, update_collection::update(self, request.into_inner(), deadline)).await
    }

    async fn delete_collection(
        &self,
        request: Request<v1::DeleteCollectionRequest>,
    ) -> Reply<v1::DeleteCollectionResponse> {
        let deadline = self.deadline(request.extensions(), self.limits.call_timeout);
        until(deadline, collections::delete(self, request.into_inner())).await
    }

    async fn ingest(&self, request: Request<v1::IngestRequest>) -> Reply<v1::IngestResponse> {
        let deadline = self.deadline(request.extensions(), self.limits.ingest_timeout);
        until(deadline, ingest::ingest(self, request.into_inner(), deadline)).await
    }

    type IngestStreamStream = ReceiverStream<Result<v1::IngestResponse, Status>>;

    async fn ingest_stream(&self, request: Request<Streaming<v1::IngestRequest>>) -> Reply<Self::IngestStreamStream> {
        let deadline = client_deadline(request.extensions());
        let (responses, stream) = mpsc::channel(RESPONSES_QUEUED);
        let answering = ingest_stream::run(self.clone(), request.into_inner(), responses, deadline);
        tokio::spawn(answering.in_current_span());
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn get_documents(&self, request: Request<v1::GetDocumentsRequest>) -> Reply<v1::GetDocumentsResponse> {
        let deadline = self.deadline(request.extensions(), self.limits.call_timeout);
        until(deadline, documents::get(self, request.into_inner())).await
    }

    async fn list_documents(&self, request: Request<v1::ListDocumentsRequest>) -> Reply<v1::ListDocumentsResponse> {
        let deadline = self.deadline(request.extensions(), self.limits.call_timeout);
        until(deadline, list_documents::list(self, request.into_inner())).await
    }

    async fn count_documents(&self, request: Request<v1::CountDocumentsRequest>) -> Reply<v1::CountDocumentsResponse> {
        let deadline = self.deadline(request.extensions(), self.limits.call_timeout);
        until(deadline, list_documents::count(self, request.into_inner())).await
    }

    async fn delete_documents(
        &self,
        request: Request<v1::DeleteDocumentsRequest>,
    ) -> Reply<v1::DeleteDocumentsResponse> {
        let deadline = self.deadline(request.extensions(), self.limits.ingest_timeout);
        until(deadline, documents::delete(self, request.into_inner(), deadline)).await
    }

    async fn update_metadata(&self, request: Request<v1::UpdateMetadataRequest>) -> Reply<v1::UpdateMetadataResponse> {
        let deadline = self.deadline(request.extensions(), self.limits.ingest_timeout);
        until(deadline, update_metadata::update(self, request.into_inner(), deadline)).await
    }

    type BuildIndexStream = ReceiverStream<Result<v1::BuildIndexResponse, Status>>;

    async fn build_index(&self, request: Request<v1::BuildIndexRequest>) -> Reply<Self::BuildIndexStream> {
        let stream_deadline = client_deadline(request.extensions());
        let deadline = self.deadline(request.extensions(), self.limits.call_timeout);
        let (collection, index_id) = within(deadline, build_index::begin(self, request.into_inner())).await?;
        let (responses, stream) = mpsc::channel(RESPONSES_QUEUED);
        let app = self.clone();
        let answering = async move {
            let followed = tokio::select! {
                followed = within(stream_deadline, build_index::follow(&app, &collection, index_id, &responses)) => followed,
                () = app.draining.cancelled() => Err(Error::ShuttingDown),
            };
            if let Err(error) = followed {
                // Nobody reads it when the client is gone.
                let _ = responses.send(Err(error.into())).await;
            }
        };
        tokio::spawn(answering.in_current_span());
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn list_indexes(&self, request: Request<v1::ListIndexesRequest>) -> Reply<v1::ListIndexesResponse> {
        let deadline = self.deadline(request.extensions(), self.limits.call_timeout);
        until(deadline, build_index::list(self, request.into_inner())).await
    }

    async fn drop_index(&self, request: Request<v1::DropIndexRequest>) -> Reply<v1::DropIndexResponse> {
        let deadline = self.deadline(request.extensions(), self.limits.call_timeout);
        until(deadline, build_index::drop(self, request.into_inner())).await
    }

    async fn search_batch(&self, request: Request<v1::SearchBatchRequest>) -> Reply<v1::SearchBatchResponse> {
        let deadline = self.deadline(request.extensions(), self.limits.call_timeout);
        until(deadline, search_batch::search_batch(self, request.into_inner(), deadline)).await
    }

    async fn search(&self, request: Request<v1::SearchRequest>) -> Reply<v1::SearchResponse> {
        let deadline = self.deadline(request.extensions(), self.limits.call_timeout);
        until(deadline, search::search(self, request.into_inner(), deadline)).await
    }
}

impl App {
    /// The client's deadline, or the longest time the server allows.
    fn deadline(&self, extensions: &Extensions, longest: Duration) -> Instant {
        client_deadline(extensions).min(Instant::now() + longest)
    }
}

/// When the client gives up; much later than any connection lives for one that does not.
fn client_deadline(extensions: &Extensions) -> Instant {
    const NO_DEADLINE: Duration = Duration::from_secs(365 * 24 * 3600);
    extensions.get::<ClientDeadline>().map_or_else(|| Instant::now() + NO_DEADLINE, |deadline| deadline.0)
}

/// Runs an operation until its deadline. Dropping it then cancels its query.
async fn within<T>(deadline: Instant, operation: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout_at(deadline.into(), operation).await {
        Ok(result) => result,
        Err(_) => Err(Error::DeadlineExceeded),
    }
}

async fn until<T>(deadline: Instant, operation: impl Future<Output = Result<T, Error>>) -> Reply<T> {
    Ok(Response::new(within(deadline, operation).await?))
}
