//! Fills tables, in the database's own time.

use sea_orm::ConnectionTrait;
use store::testkit::{Backend, TestDatabase};
use uuid::Uuid;

/// So many rows a table has.
pub(crate) const ROWS: u32 = 100_000;

/// Columns of a table, each with its expression.
pub(crate) type Columns = &'static [(&'static str, &'static str)];

/// The id of a row by its number: what `id(i)` is in SQL.
pub(crate) fn id<I: From<Uuid>>(number: u32) -> I {
    Uuid::from_u128(number.into()).into()
}

/// Puts rows into a table: each column with an expression over `i`, the row's number from 1, and `x`, the same numbers
/// in another order, so that rows do not lie in the order of any index over it. What the databases write differently:
///
/// - `id(n)`: the id of this number
/// - `instant(n)`: so many seconds into 2026
/// - `bytes(t)`: a text's bytes
/// - `json(t)`: a text as JSON
/// - `pick(n, a, b, …)`: one of the expressions, in turn
///
/// The planner knows of them afterwards.
pub(crate) async fn rows(db: &TestDatabase, count: u32, table: &str, columns: Columns) {
    unseen_rows(db, count, table, columns).await;
    run(db, &["ANALYZE"]).await;
}

/// [`rows`] that the planner has not been told of.
pub(crate) async fn unseen_rows(db: &TestDatabase, count: u32, table: &str, columns: Columns) {
    let names = columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let values = columns.iter().map(|(_, value)| expanded(db.backend(), value));
    let values = values.collect::<Vec<_>>().join(", ");
    let numbers = format!(
        "n(i, x) AS (SELECT 1, 7919 UNION ALL SELECT i + 1, (i + 1) * 7919 % {count} FROM n WHERE i < {count})"
    );
    let insert = format!("INSERT INTO {table} ({names}) WITH RECURSIVE {numbers} SELECT {values} FROM n");
    run(db, &[&insert]).await;
}

async fn run(db: &TestDatabase, statements: &[&str]) {
    let connections = db.config().connect().await.unwrap();
    for sql in statements {
        let done = connections.writer.execute_unprepared(sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    connections.close().await;
}

const WORDS: [&str; 5] = ["id", "instant", "bytes", "json", "pick"];

fn expanded(backend: Backend, expression: &str) -> String {
    let Some((start, word, end)) = first_call(expression) else {
        return expression.to_owned();
    };
    let inner = &expression[start + word.len() + 1..end];
    let arguments = arguments(inner).into_iter().map(|argument| expanded(backend, argument));
    let call = written(backend, word, &arguments.collect::<Vec<_>>());
    format!(
        "{}{call}{}",
        &expression[..start],
        expanded(backend, &expression[end + 1..])
    )
}

fn written(backend: Backend, word: &str, arguments: &[String]) -> String {
    let first = &arguments[0];
    match (word, backend) {
        ("id", Backend::Sqlite) => format!("unhex(printf('%032x', {first}))"),
        ("id", Backend::Postgres) => format!("CAST(lpad(to_hex({first}), 32, '0') AS uuid)"),
        ("instant", Backend::Sqlite) => {
            format!("strftime('%Y-%m-%dT%H:%M:%S+00:00', 1767225600 + {first}, 'unixepoch')")
        }
        ("instant", Backend::Postgres) => format!("to_timestamp(1767225600 + {first})"),
        ("bytes", Backend::Sqlite) => format!("CAST({first} AS blob)"),
        ("bytes", Backend::Postgres) => format!("convert_to({first}, 'UTF8')"),
        ("json", Backend::Sqlite) => first.clone(),
        ("json", Backend::Postgres) => format!("CAST({first} AS jsonb)"),
        _ => {
            let choices = &arguments[1..];
            let cases = choices.iter().enumerate();
            let cases = cases
                .map(|(at, choice)| format!(" WHEN {at} THEN {choice}"))
                .collect::<String>();
            format!("CASE ({first}) % {}{cases} END", choices.len())
        }
    }
}

/// Where one of our words is called: its place, itself, and the place of its closing parenthesis.
fn first_call(expression: &str) -> Option<(usize, &'static str, usize)> {
    let calls = WORDS.iter().flat_map(|word| {
        let found = expression
            .match_indices(&format!("{word}("))
            .map(|(at, _)| at)
            .collect::<Vec<_>>();
        found.into_iter().map(move |at| (at, *word))
    });
    let own = calls.filter(|(at, _)| !expression[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
    let (start, word) = own.min()?;
    let from = start + word.len() + 1;
    let mut depth = 1;
    let end = expression[from..].find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    })?;
    Some((start, word, from + end))
}

/// Split at the commas that are not inside parentheses.
fn arguments(inner: &str) -> Vec<&str> {
    let mut depth = 0;
    let split = inner.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    split.map(str::trim).collect()
}
