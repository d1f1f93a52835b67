//! The one place where shaping differs between the databases.
//!
//! | kind | SQLite (`STRICT` tables) | Postgres |
//! |---|---|---|
//! | uuid | `BLOB`, 16 bytes | `uuid` |
//! | text | `TEXT` | `text COLLATE "C"`: both compare bytewise |
//! | timestamp | `TEXT`, RFC 3339 in UTC: text order is time order | `timestamptz` |
//! | json | `TEXT` with a `json_valid` check | `jsonb` |
//! | bytes | `BLOB` | `bytea` |
//! | integer | `INTEGER` | `bigint` |
//! | boolean | `INTEGER` with a check for 0 and 1 | `boolean` |
//!
//! Everything else that differs (ALTER, locks, catalogs) is behind [`Shape`], which each database implements once.

pub(crate) mod ddl;
mod postgres;
mod sqlite;

use std::fmt;

use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement, TransactionOptions};
use sea_orm_migration::async_trait::async_trait;
use sea_orm_migration::{SchemaManagerConnection, sea_orm::DatabaseConnection, sea_orm::DatabaseTransaction};

use crate::error::{MigrationError, Result};
use crate::model::{Change, Column, Kind, Sql, Table};
use crate::snapshot::Snapshot;

/// A connection or a transaction, whichever is at hand.
pub(crate) type Conn<'c> = SchemaManagerConnection<'c>;

/// Which database's SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// Postgres.
    Postgres,
}

impl Dialect {
    /// The dialect of a connection. Errs for a database that this store does not run on.
    pub fn of(connection: &impl ConnectionTrait) -> Result<Self> {
        match connection.get_database_backend() {
            DbBackend::Sqlite => Ok(Dialect::Sqlite),
            DbBackend::Postgres => Ok(Dialect::Postgres),
            other => Err(MigrationError::Unsupported(other.as_str())),
        }
    }

    /// What this database does its own way. The only dispatch there is.
    pub(crate) fn shape(self) -> &'static dyn Shape {
        match self {
            Dialect::Sqlite => &sqlite::Sqlite,
            Dialect::Postgres => &postgres::Postgres,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shape().name())
    }
}

/// How a step becomes something that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// A statement.
    Execute(String),
    /// SQLite's way to change what ALTER TABLE cannot.
    Rebuild { before: Box<Table>, after: Box<Table> },
}

/// A column as the database's catalog has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiveColumn {
    pub(crate) table: String,
    pub(crate) column: String,
    pub(crate) data_type: String,
}

/// A table outside the migrations that points to one of theirs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Reference {
    /// The table that holds the reference.
    pub table: String,
    /// The table it points to.
    pub parent: String,
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.table, self.parent)
    }
}

/// What a database does its own way.
#[async_trait]
pub(crate) trait Shape: Sync {
    fn name(&self) -> &'static str;

    /// The type that a column is declared with.
    fn column_type(&self, kind: Kind) -> &'static str;
    /// The type as the catalog reports it back.
    fn catalog_type(&self, kind: Kind) -> &'static str;
    fn boolean(&self, value: bool) -> &'static str;
    /// What a column's kind or its JSON rule needs as a check, beyond what both databases share.
    fn column_check(&self, column: &Column) -> Option<String>;
    /// What follows the closing parenthesis of CREATE TABLE.
    fn table_suffix(&self) -> &'static str;
    /// Drops these tables, which may point to each other.
    fn drop_tables(&self, tables: &[&str]) -> Vec<String>;
    fn wording(&self, sql: Sql) -> &'static str;
    fn alter(&self, before: &Table, changes: &[Change], after: &Table) -> Vec<Action>;
    /// Runs a rebuild; only a database whose `alter` asks for one is ever given one.
    async fn rebuild(&self, conn: &Conn<'_>, before: &Table, after: &Table) -> Result<(), DbErr>;

    fn transaction(&self) -> TransactionOptions;
    /// The connection that a run works on, set up for it …
    async fn enter(&self, db: &DatabaseConnection) -> Result<DatabaseConnection, DbErr>;
    /// … and given back, whatever happened.
    async fn leave(&self, run: DatabaseConnection) -> Result<(), DbErr>;
    /// Takes the migration lock, which ends with the transaction.
    async fn lock(&self, txn: &DatabaseTransaction) -> Result<()>;
    /// What must hold before COMMIT.
    async fn verify(&self, txn: &DatabaseTransaction) -> Result<()>;
    /// Mirrors the number of applied migrations where other programs look for it.
    async fn mirror(&self, conn: &Conn<'_>, applied: usize) -> Result<(), DbErr>;
    /// Whether trying again can help: somebody else was at it.
    fn is_contention(&self, error: &DbErr) -> bool;
    /// Whether the database gave up waiting for a lock.
    fn is_lock_timeout(&self, error: &DbErr) -> bool;

    /// The query for the columns of these tables, as far as the tables exist: table, column and type, all of them text.
    fn columns(&self, tables: &[&str]) -> String;
    /// Which other tables point to these.
    async fn references(&self, conn: &Conn<'_>, tables: &[&str]) -> Result<Vec<Reference>, DbErr>;
    /// The tables in full, as far as they exist.
    async fn snapshot(&self, conn: &Conn<'_>, tables: &[&str]) -> Result<Snapshot>;
    /// The tables in full as the first `count` migrations make them on this very database, which is left as it was.
    async fn expected(&self, db: &DatabaseConnection, count: usize) -> Result<Snapshot>;
}

/// All rows of a query without parameters.
pub(crate) async fn rows(conn: &Conn<'_>, sql: impl Into<String>) -> Result<Vec<QueryResult>, DbErr> {
    conn.query_all_raw(Statement::from_string(conn.get_database_backend(), sql))
        .await
}

/// Names as a list of SQL literals, for IN.
fn literals(names: &[&str]) -> String {
    names.iter().map(|name| ddl::text(name)).collect::<Vec<_>>().join(", ")
}

/// The database's own code for an error: SQLSTATE, or SQLite's extended result code.
pub(crate) fn code(error: &DbErr) -> Option<String> {
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    if let Some(error) = from_database(error) {
        return error.code().map(|code| code.into_owned());
    }
    let _ = error;
    None
}

/// What the database said, without the layers it came through; with Postgres's detail where it names what is in the way.
/// That of refused values and rows (classes 22 and 23) stays out: it repeats them ("Failing row contains …").
pub(crate) fn said(error: &DbErr) -> String {
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    if let Some(error) = from_database(error) {
        #[cfg(feature = "postgres")]
        if let Some(error) = error.try_downcast_ref::<sea_orm::SqlxPostgresError>() {
            let repeats_rows = error.code().starts_with("22") || error.code().starts_with("23");
            let detail = error.detail().filter(|_| !repeats_rows);
            let detail = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
            return format!("{}{detail}", error.message());
        }
        return error.message().to_owned();
    }
    error.to_string()
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
fn from_database(error: &DbErr) -> Option<&dyn sea_orm::sqlx::error::DatabaseError> {
    use sea_orm::{RuntimeErr, sqlx};
    let (DbErr::Conn(RuntimeErr::SqlxError(source))
    | DbErr::Exec(RuntimeErr::SqlxError(source))
    | DbErr::Query(RuntimeErr::SqlxError(source))) = error
    else {
        return None;
    };
    match source.as_ref() {
        sqlx::Error::Database(source) => Some(source.as_ref()),
        _ => None,
    }
}
