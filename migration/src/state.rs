//! How a database stands to the migrations: a cheap look, for opening a store and for its health.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sea_orm::DatabaseConnection;
use sea_orm_migration::IntoSchemaManagerConnection;
use serde::Serialize;

use crate::dialect::{Conn, Dialect, LiveColumn, ddl};
use crate::error::{MigrationError, Result};
use crate::plan::{self, HISTORY_TABLE};
use crate::reader::{self, OverSeaOrm, ReadError, Reader};

/// How a database stands to the migrations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum State {
    /// Every migration is applied and every table and column is there.
    Complete,
    /// An older schema, sound as far as it goes; also an empty database.
    Pending {
        /// The names of the migrations to apply, oldest first.
        pending: Vec<String>,
    },
    /// A newer schema than this program knows.
    Ahead {
        /// The names of the migrations that are applied and not known.
        unknown: Vec<String>,
    },
    /// Not what the recorded migrations make.
    Drifted {
        /// What differs, in words.
        differences: Vec<String>,
    },
}

impl State {
    /// Nothing for [`Complete`](State::Complete), else the error that says what to do.
    pub fn require_complete(self) -> Result<()> {
        match self {
            State::Complete => Ok(()),
            State::Pending { pending } => Err(MigrationError::Pending { pending }),
            State::Ahead { unknown } => Err(MigrationError::Ahead { unknown }),
            State::Drifted { differences } => Err(MigrationError::Drifted { differences }),
        }
    }

    /// The names still to apply; errs for a schema that must not be moved.
    pub(crate) fn movable(self) -> Result<Vec<String>> {
        match self.require_complete() {
            Ok(()) => Ok(vec![]),
            Err(MigrationError::Pending { pending }) => Ok(pending),
            Err(error) => Err(error),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Complete => f.write_str("complete"),
            State::Pending { pending } => write!(f, "pending ({} to apply)", pending.len()),
            State::Ahead { unknown } => {
                write!(f, "ahead of this program ({} unknown)", unknown.len())
            }
            State::Drifted { differences } => write!(f, "drifted ({} found)", differences.len()),
        }
    }
}

/// A migration that the database has on record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// Its name.
    pub name: String,
    /// When it was applied, in seconds since 1970.
    pub applied_at: i64,
}

/// The state together with the record behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// How the database stands.
    #[serde(flatten)]
    pub state: State,
    /// What is applied, oldest first, unknown ones included.
    pub applied: Vec<Applied>,
}

/// How the database stands. Reads the record and the columns' names and types, two or three catalog queries; writes
/// nothing, so that it runs on a read-only connection and on an empty database. What it does not look at (defaults,
/// constraints, indexes) is [`check`](crate::check())'s.
pub async fn state(db: &DatabaseConnection) -> Result<State> {
    Ok(status(db).await?.state)
}

/// [`state`] with the record.
pub async fn status(db: &DatabaseConnection) -> Result<Status> {
    read(&db.into_database_executor()).await
}

/// [`state`] over a connection of any driver. What it could not read errs with `Reading`.
pub async fn state_of(reader: &impl Reader) -> Result<State> {
    Ok(status_of(reader).await?.state)
}

/// [`status`] within whatever is at hand.
pub(crate) async fn read(conn: &Conn<'_>) -> Result<Status> {
    status_of(&OverSeaOrm::new(conn)?).await
}

/// [`state_of`] with the record.
pub async fn status_of(reader: &impl Reader) -> Result<Status> {
    let mut status = read_once(reader).await?;
    // The columns and the record are read one after the other: when somebody commits a migration in between, the two do
    // not fit. So bad news must be read twice.
    for _ in 0..3 {
        if !matches!(status.state, State::Drifted { .. }) {
            break;
        }
        let again = read_once(reader).await?;
        if again == status {
            break;
        }
        status = again;
    }
    Ok(status)
}

async fn read_once(reader: &impl Reader) -> Result<Status> {
    let mut tables = plan::every_table();
    tables.push(HISTORY_TABLE);
    let columns = reader::columns(reader, &tables)
        .await
        .map_err(MigrationError::reading("reading the catalog"))?;
    let recorded = columns.iter().any(|column| column.table == HISTORY_TABLE);
    let applied = if recorded {
        applied(reader, HISTORY_TABLE)
            .await
            .map_err(MigrationError::reading("reading the applied migrations"))?
    } else {
        vec![]
    };
    let state = judge(reader.dialect(), &applied, &columns)?;
    Ok(Status { state, applied })
}

