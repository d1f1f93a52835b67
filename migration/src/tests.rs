//! What holds for the list of migrations as a whole, without a server.

use std::collections::BTreeSet;

use crate::dialect::{Action, Dialect, ddl};
use crate::model::{Change, Column, ForeignKey, Index, OnDelete, Schema, Step, Table};
use crate::state::{self, Applied, State};
use crate::{catalog, migrations, plan};

const DIALECTS: [Dialect; 2] = [Dialect::Sqlite, Dialect::Postgres];

#[test]
fn the_list_is_sound() {
    let names = plan::names();
    let sorted: BTreeSet<&str> = names.iter().copied().collect();
    assert!(
        names.iter().copied().eq(sorted),
        "names are unique and in the order in which they are applied"
    );
    for count in 0..=names.len() {
        plan::schema_at(count).unwrap();
    }
    for migration in migrations::all() {
        let position = names.iter().position(|name| *name == migration.name()).unwrap();
        let before = plan::schema_at(position).unwrap();
        for dialect in DIALECTS {
            assert!(!plan::up(dialect, &before, migration.steps()).unwrap().is_empty());
            assert!(
                !plan::down(dialect, &before, migration.steps()).unwrap().is_empty(),
                "every migration has a way back"
            );
        }
    }
    assert_eq!(
        catalog::tables().len(),
        plan::schema_at(names.len()).unwrap().tables().len()
    );
}

#[test]
fn names_fit_both_databases_and_are_unique() {
    let mut seen = BTreeSet::new();
    for table in catalog::tables() {
        let mut names = vec![table.name().to_owned(), table.primary_key_name()];
        names.extend(table.foreign_keys().iter().map(|key| key.name().to_owned()));
        names.extend(table.indexes().iter().map(|index| index.name().to_owned()));
        for name in names.into_iter().chain(catalog::checks(table.name())) {
            assert!(name.len() <= 63, "Postgres cuts {name}");
            assert!(seen.insert(name.clone()), "{name} is there twice");
        }
        for column in table.columns() {
            assert!(column.name().len() <= 63);
        }
    }
}

#[test]
fn every_key_and_index_is_over_columns_that_exist() {
    for table in catalog::tables() {
        let indexed = table.indexes().iter().flat_map(Index::columns);
        for column in table.primary_key_columns().iter().chain(indexed) {
            assert!(table.column_named(column).is_some(), "{}.{column}", table.name());
        }
        for key in table.foreign_keys() {
            let parent = catalog::table(key.parent()).unwrap();
            let (column, target) = (
                table.column_named(key.column()),
                parent.column_named(key.parent_column()),
            );
            assert_eq!(column.unwrap().kind(), target.unwrap().kind(), "{}", key.name());
            if key.on_delete() == OnDelete::SetNull {
                assert!(column.unwrap().is_nullable(), "{}", key.name());
            }
        }
    }
}

#[test]
fn every_foreign_key_has_an_index() {
    for table in catalog::tables() {
        for key in table.foreign_keys() {
            let not_null = format!("\"{}\" IS NOT NULL", key.column());
            let serves = |index: &Index| {
                index.columns().first() == Some(&key.column())
                    && index.predicate().is_none_or(|predicate| predicate == not_null)
            };
            let primary = table.primary_key_columns().first() == Some(&key.column());
            assert!(
                primary || table.indexes().iter().any(serves),
                "{} deletes by scanning",
                key.name()
            );
        }
    }
}

#[test]
fn the_catalog_names_constraints() {
    assert_eq!(catalog::unique("bots", &["slug"]), Some("uq_bots_slug"));
    assert_eq!(catalog::unique("bots", &["id"]), Some("pk_bots"));
    assert_eq!(catalog::unique("secrets", &["key"]), Some("uq_secrets_key"));
    assert_eq!(
        catalog::unique("secrets", &["key", "bot_id"]),
        Some("uq_secrets_bot_id_key")
    );
    assert_eq!(catalog::unique("bots", &["name"]), None);
    assert_eq!(catalog::unique("nowhere", &["id"]), None);
    assert_eq!(catalog::foreign_keys("bots")[0].name(), "fk_bots_user_id");
    let children: Vec<&str> = catalog::referencing("bots").map(|(table, _)| table.name()).collect();
    assert!(children.starts_with(&["soul_versions", "secrets"]), "{children:?}");
    assert_eq!(catalog::checks("bots"), ["ck_bots_status", "ck_bots_category"]);
}

fn record(names: &[&str]) -> Vec<Applied> {
    names
        .iter()
        .map(|name| Applied {
            name: (*name).to_owned(),
            applied_at: 0,
        })
        .collect()
}

