//! Any number of rows in as few statements as the databases' limits allow.

use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel, Iterable};

use crate::Result;
use crate::engine::Operation;

/// SQLite binds 32,766 values in one statement, Postgres 65,535.
const VALUES: usize = 30_000;
const ROWS: usize = 1_000;

/// Inserts the rows, in their order. Call it inside [`Operation::atomic`]: it may take several statements.
pub(super) async fn insert_all<E>(db: &Operation, models: Vec<E::Model>) -> Result<()>
where
    E: EntityTrait,
    E::Model: IntoActiveModel<E::ActiveModel>,
    E::ActiveModel: Send,
{
    let rows = (VALUES / E::Column::iter().count()).clamp(1, ROWS);
    let mut models = models.into_iter();
    loop {
        let chunk = models
            .by_ref()
            .take(rows)
            .map(|model| model.into_active_model().reset_all());
        let chunk = chunk.collect::<Vec<E::ActiveModel>>();
        if chunk.is_empty() {
            return Ok(());
        }
        db.write(E::insert_many(chunk)).await?;
    }
}
