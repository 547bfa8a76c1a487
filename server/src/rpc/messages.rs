//! Parts of answers that several RPCs share.

use std::time::{Duration, Instant};

use pgfox::v1;

use crate::{
    app::App,
    error::Error,
    rules::json,
    store::{FieldPath, Filter, StoreError, StoredDocument},
};

/// A document as the API shows it.
pub(crate) fn to_message(document: StoredDocument) -> Result<v1::Document, Error> {
    let metadata =
        json::read(&document.metadata).map_err(|error| Error::Internal(format!("jsonb that is not JSON: {error}")))?;
    let (version, create_time, update_time) = match document.version {
        Some(version) => (version.number, Some(version.created_at.into()), Some(version.updated_at.into())),
        None => (0, None, None),
    };
    Ok(v1::Document {
        id: document.id,
        text: document.text,
        vector: document.vector.map(|values| v1::Vector { values }),
        metadata: (!metadata.fields.is_empty()).then_some(metadata),
        version,
        create_time,
        update_time,
    })
}

/// Metadata can be several times larger in a message than as JSON.
pub(crate) fn check_size(app: &App, response: &impl prost::Message) -> Result<(), Error> {
    let limit = app.limits.max_response_bytes;
    if response.encoded_len() > limit {
        return Err(StoreError::ResponseTooLarge { limit }.into());
    }
    Ok(())
}

/// Maximum size of a page of a listing: below the 4 MiB that clients receive by default.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024 - 1;
/// Length of the prefix of each message: one byte for compression, four for the length.
const MESSAGE_PREFIX: usize = 5;

/// Counts the bytes of a page of a listing, including everything that is sent with it.
#[derive(Debug)]
pub(crate) struct PageBytes {
    used: usize,
    most: usize,
}

impl PageBytes {
    /// The bytes of a page that begins as `response`.
    pub(crate) fn new(app: &App, response: &impl prost::Message) -> Self {
        let most = MAX_PAGE_BYTES.min(app.limits.max_response_bytes);
        Self { used: MESSAGE_PREFIX + response.encoded_len(), most }
    }

    /// The maximum number of bytes.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Adds an entry of a field if the page has room for it and for a token of `token` bytes. Returns whether it has.
    pub(crate) fn take(&mut self, entry: &impl prost::Message, token: usize) -> bool {
        let used = self.used + field_bytes(entry.encoded_len());
        let fits = used + field_bytes(token) <= self.most;
        if fits {
            self.used = used;
        }
        fits
    }
}

/// The size of a field with `content` bytes. Its tag takes one byte up to field number 15.
fn field_bytes(content: usize) -> usize {
    1 + prost::length_delimiter_len(content) + content
}

/// Why no document matches and why a field has no values, as far as that can be found out quickly.
pub(crate) async fn notes(
    app: &App,
    collection: &str,
    filter: Option<&Filter>,
    field: Option<&FieldPath>,
    deadline: Instant,
) -> Vec<String> {
    let left = deadline.saturating_duration_since(Instant::now());
    app.store.notes(collection, filter, field, app.limits.notes.min(left / 2)).await
}

/// Converts a duration of at most hours.
pub(crate) fn to_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.as_secs() as i64, nanos: duration.subsec_nanos() as i32 }
}
