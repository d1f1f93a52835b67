//! The validated configuration.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::connect::{self, ConnectError, Connections, Database};
use crate::values::word;
use crate::{ConfigError, Explain, Loader, VaultConfig};

/// Which database is behind the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// One file on this machine, or memory.
    Sqlite,
    /// A Postgres server.
    Postgres,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        })
    }
}

/// A driver's name that is neither `sqlite` nor `postgres`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unsupported database driver: {0}")]
pub struct UnknownDriver(pub String);

impl std::str::FromStr for Driver {
    type Err = UnknownDriver;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "sqlite" => Ok(Self::Sqlite),
            "postgres" => Ok(Self::Postgres),
            other => Err(UnknownDriver(other.to_owned())),
        }
    }
}

/// What SQLite does to make a commit survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Synchronous {
    /// Nothing: a power cut may destroy the database. For data that can be made again.
    Off,
    /// The last commits may be lost; the file stays whole.
    Normal,
    /// Every commit is on disk before it is acknowledged.
    #[default]
    Full,
    /// Like `Full`, and the directory is synced where a journal is deleted.
    Extra,
}

word!(Synchronous { "off" => Off, "normal" => Normal, "full" => Full, "extra" => Extra });

/// How a Postgres connection is encrypted and the server checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SslMode {
    /// Never encrypted.
    Disable,
    /// Encrypted when server and client can; the server is not checked. Where the server encrypts and the two cannot
    /// agree on how, the connection is not encrypted, which is logged at WARN.
    #[default]
    Prefer,
    /// Encrypted; the server is not checked.
    Require,
    /// Encrypted; the certificate is checked, its host name is not.
    VerifyCa,
    /// Encrypted; certificate and host name are checked.
    VerifyFull,
}

word!(SslMode {
    "disable" => Disable, "prefer" => Prefer, "require" => Require, "verify-ca" => VerifyCa, "verify-full" => VerifyFull,
});

/// SQLite's tunables (`[sqlite]`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteConfig {
    /// How long a connection waits for another process's lock; at most 24 days.
    pub busy_timeout: Duration,
    /// What a commit survives.
    pub synchronous: Synchronous,
    /// Page cache of each connection, in bytes.
    pub cache_size: u64,
    /// How much of the file is read through a memory map, in bytes; 0 is none.
    pub mmap_size: u64,
    /// Read-only connections beside the one writer.
    pub readers: u32,
}

/// Postgres's tunables (`[postgres]`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresConfig {
    /// How long a statement waits for another transaction's locks; zero waits as long as the statement may take.
    pub lock_timeout: Duration,
    /// The server ends a statement after this long; zero is no limit.
    pub statement_timeout: Duration,
    /// Further server settings for each session, by name.
    pub options: BTreeMap<String, String>,
}

/// The pools' tunables (`[pool]`).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolConfig {
    /// The most connections of a Postgres pool.
    pub max_connections: u32,
    /// How many connections a Postgres pool keeps open.
    pub min_connections: u32,
    /// How long a caller waits for a free connection, on either database.
    pub acquire_timeout: Duration,
    /// A Postgres connection is closed after being idle this long; `None` is never.
    pub idle_timeout: Option<Duration>,
    /// A Postgres connection is closed when it is this old; `None` is never.
    pub max_lifetime: Option<Duration>,
    /// A Postgres connection idle for longer is checked before it is used.
    pub check_after_idle: Duration,
}

/// Where the database is.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Memory,
    File(PathBuf),
    Server(Box<Server>),
}

/// How to reach one Postgres server. What only the driver reads is checked in every build, and kept where there is one.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// Names, addresses or socket directories and their ports, tried in this order. Never empty.
    pub(crate) hosts: Vec<(String, u16)>,
    pub(crate) user: String,
    #[cfg(any(feature = "postgres", test))]
    pub(crate) password: Option<secrecy::SecretString>,
    pub(crate) dbname: String,
    #[cfg(any(feature = "postgres", test))]
    pub(crate) application_name: String,
    #[cfg(any(feature = "postgres", test))]
    pub(crate) ssl: Ssl,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Postgres {} on ", self.dbname)?;
        for (index, (host, port)) in self.hosts.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match host.contains(':') {
                true => write!(f, "{comma}[{host}]:{port}")?,
                false => write!(f, "{comma}{host}:{port}")?,
            }
        }
        write!(f, " as {}", self.user)
    }
}

