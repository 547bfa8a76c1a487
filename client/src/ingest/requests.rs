//! Groups documents into requests.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use pgfox::v1::{Document, IngestRequest};
use prost::Message as _;

use super::{BoxError, IngestCause, IngestOptions, MAX_BYTES_PER_REQUEST};

/// Groups documents into requests by count and by bytes.
pub(super) struct Requests<'a, S> {
    documents: Pin<&'a mut S>,
    is_exhausted: bool,
    collection: String,
    skip_invalid: bool,
    only_if_absent: bool,
    max_documents: usize,
    max_bytes: usize,
    /// The request that is being filled. It stays here while waiting for a document, so that `next` can be dropped.
    filling: Vec<Document>,
    filling_bytes: usize,
    /// A document that no longer fitted, with its size. It is the first of the next request.
    carried: Option<(Document, usize)>,
    documents_read: u64,
    next_sequence: i64,
}

impl<'a, S, E> Requests<'a, S>
where
    S: Stream<Item = Result<Document, E>>,
    E: Into<BoxError>,
{
    pub(super) fn new(documents: Pin<&'a mut S>, collection: String, options: &IngestOptions) -> Self {
        Self {
            documents,
            is_exhausted: false,
            collection,
            skip_invalid: options.skip_invalid,
            only_if_absent: options.only_if_absent,
            max_documents: options.documents_per_request,
            max_bytes: options.bytes_per_request,
            filling: Vec::new(),
            filling_bytes: 0,
            carried: None,
            documents_read: 0,
            next_sequence: 1,
        }
    }

    /// Whether every document is in a request that was handed out.
    pub(super) fn is_done(&self) -> bool {
        self.is_exhausted && self.filling.is_empty() && self.carried.is_none()
    }

    /// The next request; None at the end. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<IngestRequest>, IngestCause> {
        if let Some((document, bytes)) = self.carried.take() {
            self.filling.push(document);
            self.filling_bytes = bytes;
        }
        while !self.is_exhausted && self.filling.len() < self.max_documents && self.filling_bytes < self.max_bytes {
            let Some(document) = self.documents.next().await else {
                self.is_exhausted = true;
                break;
            };
            let document = document.map_err(|error| IngestCause::Source(error.into()))?;
            // The field's tag and length are added to the size of the document.
            let bytes = document.encoded_len() + 6;
            if bytes > MAX_BYTES_PER_REQUEST {
                return Err(IngestCause::TooLarge { position: self.documents_read, id: document.id, bytes });
            }
            self.documents_read += 1;
            if self.filling_bytes + bytes > self.max_bytes && !self.filling.is_empty() {
                self.carried = Some((document, bytes));
                break;
            }
            self.filling.push(document);
            self.filling_bytes += bytes;
        }
        if self.filling.is_empty() {
            return Ok(None);
        }
        let request = IngestRequest {
            collection: self.collection.clone(),
            documents: std::mem::take(&mut self.filling),
            sequence: self.next_sequence,
            skip_invalid: self.skip_invalid,
            only_if_absent: self.only_if_absent,
            ..Default::default()
        };
        self.next_sequence += 1;
        self.filling_bytes = 0;
        Ok(Some(request))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn document(id: usize, bytes: usize) -> Result<Document, String> {
        Ok(Document { id: id.to_string(), text: "x".repeat(bytes), ..Default::default() })
    }

    async fn sizes(documents: Vec<Result<Document, String>>, options: &IngestOptions) -> Vec<usize> {
        let stream = pin!(tokio_stream::iter(documents));
        let mut requests = Requests::new(stream, "c".to_owned(), options);
        let mut sizes = Vec::new();
        while let Some(request) = requests.next().await.unwrap() {
            assert!(request.encoded_len() <= 16 << 20);
            assert_eq!(request.sequence, sizes.len() as i64 + 1);
            sizes.push(request.documents.len());
        }
        assert!(requests.is_done());
        sizes
    }

    #[tokio::test]
    async fn requests_are_bounded_by_count_and_bytes() {
        let options = IngestOptions { documents_per_request: 4, bytes_per_request: 1000, ..Default::default() };
        let small = (0..10).map(|i| document(i, 10)).collect();
        assert_eq!(sizes(small, &options).await, [4, 4, 2]);
        let mixed = [10, 2000, 10, 600, 600, 10].iter().enumerate().map(|(i, bytes)| document(i, *bytes)).collect();
        assert_eq!(sizes(mixed, &options).await, [1, 1, 2, 2]);
        assert_eq!(sizes(Vec::new(), &options).await, [0; 0]);
    }

    #[tokio::test]
    async fn a_document_above_the_message_limit_is_named() {
        let options = IngestOptions::default();
        let stream = pin!(tokio_stream::iter([document(0, 1), document(1, 17 << 20)]));
        let mut requests = Requests::new(stream, "c".to_owned(), &options);
        match requests.next().await {
            Err(IngestCause::TooLarge { position: 1, id, .. }) => assert_eq!(id, "1"),
            _ => panic!("not refused"),
        }
    }
}
