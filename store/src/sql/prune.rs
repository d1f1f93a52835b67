//! Retention in SQL.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::{Condition, Expr, ExprTrait};
use sea_orm::{ColumnTrait, EntityTrait, IntoSimpleExpr, QueryFilter, QueryOrder, QuerySelect, QueryTrait, Select};

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
    prune_joined::<E, N>(session, entity, keys, age, request, old, Joined::nothing()).await
}

/// What another table has to say about rows that are old.
pub(super) struct Joined<E: EntityTrait> {
    /// Leaves only those rows that may go.
    pub(super) narrow: fn(Select<E>) -> Select<E>,
    /// Keeps the other table's rows as they are, on Postgres, until those that were picked are gone.
    pub(super) hold: fn(Select<E>) -> Select<E>,
}

impl<E: EntityTrait> Joined<E> {
    fn nothing() -> Self {
        Self {
            narrow: |select| select,
            hold: |select| select,
        }
    }
}

/// [`prune_by`] where it depends on another table too whether a row may go.
pub(super) async fn prune_joined<E: EntityTrait, const N: usize>(
    session: &Session,
    entity: &'static str,
    keys: [E::Column; N],
    age: E::Column,
    request: Prune,
    old: impl Fn(DateTime<Utc>) -> Condition + Send + Sync,
    joined: Joined<E>,
) -> Result<u64> {
    request.check()?;
    let (old, joined) = (&old, &joined);
    if request.dry_run {
        let count = |db| count::<E>(db, keys[0], old, joined);
        return session.run(entity, "prune", count).await;
    }
    let mut total = 0;
    loop {
        let batch = |db| batch::<E, N>(db, keys, age, request.batch, old, joined);
        let gone = session.run(entity, "prune", batch).await?;
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
    joined: &Joined<E>,
) -> Result<u64> {
    let select = E::find().select_only().column_as(key.count(), "rows");
    let select = (joined.narrow)(select.filter(old(db.now())));
    let counted: Vec<Counted> = db.all_as(select).await?;
    Ok(counted.first().map_or(0, |counted| counted.rows.unsigned_abs()))
}

/// Postgres waits for a row that somebody else is changing, and looks again only at what the DELETE itself asks of it:
/// so that asks once more whether the row is old. As a CASE, for no index shall find all that are old by it: those to
/// look at are picked.
async fn batch<E: EntityTrait, const N: usize>(
    db: Operation,
    keys: [E::Column; N],
    age: E::Column,
    batch: u32,
    old: &(impl Fn(DateTime<Utc>) -> Condition + Sync),
    joined: &Joined<E>,
) -> Result<u64> {
    let now = db.now();
    let some = E::find().select_only().columns(keys).filter(old(now));
    let some = (joined.hold)((joined.narrow)(some))
        .order_by_asc(age)
        .limit(u64::from(batch));
    let key = Expr::tuple(keys.iter().map(|key| key.into_simple_expr()));
    let still_old = Expr::case(old(now), 1).finally(0);
    let delete = E::delete_many()
        .filter(key.in_subquery(some.into_query()))
        .filter(Expr::expr(still_old).eq(1));
    db.write(delete).await
}

struct Counted {
    rows: i64,
}

from_row!(Counted { rows });
