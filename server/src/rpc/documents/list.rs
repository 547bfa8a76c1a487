//! ListDocuments.

use std::{mem, time::Instant};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use pgfox::v1;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::{
    app::App,
    error::Error,
    rpc::messages::{PageBytes, check_size, notes, to_message},
    rules::{MAX_LIMIT, Violation, Violations, fields::Fields, filter},
    store::{DocumentOrder, Listing, Position, StoreError},
};

/// The number of documents per page if the caller does not set it.
const DEFAULT_PAGE: i32 = 100;

pub(in crate::rpc) async fn list(
    app: &App,
    mut request: v1::ListDocumentsRequest,
    deadline: Instant,
) -> Result<v1::ListDocumentsResponse, Error> {
    // The rest of the request is the same for all pages of a listing.
    let (page_size, page_token) = (mem::take(&mut request.page_size), mem::take(&mut request.page_token));
    let digest = Sha256::digest(request.encode_to_vec());
    let digest = digest.first_chunk().copied().unwrap_or_default();
    let v1::ListDocumentsRequest { collection, filter, descending, include_vector, read_mask, .. } = request;

    let mut violations = Violations::default();
    violations.name("collection", &collection);
    let filter = filter.and_then(|filter| filter::read(&mut violations, "filter", filter));
    violations.range("page_size", page_size, 0, MAX_LIMIT);
    let order = match v1::DocumentOrder::try_from(request.order) {
        Ok(v1::DocumentOrder::Unspecified | v1::DocumentOrder::Id) => DocumentOrder::Id,
        Ok(v1::DocumentOrder::CreateTime) => DocumentOrder::Key,
        Err(_) => {
            violations.push(Violation::new("order", "must be a DocumentOrder"));
            DocumentOrder::Id
        }
    };
    let after = (!page_token.is_empty()).then(|| read_token(&page_token, digest, order));
    if after == Some(None) {
        violations.push(foreign_token());
    }
    let fields = Fields::read(&mut violations, read_mask);
    violations.finish()?;

    let mut response = v1::ListDocumentsResponse::default();
    let mut bytes = PageBytes::new(app, &response);
    let limit = if page_size == 0 { DEFAULT_PAGE } else { page_size } as usize;
    let listing = Listing {
        filter: filter.as_ref(),
        order,
        descending,
        after: after.flatten(),
        limit,
        max_bytes: bytes.most(),
        with_text: fields.text,
        with_metadata: fields.with_metadata(),
        with_vector: include_vector,
    };
    let page = match app.store.list_documents(&collection, &listing).await {
        Err(StoreError::CollectionReplaced(_)) => return Err(foreign_token().into()),
        page => page?,
    };

    let count = page.documents.len();
    let is_nothing = count == 0 && page_token.is_empty();
    if is_nothing {
        response.notes = notes(app, &collection, filter.as_ref(), None, deadline).await;
    }
    response.documents.reserve(count);
    let mut last = None;
    for (position, document) in page.documents {
        let mut document = to_message(document)?;
        document.metadata = document.metadata.and_then(|metadata| fields.prune(metadata));
        // Metadata can be several times larger in a message than in storage. A document that is too large for a page
        // comes alone.
        if !bytes.take(&document, token_bytes(&position, order)) && last.is_some() {
            break;
        }
        response.documents.push(document);
        last = Some(position);
    }
    let more = page.more || response.documents.len() < count;
    response.next_page_token = last.filter(|_| more).map(|last| write_token(&last, digest, order)).unwrap_or_default();
    check_size(app, &response)?;
    Ok(response)
}

// A token contains this number, a part of the digest of the request without page_size and page_token, the id of the
// collection, and the id or the key of the last document.
const TOKEN_VERSION: u8 = 1;

type RequestDigest = [u8; 16];

fn foreign_token() -> Violation {
    let rule = "must be the next_page_token of the same request; only page_size may differ";
    Violation::new("page_token", rule)
}

fn write_token(last: &Position, digest: RequestDigest, order: DocumentOrder) -> String {
    let mut token = vec![TOKEN_VERSION];
    token.extend(digest);
    token.extend(last.collection_id.to_be_bytes());
    match order {
        DocumentOrder::Id => token.extend(last.id.as_bytes()),
        DocumentOrder::Key => token.extend(last.key.to_be_bytes()),
    }
    BASE64_URL_SAFE_NO_PAD.encode(token)
}

/// The length of a token.
fn token_bytes(last: &Position, order: DocumentOrder) -> usize {
    let place = match order {
        DocumentOrder::Id => last.id.len(),
        DocumentOrder::Key => size_of_val(&last.key),
    };
    let bytes = size_of_val(&TOKEN_VERSION) + size_of::<RequestDigest>() + size_of_val(&last.collection_id) + place;
    (4 * bytes).div_ceil(3)
}

fn read_token(token: &str, digest: RequestDigest, order: DocumentOrder) -> Option<Position> {
    let token = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
    let token = token.strip_prefix(&[TOKEN_VERSION])?.strip_prefix(&digest)?;
    let (collection_id, last) = token.split_first_chunk()?;
    let collection_id = i64::from_be_bytes(*collection_id);
    Some(match order {
        DocumentOrder::Id => {
            let id = String::from_utf8(last.to_vec()).ok().filter(|id| !id.contains('\0'))?;
            Position { collection_id, id, key: 0 }
        }
        DocumentOrder::Key => {
            Position { collection_id, id: String::new(), key: i64::from_be_bytes(last.try_into().ok()?) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_by_the_request_that_it_is_of() {
        let by_id = Position { collection_id: 7, id: "ä\n".into(), key: 0 };
        let by_key = Position { collection_id: -1, id: String::new(), key: i64::MIN };
        for (order, position) in [(DocumentOrder::Id, by_id), (DocumentOrder::Key, by_key)] {
            let token = write_token(&position, [3; 16], order);
            assert_eq!(token.len(), token_bytes(&position, order));
            assert_eq!(read_token(&token, [3; 16], order), Some(position));
            assert_eq!(read_token(&token, [4; 16], order), None);
            assert_eq!(read_token(&token[..30], [3; 16], order), None);
            assert_eq!(read_token(&format!("{token}="), [3; 16], order), None);
        }
    }
}
