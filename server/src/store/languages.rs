//! The text search configurations of the database.

use super::{Store, StoreError};

impl Store {
    /// The names of the text search configurations, as a collection can name them.
    pub async fn text_search_languages(&self) -> Result<Vec<String>, StoreError> {
        let connection = self.connection().await?;
        let sql = "-- text_search_languages
                   SELECT cfgname::text FROM pg_ts_config WHERE pg_ts_config_is_visible(oid) ORDER BY cfgname";
        let rows = connection.query(sql, &[]).await?;
        connection.done();
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}
