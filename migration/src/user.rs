//! A program's own tables beside ours: its own list, its own record, the same lock and the same transaction.
//!
//! Give your migrator a `migration_table_name()` of its own. Your tables may point to ours; ours are moved first.

use sea_orm::{DatabaseConnection, DatabaseTransaction, DbErr};
use sea_orm_migration::{IntoSchemaManagerConnection, MigratorTrait, SchemaManager};

use crate::dialect::Conn;
use crate::error::{MigrationError, Result};
use crate::model::{Schema, Step};
use crate::plan::{self, HISTORY_TABLE};
use crate::reader::{self, OverSeaOrm};
use crate::runner::{self, Moved};
use crate::state::{self, Applied, State, Status};

/// Applies every pending migration of `M`, in one transaction under the migration lock.
///
/// Errs with `Pending`, `Ahead` or `Drifted` when our own schema is not complete before or would not be after it,
/// `Ahead` when `M`'s record has names that `M` does not know, `SharedTable`, `LockTimeout`, `Failed`,
/// `ForeignKeyViolations`; nothing is changed then.
pub async fn up<M: MigratorTrait + 'static>(db: &DatabaseConnection) -> Result<Moved> {
    own_table::<M>()?;
    runner::locked(db, |txn| Box::pin(apply::<M>(txn))).await
}

/// Takes back the newest `count` migrations of `M`. Errs as [`up`] does.
pub async fn down<M: MigratorTrait + 'static>(db: &DatabaseConnection, count: usize) -> Result<Moved> {
    own_table::<M>()?;
    runner::locked(db, move |txn| Box::pin(revert::<M>(txn, count))).await
}

/// Runs steps of the [`model`](crate::model) within a migration of your own, so that it is written once for both
/// databases and may change tables that SQLite has to rebuild. `before` is the tables that the steps touch, as they are.
/// Only within [`up`]: a rebuild needs the connection as it is there.
pub async fn run_steps(manager: &SchemaManager<'_>, before: &Schema, steps: &[Step]) -> Result<(), DbErr> {
    plan::run(manager, before, steps, plan::up).await
}

/// The way back of [`run_steps`], with the same arguments, within [`down`].
pub async fn undo_steps(manager: &SchemaManager<'_>, before: &Schema, steps: &[Step]) -> Result<(), DbErr> {
    plan::run(manager, before, steps, plan::down).await
}

/// How the database stands to `M`: `Complete`, `Pending` or `Ahead`. Writes nothing.
pub async fn status<M: MigratorTrait>(db: &DatabaseConnection) -> Result<Status> {
    own_table::<M>()?;
    read::<M>(&db.into_database_executor()).await
}

async fn apply<M: MigratorTrait>(txn: &DatabaseTransaction) -> Result<Moved> {
    ours_complete(txn).await?;
    let applied = read::<M>(&txn.into_database_executor()).await?.state.movable()?;
    runner::step_up::<M>(txn, &applied).await?;
    ours_complete(txn).await?;
    Ok(Moved {
        applied,
        reverted: vec![],
    })
}

async fn revert<M: MigratorTrait>(txn: &DatabaseTransaction, count: usize) -> Result<Moved> {
    let status = read::<M>(&txn.into_database_executor()).await?;
    status.state.movable()?;
    // In the order of the list, which is the order in which they were applied.
    let on_record = |name: &String| status.applied.iter().any(|applied| applied.name == *name);
    let reverted: Vec<String> = names::<M>().into_iter().filter(on_record).rev().take(count).collect();
    runner::step_down::<M>(txn, &reverted).await?;
    ours_complete(txn).await?;
    Ok(Moved {
        reverted,
        applied: vec![],
    })
}

/// Our own schema is the ground that the user's stands on, before and after.
async fn ours_complete(txn: &DatabaseTransaction) -> Result<()> {
    state::read(&txn.into_database_executor())
        .await?
        .state
        .require_complete()
}

fn table<M: MigratorTrait>() -> String {
    M::migration_table_name().to_string()
}

fn names<M: MigratorTrait>() -> Vec<String> {
    M::migrations()
        .iter()
        .map(|migration| migration.name().to_owned())
        .collect()
}

fn own_table<M: MigratorTrait>() -> Result<()> {
    let table = table::<M>();
    if table.eq_ignore_ascii_case(HISTORY_TABLE) {
        Err(MigrationError::SharedTable(table))
    } else {
        Ok(())
    }
}

async fn read<M: MigratorTrait>(conn: &Conn<'_>) -> Result<Status> {
    let table = table::<M>();
    let reading = MigrationError::reading("reading the applied migrations");
    let reader = OverSeaOrm::new(conn)?;
    let columns = reader::columns(&reader, &[&table]).await.map_err(reading)?;
    let applied: Vec<Applied> = if columns.is_empty() {
        vec![]
    } else {
        state::applied(&reader, &table).await.map_err(reading)?
    };
    let known = names::<M>();
    let unknown: Vec<String> = applied
        .iter()
        .filter(|applied| !known.contains(&applied.name))
        .map(|applied| applied.name.clone())
        .collect();
    let pending: Vec<String> = known
        .into_iter()
        .filter(|name| !applied.iter().any(|applied| applied.name == *name))
        .collect();
    let state = match (unknown.is_empty(), pending.is_empty()) {
        (false, _) => State::Ahead { unknown },
        (true, false) => State::Pending { pending },
        (true, true) => State::Complete,
    };
    Ok(Status { state, applied })
}
