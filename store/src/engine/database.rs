//! The database behind the engine: the one dispatch between `sqlite/` and `postgres/`.

use std::sync::Arc;

use config::{DatabaseConfig, Driver};
use migration::Dialect;
use sea_orm::DatabaseBackend;

use super::errors::Fault;
use super::metrics::{Counters, PoolUse};
#[cfg(feature = "postgres")]
use super::postgres;
use super::row::Decode;
#[cfg(feature = "sqlite")]
use super::sqlite;
use super::statement::{Answer, Begin, Command};
use crate::Result;

/// An open database.
pub(super) enum Database {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlite::Sqlite),
    #[cfg(feature = "postgres")]
    Postgres(postgres::Postgres),
}

/// An open transaction. When it is dropped, nothing of it is kept.
pub(super) enum Transaction {
    #[cfg(feature = "sqlite")]
    Sqlite(sqlite::Transaction),
    #[cfg(feature = "postgres")]
    Postgres(postgres::Transaction),
}

/// Asks the database that is there.
macro_rules! each {
    ($self:expr, $database:pat => $do:expr) => {
        match $self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite($database) => $do,
            #[cfg(feature = "postgres")]
            Self::Postgres($database) => $do,
        }
    };
}

impl Database {
    pub(super) fn new(opened: config::Database, config: &DatabaseConfig, counters: &Arc<Counters>) -> Result<Self> {
        match opened {
            #[cfg(feature = "sqlite")]
            config::Database::Sqlite(file) => Ok(Self::Sqlite(sqlite::Sqlite::new(file, config, counters)?)),
            #[cfg(feature = "postgres")]
            config::Database::Postgres(server) => {
                Ok(Self::Postgres(postgres::Postgres::new(server, config, counters)?))
            }
        }
    }

    pub(super) fn driver(&self) -> Driver {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Driver::Sqlite,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Driver::Postgres,
        }
    }

    pub(super) fn backend(&self) -> DatabaseBackend {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => DatabaseBackend::Sqlite,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => DatabaseBackend::Postgres,
        }
    }

    /// How many rows of a bulk insert are best sent at once.
    pub(super) fn rows_at_once(&self) -> usize {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => sqlite::ROWS_AT_ONCE,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => postgres::ROWS_AT_ONCE,
        }
    }

    /// Runs a query that is an operation by itself; `one` says that it finds one row at most.
    pub(super) async fn read<M: Send + 'static>(
        &self,
        query: &Command,
        one: bool,
        decode: Decode<M>,
    ) -> Result<Vec<M>> {
        #[cfg(not(feature = "postgres"))]
        let _ = one;
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(sqlite) => sqlite.read(query, decode).await,
            // Boxed: it is much the larger one, and a future is moved as a whole.
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => Box::pin(postgres.read(query, one, decode)).await,
        }
    }

    /// Runs a change that is an operation by itself; `durable` says that its commit is, whatever is set for the others.
    pub(super) async fn write(&self, change: &Arc<Command>, durable: bool) -> Result<Answer, Fault> {
        #[cfg(not(feature = "sqlite"))]
        let _always = durable;
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(sqlite) => sqlite.write(change, durable).await,
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.write(change).await,
        }
    }

    pub(super) async fn begin(&self, begin: Begin) -> Result<Transaction, Fault> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(sqlite) => sqlite.begin(begin).await.map(Transaction::Sqlite),
            #[cfg(feature = "postgres")]
            Self::Postgres(postgres) => postgres.begin(begin).await.map(Transaction::Postgres),
        }
    }

    /// How many writes wait for others at this moment.
    pub(super) fn waiting(&self) -> usize {
        each!(self, database => database.waiting())
    }

    /// The size of the write-ahead log, in bytes.
    pub(super) fn log_bytes(&self) -> u64 {
        each!(self, database => database.log_bytes())
    }

    /// The connections that write and those that read.
    pub(super) fn usage(&self) -> (PoolUse, PoolUse) {
        each!(self, database => database.usage())
    }

    /// Whether it was there the last time that it was looked for.
    pub(super) fn answers(&self) -> bool {
        each!(self, database => database.answers())
    }

    /// Whether foreign keys are enforced.
    pub(super) async fn foreign_keys(&self) -> Result<bool, Fault> {
        each!(self, database => database.foreign_keys().await)
    }

    /// The rows of a query of the catalog, each column as text.
    pub(super) async fn texts(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Fault> {
        each!(self, database => database.texts(sql).await)
    }

    /// Runs `work`, which has a connection of its own, while nobody else writes.
    pub(super) async fn alone<T>(&self, work: impl Future<Output = T>) -> Result<T, Fault> {
        each!(self, database => database.alone(work).await)
    }

    /// Waits for what is under way, no longer than until `deadline`, writes everything back and closes the connections.
    pub(super) async fn close(&self, deadline: std::time::Instant) -> Result<(), Fault> {
        each!(self, database => database.close(deadline).await)
    }

    pub(super) fn dialect(&self) -> Dialect {
        match self.driver() {
            Driver::Sqlite => Dialect::Sqlite,
            Driver::Postgres => Dialect::Postgres,
        }
    }
}

impl Transaction {
    pub(super) async fn read<M: Send + 'static>(&mut self, query: &Command, decode: Decode<M>) -> Result<Vec<M>> {
        each!(self, transaction => transaction.read(query, decode).await)
    }

    pub(super) async fn write(&mut self, change: Arc<Command>) -> Result<Answer> {
        Ok(each!(self, transaction => transaction.write(change).await)?)
    }

    /// Runs a savepoint or what ends one.
    pub(super) async fn control(&mut self, sql: &str) -> Result<()> {
        Ok(each!(self, transaction => transaction.control(sql).await)?)
    }

    pub(super) async fn commit(self) -> Result<(), Fault> {
        each!(self, transaction => transaction.commit().await)
    }

    /// Undoes it, and waits until what it saw of others is committed.
    ///
    /// # Errors
    /// When that was undone too.
    pub(super) async fn rollback(self) -> Result<(), Fault> {
        each!(self, transaction => transaction.rollback().await)
    }
}
