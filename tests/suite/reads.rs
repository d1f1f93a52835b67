//! Reads that would have to wait for a connection to Postgres go together: each hears its own answer. On SQLite, where a read
//! is no trip, none does.

use std::time::Duration;

use sea_orm::sea_query::{Expr, ExprTrait as _, Func};
use sea_orm::{EntityTrait as _, QueryFilter as _};
use store::prelude::*;
use store::testkit::{Backend, TestDatabase};

use crate::support::{a_bot, at_once, behind_its_back, cut_connections, email, key, missing, open, refused};

store::testkit::tests![
    readers_at_once_share_commands,
    who_is_alone_reads_alone,
    reads_of_any_columns_go_together,
    what_was_written_before_is_read,
    a_read_that_fails_fails_alone,
    a_read_whose_statement_fails_fails_alone,
    a_command_that_fails_fails_each,
    slow_reads_do_not_wait_for_each_other,
    reads_whose_connections_are_cut_are_asked_again,
    readers_that_go_away_leave_the_others_their_answers,
    a_reader_outlives_another_runtime,
    a_store_that_is_closed_says_so,
];

const TASKS: usize = 64;

/// A store with so few connections that readers have to wait, also on a machine that lets few of them run at once.
async fn open_narrow(db: &TestDatabase) -> Store {
    let mut config = db.config();
    config.pool.max_connections = 2;
    Store::open(config).await.unwrap()
}

async fn bots(store: &Store) -> Vec<Bot> {
    let create =
        |store: Store, task: usize| async move { store.bots().create(a_bot(&format!("bot-{task}"))).await.unwrap() };
    at_once(store, TASKS, create).await
}

/// How many reads went together, since `before`, is as many as it should be.
#[track_caller]
fn went_together(store: &Store, before: u64, at_least: u64) {
    let metrics = store.metrics();
    let together = metrics.reads_together - before;
    match store.config().driver {
        Driver::Sqlite => assert_eq!(together, 0, "{metrics:?}"),
        Driver::Postgres => assert!(together > at_least, "{metrics:?}"),
    }
}

/// Its own, one that everybody asks for, and one that is not there.
async fn readers_at_once_share_commands(db: TestDatabase) {
    let store = open_narrow(&db).await;
    let all = bots(&store).await;
    let before = store.metrics();
    at_once(&store, TASKS, |store, task| {
        let (own, one) = (all[task].clone(), all[0].clone());
        async move {
            for _ in 0..5 {
                assert_eq!(store.bots().get(own.id).await.unwrap().as_ref(), Some(&own));
                assert_eq!(store.bots().get(one.id).await.unwrap().as_ref(), Some(&one));
                assert_eq!(store.bots().get(missing()).await.unwrap(), None);
            }
        }
    })
    .await;
    let after = store.metrics();
    assert_eq!(after.statements - before.statements, 15 * TASKS as u64);
    went_together(&store, before.reads_together, TASKS as u64 / 8);
}

