//! Running on Postgres.

use sea_orm::sea_query::{Token, Tokenizer};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr, Statement, Value};
use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, Error as SqlxError};

use super::connection::{Answer, Command};
use super::errors::{Cause, sqlx_error};
use super::rows::Rows;
use crate::{Error, ErrorKind};

/// Serializable, as SQLite's one writer is by nature. What loses is tried again.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE";

/// By SQLSTATE (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
pub(super) fn classify(error: &DbErr, _table: &str) -> Option<Error> {
    let Some(SqlxError::Database(database)) = sqlx_error(error) else {
        return None;
    };
    let code = database.code()?;
    let (kind, message) = by_code(&code);
    let classified = Error::new(kind, message).caused_by(Cause::of(error));
    Some(match database.constraint() {
        Some(constraint) => classified.breaking(constraint),
        None => classified,
    })
}

fn by_code(code: &str) -> (ErrorKind, &'static str) {
    match code {
        "23505" => (ErrorKind::Conflict, "it is there already"),
        "23503" | "23001" => (
            ErrorKind::ForeignKey,
            "a row that is referred to is not there, or is still referred to",
        ),
        "23514" => (ErrorKind::Check, "a value breaks a rule of the table"),
        "23502" => (ErrorKind::Check, "a column must not be null"),
        "40001" | "40P01" | "55P03" => (ErrorKind::Contention, "other transactions were writing the same rows"),
        "57014" => (ErrorKind::Timeout, "the statement timeout passed"),
        "25P02" => (
            ErrorKind::TransactionAborted,
            "an earlier statement of the transaction failed",
        ),
        "25006" => (ErrorKind::ReadOnly, "the database can only be read"),
        "42501" => (ErrorKind::Config, "the database user may not do this"),
        "42P01" | "42703" | "42883" | "3F000" => (
            ErrorKind::Schema,
            "the schema is not the one this program knows; run the migrations' `check`",
        ),
        _ => by_class(code),
    }
}

fn by_class(code: &str) -> (ErrorKind, &'static str) {
    match code.get(..2) {
        Some("08" | "57") => (ErrorKind::Unavailable, "the database cannot be reached"),
        Some("22" | "54") => (ErrorKind::InvalidInput, "a value does not fit its column"),
        Some("28") => (ErrorKind::Config, "the database refuses this user"),
        Some("53") if code == "53100" => (ErrorKind::StorageFull, "the disk is full"),
        Some("53") => (
            ErrorKind::Unavailable,
            "the server has no room for another connection or statement",
        ),
        Some("XX") if code != "XX000" => (ErrorKind::Corrupt, "the database is damaged"),
        _ => (ErrorKind::Internal, "the database refused the statement"),
    }
}

/// Triggers, and with them foreign keys, are off on a connection that replays changes of another server.
pub(super) async fn foreign_keys(db: &DatabaseConnection) -> Result<bool, DbErr> {
    let show = Statement::from_string(sea_orm::DbBackend::Postgres, "SHOW session_replication_role");
    let row = db.query_one_raw(show).await?;
    row.map_or(Ok(false), |row| {
        row.try_get_by_index::<String>(0).map(|role| role != "replica")
    })
}

/// Rows as an INSERT from arrays, one for each column: the text is the same for any number of rows. `None` when a column
/// holds what no array is made of here.
pub(super) fn from_arrays(mut rows: Rows) -> Option<(String, PgArguments)> {
    let (arrays, arguments) = arrays(std::mem::take(&mut rows.rows))?;
    Some((rows.from(&format!("SELECT * FROM UNNEST({arrays})")), arguments))
}

/// Whether [`from_arrays`] takes a column of such values.
pub(super) fn has_array(value: &Value) -> bool {
    add_array(&mut PgArguments::default(), vec![value.clone()]).is_some()
}

/// Which of the merged reads a row answers. No column of anybody's has this name.
const READ: &str = "undercroft read";

/// Whether [`merged`] takes such a read: it answers with rows as they are found, and binds what arrays are made of.
pub(super) fn can_be_merged(read: &Statement) -> bool {
    // LIMIT takes no column; a text in quotes might hold what looks like a placeholder.
    let plain = read.sql.starts_with("SELECT ")
        && !["'", " LIMIT ", " OFFSET ", " FOR "]
            .iter()
            .any(|word| read.sql.contains(word));
    plain
        && read
            .values
            .as_ref()
            .is_some_and(|values| !values.0.is_empty() && values.0.iter().all(has_array))
}

