//! Why a schema could not be moved or read, and what to do about it.

use std::fmt;
use std::time::Duration;

use sea_orm::DbErr;

use crate::dialect::{Reference, code, said};
use crate::model::Defect;
use crate::reader::ReadError;

/// The result of anything here.
pub type Result<T, E = MigrationError> = std::result::Result<T, E>;

/// Which way a migration was going.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Being applied.
    Up,
    /// Being taken back.
    Down,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Direction::Up => "up",
            Direction::Down => "down",
        })
    }
}

/// Rows that point to rows that are not there.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// The table that holds the rows.
    pub table: String,
    /// The table they point to.
    pub parent: String,
    /// How many they are.
    pub rows: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} point to missing rows of {}",
            self.rows, self.table, self.parent
        )
    }
}

/// A migration, a check or a look at the state failed. After any of these the database is as it was before the call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// A newer version of this program was here.
    #[error(
        "the database is newer than this program: it has {} that this program does not know ({}). \
         Use a version that knows them; nothing was changed",
        count(.unknown.len(), "migration"), .unknown.join(", ")
    )]
    Ahead {
        /// The names of the migrations that are applied and not known.
        unknown: Vec<String>,
    },

    /// The database is not as its recorded migrations make it.
    #[error(
        "the schema is not as its migrations made it: {}. Nothing was changed. \
         See `migration check` for every difference; put them right by hand, restore a backup, or start again with `migration fresh`",
        .differences.join("; ")
    )]
    Drifted {
        /// What differs, in words.
        differences: Vec<String>,
    },

    /// Something needs the newest schema and the database has an older one.
    #[error("the schema is behind: {} to apply ({}). Run `migration up` first", count(.pending.len(), "migration"), .pending.join(", "))]
    Pending {
        /// The names of the migrations that are not applied.
        pending: Vec<String>,
    },

    /// Somebody else held the migration lock, or a table, for too long.
    #[error(
        "gave up after {} s waiting for somebody else who is migrating or using this database; nothing was changed. \
         Try again when they have finished",
        .waited.as_secs()
    )]
    LockTimeout {
        /// How long the wait was.
        waited: Duration,
        /// What the database said last.
        source: DbErr,
    },

    /// Other tables point to tables that would go.
    #[error("tables that are not this program's point to its tables ({}); drop those references first. Nothing was changed", list(.0))]
    Referenced(Vec<Reference>),

    /// The migration would leave, or found, rows that point nowhere.
    #[error("foreign keys are violated: {}. Nothing was changed; delete or repair those rows first", list(.0))]
    ForeignKeyViolations(Vec<Violation>),

    /// A migration failed; everything of this run was rolled back.
    #[error(
        "the migration {migration} failed on its way {direction} and everything was rolled back: {}", said(.source)
    )]
    Failed {
        /// The migration's name.
        migration: String,
        /// Which way it was going.
        direction: Direction,
        /// What the database said.
        source: DbErr,
    },

    /// A user's list of migrations wants to keep its record in this program's table.
    #[error("the migrator's table `{0}` is this program's own; give yours another `migration_table_name()`")]
    SharedTable(String),

    /// The connection is not the single writing one.
    #[error("SQLite is migrated on the writer, a pool of exactly one connection that stays open; this pool has others")]
    NotTheWriter,

    /// The database is neither SQLite nor Postgres.
    #[error("this store does not run on {0}")]
    Unsupported(&'static str),

    /// `check` could not make the schema that it compares with.
    #[error(
        "to compare, `check` makes a schema and rolls it back, and this role or server does not allow that: {}. \
         Grant it (GRANT CREATE ON DATABASE … TO …) or run the check on the primary with another role",
        said(.0)
    )]
    ScratchSchema(DbErr),

    /// A migration contradicts the ones before it; this program's tests exist to keep this from you.
    #[error("a migration is wrong: {0}")]
    Definition(#[from] Defect),

    /// The database refused something else.
    #[error("{doing} failed: {}", said(.source))]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        source: DbErr,
    },

    /// A [`Reader`](crate::Reader) could not read.
    #[error("{doing} failed: {source}")]
    Reading {
        /// What was being done.
        doing: &'static str,
        /// What the reader gave, to be downcast by whoever made it.
        source: ReadError,
    },

    /// The run ended before it could answer: the runtime shut down, or a migration panicked.
    #[error("the run was interrupted ({0}); what it did is rolled back")]
    Interrupted(String),
}

impl MigrationError {
    /// The kind in one word, for programs; it does not change between versions.
    pub fn kind(&self) -> &'static str {
        match self {
            MigrationError::Ahead { .. } => "ahead",
            MigrationError::Drifted { .. } => "drifted",
            MigrationError::Pending { .. } => "pending",
            MigrationError::LockTimeout { .. } => "lock_timeout",
            MigrationError::Referenced(_) => "referenced",
            MigrationError::ForeignKeyViolations(_) => "foreign_key_violations",
            MigrationError::Failed { .. } => "failed",
            MigrationError::SharedTable(_) => "shared_table",
            MigrationError::NotTheWriter => "not_the_writer",
            MigrationError::Unsupported(_) => "unsupported",
            MigrationError::ScratchSchema(_) => "scratch_schema",
            MigrationError::Definition(_) => "definition",
            MigrationError::Database { .. } | MigrationError::Reading { .. } => "database",
            MigrationError::Interrupted(_) => "interrupted",
        }
    }

    /// Whether the schema itself is the reason: newer, older or not as its migrations made it.
    pub fn is_schema_state(&self) -> bool {
        matches!(self, Self::Ahead { .. } | Self::Drifted { .. } | Self::Pending { .. })
    }

    /// For `map_err`: a database error with what was being done.
    pub(crate) fn database(doing: &'static str) -> impl Fn(DbErr) -> Self + Copy {
        move |source| MigrationError::Database { doing, source }
    }

    /// For `map_err`: what a reader gave, with what was being done. That of SeaORM's connections is a database error as
    /// any other.
    pub(crate) fn reading(doing: &'static str) -> impl Fn(ReadError) -> Self + Copy {
        move |source| match source.downcast::<DbErr>() {
            Ok(source) => MigrationError::Database { doing, source: *source },
            Err(source) => MigrationError::Reading { doing, source },
        }
    }

    /// The database's code and message, if it was the database: without values of rows, which its own error may hold.
    pub fn database_message(&self) -> Option<(Option<String>, String)> {
        let error = self.database_error()?;
        Some((code(error), said(error)))
    }

    /// What the database said, if it was the database, over SeaORM's connection.
    pub fn database_error(&self) -> Option<&DbErr> {
        match self {
            Self::LockTimeout { source, .. } | Self::Failed { source, .. } | Self::Database { source, .. } => {
                Some(source)
            }
            Self::ScratchSchema(source) => Some(source),
            _ => None,
        }
    }
}

/// `1 migration`, `2 migrations`.
fn count(number: usize, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
