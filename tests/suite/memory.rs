//! Memory beyond the contract's cases: reopening, two programs at once, the clock, transactions, hand-edited databases.

use std::sync::Mutex;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use serde_json::{Value, json};
use store::Clock;
use store::prelude::*;
use store::testkit::TestDatabase;

use crate::support::{a_bot, key, open, refused};

store::testkit::tests![
    memory_survives_reopen,
    two_stores_count_in_one_value,
    two_stores_make_versions_of_one_file,
    a_lock_by_compare_and_set_is_free_again_when_it_expires,
    a_value_expires_at_its_very_instant,
    the_purge_keeps_what_has_not_expired_yet,
    many_expired_values_go_in_batches,
    five_thousand_entries_are_logged_all_or_none,
    memory_joins_a_transaction,
    a_hand_edited_word_is_corrupt,
    a_hand_edited_key_is_corrupt,
    a_sum_of_versions_beyond_64_bits_is_refused,
    the_tables_refuse_what_the_contract_refuses,
];

async fn owl(store: &Store) -> BotId {
    store.bots().create(a_bot("owl")).await.unwrap().id
}

fn provider(text: &str) -> ProviderName {
    ProviderName::new(text).unwrap()
}

fn filename(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

fn an_entry(bot: BotId, memory: &str) -> NewAuditEntry {
    NewAuditEntry {
        bot_id: bot,
        memory_id: MemoryId::new(memory).unwrap(),
        action: AuditAction::Share,
        actor: "test".into(),
        details: Some(json!({"with": "bat"})),
    }
}

async fn memory_survives_reopen(db: TestDatabase) {
    let store = open(&db).await;
    let bot = owl(&store).await;
    let ttl = Some(Duration::from_secs(3600));
    store
        .kv()
        .set(bot, &key("k"), json!({"n": [1, null]}), ttl)
        .await
        .unwrap();
    let value = store.kv().get_entry(bot, &key("k")).await.unwrap();
    let logged = store.audit().log(an_entry(bot, "m")).await.unwrap();
    let report = NewProviderHealth {
        circuit_state: CircuitState::HalfOpen,
        last_error: Some("503".into()),
        last_success: Some("2026-01-01T00:00:00.000001Z".parse().unwrap()),
        total_calls: 10,
        total_failures: 3,
        ..NewProviderHealth::new(provider("p"))
    };
    let health = store.provider_health().save(report).await.unwrap();
    let file = store
        .files()
        .save_file(bot, NewFile::new(filename("a"), 1))
        .await
        .unwrap();
    let file = store.files().bump(file.id, 2).await.unwrap();
    store.close().await.unwrap();

    let store = open(&db).await;
    assert_eq!(store.kv().get_entry(bot, &key("k")).await.unwrap(), value);
    assert_eq!(
        store.audit().for_bot(bot, PageRequest::default()).await.unwrap().items,
        [logged]
    );
    assert_eq!(
        store.provider_health().load(&provider("p")).await.unwrap(),
        Some(health.clone())
    );
    let all = store.provider_health().load_all(PageRequest::default()).await.unwrap();
    assert_eq!(all.items, [health]);
    assert_eq!(store.files().get_by_id(file.id).await.unwrap(), Some(file.clone()));
    let versions = store.files().versions(file.id, PageRequest::default()).await.unwrap();
    assert_eq!(versions.items.len(), 2);
}

async fn two_stores_count_in_one_value(db: TestDatabase) {
    let stores = [open(&db).await, open(&db).await];
    let bot = owl(&stores[0]).await;
    let tasks = (0..16).map(|task| {
        let store = stores[task % 2].clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                store.kv().increment(bot, &key("n"), 1).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(stores[1].kv().get(bot, &key("n")).await.unwrap(), Some(json!(80)));
}

async fn two_stores_make_versions_of_one_file(db: TestDatabase) {
    let stores = [open(&db).await, open(&db).await];
    let bot = owl(&stores[0]).await;
    let file = stores[0]
        .files()
        .save_file(bot, NewFile::new(filename("a"), 0))
        .await
        .unwrap()
        .id;
    let tasks = (0..8).map(|task| {
        let store = stores[task % 2].clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                store.files().bump(file, 1).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let versions = stores[1]
        .files()
        .versions(file, PageRequest::first(100))
        .await
        .unwrap()
        .items;
    let numbers = versions.iter().rev().map(|version| version.version).collect::<Vec<_>>();
    assert_eq!(numbers, (1..=41).collect::<Vec<_>>());
    assert_eq!(stores[0].files().get_by_id(file).await.unwrap().unwrap().version, 41);
}

/// A clock that stands where it is put.
struct Held(Mutex<DateTime<Utc>>);

impl Clock for &'static Held {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

impl Held {
    fn at(text: &str) -> &'static Self {
        Box::leak(Box::new(Self(Mutex::new(text.parse().unwrap()))))
    }

    fn passes(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

async fn at_noon(db: &TestDatabase) -> (Store, &'static Held) {
    let clock = Held::at("2026-01-01T12:00:00Z");
    (Store::builder(db.config()).clock(clock).open().await.unwrap(), clock)
}

async fn a_lock_by_compare_and_set_is_free_again_when_it_expires(db: TestDatabase) {
    let (store, clock) = at_noon(&db).await;
    let bot = owl(&store).await;
    let take = async |who: &str| {
        let ttl = Some(Duration::from_secs(30));
        store
            .kv()
            .compare_and_set(bot, &key("lock"), None, json!(who), ttl)
            .await
    };
    take("first").await.unwrap();
    refused(take("second").await, ErrorKind::Conflict, None);
    clock.passes(Duration::from_secs(29));
    refused(take("second").await, ErrorKind::Conflict, None);
    clock.passes(Duration::from_secs(1));
    take("second").await.unwrap();
    assert_eq!(store.kv().get(bot, &key("lock")).await.unwrap(), Some(json!("second")));
}

async fn a_value_expires_at_its_very_instant(db: TestDatabase) {
    let (store, clock) = at_noon(&db).await;
    let bot = owl(&store).await;
    let created = clock.now();
    let second = Some(Duration::from_secs(1));
    store.kv().set(bot, &key("k"), json!(1), second).await.unwrap();
    clock.passes(Duration::from_micros(999_999));
    assert_eq!(store.kv().get(bot, &key("k")).await.unwrap(), Some(json!(1)));
    store.kv().set(bot, &key("k"), json!(2), second).await.unwrap();
    let entry = store.kv().get_entry(bot, &key("k")).await.unwrap().unwrap();
    assert_eq!(entry.created_at, created, "it was still there when it was set again");
    clock.passes(Duration::from_secs(1));
    assert_eq!(store.kv().get_entry(bot, &key("k")).await.unwrap(), None);
    assert_eq!(
        store
            .kv()
            .list_keys(bot, "", PageRequest::default())
            .await
            .unwrap()
            .items,
        []
    );
    assert!(!store.kv().delete(bot, &key("k")).await.unwrap());
    store.kv().set(bot, &key("k"), json!(3), None).await.unwrap();
    let entry = store.kv().get_entry(bot, &key("k")).await.unwrap().unwrap();
    assert_eq!((entry.created_at, entry.updated_at), (clock.now(), clock.now()));
}

async fn the_purge_keeps_what_has_not_expired_yet(db: TestDatabase) {
    let (store, clock) = at_noon(&db).await;
    let bot = owl(&store).await;
    for (name, seconds) in [("one", 1), ("two", 2), ("three", 3)] {
        let ttl = Some(Duration::from_secs(seconds));
        store.kv().set(bot, &key(name), json!(1), ttl).await.unwrap();
    }
    clock.passes(Duration::from_secs(2));
    let one = Prune::older_than(clock.now());
    assert_eq!(
        store.kv().purge_expired(one).await.unwrap(),
        1,
        "`two` expires now, not before now"
    );
    let later = Prune::older_than("2999-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(store.kv().purge_expired(later.dry_run()).await.unwrap(), 1);
    assert_eq!(store.kv().purge_expired(later).await.unwrap(), 1);
    let left = store.kv().list_keys(bot, "", PageRequest::default()).await.unwrap();
    assert_eq!(left.items, [key("three")]);
}

async fn many_expired_values_go_in_batches(db: TestDatabase) {
    let (store, clock) = at_noon(&db).await;
    let bots = [owl(&store).await, store.bots().create(a_bot("bat")).await.unwrap().id];
    store
        .transaction(|tx| async move {
            for n in 0..150 {
                let name = key(&format!("k{}", n / 2));
                let ttl = (n % 10 != 0).then_some(Duration::from_secs(1));
                tx.kv().set(bots[n % 2], &name, json!(n), ttl).await?;
            }
            Ok(())
        })
        .await
        .unwrap();
    clock.passes(Duration::from_secs(2));
    let in_batches = Prune {
        batch: 40,
        ..Prune::older_than(clock.now())
    };
    assert_eq!(store.kv().purge_expired(in_batches.dry_run()).await.unwrap(), 135);
    assert_eq!(store.kv().purge_expired(in_batches).await.unwrap(), 135);
    let connections = db.config().connect().await.unwrap();
    assert_eq!(rows(&connections.writer, "bot_kv_store").await, 15);
}

async fn five_thousand_entries_are_logged_all_or_none(db: TestDatabase) {
    let store = open(&db).await;
    let bot = owl(&store).await;
    let entries = || (0..5_000).map(|n| an_entry(bot, &format!("m{n}"))).collect::<Vec<_>>();
    let undone = store
        .transaction(|tx| async move {
            tx.audit().log_many(entries()).await?;
            Err::<(), _>(Error::application("no"))
        })
        .await;
    refused(undone, ErrorKind::Application, None);
    let connections = db.config().connect().await.unwrap();
    assert_eq!(rows(&connections.writer, "memory_audit_log").await, 0);
    // The last of several statements fails: what the ones before it wrote goes with it.
    let clash = "CREATE UNIQUE INDEX clash ON memory_audit_log (memory_id)";
    connections.writer.execute_unprepared(clash).await.unwrap();
    let mut twice = entries();
    twice[4_999].memory_id = twice[0].memory_id.clone();
    let error = store.audit().log_many(twice).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}");
    assert_eq!(rows(&connections.writer, "memory_audit_log").await, 0);
    store.audit().log_many(entries()).await.unwrap();
    assert_eq!(rows(&connections.writer, "memory_audit_log").await, 5_000);
}

async fn memory_joins_a_transaction(db: TestDatabase) {
    let store = open(&db).await;
    let bot = owl(&store).await;
    let undone = store
        .transaction(|tx| async move {
            tx.kv().increment(bot, &key("n"), 1).await?;
            tx.kv()
                .compare_and_set(bot, &key("n"), Some(&json!(1)), json!(2), None)
                .await?;
            assert_eq!(tx.kv().get(bot, &key("n")).await?, Some(json!(2)));
            let file = tx.files().save_file(bot, NewFile::new(filename("a"), 1)).await?;
            tx.files().bump(file.id, 2).await?;
            tx.audit().log(an_entry(bot, "m")).await?;
            tx.provider_health().save(NewProviderHealth::new(provider("p"))).await?;
            Err::<(), _>(Error::application("no"))
        })
        .await;
    refused(undone, ErrorKind::Application, None);
    let connections = db.config().connect().await.unwrap();
    for table in TABLES {
        assert_eq!(rows(&connections.writer, table).await, 0, "{table}");
    }
    // What may fail is put into a scope; the transaction goes on.
    let won = store
        .transaction(|tx| async move {
            tx.kv().set(bot, &key("n"), json!("taken"), None).await?;
            let lost = tx
                .scope(|tx| async move { tx.kv().compare_and_set(bot, &key("n"), None, Value::Null, None).await })
                .await;
            refused(lost, ErrorKind::Conflict, None);
            tx.kv().set(bot, &key("m"), json!(1), None).await
        })
        .await;
    won.unwrap();
    assert_eq!(store.kv().get(bot, &key("n")).await.unwrap(), Some(json!("taken")));
    assert_eq!(store.kv().get(bot, &key("m")).await.unwrap(), Some(json!(1)));
}

const TABLES: [&str; 5] = [
    "bot_kv_store",
    "memory_audit_log",
    "provider_health",
    "bot_files",
    "bot_file_versions",
];

async fn rows(db: &DatabaseConnection, table: &str) -> i64 {
    let count = sea_orm::Statement::from_string(db.get_database_backend(), format!("SELECT count(*) FROM {table}"));
    let row = db.query_one_raw(count).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}

/// Takes the rules away that would refuse it, and runs SQL by hand: on SQLite, and on Postgres.
async fn by_hand(db: &TestDatabase, check: Option<(&str, &str)>, sql: &str) {
    let connections = db.config().connect().await.unwrap();
    let on = &connections.writer;
    match (db.backend(), check) {
        (store::testkit::Backend::Sqlite, _) => {
            on.execute_unprepared("PRAGMA ignore_check_constraints = ON")
                .await
                .unwrap();
        }
        (store::testkit::Backend::Postgres, Some((table, check))) => {
            let drop = format!("ALTER TABLE {table} DROP CONSTRAINT {check}");
            on.execute_unprepared(&drop).await.unwrap();
        }
        (store::testkit::Backend::Postgres, None) => {}
    }
    let done = on.execute_unprepared(sql).await.unwrap();
    assert_eq!(done.rows_affected(), 1, "{sql}");
    connections.writer.close().await.unwrap();
}

async fn a_hand_edited_word_is_corrupt(db: TestDatabase) {
    let store = open(&db).await;
    let bot = owl(&store).await;
    let logged = store.audit().log(an_entry(bot, "m")).await.unwrap();
    store
        .provider_health()
        .save(NewProviderHealth::new(provider("p")))
        .await
        .unwrap();
    let check = Some(("memory_audit_log", "ck_memory_audit_log_action"));
    by_hand(&db, check, "UPDATE memory_audit_log SET action = 'forget'").await;
    let check = Some(("provider_health", "ck_provider_health_circuit_state"));
    by_hand(&db, check, "UPDATE provider_health SET circuit_state = 'ajar'").await;

    let error = store.audit().for_bot(bot, PageRequest::default()).await.unwrap_err();
    assert_corrupt(
        &error,
        &["memory_audit_log", "action", &logged.id.to_string(), "forget"],
    );
    let error = store.provider_health().load(&provider("p")).await.unwrap_err();
    assert_corrupt(&error, &["provider_health", "circuit_state", "row p", "ajar"]);
}

async fn a_hand_edited_key_is_corrupt(db: TestDatabase) {
    let store = open(&db).await;
    let bot = owl(&store).await;
    store.kv().set(bot, &key("k"), json!(1), None).await.unwrap();
    let file = store
        .files()
        .save_file(bot, NewFile::new(filename("a"), 1))
        .await
        .unwrap();
    by_hand(&db, None, "UPDATE bot_kv_store SET key = ''").await;
    by_hand(&db, None, "UPDATE bot_files SET filename = ''").await;
    let error = store.kv().list_keys(bot, "", PageRequest::default()).await.unwrap_err();
    assert_corrupt(&error, &["bot_kv_store", &bot.to_string()]);
    let error = store.files().get_by_id(file.id).await.unwrap_err();
    assert_corrupt(&error, &["bot_files", &file.id.to_string()]);
}

#[track_caller]
fn assert_corrupt(error: &Error, named: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    for name in named {
        assert!(error.to_string().contains(name), "{name} is not named: {error}");
    }
}

async fn a_sum_of_versions_beyond_64_bits_is_refused(db: TestDatabase) {
    let store = open(&db).await;
    let bot = owl(&store).await;
    let file = store
        .files()
        .save_file(bot, NewFile::new(filename("a"), 1))
        .await
        .unwrap();
    by_hand(&db, None, "UPDATE bot_files SET version = 9223372036854775807").await;
    refused(store.files().bump(file.id, 2).await, ErrorKind::InvalidInput, None);
    let kept = store.files().get_by_id(file.id).await.unwrap().unwrap();
    assert_eq!((kept.version, kept.size_bytes), (i64::MAX, 1));
    assert_eq!(
        store
            .files()
            .versions(file.id, PageRequest::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
}

/// Whoever writes past the contract meets the tables' own rules.
async fn the_tables_refuse_what_the_contract_refuses(db: TestDatabase) {
    let store = open(&db).await;
    let bot = owl(&store).await;
    store.audit().log(an_entry(bot, "m")).await.unwrap();
    store
        .provider_health()
        .save(NewProviderHealth::new(provider("p")))
        .await
        .unwrap();
    store
        .files()
        .save_file(bot, NewFile::new(filename("a"), 1))
        .await
        .unwrap();
    let connections = db.config().connect().await.unwrap();
    for (sql, check) in [
        (
            "UPDATE memory_audit_log SET action = 'ADD'",
            "ck_memory_audit_log_action",
        ),
        (
            "UPDATE provider_health SET circuit_state = ''",
            "ck_provider_health_circuit_state",
        ),
        (
            "UPDATE provider_health SET total_calls = -1",
            "ck_provider_health_total_calls",
        ),
        (
            "UPDATE provider_health SET total_failures = -1",
            "ck_provider_health_total_failures",
        ),
        ("UPDATE bot_files SET size_bytes = -1", "ck_bot_files_size_bytes"),
        (
            "UPDATE bot_file_versions SET size_bytes = -1",
            "ck_bot_file_versions_size_bytes",
        ),
    ] {
        let error = connections.writer.execute_unprepared(sql).await.unwrap_err();
        assert!(error.to_string().contains(check), "{error}");
    }
}
