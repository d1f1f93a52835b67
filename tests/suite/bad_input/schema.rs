//! Schemas that are not the one this program knows.

use migration::HISTORY_TABLE;
use store::prelude::*;
use store::testkit::TestDatabase;

use super::{contents, does_not_open, furnish};
use crate::support::{behind_its_back, open};

store::testkit::tests! {
    on_both: [
        a_newer_schema_is_refused,
        a_missing_column_is_drift,
        a_missing_table_is_drift,
        a_migration_out_of_order_is_drift,
    ],
    on_both_empty: [pending_migrations_wait_where_they_are_not_wanted],
}

async fn a_newer_schema_is_refused(db: TestDatabase) {
    furnish(&db).await;
    let later = "m99991231_000001_from_the_future";
    behind_its_back(
        &db,
        &[&format!(
            "INSERT INTO {HISTORY_TABLE} (version, applied_at) VALUES ('{later}', 1)"
        )],
    )
    .await;
    let before = contents(&db).await;
    does_not_open(db.config(), ErrorKind::Schema, &[later, "newer"]).await;
    assert_eq!(contents(&db).await, before);
}

async fn a_missing_column_is_drift(db: TestDatabase) {
    furnish(&db).await;
    behind_its_back(&db, &["ALTER TABLE bots DROP COLUMN description"]).await;
    let before = contents(&db).await;
    does_not_open(db.config(), ErrorKind::Schema, &["bots.description", "missing"]).await;
    assert_eq!(contents(&db).await, before);
}

async fn a_missing_table_is_drift(db: TestDatabase) {
    furnish(&db).await;
    behind_its_back(&db, &["DROP TABLE api_keys"]).await;
    let before = contents(&db).await;
    does_not_open(db.config(), ErrorKind::Schema, &["api_keys", "missing"]).await;
    assert_eq!(contents(&db).await, before);
}

async fn a_migration_out_of_order_is_drift(db: TestDatabase) {
    furnish(&db).await;
    let second = migration::migrations::all()[1].name();
    behind_its_back(
        &db,
        &[&format!("DELETE FROM {HISTORY_TABLE} WHERE version = '{second}'")],
    )
    .await;
    let before = contents(&db).await;
    does_not_open(db.config(), ErrorKind::Schema, &[]).await;
    assert_eq!(contents(&db).await, before);
}

async fn pending_migrations_wait_where_they_are_not_wanted(db: TestDatabase) {
    let before = contents(&db).await;
    let mut config = db.config();
    config.auto_migrate = false;
    let count = migration::migrations::all().len().to_string();
    does_not_open(config.clone(), ErrorKind::Schema, &[&count, "pending", "auto_migrate"]).await;
    assert_eq!(contents(&db).await, before);
    open(&db).await.close().await.unwrap();
    Store::open(config).await.unwrap();
}
