//! Moves the schema: every run is one transaction under one lock, on both databases, and is finished or undone even when
//! the caller is gone.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, TransactionTrait};
use sea_orm_migration::{IntoSchemaManagerConnection, MigratorTrait};
use serde::Serialize;
use tokio::time::Instant;
use tracing::Instrument;

use crate::dialect::{Conn, Dialect, ddl};
use crate::error::{Direction, MigrationError, Result};
use crate::plan::{self, HISTORY_TABLE, Undercroft};
use crate::reader;
use crate::state::{self, State};

/// How long a run waits for others before it gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });

/// The pause before another try at a lock. It is not random: SQLite's own busy handler waits before each try, too.
const PAUSE: Duration = Duration::from_millis(40);

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// The migrations taken back, in that order.
    pub reverted: Vec<String>,
    /// The migrations applied, in that order.
    pub applied: Vec<String>,
}

impl Moved {
    /// Whether there was nothing to do.
    pub fn is_empty(&self) -> bool {
        self.reverted.is_empty() && self.applied.is_empty()
    }
}

/// Applies every pending migration, oldest first. Any number of programs may do so at once: one of them does the work,
/// the others wait for it and find nothing left.
///
/// On a SQLite file the run opens a connection of its own, and so it does on a database in memory that has a name
/// (`file:/name?vfs=memdb`); one that has none must be a pool of exactly one, and others should leave it alone meanwhile.
/// Errs with `Ahead` or `Drifted` for a schema that must not be moved, `LockTimeout`, `Failed`, `ForeignKeyViolations`;
/// nothing is changed then.
pub async fn up(db: &DatabaseConnection) -> Result<Moved> {
    up_by(db, usize::MAX).await
}

/// Applies at most `limit` of the pending migrations. Errs as [`up`] does.
pub async fn up_by(db: &DatabaseConnection, limit: usize) -> Result<Moved> {
    // Nothing to do needs no lock: a program that starts while another writes is not held up.
    match state::state(db).await {
        // In memory, a database that somebody writes cannot even be read: the run waits for that.
        Err(error) if !patience(Dialect::of(db)?, &error).is_zero() => {}
        state => {
            if state?.movable()?.is_empty() {
                return Ok(Moved::default());
            }
        }
    }
    locked(db, move |txn| Box::pin(async move { apply(txn, limit).await })).await
}

/// Takes back the newest `count` migrations and the rows that live in what they made. Errs as [`up`] does, and with
/// `Referenced` when other tables point to tables that would go.
pub async fn down(db: &DatabaseConnection, count: usize) -> Result<Moved> {
    locked(db, move |txn| Box::pin(async move { revert(txn, count).await })).await
}

/// Takes back every migration and the record of them; the way to an empty database. Errs as [`down`] does.
pub async fn reset(db: &DatabaseConnection) -> Result<Moved> {
    locked(db, |txn| {
        Box::pin(async move {
            let moved = revert(txn, usize::MAX).await?;
            let doing = MigrationError::database("dropping the record of migrations");
            let sql = format!("DROP TABLE IF EXISTS {}", ddl::quoted(HISTORY_TABLE));
            txn.execute_unprepared(&sql).await.map_err(doing)?;
            Ok(moved)
        })
    })
    .await
}

/// Takes back every migration and applies all of them again, in one transaction. Errs as [`down`] does.
pub async fn refresh(db: &DatabaseConnection) -> Result<Moved> {
    locked(db, |txn| {
        Box::pin(async move {
            let reverted = revert(txn, usize::MAX).await?.reverted;
            let applied = apply(txn, usize::MAX).await?.applied;
            Ok(Moved { reverted, applied })
        })
    })
    .await
}

/// Drops every table that any migration here makes, and the record of them, whatever state they are in, and applies all
/// migrations. Tables of others stay. Errs with `Referenced` when one of those points to a table that would go,
/// `LockTimeout`, `Failed`.
pub async fn fresh(db: &DatabaseConnection) -> Result<Moved> {
    locked(db, |txn| {
        Box::pin(async move {
            drop_everything(txn).await?;
            apply(txn, usize::MAX).await
        })
    })
    .await
}

