//! Rows to insert by one statement, whose text does not depend on their values.

use sea_orm::{
    ActiveModelTrait, DatabaseBackend, EntityTrait, IntoActiveModel, Iterable, QueryTrait as _, Statement, Value,
};

use super::connection::Command;
use super::lane::Access;
use super::operation::Operation;
use crate::Result;

/// SQLite binds 32,766 values in one statement. The more rows it has the better: a page that several of them change is
/// copied once to undo the statement alone, and that takes as long as the rest of it.
const MOST_VALUES: usize = 30_000;

/// Postgres takes any number. Measured best: with more, the server and this program wait for each other.
const MOST_ROWS_ON_POSTGRES: usize = 1_000;

/// A text of more rows is kept prepared only when it is as long as they come: on SQLite each number of rows has its own.
#[cfg(feature = "sqlite")]
const FEW_ROWS: usize = 16;

/// An INSERT of rows that consist of values alone.
///
/// It is made from the INSERT of one row, as sea-query writes it: building the text for thousands of rows costs more than
/// inserting them.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    /// The INSERT of one row.
    pub(super) sql: String,
    /// Where in it the table and its columns end.
    head: usize,
    /// Where what follows the rows begins, ON CONFLICT for example.
    tail: usize,
    /// The rows' values, in the order of the columns.
    pub(super) rows: Vec<Vec<Value>>,
}

impl Rows {
    /// The one row of this statement. `None` when the statement is something else, answers rows, or computes a value.
    pub(super) fn of(statement: Statement) -> Option<Self> {
        let (sql, row) = (statement.sql, statement.values?.0);
        let row_of_values = format!(" VALUES ({})", placeholders(statement.db_backend, row.len()));
        let head = sql.find(&row_of_values)?;
        let tail = head + row_of_values.len();
        let plain = sql.starts_with("INSERT INTO ") && !sql[tail..].contains(" RETURNING ");
        let plain = plain && row.iter().all(|value| can_be_one_of_many(statement.db_backend, value));
        plain.then(|| Self {
            sql,
            head,
            tail,
            rows: vec![row],
        })
    }

    /// Whether the next one is likely to have as many rows.
    #[cfg(feature = "sqlite")]
    pub(super) fn comes_again(&self) -> bool {
        let width = self.rows.first().map_or(1, Vec::len);
        self.rows.len() <= FEW_ROWS || self.rows.len() == most_rows(DatabaseBackend::Sqlite, width)
    }

    /// The statement with another source of rows.
    pub(super) fn from(&self, source: &str) -> String {
        format!("{} {source}{}", &self.sql[..self.head], &self.sql[self.tail..])
    }

    /// Every row's values written out, and the values one after the other.
    #[cfg(feature = "sqlite")]
    pub(super) fn into_values(self) -> (String, Vec<Value>) {
        let width = self.rows.first().map_or(0, Vec::len);
        let row = format!("({})", placeholders(DatabaseBackend::Sqlite, width));
        let sql = self.from(&format!("VALUES {}", vec![row.as_str(); self.rows.len()].join(", ")));
        (sql, self.rows.into_iter().flatten().collect())
    }
}

/// Whether a column of such values can be sent: on Postgres that takes an array of them.
#[cfg_attr(
    not(feature = "postgres"),
    expect(unused_variables, reason = "only Postgres is particular")
)]
fn can_be_one_of_many(backend: DatabaseBackend, value: &Value) -> bool {
    match backend {
        #[cfg(feature = "postgres")]
        DatabaseBackend::Postgres => super::postgres::has_array(value),
        _ => true,
    }
}

fn placeholders(backend: DatabaseBackend, count: usize) -> String {
    let each = (1..=count).map(|number| match backend {
        DatabaseBackend::Postgres => format!("${number}"),
        _ => "?".to_owned(),
    });
    each.collect::<Vec<_>>().join(", ")
}

impl Operation {
    /// Inserts any number of rows, in their order, a thousand or more by one statement. Call it inside
    /// [`atomic`](Self::atomic): it may take several.
    ///
    /// # Errors
    /// `Conflict`, `ForeignKey` and `Check` with the constraint's name.
    pub async fn insert_all<E>(&self, models: impl IntoIterator<Item = E::Model, IntoIter: Send>) -> Result<()>
    where
        E: EntityTrait,
        E::Model: IntoActiveModel<E::ActiveModel>,
        E::ActiveModel: Send,
    {
        let size = most_rows(self.backend(), E::Column::iter().count());
        let mut models = models.into_iter().map(|model| model.into_active_model().reset_all());
        let mut chunk = || {
            let some = models.by_ref().take(size).collect::<Vec<E::ActiveModel>>();
            (!some.is_empty()).then(|| self.insert_of::<E>(some))
        };
        let mut next = chunk();
        while let Some(insert) = next.take() {
            // The next one is made while the database is at work on this one.
            let made = async { next = chunk() };
            let (inserted, ()) = tokio::join!(self.perform::<E>(Access::Write, insert), made);
            inserted?;
        }
        Ok(())
    }

    fn insert_of<E: EntityTrait>(&self, models: Vec<E::ActiveModel>) -> Command {
        let first = models.first().cloned();
        let rows = first.and_then(|first| Rows::of(E::insert(first).build(self.backend())));
        let Some(mut rows) = rows else {
            return Command::Statement(E::insert_many(models).build(self.backend()));
        };
        let value = |model: &E::ActiveModel, column| model.get(column).into_value();
        let values = |model| E::Column::iter().filter_map(|column| value(model, column)).collect();
        rows.rows = models.iter().map(values).collect();
        Command::Rows(rows)
    }
}

/// How many rows of so many columns one statement has at most.
fn most_rows(backend: DatabaseBackend, width: usize) -> usize {
    match backend {
        DatabaseBackend::Postgres => MOST_ROWS_ON_POSTGRES,
        _ => (MOST_VALUES / width.max(1)).max(1),
    }
}
