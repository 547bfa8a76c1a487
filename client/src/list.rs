//! Reads whole lists, page by page.

use std::collections::VecDeque;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use pgfox::v1;
use tonic::Status;

use crate::connect::Client;

/// Every document that the request selects, beginning at its `page_token`. The next page is requested when it is
/// needed. A failure is the last item. Each page has its own deadline.
///
/// ```no_run
/// use futures_util::TryStreamExt as _;
/// use pgfox_client::{Client, all_documents, v1};
///
/// # async fn example(client: Client) -> Result<(), tonic::Status> {
/// let request = v1::ListDocumentsRequest { collection: "films".into(), ..Default::default() };
/// let mut documents = all_documents(&client, request);
/// while let Some(document) = documents.try_next().await? {
///     println!("{}", document.id);
/// }
/// # Ok(())
/// # }
/// ```
pub fn all_documents(
    client: &Client,
    request: v1::ListDocumentsRequest,
) -> BoxStream<'static, Result<v1::Document, Status>> {
    let client = client.clone();
    pages(request.page_token.clone(), move |page_token| {
        let mut client = client.clone();
        let request = v1::ListDocumentsRequest { page_token, ..request.clone() };
        async move {
            let page = client.list_documents(request).await?.into_inner();
            Ok((page.documents, page.next_page_token))
        }
    })
}

/// Every collection, in the way of [`all_documents`].
pub fn all_collections(client: &Client) -> BoxStream<'static, Result<v1::Collection, Status>> {
    let client = client.clone();
    pages(String::new(), move |page_token| {
        let mut client = client.clone();
        async move {
            let request = v1::ListCollectionsRequest { page_token, ..Default::default() };
            let page = client.list_collections(request).await?.into_inner();
            Ok((page.collections, page.next_page_token))
        }
    })
}

/// The entries of all pages, until a page has no token for the next one.
fn pages<T, F>(first: String, fetch: impl Fn(String) -> F + Send + 'static) -> BoxStream<'static, Result<T, Status>>
where
    T: Send + 'static,
    F: Future<Output = Result<(Vec<T>, String), Status>> + Send,
{
    let state = (VecDeque::new(), Some(first), fetch);
    stream::try_unfold(state, async |(mut waiting, mut token, fetch)| {
        while waiting.is_empty()
            && let Some(wanted) = token.take()
        {
            let (items, next) = fetch(wanted).await?;
            waiting.extend(items);
            token = (!next.is_empty()).then_some(next);
        }
        Ok(waiting.pop_front().map(|item| (item, (waiting, token, fetch))))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use futures_util::TryStreamExt as _;

    use super::*;

    /// Five numbers, two per page, with an empty page between. The token is the next number.
    fn numbers(calls: &Arc<AtomicUsize>, fails_at: &'static str) -> BoxStream<'static, Result<usize, Status>> {
        let calls = calls.clone();
        pages(String::new(), move |token| {
            calls.fetch_add(1, Ordering::Relaxed);
            async move {
                match token.as_str() {
                    failing if failing == fails_at => Err(Status::not_found("no films")),
                    "" => Ok((vec![0, 1], "2".to_owned())),
                    "2" => Ok((vec![], "empty".to_owned())),
                    "empty" => Ok((vec![2, 3], "4".to_owned())),
                    _ => Ok((vec![4], String::new())),
                }
            }
        })
    }

    #[tokio::test]
    async fn pages_are_fetched_when_they_are_needed() {
        let calls = Arc::new(AtomicUsize::new(0));
        let mut some = numbers(&calls, "never");
        assert_eq!(calls.load(Ordering::Relaxed), 0);
        assert_eq!((some.try_next().await.unwrap(), some.try_next().await.unwrap()), (Some(0), Some(1)));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        assert_eq!(some.try_collect::<Vec<_>>().await.unwrap(), [2, 3, 4]);
        assert_eq!(calls.load(Ordering::Relaxed), 4);
    }

    #[tokio::test]
    async fn a_failure_is_the_last() {
        let mut all = numbers(&Arc::default(), "4");
        for number in 0..4 {
            assert_eq!(all.try_next().await.unwrap(), Some(number));
        }
        assert_eq!(all.try_next().await.unwrap_err().message(), "no films");
        assert_eq!(all.try_next().await.unwrap(), None);
    }
}
