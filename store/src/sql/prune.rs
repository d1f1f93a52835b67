//! Retention in SQL.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Condition, Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, EntityTrait, IntoSimpleExpr, QueryFilter, QueryOrder, QuerySelect, QueryTrait,
};

use crate::Result;
use crate::contract::Prune;
use crate::engine::{Operation, Session};

/// Removes the rows that `old` finds, batch by batch, those first that are oldest by `age`, and answers how many; or only
/// counts them. `key` is the column of the primary key, `age` one that has an index: in its order, a batch reads no more
/// rows than it removes.
pub(super) async fn prune<E: EntityTrait>(
    session: &Session,
    entity: &'static str,
    key: E::Column,
    age: E::Column,
    request: Prune,
    old: Condition,
) -> Result<u64> {
    prune_by::<E, 1>(session, entity, [key], age, request, |_now| old.clone()).await
}

/// [`prune`] for a table whose primary key has these columns; `old` is told the present instant.
pub(super) async fn prune_by<E: EntityTrait, const N: usize>(
    session: &Session,
    entity: &'static str,
    keys: [E::Column; N],
    age: E::Column,
    request: Prune,
    old: impl Fn(DateTime<Utc>) -> Condition + Send + Sync,
) -> Result<u64> {
    request.check()?;
    if request.dry_run {
        return session.run(entity, "prune", |db| count::<E>(db, keys[0], &old)).await;
    }
    let mut total = 0;
    loop {
        let gone = session
            .run(entity, "prune", |db| batch::<E, N>(db, keys, age, request.batch, &old))
            .await?;
        total += gone;
        if gone < u64::from(request.batch) {
            return Ok(total);
        }
    }
}

async fn count<E: EntityTrait>(
    db: Operation,
    key: E::Column,
    old: &(impl Fn(DateTime<Utc>) -> Condition + Sync),
) -> Result<u64> {
    let select = E::find().select_only().column_as(key.count(), "rows");
    let counted: Vec<Counted> = db.all_as(select.filter(old(db.now()))).await?;
    Ok(counted.first().map_or(0, |counted| counted.rows.unsigned_abs()))
}

async fn batch<E: EntityTrait, const N: usize>(
    db: Operation,
    keys: [E::Column; N],
    age: E::Column,
    batch: u32,
    old: &(impl Fn(DateTime<Utc>) -> Condition + Sync),
) -> Result<u64> {
    let some = E::find()
        .select_only()
        .columns(keys)
        .filter(old(db.now()))
        .order_by_asc(age)
        .limit(u64::from(batch));
    let key = Expr::tuple(keys.iter().map(|key| key.into_simple_expr()));
    db.write(E::delete_many().filter(key.in_subquery(some.into_query())))
        .await
}

struct Counted {
    rows: i64,
}

from_row!(Counted { rows });
