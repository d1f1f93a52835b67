//! Many at once: nobody hears "database is locked", nothing acknowledged is lost.

use std::time::Duration;

use store::prelude::*;
use store::testkit::TestDatabase;

use crate::support::{a_bot, open, refused, slugs};

store::testkit::tests![
    sixty_four_tasks_write_at_once,
    two_stores_write_to_one_database,
    readers_and_writers_do_not_disturb_each_other,
    somebody_who_holds_the_rows_for_too_long_is_contention,
    a_deadline_that_passes_in_the_line_is_a_timeout,
];

async fn sixty_four_tasks_write_at_once(db: TestDatabase) {
    let store = open(&db).await;
    let tasks = (0..64).map(|task| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..5 {
                store.bots().create(a_bot(&format!("bot-{task}-{n}"))).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(slugs(&open(&db).await).await.len(), 320);
}

/// Two stores are to each other as two programs are: they share nothing but the database.
async fn two_stores_write_to_one_database(db: TestDatabase) {
    let stores = [open(&db).await, open(&db).await];
    let bot = stores[0].bots().create(a_bot("owl")).await.unwrap();
    let tasks = (0..16).map(|task| {
        let store = stores[task % 2].clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                store.souls().save_version(bot.id, NewSoul::new("x")).await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let versions = stores[1]
        .souls()
        .list_versions(bot.id, PageRequest::first(1000))
        .await
        .unwrap()
        .items;
    let numbers = versions.iter().rev().map(|version| version.version).collect::<Vec<_>>();
    assert_eq!(numbers, (1..=80).collect::<Vec<_>>());
}

async fn readers_and_writers_do_not_disturb_each_other(db: TestDatabase) {
    let store = open(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let readers = (0..8).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..50 {
                let read = store.bots().get(bot.id).await.unwrap().unwrap();
                // Both are written in one transaction: never one without the other.
                assert_eq!(read.tags.len(), read.description.len());
            }
        })
    });
    let writers = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                let work = |tx: Tx| async move {
                    let read = tx.bots().get(bot.id).await?.unwrap();
                    let tags = [read.tags, vec!["x".into()]].concat();
                    let change = BotChange {
                        description: Some("x".repeat(tags.len())),
                        ..BotChange::default()
                    };
                    tx.bots().update(bot.id, change).await?;
                    tx.bots()
                        .update(
                            bot.id,
                            BotChange {
                                tags: Some(tags),
                                ..BotChange::default()
                            },
                        )
                        .await
                };
                store.transaction(work).await.unwrap();
            }
        })
    });
    for task in readers
        .collect::<Vec<_>>()
        .into_iter()
        .chain(writers.collect::<Vec<_>>())
    {
        task.await.unwrap();
    }
    assert_eq!(store.bots().get(bot.id).await.unwrap().unwrap().tags.len(), 20);
}

/// Short waits, so that the test need not take long.
fn impatient(db: &TestDatabase) -> DatabaseConfig {
    let mut config = db.config();
    config.operation_timeout = Duration::from_secs(4);
    config.sqlite.busy_timeout = Duration::from_millis(200);
    config.postgres.lock_timeout = Duration::from_millis(200);
    config
}

async fn somebody_who_holds_the_rows_for_too_long_is_contention(db: TestDatabase) {
    let holder = open(&db).await;
    let bot = holder.bots().create(a_bot("owl")).await.unwrap();
    let held = holder.begin().await.unwrap();
    held.bots()
        .update(
            bot.id,
            BotChange {
                name: Some("held".into()),
                ..BotChange::default()
            },
        )
        .await
        .unwrap();

    let store = Store::open(impatient(&db)).await.unwrap();
    let change = || BotChange {
        name: Some("late".into()),
        ..BotChange::default()
    };
    let error = refused(store.bots().update(bot.id, change()).await, ErrorKind::Contention, None);
    assert!(error.is_retryable());
    assert_eq!(
        store.bots().get(bot.id).await.unwrap().unwrap().name,
        "owl",
        "reading needs no lock"
    );

    held.commit().await.unwrap();
    assert_eq!(store.bots().update(bot.id, change()).await.unwrap().name, "late");
}

async fn a_deadline_that_passes_in_the_line_is_a_timeout(db: TestDatabase) {
    let mut config = impatient(&db);
    config.operation_timeout = Duration::from_millis(300);
    let store = Store::open(config).await.unwrap();
    let mut holders = vec![];
    for _ in 0..store.health().await.writer.size {
        holders.push(store.begin().await.unwrap());
    }
    let error = refused(store.bots().create(a_bot("late")).await, ErrorKind::Timeout, None);
    assert!(error.is_retryable(), "nothing was sent, so it may be tried again");
    refused(store.begin().await, ErrorKind::Timeout, None);
    drop(holders);
    // The places come back when the connections have been cleaned.
    let again = async { while store.bots().create(a_bot("late")).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(20), again).await.unwrap();
    assert_eq!(slugs(&store).await, ["late"]);
}
