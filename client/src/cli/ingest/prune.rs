//! `--prune`: deletes the documents of a folder whose files are gone.

use std::collections::HashSet;

use pgfox_client::{Client, v1};

use crate::cli::{
    changes::IDS_PER_REQUEST,
    documents::PAGE_SIZE,
    failure::Failure,
    output,
    read::{Globs, text},
};

/// Maximum number of ids in a message.
const MAX_LISTED: usize = 10;
/// Maximum width of an id in a message.
const MAX_ID_COLUMNS: usize = 80;

/// Documents whose files are gone.
#[derive(Debug, Default)]
pub(super) struct Pruned {
    pub(super) ids: Vec<String>,
    pub(super) is_deleted: bool,
}

/// Finds the documents of the folders that no longer have a file. Documents of files that `--include` and `--exclude`
/// leave out stay.
pub(super) async fn find(
    client: &Client,
    collection: &str,
    folders: &[String],
    files: &HashSet<String>,
    globs: &Globs,
) -> Result<Pruned, Failure> {
    let mut client = client.clone();
    let mut ids = Vec::new();
    for folder in folders {
        let equals = prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(folder.clone())) };
        let test = Some(v1::condition::Test::Equals(equals));
        let condition = v1::Condition { field: text::SOURCE.to_owned(), test, ignore_case: false };
        let mut request = v1::ListDocumentsRequest {
            collection: collection.to_owned(),
            filter: Some(v1::Filter { node: Some(v1::filter::Node::Condition(condition)) }),
            read_mask: Some(prost_types::FieldMask { paths: vec!["id".to_owned()] }),
            page_size: PAGE_SIZE,
            ..Default::default()
        };
        loop {
            let page = client.list_documents(request.clone()).await?.into_inner();
            let gone = page.documents.into_iter().map(|document| document.id);
            ids.extend(gone.filter(|id| !files.contains(id) && globs.take(id)));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(Pruned { ids, is_deleted: false })
}

impl Pruned {
    pub(super) async fn delete(&mut self, client: &Client, collection: &str) -> Result<(), Failure> {
        let mut client = client.clone();
        for ids in self.ids.chunks(IDS_PER_REQUEST) {
            let collection = collection.to_owned();
            client
                .delete_documents(v1::DeleteDocumentsRequest { collection, ids: ids.to_vec(), ..Default::default() })
                .await?;
        }
        self.is_deleted = true;
        Ok(())
    }

    pub(super) fn summary(&self) -> String {
        let mut list: Vec<String> =
            self.ids.iter().take(MAX_LISTED).map(|id| output::one_line(id, MAX_ID_COLUMNS)).collect();
        if self.ids.len() > MAX_LISTED {
            list.push("...".to_owned());
        }
        let (count, list) = (output::counted(self.ids.len() as u64, "document"), list.join(", "));
        match (self.ids.is_empty(), self.is_deleted) {
            (true, _) => "no file is gone\n".to_owned(),
            (false, true) => format!("deleted {count} whose files are gone: {list}\n"),
            (false, false) => format!("would delete {count} whose files are gone: {list}; --yes deletes\n"),
        }
    }
}
