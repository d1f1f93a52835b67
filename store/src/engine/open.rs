//! The opened database with everything that every operation needs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use config::DatabaseConfig;
use migration::sea_orm_migration::MigratorTrait;
use migration::{Dialect, ReadError, State, TextRow};
use uuid::Uuid;

use super::database::Database;
use super::errors;
use super::metrics::{Counters, Metrics};
use super::retry::Retry;
use super::statement::Texts;
use crate::clock::{Clock, IdSource, to_microseconds};
use crate::{Error, Result};

/// The opened database with everything that every operation needs.
pub(crate) struct Engine {
    pub(super) database: Database,
    /// For migrations, which have a connection of their own.
    opened: config::Database,
    pub(super) description: String,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    pub(super) operation_timeout: Duration,
    pub(super) retry: Retry,
    pub(super) texts: Texts,
    pub(super) counters: Arc<Counters>,
}

impl Engine {
    pub(crate) fn new(
        config: &DatabaseConfig,
        opened: config::Database,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Result<Self> {
        let counters = Arc::new(Counters::default());
        Ok(Self {
            database: Database::new(opened.clone(), config, &counters)?,
            opened,
            description: config.describe(),
            clock,
            ids,
            operation_timeout: config.operation_timeout,
            retry: Retry::within(config.operation_timeout),
            texts: Texts::default(),
            counters,
        })
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        to_microseconds(self.clock.now())
    }

    pub(super) fn new_id(&self) -> Uuid {
        self.ids.next()
    }

    pub(crate) fn metrics(&self) -> Metrics {
        Metrics {
            waiting: self.database.waiting() as u64,
            log_bytes: self.database.log_bytes(),
            ..self.counters.read()
        }
    }

    /// Waits for what is under way, writes everything back and closes the connections.
    pub(crate) async fn close(&self) -> Result<()> {
        Ok(self.database.close(Instant::now() + self.operation_timeout).await?)
    }

    /// Where the schema stands.
    pub(crate) async fn schema(&self) -> Result<State> {
        Ok(migration::state_of(self).await?)
    }

    /// Brings up the store's own schema, on a connection that is opened for it and closed after it.
    pub(crate) async fn bring_up(&self) -> Result<()> {
        let migrated = async {
            let db = self.opened.sea_orm().await?;
            let migrated = migration::up(&db).await;
            drop(db.close().await);
            migrated?;
            Ok(())
        };
        self.database.alone(migrated).await?
    }

    /// Brings up a program's own tables, as [`bring_up`](Self::bring_up) does.
    pub(crate) async fn migrate<M: MigratorTrait + 'static>(&self) -> Result<()> {
        let migrated = async {
            let db = self.opened.sea_orm().await?;
            let migrated = migration::user::up::<M>(&db).await;
            drop(db.close().await);
            migrated?;
            Ok(())
        };
        self.database.alone(migrated).await?
    }

    pub(super) fn timed_out(&self, what: &str) -> Error {
        errors::timed_out(what, self.operation_timeout).into()
    }
}

impl migration::Reader for Engine {
    fn dialect(&self) -> Dialect {
        self.database.dialect()
    }

    async fn rows(&self, sql: &str) -> std::result::Result<Vec<TextRow>, ReadError> {
        let rows = self.database.texts(sql).await;
        Ok(rows.map_err(Error::from)?)
    }
}
