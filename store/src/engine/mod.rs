//! Connections at work: reading, writing, transactions, retry, deadlines, errors.
//!
//! A repository is a [`Session`] with methods. Each method is one [`Session::run`], which gives it an [`Operation`] to
//! read and write through; that is where the deadline, the tracing span, the retry and the rule about failed
//! transactions are, once for all of them. `docs/adding-a-repository.md` shows it.
//!
//! Whatever differs between the databases while they run is in `sqlite.rs` and `postgres.rs`.

mod errors;
mod health;
mod lane;
mod metrics;
mod operation;
#[cfg(feature = "postgres")]
mod postgres;
mod retry;
mod running;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statement;
mod transaction;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use config::{Connections, DatabaseConfig};
use migration::sea_orm_migration::MigratorTrait;
use sea_orm::DbErr;
use uuid::Uuid;

pub use errors::Cause;
pub use health::{Health, LaneUse};
pub use metrics::Metrics;
pub use operation::{Operation, Session};
pub use statement::Write;
pub use transaction::Tx;

use crate::clock::{Clock, IdSource, to_microseconds};
use crate::{Error, ErrorKind, Result};
use lane::{Access, Lane};
use metrics::Counters;
use retry::Retry;
use running::Running;

/// The opened database with everything that every operation needs.
pub(crate) struct Engine {
    running: Running,
    database: String,
    writer: Lane,
    reader: Lane,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    operation_timeout: Duration,
    retry: Retry,
    counters: Counters,
}

impl Engine {
    pub(crate) fn new(
        config: &DatabaseConfig,
        connections: Connections,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Result<Self> {
        let running = Running::on(&connections.writer)?;
        let (writer, reader) = Lane::pair(
            running,
            connections,
            config.is_memory() || running.reads_on_the_writer(),
        );
        Ok(Self {
            running,
            database: config.describe(),
            writer,
            reader,
            clock,
            ids,
            operation_timeout: config.operation_timeout,
            retry: Retry::within(config.operation_timeout),
            counters: Counters::default(),
        })
    }

    fn now(&self) -> DateTime<Utc> {
        to_microseconds(self.clock.now())
    }

    fn new_id(&self) -> Uuid {
        self.ids.next()
    }

    pub(crate) fn metrics(&self) -> Metrics {
        self.counters.read()
    }

    /// Waits for what is under way, writes everything back and closes the connections.
    pub(crate) async fn close(&self) -> Result<()> {
        let _last = self.writer.drain(self.operation_timeout).await?;
        let flushed = self.running.flush(self.writer.connection()).await;
        self.reader.close().await?;
        self.writer.close().await?;
        flushed.map_err(|error| self.running.classify(&error, ""))
    }

    /// On the writer alone: SQLite switches foreign keys off while tables change.
    pub(crate) async fn migrate<M: MigratorTrait + 'static>(&self) -> Result<()> {
        let _alone = self.writer.enter().await?;
        migration::user::up::<M>(self.writer.connection()).await?;
        Ok(())
    }

    fn lane(&self, access: Access) -> &Lane {
        match access {
            Access::Read => &self.reader,
            Access::Write => &self.writer,
        }
    }

    /// The error of a write or a commit. One that was sent and lost its database may have been carried out.
    fn write_error(&self, error: &DbErr, table: &str) -> Error {
        let classified = self.running.classify(error, table);
        if classified.kind() == ErrorKind::Unavailable && errors::was_sent(error) {
            return errors::commit_unknown("the database was lost").caused_by(errors::Cause::of(error));
        }
        classified
    }

    fn timed_out(&self, what: &str) -> Error {
        let limit = self.operation_timeout;
        Error::new(
            ErrorKind::Timeout,
            format!("{what} took longer than the operation timeout of {limit:?}"),
        )
    }
}
