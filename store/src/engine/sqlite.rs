//! Running on SQLite.

use config::{DatabaseConfig, Synchronous};
use migration::catalog;
use migration::model::{ForeignKey, OnDelete};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, RuntimeErr, Statement};
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Error as SqlxError};

use super::errors::{Cause, sqlx_error};
use crate::{Error, ErrorKind};

/// With the write lock from the start: a transaction that reads first and then wants to write fails at once
/// (SQLITE_BUSY_SNAPSHOT) when another has written in between, whatever the busy timeout says.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";

/// In memory nothing is durable.
pub(super) fn lowered(config: &DatabaseConfig) -> Option<&'static str> {
    match config.sqlite.synchronous {
        _ if config.is_memory() => None,
        Synchronous::Off => Some("PRAGMA synchronous = OFF"),
        Synchronous::Normal => Some("PRAGMA synchronous = NORMAL"),
        _ => None,
    }
}

pub(super) fn says_no_transaction(error: &DbErr) -> bool {
    Cause::of(error).message.contains("no transaction is active")
}

/// BUSY, NOMEM, INTERRUPT, IOERR and FULL may end the whole transaction
/// (<https://www.sqlite.org/lang_transaction.html>, "Response To Errors Within A Transaction"); a damaged file and a lost
/// connection leave nothing to go on with.
pub(super) fn ends_the_transaction(error: &DbErr) -> bool {
    match extended_code(error) {
        Some(code) => matches!(code & 0xff, 5 | 6 | 7 | 9 | 10 | 11 | 13 | 26),
        None => true,
    }
}

fn extended_code(error: &DbErr) -> Option<i32> {
    let Some(SqlxError::Database(database)) = sqlx_error(error) else {
        return None;
    };
    database.code()?.parse().ok()
}

/// By extended result code (<https://www.sqlite.org/rescode.html>).
pub(super) fn classify(error: &DbErr, table: &str) -> Option<Error> {
    let Some(SqlxError::Database(database)) = sqlx_error(error) else {
        return None;
    };
    let classified = by_code(extended_code(error)?, database.message(), table);
    Some(classified.caused_by(Cause::of(error)))
}

fn by_code(code: i32, message: &str, table: &str) -> Error {
    match code {
        // SQLITE_CONSTRAINT_ UNIQUE, PRIMARYKEY, ROWID
        2067 | 1555 | 2579 => unique(message),
        787 => foreign_key(catalog::foreign_keys(table).iter()),
        // SQLITE_CONSTRAINT_TRIGGER: a foreign key that restricts a delete is one inside.
        1811 => foreign_key(restricting(table)),
        275 => named(
            Error::new(ErrorKind::Check, "a value breaks a rule of the table"),
            after_colon(message),
        ),
        1299 => Error::new(
            ErrorKind::Check,
            format!("{} must not be null", after_colon(message).unwrap_or("a column")),
        ),
        // SQLITE_CONSTRAINT_DATATYPE, SQLITE_TOOBIG
        3091 => Error::new(ErrorKind::InvalidInput, "a value does not fit its column"),
        _ => by_primary_code(code & 0xff, message),
    }
}

fn by_primary_code(code: i32, message: &str) -> Error {
    let (kind, message) = match code {
        5 | 6 => (
            ErrorKind::Contention,
            "another program held the database's lock for too long",
        ),
        8 => (ErrorKind::ReadOnly, "the database can only be read"),
        10 => (ErrorKind::Unavailable, "the disk failed"),
        11 | 26 => (ErrorKind::Corrupt, "the database file is damaged"),
        13 => (ErrorKind::StorageFull, "the disk is full"),
        14 => (ErrorKind::Unavailable, "the database file cannot be opened"),
        18 => (ErrorKind::InvalidInput, "a value is larger than the database takes"),
        1 if message.starts_with("no such") => (
            ErrorKind::Schema,
            "the schema is not the one this program knows; run the migrations' `check`",
        ),
        _ => (ErrorKind::Internal, "the database refused the statement"),
    };
    Error::new(kind, message)
}

