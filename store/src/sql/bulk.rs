//! Inserts of any length.

use sea_orm::{EntityTrait, IntoActiveModel, Iterable};

use super::insertable;
use crate::Result;
use crate::engine::Operation;

/// Values in one statement: SQLite takes 32,766, Postgres 65,535.
const VALUES: usize = 30_000;
/// Rows in one statement: more gain nothing.
const ROWS: usize = 1_000;

/// Inserts all of them, in statements that both databases take. Call it inside [`Operation::atomic`]: a later statement
/// may fail.
pub(super) async fn insert_all<E>(db: &Operation, models: Vec<E::Model>) -> Result<()>
where
    E: EntityTrait<ActiveModel: Send>,
    E::Model: IntoActiveModel<E::ActiveModel>,
{
    let rows = (VALUES / E::Column::iter().count().max(1)).min(ROWS);
    let mut models = models.into_iter();
    loop {
        let some: Vec<E::ActiveModel> = models.by_ref().take(rows).map(insertable).collect();
        if some.is_empty() {
            return Ok(());
        }
        db.write(E::insert_many(some)).await?;
    }
}