/// The work of a run, within its transaction.
pub(crate) type Work<'t, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 't>>;

/// Runs `work` in one transaction under the migration lock, on a task of its own: a caller that goes away in the middle
/// must not leave the connection with foreign keys off or in a transaction. Runs it again when it met others.
pub(crate) async fn locked<T, F>(db: &DatabaseConnection, work: F) -> Result<T>
where
    T: Send + 'static,
    F: for<'t> Fn(&'t DatabaseTransaction) -> Work<'t, T> + Send + Sync + 'static,
{
    let db = db.clone();
    let run = async move {
        let dialect = Dialect::of(&db)?;
        let started = Instant::now();
        loop {
            let error = match session(&db, dialect, &work).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let waited = started.elapsed();
            if waited >= patience(dialect, &error) {
                return Err(gave_up(dialect, error, waited));
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let run = tokio::spawn(run.in_current_span());
    run.await
        .unwrap_or_else(|error| Err(MigrationError::Interrupted(error.to_string())))
}

/// One try, on a connection that is set up for it.
async fn session<T, F>(db: &DatabaseConnection, dialect: Dialect, work: &F) -> Result<T>
where
    F: for<'t> Fn(&'t DatabaseTransaction) -> Work<'t, T>,
{
    let shape = dialect.shape();
    let settings = MigrationError::database("setting up the connection");
    let run = shape.enter(db).await.map_err(settings)?;
    let done = transaction(&run, dialect, work).await;
    let left = shape.leave(run).await.map_err(settings);
    let value = done?;
    left?;
    Ok(value)
}

async fn transaction<T, F>(db: &DatabaseConnection, dialect: Dialect, work: &F) -> Result<T>
where
    F: for<'t> Fn(&'t DatabaseTransaction) -> Work<'t, T>,
{
    let shape = dialect.shape();
    let beginning = MigrationError::database("beginning a transaction");
    let txn = db.begin_with_options(shape.transaction()).await.map_err(beginning)?;
    let done = async {
        shape.lock(&txn).await?;
        let value = work(&txn).await?;
        shape.verify(&txn).await?;
        Ok(value)
    };
    match done.await {
        Ok(value) => {
            txn.commit().await.map_err(MigrationError::database("committing"))?;
            Ok(value)
        }
        Err(error) => {
            // The first error is the one to tell; a connection that cannot roll back is closed by its pool.
            if let Err(second) = txn.rollback().await {
                tracing::debug!(error = %second, "rolling back a migration run failed");
            }
            Err(error)
        }
    }
}

/// For how long trying again is worth while.
fn patience(dialect: Dialect, error: &MigrationError) -> Duration {
    match error {
        // Two runs of one process on one database in memory: one put foreign keys back on under the other's hands.
        MigrationError::NotTheWriter => Duration::from_secs(2),
        other => match other.database_error() {
            Some(error) if dialect.shape().is_contention(error) => PATIENCE,
            _ => Duration::ZERO,
        },
    }
}

fn gave_up(dialect: Dialect, error: MigrationError, waited: Duration) -> MigrationError {
    match error {
        MigrationError::Database { source, .. } | MigrationError::Failed { source, .. }
            if dialect.shape().is_lock_timeout(&source) =>
        {
            MigrationError::LockTimeout { waited, source }
        }
        other => other,
    }
}

async fn apply(txn: &DatabaseTransaction, limit: usize) -> Result<Moved> {
    let pending = state::read(&txn.into_database_executor()).await?.state.movable()?;
    let applied: Vec<String> = pending.into_iter().take(limit).collect();
    step_up::<Undercroft>(txn, &applied).await?;
    mirror(txn).await?;
    Ok(Moved {
        applied,
        reverted: vec![],
    })
}

async fn revert(txn: &DatabaseTransaction, count: usize) -> Result<Moved> {
    let conn = txn.into_database_executor();
    let status = state::read(&conn).await?;
    status.state.movable()?;
    let kept = status.applied.len().saturating_sub(count);
    let reverted: Vec<String> = status
        .applied
        .into_iter()
        .skip(kept)
        .rev()
        .map(|applied| applied.name)
        .collect();
    refuse_references(&conn, &vanishing(kept + reverted.len(), kept)?).await?;
    step_down::<Undercroft>(txn, &reverted).await?;
    mirror(txn).await?;
    Ok(Moved {
        reverted,
        applied: vec![],
    })
}

/// The tables of the schema at `from` migrations that the schema at `to` does not have.
pub(crate) fn vanishing(from: usize, to: usize) -> Result<Vec<&'static str>> {
    let kept = plan::schema_at(to)?;
    let schema = plan::schema_at(from)?;
    Ok(schema
        .tables()
        .iter()
        .map(|table| table.name())
        .filter(|name| kept.table(name).is_none())
        .collect())
}

