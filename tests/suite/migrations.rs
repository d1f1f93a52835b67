//! Migrations on either database. Each function takes the configuration of an empty database.

use std::time::Duration;

use config::{Connections, DatabaseConfig};
use migration::model::{Change, Column, ForeignKey, Index, OnDelete, Schema, Step, Table};
use migration::sea_orm_migration::prelude::{
    Alias, DbErr, DynIden, IntoIden, MigrationName, MigrationTrait, MigratorTrait, SchemaManager,
    async_trait,
};
use migration::snapshot::Aspect;
use migration::{Dialect, MigrationError, State};
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

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

pub async fn an_empty_database_is_pending(config: DatabaseConfig) {
    let db = open(&config).await.writer;
    let State::Pending { pending } = migration::state(&db).await.unwrap() else {
        panic!()
    };
    assert_eq!(pending.len(), migrations());
    let checked = migration::check(&db).await.unwrap();
    assert_eq!(checked.differences, []);
    assert!(
        migration::snapshot(&db).await.unwrap().tables.is_empty(),
        "looking made something"
    );
}

pub async fn up_makes_what_the_migrations_say(config: DatabaseConfig) {
    let db = open(&config).await.writer;
    let moved = migration::up(&db).await.unwrap();
    assert_eq!(moved.applied.len(), migrations());
    assert_eq!(migration::state(&db).await.unwrap(), State::Complete);
    assert_sound(&db).await;
    assert!(migration::up(&db).await.unwrap().is_empty());
    let live = migration::snapshot(&db).await.unwrap();
    let tables: Vec<&str> = migration::catalog::tables()
        .iter()
        .map(Table::name)
        .collect();
    assert_eq!(live.tables.len(), tables.len());
    for table in migration::catalog::tables() {
        let shape = &live.tables[table.name()];
        for unique in migration::catalog::uniques(table.name()) {
            let known = shape.indexes.contains_key(unique.name)
                || shape.constraints.contains_key(unique.name);
            assert!(known, "{} is not in the database", unique.name);
        }
        for key in table.foreign_keys() {
            assert!(
                shape.constraints.contains_key(key.name()),
                "{} is not in the database",
                key.name()
            );
        }
        for check in migration::catalog::checks(table.name()) {
            assert!(
                shape.constraints.contains_key(&check),
                "{check} is not in the database"
            );
        }
    }
    if dialect(&db) == Dialect::Sqlite {
        assert_eq!(
            number(&db, "PRAGMA user_version").await,
            migrations() as i64
        );
    }
}

pub async fn eight_openers_at_once_apply_each_migration_once(config: DatabaseConfig) {
    let openers: Vec<_> = (0..8)
        .map(|_| {
            let config = config.clone();
            tokio::spawn(async move { migration::up(&open(&config).await.writer).await })
        })
        .collect();
    let mut applied = vec![];
    for opener in openers {
        applied.extend(opener.await.unwrap().unwrap().applied);
    }
    assert_eq!(applied.len(), migrations(), "{applied:?}");
    let db = open(&config).await.writer;
    assert_eq!(
        migration::status(&db).await.unwrap().applied.len(),
        migrations()
    );
    assert_sound(&db).await;
}

pub async fn up_down_up_is_up(config: DatabaseConfig) {
    let db = open(&config).await.writer;
    migration::up(&db).await.unwrap();
    let first = migration::snapshot(&db).await.unwrap();
    for count in 1..=migrations() {
        let moved = migration::down(&db, count).await.unwrap();
        assert_eq!(moved.reverted.len(), count);
        assert_eq!(
            migration::check(&db).await.unwrap().differences,
            [],
            "down {count}"
        );
        migration::up(&db).await.unwrap();
        assert_eq!(
            migration::snapshot(&db).await.unwrap(),
            first,
            "down {count}, up"
        );
    }
    let moved = migration::refresh(&db).await.unwrap();
    assert_eq!(
        (moved.reverted.len(), moved.applied.len()),
        (migrations(), migrations())
    );
    assert_eq!(migration::snapshot(&db).await.unwrap(), first);
}

