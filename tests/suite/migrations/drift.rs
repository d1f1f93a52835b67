//! What is not as the migrations made it is found, told and refused.

use migration::snapshot::Aspect;
use migration::{Dialect, MigrationError, ReadError, Reader, State, TextRow};
use sea_orm::DatabaseConnection;

use super::own_tables::Notes;
use super::{assert_sound, dialect, insert_bot, number, open, run};
use store::testkit::TestDatabase;

store::testkit::tests! {
    on_both_empty: [
        check_finds_every_kind_of_drift,
        a_newer_database_is_refused,
        a_drifted_database_is_refused,
        a_table_that_was_there_before_is_not_taken_for_ours,
    ],
    on_postgres_empty: [a_native_connection_reads_the_same_state],
}

/// Hand-made drifts: what is done, on SQLite and on Postgres, and what is to be found. SQLite has no ALTER for most of
/// them, so its schema's text is edited.
const DRIFTS: &[(&str, &str, Aspect, &str)] = &[
    (
        "DROP INDEX idx_bots_status",
        "DROP INDEX idx_bots_status",
        Aspect::Index,
        "idx_bots_status",
    ),
    (
        "DROP INDEX uq_secrets_key; CREATE UNIQUE INDEX uq_secrets_key ON secrets (key)",
        "DROP INDEX uq_secrets_key; CREATE UNIQUE INDEX uq_secrets_key ON secrets (key)",
        Aspect::Index,
        "uq_secrets_key",
    ),
    (
        "DROP INDEX idx_bots_name; CREATE INDEX idx_bots_name ON bots (name, id DESC)",
        "DROP INDEX idx_bots_name; CREATE INDEX idx_bots_name ON bots (name, id DESC)",
        Aspect::Index,
        "idx_bots_name",
    ),
    (
        "CREATE INDEX extra ON bots (slug, name)",
        "CREATE INDEX extra ON bots (slug, name)",
        Aspect::Index,
        "extra",
    ),
    (
        "ALTER TABLE bots ADD COLUMN extra TEXT",
        "ALTER TABLE bots ADD COLUMN extra TEXT",
        Aspect::Column,
        "extra",
    ),
    (
        "ALTER TABLE bots DROP COLUMN description",
        "ALTER TABLE bots DROP COLUMN description",
        Aspect::Column,
        "description",
    ),
    (
        "edit bots: DEFAULT 'assistant' -> DEFAULT 'utility'",
        "ALTER TABLE bots ALTER COLUMN category SET DEFAULT 'utility'",
        Aspect::Default,
        "category",
    ),
    (
        "edit bots: \"name\" TEXT NOT NULL -> \"name\" TEXT",
        "ALTER TABLE bots ALTER COLUMN name DROP NOT NULL",
        Aspect::Nullability,
        "name",
    ),
    (
        "edit bots: \"version_count\" INTEGER -> \"version_count\" TEXT",
        "ALTER TABLE bots ALTER COLUMN version_count TYPE integer",
        Aspect::ColumnType,
        "version_count",
    ),
    (
        "edit bots: \"slug\" TEXT -> \"slug\" TEXT COLLATE NOCASE",
        "ALTER TABLE bots ALTER COLUMN slug TYPE text COLLATE \"POSIX\"",
        Aspect::ColumnType,
        "slug",
    ),
    (
        "edit bots: 'disabled', 'archived' -> 'disabled', 'ARCHIVED'",
        "ALTER TABLE bots DROP CONSTRAINT ck_bots_status, \
         ADD CONSTRAINT ck_bots_status CHECK (status IN ('active', 'disabled', 'ARCHIVED'))",
        Aspect::Constraint,
        "ck_bots_status",
    ),
    (
        "edit bots: CONSTRAINT \"ck_bots_status\" CHECK (\"status\" IN ('active', 'disabled', 'archived')) -> ",
        "ALTER TABLE bots DROP CONSTRAINT ck_bots_status",
        Aspect::Constraint,
        "ck_bots_status",
    ),
    (
        "edit bots: ON DELETE SET NULL -> ON DELETE CASCADE",
        "ALTER TABLE bots DROP CONSTRAINT fk_bots_user_id, ADD CONSTRAINT fk_bots_user_id \
         FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE",
        Aspect::Constraint,
        "fk_bots_user_id",
    ),
    (
        "edit soul_versions: CONSTRAINT \"pk_soul_versions\" PRIMARY KEY -> CONSTRAINT other PRIMARY KEY",
        "ALTER TABLE soul_versions DROP CONSTRAINT pk_soul_versions",
        Aspect::Constraint,
        "pk_soul_versions",
    ),
    ("DROP TABLE api_keys", "DROP TABLE api_keys", Aspect::Table, ""),
    (
        "edit users: STRICT -> ",
        "ALTER TABLE users SET UNLOGGED",
        Aspect::TableOptions,
        "",
    ),
];

async fn drift(db: &DatabaseConnection, sqlite: &str, postgres: &str) {
    let sql = match dialect(db) {
        // Postgres does not make a table unlogged that a logged one points to.
        Dialect::Postgres if postgres.contains("UNLOGGED") => {
            format!(
                "ALTER TABLE bots DROP CONSTRAINT fk_bots_user_id; \
                 ALTER TABLE api_keys DROP CONSTRAINT fk_api_keys_user_id; {postgres}"
            )
        }
        Dialect::Postgres => postgres.to_owned(),
        Dialect::Sqlite => match sqlite.strip_prefix("edit ").and_then(|edit| edit.split_once(": ")) {
            None => sqlite.to_owned(),
            Some((table, edit)) => {
                let (from, to) = edit.split_once(" -> ").unwrap();
                let (from, to) = (from.replace('\'', "''"), to.replace('\'', "''"));
                format!(
                    "PRAGMA writable_schema = ON; \
                     UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}') \
                     WHERE type = 'table' AND name = '{table}'; PRAGMA writable_schema = RESET"
                )
            }
        },
    };
    run(db, &sql).await;
}