/// Reads of one text as one: their values as the rows of a table, and the read for each of its rows. OFFSET 0 keeps the
/// planner from joining the tables in another way than row by row. `None` when they cannot be.
pub(super) fn merged(reads: &[Command]) -> Option<(String, PgArguments)> {
    let Command::Statement(first) = reads.first()? else {
        return None;
    };
    if !can_be_merged(first) {
        return None;
    }
    let width = first.values.as_ref()?.0.len();
    let rows = reads.iter().map(|read| read.values().map(<[Value]>::to_vec));
    let (arrays, arguments) = arrays(rows.collect::<Option<_>>()?)?;
    let names = (1..=width).map(|number| format!("v{number}, ")).collect::<String>();
    let each = with_columns(&first.sql);
    let sql = format!(
        "SELECT found.*, asked.read AS \"{READ}\" FROM UNNEST({arrays}) WITH ORDINALITY AS asked ({names}read) \
         CROSS JOIN LATERAL ({each} OFFSET 0) AS found"
    );
    Some((sql, arguments))
}

/// The text with columns in the place of its placeholders.
fn with_columns(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len() + 16);
    for token in Tokenizer::new(sql).iter() {
        match token {
            Token::Punctuation("$") => text.push_str("asked.v"),
            token => text.push_str(token.as_str()),
        }
    }
    text
}

/// The answer to [`merged`] reads as the answers of each.
pub(super) fn taken_apart(merged: Answer, reads: usize, answers: &mut Vec<Answer>) -> Result<(), DbErr> {
    answers.resize_with(reads, Answer::default);
    for row in merged.rows {
        let read: i64 = row.try_get("", READ)?;
        let read = usize::try_from(read - 1).ok();
        let Some(answer) = read.and_then(|read| answers.get_mut(read)) else {
            return Err(DbErr::Custom("a row answers none of the reads".to_owned()));
        };
        answer.rows.push(row);
        answer.changed += 1;
    }
    Ok(())
}

/// Binds the columns of rows as arrays, and answers their placeholders.
fn arrays(rows: Vec<Vec<Value>>) -> Option<(String, PgArguments)> {
    let mut columns = vec![Vec::with_capacity(rows.len()); rows.first()?.len()];
    for row in rows {
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    let mut arguments = PgArguments::default();
    let mut arrays = vec![];
    for (at, column) in columns.into_iter().enumerate() {
        let of = add_array(&mut arguments, column)?;
        arrays.push(format!("${}::{of}[]", at + 1));
    }
    Some((arrays.join(", "), arguments))
}

/// Binds a column's values, and answers their type.
fn add_array(arguments: &mut PgArguments, column: Vec<Value>) -> Option<&'static str> {
    macro_rules! array_of {
        ($variant:ident, $of:literal) => {
            array_of!($variant, $of, |inner| inner)
        };
        ($variant:ident, $of:literal, $plain:expr) => {{
            let inner = |value| match value {
                Value::$variant(inner) => Some(inner.map($plain)),
                _ => None,
            };
            let values = column.into_iter().map(inner).collect::<Option<Vec<_>>>()?;
            arguments.add(values).ok().map(|()| $of)
        }};
    }
    match column.first()? {
        Value::Uuid(_) => array_of!(Uuid, "uuid"),
        Value::String(_) => array_of!(String, "text"),
        Value::Json(_) => array_of!(Json, "jsonb", |json| *json),
        Value::ChronoDateTimeUtc(_) => array_of!(ChronoDateTimeUtc, "timestamptz"),
        Value::BigInt(_) => array_of!(BigInt, "int8"),
        Value::Int(_) => array_of!(Int, "int4"),
        Value::SmallInt(_) => array_of!(SmallInt, "int2"),
        Value::Double(_) => array_of!(Double, "float8"),
        Value::Bool(_) => array_of!(Bool, "bool"),
        Value::Bytes(_) => array_of!(Bytes, "bytea"),
        _ => None,
    }
}
