//! Leases in SQL.
//!
//! Every rule is a condition of the statement that writes. Where a statement also depends on a row that it does not
//! write, that row is locked by the statement on Postgres (`FOR SHARE`); on SQLite the writer is alone, and the lock
//! clause is left out.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use entity::workflow_runs::{ActiveModel, Column, Entity};
use sea_orm::sea_query::{
    CommonTableExpression, Condition, Expr, ExprTrait, LockBehavior, LockType, Query, SelectStatement, WithClause,
};
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait, UpdateMany};

use super::workflow_runs::{changed_since, find, list, released};
use super::{Workflows, set};
use crate::contract::{
    ClaimedRun, Direction, Key, Lease, Page, PageRequest, RunStatus, Transitions, WorkflowRecovery, WorkflowRun,
    WorkflowRunId, check,
};
use crate::engine::Operation;
use crate::{Error, ErrorKind, Result};

impl Workflows {
    /// An operation whose changes are durable when it returns.
    pub(super) async fn checkpoint<T, F, Fut>(&self, operation: &'static str, work: F) -> Result<T>
    where
        F: FnOnce(Operation) -> Fut + Send,
        Fut: Future<Output = Result<T>> + Send,
    {
        self.run(operation, |db| work(db.durable())).await
    }
}

impl WorkflowRecovery for Workflows {
    async fn claim_runs(&self, worker: &Key, limit: u32, lease: Duration) -> Result<Vec<ClaimedRun>> {
        self.checkpoint("claim_runs", |db| async move {
            ClaimedRun::check_limit(limit)?;
            Lease::check_duration(lease)?;
            // One after the other, not both in one: each reads its index in order, and stops at the limit.
            let left = claim(&db, Waiting::Left, worker, limit, lease).await?;
            if left.is_empty() {
                return claim(&db, Waiting::Pending, worker, limit, lease).await;
            }
            Ok(left)
        })
        .await
    }

    async fn heartbeat(&self, held: &Lease, lease: Duration) -> Result<DateTime<Utc>> {
        self.run("heartbeat", |db| async move {
            Lease::check_duration(lease)?;
            let end = end_of(lease, &db);
            let update = Entity::update_many()
                .col_expr(Column::LeaseExpiresAt, Expr::val(end))
                .filter(Column::Id.eq(held.run))
                .filter(held_by(held));
            if db.write(update).await? > 0 {
                return Ok(end);
            }
            Err(match find(&db, held.run).await? {
                None => Error::not_found("workflow_run", held.run),
                Some(_) => fenced(held),
            })
        })
        .await
    }

    async fn list_crashed_runs(&self, page: PageRequest) -> Result<Page<WorkflowRun>> {
        self.run("list_crashed_runs", |db| async move {
            let select = Entity::find().filter(unheld(db.now()));
            list(&db, select, Direction::Ascending, &page).await
        })
        .await
    }

    async fn mark_crashed(&self, id: WorkflowRunId, error: Option<String>) -> Result<WorkflowRun> {
        self.checkpoint("mark_crashed", |db| async move {
            error.iter().try_for_each(|error| check::text("error", error))?;
            let change = ActiveModel {
                status: ActiveValue::Set(RunStatus::Crashed),
                error: set(error.map(Some)),
                completed_at: ActiveValue::Set(Some(db.now())),
                ..released()
            };
            let update = Entity::update_many()
                .set(change)
                .filter(Column::Id.eq(id))
                .filter(unheld(db.now()));
            match db.write_returning(update).await?.pop() {
                Some(row) => row.try_into(),
                None => Err(not_crashed(&db, id).await?),
            }
        })
        .await
    }
}

/// The run of a lease, as long as it is the lease's: no row when it is not.
///
/// Postgres holds the run's row until the statement's end, and looks at it again if somebody was just writing it: a
/// claim comes before this statement, and then there is no row, or after it.
pub(super) fn the_held_run(lease: &Lease) -> SelectStatement {
    Query::select()
        .column(Column::Id)
        .from(Entity)
        .cond_where(held_by(lease).add(Column::Id.eq(lease.run)))
        .lock(LockType::Share)
        .take()
}

/// The run is the lease's.
pub(super) fn held_by(lease: &Lease) -> Condition {
    Condition::all()
        .add(Column::LeaseOwner.eq(lease.worker.as_str()))
        .add(Column::LeaseEpoch.eq(lease.epoch))
}

/// The worker has lost its run.
pub(super) fn fenced(lease: &Lease) -> Error {
    let Lease { run, worker, epoch } = lease;
    let advice = "somebody else took it over, or it was ended or set aside: stop working on it";
    Error::new(
        ErrorKind::Fenced,
        format!("run {run} is no longer `{worker}`'s under epoch {epoch}; {advice}"),
    )
}

/// Which runs wait for a worker.
#[derive(Debug, Clone, Copy)]
enum Waiting {
    /// Left behind by a worker whose lease has run out.
    Left,
    /// Not begun.
    Pending,
}

impl Waiting {
    fn are(self, now: DateTime<Utc>) -> Condition {
        match self {
            Self::Left => Condition::all()
                .add(Column::Status.eq(RunStatus::Running))
                .add(Column::LeaseExpiresAt.lte(now)),
            Self::Pending => Condition::all().add(Column::Status.eq(RunStatus::Pending)),
        }
    }

