//! Database errors become [`Error`]s: what is common to both databases. The codes are in `sqlite.rs` and `postgres.rs`.

use std::fmt;

use sea_orm::{ConnAcquireErr, IdenStatic};
use sea_orm::{DbErr, EntityTrait, FromQueryResult, Iterable, PrimaryKeyToColumn, QueryResult, RuntimeErr};
use sqlx::Error as SqlxError;
use uuid::Uuid;

use crate::{Error, ErrorKind, Result};

/// The cause of an error as the database or its driver told it: a code where there is one, and the message. It stands in
/// for the driver's own error, whose details can hold stored values (Postgres's "Failing row contains …").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The database's code: a SQLSTATE of Postgres, an extended result code of SQLite.
    pub code: Option<String>,
    /// The message.
    pub message: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} (code {code})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Cause {}

impl Cause {
    pub(crate) fn of(error: &DbErr) -> Self {
        match sqlx_error(error) {
            Some(SqlxError::Database(database)) => Self {
                code: database.code().map(Into::into),
                message: database.message().to_owned(),
            },
            Some(other) => Self {
                code: None,
                message: other.to_string(),
            },
            None => Self {
                code: None,
                message: error.to_string(),
            },
        }
    }
}

/// The sqlx error inside, if there is one.
pub(super) fn sqlx_error(error: &DbErr) -> Option<&SqlxError> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(inner))
        | DbErr::Exec(RuntimeErr::SqlxError(inner))
        | DbErr::Query(RuntimeErr::SqlxError(inner)) => Some(inner),
        _ => None,
    }
}

/// Whether the statement had been sent when it failed. (Errors of taking a connection are `Conn`.)
pub(super) fn was_sent(error: &DbErr) -> bool {
    matches!(error, DbErr::Exec(_) | DbErr::Query(_))
}

fn is_connection_loss(error: &SqlxError) -> bool {
    matches!(
        error,
        SqlxError::Io(_) | SqlxError::Tls(_) | SqlxError::Protocol(_) | SqlxError::WorkerCrashed
    )
}

/// Whether the connection is lost with the statement: what broke, or was ended by the server's operator.
pub(super) fn breaks_the_connection(error: &DbErr) -> bool {
    match sqlx_error(error) {
        Some(SqlxError::Database(database)) => database
            .code()
            .is_some_and(|code| code.starts_with("57P") || code.starts_with("08")),
        Some(other) => is_connection_loss(other),
        None => true,
    }
}

/// An error that no code of a database explains.
pub(super) fn without_code(error: &DbErr) -> Error {
    let (kind, message) = match (error, sqlx_error(error)) {
        (DbErr::ConnectionAcquire(ConnAcquireErr::Timeout), _) | (_, Some(SqlxError::PoolTimedOut)) => {
            (ErrorKind::Timeout, "no connection became free in time")
        }
        (DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed), _) | (_, Some(SqlxError::PoolClosed)) => {
            (ErrorKind::Unavailable, "the store is closed")
        }
        (_, Some(loss)) if is_connection_loss(loss) => (ErrorKind::Unavailable, "the database cannot be reached"),
        (_, Some(SqlxError::ColumnDecode { .. } | SqlxError::Decode(_)))
        | (DbErr::Type(_) | DbErr::Json(_) | DbErr::TryIntoErr { .. }, _) => {
            (ErrorKind::Corrupt, "a stored value cannot be understood")
        }
        (_, Some(SqlxError::ColumnNotFound(_))) => {
            (ErrorKind::Schema, "a column is missing; run the migrations' `check`")
        }
        _ => (ErrorKind::Internal, "the database refused the statement"),
    };
    Error::new(kind, message).caused_by(Cause::of(error))
}

pub(super) fn commit_unknown(what: &str) -> Error {
    let advice = "before the database confirmed the change; it may be stored or not: look before you try again";
    Error::new(ErrorKind::CommitUnknown, format!("{what} {advice}"))
}

/// Reads a row as a type; what cannot be understood is `Corrupt` and says where it is.
pub(super) fn decode<E: EntityTrait, M: FromQueryResult>(row: &QueryResult) -> Result<M> {
    M::from_query_result(row, "").map_err(|error| {
        let at = format!(
            "table {}, row {}: {}",
            E::default().table_name(),
            key_of::<E>(row),
            plain(&error)
        );
        Error::new(ErrorKind::Corrupt, at).caused_by(Cause::of(&error))
    })
}

/// The message without the layers' own prefixes.
fn plain(error: &DbErr) -> String {
    match (error, sqlx_error(error)) {
        (DbErr::Type(message) | DbErr::Json(message), _) => message.clone(),
        (_, Some(SqlxError::ColumnDecode { index, .. })) => format!("column {index} holds a value of the wrong form"),
        _ => error.to_string(),
    }
}

fn key_of<E: EntityTrait>(row: &QueryResult) -> String {
    let part = |key: E::PrimaryKey| {
        let column = key.into_column();
        let name = column.as_str();
        let id = row.try_get::<Uuid>("", name).map(|id| id.to_string());
        id.or_else(|_| row.try_get::<String>("", name))
            .unwrap_or_else(|_| "?".to_owned())
    };
    E::PrimaryKey::iter().map(part).collect::<Vec<_>>().join(", ")
}
