//! What a destructive run would take away, to be told before it is asked for.

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use sea_orm_migration::IntoSchemaManagerConnection;
use serde::Serialize;

use crate::dialect::ddl;
use crate::error::{MigrationError, Result};
use crate::{plan, reader, state};

/// A table and how many rows it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableRows {
    /// The table.
    pub table: String,
    /// The columns that go where the table itself stays; none where the whole table goes.
    pub columns: Vec<String>,
    /// Its rows, counted.
    pub rows: u64,
}

/// The tables, with their rows, that [`reset`](crate::reset()), [`refresh`](crate::refresh()) and
/// [`fresh`](crate::fresh()) would drop, as far as they exist. Counts every row.
pub async fn toll_of_everything(db: &DatabaseConnection) -> Result<Vec<TableRows>> {
    rows_of(db, &plan::every_table()).await
}

/// The tables, with their rows, that [`down`](crate::down()) by `count` would drop, and behind them those that would
/// lose columns.
pub async fn toll_of_down(db: &DatabaseConnection, count: usize) -> Result<Vec<TableRows>> {
    let applied = state::status(db).await?.applied.len();
    let kept = applied.saturating_sub(count);
    let mut toll = rows_of(db, &crate::runner::vanishing(applied, kept)?).await?;
    for (table, columns) in crate::runner::vanishing_columns(applied, kept)? {
        let counted = rows_of(db, &[table]).await?;
        let columns: Vec<String> = columns.into_iter().map(str::to_owned).collect();
        toll.extend(counted.into_iter().map(|rows| TableRows {
            columns: columns.clone(),
            ..rows
        }));
    }
    Ok(toll)
}

async fn rows_of(db: &DatabaseConnection, tables: &[&str]) -> Result<Vec<TableRows>> {
    if tables.is_empty() {
        return Ok(vec![]);
    }
    let doing = "counting rows";
    let counting = MigrationError::database(doing);
    let live = reader::columns_on(&db.into_database_executor(), tables, doing).await?;
    let mut counted = vec![];
    for table in tables
        .iter()
        .filter(|name| live.iter().any(|column| column.table == **name))
    {
        let sql = format!("SELECT count(*) FROM {}", ddl::quoted(table));
        let statement = Statement::from_string(db.get_database_backend(), sql);
        let row = db.query_one_raw(statement).await.map_err(counting)?;
        let rows = row
            .map_or(Ok(0), |row| row.try_get_by_index::<i64>(0))
            .map_err(counting)?;
        counted.push(TableRows {
            table: (*table).to_owned(),
            columns: vec![],
            rows: rows.unsigned_abs(),
        });
    }
    Ok(counted)
}
