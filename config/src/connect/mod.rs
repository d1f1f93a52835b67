//! Opening: the one place where the two databases are opened differently.

mod error;
#[cfg(feature = "postgres")]
mod postgres;
mod runtimes;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(test)]
#[cfg(feature = "postgres")]
mod postgres_tests;
#[cfg(test)]
#[cfg(feature = "sqlite")]
mod sqlite_tests;

use sea_orm::DatabaseConnection;

pub use error::{ConnectError, ConnectErrorKind};
pub use runtimes::Runtimes;

use crate::settings::Target;
use crate::{DatabaseConfig, Driver};

/// Opened connections. Each `DatabaseConnection` is a pool handle and cheap to clone.
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
    /// The runtimes that serve Postgres's connections: whoever keeps one for later asks whether it is still alive. The
    /// pools do by themselves. A connection to SQLite needs no runtime.
    pub runtimes: Runtimes,
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

pub(crate) async fn connect(config: &DatabaseConfig) -> Result<Connections, ConnectError> {
    let connections = match &config.target {
        Target::Memory | Target::File(_) => open_sqlite(config).await?,
        Target::Server(server) => open_postgres(config, server).await?,
    };
    tracing::debug!(database = config.describe(), "opened");
    Ok(connections)
}

#[cfg(feature = "sqlite")]
async fn open_sqlite(config: &DatabaseConfig) -> Result<Connections, ConnectError> {
    sqlite::open(config).await
}

#[cfg(not(feature = "sqlite"))]
async fn open_sqlite(config: &DatabaseConfig) -> Result<Connections, ConnectError> {
    Err(switched_off(config))
}

#[cfg(feature = "postgres")]
async fn open_postgres(config: &DatabaseConfig, server: &crate::settings::Server) -> Result<Connections, ConnectError> {
    postgres::open(config, server).await
}

#[cfg(not(feature = "postgres"))]
async fn open_postgres(config: &DatabaseConfig, _: &crate::settings::Server) -> Result<Connections, ConnectError> {
    Err(switched_off(config))
}

#[cfg(not(all(feature = "sqlite", feature = "postgres")))]
fn switched_off(config: &DatabaseConfig) -> ConnectError {
    let message = format!(
        "this program was built without it; enable the cargo feature `{}`",
        config.driver
    );
    ConnectError::new(ConnectErrorKind::UnsupportedDriver, config.describe(), message)
}
