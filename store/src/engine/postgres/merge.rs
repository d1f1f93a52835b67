//! Reads of one text as one statement.

use std::sync::Arc;

use sea_orm::Value;
use sea_orm::sea_query::{Token, Tokenizer};
use tokio_postgres::Row;

use super::super::errors::Fault;
use super::super::statement::Command;
use super::value::{Array, arrays, has_array};
use crate::ErrorKind;

/// Which of the merged reads a row is of. No column of anybody's has this name.
const READ: &str = "undercroft read";

/// The kind of a read: reads of one text that can be merged are of one, and all others of another.
pub(super) fn kind_of(read: &Command) -> Arc<str> {
    match can_be_merged(read) {
        true => Arc::clone(&read.sql),
        false => "".into(),
    }
}

/// Whether it returns rows as they are found, and binds what arrays are made of.
fn can_be_merged(read: &Command) -> bool {
    // LIMIT takes no column; a text in quotes might hold what looks like a placeholder.
    let plain = read.sql.starts_with("SELECT ")
        && !["'", " LIMIT ", " OFFSET ", " FOR "]
            .iter()
            .any(|word| read.sql.contains(word));
    let values = read.once().unwrap_or_default();
    plain && !values.is_empty() && values.iter().all(has_array)
}

/// Their values as the rows of a table, and the read for each of its rows. OFFSET 0 keeps the planner from joining the
/// tables in another way than row by row. `None` when they cannot be merged.
pub(super) fn merged(reads: &[Command]) -> Option<(String, Vec<Array<'_>>)> {
    let first = reads.first()?;
    if !can_be_merged(first) || !reads.iter().all(|read| read.sql == first.sql) {
        return None;
    }
    let rows = reads
        .iter()
        .map(|read| read.once())
        .collect::<Option<Vec<&[Value]>>>()?;
    let arrays = arrays(&rows)?;
    let names = (1..=arrays.len())
        .map(|number| format!("v{number}, "))
        .collect::<String>();
    let each = with_columns(&first.sql);
    let placeholders = placeholders(&arrays);
    let sql = format!(
        "SELECT found.*, asked.read AS \"{READ}\" FROM UNNEST({placeholders}) WITH ORDINALITY AS asked ({names}read) \
         CROSS JOIN LATERAL ({each} OFFSET 0) AS found"
    );
    Some((sql, arrays))
}

/// `$1::uuid[], $2::text[]`
pub(super) fn placeholders(arrays: &[Array<'_>]) -> String {
    let each = arrays.iter().enumerate().map(|(at, array)| {
        // The name of an array's type is that of its elements behind a `_`.
        let of = array.ty.name().trim_start_matches('_');
        format!("${}::{of}[]", at + 1)
    });
    each.collect::<Vec<_>>().join(", ")
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

/// The rows of merged reads as those of each.
pub(super) fn apart(rows: Vec<Row>, reads: usize) -> Vec<Result<Vec<Row>, Fault>> {
    let mut each = vec![];
    each.resize_with(reads, || Ok(vec![]));
    for row in rows {
        let read = row.try_get::<_, i64>(row.len() - 1).ok();
        let read = read.and_then(|read| usize::try_from(read - 1).ok());
        let Some(Ok(found)) = read.and_then(|read| each.get_mut(read)) else {
            let lost = || Err(Fault::new(ErrorKind::Internal, "a row belongs to none of the reads"));
            each.fill_with(lost);
            return each;
        };
        found.push(row);
    }
    each
}
