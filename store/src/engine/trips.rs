//! Several statements, sent in fewer trips than one for each.

#[cfg(feature = "sqlite")]
use futures_util::TryStreamExt as _;
use sea_orm::DbErr;
#[cfg(feature = "sqlite")]
use sea_orm::Values;
#[cfg(feature = "sqlite")]
use sea_query_sqlx::SqlxValues;
use sqlx::{AssertSqlSafe, Executor as _};

#[cfg(feature = "sqlite")]
use super::connection::one_by_one;
use super::connection::{Answer, Command, Connection, answer, sent};
#[cfg(feature = "postgres")]
use super::errors::breaks_the_connection;
#[cfg(feature = "postgres")]
use super::postgres;

/// Statements of one text that go to SQLite as one command. A command is a trip to another thread and back, which costs
/// as much as a small write. Few sizes, because each text takes a place in the cache of prepared statements.
#[cfg(feature = "sqlite")]
const COMMAND_SIZES: [usize; 3] = [16, 4, 1];

impl Connection {
    /// Runs what opens a transaction, and the first command in it. Where both go out as one, that saves a trip; `opened`
    /// is called as soon as the opening is confirmed, so that its errors can be told from the command's.
    pub(super) async fn perform_first(
        &mut self,
        opening: &'static str,
        command: Command,
        opened: impl FnOnce() + Send,
    ) -> Result<Answer, DbErr> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => {
                let keep = command.comes_again();
                let (sql, values) = command.into_values();
                let sql = format!("{opening}; {sql}");
                let query = sqlx::query_with(AssertSqlSafe(sql), SqlxValues(values)).persistent(keep);
                let mut opened = Some(opened);
                // The first that comes is the opening's own answer.
                let parts = connection.fetch_many(query).inspect_ok(|_| {
                    if let Some(opened) = opened.take() {
                        opened();
                    }
                });
                let changed = sqlx::sqlite::SqliteQueryResult::rows_affected;
                answer(parts, changed).await.map_err(sent)
            }
            // Its protocol takes one statement at a time.
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => {
                self.control(opening).await?;
                opened();
                self.perform(command).await
            }
        }
    }

    /// Runs commands of one text, up to the first that fails: the answers of those before it, and its error.
    pub(super) async fn perform_alike(&mut self, commands: Vec<Command>) -> (Vec<Answer>, Option<DbErr>) {
        let mut answers = Vec::with_capacity(commands.len());
        let done = self.perform_into(commands, &mut answers).await;
        (answers, done.err())
    }

    async fn perform_into(&mut self, commands: Vec<Command>, answers: &mut Vec<Answer>) -> Result<(), DbErr> {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => {
                let mut commands = commands.into_iter();
                while commands.len() > 0 {
                    let size = command_size(commands.len());
                    let some = commands.by_ref().take(size);
                    let (texts, values): (Vec<_>, Vec<_>) = some.map(Command::into_values).unzip();
                    let values = SqlxValues(Values(values.into_iter().flatten().collect()));
                    let query = sqlx::query_with(AssertSqlSafe(texts.join("; ")), values);
                    let changed = sqlx::sqlite::SqliteQueryResult::rows_affected;
                    one_by_one(connection.fetch_many(query), changed, answers)
                        .await
                        .map_err(sent)?;
                }
            }
            // Its protocol takes one statement at a time.
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => {
                if commands.len() > 1
                    && let Some((sql, arguments)) = postgres::merged(&commands)
                {
                    let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
                    let changed = sqlx::postgres::PgQueryResult::rows_affected;
                    let merged = answer(connection.fetch_many(query), changed).await.map_err(sent);
                    match merged {
                        Ok(merged) => return postgres::taken_apart(merged, commands.len(), answers),
                        Err(error) if breaks_the_connection(&error) => return Err(error),
                        // It does not say whose error it is: each by itself tells.
                        Err(_) => {}
                    }
                }
                for command in commands {
                    answers.push(self.perform(command).await?);
                }
            }
        }
        Ok(())
    }
}

/// The largest size of a command that so many statements fill.
#[cfg(feature = "sqlite")]
fn command_size(statements: usize) -> usize {
    COMMAND_SIZES.into_iter().find(|size| *size <= statements).unwrap_or(1)
}

#[cfg(all(test, feature = "sqlite"))]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use sea_orm::{DatabaseBackend, SqlxSqliteConnector, Statement};
    use sqlx::{Connection as _, SqlitePool};

    use super::super::rows::Rows;
    use super::super::running::Running;
    use super::*;

    fn kept(connection: &Connection) -> usize {
        match connection {
            Connection::Sqlite(connection) => connection.cached_statements_size(),
            #[cfg(feature = "postgres")]
            Connection::Postgres(connection) => connection.cached_statements_size(),
        }
    }

    /// Behind an opening and without one.
    async fn insert(connection: &mut Connection, rows: usize) {
        let one = Statement::from_sql_and_values(DatabaseBackend::Sqlite, "INSERT INTO t (a) VALUES (?)", [1.into()]);
        let mut many = Rows::of(one).unwrap();
        many.rows = vec![vec![1.into()]; rows];
        let command = Command::Rows(many);
        connection.perform(command.clone()).await.unwrap();
        connection
            .perform_first("BEGIN IMMEDIATE", command, || {})
            .await
            .unwrap();
        connection.control("COMMIT").await.unwrap();
    }

    #[tokio::test]
    async fn long_inserts_of_any_length_take_no_places_among_the_prepared_statements() {
        let pool = SqlitePool::connect("sqlite::memory:").await.unwrap();
        let pool = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool);
        let mut connection = Connection::lent_by(&pool, Running::Sqlite).await.unwrap();
        connection.control("CREATE TABLE t (a)").await.unwrap();
        insert(&mut connection, 3).await;
        let before = kept(&connection);
        assert!(before >= 2, "a few rows are kept: {before}");
        for rows in 17..40 {
            insert(&mut connection, rows).await;
        }
        assert_eq!(kept(&connection), before);
    }
}