#[test]
fn a_record_is_judged() {
    let names = plan::names();
    assert_eq!(state::history(&record(&names)), State::Complete);
    assert!(matches!(state::history(&[]), State::Pending { pending } if pending.len() == names.len()));
    assert!(matches!(state::history(&record(&names[..1])), State::Pending { pending } if pending == names[1..]));
    assert!(
        matches!(state::history(&record(&names[1..])), State::Drifted { .. }),
        "the first is missing"
    );
    let newer = [names.as_slice(), &["m99991231_000001_later"]].concat();
    assert!(
        matches!(state::history(&record(&newer)), State::Ahead { unknown } if unknown == ["m99991231_000001_later"])
    );
    let gap = [&names[..1], &["m99991231_000001_later"]].concat();
    assert!(matches!(state::history(&record(&gap)), State::Drifted { .. }));
    let stray = [&["m20000101_000001_stray"], names.as_slice()].concat();
    assert!(matches!(state::history(&record(&stray)), State::Drifted { .. }));
}

fn example() -> Table {
    Table::new("t")
        .column(Column::uuid("id"))
        .column(Column::text("status").default_text("it's").one_of(&["it's", "b"]))
        .column(Column::uuid("other").nullable())
}

fn statements(dialect: Dialect, changes: Vec<Change>) -> Vec<Action> {
    plan::up(dialect, &Schema::of([example()]), &[Step::Alter("t", changes)]).unwrap()
}

#[test]
fn a_simple_column_is_added_in_place_on_both() {
    for dialect in DIALECTS {
        let actions = statements(
            dialect,
            vec![Change::AddColumn(Column::integer("n").default_integer(0))],
        );
        let [Action::Execute(sql)] = actions.as_slice() else {
            panic!("{actions:?}")
        };
        assert!(
            sql.contains("ADD COLUMN \"n\"") && sql.ends_with("NOT NULL DEFAULT 0"),
            "{sql}"
        );
    }
}

#[test]
fn what_sqlite_cannot_alter_is_a_rebuild_there_and_an_alter_on_postgres() {
    let changes = vec![
        Change::AddForeignKey(ForeignKey::new("other", "users", OnDelete::Restrict)),
        Change::SetColumn(Column::text("status").nullable().one_of(&["b", "c"])),
        Change::AddCheck {
            what: "rule",
            expression: "1 = 1",
        },
    ];
    assert!(matches!(
        statements(Dialect::Sqlite, changes.clone()).as_slice(),
        [Action::Rebuild { .. }]
    ));
    let actions = statements(Dialect::Postgres, changes);
    let [Action::Execute(sql)] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert_eq!(
        sql,
        "ALTER TABLE \"t\"\n    \
         ADD CONSTRAINT \"fk_t_other\" FOREIGN KEY (\"other\") REFERENCES \"users\" (\"id\") ON DELETE RESTRICT,\n    \
         ALTER COLUMN \"status\" DROP NOT NULL,\n    \
         ALTER COLUMN \"status\" DROP DEFAULT,\n    \
         DROP CONSTRAINT \"ck_t_status\",\n    \
         ADD CONSTRAINT \"ck_t_status\" CHECK (\"status\" IN ('b', 'c')),\n    \
         ADD CONSTRAINT \"ck_t_rule\" CHECK (1 = 1)"
    );
}

#[test]
fn every_change_has_its_way_back() {
    let schema = Schema::of([example()]);
    let steps = [
        Step::Alter(
            "t",
            vec![
                Change::AddColumn(Column::integer("n").nullable()),
                Change::SetColumn(Column::integer("n").default_integer(1)),
                Change::AddCheck {
                    what: "rule",
                    expression: "n > 0",
                },
                Change::AddForeignKey(ForeignKey::new("other", "t", OnDelete::Cascade)),
            ],
        ),
        Step::AddIndex("t", Index::unique(&["n"])),
        Step::CreateTable(Table::new("u").column(Column::uuid("id"))),
        Step::DropTable("u"),
    ];
    let mut stages = vec![schema.clone()];
    for step in &steps {
        stages.push(stages[stages.len() - 1].after(step).unwrap());
    }
    for (step, pair) in steps.iter().zip(stages.windows(2)) {
        let back = pair[0].undo(step).unwrap();
        assert_eq!(pair[1].after(&back).unwrap(), pair[0], "{step:?}");
        let again = pair[1].undo(&back).unwrap();
        assert_eq!(pair[0].after(&again).unwrap(), pair[1], "{step:?}");
    }
}

#[test]
fn a_step_that_does_not_fit_is_a_defect() {
    let schema = Schema::of([example()]);
    for step in [
        Step::CreateTable(example()),
        Step::DropTable("nowhere"),
        Step::DropIndex("t", "nothing".to_owned()),
        Step::Alter("nowhere", vec![]),
        Step::Alter("t", vec![Change::AddColumn(Column::text("status"))]),
        Step::Alter("t", vec![Change::DropColumn("id")]),
        Step::Alter("t", vec![Change::SetColumn(Column::integer("status"))]),
        Step::Alter("t", vec![Change::DropForeignKey("other")]),
        Step::Alter("t", vec![Change::DropCheck { what: "nothing" }]),
    ] {
        schema.after(&step).unwrap_err();
    }
}