async fn who_is_alone_reads_alone(db: TestDatabase) {
    let store = open(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    for _ in 0..20 {
        store.bots().get(bot.id).await.unwrap().unwrap();
    }
    assert_eq!(store.metrics().reads_together, 0);
}

/// Keys of one column and of several, texts, numbers and times, and reads of several texts at once.
async fn reads_of_any_columns_go_together(db: TestDatabase) {
    let store = open_narrow(&db).await;
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    let address = |task: usize| email(&format!("user-{task}@example.org"));
    at_once(&store, TASKS, |store, task| async move {
        let user = NewUser {
            email: address(task),
            role: UserRole::User,
        };
        store.users().create(user).await.unwrap();
        store
            .kv()
            .set(owl, &key(&format!("it's $1, {task}")), task.into(), None)
            .await
            .unwrap();
    })
    .await;
    for version in 1..=4 {
        store
            .souls()
            .save_version(owl, NewSoul::new(format!("soul {version}")))
            .await
            .unwrap();
    }
    let before = store.metrics().reads_together;
    at_once(&store, TASKS, |store, task| async move {
        let name = key(&format!("it's $1, {task}"));
        assert_eq!(store.kv().get(owl, &name).await.unwrap(), Some(task.into()));
        assert_eq!(store.kv().get(owl, &key("none")).await.unwrap(), None);
        let version = i64::try_from(task % 4).unwrap() + 1;
        let soul = store.souls().get_version(owl, version).await.unwrap().unwrap();
        assert_eq!((soul.version, soul.content), (version, format!("soul {version}")));
        let user = store.users().get_by_email(&address(task)).await.unwrap().unwrap();
        assert_eq!(user.email, address(task));
        assert_eq!(store.souls().get_current(owl).await.unwrap().unwrap().version, 4);
    })
    .await;
    went_together(&store, before, 0);
}

async fn what_was_written_before_is_read(db: TestDatabase) {
    let store = open(&db).await;
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    at_once(&store, TASKS, move |store, task| async move {
        let own = key(&format!("key-{task}"));
        for n in 0..10 {
            store.kv().set(owl, &own, n.into(), None).await.unwrap();
            assert_eq!(store.kv().get(owl, &own).await.unwrap(), Some(n.into()));
        }
    })
    .await;
}

async fn a_read_that_fails_fails_alone(db: TestDatabase) {
    let store = open(&db).await;
    let all = bots(&store).await;
    let broken = "UPDATE bots SET slug = '' WHERE slug = 'bot-7'";
    let unchecked = "ALTER TABLE bots DROP CONSTRAINT IF EXISTS ck_bots_slug";
    match db.backend() {
        Backend::Sqlite => behind_its_back(&db, &[broken]).await,
        Backend::Postgres => behind_its_back(&db, &[unchecked, broken]).await,
    }
    let read = at_once(&store, TASKS, |store, task| {
        let id = all[task].id;
        async move { store.bots().get(id).await }
    });
    for (task, read) in read.await.into_iter().enumerate() {
        match task {
            7 => drop(refused(read, ErrorKind::Corrupt, None)),
            _ => assert_eq!(read.unwrap().as_ref(), Some(&all[task])),
        }
    }
}

/// Its own value makes the statement fail, on both databases: there is no positive number so large.
async fn a_read_whose_statement_fails_fails_alone(db: TestDatabase) {
    let store = open_narrow(&db).await;
    let all = bots(&store).await;
    let before = store.metrics().reads_together;
    for _ in 0..5 {
        let read = at_once(&store, TASKS, |store, task| {
            let id = all[task].id;
            async move {
                let number = if task == 40 { i64::MIN } else { -1 };
                let positive = Expr::expr(Func::abs(Expr::val(number))).gt(0_i64);
                let select = entity::bots::Entity::find_by_id(id).filter(positive);
                let look = |db: store::engine::Operation| async move { db.one(select).await };
                store.session().run("bot", "look", look).await
            }
        });
        for (task, read) in read.await.into_iter().enumerate() {
            match task {
                40 => drop(read.unwrap_err()),
                _ => assert_eq!(read.unwrap().unwrap().id, all[task].id),
            }
        }
    }
    went_together(&store, before, 0);
}

/// A read that takes the database some 30 ms.
async fn look_slowly(store: &Store, backend: Backend, bot: BotId) -> store::Result<Option<entity::bots::Model>> {
    let slow = match backend {
        Backend::Sqlite => {
            "(WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 300000) SELECT count(*) FROM c) > 0"
        }
        Backend::Postgres => "pg_sleep(0.03) IS NOT NULL",
    };
    let select = entity::bots::Entity::find_by_id(bot).filter(Expr::cust(slow));
    let look = |db: store::engine::Operation| async move { db.one(select).await };
    store.session().run("bot", "look", look).await
}

/// Once a flight has taken long, the next ones are of a single read: only what waits at first goes together.
async fn slow_reads_do_not_wait_for_each_other(db: TestDatabase) {
    let store = open(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap().id;
    let backend = db.backend();
    let before = store.metrics();
    at_once(&store, TASKS, |store, _| async move {
        for _ in 0..2 {
            look_slowly(&store, backend, bot).await.unwrap().unwrap();
        }
    })
    .await;
    let after = store.metrics();
    assert_eq!(after.statements - before.statements, 2 * TASKS as u64);
    let together = after.reads_together - before.reads_together;
    assert!(together <= TASKS as u64, "{together} of {}", 2 * TASKS);
}

/// While they lie idle, and while all of them are at work.
async fn reads_whose_connections_are_cut_are_asked_again(db: TestDatabase) {
    let store = open(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap().id;
    let backend = db.backend();
    for _ in 0..3 {
        let readers = (0..16).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { look_slowly(&store, backend, bot).await })
        });
        let readers = readers.collect::<Vec<_>>();
        tokio::time::sleep(Duration::from_millis(15)).await;
        cut_connections(&db).await;
        for reader in readers {
            reader.await.unwrap().unwrap().unwrap();
        }
        cut_connections(&db).await;
        store.bots().get(bot).await.unwrap().unwrap();
        cut_connections(&db).await;
        let page = store.bots().list(BotFilter::default(), PageRequest::first(10)).await;
        assert_eq!(page.unwrap().items.len(), 1);
    }
}