/// The columns of the schema at `from` migrations that the schema at `to` does not have, of tables that it has.
pub(crate) fn vanishing_columns(from: usize, to: usize) -> Result<Vec<(&'static str, Vec<&'static str>)>> {
    let kept = plan::schema_at(to)?;
    let schema = plan::schema_at(from)?;
    let lost = schema.tables().iter().filter_map(|table| {
        let kept = kept.table(table.name())?;
        let columns = table.columns().iter().map(|column| column.name());
        let lost: Vec<_> = columns.filter(|name| kept.column_named(name).is_none()).collect();
        (!lost.is_empty()).then_some((table.name(), lost))
    });
    Ok(lost.collect())
}

async fn drop_everything(txn: &DatabaseTransaction) -> Result<()> {
    let conn = txn.into_database_executor();
    let dialect = Dialect::of(txn)?;
    let doing = "dropping the tables";
    let dropping = MigrationError::database(doing);
    let mut candidates = plan::every_table();
    refuse_references(&conn, &candidates).await?;
    candidates.push(HISTORY_TABLE);
    let live = reader::columns_on(&conn, &candidates, doing).await?;
    candidates.retain(|name| live.iter().any(|column| column.table == *name));
    for sql in dialect.shape().drop_tables(&candidates) {
        txn.execute_unprepared(&sql).await.map_err(dropping)?;
    }
    Ok(())
}

/// Dropping a table that others point to would take their constraint away (Postgres) or leave it dangling (SQLite).
async fn refuse_references(conn: &Conn<'_>, tables: &[&str]) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let reading = MigrationError::database("reading the catalog");
    let references = Dialect::of(conn)?
        .shape()
        .references(conn, tables)
        .await
        .map_err(reading)?;
    let outside = |name: &str| !tables.contains(&name);
    let references: Vec<_> = references
        .into_iter()
        .filter(|reference| outside(&reference.table))
        .collect();
    if references.is_empty() {
        Ok(())
    } else {
        Err(MigrationError::Referenced(references))
    }
}

/// Applies these, one by one, so that the one that fails is known by name.
pub(crate) async fn step_up<M: MigratorTrait>(txn: &DatabaseTransaction, names: &[String]) -> Result<()> {
    for name in names {
        M::up(txn, Some(1)).await.map_err(failed(name, Direction::Up))?;
        tracing::info!(migration = %name, "applied");
    }
    Ok(())
}

/// Takes these back, one by one.
pub(crate) async fn step_down<M: MigratorTrait>(txn: &DatabaseTransaction, names: &[String]) -> Result<()> {
    for name in names {
        M::down(txn, Some(1)).await.map_err(failed(name, Direction::Down))?;
        tracing::info!(migration = %name, "taken back");
    }
    Ok(())
}

fn failed(name: &str, direction: Direction) -> impl FnOnce(DbErr) -> MigrationError {
    move |source| MigrationError::Failed {
        migration: name.to_owned(),
        direction,
        source,
    }
}

/// Writes the number of applied migrations to where other programs look for it.
async fn mirror(txn: &DatabaseTransaction) -> Result<()> {
    let conn = txn.into_database_executor();
    let mirroring = MigrationError::database("mirroring the schema version");
    let applied = match state::read(&conn).await?.state {
        State::Complete => plan::names().len(),
        State::Pending { pending } => plan::names().len().saturating_sub(pending.len()),
        // A run that leaves anything else has a migration whose model does not say what it did.
        other => return other.require_complete(),
    };
    Dialect::of(txn)?
        .shape()
        .mirror(&conn, applied)
        .await
        .map_err(mirroring)
}
