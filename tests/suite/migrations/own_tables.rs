//! A program's own tables beside ours, by its own migrations.

use migration::model::{Change, Column, ForeignKey, Index, OnDelete, Schema, Step, Table};
use migration::sea_orm_migration::prelude::{
    Alias, DbErr, DynIden, IntoIden, MigrationName, MigrationTrait, MigratorTrait, SchemaManager, async_trait,
};
use migration::{MigrationError, State};
use sea_orm::ConnectionTrait;

use super::{assert_sound, id, insert_bot, number, open, run};
use store::testkit::TestDatabase;

store::testkit::tests! {
    on_both_empty: [
        a_program_keeps_its_own_tables_beside_ours,
        a_failed_migration_leaves_nothing_behind,
        a_changed_table_keeps_its_rows_children_and_indexes,
        every_kind_of_column_comes_back_through_an_entity,
    ],
}

macro_rules! migrator {
    ($name:ident, $table:literal, [$($migration:expr),*]) => {
        pub(super) struct $name;

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
        .column(Column::text("status").default_text("open").one_of(&["open", "done"]))
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
                    Change::SetColumn(Column::integer("priority").default_integer(3).nullable().at_least(0)),
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
        db.execute_unprepared("CREATE TABLE half (id INTEGER)").await?;
        db.execute_unprepared("CREATE TABLE half (id INTEGER)").await?;
        Ok(())
    }
}

migrator!(Notes, "notes_migrations", [NOTES]);
migrator!(ChangedNotes, "notes_migrations", [NOTES, CHANGED]);
migrator!(Broken, "notes_migrations", [NOTES, Failing]);
migrator!(Greedy, "undercroft_migrations", [NOTES]);

async fn a_program_keeps_its_own_tables_beside_ours(db: TestDatabase) {
    let config = db.config();
    let db = open(&config).await.writer;
    let error = migration::user::up::<Notes>(&db).await.unwrap_err();
    assert!(matches!(error, MigrationError::Pending { .. }), "{error}");
    migration::up(&db).await.unwrap();
    let error = migration::user::up::<Greedy>(&db).await.unwrap_err();
    assert!(matches!(error, MigrationError::SharedTable(_)), "{error}");

    assert_eq!(migration::user::up::<Notes>(&db).await.unwrap().applied, ["m1_notes"]);
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
        migration::user::down::<Notes>(&db, 9).await.unwrap().reverted,
        ["m1_notes"]
    );
    migration::reset(&db).await.unwrap();
}

async fn a_failed_migration_leaves_nothing_behind(db: TestDatabase) {
    let config = db.config();
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

async fn a_changed_table_keeps_its_rows_children_and_indexes(db: TestDatabase) {
    let config = db.config();
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
        number(&db, "SELECT count(*) FROM notes WHERE status = 'open' AND priority = 1").await,
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
        format!("{add}, status) VALUES ({}, {id}, 'lost')", id.replace("01'", "02'")),
        format!("{add}, priority) VALUES ({}, {id}, -1)", id.replace("01'", "02'")),
        format!("{add}, author) VALUES ({}, {id}, {id})", id.replace("01'", "02'")),
        format!("{add}, labels) VALUES ({}, {id}, '{{}}')", id.replace("01'", "02'")),
        "UPDATE notes SET status = 'done', pinned = (1 = 1)".to_owned(),
        format!(
            "INSERT INTO note_lines (id, note_id) VALUES ({0}, {0})",
            id.replace("01'", "02'")
        ),
    ] {
        db.execute_unprepared(&bad).await.expect_err(&bad);
    }
    run(&db, "DROP INDEX theirs; DROP INDEX idx_notes_author").await;
    db.execute_unprepared("DROP INDEX idx_notes_bot_id").await.unwrap_err();
    run(&db, "CREATE INDEX idx_notes_author ON notes (author)").await;

    run(&db, "DROP VIEW note_view").await;
    migration::user::down::<ChangedNotes>(&db, 1).await.unwrap();
    assert_eq!(
        number(&db, "SELECT count(*) FROM notes WHERE status = 'open' AND priority = 1").await,
        1
    );
    assert_eq!(number(&db, "SELECT count(*) FROM note_lines").await, 1);
    db.execute_unprepared("SELECT labels FROM notes").await.unwrap_err();
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

async fn every_kind_of_column_comes_back_through_an_entity(db: TestDatabase) {
    let config = db.config();
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