/// `UNIQUE constraint failed: secrets.bot_id, secrets.key`, or `index 'name'` for an index over expressions.
fn unique(message: &str) -> Error {
    let error = Error::new(ErrorKind::Conflict, "it is there already");
    let Some(what) = after_colon(message) else { return error };
    if let Some(index) = what.strip_prefix("index '") {
        return named(error, Some(index.trim_end_matches('\'')));
    }
    let columns = what
        .split(", ")
        .filter_map(|name| name.split_once('.'))
        .collect::<Vec<_>>();
    let table = columns.first().map_or("", |(table, _)| table);
    let names = columns.iter().map(|(_, column)| *column).collect::<Vec<_>>();
    named(error, catalog::unique(table, &names))
}

/// SQLite does not say which key it was. Where the table has one, it was that one.
fn foreign_key<'a>(mut candidates: impl Iterator<Item = &'a ForeignKey>) -> Error {
    let error = Error::new(
        ErrorKind::ForeignKey,
        "a row that is referred to is not there, or is still referred to",
    );
    let (first, second) = (candidates.next(), candidates.next());
    named(error, first.filter(|_| second.is_none()).map(ForeignKey::name))
}

/// The keys of other tables that forbid a delete in this one.
fn restricting(table: &str) -> impl Iterator<Item = &'static ForeignKey> {
    catalog::referencing(table)
        .map(|(_, key)| key)
        .filter(|key| key.on_delete() == OnDelete::Restrict)
}

fn named(error: Error, constraint: Option<&str>) -> Error {
    match constraint {
        Some(constraint) => error.breaking(constraint),
        None => error,
    }
}

fn after_colon(message: &str) -> Option<&str> {
    message.split_once(": ").map(|(_, rest)| rest)
}

pub(super) async fn foreign_keys(db: &DatabaseConnection) -> Result<bool, DbErr> {
    let pragma = Statement::from_string(sea_orm::DbBackend::Sqlite, "PRAGMA foreign_keys");
    let row = db.query_one_raw(pragma).await?;
    row.map_or(Ok(false), |row| row.try_get_by_index::<i64>(0).map(|on| on == 1))
}

/// A log of so many pages is moved into the file while nobody writes: 4 MB, where SQLite's own default would have a commit
/// do it. Moving less costs its two syncs for nothing.
const LONG_LOG: i64 = 1_000;

/// A header and a page.
const FRAME: u64 = 24 + 4_096;

/// Moves a log that has become long into the file, so that no commit has to and the next one begins it anew.
///
/// On a connection of its own, for the time being: a passive checkpoint is in nobody's way but that of the connection it
/// runs on. It syncs, whatever `synchronous` says of commits: nothing that was durable in the log may be less so in the
/// file.
pub(super) async fn tidy_up(db: &DatabaseConnection) -> Result<(), DbErr> {
    let options = db.get_sqlite_connection_pool().connect_options();
    let log = super::log_beside(options.get_filename());
    // It does not shrink when it is moved; a short one need not be looked into.
    if super::log_size(&log) < LONG_LOG.unsigned_abs() * FRAME {
        return Ok(());
    }
    let options = options.as_ref().clone().create_if_missing(false);
    let moved = move_log(options.synchronous(SqliteSynchronous::Normal));
    moved
        .await
        .map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))
}

async fn move_log(options: SqliteConnectOptions) -> sqlx::Result<()> {
    let mut connection = options.connect().await?;
    let look = sqlx::query_as("PRAGMA wal_checkpoint(NOOP)");
    let (_, pages, moved): (i64, i64, i64) = look.fetch_one(&mut connection).await?;
    if pages - moved >= LONG_LOG {
        sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
            .execute(&mut connection)
            .await?;
    }
    connection.close().await
}

/// Gives the planner fresh statistics and moves the write-ahead log into the file, so that the file alone is the whole
/// database.
pub(super) async fn flush(db: &DatabaseConnection) -> Result<(), DbErr> {
    db.execute_unprepared("PRAGMA optimize").await?;
    db.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await?;
    Ok(())
}