pub async fn an_upgrade_from_any_migration_is_a_fresh_schema(config: DatabaseConfig) {
    let db = open(&config).await.writer;
    migration::up(&db).await.unwrap();
    let fresh = migration::snapshot(&db).await.unwrap();
    for count in 0..=migrations() {
        migration::reset(&db).await.unwrap();
        assert!(migration::snapshot(&db).await.unwrap().tables.is_empty());
        migration::up_by(&db, count).await.unwrap();
        assert_eq!(
            migration::check(&db).await.unwrap().differences,
            [],
            "at {count}"
        );
        migration::up(&db).await.unwrap();
        assert_eq!(
            migration::snapshot(&db).await.unwrap(),
            fresh,
            "from {count}"
        );
    }
}

pub async fn foreign_keys_are_enforced_after_every_run(config: DatabaseConfig) {
    let db = open(&config).await.writer;
    migration::up(&db).await.unwrap();
    insert_soul(&db).await.unwrap_err();
    migration::down(&db, 1).await.unwrap();
    insert_soul(&db).await.unwrap_err();
    migration::user::up::<Broken>(&db).await.unwrap_err();
    insert_soul(&db).await.unwrap_err();
    migration::up(&db).await.unwrap();
    insert_bot(&db).await;
    insert_soul(&db).await.unwrap();
    run(&db, "DELETE FROM bots").await;
    assert_eq!(number(&db, "SELECT count(*) FROM soul_versions").await, 0);
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
    (
        "DROP TABLE api_keys",
        "DROP TABLE api_keys",
        Aspect::Table,
        "",
    ),
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
        Dialect::Sqlite => match sqlite
            .strip_prefix("edit ")
            .and_then(|edit| edit.split_once(": "))
        {
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

pub async fn check_finds_every_kind_of_drift(config: DatabaseConfig) {
    let db = open(&config).await.writer;
    for (sqlite, postgres, aspect, name) in DRIFTS {
        migration::fresh(&db).await.unwrap();
        assert_sound(&db).await;
        drift(&db, sqlite, postgres).await;
        let checked = migration::check(&db).await.unwrap();
        let found = checked.differences.iter().any(|difference| {
            difference.aspect == *aspect && difference.name.as_deref().unwrap_or_default() == *name
        });
        assert!(found, "{sqlite} / {postgres}: {checked:?}");
        assert!(!checked.is_sound());
        for difference in &checked.differences {
            assert!(
                difference.to_string().contains(&difference.table),
                "{difference}"
            );
        }
    }
}

pub async fn tables_of_others_are_left_alone(config: DatabaseConfig) {
    let db = open(&config).await.writer;
    run(&db, "CREATE TABLE theirs (id INTEGER PRIMARY KEY)").await;
    migration::up(&db).await.unwrap();
    assert_sound(&db).await;
    migration::fresh(&db).await.unwrap();
    migration::refresh(&db).await.unwrap();
    migration::reset(&db).await.unwrap();
    assert_eq!(number(&db, "SELECT count(*) FROM theirs").await, 0);
}

pub async fn a_newer_database_is_refused(config: DatabaseConfig) {
    let db = open(&config).await.writer;
    migration::up(&db).await.unwrap();
    insert_bot(&db).await;
    run(&db, "INSERT INTO undercroft_migrations (version, applied_at) VALUES ('m99991231_000001_later', 0)").await;
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
        assert!(
            error.to_string().contains("m99991231_000001_later"),
            "{error}"
        );
    }
    assert_eq!(number(&db, "SELECT count(*) FROM bots").await, 1);
    migration::fresh(&db).await.unwrap();
    assert_sound(&db).await;
}

pub async fn a_drifted_database_is_refused(config: DatabaseConfig) {
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
        assert!(
            matches!(error, MigrationError::Drifted { .. }),
            "{sql}: {error}"
        );
        let error = migration::reset(&db).await.unwrap_err();
        assert!(
            matches!(error, MigrationError::Drifted { .. }),
            "{sql}: {error}"
        );
    }
    migration::fresh(&db).await.unwrap();
    assert_sound(&db).await;
}

pub async fn a_table_that_was_there_before_is_not_taken_for_ours(config: DatabaseConfig) {
    let db = open(&config).await.writer;
    run(
        &db,
        "CREATE TABLE users (id INTEGER PRIMARY KEY, nickname TEXT)",
    )
    .await;
    run(&db, "INSERT INTO users (id, nickname) VALUES (1, 'x')").await;
    let error = migration::up(&db).await.unwrap_err();
    assert!(matches!(error, MigrationError::Drifted { .. }), "{error}");
    assert!(error.to_string().contains("users"), "{error}");
    assert_eq!(number(&db, "SELECT count(*) FROM users").await, 1);
}

