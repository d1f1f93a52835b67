//! What the state is read through: a connection of any kind, as long as it answers queries without parameters.

use std::future::Future;

use sea_orm::DbErr;

use crate::dialect::{Conn, Dialect, LiveColumn, rows};
use crate::error::{MigrationError, Result};

/// Why a [`Reader`] could not read. It comes back as it was given, in [`MigrationError::Reading`].
pub type ReadError = Box<dyn std::error::Error + Send + Sync>;

/// A row as a [`Reader`] gives it: a text for every column, none where it is NULL.
pub type TextRow = Vec<Option<String>>;

/// A connection, of whatever driver, that [`state_of`](crate::state_of) can ask about a database.
///
/// ```
/// use migration::{Dialect, ReadError, Reader, TextRow};
///
/// struct Native; // a connection of a driver
///
/// impl Reader for Native {
///     fn dialect(&self) -> Dialect {
///         Dialect::Sqlite
///     }
///
///     async fn rows(&self, sql: &str) -> Result<Vec<TextRow>, ReadError> {
///         // … run it, and take every column as text …
/// #       let _ = sql;
///         Ok(vec![])
///     }
/// }
///
/// # async fn open() -> migration::Result<()> {
/// let state = migration::state_of(&Native).await?;
/// # let _ = state; Ok(()) }
/// ```
pub trait Reader: Sync {
    /// Which database's SQL the connection takes.
    fn dialect(&self) -> Dialect;

    /// All rows of a query that only reads and takes no parameters. Its columns are all of a type that is text: what is
    /// not, the SQL casts.
    fn rows(&self, sql: &str) -> impl Future<Output = Result<Vec<TextRow>, ReadError>> + Send;
}

/// SeaORM's connection, or a transaction on it, as a [`Reader`].
pub(crate) struct OverSeaOrm<'c> {
    conn: &'c Conn<'c>,
    dialect: Dialect,
}

impl<'c> OverSeaOrm<'c> {
    pub(crate) fn new(conn: &'c Conn<'c>) -> Result<Self> {
        let dialect = Dialect::of(conn)?;
        Ok(Self { conn, dialect })
    }
}

impl Reader for OverSeaOrm<'_> {
    fn dialect(&self) -> Dialect {
        self.dialect
    }

    async fn rows(&self, sql: &str) -> Result<Vec<TextRow>, ReadError> {
        let rows = rows(self.conn, sql).await?;
        let texts = rows.iter().map(|row| {
            let columns = 0..row.column_names().len();
            columns.map(|column| row.try_get_by_index(column)).collect()
        });
        Ok(texts.collect::<Result<_, DbErr>>()?)
    }
}

/// The columns of these tables, as far as the tables exist.
pub(crate) async fn columns(reader: &impl Reader, tables: &[&str]) -> Result<Vec<LiveColumn>, ReadError> {
    let sql = reader.dialect().shape().columns(tables);
    let rows = reader.rows(&sql).await?;
    let columns = rows.into_iter().map(|row| {
        let [table, column, data_type] = texts(row)?;
        Ok(LiveColumn {
            table,
            column,
            data_type,
        })
    });
    columns.collect()
}

/// [`columns`] where a connection of SeaORM is at hand.
pub(crate) async fn columns_on(conn: &Conn<'_>, tables: &[&str], doing: &'static str) -> Result<Vec<LiveColumn>> {
    let reader = OverSeaOrm::new(conn)?;
    columns(&reader, tables).await.map_err(MigrationError::reading(doing))
}

