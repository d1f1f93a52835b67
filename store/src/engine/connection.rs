//! One connection, and statements stepped on it to their end.

use std::sync::Arc;

use futures_util::{Stream, TryStreamExt as _};
#[cfg(feature = "postgres")]
use sea_orm::Value;
use sea_orm::{DatabaseConnection, DbErr, QueryResult, RuntimeErr, Statement, Values};
use sea_query_sqlx::SqlxValues;
use sqlx::pool::PoolConnection;
#[cfg(feature = "postgres")]
use sqlx::postgres::PgArguments;
use sqlx::{AssertSqlSafe, Connection as _, Either, Executor};

use super::rows::Rows;
use super::running::Running;

/// A connection that is lent by sqlx's pool.
///
/// Statements go to it directly: through a pool each of them would cost a round trip more, for the ping with which the
/// pool takes a connection back.
pub(super) enum Connection {
    #[cfg(feature = "sqlite")]
    Sqlite(PoolConnection<sqlx::Sqlite>),
    #[cfg(feature = "postgres")]
    Postgres(PoolConnection<sqlx::Postgres>),
}

/// What is sent by one call.
#[derive(Debug, Clone)]
pub(super) enum Command {
    /// A statement.
    Statement(Statement),
    /// An INSERT of many rows.
    Rows(Rows),
}

impl Command {
    /// Its text, of one row when it has many.
    pub(super) fn sql(&self) -> &str {
        match self {
            Self::Statement(statement) => &statement.sql,
            Self::Rows(rows) => &rows.sql,
        }
    }

    /// The text of a statement.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Statement(statement) => Some(&statement.sql),
            Self::Rows(_) => None,
        }
    }

    /// Whether it is worth a place among the prepared statements.
    #[cfg(feature = "sqlite")]
    pub(super) fn comes_again(&self) -> bool {
        match self {
            Self::Statement(_) => true,
            Self::Rows(rows) => rows.comes_again(),
        }
    }

    /// The values of a statement.
    #[cfg(feature = "postgres")]
    pub(super) fn values(&self) -> Option<&[Value]> {
        match self {
            Self::Statement(statement) => statement.values.as_ref().map(|values| values.0.as_slice()),
            Self::Rows(_) => None,
        }
    }

    #[cfg(feature = "sqlite")]
    pub(super) fn into_values(self) -> (String, Values) {
        match self {
            Self::Statement(statement) => (statement.sql, statement.values.unwrap_or(Values(vec![]))),
            Self::Rows(rows) => {
                let (sql, values) = rows.into_values();
                (sql, Values(values))
            }
        }
    }

    #[cfg(feature = "postgres")]
    fn into_arguments(self) -> Result<(String, PgArguments), DbErr> {
        match self {
            Self::Statement(statement) => {
                let values = SqlxValues(statement.values.unwrap_or(Values(vec![])));
                Ok((
                    statement.sql,
                    sqlx::IntoArguments::<sqlx::Postgres>::into_arguments(values),
                ))
            }
            Self::Rows(rows) => {
                let arrays = super::postgres::from_arrays(rows);
                arrays.ok_or_else(|| DbErr::Type("a column of mixed types".to_owned()))
            }
        }
    }
}

/// What a statement answered.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The rows of a query or of a RETURNING.
    pub(super) rows: Vec<QueryResult>,
    /// How many rows it changed.
    pub(super) changed: u64,
}

impl Answer {
    /// Of a statement that changed one row, and answers none.
    pub(super) fn of_one_row() -> Self {
        Self {
            rows: vec![],
            changed: 1,
        }
    }
}

impl Connection {
    /// One of this pool's.
    pub(super) async fn lent_by(pool: &DatabaseConnection, running: Running) -> Result<Self, DbErr> {
        let lent = match running {
            #[cfg(feature = "sqlite")]
            Running::Sqlite => pool.get_sqlite_connection_pool().acquire().await.map(Self::Sqlite),
            #[cfg(feature = "postgres")]
            Running::Postgres => pool.get_postgres_connection_pool().acquire().await.map(Self::Postgres),
        };
        lent.map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error))))
    }

    /// Runs a command and reads its answer to the end. sqlx's `fetch_one`, which SeaORM's own `insert` and `update` use,
    /// stops at the first row and so misses an error that SQLite reports after it
    /// (<https://github.com/launchbadge/sqlx/issues/3430>).
    pub(super) async fn perform(&mut self, command: Command) -> Result<Answer, DbErr> {
        let answered = match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => {
                let keep = command.comes_again();
                let (sql, values) = command.into_values();
                let query = sqlx::query_with(AssertSqlSafe(sql), SqlxValues(values)).persistent(keep);
                answer(
                    connection.fetch_many(query),
                    sqlx::sqlite::SqliteQueryResult::rows_affected,
                )
                .await
            }
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => {
                let (sql, arguments) = command.into_arguments()?;
                let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
                answer(
                    connection.fetch_many(query),
                    sqlx::postgres::PgQueryResult::rows_affected,
                )
                .await
            }
        };
        answered.map_err(sent)
    }

    /// Runs statements that are no one's operation: BEGIN, COMMIT, a savepoint, a setting.
    pub(super) async fn control(&mut self, sql: &str) -> Result<(), DbErr> {
        let statements = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => connection.execute(statements).await.map(drop).map_err(sent),
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => connection.execute(statements).await.map(drop).map_err(sent),
        }
    }

    /// Whether it answers.
    pub(super) async fn ping(&mut self) -> Result<(), DbErr> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => connection.ping().await.map_err(sent),
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => connection.ping().await.map_err(sent),
        }
    }

    /// Closes the connection when it is dropped, in place of giving it back to the pool.
    pub(super) fn close_on_drop(&mut self) {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => connection.close_on_drop(),
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => connection.close_on_drop(),
        }
    }
}

pub(super) async fn answer<Done, Row: Into<QueryResult>>(
    parts: impl Stream<Item = sqlx::Result<Either<Done, Row>>> + Unpin,
    changed: fn(&Done) -> u64,
) -> sqlx::Result<Answer> {
    let mut answers = vec![];
    one_by_one(parts, changed, &mut answers).await?;
    Ok(answers.pop().unwrap_or_default())
}

/// Each statement's rows are followed by how many rows it changed.
pub(super) async fn one_by_one<Done, Row: Into<QueryResult>>(
    mut parts: impl Stream<Item = sqlx::Result<Either<Done, Row>>> + Unpin,
    changed: fn(&Done) -> u64,
    answers: &mut Vec<Answer>,
) -> sqlx::Result<()> {
    let mut rows = vec![];
    while let Some(part) = parts.try_next().await? {
        match part {
            Either::Left(done) => answers.push(Answer {
                rows: std::mem::take(&mut rows),
                changed: changed(&done),
            }),
            Either::Right(row) => rows.push(row.into()),
        }
    }
    Ok(())
}

/// The error of a statement that was sent.
pub(super) fn sent(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(Arc::new(error)))
}
