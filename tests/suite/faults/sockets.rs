//! Connections to Postgres that break, or fall silent without a word, at chosen places.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use store::prelude::*;
use store::testkit::TestDatabase;

use super::proxy::{Fate, Proxy};
use super::{hurry, until, within};
use crate::support::{a_bot, key, open, refused, slug, slugs};

store::testkit::tests! {
    on_postgres: [
        the_proxy_passes_everything_on,
        two_silent_sockets_do_not_stop_the_inserts_into_a_table,
        transactions_on_silent_sockets_lose_no_places,
        reads_on_silent_sockets_lose_no_places,
        a_store_with_silent_sockets_can_be_closed,
        who_waits_while_the_server_is_gone_hears_that_it_cannot_be_reached,
        health_says_soon_that_the_server_is_gone,
        health_says_soon_that_the_server_is_silent,
        health_is_good_again_when_the_server_is_back,
        a_closure_whose_connection_breaks_between_two_statements_is_run_again,
        a_closure_whose_statement_is_not_answered_is_run_again,
        a_method_whose_connection_breaks_between_its_statements_is_run_again,
        a_commit_that_is_not_answered_is_not_run_again,
        a_transaction_by_hand_whose_connection_breaks_hears_so,
    ],
}

const INSERT_BOT: &str = "INSERT INTO \"bots\"";
const INSERT_SOUL: &str = "INSERT INTO \"soul_versions\"";
const READ_BOT: &str = "FROM \"bots\"";

/// A store behind a proxy, whose operations may take a second.
async fn behind(proxy: &Proxy, connections: u32) -> Store {
    let mut config = hurry(proxy.config(), 1_000);
    config.pool.max_connections = connections;
    Store::open(config).await.unwrap()
}

async fn the_proxy_passes_everything_on(db: TestDatabase) {
    let proxy = Proxy::to(&db);
    let store = Store::open(proxy.config()).await.unwrap();
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    let soul = NewSoul::new("x".repeat(1 << 20));
    store.souls().save_version(owl, soul).await.unwrap();
    let current = store.souls().get_current(owl).await.unwrap().unwrap();
    assert_eq!(current.content.len(), 1 << 20);
    assert!(proxy.opened() > 0 && proxy.met() == 0);
    let late = Duration::from_millis(300);
    proxy.before(READ_BOT, Fate::Delay(late), 1);
    let begun = Instant::now();
    store.bots().get(owl).await.unwrap().unwrap();
    assert!(begun.elapsed() >= late && proxy.met() == 1);
    store.close().await.unwrap();
}

/// A call that may have to be made again until what fell silent has been given up.
async fn at_last<T, F: Future<Output = store::Result<T>>>(call: impl Fn(usize) -> F) -> T {
    let begun = Instant::now();
    for tries in 0.. {
        match within(5_000, call(tries)).await {
            Ok(done) => return done,
            Err(error) if begun.elapsed() > Duration::from_secs(6) => panic!("it never works again: {error:?}"),
            Err(_) => {}
        }
    }
    unreachable!()
}

/// The first two are late, each by another while, so that others gather behind each of them and go together; those then
/// fall silent. Who was sent on these two connections does not hear what became of it. Everybody after them is served.
async fn two_silent_sockets_do_not_stop_the_inserts_into_a_table(db: TestDatabase) {
    let proxy = Proxy::to(&db);
    let store = behind(&proxy, 10).await;
    store.bots().create(a_bot("before")).await.unwrap();
    proxy.before(INSERT_BOT, Fate::Delay(Duration::from_millis(200)), 1);
    proxy.before(INSERT_BOT, Fate::Delay(Duration::from_millis(600)), 1);
    proxy.before(INSERT_BOT, Fate::Silence, 2);
    let mut writers = vec![];
    for wave in 0..2 {
        writers.extend((0..20).map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.bots().create(a_bot(&format!("bot-{wave}-{n}"))).await })
        }));
        until("the first of them are silent", || proxy.met() >= 3).await;
    }
    for writer in writers {
        if let Err(error) = within(5_000, writer).await.unwrap() {
            let kinds = [ErrorKind::CommitUnknown, ErrorKind::Timeout, ErrorKind::Unavailable];
            assert!(kinds.contains(&error.kind()), "{error:?}");
        }
    }
    assert_eq!(proxy.met(), 4);
    let after = at_last(|tries| {
        let store = store.clone();
        async move { store.bots().create(a_bot(&format!("after-{tries}"))).await }
    });
    let after = after.await.slug;
    assert!(slugs(&open(&db).await).await.contains(&after.to_string()));
    assert_eq!(store.metrics().waiting, 0);
    within(2_500, store.close()).await.unwrap();
}

