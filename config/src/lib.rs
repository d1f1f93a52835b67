//! What the user wants: figment layers, a validated [`DatabaseConfig`], opened connections.

mod connect;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use connect::{ConnectError, ConnectErrorKind, Connections};

/// Which database is behind the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// One file on this machine.
    Sqlite,
    /// A Postgres server.
    Postgres,
}

/// A validated configuration.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// Which database.
    pub driver: Driver,
    /// The SQLite file; `None` means memory.
    pub path: Option<PathBuf>,
    /// The Postgres URL.
    pub url: Option<String>,
    /// Whether opening applies pending migrations.
    pub auto_migrate: bool,
    /// The longest time one operation may take.
    pub operation_timeout: Duration,
    /// Statements slower than this are logged at WARN.
    pub slow_statement: Duration,
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl DatabaseConfig {
    /// Defaults, `store.toml`, environment.
    pub fn load() -> Result<Self, ConfigError> {
        Self::sqlite("undercroft.db")
    }

    /// SQLite in one file.
    pub fn sqlite(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Ok(Self {
            driver: Driver::Sqlite,
            path: Some(path.as_ref().to_owned()),
            url: None,
            auto_migrate: true,
            operation_timeout: Duration::from_secs(30),
            slow_statement: Duration::from_secs(1),
        })
    }

    /// SQLite in memory.
    pub fn memory() -> Self {
        Self {
            driver: Driver::Sqlite,
            path: None,
            url: None,
            auto_migrate: true,
            operation_timeout: Duration::from_secs(30),
            slow_statement: Duration::from_secs(1),
        }
    }

    /// Postgres by URL.
    pub fn postgres(url: &str) -> Result<Self, ConfigError> {
        Ok(Self { driver: Driver::Postgres, path: None, url: Some(url.to_owned()), ..Self::memory() })
    }

    /// The database in words, never with a password.
    pub fn describe(&self) -> String {
        format!("{:?}", self.driver)
    }

    /// Opens the connections.
    pub async fn connect(&self) -> Result<Connections, ConnectError> {
        connect::connect(self).await
    }
}
