//! Tasks that read. Everything that they find must be complete and appear once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use pgfox::v1::{self, search_request::Query};
use rand::{RngExt as _, rngs::StdRng};

use super::{
    calls::{Client, Outcome, timed, unary},
    documents::{self, State, Store},
    report::Kind,
    workload::Workload,
};

/// A stored document with its version. `Some(None)` if it does not exist, `None` if the call failed.
pub(crate) async fn get(workload: &Workload, server: usize, store: Store, id: &str) -> Option<Option<(State, i64)>> {
    let request = timed(v1::GetDocumentsRequest {
        collection: store.name().to_owned(),
        ids: vec![id.to_owned()],
        include_vector: true,
        allow_missing: true,
    });
    let call = |mut client: Client| async move { unary(client.get_documents(request)).await };
    let Outcome::Done(response) = workload.callers.call(server, "GetDocuments", &[], call).await else { return None };
    let Some(document) = response.documents.first() else { return Some(None) };
    Some(read(workload, store, document).map(|state| (state, document.version)))
}

/// The state that a document shows. A torn one is a violation.
pub(crate) fn read(workload: &Workload, store: Store, document: &v1::Document) -> Option<State> {
    match store.read(document) {
        Ok(state) => Some(state),
        Err(what) => {
            let id = &document.id;
            workload
                .report
                .violation(Kind::Torn, format!("{id} of {}, version {}: {what}", store.name(), document.version));
            None
        }
    }
}

/// Checks that an exact search for the vector of a document finds it first.
pub(crate) async fn find(workload: &Workload, server: usize, store: Store, id: &str, number: u64) {
    let request = v1::SearchRequest {
        query: Some(Query::Vector(v1::Vector { values: documents::vector(id, number) })),
        limit: 3,
        params: Some(v1::SearchParams { exact: true, ..Default::default() }),
        group_by_document: store == Store::Passages,
        ..search_request(store)
    };
    let Some(found) = search(workload, server, store, request).await else { return };
    if found.first().map(String::as_str) != Some(id) {
        let what = format!("an exact search for {id} of {} with number {number} finds {found:?}", store.name());
        workload.report.violation(Kind::Lost, what);
    }
}

fn search_request(store: Store) -> v1::SearchRequest {
    v1::SearchRequest {
        collection: store.name().to_owned(),
        include_vector: true,
        include_full_text: store == Store::Passages,
        ..Default::default()
    }
}

/// Searches and checks the results. Returns their ids.
async fn search(workload: &Workload, server: usize, store: Store, request: v1::SearchRequest) -> Option<Vec<String>> {
    let is_grouped = request.group_by_document;
    let request = timed(request);
    let call = |mut client: Client| async move { unary(client.search(request)).await };
    let Outcome::Done(response) = workload.callers.call(server, "Search", &[], call).await else { return None };
    workload.report.count("searches", 1);
    let mut seen = BTreeSet::new();
    let mut ids = Vec::new();
    for result in &response.results {
        let Some(document) = &result.document else { continue };
        read(workload, store, document);
        let chunk = result.chunk.as_ref().filter(|_| !is_grouped).map(|chunk| chunk.ordinal);
        if !seen.insert((&document.id, chunk)) {
            let what = format!("a search finds {} of {} twice", document.id, store.name());
            workload.report.violation(Kind::Doubled, what);
        }
        ids.push(document.id.clone());
    }
    let distances = response.results.iter().filter_map(|result| result.distance);
    if !distances.is_sorted() && response.results.iter().all(|result| result.full_text_rank.is_none()) {
        workload
            .report
            .violation(Kind::Error, format!("results of {} are not sorted: {:?}", store.name(), response.results));
    }
    Some(ids)
}

/// Searches in every mode, until the end.
pub(crate) async fn searcher(workload: Arc<Workload>, mut random: StdRng) -> Option<()> {
    loop {
        let turn = workload.turn().await?;
        let store = Store::ALL[random.random_range(0..Store::ALL.len())];
        let (writer, group, member) =
            (random.random_range(0..3), random.random_range(0..5), random.random_range(0..20));
        let id = format!("writer{writer}.{group}-{member}");
        let number = random.random_range(0..1000);
        let text = store.text(&id, number);
        let vector = Query::Vector(v1::Vector { values: documents::vector(&id, number) });
        let request = search_request(store);
        let filter = random.random_bool(0.3).then(|| documents::in_group(documents::group(&id)));
        let request = match random.random_range(0..5) {
            0 => {
                let (query, mode) = (Some(Query::Text(text)), v1::SearchMode::FullText.into());
                v1::SearchRequest { query, mode, ..request }
            }
            1 => v1::SearchRequest {
                query: Some(vector),
                mode: v1::SearchMode::Hybrid.into(),
                full_text: text,
                ..request
            },
            2 if store != Store::Points => v1::SearchRequest { query: Some(Query::Text(text)), ..request },
            _ => v1::SearchRequest { query: Some(vector), ..request },
        };
        search(&workload, workload.server(), store, v1::SearchRequest { filter, ..request }).await;
        drop(turn);
    }
}

/// All documents of a collection. `None` if a call failed.
pub(crate) async fn list(workload: &Workload, server: usize, store: Store) -> Option<BTreeMap<String, (State, i64)>> {
    let mut listed = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let request = timed(v1::ListDocumentsRequest {
            collection: store.name().to_owned(),
            page_size: 100,
            page_token,
            include_vector: true,
            ..Default::default()
        });
        let call = |mut client: Client| async move { unary(client.list_documents(request)).await };
        let Outcome::Done(page) = workload.callers.call(server, "ListDocuments", &[], call).await else { return None };
        for document in &page.documents {
            let Some(state) = read(workload, store, document) else { continue };
            if listed.insert(document.id.clone(), (state, document.version)).is_some() {
                let what = format!("{} of {} is listed twice", document.id, store.name());
                workload.report.violation(Kind::Doubled, what);
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Some(listed);
        }
    }
}

/// Lists what is stored, until the end.
pub(crate) async fn lister(workload: Arc<Workload>, mut random: StdRng) -> Option<()> {
    loop {
        let turn = workload.turn().await?;
        let store = Store::ALL[random.random_range(0..Store::ALL.len())];
        list(&workload, workload.server(), store).await;
        drop(turn);
        tokio::time::sleep(super::calls::DEADLINE / 4).await;
    }
}

/// An exact search for a random vector.
pub(crate) async fn find_any(workload: &Workload, server: usize, store: Store, number: u64) {
    let request = v1::SearchRequest {
        query: Some(Query::Vector(v1::Vector { values: documents::vector("any", number) })),
        params: Some(v1::SearchParams { exact: true, ..Default::default() }),
        ..search_request(store)
    };
    search(workload, server, store, request).await;
}
