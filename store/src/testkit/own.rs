//! Where the kit meets this project's store: its schema, and opening a store on a test's database.

use super::{Template, TestDatabase};
use crate::Store;

/// The schema of this project, as its migrations make it.
pub(crate) fn template() -> Template {
    let dialects = [migration::Dialect::Sqlite, migration::Dialect::Postgres];
    let fingerprint = dialects.map(migration::schema).concat();
    Template::new(fingerprint, async |config: config::DatabaseConfig| {
        let connections = config.connect().await?;
        migration::up(&connections.writer).await?;
        connections.close().await;
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    })
}

impl TestDatabase {
    /// A store on this database, with the system's clock.
    ///
    /// # Panics
    /// When it does not open.
    pub async fn store(&self) -> Store {
        match Store::open(self.config()).await {
            Ok(store) => store,
            Err(error) => panic!("the test's database does not open: {error}"),
        }
    }
}
