//! Runtimes that stand still without having ended: a `current_thread` runtime between two `block_on`s runs nothing that
//! was left to it, and nobody else may have to wait for it.

use std::time::Duration;

use futures_util::future::join_all;
use store::prelude::*;
use store::testkit::TestDatabase;
use tokio::runtime::Runtime;

use super::{impatient, within};
use crate::support::{a_bot, open, slug, slugs};

store::testkit::tests![
    a_transaction_given_up_in_a_runtime_that_stands_still_holds_up_nobody,
    a_transaction_by_hand_dropped_in_a_runtime_that_stands_still_holds_up_nobody,
    writes_given_up_in_a_runtime_that_stands_still_hold_up_nobody,
    reads_given_up_in_a_runtime_that_stands_still_hold_up_nobody,
    a_store_opened_in_a_runtime_that_stands_still_works_elsewhere,
    connections_opened_in_a_runtime_that_stands_still_work_elsewhere,
];

/// A runtime that runs only while somebody blocks on it.
struct Still(Option<Runtime>);

impl Drop for Still {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs this in a runtime of its own, which stands still from then on, until it is dropped.
async fn there<T, F>(work: F) -> (T, Still)
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let blocking = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let done = runtime.block_on(work);
        (done, Still(Some(runtime)))
    });
    within(8_000, blocking).await.unwrap()
}

/// Gives it up after a while.
async fn given_up(work: impl Future) {
    drop(tokio::time::timeout(Duration::from_millis(200), work).await);
}

/// One connection for everybody: on Postgres too, what is lost of it is missed.
fn one_connection(db: &TestDatabase) -> DatabaseConfig {
    let mut config = impatient(db, 2_000);
    config.pool.max_connections = 1;
    config
}

/// Every kind of call, more than once.
async fn all_of_it_works(store: &Store) {
    for round in 0..2 {
        let name = format!("here-{round}");
        let bot = within(8_000, store.bots().create(a_bot(&name))).await.unwrap();
        let work = |tx: Tx| async move { tx.souls().save_version(bot.id, NewSoul::new("one")).await };
        within(8_000, store.transaction(work)).await.unwrap();
        let found = within(8_000, store.bots().get_by_slug(&slug(&name))).await.unwrap();
        assert_eq!(found.unwrap().version_count, 1);
        let tx = within(8_000, store.begin()).await.unwrap();
        tx.rollback().await;
        let page = async { store.bots().list(BotFilter::default(), PageRequest::first(1)).await };
        assert_eq!(within(8_000, page).await.unwrap().items.len(), 1);
    }
}

async fn a_transaction_given_up_in_a_runtime_that_stands_still_holds_up_nobody(db: TestDatabase) {
    let store = Store::open(one_connection(&db)).await.unwrap();
    let ((), _still) = there({
        let store = store.clone();
        async move {
            let work = |tx: Tx| async move {
                tx.bots().create(a_bot("given-up")).await?;
                std::future::pending::<store::Result<()>>().await
            };
            given_up(store.transaction(work)).await;
        }
    })
    .await;
    all_of_it_works(&store).await;
    assert_eq!(slugs(&open(&db).await).await, ["here-0", "here-1"]);
    within(8_000, store.close()).await.unwrap();
}

async fn a_transaction_by_hand_dropped_in_a_runtime_that_stands_still_holds_up_nobody(db: TestDatabase) {
    let store = Store::open(one_connection(&db)).await.unwrap();
    let ((), _still) = there({
        let store = store.clone();
        async move {
            let tx = store.begin().await.unwrap();
            tx.bots().create(a_bot("given-up")).await.unwrap();
        }
    })
    .await;
    all_of_it_works(&store).await;
    assert_eq!(slugs(&open(&db).await).await, ["here-0", "here-1"]);
    within(8_000, store.close()).await.unwrap();
}

/// They wait behind a transaction by hand, and are gone when it ends.
async fn writes_given_up_in_a_runtime_that_stands_still_hold_up_nobody(db: TestDatabase) {
    let store = Store::open(one_connection(&db)).await.unwrap();
    let holder = store.begin().await.unwrap();
    let ((), _still) = there({
        let store = store.clone();
        async move {
            let creates = (0..8).map(|n| {
                let store = store.clone();
                async move { store.bots().create(a_bot(&format!("given-up-{n}"))).await }
            });
            given_up(join_all(creates)).await;
            let closure = |tx: Tx| async move { tx.bots().create(a_bot("given-up")).await };
            given_up(store.transaction(closure)).await;
        }
    })
    .await;
    holder.commit().await.unwrap();
    all_of_it_works(&store).await;
    within(8_000, store.close()).await.unwrap();
}

async fn reads_given_up_in_a_runtime_that_stands_still_hold_up_nobody(db: TestDatabase) {
    let mut config = one_connection(&db);
    config.sqlite.readers = 1;
    let store = Store::open(config).await.unwrap();
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    let ((), _still) = there({
        let store = store.clone();
        async move {
            for polls in 0..12 {
                let bots = store.bots();
                let mut reads = Box::pin(join_all((0..8).map(|_| bots.get(owl))));
                for _ in 0..polls {
                    drop(futures_util::poll!(&mut reads));
                    tokio::task::yield_now().await;
                }
            }
        }
    })
    .await;
    all_of_it_works(&store).await;
    within(8_000, store.close()).await.unwrap();
}

async fn a_store_opened_in_a_runtime_that_stands_still_works_elsewhere(db: TestDatabase) {
    let config = one_connection(&db);
    let (store, _still) = there(async move {
        let store = Store::open(config).await.unwrap();
        store.bots().create(a_bot("there")).await.unwrap();
        assert_eq!(slugs(&store).await, ["there"]);
        store
    })
    .await;
    all_of_it_works(&store).await;
    within(8_000, store.close()).await.unwrap();
}

/// All there are, opened there, and then lent to others.
async fn connections_opened_in_a_runtime_that_stands_still_work_elsewhere(db: TestDatabase) {
    let mut config = impatient(&db, 2_000);
    config.pool.max_connections = 3;
    let store = Store::open(config).await.unwrap();
    let ((), _still) = there({
        let store = store.clone();
        async move {
            let size = store.health().await.writer.size;
            let mut open = vec![];
            for _ in 0..size {
                open.push(store.begin().await.unwrap());
            }
            for tx in open {
                tx.commit().await.unwrap();
            }
        }
    })
    .await;
    let here = (0..12).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            store.bots().create(a_bot(&format!("bot-{n}"))).await?;
            store.bots().get_by_slug(&slug(&format!("bot-{n}"))).await
        })
    });
    for one in here.collect::<Vec<_>>() {
        within(8_000, one).await.unwrap().unwrap().unwrap();
    }
    all_of_it_works(&store).await;
    within(8_000, store.close()).await.unwrap();
}
