//! INSERT of many rows.

use sea_orm::Value;

use super::super::errors::Fault;
use super::super::statement::Command;
use super::connection::{Connection, Found};
use super::merge::placeholders;
use super::value::{arrays, has_array};
use crate::ErrorKind;

/// Rows of one INSERT from arrays. Measured best: with more, the server and this program wait for each other; and COPY is
/// faster then.
const ROWS_OF_ARRAYS: usize = 1_000;

/// What a write that is an operation by itself goes out between. It is serializable as a transaction is: otherwise a
/// transaction that reads what it changes would not notice it.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE";
pub(super) const COMMIT: &str = "COMMIT";

/// Whether a statement takes whichever rows nobody else is about to take: no order of transactions decides which, so being
/// serializable would only have claimers abort each other.
pub(super) fn is_any_of_many(sql: &str) -> bool {
    sql.contains(" SKIP LOCKED")
}

/// An INSERT of one row as sea-query writes it, in its parts.
struct Parts<'s> {
    /// Up to the columns.
    head: &'s str,
    /// What follows the row, ON CONFLICT for example.
    tail: &'s str,
}

fn parts(sql: &str, width: usize) -> Option<Parts<'_>> {
    let row = (1..=width).map(|number| format!("${number}")).collect::<Vec<_>>();
    let row = format!(" VALUES ({})", row.join(", "));
    let head = sql.find(&row)?;
    sql.starts_with("INSERT INTO ").then(|| Parts {
        head: &sql[..head],
        tail: &sql[head + row.len()..],
    })
}

/// Whether it inserts one row that is stored in any case, or fails: then it does not matter with which others it is sent.
pub(super) fn can_be_merged(insert: &Command) -> bool {
    let sql = &insert.sql;
    let decides = [" RETURNING ", " DO NOTHING", " WHERE "];
    sql.starts_with("INSERT INTO ")
        && !decides.iter().any(|word| sql.contains(word))
        && insert
            .once()
            .is_some_and(|row| row.iter().all(has_array) && parts(sql, row.len()).is_some())
}

/// Inserts rows by one statement, whose text is the same for any number of them; in a transaction of its own when `commit`
/// says how that ends.
pub(super) async fn append(
    connection: &mut Connection,
    sql: &str,
    rows: &[&[Value]],
    commit: Option<&str>,
) -> Result<Found, Fault> {
    let width = rows.first().map_or(0, |row| row.len());
    let refused = || Fault::new(ErrorKind::Internal, "these rows cannot be inserted together");
    let parts = parts(sql, width).ok_or_else(refused)?;
    let sorted = in_order(rows, parts.tail);
    let arrays = arrays(&sorted).ok_or_else(refused)?;
    let mut sql = format!(
        "{} SELECT * FROM UNNEST({}){}",
        parts.head,
        placeholders(&arrays),
        parts.tail
    );
    if commit.is_some() {
        // Rows of several callers: when a trigger leaves one out, all of it fails, and each by itself says how many it was.
        sql = format!("WITH stored AS ({sql} RETURNING 1) SELECT 1 / (count(*) = cardinality($1))::int FROM stored");
    }
    connection
        .run_arrays(commit.map(|_| BEGIN), &sql, &arrays, commit)
        .await
}

/// Rows that may meet others which are there are sent in the order of their values, so that two statements lock what both
/// of them meet in the same order, and neither waits for the other in a circle. Two rows of one key are refused by Postgres,
/// and go by themselves.
fn in_order<'v>(rows: &[&'v [Value]], tail: &str) -> Vec<&'v [Value]> {
    let mut rows = rows.to_vec();
    if tail.contains(" ON CONFLICT ") {
        rows.sort_by_cached_key(|row| format!("{row:?}"));
    }
    rows
}

/// Inserts the rows of a bulk insert, inside a transaction.
pub(super) async fn bulk(connection: &mut Connection, sql: &str, rows: &[Vec<Value>]) -> Result<u64, Fault> {
    let width = rows.first().map_or(0, Vec::len);
    let parts = parts(sql, width);
    if let Some(Parts { head, tail: "" }) = parts
        && rows.len() > ROWS_OF_ARRAYS
        && rows.iter().flatten().all(has_array)
    {
        let copy = head.replacen("INSERT INTO ", "COPY ", 1) + " FROM STDIN BINARY";
        return connection.copy(&copy, rows).await;
    }
    let mut changed = 0;
    for some in rows.chunks(ROWS_OF_ARRAYS) {
        let some = some.iter().map(Vec::as_slice).collect::<Vec<_>>();
        changed += append(connection, sql, &some, None).await?.changed;
    }
    Ok(changed)
}