/// How a connection is encrypted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ssl {
    pub(crate) mode: SslMode,
    pub(crate) root_cert: Option<PathBuf>,
    pub(crate) client_cert: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
}

/// A validated configuration: where the database is and how it is used.
///
/// Its `Debug` shows no secret.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DatabaseConfig {
    /// Which database.
    pub driver: Driver,
    /// Whether opening the store applies pending migrations.
    pub auto_migrate: bool,
    /// The longest one operation may take, retries and waiting included. More than zero.
    pub operation_timeout: Duration,
    /// Statements slower than this are logged at WARN.
    pub slow_statement: Duration,
    /// The longest one attempt to connect may take. More than zero.
    pub connect_timeout: Duration,
    /// How often connecting is tried again while the server is unreachable or starting.
    pub connect_retry: u32,
    /// SQLite's tunables; present whatever the driver.
    pub sqlite: SqliteConfig,
    /// Postgres's tunables; present whatever the driver.
    pub postgres: PostgresConfig,
    /// The pools' tunables.
    pub pool: PoolConfig,
    /// The secret vault's keys; `None` without a vault.
    pub vault: Option<VaultConfig>,
    pub(crate) target: Target,
    #[cfg(any(feature = "postgres", test))]
    pub(crate) replicas: Vec<Server>,
    pub(crate) explain: Explain,
}

impl DatabaseConfig {
    /// Every layer: defaults, the TOML file, the process's environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with every problem found.
    pub fn load() -> Result<Self, ConfigError> {
        Self::loader().load()
    }

    /// Chooses the layers one by one.
    pub fn loader() -> Loader {
        Loader::default()
    }

    /// SQLite in one file (or `:memory:`) with the defaults. Reads no file and no environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the path is empty, is a directory, is not UTF-8, or holds a NUL or a line break.
    pub fn sqlite(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::loader()
            .no_file()
            .no_environment()
            .set("path", path.as_ref())
            .load()
    }

    /// SQLite in memory with the defaults: gone when its last connection closes. Reads no file and no environment.
    pub fn memory() -> Self {
        // Nothing here comes from outside, so nothing can be wrong with it; a test holds this to be true.
        Self::loader()
            .no_file()
            .no_environment()
            .directory("/")
            .set("path", ":memory:")
            .load_anyway()
            .0
    }

    /// Postgres by URL with the defaults. Reads no file and no environment.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the URL is malformed, is not for Postgres, or lacks host or user.
    pub fn postgres(url: &str) -> Result<Self, ConfigError> {
        Self::loader()
            .no_file()
            .no_environment()
            .set("driver", "postgres")
            .set("url", url)
            .load()
    }

    /// The database in words for a person, never with a password: `SQLite file /srv/undercroft.db`, `SQLite in memory`,
    /// `Postgres undercroft on localhost:5432 as app`.
    pub fn describe(&self) -> String {
        match &self.target {
            Target::Memory => "SQLite in memory".to_owned(),
            Target::File(path) => format!("SQLite file {}", path.display()),
            Target::Server(server) => server.to_string(),
        }
    }

    /// Whether the database is SQLite in memory.
    pub fn is_memory(&self) -> bool {
        matches!(self.target, Target::Memory)
    }

    /// The SQLite file's absolute path; `None` for memory and for Postgres.
    pub fn sqlite_path(&self) -> Option<&Path> {
        match &self.target {
            Target::File(path) => Some(path),
            _ => None,
        }
    }

    /// Every value in effect, redacted, with the layer that set it.
    pub fn explain(&self) -> &Explain {
        &self.explain
    }

    /// Opens the database, creating a missing SQLite file, and checks that it can be used. What it gives opens
    /// connections of the database's own driver.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], whose `kind` says what is in the way.
    pub async fn open(&self) -> Result<Database, ConnectError> {
        connect::open(self).await
    }

    /// Opens the database as [`open`](Self::open) does and gives SeaORM's pools, for migrations and tools.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], whose `kind` says what is in the way.
    pub async fn connect(&self) -> Result<Connections, ConnectError> {
        connect::connect(self).await
    }
}
