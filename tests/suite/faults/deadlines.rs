//! A statement that takes longer than an operation may is ended, and with it the work that it makes.

use std::time::{Duration, Instant};

use sea_orm::sea_query::Expr;
use sea_orm::{EntityTrait, QueryFilter};
use store::prelude::*;
use store::testkit::{Backend, TestDatabase};

use super::{sql, within};
use crate::support::{a_bot, open, refused, slugs};

store::testkit::tests! {
    on_both: [
        a_read_ends_at_its_deadline_and_leaves_its_connection,
        a_write_ends_at_its_deadline_and_leaves_the_writer,
        a_statement_of_a_closure_ends_at_its_deadline_and_leaves_the_writer,
        a_read_that_is_given_up_leaves_its_connection,
        a_store_closes_soon_after_a_statement_that_was_ended,
        a_slow_read_holds_up_no_other_task_of_its_thread,
    ],
    on_postgres: [a_statement_that_the_server_ends_is_a_timeout],
}

/// Takes many seconds, and finds no row: on SQLite it computes, on Postgres it sleeps.
fn endless(db: &TestDatabase) -> &'static str {
    match db.backend() {
        Backend::Sqlite => {
            "(WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 30000000) \
             SELECT count(*) FROM n) < 0"
        }
        Backend::Postgres => "(SELECT count(pg_sleep(12))) < 0",
    }
}

/// Reads the bots of which this is so.
pub(super) async fn read(on: &impl Repositories, endless: &'static str) -> store::Result<()> {
    let select = entity::bots::Entity::find().filter(Expr::cust(endless));
    let all = |db: store::engine::Operation| async move { db.all(select).await };
    on.session().run("bot", "endless", all).await.map(drop)
}

async fn delete(on: &impl Repositories, endless: &'static str) -> store::Result<u64> {
    sql(on, format!("DELETE FROM bots WHERE {endless}")).await
}

/// One reader and one writer, which on Postgres are one: what they are busy with is felt. The server would let a
/// statement go on for much longer.
async fn store_of_one(db: &TestDatabase, millis: u64) -> Store {
    let mut config = db.config();
    config.operation_timeout = Duration::from_millis(millis);
    config.sqlite.readers = 1;
    config.pool.max_connections = 1;
    let store = Store::open(config).await.unwrap();
    within(5_000, store.bots().create(a_bot("owl"))).await.unwrap();
    store
}

/// It is told about a deadline soon after that has passed.
async fn ended<T: std::fmt::Debug>(work: impl Future<Output = store::Result<T>>) {
    let begun = Instant::now();
    let outcome = within(10_000, work).await;
    let took = begun.elapsed();
    refused(outcome, ErrorKind::Timeout, None);
    assert!(took < Duration::from_millis(1_500), "it took {took:?}");
}

async fn a_read_ends_at_its_deadline_and_leaves_its_connection(db: TestDatabase) {
    let store = store_of_one(&db, 400).await;
    ended(read(&store, endless(&db))).await;
    let begun = Instant::now();
    let page = async { store.bots().list(BotFilter::default(), PageRequest::default()).await };
    assert_eq!(within(5_000, page).await.unwrap().items.len(), 1);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    ended_on_the_server(&db).await;
}

/// Nothing of it is stored, and it is known: the statement was ended before its commit.
async fn a_write_ends_at_its_deadline_and_leaves_the_writer(db: TestDatabase) {
    let store = store_of_one(&db, 400).await;
    ended(delete(&store, endless(&db))).await;
    let begun = Instant::now();
    within(5_000, store.bots().create(a_bot("next"))).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(slugs(&open(&db).await).await, ["next", "owl"]);
    ended_on_the_server(&db).await;
}

async fn a_statement_of_a_closure_ends_at_its_deadline_and_leaves_the_writer(db: TestDatabase) {
    let store = store_of_one(&db, 400).await;
    let endless = endless(&db);
    let work = |tx: Tx| async move {
        tx.bots().create(a_bot("undone")).await?;
        delete(&tx, endless).await
    };
    ended(store.transaction(work)).await;
    let begun = Instant::now();
    within(5_000, store.bots().create(a_bot("next"))).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(slugs(&open(&db).await).await, ["next", "owl"]);
    ended_on_the_server(&db).await;
}