    /// The same, of a run that is already picked: the cast keeps SQLite from finding it by its status once more, and
    /// reading all the others that wait.
    fn still_are(self, now: DateTime<Utc>) -> Condition {
        let is = |status: RunStatus| Expr::col(Column::Status).cast_as("text").eq(status);
        match self {
            Self::Left => Condition::all()
                .add(is(RunStatus::Running))
                .add(Column::LeaseExpiresAt.lte(now)),
            Self::Pending => Condition::all().add(is(RunStatus::Pending)),
        }
    }

    fn since(self) -> Column {
        match self {
            Self::Left => Column::LeaseExpiresAt,
            Self::Pending => Column::StartedAt,
        }
    }
}

async fn claim(db: &Operation, which: Waiting, worker: &Key, limit: u32, lease: Duration) -> Result<Vec<ClaimedRun>> {
    let mine = Entity::update_many()
        .col_expr(Column::Status, Expr::val(RunStatus::Running))
        .col_expr(Column::LeaseOwner, Expr::val(worker.as_str()))
        .col_expr(Column::LeaseExpiresAt, Expr::val(end_of(lease, db)))
        .col_expr(Column::LeaseEpoch, Expr::col(Column::LeaseEpoch).add(1));
    let rows = db.write_returning(picked(mine, which, db.now(), limit)).await?;
    let runs = rows.into_iter().map(WorkflowRun::try_from);
    let mut runs = runs.collect::<Result<Vec<_>>>()?;
    runs.sort_by_key(|run| (run.started_at, run.id));
    Ok(runs.into_iter().map(|run| claimed(run, worker)).collect())
}

/// Narrows the update to the first runs that wait.
///
/// The condition of the update decides, since Postgres looks at it again after waiting for a row. The lock only says who
/// waits: claimers of pending runs pass by each other's, and a claimer of runs that were left waits for a checkpoint
/// that is just being written, or one busy stale holder could keep its run for ever. The picking is a table of its own
/// so that it is done once: inside IN, the planner may do it again and again, each time for further rows.
fn picked(mut update: UpdateMany<Entity>, which: Waiting, now: DateTime<Utc>, limit: u32) -> UpdateMany<Entity> {
    let mut first = Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(which.are(now))
        .order_by_asc(which.since())
        .order_by_asc(Column::Id)
        .limit(u64::from(limit))
        .into_query();
    match which {
        Waiting::Left => first.lock(LockType::NoKeyUpdate),
        Waiting::Pending => first.lock_with_behavior(LockType::NoKeyUpdate, LockBehavior::SkipLocked),
    };
    let picked = CommonTableExpression::new()
        .table_name("picked")
        .column("id")
        .query(first)
        .to_owned();
    QueryTrait::query(&mut update).with_cte(WithClause::new().cte(picked).to_owned());
    let ids = Query::select().column("id").from("picked").take();
    update.filter(Column::Id.in_subquery(ids)).filter(which.still_are(now))
}

fn claimed(run: WorkflowRun, worker: &Key) -> ClaimedRun {
    let lease = Lease {
        run: run.id,
        worker: worker.clone(),
        epoch: run.lease_epoch,
    };
    ClaimedRun { run, lease }
}

/// Running, and nobody's.
fn unheld(now: DateTime<Utc>) -> Condition {
    let nobodys = Condition::any()
        .add(Column::LeaseExpiresAt.is_null())
        .add(Column::LeaseExpiresAt.lte(now));
    Condition::all().add(Column::Status.eq(RunStatus::Running)).add(nobodys)
}

/// Why a run could not be marked as crashed.
async fn not_crashed(db: &Operation, id: WorkflowRunId) -> Result<Error> {
    let Some(run) = find(db, id).await? else {
        return Ok(Error::not_found("workflow_run", id));
    };
    let held = run.leased.filter(|leased| leased.expires_at > db.now());
    Ok(match (run.status, held) {
        (RunStatus::Running, Some(held)) => Error::new(
            ErrorKind::NotReady,
            format!("`{}` holds the run until {}", held.worker, held.expires_at),
        ),
        (RunStatus::Running, None) => changed_since(),
        (other, _) => match other.become_next(RunStatus::Crashed) {
            Err(refused) => refused,
            Ok(()) => changed_since(),
        },
    })
}

fn end_of(lease: Duration, db: &Operation) -> DateTime<Utc> {
    let length = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX);
    db.now() + TimeDelta::microseconds(length)
}
