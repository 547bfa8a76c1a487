//! Which languages the words of a collection are stemmed by, where its texts decide.

use std::{collections::BTreeSet, time::Duration};

use super::{ChunkWords, Content, NewDocument};
use crate::{
    store::{Collection, Store, StoreError, transaction::Transaction},
    words::{Language, TextLanguage},
};

impl Store {
    /// Adds the languages of documents that are about to be written to those of the collection, so that a search that finds
    /// the documents knows their languages: before they are written, and in a transaction of its own, so that no lock on the
    /// collection is held while others wait. Documents that are not written after all leave a language that nothing has,
    /// which costs a stem of each query.
    pub(super) async fn add_languages(
        &self,
        collection: &Collection,
        documents: &[&NewDocument<'_>],
        timeout: Duration,
    ) -> Result<(), StoreError> {
        if collection.words.language() != Some(TextLanguage::Auto) {
            return Ok(());
        }
        let words = documents.iter().flat_map(|document| match &document.content {
            Content::Unchanged => Vec::new(),
            Content::Whole { words, .. } => words.iter().copied().collect(),
            Content::Chunks(chunks) => chunks.iter().filter_map(|chunk| chunk.words).collect(),
        });
        let languages: BTreeSet<Language> = words.map(ChunkWords::language).collect();
        let name = &collection.definition.name;
        self.with_collection(name, |entry| {
            // If another collection has that name now, nothing is written.
            let known = &entry.collection;
            let new =
                languages.iter().filter(|language| known.id == collection.id && !known.languages.contains(language));
            let new: Vec<&str> = new.map(|language| language.name()).collect();
            async move {
                if new.is_empty() {
                    return Ok(());
                }
                let connection = self.connection_to(&entry).await?;
                let internal = &self.inner.names.internal;
                // Another server may have added them meanwhile.
                let sql = format!(
                    "-- add_languages
                     UPDATE {internal}.collections SET revision = revision + 1,
                         languages = (SELECT array_agg(DISTINCT l ORDER BY l) FROM unnest(languages || $2::text[]) l)
                     WHERE id = $1 AND NOT languages @> $2"
                );
                let transaction = Transaction::new(&connection).timeout(timeout);
                transaction.begin().await?;
                connection.execute(&sql, &[&collection.id, &new]).await?;
                transaction.commit().await?;
                connection.done();
                self.load_entry(name).await?;
                Ok(())
            }
        })
        .await
    }
}
