//! Closing a store while somebody has not let go of it.

use std::pin::Pin;
use std::time::{Duration, Instant};

use store::prelude::*;
use store::testkit::{Backend, TestDatabase};

use super::{deadlines, impatient, within};
use crate::support::{a_bot, open, refused, slugs};

store::testkit::tests![
    closing_with_a_read_that_nobody_polls_ends_in_time,
    closing_with_an_open_transaction_ends_in_time_and_names_it,
    closing_with_a_closure_that_does_not_end_ends_in_time_and_names_it,
    closing_with_writes_behind_an_open_transaction_ends_in_time,
];

const LIMIT: Duration = Duration::from_secs(1);

/// The operation timeout and a little.
const IN_TIME: u64 = 1_500;

type Read<'a> = Pin<Box<dyn Future<Output = store::Result<()>> + Send + 'a>>;

/// Takes a fifth of a second or so, and so is not done when it is asked for the first time.
pub(super) fn slow(db: &TestDatabase) -> &'static str {
    match db.backend() {
        Backend::Sqlite => {
            "(WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 300000) \
             SELECT count(*) FROM n) < 0"
        }
        Backend::Postgres => "(SELECT count(pg_sleep(0.2))) < 0",
    }
}

/// Asked for once, they may be done all the same, or be what holds up the end: then it says so.
async fn closing_with_a_read_that_nobody_polls_ends_in_time(db: TestDatabase) {
    let store = Store::open(impatient(&db, 1_000)).await.unwrap();
    store.bots().create(a_bot("owl")).await.unwrap();
    // From here on there is a reader at hand.
    assert_eq!(slugs(&store).await, ["owl"]);
    let mut reads: Vec<Read<'_>> = vec![];
    for _ in 0..2 {
        let mut read: Read<'_> = Box::pin(deadlines::read(&store, slow(&db)));
        if futures_util::poll!(&mut read).is_pending() {
            reads.push(read);
        }
    }
    let begun = Instant::now();
    let closed = within(8_000, store.close()).await;
    let took = begun.elapsed();
    if let Err(error) = closed {
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
        assert!(error.to_string().contains("read"), "{error}");
        drop(reads);
        within(8_000, store.close()).await.unwrap();
    }
    assert!(took < Duration::from_millis(IN_TIME), "it took {took:?}");
}

/// The store stays open then, and the transaction may go on.
async fn closing_with_an_open_transaction_ends_in_time_and_names_it(db: TestDatabase) {
    let store = Store::open(impatient(&db, 1_000)).await.unwrap();
    let tx = store.begin().await.unwrap();
    tx.bots().create(a_bot("open")).await.unwrap();
    let begun = Instant::now();
    let error = refused(within(8_000, store.close()).await, ErrorKind::Timeout, None);
    let took = begun.elapsed();
    tx.bots().create(a_bot("later")).await.unwrap();
    tx.commit().await.unwrap();
    within(8_000, store.close()).await.unwrap();
    assert_eq!(slugs(&open(&db).await).await, ["later", "open"]);
    assert!(took >= LIMIT, "it waits as long as it may: {took:?}");
    assert!(took < Duration::from_millis(IN_TIME), "it took {took:?}");
    assert!(error.to_string().contains("transaction"), "{error}");
}

async fn closing_with_a_closure_that_does_not_end_ends_in_time_and_names_it(db: TestDatabase) {
    let store = Store::open(impatient(&db, 1_000)).await.unwrap();
    let running = tokio::spawn({
        let store = store.clone();
        async move {
            let work = |tx: Tx| async move {
                tx.bots().create(a_bot("given-up")).await?;
                std::future::pending::<store::Result<()>>().await
            };
            store.transaction(work).await
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    let error = refused(within(8_000, store.close()).await, ErrorKind::Timeout, None);
    let took = begun.elapsed();
    running.abort();
    drop(running.await);
    within(8_000, store.close()).await.unwrap();
    assert!(took < Duration::from_millis(IN_TIME), "it took {took:?}");
    assert!(error.to_string().contains("transaction"), "{error}");
}

/// Those who wait give up when their own time is over; the end waits no longer for it.
async fn closing_with_writes_behind_an_open_transaction_ends_in_time(db: TestDatabase) {
    let mut config = impatient(&db, 1_000);
    config.pool.max_connections = 1;
    let store = Store::open(config).await.unwrap();
    let tx = store.begin().await.unwrap();
    let writers = (0..8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.bots().create(a_bot(&format!("bot-{n}"))).await })
    });
    let writers = writers.collect::<Vec<_>>();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    let error = refused(within(8_000, store.close()).await, ErrorKind::Timeout, None);
    let took = begun.elapsed();
    for writer in writers {
        let outcome = within(8_000, writer).await.unwrap();
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Timeout);
    }
    tx.commit().await.unwrap();
    within(8_000, store.close()).await.unwrap();
    assert!(took < Duration::from_millis(IN_TIME), "it took {took:?}");
    assert!(error.to_string().contains("transaction"), "{error}");
}
