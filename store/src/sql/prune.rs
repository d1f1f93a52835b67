//! Retention in SQL.

use sea_orm::sea_query::Condition;
use sea_orm::{ColumnTrait, EntityTrait, FromQueryResult, QueryFilter, QuerySelect, QueryTrait};

use crate::Result;
use crate::contract::Prune;
use crate::engine::{Operation, Session};

/// Removes the rows that `old` finds, batch by batch, and answers how many; or only counts them. `key` is the column of
/// the primary key.
pub(super) async fn prune<E: EntityTrait>(
    session: &Session,
    entity: &'static str,
    key: E::Column,
    request: Prune,
    old: Condition,
) -> Result<u64> {
    request.check()?;
    if request.dry_run {
        return session.run(entity, "prune", |db| count::<E>(db, key, old)).await;
    }
    let mut total = 0;
    loop {
        let gone = session
            .run(entity, "prune", |db| batch::<E>(db, key, request.batch, old.clone()))
            .await?;
        total += gone;
        if gone < u64::from(request.batch) {
            return Ok(total);
        }
    }
}

async fn count<E: EntityTrait>(db: Operation, key: E::Column, old: Condition) -> Result<u64> {
    let select = E::find().select_only().column_as(key.count(), "rows").filter(old);
    let counted: Vec<Counted> = db.all_as(select).await?;
    Ok(counted.first().map_or(0, |counted| counted.rows.unsigned_abs()))
}

async fn batch<E: EntityTrait>(db: Operation, key: E::Column, batch: u32, old: Condition) -> Result<u64> {
    let some = E::find().select_only().column(key).filter(old).limit(u64::from(batch));
    db.write(E::delete_many().filter(key.in_subquery(some.into_query())))
        .await
}

#[derive(FromQueryResult)]
struct Counted {
    rows: i64,
}