async fn a_command_that_fails_fails_each(db: TestDatabase) {
    let store = open(&db).await;
    let all = bots(&store).await;
    behind_its_back(&db, &["ALTER TABLE bots RENAME TO birds"]).await;
    let read = |store: Store, task: usize| {
        let id = all[task].id;
        async move { store.bots().get(id).await }
    };
    for read in at_once(&store, TASKS, read).await {
        refused(read, ErrorKind::Schema, None);
    }
    behind_its_back(&db, &["ALTER TABLE birds RENAME TO bots"]).await;
    for (task, read) in at_once(&store, TASKS, read).await.into_iter().enumerate() {
        assert_eq!(read.unwrap().as_ref(), Some(&all[task]));
    }
}

async fn readers_that_go_away_leave_the_others_their_answers(db: TestDatabase) {
    let store = open(&db).await;
    let all = bots(&store).await;
    for round in 0..10 {
        let readers = all.iter().map(|bot| {
            let (store, id) = (store.clone(), bot.id);
            tokio::spawn(async move { store.bots().get(id).await })
        });
        let readers = readers.collect::<Vec<_>>();
        // Not all of them have been asked by now.
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        readers.iter().step_by(2).for_each(tokio::task::JoinHandle::abort);
        for (task, reader) in readers.into_iter().enumerate() {
            match reader.await {
                Ok(read) => assert_eq!(read.unwrap().as_ref(), Some(&all[task])),
                Err(gone) => assert!(gone.is_cancelled() && task % 2 == 0),
            }
        }
    }
    while store.health().await.reader.in_use > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Readers whose runtime ends in the middle of it take nothing with them.
async fn a_reader_outlives_another_runtime(db: TestDatabase) {
    let store = open(&db).await;
    let all = bots(&store).await;
    for _ in 0..3 {
        let other = tokio::runtime::Runtime::new().unwrap();
        for bot in &all {
            let (store, id) = (store.clone(), bot.id);
            other.spawn(async move { while store.bots().get(id).await.is_ok() {} });
        }
        let here = |store: Store, task: usize| {
            let bot = all[task].clone();
            async move { assert_eq!(store.bots().get(bot.id).await.unwrap(), Some(bot)) }
        };
        at_once(&store, TASKS, here).await;
        other.shutdown_background();
        at_once(&store, TASKS, here).await;
    }
}

async fn a_store_that_is_closed_says_so(db: TestDatabase) {
    let store = open(&db).await;
    let all = bots(&store).await;
    let readers = all.iter().map(|bot| {
        let (store, bot) = (store.clone(), bot.clone());
        tokio::spawn(async move {
            loop {
                match store.bots().get(bot.id).await {
                    Ok(read) => assert_eq!(read.as_ref(), Some(&bot)),
                    Err(error) => return error,
                }
            }
        })
    });
    let readers = readers.collect::<Vec<_>>();
    tokio::task::yield_now().await;
    store.close().await.unwrap();
    for reader in readers {
        assert_eq!(reader.await.unwrap().kind(), ErrorKind::Unavailable);
    }
}