/// The record in a migration table, by name.
pub(crate) async fn applied(reader: &impl Reader, table: &str) -> Result<Vec<Applied>, ReadError> {
    let sql = format!(
        "SELECT version, CAST(applied_at AS TEXT) FROM {} ORDER BY version",
        ddl::quoted(table)
    );
    let rows = reader.rows(&sql).await?;
    let applied = rows.into_iter().map(|row| {
        let [name, applied_at] = reader::texts(row)?;
        Ok(Applied {
            name,
            applied_at: applied_at.parse()?,
        })
    });
    applied.collect()
}

/// What a record says about the schema, columns unseen.
pub(crate) fn history(applied: &[Applied]) -> State {
    let known = plan::names();
    let applied: BTreeSet<&str> = applied.iter().map(|applied| applied.name.as_str()).collect();
    let count = known.iter().take_while(|name| applied.contains(*name)).count();
    let (_, rest) = known.split_at(count);
    let out_of_order: Vec<&str> = rest.iter().copied().filter(|name| applied.contains(name)).collect();
    let (newer, stray): (Vec<&str>, Vec<&str>) = applied
        .iter()
        .copied()
        .filter(|name| !known.contains(name))
        .partition(|name| known.last().is_none_or(|last| name > last));
    let own = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();

    if !stray.is_empty() || !out_of_order.is_empty() {
        let unknown = stray
            .iter()
            .map(|name| format!("the migration {name} is on record and is not known"));
        let late = out_of_order
            .iter()
            .map(|name| format!("the migration {name} is on record, one before it is not"));
        State::Drifted {
            differences: unknown.chain(late).collect(),
        }
    } else if !newer.is_empty() && !rest.is_empty() {
        State::Drifted {
            differences: vec![format!(
                "the migration {} is on record, {} before it is not",
                newer[0], rest[0]
            )],
        }
    } else if !newer.is_empty() {
        State::Ahead { unknown: own(newer) }
    } else if !rest.is_empty() {
        State::Pending {
            pending: own(rest.to_vec()),
        }
    } else {
        State::Complete
    }
}

fn judge(dialect: Dialect, applied: &[Applied], columns: &[LiveColumn]) -> Result<State> {
    let state = history(applied);
    let count = match &state {
        State::Complete => applied.len(),
        State::Pending { .. } => applied.len(),
        State::Ahead { .. } | State::Drifted { .. } => return Ok(state),
    };
    let differences = missing(dialect, count, columns)?;
    Ok(if differences.is_empty() {
        state
    } else {
        State::Drifted { differences }
    })
}

/// Tables and columns that should be there and are not, or hold another type, or are there before their time.
fn missing(dialect: Dialect, count: usize, columns: &[LiveColumn]) -> Result<Vec<String>> {
    let shape = dialect.shape();
    let schema = plan::schema_at(count)?;
    let live: BTreeMap<(&str, &str), &str> = columns
        .iter()
        .map(|column| {
            (
                (column.table.as_str(), column.column.as_str()),
                column.data_type.as_str(),
            )
        })
        .collect();
    let live_tables: BTreeSet<&str> = columns.iter().map(|column| column.table.as_str()).collect();
    let mut differences = vec![];
    for table in schema.tables() {
        if !live_tables.contains(table.name()) {
            differences.push(format!("the table {} is missing", table.name()));
            continue;
        }
        for column in table.columns() {
            let (name, expected) = (column.name(), shape.catalog_type(column.kind()));
            match live.get(&(table.name(), name)) {
                None => differences.push(format!("the column {}.{name} is missing", table.name())),
                Some(found) if *found != expected => {
                    differences.push(format!(
                        "the column {}.{name} is {found}, should be {expected}",
                        table.name()
                    ));
                }
                Some(_) => {}
            }
        }
    }
    let early = live_tables
        .iter()
        .filter(|name| **name != HISTORY_TABLE && schema.table(name).is_none());
    differences.extend(early.map(|name| {
        format!("there is a table {name}, and no migration on record that makes it; it may belong to another program")
    }));
    Ok(differences)
}
