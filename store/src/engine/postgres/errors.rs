//! Postgres's codes as errors (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).

use tokio_postgres::Error as Driver;
use tokio_postgres::error::Severity;

use super::super::errors::{Cause, Fault};
use crate::ErrorKind;

/// The error of a statement.
pub(super) fn classify(error: &Driver) -> Fault {
    let Some(database) = error.as_db_error() else {
        return without_code(error);
    };
    let code = database.code().code();
    // The server ends the connection with it.
    let fatal = matches!(database.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
    let (kind, message) = match by_code(code) {
        (ErrorKind::Internal, _) if fatal => (ErrorKind::Unavailable, "the server ended the connection"),
        told => told,
    };
    let fault = Fault::new(kind, message)
        .breaking(database.constraint())
        .caused_by(Cause {
            code: Some(code.to_owned()),
            message: database.message().to_owned(),
        });
    Fault {
        // Ended by the server's operator, or broken.
        lost: fatal || code.starts_with("57P") || code.starts_with("08"),
        ended: true,
        ..fault
    }
}

fn without_code(error: &Driver) -> Fault {
    let said = || {
        let source = std::error::Error::source(error).map(ToString::to_string);
        Cause {
            code: None,
            message: source.unwrap_or_else(|| error.to_string()),
        }
    };
    let io = std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>());
    // The driver's own words for a connection that ended: it has no other way to tell.
    if error.is_closed() || io {
        return Fault {
            lost: true,
            ended: true,
            ..Fault::new(ErrorKind::Unavailable, "the database cannot be reached").caused_by(said())
        };
    }
    let encoding = std::error::Error::source(error).is_some_and(|source| source.is::<super::value::Refused>());
    let (kind, message) = match encoding {
        true => (
            ErrorKind::InvalidInput,
            "a value is of a type or a size that the database does not take",
        ),
        false => (ErrorKind::Internal, "the database refused the statement"),
    };
    Fault {
        ended: true,
        ..Fault::new(kind, message).caused_by(said())
    }
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
        "P0001" => (ErrorKind::Check, "a trigger refused the change"),
        "40001" | "40P01" | "55P03" => (ErrorKind::Contention, "other transactions were writing the same rows"),
        "57014" => (ErrorKind::Timeout, "the statement was ended at its deadline"),
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