#[test]
fn the_diagram_has_every_table_and_reference() {
    let erd = crate::erd();
    assert!(erd.starts_with("erDiagram\n"));
    for table in catalog::tables() {
        assert!(erd.contains(&format!("    {} {{\n", table.name())));
    }
    assert!(erd.contains("        text slug UK\n"));
    assert!(erd.contains("        uuid user_id FK \"nullable\"\n"));
    assert!(erd.contains("    bots ||--o{ soul_versions : \"bot_id (on delete cascade)\"\n"));
    assert!(erd.contains("    users |o--o{ bots : \"user_id (on delete set null)\"\n"));
}

#[test]
fn quotes_in_names_and_texts_are_doubled() {
    assert_eq!(
        (ddl::quoted("a\"b"), ddl::text("it's")),
        ("\"a\"\"b\"".to_owned(), "'it''s'".to_owned())
    );
    assert!(crate::schema(Dialect::Postgres).contains("\"slug\" text COLLATE \"C\" NOT NULL,"));
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection};

    use crate::{MigrationError, State};

    async fn memory() -> DatabaseConnection {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1).sqlx_logging(false);
        Database::connect(options).await.unwrap()
    }

    #[tokio::test]
    async fn memory_is_migrated_on_its_one_connection() {
        let db = memory().await;
        crate::up(&db).await.unwrap();
        assert!(crate::check(&db).await.unwrap().is_sound());
        let orphan = "INSERT INTO soul_versions (id, bot_id, content, hash, version, created_at) \
                      VALUES (X'00', X'00', '', '', 1, '')";
        db.execute_unprepared(orphan).await.unwrap_err();
        crate::down(&db, 1).await.unwrap();
        db.execute_unprepared(orphan).await.unwrap_err();
    }

    #[tokio::test]
    async fn the_printed_ddl_makes_the_schema() {
        let printed = memory().await;
        printed
            .execute_unprepared(&crate::schema(crate::Dialect::Sqlite))
            .await
            .unwrap();
        let migrated = memory().await;
        crate::up(&migrated).await.unwrap();
        assert_eq!(
            crate::snapshot(&printed).await.unwrap(),
            crate::snapshot(&migrated).await.unwrap()
        );
    }

    #[tokio::test]
    async fn rows_that_point_nowhere_stop_a_run() {
        let db = memory().await;
        crate::up_by(&db, 2).await.unwrap();
        db.execute_unprepared(
            "PRAGMA foreign_keys = OFF; INSERT INTO soul_versions (id, bot_id, content, hash, version, created_at) \
             VALUES (X'00', X'00', '', '', 1, ''); PRAGMA foreign_keys = ON",
        )
        .await
        .unwrap();
        let error = crate::up(&db).await.unwrap_err();
        assert!(matches!(error, MigrationError::ForeignKeyViolations(_)), "{error}");
        assert!(
            error
                .to_string()
                .contains("1 of soul_versions point to missing rows of bots"),
            "{error}"
        );
        assert!(
            matches!(crate::state(&db).await.unwrap(), State::Pending { pending } if pending.len() == crate::migrations::all().len() - 2)
        );
    }

    #[tokio::test]
    async fn the_state_is_read_on_a_read_only_connection() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let writer = Database::connect(format!("sqlite://{}?mode=rwc", path.display()))
            .await
            .unwrap();
        let reader = Database::connect(format!("sqlite://{}?mode=ro", path.display()))
            .await
            .unwrap();
        assert!(matches!(crate::state(&reader).await.unwrap(), State::Pending { .. }));
        crate::up(&writer).await.unwrap();
        assert_eq!(crate::state(&reader).await.unwrap(), State::Complete);
        assert!(crate::check(&reader).await.unwrap().is_sound());
        crate::up(&reader).await.unwrap();
        let error = crate::down(&reader, 1).await.unwrap_err();
        assert!(
            matches!(error, MigrationError::Database { .. } | MigrationError::Failed { .. }),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_file_that_is_not_a_database_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        std::fs::write(
            &path,
            "not a database, but long enough to have a header of its own".repeat(20),
        )
        .unwrap();
        if let Ok(db) = Database::connect(format!("sqlite://{}", path.display())).await {
            crate::up(&db).await.unwrap_err();
            crate::state(&db).await.unwrap_err();
        }
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("not a database"));
    }

    /// A connection that gives up on a lock at once, so that the waiting is the runner's.
    async fn impatient(path: &std::path::Path) -> DatabaseConnection {
        let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", path.display()));
        options.max_connections(1).sqlx_logging(false);
        options.map_sqlx_sqlite_opts(|options| options.busy_timeout(std::time::Duration::ZERO));
        Database::connect(options).await.unwrap()
    }

    #[tokio::test]
    async fn a_run_waits_for_a_writer_and_gives_up_in_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        let (db, other) = (impatient(&path).await, impatient(&path).await);
        other.execute_unprepared("BEGIN IMMEDIATE").await.unwrap();
        let error = crate::up(&db).await.unwrap_err();
        assert!(matches!(error, MigrationError::LockTimeout { .. }), "{error}");
        let run = tokio::spawn(async move { crate::up(&db).await });
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        assert!(!run.is_finished());
        other.execute_unprepared("COMMIT").await.unwrap();
        assert!(!run.await.unwrap().unwrap().is_empty());
    }
}