async fn transactions_on_silent_sockets_lose_no_places(db: TestDatabase) {
    let proxy = Proxy::to(&db);
    let store = behind(&proxy, 2).await;
    proxy.before(INSERT_BOT, Fate::Silence, 2);
    let lost = (0..2).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let work = |tx: Tx| async move {
                tx.bots().create(a_bot(&format!("lost-{n}"))).await?;
                Ok(())
            };
            store.transaction(work).await
        })
    });
    for lost in lost.collect::<Vec<_>>() {
        // Nothing of it was committed. It may have been run again, on a connection that speaks.
        if let Err(error) = within(5_000, lost).await.unwrap() {
            assert!(error.kind().is_retryable(), "{error:?}");
        }
    }
    assert_eq!(proxy.met(), 2);
    served_on_both_places(&store).await;
    within(2_500, store.close()).await.unwrap();
}

async fn reads_on_silent_sockets_lose_no_places(db: TestDatabase) {
    let proxy = Proxy::to(&db);
    let store = behind(&proxy, 2).await;
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    proxy.before(READ_BOT, Fate::Silence, 2);
    let reads = (0..2).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.bots().get(owl).await })
    });
    for read in reads.collect::<Vec<_>>() {
        if let Err(error) = within(5_000, read).await.unwrap() {
            assert!(error.kind().is_retryable(), "{error:?}");
        }
    }
    until("both are silent", || proxy.met() >= 1).await;
    served_on_both_places(&store).await;
    within(2_500, store.close()).await.unwrap();
}

/// Two transactions are open at once.
async fn served_on_both_places(store: &Store) {
    at_last(|tries| async move {
        let one = store.begin().await?;
        let other = store.begin().await?;
        one.bots().create(a_bot(&format!("one-{tries}"))).await?;
        other.bots().create(a_bot(&format!("other-{tries}"))).await?;
        one.commit().await?;
        other.commit().await
    })
    .await;
}

async fn a_store_with_silent_sockets_can_be_closed(db: TestDatabase) {
    let proxy = Proxy::to(&db);
    let store = behind(&proxy, 3).await;
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    proxy.fall_silent();
    let work = |tx: Tx| async move { tx.souls().save_version(owl, NewSoul::new("one")).await };
    assert!(within(5_000, store.transaction(work)).await.is_err());
    assert!(within(5_000, store.bots().get(owl)).await.is_err());
    assert!(within(5_000, store.bots().create(a_bot("lost"))).await.is_err());
    within(2_500, store.close()).await.unwrap();
}

/// Also who waited for somebody else's connection.
async fn who_waits_while_the_server_is_gone_hears_that_it_cannot_be_reached(db: TestDatabase) {
    let proxy = Proxy::to(&db);
    let mut config = hurry(proxy.config(), 4_000);
    config.pool.acquire_timeout = Duration::from_secs(1);
    let store = Store::open(config).await.unwrap();
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    proxy.before(INSERT_BOT, Fate::Delay(Duration::from_millis(300)), 2);
    let writers = (0..24).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.bots().create(a_bot(&format!("bot-{n}"))).await })
    });
    let writers = writers.collect::<Vec<_>>();
    until("two are on their way", || proxy.met() == 2).await;
    proxy.go_down();
    for writer in writers {
        let error = within(6_000, writer).await.unwrap().unwrap_err();
        told_of_the_server(&error, &[ErrorKind::Unavailable, ErrorKind::CommitUnknown]);
    }
    let error = within(6_000, store.bots().get(owl)).await.unwrap_err();
    told_of_the_server(&error, &[ErrorKind::Unavailable]);
    let error = within(6_000, store.begin()).await.unwrap_err();
    told_of_the_server(&error, &[ErrorKind::Unavailable]);
    proxy.come_back();
    at_last(|_| async { store.kv().set(owl, &key("back"), 1.into(), None).await }).await;
}

#[track_caller]
fn told_of_the_server(error: &Error, kinds: &[ErrorKind]) {
    assert!(kinds.contains(&error.kind()), "{error:?}");
    assert!(!error.to_string().contains("closed"), "{error}");
    let unreachable = error.to_string().contains("cannot be reached");
    assert!(unreachable || error.kind() == ErrorKind::CommitUnknown, "{error}");
}

/// A probe that asks for it waits a second or two.
async fn not_live(store: &Store) -> String {
    let health = within(1_600, store.health()).await;
    assert!(!health.live && !health.ready && !health.busy, "{health:?}");
    health.problem.expect("it is not live, and says nothing")
}

async fn health_says_soon_that_the_server_is_gone(db: TestDatabase) {
    let proxy = Proxy::to(&db);
    let store = Store::open(proxy.config()).await.unwrap();
    assert!(store.health().await.ready);
    proxy.go_down();
    // Connections that are left over from before, and none.
    for _ in 0..=proxy.opened() {
        let problem = not_live(&store).await;
        assert!(problem.contains("cannot be reached"), "{problem}");
    }
}

