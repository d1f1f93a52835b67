//! What the list of migrations amounts to: the schema after each of them, the statements up and down, and the list as
//! sea-orm-migration's bookkeeping wants it.

use std::collections::BTreeSet;

use sea_orm::{ConnectionTrait, DbErr, DynIden};
use sea_orm_migration::async_trait::async_trait;
use sea_orm_migration::sea_query::{Alias, IntoIden};
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

use crate::dialect::{Action, Conn, Dialect, ddl};
use crate::error::{Direction, MigrationError, Result};
use crate::migrations::{self, Migration};
use crate::model::{Defect, Schema, Step};

/// Where applied migrations are recorded.
pub const HISTORY_TABLE: &str = "undercroft_migrations";

/// The names of all migrations, oldest first.
pub(crate) fn names() -> Vec<&'static str> {
    migrations::all().iter().map(Migration::name).collect()
}

/// The schema after the first `count` migrations.
pub(crate) fn schema_at(count: usize) -> Result<Schema, Defect> {
    let mut schema = Schema::default();
    for migration in migrations::all().iter().take(count) {
        schema = schema.after_all(&migration.steps)?;
    }
    Ok(schema)
}

/// Every table that any version of the schema has.
pub(crate) fn every_table() -> Vec<&'static str> {
    let created = |step: &Step| match step {
        Step::CreateTable(table) => Some(table.name()),
        _ => None,
    };
    let all = migrations::all();
    let names: BTreeSet<&str> = all.iter().flat_map(Migration::steps).filter_map(created).collect();
    names.into_iter().collect()
}

/// The actions that apply steps to the schema before them.
pub(crate) fn up(dialect: Dialect, before: &Schema, steps: &[Step]) -> Result<Vec<Action>, Defect> {
    let mut schema = before.clone();
    let mut actions = vec![];
    for step in steps {
        let next = schema.after(step)?;
        actions.extend(ddl::actions(dialect, step, &schema, &next));
        schema = next;
    }
    Ok(actions)
}

/// The actions that take steps back, to the schema before them.
pub(crate) fn down(dialect: Dialect, before: &Schema, steps: &[Step]) -> Result<Vec<Action>, Defect> {
    let mut schema = before.clone();
    let mut undone = vec![];
    for step in steps {
        let next = schema.after(step)?;
        let back = schema.undo(step)?;
        undone.push(ddl::actions(dialect, &back, &next, &schema));
        schema = next;
    }
    Ok(undone.into_iter().rev().flatten().collect())
}

/// Runs actions one after the other.
pub(crate) async fn perform(conn: &Conn<'_>, dialect: Dialect, actions: Vec<Action>) -> Result<(), DbErr> {
    for action in actions {
        match action {
            Action::Execute(sql) => conn.execute_unprepared(&sql).await.map(drop)?,
            Action::Rebuild { before, after } => dialect.shape().rebuild(conn, &before, &after).await?,
        }
    }
    Ok(())
}

/// Makes the schema of the first `count` migrations on an empty database, without a record of it.
pub(crate) async fn build(conn: &Conn<'_>, dialect: Dialect, count: usize) -> Result<()> {
    let mut schema = Schema::default();
    for migration in migrations::all().iter().take(count) {
        let actions = up(dialect, &schema, &migration.steps)?;
        schema = schema.after_all(&migration.steps)?;
        perform(conn, dialect, actions)
            .await
            .map_err(|source| MigrationError::Failed {
                migration: migration.name.to_owned(),
                direction: Direction::Up,
                source,
            })?;
    }
    Ok(())
}

/// One of our migrations as sea-orm-migration sees it.
struct Listed {
    position: usize,
    name: &'static str,
}

impl Listed {
    async fn run(&self, manager: &SchemaManager<'_>, way: Way) -> Result<(), DbErr> {
        let before = schema_at(self.position).map_err(wrong)?;
        match migrations::all().get(self.position) {
            Some(migration) => run(manager, &before, &migration.steps, way).await,
            None => Ok(()),
        }
    }
}

/// Runs steps one way, within a migration of sea-orm-migration's.
pub(crate) async fn run(manager: &SchemaManager<'_>, before: &Schema, steps: &[Step], way: Way) -> Result<(), DbErr> {
    let conn = manager.get_connection();
    let dialect = Dialect::of(conn).map_err(wrong)?;
    perform(conn, dialect, way(dialect, before, steps).map_err(wrong)?).await
}

fn wrong(error: impl std::fmt::Display) -> DbErr {
    DbErr::Migration(error.to_string())
}

/// [`up`] or [`down`].
pub(crate) type Way = fn(Dialect, &Schema, &[Step]) -> Result<Vec<Action>, Defect>;

impl MigrationName for Listed {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait]
impl MigrationTrait for Listed {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        self.run(manager, up).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        self.run(manager, down).await
    }

    fn use_transaction(&self) -> Option<bool> {
        // The runner holds one transaction around all of them.
        Some(false)
    }
}

/// The list with its record. Not public: on its own it takes no lock and, on SQLite, lets DROP TABLE delete children.
pub(crate) struct Undercroft;

impl MigratorTrait for Undercroft {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        names()
            .into_iter()
            .enumerate()
            .map(|(position, name)| Box::new(Listed { position, name }) as Box<dyn MigrationTrait>)
            .collect()
    }

    fn migration_table_name() -> DynIden {
        Alias::new(HISTORY_TABLE).into_iden()
    }
}