pub async fn the_toll_is_what_a_run_would_take(config: DatabaseConfig) {
    let db = open(&config).await.writer;
    assert_eq!(migration::toll_of_everything(&db).await.unwrap(), []);
    migration::up(&db).await.unwrap();
    insert_bot(&db).await;
    let toll = migration::toll_of_everything(&db).await.unwrap();
    assert_eq!(toll.len(), migration::catalog::tables().len());
    assert_eq!(toll.iter().map(|table| table.rows).sum::<u64>(), 1);
    let toll = migration::toll_of_down(&db, 1).await.unwrap();
    assert_eq!(
        toll.iter()
            .map(|table| table.table.as_str())
            .collect::<Vec<_>>(),
        ["api_keys"]
    );
}

pub async fn a_run_ends_though_its_caller_is_gone(config: DatabaseConfig) {
    let db = open(&config).await.writer;
    for wait in 0..12 {
        let _ = tokio::time::timeout(Duration::from_micros(wait * 400), migration::up(&db)).await;
        migration::up(&db).await.unwrap();
        assert_sound(&db).await;
        insert_soul(&db).await.unwrap_err();
        migration::reset(&db).await.unwrap();
    }
}

// A program's own tables.

macro_rules! migrator {
    ($name:ident, $table:literal, [$($migration:expr),*]) => {
        struct $name;

        impl MigratorTrait for $name {
            fn migrations() -> Vec<Box<dyn MigrationTrait>> {
                vec![$(Box::new($migration)),*]
            }

            fn migration_table_name() -> DynIden {
                Alias::new($table).into_iden()
            }
        }
    };
}

/// A migration of the model's steps.
struct Steps {
    name: &'static str,
    before: fn() -> Schema,
    steps: fn() -> Vec<Step>,
}

impl MigrationName for Steps {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Steps {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        migration::user::run_steps(manager, &(self.before)(), &(self.steps)()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        migration::user::undo_steps(manager, &(self.before)(), &(self.steps)()).await
    }
}

fn notes() -> Table {
    Table::new("notes")
        .column(Column::uuid("id"))
        .column(Column::uuid("bot_id"))
        .column(
            Column::text("status")
                .default_text("open")
                .one_of(&["open", "done"]),
        )
        .column(Column::integer("priority").nullable())
        .column(Column::uuid("author").nullable())
        .foreign_key(ForeignKey::new("bot_id", "bots", OnDelete::Cascade))
        .index(Index::on(&["bot_id"]))
}

fn note_lines() -> Table {
    Table::new("note_lines")
        .column(Column::uuid("id"))
        .column(Column::uuid("note_id"))
        .foreign_key(ForeignKey::new("note_id", "notes", OnDelete::Cascade))
        .index(Index::on(&["note_id"]))
}

const NOTES: Steps = Steps {
    name: "m1_notes",
    before: Schema::default,
    steps: || vec![Step::CreateTable(notes()), Step::CreateTable(note_lines())],
};

/// Every change that SQLite can only do by rebuilding the table.
const CHANGED: Steps = Steps {
    name: "m2_changed",
    before: || Schema::of([notes(), note_lines()]),
    steps: || {
        vec![
            Step::Alter(
                "notes",
                vec![
                    Change::AddColumn(Column::json("labels").default_json("[]").json_array()),
                    Change::AddColumn(Column::boolean("pinned").default_boolean(false)),
                ],
            ),
            Step::Alter(
                "notes",
                vec![
                    Change::SetColumn(
                        Column::text("status")
                            .default_text("new")
                            .one_of(&["new", "open", "done"]),
                    ),
                    Change::SetColumn(
                        Column::integer("priority")
                            .default_integer(3)
                            .nullable()
                            .at_least(0),
                    ),
                    Change::AddForeignKey(ForeignKey::new("author", "users", OnDelete::SetNull)),
                    Change::AddCheck {
                        what: "pinned_open",
                        expression: "NOT (pinned AND status = 'done')",
                    },
                ],
            ),
            Step::AddIndex("notes", Index::on(&["author"])),
            Step::DropIndex("notes", "idx_notes_bot_id".to_owned()),
        ]
    },
};

struct Failing;

impl MigrationName for Failing {
    fn name(&self) -> &str {
        "m2_failing"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Failing {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        db.execute_unprepared("CREATE TABLE half (id INTEGER)")
            .await?;
        db.execute_unprepared("CREATE TABLE half (id INTEGER)")
            .await?;
        Ok(())
    }
}

migrator!(Notes, "notes_migrations", [NOTES]);
migrator!(ChangedNotes, "notes_migrations", [NOTES, CHANGED]);
migrator!(Broken, "notes_migrations", [NOTES, Failing]);
migrator!(Greedy, "undercroft_migrations", [NOTES]);

pub async fn a_program_keeps_its_own_tables_beside_ours(config: DatabaseConfig) {
    let db = open(&config).await.writer;
    let error = migration::user::up::<Notes>(&db).await.unwrap_err();
    assert!(matches!(error, MigrationError::Pending { .. }), "{error}");
    migration::up(&db).await.unwrap();
    let error = migration::user::up::<Greedy>(&db).await.unwrap_err();
    assert!(matches!(error, MigrationError::SharedTable(_)), "{error}");

    assert_eq!(
        migration::user::up::<Notes>(&db).await.unwrap().applied,
        ["m1_notes"]
    );
    assert!(migration::user::up::<Notes>(&db).await.unwrap().is_empty());
    assert_eq!(
        migration::user::status::<Notes>(&db).await.unwrap().state,
        State::Complete
    );
    assert_sound(&db).await;

    for result in [
        migration::fresh(&db).await,
        migration::reset(&db).await,
        migration::refresh(&db).await,
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, MigrationError::Referenced(_)), "{error}");
        assert!(error.to_string().contains("notes -> bots"), "{error}");
    }
    assert_eq!(
        migration::user::down::<Notes>(&db, 9)
            .await
            .unwrap()
            .reverted,
        ["m1_notes"]
    );
    migration::reset(&db).await.unwrap();
}

