//! Connections at work: reading, writing, transactions, retry, deadlines, errors.
//!
//! A repository is a [`Session`] with methods. Each method is one [`Session::run`], which gives it an [`Operation`] to
//! read and write through; that is where the deadline, the tracing span, the retry and the rule about failed
//! transactions are, once for all of them. `docs/adding-a-repository.md` shows it.
//!
//! Whatever differs between the databases while they run is in `sqlite.rs` and `postgres.rs`.

mod appends;
mod by_key;
mod connection;
mod errors;
mod health;
mod lane;
mod line;
mod metrics;
mod operation;
mod paths;
#[cfg(feature = "postgres")]
mod postgres;
mod reads;
mod retry;
mod rows;
mod running;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statement;
mod transaction;
mod trips;

use std::path::{Path, PathBuf};
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
use appends::Appends;
use lane::Lane;
use line::{Failure, Line};
use metrics::Counters;
use reads::Reads;
use retry::Retry;
use running::Running;

/// The opened database with everything that every operation needs.
pub(crate) struct Engine {
    running: Running,
    database: String,
    /// How commits are made as little durable as the configuration says, where that is less than a durable operation asks.
    lowered: Option<&'static str>,
    /// The write-ahead log beside a SQLite file.
    log: Option<PathBuf>,
    /// Where concurrent writes share a commit.
    line: Option<Line>,
    /// Where concurrent inserts of rows share a statement.
    appends: Option<Appends>,
    /// Where reads of one row wait together for a connection.
    reads: Reads,
    writer: Lane,
    reader: Lane,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    operation_timeout: Duration,
    retry: Retry,
    /// The texts of reads by key.
    by_key: by_key::Texts,
    counters: Arc<Counters>,
}

impl Engine {
    pub(crate) fn new(
        config: &DatabaseConfig,
        connections: Connections,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Result<Self> {
        let running = Running::on(&connections.writer)?;
        let (writer, reader) = Lane::pair(running, connections, config);
        let counters = Arc::new(Counters::default());
        Ok(Self {
            running,
            database: config.describe(),
            lowered: running.lowered(config),
            log: config.sqlite_path().map(log_beside),
            appends: (!running.commits_in_groups()).then(|| Appends::new(writer.clone(), Arc::clone(&counters))),
            line: running
                .commits_in_groups()
                .then(|| Line::new(running, writer.clone(), Arc::clone(&counters))),
            reads: Reads::new(reader.clone(), Arc::clone(&counters)),
            writer,
            reader,
            clock,
            ids,
            operation_timeout: config.operation_timeout,
            retry: Retry::within(config.operation_timeout),
            by_key: by_key::Texts::default(),
            counters,
        })
    }

    fn now(&self) -> DateTime<Utc> {
        to_microseconds(self.clock.now())
    }

    fn new_id(&self) -> Uuid {
        self.ids.next()
    }

    pub(crate) fn metrics(&self) -> Metrics {
        Metrics {
            waiting: self.waiting() as u64,
            log_bytes: self.log.as_ref().map_or(0, |log| log_size(log)),
            ..self.counters.read()
        }
    }

    fn waiting(&self) -> usize {
        let appends = self.appends.as_ref().map_or(0, Appends::length);
        self.line.as_ref().map_or(appends, Line::length)
    }

    /// Waits for what is under way, writes everything back and closes the connections.
    pub(crate) async fn close(&self) -> Result<()> {
        drop(tokio::time::timeout(self.operation_timeout, self.those_before()).await);
        let (_last, pool) = self.writer.drain(self.operation_timeout).await?;
        let _untidy = self.writer.keep_untidy(self.operation_timeout).await;
        let flushed = self.running.flush(pool).await;
        self.reader.close().await?;
        self.writer.close().await?;
        flushed.map_err(|error| self.running.classify(&error, ""))
    }

    /// Waits until those have been served who wait at this moment.
    async fn those_before(&self) {
        match (&self.line, &self.appends) {
            (Some(line), _) => drop(line.turn().await),
            (None, Some(appends)) => appends.wait_until_empty().await,
            (None, None) => {}
        }
    }

    /// On the writer alone: SQLite switches foreign keys off while tables change.
    pub(crate) async fn migrate<M: MigratorTrait + 'static>(&self) -> Result<()> {
        let (_alone, pool) = self.writer.pool().await?;
        migration::user::up::<M>(pool).await?;
        Ok(())
    }

    /// The error of a write that failed by itself or with its group.
    fn failed(&self, failure: Failure, table: &str) -> Error {
        match failure {
            Failure::Own(error) => self.write_error(&error, table),
            Failure::Commit(error) => self.write_error(&error, ""),
            Failure::Undone => Error::new(
                ErrorKind::Contention,
                "it was undone together with the other writes of its group",
            ),
            Failure::Unconfirmed => errors::commit_unknown("the runtime that served it ended"),
            Failure::Closed => Error::new(ErrorKind::Unavailable, "the store is closed"),
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

    /// The error of a transaction that could not begin, or was undone: nothing of it is stored.
    fn not_begun(&self, failure: Failure) -> Error {
        match failure {
            Failure::Own(error) | Failure::Commit(error) => self.running.classify(&error, ""),
            Failure::Undone | Failure::Unconfirmed | Failure::Closed => self.failed(failure, ""),
        }
    }

    fn timed_out(&self, what: &str) -> Error {
        let limit = self.operation_timeout;
        Error::new(
            ErrorKind::Timeout,
            format!("{what} took longer than the operation timeout of {limit:?}"),
        )
    }
}

/// <https://www.sqlite.org/walformat.html>
fn log_beside(database: &Path) -> PathBuf {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

fn log_size(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |log| log.len())
}
