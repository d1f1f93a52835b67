//! Migrations, from an empty database to the newest schema and back, on either database.

mod drift;
mod moving;
mod own_tables;
mod session_type;

use config::{Connections, DatabaseConfig};
use migration::Dialect;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use store::testkit::Test;

pub(crate) fn tests() -> Vec<Test> {
    [
        moving::tests(),
        drift::tests(),
        own_tables::tests(),
        session_type::tests(),
    ]
    .concat()
}

const ID: &str = "00000000000000000000000000000001";

async fn open(config: &DatabaseConfig) -> Connections {
    config.connect().await.unwrap()
}

async fn run(db: &DatabaseConnection, sql: &str) {
    db.execute_unprepared(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

async fn number(db: &DatabaseConnection, sql: &str) -> i64 {
    let statement = Statement::from_string(db.get_database_backend(), sql);
    db.query_one_raw(statement)
        .await
        .unwrap()
        .unwrap()
        .try_get_by_index(0)
        .unwrap()
}

fn dialect(db: &DatabaseConnection) -> Dialect {
    Dialect::of(db).unwrap()
}

/// A literal of the id `…01`.
fn id(db: &DatabaseConnection) -> String {
    match dialect(db) {
        Dialect::Sqlite => format!("X'{ID}'"),
        Dialect::Postgres => format!("'{ID}'"),
    }
}

async fn insert_bot(db: &DatabaseConnection) {
    let sql = format!(
        "INSERT INTO bots (id, slug, name, created_at, updated_at) \
         VALUES ({}, 'a', 'A', '2026-01-01T00:00:00+00:00', '2026-01-01T00:00:00+00:00')",
        id(db)
    );
    run(db, &sql).await;
}

/// A soul version whose id and bot are both `…01`.
async fn insert_soul(db: &DatabaseConnection) -> Result<(), sea_orm::DbErr> {
    let id = id(db);
    let sql = format!(
        "INSERT INTO soul_versions (id, bot_id, content, hash, version, created_at) \
         VALUES ({id}, {id}, 'c', 'h', 1, '2026-01-01T00:00:00+00:00')"
    );
    db.execute_unprepared(&sql).await.map(drop)
}

fn migrations() -> usize {
    migration::migrations::all().len()
}

async fn assert_sound(db: &DatabaseConnection) {
    let checked = migration::check(db).await.unwrap();
    assert!(checked.is_sound(), "{checked:?}");
}
