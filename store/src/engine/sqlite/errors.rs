//! SQLite's result codes as errors (<https://www.sqlite.org/rescode.html>).

use std::borrow::Cow;

use migration::catalog;
use migration::model::{ForeignKey, OnDelete};

use super::super::errors::{Cause, Fault};
use crate::ErrorKind;

/// The error of a statement on this table.
pub(super) fn classify(error: &rusqlite::Error, table: &str) -> Fault {
    let Some(code) = error.sqlite_error().map(|error| error.extended_code) else {
        return without_code(error);
    };
    let message = message(error);
    let fault = by_code(code, &message, table).caused_by(Cause {
        code: Some(code.to_string()),
        message: message.into_owned(),
    });
    Fault {
        lost: matches!(code & 0xff, 10 | 14),
        ended: ends_the_transaction(code),
        ..fault
    }
}

/// BUSY, NOMEM, INTERRUPT, IOERR and FULL may end the whole transaction
/// (<https://www.sqlite.org/lang_transaction.html>, "Response To Errors Within A Transaction"); a damaged file leaves
/// nothing to go on with.
fn ends_the_transaction(code: i32) -> bool {
    matches!(code & 0xff, 5 | 6 | 7 | 9 | 10 | 11 | 13 | 26)
}

fn message(error: &rusqlite::Error) -> Cow<'static, str> {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone().into(),
        rusqlite::Error::SqliteFailure(code, None) => code.to_string().into(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone().into(),
        other => other.to_string().into(),
    }
}

fn without_code(error: &rusqlite::Error) -> Fault {
    let kind = match error {
        rusqlite::Error::ToSqlConversionFailure(_) => ErrorKind::InvalidInput,
        rusqlite::Error::Utf8Error(..) => ErrorKind::Corrupt,
        _ => ErrorKind::Internal,
    };
    let message = match kind {
        ErrorKind::InvalidInput => "a value is of a type or a size that the database does not take",
        ErrorKind::Corrupt => "a stored value cannot be understood",
        _ => "the database refused the statement",
    };
    Fault::new(kind, message).caused_by(Cause {
        code: None,
        message: error.to_string(),
    })
}

fn by_code(code: i32, message: &str, table: &str) -> Fault {
    match code {
        // SQLITE_CONSTRAINT_ UNIQUE, PRIMARYKEY, ROWID
        2067 | 1555 | 2579 => unique(message),
        787 => foreign_key(catalog::foreign_keys(table).iter()),
        // SQLITE_CONSTRAINT_TRIGGER: a foreign key that restricts a delete is one inside.
        1811 if message.starts_with("FOREIGN KEY") => foreign_key(restricting(table)),
        1811 => Fault::new(ErrorKind::Check, "a trigger refused the change"),
        275 => Fault::new(ErrorKind::Check, "a value breaks a rule of the table").breaking(after_colon(message)),
        1299 => {
            let column = after_colon(message).unwrap_or("a column");
            Fault::new(ErrorKind::Check, format!("{column} must not be null"))
        }
        // SQLITE_CONSTRAINT_DATATYPE
        3091 => Fault::new(ErrorKind::InvalidInput, "a value does not fit its column"),
        _ => by_primary_code(code & 0xff, message),
    }
}

fn by_primary_code(code: i32, message: &str) -> Fault {
    let (kind, message) = match code {
        5 | 6 => (
            ErrorKind::Contention,
            "another program held the database's lock for too long",
        ),
        8 => (ErrorKind::ReadOnly, "the database can only be read"),
        // Only the statement's own deadline, or its caller's going away, interrupts it.
        9 => (ErrorKind::Timeout, "the statement was ended at its deadline"),
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
    Fault::new(kind, message)
}

/// `UNIQUE constraint failed: secrets.bot_id, secrets.key`, or `index 'name'` for an index over expressions.
fn unique(message: &str) -> Fault {
    let fault = Fault::new(ErrorKind::Conflict, "it is there already");
    let Some(what) = after_colon(message) else { return fault };
    if let Some(index) = what.strip_prefix("index '") {
        return fault.breaking(Some(index.trim_end_matches('\'')));
    }
    let columns = what
        .split(", ")
        .filter_map(|name| name.split_once('.'))
        .collect::<Vec<_>>();
    let table = columns.first().map_or("", |(table, _)| table);
    let names = columns.iter().map(|(_, column)| *column).collect::<Vec<_>>();
    fault.breaking(catalog::unique(table, &names))
}

/// SQLite does not say which key it was. Where the table has one, it was that one.
fn foreign_key<'a>(mut candidates: impl Iterator<Item = &'a ForeignKey>) -> Fault {
    let fault = Fault::new(
        ErrorKind::ForeignKey,
        "a row that is referred to is not there, or is still referred to",
    );
    let (first, second) = (candidates.next(), candidates.next());
    fault.breaking(first.filter(|_| second.is_none()).map(ForeignKey::name))
}

/// The keys of other tables that forbid a delete in this one.
fn restricting(table: &str) -> impl Iterator<Item = &'static ForeignKey> {
    catalog::referencing(table)
        .map(|(_, key)| key)
        .filter(|key| key.on_delete() == OnDelete::Restrict)
}

fn after_colon(message: &str) -> Option<&str> {
    message.split_once(": ").map(|(_, rest)| rest)
}
