//! Opening: the one place where the two databases are opened differently.

mod error;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

#[cfg(test)]
#[cfg(feature = "postgres")]
mod postgres_tests;
#[cfg(test)]
#[cfg(feature = "sqlite")]
mod sqlite_tests;

use sea_orm::DatabaseConnection;

pub use error::{ConnectError, ConnectErrorKind};

#[cfg(any(feature = "sqlite", feature = "postgres"))]
use crate::settings::Target;
use crate::{DatabaseConfig, Driver};

/// A database that was found usable, and how connections to it are opened by its own driver. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Database {
    /// One file, or memory.
    #[cfg(feature = "sqlite")]
    Sqlite(sqlite::Sqlite),
    /// A server.
    #[cfg(feature = "postgres")]
    Postgres(postgres::Postgres),
}

impl Database {
    /// Which database this is.
    pub fn driver(&self) -> Driver {
        match *self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Driver::Sqlite,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Driver::Postgres,
        }
    }

    /// A pool of one connection of SeaORM's to the same database, for a run of migrations: who opens it closes it after
    /// the run. Nothing is checked again.
    ///
    /// On SQLite it is durable also where `sqlite.synchronous` is `off`.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]. On Postgres the pool connects at its first use.
    pub async fn sea_orm(&self) -> Result<DatabaseConnection, ConnectError> {
        match *self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(ref sqlite) => sqlite.sea_orm().await,
            #[cfg(feature = "postgres")]
            Self::Postgres(ref postgres) => Ok(postgres.sea_orm().await),
        }
    }
}

/// SeaORM's connections, through sqlx: for migrations and tools. Each `DatabaseConnection` is a pool handle and cheap to
/// clone.
#[derive(Debug, Clone)]
pub struct Connections {
    /// Which database this is.
    pub driver: Driver,
    /// Where writes go: on SQLite a pool of exactly one connection, on Postgres the pool.
    pub writer: DatabaseConnection,
    /// Where reads go: on SQLite a pool of read-only connections (the writer for `:memory:`), on Postgres the same pool.
    pub reader: DatabaseConnection,
    /// Read replicas for reads that allow staleness; empty on SQLite. They connect at their first use.
    pub replicas: Vec<DatabaseConnection>,
}

impl Connections {
    /// Closes every pool and waits until their connections are back and closed.
    ///
    /// The writer goes last: SQLite then moves its log into the database file and removes it, unless another process has
    /// the database open. Clones of the pools fail from here on.
    pub async fn close(self) {
        let Self {
            writer,
            reader,
            replicas,
            ..
        } = self;
        for connection in replicas.into_iter().chain([reader, writer]) {
            if let Err(error) = connection.close().await {
                tracing::warn!(%error, "closing a pool");
            }
        }
    }
}

pub(crate) async fn open(config: &DatabaseConfig) -> Result<Database, ConnectError> {
    match &config.target {
        #[cfg(feature = "sqlite")]
        Target::Memory | Target::File(_) => sqlite::open(config).await.map(Database::Sqlite),
        #[cfg(feature = "postgres")]
        Target::Server(server) => postgres::open(config, server).await.map(Database::Postgres),
        #[cfg(not(all(feature = "sqlite", feature = "postgres")))]
        _ => Err(switched_off(config)),
    }
    .inspect(|_| tracing::debug!(database = config.describe(), "opened"))
}

pub(crate) async fn connect(config: &DatabaseConfig) -> Result<Connections, ConnectError> {
    match &config.target {
        #[cfg(feature = "sqlite")]
        Target::Memory | Target::File(_) => sqlite::connect(config).await,
        #[cfg(feature = "postgres")]
        Target::Server(server) => postgres::connect(config, server).await,
        #[cfg(not(all(feature = "sqlite", feature = "postgres")))]
        _ => Err(switched_off(config)),
    }
    .inspect(|_| tracing::debug!(database = config.describe(), "opened"))
}

#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
fn switched_off(config: &DatabaseConfig) -> ConnectError {
    let message = format!(
        "this program was built without it; enable the cargo feature `{}`",
        config.driver
    );
    ConnectError::new(ConnectErrorKind::UnsupportedDriver, config.describe(), message)
}
