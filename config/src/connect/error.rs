//! Why a database could not be opened.

use std::error::Error;

/// What is in the way of opening a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// Nobody answers at that host and port, there is no such host, or the server is still starting.
    Unreachable,
    /// No answer within `connect_timeout`.
    Timeout,
    /// Wrong user or password, or the server does not let this user in from here.
    Authentication,
    /// The server has no database of that name.
    NoSuchDatabase,
    /// The connection could not be encrypted as asked, or the server's certificate is not trusted.
    Tls,
    /// A pooler in transaction mode, or one that drops startup parameters, is in between: session settings and prepared
    /// statements would get lost.
    Pooler,
    /// The server has no connection left.
    TooManyConnections,
    /// The path is a directory, or its directory is missing and cannot be made.
    InvalidPath,
    /// The file is not a SQLite database.
    NotADatabase,
    /// The file is a SQLite database, and damaged: truncated, for example.
    Corrupt,
    /// The database can be read and not written.
    ReadOnly,
    /// The system or the server does not let this user do it.
    PermissionDenied,
    /// Another process holds the database and did not let go in time.
    Busy,
    /// The disk is full.
    DiskFull,
    /// SQLite older than 3.51.3 or Postgres older than 14.
    UnsupportedVersion,
    /// The server's encoding is not UTF-8.
    UnsupportedEncoding,
    /// The cargo feature for this driver is switched off.
    UnsupportedDriver,
    /// A `PG…` environment variable would change the connection, and the driver offers no way to keep it out.
    Environment,
    /// Anything else; the source says more.
    Other,
}

/// A database could not be opened: what, where, and what to do. Never shows a password.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {target}: {message}")]
#[non_exhaustive]
pub struct ConnectError {
    /// What is in the way.
    pub kind: ConnectErrorKind,
    /// The database as [`describe`](crate::DatabaseConfig::describe) names it.
    pub target: String,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ConnectError {
    /// Without a cause further down.
    pub(crate) fn new(kind: ConnectErrorKind, target: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            target: target.into(),
            message: message.into(),
            source: None,
        }
    }

    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn with(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }
}
