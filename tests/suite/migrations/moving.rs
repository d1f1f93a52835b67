//! Up, down and back, by one and by many.

use std::time::Duration;

use migration::model::Table;
use migration::{Dialect, State};

use super::own_tables::Broken;
use super::{assert_sound, dialect, insert_bot, insert_soul, migrations, number, open, run};
use store::testkit::TestDatabase;

store::testkit::tests! {
    on_both_empty: [
        an_empty_database_is_pending,
        up_makes_what_the_migrations_say,
        eight_openers_at_once_apply_each_migration_once,
        up_down_up_is_up,
        an_upgrade_from_any_migration_is_a_fresh_schema,
        foreign_keys_are_enforced_after_every_run,
        tables_of_others_are_left_alone,
        the_toll_is_what_a_run_would_take,
        a_run_ends_though_its_caller_is_gone,
    ],
}

async fn an_empty_database_is_pending(db: TestDatabase) {
    let config = db.config();
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

async fn up_makes_what_the_migrations_say(db: TestDatabase) {
    let config = db.config();
    let db = open(&config).await.writer;
    let moved = migration::up(&db).await.unwrap();
    assert_eq!(moved.applied.len(), migrations());
    assert_eq!(migration::state(&db).await.unwrap(), State::Complete);
    assert_sound(&db).await;
    assert!(migration::up(&db).await.unwrap().is_empty());
    let live = migration::snapshot(&db).await.unwrap();
    let tables: Vec<&str> = migration::catalog::tables().iter().map(Table::name).collect();
    assert_eq!(live.tables.len(), tables.len());
    for table in migration::catalog::tables() {
        let shape = &live.tables[table.name()];
        for unique in migration::catalog::uniques(table.name()) {
            let known = shape.indexes.contains_key(unique.name) || shape.constraints.contains_key(unique.name);
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
            assert!(shape.constraints.contains_key(&check), "{check} is not in the database");
        }
    }
    if dialect(&db) == Dialect::Sqlite {
        assert_eq!(number(&db, "PRAGMA user_version").await, migrations() as i64);
    }
}

async fn eight_openers_at_once_apply_each_migration_once(db: TestDatabase) {
    let config = db.config();
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
    assert_eq!(migration::status(&db).await.unwrap().applied.len(), migrations());
    assert_sound(&db).await;
}

async fn up_down_up_is_up(db: TestDatabase) {
    let config = db.config();
    let db = open(&config).await.writer;
    migration::up(&db).await.unwrap();
    let first = migration::snapshot(&db).await.unwrap();
    for count in 1..=migrations() {
        let moved = migration::down(&db, count).await.unwrap();
        assert_eq!(moved.reverted.len(), count);
        assert_eq!(migration::check(&db).await.unwrap().differences, [], "down {count}");
        migration::up(&db).await.unwrap();
        assert_eq!(migration::snapshot(&db).await.unwrap(), first, "down {count}, up");
    }
    let moved = migration::refresh(&db).await.unwrap();
    assert_eq!(
        (moved.reverted.len(), moved.applied.len()),
        (migrations(), migrations())
    );
    assert_eq!(migration::snapshot(&db).await.unwrap(), first);
}

async fn an_upgrade_from_any_migration_is_a_fresh_schema(db: TestDatabase) {
    let config = db.config();
    let db = open(&config).await.writer;
    migration::up(&db).await.unwrap();
    let fresh = migration::snapshot(&db).await.unwrap();
    for count in 0..=migrations() {
        migration::reset(&db).await.unwrap();
        assert!(migration::snapshot(&db).await.unwrap().tables.is_empty());
        migration::up_by(&db, count).await.unwrap();
        assert_eq!(migration::check(&db).await.unwrap().differences, [], "at {count}");
        migration::up(&db).await.unwrap();
        assert_eq!(migration::snapshot(&db).await.unwrap(), fresh, "from {count}");
    }
}

async fn foreign_keys_are_enforced_after_every_run(db: TestDatabase) {
    let config = db.config();
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

async fn tables_of_others_are_left_alone(db: TestDatabase) {
    let config = db.config();
    let db = open(&config).await.writer;
    run(&db, "CREATE TABLE theirs (id INTEGER PRIMARY KEY)").await;
    migration::up(&db).await.unwrap();
    assert_sound(&db).await;
    migration::fresh(&db).await.unwrap();
    migration::refresh(&db).await.unwrap();
    migration::reset(&db).await.unwrap();
    assert_eq!(number(&db, "SELECT count(*) FROM theirs").await, 0);
}

async fn the_toll_is_what_a_run_would_take(db: TestDatabase) {
    let config = db.config();
    let db = open(&config).await.writer;
    assert_eq!(migration::toll_of_everything(&db).await.unwrap(), []);
    migration::up(&db).await.unwrap();
    insert_bot(&db).await;
    let toll = migration::toll_of_everything(&db).await.unwrap();
    assert_eq!(toll.len(), migration::catalog::tables().len());
    assert_eq!(toll.iter().map(|table| table.rows).sum::<u64>(), 1);
    let toll = migration::toll_of_down(&db, migrations() - 3).await.unwrap();
    let tables = toll.iter().map(|table| table.table.as_str()).collect::<Vec<_>>();
    assert!(tables.contains(&"api_keys"), "{tables:?}");
    assert!(!tables.contains(&"secrets"), "{tables:?}");
}

async fn a_run_ends_though_its_caller_is_gone(db: TestDatabase) {
    let config = db.config();
    let db = open(&config).await.writer;
    for wait in 0..12 {
        let _ = tokio::time::timeout(Duration::from_micros(wait * 400), migration::up(&db)).await;
        migration::up(&db).await.unwrap();
        assert_sound(&db).await;
        insert_soul(&db).await.unwrap_err();
        migration::reset(&db).await.unwrap();
    }
}
