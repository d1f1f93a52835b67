//! The thorough look: everything that the migrations make, against everything that is there.

use sea_orm::DatabaseConnection;
use sea_orm_migration::IntoSchemaManagerConnection;
use serde::Serialize;
use tracing::Instrument;

use crate::dialect::Dialect;
use crate::error::{MigrationError, Result};
use crate::plan;
use crate::snapshot::{Difference, Snapshot};
use crate::state::{self, State};

/// What [`check`] found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// How the database stands by its record alone. An older schema is compared with what its own migrations make.
    pub history: State,
    /// Every difference, by table. Empty, too, where the record is `Ahead` or `Drifted`: there is nothing to compare
    /// with then.
    pub differences: Vec<Difference>,
}

impl Checked {
    /// Whether the database is exactly what all migrations make.
    pub fn is_sound(&self) -> bool {
        self.history == State::Complete && self.differences.is_empty()
    }
}

/// Compares tables, columns, types, nullability, defaults, constraints and indexes with what the migrations make on this
/// kind of database: on SQLite in a second database in memory, on Postgres in a schema of its own that is rolled back, so
/// that the same server writes both sides down. Tables that no migration makes are not looked at; columns, constraints
/// and indexes added to ours are reported.
///
/// `db` may be a read-only connection on SQLite; on Postgres the role needs CREATE on the database (`ScratchSchema`).
pub async fn check(db: &DatabaseConnection) -> Result<Checked> {
    let db = db.clone();
    // On a task of its own: a caller that goes away must not leave a connection inside the scratch transaction.
    let run = tokio::spawn(async move { compare(&db).await }.in_current_span());
    run.await
        .unwrap_or_else(|error| Err(MigrationError::Interrupted(error.to_string())))
}

/// The tables of all migrations as they are, in full; comparable with another snapshot from the same kind of database.
/// For tests and tools; [`check`] is this and the comparison.
pub async fn snapshot(db: &DatabaseConnection) -> Result<Snapshot> {
    let conn = db.into_database_executor();
    Dialect::of(db)?.shape().snapshot(&conn, &plan::every_table()).await
}

async fn compare(db: &DatabaseConnection) -> Result<Checked> {
    let history = state::history(&state::status(db).await?.applied);
    let count = match &history {
        State::Complete => plan::names().len(),
        State::Pending { pending } => plan::names().len() - pending.len(),
        State::Ahead { .. } | State::Drifted { .. } => {
            return Ok(Checked {
                history,
                differences: vec![],
            });
        }
    };
    let expected = Dialect::of(db)?.shape().expected(db, count).await?;
    let found = snapshot(db).await?;
    Ok(Checked {
        differences: expected.differences(&found),
        history,
    })
}