async fn check_finds_every_kind_of_drift(db: TestDatabase) {
    let config = db.config();
    let db = open(&config).await.writer;
    for (sqlite, postgres, aspect, name) in DRIFTS {
        migration::fresh(&db).await.unwrap();
        assert_sound(&db).await;
        drift(&db, sqlite, postgres).await;
        let checked = migration::check(&db).await.unwrap();
        let found = checked
            .differences
            .iter()
            .any(|difference| difference.aspect == *aspect && difference.name.as_deref().unwrap_or_default() == *name);
        assert!(found, "{sqlite} / {postgres}: {checked:?}");
        assert!(!checked.is_sound());
        for difference in &checked.differences {
            assert!(difference.to_string().contains(&difference.table), "{difference}");
        }
    }
}

async fn a_newer_database_is_refused(db: TestDatabase) {
    let config = db.config();
    let db = open(&config).await.writer;
    migration::up(&db).await.unwrap();
    insert_bot(&db).await;
    run(
        &db,
        "INSERT INTO undercroft_migrations (version, applied_at) VALUES ('m99991231_000001_later', 0)",
    )
    .await;
    let State::Ahead { unknown } = migration::state(&db).await.unwrap() else {
        panic!()
    };
    assert_eq!(unknown, ["m99991231_000001_later"]);
    for result in [
        migration::up(&db).await,
        migration::down(&db, 1).await,
        migration::reset(&db).await,
        migration::refresh(&db).await,
        migration::user::up::<Notes>(&db).await,
    ] {
        let error = result.unwrap_err();
        assert!(matches!(&error, MigrationError::Ahead { .. }), "{error}");
        assert!(error.to_string().contains("m99991231_000001_later"), "{error}");
    }
    assert_eq!(number(&db, "SELECT count(*) FROM bots").await, 1);
    migration::fresh(&db).await.unwrap();
    assert_sound(&db).await;
}

async fn a_drifted_database_is_refused(db: TestDatabase) {
    let config = db.config();
    let db = open(&config).await.writer;
    let drifts = [
        "ALTER TABLE bots DROP COLUMN description",
        "DROP TABLE secrets",
        "DELETE FROM undercroft_migrations WHERE version LIKE '%_souls'",
        "DELETE FROM undercroft_migrations",
        "DROP TABLE undercroft_migrations",
        "INSERT INTO undercroft_migrations (version, applied_at) VALUES ('m20200101_000001_stray', 0)",
    ];
    for sql in drifts {
        migration::fresh(&db).await.unwrap();
        run(&db, sql).await;
        let state = migration::state(&db).await.unwrap();
        assert!(matches!(state, State::Drifted { .. }), "{sql}: {state:?}");
        let error = migration::up(&db).await.unwrap_err();
        assert!(matches!(error, MigrationError::Drifted { .. }), "{sql}: {error}");
        let error = migration::reset(&db).await.unwrap_err();
        assert!(matches!(error, MigrationError::Drifted { .. }), "{sql}: {error}");
    }
    migration::fresh(&db).await.unwrap();
    assert_sound(&db).await;
}

async fn a_table_that_was_there_before_is_not_taken_for_ours(db: TestDatabase) {
    let config = db.config();
    let db = open(&config).await.writer;
    run(&db, "CREATE TABLE users (id INTEGER PRIMARY KEY, nickname TEXT)").await;
    run(&db, "INSERT INTO users (id, nickname) VALUES (1, 'x')").await;
    let error = migration::up(&db).await.unwrap_err();
    assert!(matches!(error, MigrationError::Drifted { .. }), "{error}");
    assert!(error.to_string().contains("users"), "{error}");
    assert_eq!(number(&db, "SELECT count(*) FROM users").await, 1);
}

struct Native(tokio_postgres::Client);

impl Reader for Native {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    async fn rows(&self, sql: &str) -> Result<Vec<TextRow>, ReadError> {
        let rows = self.0.query(sql, &[]).await?;
        let texts = rows
            .iter()
            .map(|row| (0..row.len()).map(|column| row.try_get(column)).collect());
        Ok(texts.collect::<Result<_, _>>()?)
    }
}

async fn a_native_connection_reads_the_same_state(db: TestDatabase) {
    let (client, connection) = tokio_postgres::connect(&db.url(), tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    let native = Native(client);
    let db = open(&db.config()).await.writer;
    for count in [0, 1, usize::MAX] {
        migration::up_by(&db, count).await.unwrap();
        let status = migration::status_of(&native).await.unwrap();
        assert_eq!(status, migration::status(&db).await.unwrap());
    }
    assert_eq!(migration::state_of(&native).await.unwrap(), State::Complete);
    run(&db, "ALTER TABLE bots DROP COLUMN description").await;
    let state = migration::state_of(&native).await.unwrap();
    assert!(matches!(state, State::Drifted { .. }), "{state:?}");
    assert_eq!(state, migration::state(&db).await.unwrap());

    let ended = native.0.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())");
    ended.await.unwrap_err();
    driver.await.unwrap().unwrap_err();
    let error = migration::state_of(&native).await.unwrap_err();
    let MigrationError::Reading { source, .. } = error else {
        panic!("{error}")
    };
    assert!(source.is::<tokio_postgres::Error>(), "{source}");
}