async fn health_says_soon_that_the_server_is_silent(db: TestDatabase) {
    let proxy = Proxy::to(&db);
    let store = Store::open(proxy.config()).await.unwrap();
    assert!(store.health().await.ready);
    proxy.fall_silent();
    for _ in 0..2 {
        not_live(&store).await;
    }
}

async fn health_is_good_again_when_the_server_is_back(db: TestDatabase) {
    let proxy = Proxy::to(&db);
    let store = Store::open(proxy.config()).await.unwrap();
    proxy.go_down();
    tokio::time::timeout(Duration::from_secs(2), store.health()).await.ok();
    proxy.come_back();
    let begun = Instant::now();
    while !within(3_000, store.health()).await.ready {
        assert!(begun.elapsed() < Duration::from_secs(5), "it stays down");
    }
}

/// Creates a bot and its soul, and counts how often it was run.
fn onboard(runs: &Arc<AtomicU32>) -> impl FnMut(Tx) -> futures_util::future::BoxFuture<'static, store::Result<()>> {
    let runs = Arc::clone(runs);
    move |tx| {
        runs.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let bot = tx.bots().create(a_bot("owl")).await?;
            tx.souls().save_version(bot.id, NewSoul::new("one")).await.map(drop)
        })
    }
}

async fn onboarded(db: &TestDatabase) -> bool {
    let store = open(db).await;
    let owl = store.bots().get_by_slug(&slug("owl")).await.unwrap();
    let versions = owl.map(|owl| owl.version_count);
    assert!(versions.is_none_or(|count| count == 1), "half of it is there");
    versions.is_some()
}

async fn a_closure_whose_connection_breaks_between_two_statements_is_run_again(db: TestDatabase) {
    let proxy = Proxy::to(&db);
    let store = Store::open(proxy.config()).await.unwrap();
    let runs = Arc::default();
    proxy.before(INSERT_SOUL, Fate::Cut, 1);
    within(5_000, store.transaction(onboard(&runs))).await.unwrap();
    assert_eq!((proxy.met(), runs.load(Ordering::SeqCst)), (1, 2));
    assert!(onboarded(&db).await);
}

/// The server ran it, but nothing of the transaction is kept without a COMMIT.
async fn a_closure_whose_statement_is_not_answered_is_run_again(db: TestDatabase) {
    let proxy = Proxy::to(&db);
    let store = Store::open(proxy.config()).await.unwrap();
    let runs = Arc::default();
    proxy.after(INSERT_SOUL, Fate::Cut, 1);
    within(5_000, store.transaction(onboard(&runs))).await.unwrap();
    assert_eq!((proxy.met(), runs.load(Ordering::SeqCst)), (1, 2));
    assert!(onboarded(&db).await);
}

async fn a_method_whose_connection_breaks_between_its_statements_is_run_again(db: TestDatabase) {
    let proxy = Proxy::to(&db);
    let store = Store::open(proxy.config()).await.unwrap();
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    proxy.before(INSERT_SOUL, Fate::Cut, 1);
    let saved = within(5_000, store.souls().save_version(owl, NewSoul::new("one"))).await;
    assert_eq!(saved.unwrap().version, 1);
    assert_eq!(proxy.met(), 1);
    assert!(onboarded(&db).await);
}

/// Nobody knows whether it is stored: running it again might do it twice.
async fn a_commit_that_is_not_answered_is_not_run_again(db: TestDatabase) {
    let proxy = Proxy::to(&db);
    let store = Store::open(proxy.config()).await.unwrap();
    let runs = Arc::default();
    proxy.after("COMMIT", Fate::Cut, 1);
    let outcome = within(5_000, store.transaction(onboard(&runs))).await;
    refused(outcome, ErrorKind::CommitUnknown, None);
    assert_eq!((proxy.met(), runs.load(Ordering::SeqCst)), (1, 1));
    assert!(onboarded(&db).await, "this one is");
}

async fn a_transaction_by_hand_whose_connection_breaks_hears_so(db: TestDatabase) {
    let proxy = Proxy::to(&db);
    let store = Store::open(proxy.config()).await.unwrap();
    let tx = store.begin().await.unwrap();
    let owl = tx.bots().create(a_bot("owl")).await.unwrap().id;
    proxy.before(INSERT_SOUL, Fate::Cut, 1);
    let saved = within(5_000, tx.souls().save_version(owl, NewSoul::new("one"))).await;
    refused(saved, ErrorKind::Unavailable, None);
    refused(within(5_000, tx.commit()).await, ErrorKind::TransactionAborted, None);
    assert!(!onboarded(&db).await);
    store.bots().create(a_bot("next")).await.unwrap();
}