/// The columns of a row that has so many and no NULL among them.
pub(crate) fn texts<const COLUMNS: usize>(row: TextRow) -> Result<[String; COLUMNS], ReadError> {
    let texts: Option<Vec<String>> = row.into_iter().collect();
    let texts = texts.ok_or("a column is NULL that never is")?;
    let found = texts.len();
    texts
        .try_into()
        .map_err(|_| format!("a row has {found} columns where {COLUMNS} were asked for").into())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;
    use crate::state::{Applied, State, state_of, status_of};
    use crate::{migrations, plan};

    /// Answers what it is told to, in order.
    struct Told(Mutex<VecDeque<Result<Vec<TextRow>, ReadError>>>);

    impl Told {
        fn new(answers: impl IntoIterator<Item = Result<Vec<TextRow>, ReadError>>) -> Self {
            Self(Mutex::new(answers.into_iter().collect()))
        }

        fn left(&self) -> usize {
            self.0.lock().unwrap().len()
        }
    }

    impl Reader for Told {
        fn dialect(&self) -> Dialect {
            Dialect::Postgres
        }

        async fn rows(&self, _: &str) -> Result<Vec<TextRow>, ReadError> {
            self.0.lock().unwrap().pop_front().unwrap()
        }
    }

    fn row(texts: &[&str]) -> TextRow {
        texts.iter().map(|text| Some((*text).to_owned())).collect()
    }

    fn catalog(count: usize) -> Vec<TextRow> {
        let schema = plan::schema_at(count).unwrap();
        let shape = Dialect::Postgres.shape();
        let columns = schema.tables().iter().flat_map(|table| {
            let columns = table.columns().iter();
            columns.map(|column| row(&[table.name(), column.name(), shape.catalog_type(column.kind())]))
        });
        let record = row(&[plan::HISTORY_TABLE, "version", "character varying"]);
        columns.chain([record]).collect()
    }

    fn record(count: usize) -> Vec<TextRow> {
        let names = plan::names().into_iter().take(count);
        names.map(|name| row(&[name, "1793000000"])).collect()
    }

    #[tokio::test]
    async fn texts_are_all_that_a_state_is_made_of() {
        let all = migrations::all().len();
        let told = Told::new([Ok(catalog(all)), Ok(record(all))]);
        let status = status_of(&told).await.unwrap();
        assert_eq!((status.state, status.applied.len()), (State::Complete, all));
        let first = Applied {
            name: plan::names()[0].to_owned(),
            applied_at: 1_793_000_000,
        };
        assert_eq!(status.applied[0], first);

        let told = Told::new([Ok(catalog(1)), Ok(record(1))]);
        assert!(matches!(state_of(&told).await.unwrap(), State::Pending { pending } if pending.len() == all - 1));
        let empty = Told::new([Ok(vec![])]);
        assert!(matches!(state_of(&empty).await.unwrap(), State::Pending { pending } if pending.len() == all));
    }

    #[tokio::test]
    async fn bad_news_is_read_twice() {
        let all = migrations::all().len();
        // Somebody migrates between the catalog and the record.
        let racing = Told::new([Ok(catalog(1)), Ok(record(all)), Ok(catalog(all)), Ok(record(all))]);
        assert_eq!(state_of(&racing).await.unwrap(), State::Complete);
        assert_eq!(racing.left(), 0);
        let drifted = Told::new([Ok(catalog(1)), Ok(record(all)), Ok(catalog(1)), Ok(record(all))]);
        assert!(matches!(state_of(&drifted).await.unwrap(), State::Drifted { .. }));
        assert_eq!(drifted.left(), 0);
    }

    #[tokio::test]
    async fn what_the_reader_gave_comes_back_with_what_was_being_done() {
        let gone = || Err(std::io::Error::other("the server has gone").into());
        let error = state_of(&Told::new([gone()])).await.unwrap_err();
        assert_eq!(error.to_string(), "reading the catalog failed: the server has gone");
        assert_eq!(error.kind(), "database");
        assert!(matches!(error, MigrationError::Reading { source, .. } if source.is::<std::io::Error>()));

        let error = state_of(&Told::new([Ok(catalog(1)), gone()])).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "reading the applied migrations failed: the server has gone"
        );
    }

    #[tokio::test]
    async fn rows_that_nobody_asked_for_are_an_error() {
        let name = plan::names()[0];
        for rows in [
            vec![row(&[name])],
            vec![vec![Some(name.into()), None]],
            vec![row(&[name, "now"])],
        ] {
            let told = Told::new([Ok(catalog(1)), Ok(rows)]);
            let error = state_of(&told).await.unwrap_err();
            assert!(matches!(error, MigrationError::Reading { .. }), "{error}");
        }
    }

    #[cfg(feature = "sqlite")]
    mod native {
        use super::*;

        struct Native(Mutex<rusqlite::Connection>);

        impl Reader for Native {
            fn dialect(&self) -> Dialect {
                Dialect::Sqlite
            }

            async fn rows(&self, sql: &str) -> Result<Vec<TextRow>, ReadError> {
                let connection = self.0.lock().unwrap();
                let mut statement = connection.prepare(sql)?;
                let columns = statement.column_count();
                let rows = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect())?;
                Ok(rows.collect::<Result<_, _>>()?)
            }
        }

        #[tokio::test]
        async fn a_driver_reads_what_seaorm_reads() {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("store.db");
            let url = format!("sqlite://{}?mode=rwc", path.display());
            let db = sea_orm::Database::connect(url).await.unwrap();
            let native = Native(Mutex::new(rusqlite::Connection::open(&path).unwrap()));
            for count in [0, 1, usize::MAX] {
                crate::up_by(&db, count).await.unwrap();
                let status = crate::status(&db).await.unwrap();
                assert_eq!(status_of(&native).await.unwrap(), status);
            }
            assert_eq!(state_of(&native).await.unwrap(), State::Complete);
            let broken = native
                .0
                .lock()
                .unwrap()
                .execute_batch("ALTER TABLE users RENAME TO people");
            broken.unwrap();
            assert!(matches!(state_of(&native).await.unwrap(), State::Drifted { .. }));
            assert_eq!(state_of(&native).await.unwrap(), crate::state(&db).await.unwrap());
        }
    }
}