pub async fn a_failed_migration_leaves_nothing_behind(config: DatabaseConfig) {
    let db = open(&config).await.writer;
    migration::up(&db).await.unwrap();
    let error = migration::user::up::<Broken>(&db).await.unwrap_err();
    let MigrationError::Failed { migration, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(migration, "m2_failing");
    for table in ["half", "notes", "notes_migrations"] {
        db.execute_unprepared(&format!("SELECT * FROM {table}"))
            .await
            .unwrap_err();
    }
    assert_sound(&db).await;
}

pub async fn a_changed_table_keeps_its_rows_children_and_indexes(config: DatabaseConfig) {
    let db = open(&config).await.writer;
    migration::up(&db).await.unwrap();
    insert_bot(&db).await;
    migration::user::up::<Notes>(&db).await.unwrap();
    let id = id(&db);
    run(
        &db,
        &format!("INSERT INTO notes (id, bot_id, priority) VALUES ({id}, {id}, 1)"),
    )
    .await;
    run(
        &db,
        &format!("INSERT INTO note_lines (id, note_id) VALUES ({id}, {id})"),
    )
    .await;
    run(&db, "CREATE VIEW note_view AS SELECT id, status FROM notes").await;
    run(&db, "CREATE INDEX theirs ON notes (priority)").await;

    migration::user::up::<ChangedNotes>(&db).await.unwrap();
    assert_eq!(
        number(
            &db,
            "SELECT count(*) FROM notes WHERE status = 'open' AND priority = 1"
        )
        .await,
        1
    );
    assert_eq!(
        number(&db, "SELECT count(*) FROM note_lines").await,
        1,
        "the children are gone"
    );
    assert_eq!(number(&db, "SELECT count(*) FROM note_view").await, 1);
    let add = "INSERT INTO notes (id, bot_id";
    for bad in [
        format!(
            "{add}, status) VALUES ({}, {id}, 'lost')",
            id.replace("01'", "02'")
        ),
        format!(
            "{add}, priority) VALUES ({}, {id}, -1)",
            id.replace("01'", "02'")
        ),
        format!(
            "{add}, author) VALUES ({}, {id}, {id})",
            id.replace("01'", "02'")
        ),
        format!(
            "{add}, labels) VALUES ({}, {id}, '{{}}')",
            id.replace("01'", "02'")
        ),
        "UPDATE notes SET status = 'done', pinned = (1 = 1)".to_owned(),
        format!(
            "INSERT INTO note_lines (id, note_id) VALUES ({0}, {0})",
            id.replace("01'", "02'")
        ),
    ] {
        db.execute_unprepared(&bad).await.expect_err(&bad);
    }
    run(&db, "DROP INDEX theirs; DROP INDEX idx_notes_author").await;
    db.execute_unprepared("DROP INDEX idx_notes_bot_id")
        .await
        .unwrap_err();
    run(&db, "CREATE INDEX idx_notes_author ON notes (author)").await;

    run(&db, "DROP VIEW note_view").await;
    migration::user::down::<ChangedNotes>(&db, 1).await.unwrap();
    assert_eq!(
        number(
            &db,
            "SELECT count(*) FROM notes WHERE status = 'open' AND priority = 1"
        )
        .await,
        1
    );
    assert_eq!(number(&db, "SELECT count(*) FROM note_lines").await, 1);
    db.execute_unprepared("SELECT labels FROM notes")
        .await
        .unwrap_err();
    run(&db, "DROP INDEX idx_notes_bot_id").await;
    run(&db, "DELETE FROM bots").await;
    assert_eq!(
        number(&db, "SELECT count(*) FROM note_lines").await,
        0,
        "the foreign keys are gone"
    );
}

// Every kind of column, through an entity.

mod kinds {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
    #[sea_orm(table_name = "kinds")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) id: Uuid,
        pub(super) text: String,
        pub(super) at: DateTimeUtc,
        pub(super) json: Json,
        pub(super) bytes: Vec<u8>,
        pub(super) integer: i64,
        pub(super) boolean: bool,
        pub(super) maybe_id: Option<Uuid>,
        pub(super) maybe_text: Option<String>,
        pub(super) maybe_at: Option<DateTimeUtc>,
        pub(super) maybe_json: Option<Json>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

const KINDS: Steps = Steps {
    name: "m1_kinds",
    before: Schema::default,
    steps: || {
        let table = Table::new("kinds")
            .column(Column::uuid("id"))
            .column(Column::text("text"))
            .column(Column::timestamp("at"))
            .column(Column::json("json"))
            .column(Column::bytes("bytes"))
            .column(Column::integer("integer"))
            .column(Column::boolean("boolean"))
            .column(Column::uuid("maybe_id").nullable())
            .column(Column::text("maybe_text").nullable())
            .column(Column::timestamp("maybe_at").nullable())
            .column(Column::json("maybe_json").nullable());
        vec![Step::CreateTable(table)]
    },
};

migrator!(Kinds, "kinds_migrations", [KINDS]);

pub async fn every_kind_of_column_comes_back_through_an_entity(config: DatabaseConfig) {
    use sea_orm::prelude::{DateTimeUtc, Uuid};
    use sea_orm::{ActiveModelTrait, EntityTrait, IntoActiveModel};

    let db = open(&config).await.writer;
    migration::up(&db).await.unwrap();
    migration::user::up::<Kinds>(&db).await.unwrap();
    let full = kinds::Model {
        id: Uuid::from_u128(1),
        text: "päß".to_owned(),
        at: DateTimeUtc::from_timestamp_micros(1_795_225_634_123_456).unwrap(),
        json: serde_json::json!({ "a": [1, null, "x"] }),
        bytes: vec![0, 255, 1],
        integer: i64::MIN,
        boolean: true,
        maybe_id: Some(Uuid::from_u128(u128::MAX)),
        maybe_text: Some(String::new()),
        maybe_at: Some(DateTimeUtc::from_timestamp_micros(0).unwrap()),
        maybe_json: Some(serde_json::Value::Null),
    };
    let empty = kinds::Model {
        id: Uuid::from_u128(2),
        boolean: false,
        integer: i64::MAX,
        maybe_id: None,
        maybe_text: None,
        maybe_at: None,
        maybe_json: None,
        ..full.clone()
    };
    for model in [full, empty] {
        let inserted = model.clone().into_active_model().insert(&db).await.unwrap();
        assert_eq!(inserted, model);
        let read = kinds::Entity::find_by_id(model.id).one(&db).await.unwrap();
        assert_eq!(read, Some(model));
    }
}