/// Its caller goes away long before the deadline.
async fn a_read_that_is_given_up_leaves_its_connection(db: TestDatabase) {
    let store = store_of_one(&db, 2_000).await;
    let given_up = tokio::time::timeout(Duration::from_millis(200), read(&store, endless(&db)));
    assert!(given_up.await.is_err());
    let begun = Instant::now();
    let page = async { store.bots().list(BotFilter::default(), PageRequest::default()).await };
    assert_eq!(within(8_000, page).await.unwrap().items.len(), 1);
    // At the latest when its own time would have been over.
    assert!(begun.elapsed() < Duration::from_millis(2_300), "{:?}", begun.elapsed());
}

/// On a runtime of one thread, where a statement that ran there would stop everybody.
async fn a_slow_read_holds_up_no_other_task_of_its_thread(db: TestDatabase) {
    let store = store_of_one(&db, 20_000).await;
    let slow = super::closing::slow(&db);
    let alone = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            read(&store, slow).await.unwrap();
            let longest = std::rc::Rc::new(std::cell::Cell::new(Duration::ZERO));
            let local = tokio::task::LocalSet::new();
            let told = std::rc::Rc::clone(&longest);
            local.spawn_local(async move {
                loop {
                    let begun = Instant::now();
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    told.set(told.get().max(begun.elapsed()));
                }
            });
            let begun = Instant::now();
            local
                .run_until(async {
                    for _ in 0..3 {
                        read(&store, slow).await.unwrap();
                    }
                })
                .await;
            (begun.elapsed() / 3, longest.get())
        })
    });
    let (took, longest) = alone.await.unwrap();
    assert!(took > Duration::from_millis(50), "it is not slow: {took:?}");
    assert!(
        longest < took / 2,
        "a task waited {longest:?} for statements of {took:?}"
    );
}

async fn a_store_closes_soon_after_a_statement_that_was_ended(db: TestDatabase) {
    let store = store_of_one(&db, 400).await;
    let endless = endless(&db);
    drop(within(10_000, read(&store, endless)).await);
    drop(within(10_000, delete(&store, endless)).await);
    let begun = Instant::now();
    within(10_000, store.close()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// On Postgres the statement would sleep on there. On SQLite the work is in this process, and who was served next has
/// shown that it is over.
async fn ended_on_the_server(db: &TestDatabase) {
    if db.backend() == Backend::Sqlite {
        return;
    }
    use sea_orm::{ConnectionTrait, Statement};
    let connections = db.config().connect().await.unwrap();
    let asleep = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                  AND query LIKE '%pg_sleep(12)%' AND pid <> pg_backend_pid()";
    let asleep = Statement::from_string(sea_orm::DbBackend::Postgres, asleep);
    let row = connections.reader.query_one_raw(asleep).await.unwrap().unwrap();
    assert_eq!(
        row.try_get_by_index::<i64>(0).unwrap(),
        0,
        "it still sleeps on the server"
    );
    connections.close().await;
}

/// SQLSTATE 57014, long before the operation's own deadline.
async fn a_statement_that_the_server_ends_is_a_timeout(db: TestDatabase) {
    let mut config = db.config();
    config.operation_timeout = Duration::from_secs(10);
    config.postgres.statement_timeout = Duration::from_millis(300);
    let store = Store::open(config).await.unwrap();
    store.bots().create(a_bot("owl")).await.unwrap();
    ended(read(&store, endless(&db))).await;
    ended(delete(&store, endless(&db))).await;
    let work = |tx: Tx| async move {
        tx.bots().create(a_bot("undone")).await?;
        delete(&tx, "(SELECT count(pg_sleep(12))) < 0").await
    };
    ended(store.transaction(work)).await;
    assert_eq!(slugs(&store).await, ["owl"]);
}
