//! What once went wrong, each forced to happen: an interleaving by hand, a runtime that stands still, a network that
//! loses what it carries.

mod closing;
mod deadlines;
mod groups;
mod isolation;
mod paused;
pub(crate) mod proxy;
mod retention;
mod small;
mod sockets;
mod syncs;

use std::time::{Duration, Instant};

use migration::sea_orm_migration::prelude::*;
use sea_orm::Statement;
use store::prelude::*;
use store::testkit::{Backend, Test, TestDatabase};

pub(crate) fn tests() -> Vec<Test> {
    [
        retention::tests(),
        paused::tests(),
        sockets::tests(),
        groups::tests(),
        isolation::tests(),
        closing::tests(),
        syncs::tests(),
        small::tests(),
        deadlines::tests(),
    ]
    .concat()
}

/// What should end soon: after so many milliseconds it counts as going on for ever.
#[track_caller]
fn within<T>(millis: u64, work: impl Future<Output = T>) -> impl Future<Output = T> {
    let at = std::panic::Location::caller();
    async move {
        let begun = Instant::now();
        match tokio::time::timeout(Duration::from_millis(millis), work).await {
            Ok(done) => done,
            Err(_) => panic!("it has not ended after {:?} ({at})", begun.elapsed()),
        }
    }
}

/// Waits until this is so.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("it never happens: {what}");
}

/// A configuration whose operations may take no longer than this.
fn impatient(db: &TestDatabase, millis: u64) -> DatabaseConfig {
    hurry(db.config(), millis)
}

fn hurry(mut config: DatabaseConfig, millis: u64) -> DatabaseConfig {
    config.operation_timeout = Duration::from_millis(millis);
    // What follows from it where a configuration is loaded.
    config.postgres.statement_timeout = config.operation_timeout;
    config
}

/// A statement of a user's own, as text.
struct Sql(String);

impl store::engine::Write for Sql {
    type Entity = entity::bots::Entity;

    fn build(self, backend: sea_orm::DatabaseBackend, _: bool) -> Statement {
        Statement::from_string(backend, self.0)
    }
}

/// Runs a statement of a user's own and answers how many rows it has changed.
async fn sql(on: &impl Repositories, text: impl Into<String>) -> store::Result<u64> {
    let statement = Sql(text.into());
    let run = |db: store::engine::Operation| async move { db.write(statement).await };
    on.session().run("own", "sql", run).await
}

/// A user's own tables, of which each test makes use of some.
struct Own;

#[async_trait::async_trait]
impl MigratorTrait for Own {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(CreateOwn)]
    }

    fn migration_table_name() -> DynIden {
        "app_migrations".into_iden()
    }
}

struct CreateOwn;

impl MigrationName for CreateOwn {
    fn name(&self) -> &str {
        "m1_create_own"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for CreateOwn {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let postgres = manager.get_database_backend() == sea_orm::DbBackend::Postgres;
        let id = if postgres { "uuid" } else { "blob" };
        let once = if postgres { "" } else { "ON CONFLICT ROLLBACK" };
        let tables = [
            // Refers to what the store deletes, and is checked at once.
            format!(
                "CREATE TABLE app_pins (id {id} PRIMARY KEY,
                 bot_id {id} CONSTRAINT fk_app_pins_bot_id REFERENCES bots (id) ON DELETE RESTRICT,
                 workflow_id {id} CONSTRAINT fk_app_pins_workflow_id REFERENCES workflows (id) ON DELETE RESTRICT)"
            ),
            "CREATE TABLE app_words (word text PRIMARY KEY)".to_owned(),
            "CREATE TABLE app_traps (word text PRIMARY KEY)".to_owned(),
            format!("CREATE TABLE app_once (word text UNIQUE {once})"),
        ];
        let triggers: &[&str] = if postgres { &ON_POSTGRES } else { &ON_SQLITE };
        let triggers = triggers.iter().map(|&sql| sql.to_owned());
        for sql in tables.into_iter().chain(triggers) {
            manager.get_connection().execute_unprepared(&sql).await?;
        }
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Ok(())
    }
}

/// Words that begin with "no" are left out, and every row of `app_traps` is refused; on SQLite with the whole transaction.
const ON_SQLITE: [&str; 2] = [
    "CREATE TRIGGER leaves_out BEFORE INSERT ON app_words WHEN NEW.word LIKE 'no%' BEGIN SELECT RAISE(IGNORE); END",
    "CREATE TRIGGER refuses BEFORE INSERT ON app_traps BEGIN SELECT RAISE(ROLLBACK, 'it is a trap'); END",
];

const ON_POSTGRES: [&str; 4] = [
    "CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS
     $$ BEGIN IF NEW.word LIKE 'no%' THEN RETURN NULL; END IF; RETURN NEW; END $$",
    "CREATE TRIGGER leaves_out BEFORE INSERT ON app_words FOR EACH ROW EXECUTE FUNCTION leave_out()",
    "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'it is a trap'; END $$",
    "CREATE TRIGGER refuses BEFORE INSERT ON app_traps FOR EACH ROW EXECUTE FUNCTION refuse()",
];

/// A uuid as SQL writes it.
fn literal(db: &TestDatabase, id: uuid::Uuid) -> String {
    match db.backend() {
        Backend::Sqlite => format!("x'{}'", id.simple()),
        Backend::Postgres => format!("'{id}'"),
    }
}
