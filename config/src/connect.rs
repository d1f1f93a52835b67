use sea_orm::{ConnectOptions, Database, DatabaseConnection};

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
    /// Read replicas for reads that allow staleness; empty on SQLite.
    pub replicas: Vec<DatabaseConnection>,
}

/// Why a database could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// Anything else.
    Other,
}

/// A database could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    /// The cause's kind.
    pub kind: ConnectErrorKind,
    message: String,
}

pub(crate) async fn connect(config: &DatabaseConfig) -> Result<Connections, ConnectError> {
    let url = match config.driver {
        Driver::Sqlite => match &config.path {
            Some(path) => format!("sqlite://{}?mode=rwc", path.display()),
            None => "sqlite::memory:".to_owned(),
        },
        Driver::Postgres => config.url.clone().unwrap_or_default(),
    };
    let mut options = ConnectOptions::new(url);
    options.sqlx_logging(false);
    if config.driver == Driver::Sqlite {
        options.max_connections(1).map_sqlx_sqlite_opts(|o| o.foreign_keys(true));
    }
    let writer = Database::connect(options)
        .await
        .map_err(|e| ConnectError { kind: ConnectErrorKind::Other, message: e.to_string() })?;
    Ok(Connections { driver: config.driver, reader: writer.clone(), writer, replicas: vec![] })
}
