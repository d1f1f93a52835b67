//! Where running differs: this type asks `sqlite.rs` or `postgres.rs`.

use config::{DatabaseConfig, Driver};
use sea_orm::{DatabaseBackend, DatabaseConnection, DbErr, Statement};

use super::errors;
#[cfg(feature = "postgres")]
use super::postgres;
#[cfg(feature = "sqlite")]
use super::sqlite;
use crate::{Error, ErrorKind, Result};

/// The database that an engine runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Running {
    #[cfg(feature = "sqlite")]
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
}

impl Running {
    /// For connections that were opened; those of a driver that is not compiled in cannot have been.
    pub(super) fn on(connection: &DatabaseConnection) -> Result<Self> {
        match connection.get_database_backend() {
            #[cfg(feature = "sqlite")]
            DatabaseBackend::Sqlite => Ok(Self::Sqlite),
            #[cfg(feature = "postgres")]
            DatabaseBackend::Postgres => Ok(Self::Postgres),
            other => {
                let message = format!("this program was built without the cargo feature for {other:?}");
                Err(Error::new(ErrorKind::Config, message))
            }
        }
    }

    pub(super) fn backend(self) -> DatabaseBackend {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => DatabaseBackend::Sqlite,
            #[cfg(feature = "postgres")]
            Self::Postgres => DatabaseBackend::Postgres,
        }
    }

    pub(super) fn driver(self) -> Driver {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => Driver::Sqlite,
            #[cfg(feature = "postgres")]
            Self::Postgres => Driver::Postgres,
        }
    }

    /// Whether one pool serves reads and writes.
    pub(super) fn reads_on_the_writer(self) -> bool {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => false,
            #[cfg(feature = "postgres")]
            Self::Postgres => true,
        }
    }

    /// How many connections the pool has at most.
    pub(super) fn pool_size(self, db: &DatabaseConnection) -> u32 {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => db.get_sqlite_connection_pool().options().get_max_connections(),
            #[cfg(feature = "postgres")]
            Self::Postgres => db.get_postgres_connection_pool().options().get_max_connections(),
        }
    }

    /// Whether a connection that nobody uses may have been cut off, and grows old.
    pub(super) fn connections_go_stale(self) -> bool {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => false,
            #[cfg(feature = "postgres")]
            Self::Postgres => true,
        }
    }

    /// Whether concurrent writes gain from one commit for all of them.
    pub(super) fn commits_in_groups(self) -> bool {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => true,
            #[cfg(feature = "postgres")]
            Self::Postgres => false,
        }
    }

    /// Whether such a read can be sent together with others of its text.
    #[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "SQLite takes any"))]
    pub(super) fn can_be_merged(self, read: &Statement) -> bool {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => true,
            #[cfg(feature = "postgres")]
            Self::Postgres => postgres::can_be_merged(read),
        }
    }

    /// How commits are made as little durable as this configuration says; `None` when they are durable.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(unused_variables, reason = "Postgres's are always durable")
    )]
    pub(super) fn lowered(self, config: &DatabaseConfig) -> Option<&'static str> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => sqlite::lowered(config),
            #[cfg(feature = "postgres")]
            Self::Postgres => None,
        }
    }

    /// Whether several statements go out as one command, and so a transaction's begin with its first statement.
    pub(super) fn joins_statements(self) -> bool {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => true,
            #[cfg(feature = "postgres")]
            Self::Postgres => false,
        }
    }

    /// How a write transaction begins: serializable, and holding what it needs to be so.
    pub(super) fn begin(self) -> &'static str {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => sqlite::BEGIN,
            #[cfg(feature = "postgres")]
            Self::Postgres => postgres::BEGIN,
        }
    }

    /// Whether this is the answer to a ROLLBACK outside of a transaction.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(unused_variables, reason = "to Postgres it is no error")
    )]
    pub(super) fn says_no_transaction(self, error: &DbErr) -> bool {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => sqlite::says_no_transaction(error),
            #[cfg(feature = "postgres")]
            Self::Postgres => false,
        }
    }

    /// Whether the database may have ended the whole transaction with this error of a statement.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(unused_variables, reason = "on Postgres every error does")
    )]
    pub(super) fn ends_the_transaction(self, error: &DbErr) -> bool {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => sqlite::ends_the_transaction(error),
            #[cfg(feature = "postgres")]
            Self::Postgres => true,
        }
    }

    /// Whether a COMMIT failed because of what one of its statements did.
    pub(super) fn is_a_broken_rule(self, error: &DbErr) -> bool {
        matches!(
            self.classify(error, "").kind(),
            ErrorKind::ForeignKey | ErrorKind::Check | ErrorKind::Conflict
        )
    }

    /// The error of a statement on this table.
    pub(super) fn classify(self, error: &DbErr, table: &str) -> Error {
        let coded = match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => sqlite::classify(error, table),
            #[cfg(feature = "postgres")]
            Self::Postgres => postgres::classify(error, table),
        };
        coded.unwrap_or_else(|| errors::without_code(error))
    }

    /// Whether the connection enforces foreign keys.
    pub(super) async fn foreign_keys(self, db: &DatabaseConnection) -> std::result::Result<bool, DbErr> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => sqlite::foreign_keys(db).await,
            #[cfg(feature = "postgres")]
            Self::Postgres => postgres::foreign_keys(db).await,
        }
    }

    /// Writes back what lies beside the database, while nobody writes.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(unused_variables, reason = "only SQLite has something to write back")
    )]
    pub(super) async fn tidy_up(self, db: &DatabaseConnection) -> std::result::Result<(), DbErr> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => sqlite::tidy_up(db).await,
            #[cfg(feature = "postgres")]
            Self::Postgres => Ok(()),
        }
    }

    /// Writes back what lies beside the database, before it is closed.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(unused_variables, reason = "only SQLite has something to write back")
    )]
    pub(super) async fn flush(self, db: &DatabaseConnection) -> std::result::Result<(), DbErr> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite => sqlite::flush(db).await,
            #[cfg(feature = "postgres")]
            Self::Postgres => Ok(()),
        }
    }
}
