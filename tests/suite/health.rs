//! Health, closing, and the clock.

use std::sync::Mutex;
use std::time::Duration;

use store::prelude::*;
use store::testkit::TestDatabase;
use store::{Clock, migration};

use crate::support::{a_bot, open, refused, slugs};

store::testkit::tests! {
    on_both: [
        a_sound_store_is_ready,
        a_busy_store_is_not_down,
        a_store_behind_its_schema_is_live_and_not_ready,
        a_closed_store_says_so,
        closing_waits_for_what_is_under_way,
        times_come_from_the_clock_cut_to_microseconds,
    ],
    on_sqlite: [a_closed_file_is_the_whole_database],
    without_database: [memory_is_one_database_for_reading_and_writing],
}

async fn a_sound_store_is_ready(db: TestDatabase) {
    let store = open(&db).await;
    let health = store.health().await;
    assert!(health.live && health.ready && !health.busy, "{health:?}");
    assert_eq!(health.schema, Some(migration::State::Complete));
    assert_eq!(health.foreign_keys, Some(true));
    assert!(health.latency_us.is_some());
    assert_eq!(health.problem, None);
    assert_eq!((health.writer.in_use, health.reader.in_use), (0, 0));
    assert!(health.writer.size >= 1 && health.reader.size >= 1);
    assert_eq!(health.driver.to_string(), db.backend().to_string());
    serde_json::to_string(&health).unwrap();
}

async fn a_busy_store_is_not_down(db: TestDatabase) {
    let store = open(&db).await;
    let mut holders = vec![];
    for _ in 0..store.health().await.writer.size {
        holders.push(store.begin().await.unwrap());
    }
    let health = store.health().await;
    assert!(health.live && health.ready, "{health:?}");
    assert_eq!(health.writer.in_use, health.writer.size);
}

async fn a_store_behind_its_schema_is_live_and_not_ready(db: TestDatabase) {
    let store = open(&db).await;
    let connections = db.config().connect().await.unwrap();
    migration::down(&connections.writer, 1).await.unwrap();
    let health = store.health().await;
    assert!(health.live && !health.ready, "{health:?}");
    assert!(
        matches!(health.schema, Some(migration::State::Pending { .. })),
        "{health:?}"
    );
    assert!(health.problem.is_some());
}

async fn a_closed_store_says_so(db: TestDatabase) {
    let store = open(&db).await;
    let clone = store.clone();
    store.close().await.unwrap();
    refused(clone.bots().create(a_bot("late")).await, ErrorKind::Unavailable, None);
    refused(clone.begin().await, ErrorKind::Unavailable, None);
    let health = clone.health().await;
    assert!(!health.live && !health.ready, "{health:?}");
    assert!(health.problem.unwrap().contains("closed"));
    refused(clone.close().await, ErrorKind::Unavailable, None);
}

async fn closing_waits_for_what_is_under_way(db: TestDatabase) {
    let store = open(&db).await;
    let tx = store.begin().await.unwrap();
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    tx.bots().create(a_bot("in-time")).await.unwrap();
    tx.commit().await.unwrap();
    closing.await.unwrap().unwrap();
    assert_eq!(slugs(&open(&db).await).await, ["in-time"]);
}

struct Set(Mutex<chrono::DateTime<chrono::Utc>>);

impl Clock for &'static Set {
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        *self.0.lock().unwrap()
    }
}

async fn times_come_from_the_clock_cut_to_microseconds(db: TestDatabase) {
    let instant = |text: &str| text.parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let clock: &'static Set = Box::leak(Box::new(Set(Mutex::new(instant("1999-12-31T23:59:59.999999999Z")))));
    let store = Store::builder(db.config()).clock(clock).open().await.unwrap();
    for (told, kept) in [
        ("1999-12-31T23:59:59.999999999Z", "1999-12-31T23:59:59.999999Z"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("1969-07-20T20:17:40.000000500Z", "1969-07-20T20:17:40Z"),
        ("0001-01-01T00:00:00.1Z", "0001-01-01T00:00:00.1Z"),
        ("9999-12-31T23:59:59.123456Z", "9999-12-31T23:59:59.123456Z"),
    ] {
        *clock.0.lock().unwrap() = instant(told);
        let bot = store
            .bots()
            .create(a_bot(&format!("bot-{}", instant(told).timestamp().unsigned_abs())))
            .await
            .unwrap();
        assert_eq!(bot.created_at, instant(kept));
        assert_eq!(store.bots().get(bot.id).await.unwrap(), Some(bot));
    }
    let page = store
        .bots()
        .list(BotFilter::default(), PageRequest::first(2))
        .await
        .unwrap();
    let rest = store
        .bots()
        .list(BotFilter::default(), PageRequest::after(page.next.unwrap(), 10))
        .await
        .unwrap();
    let years = [page.items, rest.items]
        .concat()
        .iter()
        .map(|bot| bot.created_at.format("%Y").to_string())
        .collect::<Vec<_>>();
    assert_eq!(
        years,
        ["9999", "2026", "1999", "1969", "0001"],
        "stored times sort as instants do"
    );
}

/// A copy of the file alone, without its log, has everything.
async fn a_closed_file_is_the_whole_database(db: TestDatabase) {
    let store = open(&db).await;
    store.bots().create(a_bot("owl")).await.unwrap();
    store.close().await.unwrap();
    let path = db.path().unwrap();
    let copy = path.with_file_name("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    let copied = Store::open(DatabaseConfig::sqlite(&copy).unwrap()).await.unwrap();
    assert_eq!(slugs(&copied).await, ["owl"]);
}

#[cfg(feature = "sqlite")]
async fn memory_is_one_database_for_reading_and_writing() {
    let store = Store::open(DatabaseConfig::memory()).await.unwrap();
    store.bots().create(a_bot("owl")).await.unwrap();
    let tasks = (0..20).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            store.bots().create(a_bot(&format!("bot-{n}"))).await.unwrap();
            slugs(&store).await.len()
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert!(task.await.unwrap() >= 2);
    }
    assert_eq!(slugs(&store).await.len(), 21);
    assert!(store.health().await.ready);
    let another = Store::open(DatabaseConfig::memory()).await.unwrap();
    assert!(slugs(&another).await.is_empty());
}

/// There is no SQLite in this build, and so no memory.
#[cfg(not(feature = "sqlite"))]
async fn memory_is_one_database_for_reading_and_writing() {
    let refusal = Store::open(DatabaseConfig::memory()).await;
    refused(refusal, ErrorKind::Config, None);
}
