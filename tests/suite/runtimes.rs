//! One store used from several runtimes, of which one ends in the middle of the work.

use std::collections::BTreeSet;
use std::time::Duration;

use store::prelude::*;
use store::testkit::{Backend, TestDatabase};
use tokio::runtime::{Handle, Runtime};

use crate::support::{a_bot, open, slug, slugs};

store::testkit::tests![
    who_comes_after_a_runtime_finds_nothing_of_it,
    who_stands_in_line_with_a_runtime_that_ends_is_served,
    a_runtime_that_ends_with_waiting_writes_leaves_a_store_that_works,
    a_store_outlives_the_runtime_it_was_opened_in,
    a_transaction_that_outlives_its_runtime_keeps_nothing,
];

const WRITERS: usize = 48;

fn another_runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

/// Ends it as a program's end does, or at once and without waiting for its tasks.
async fn end(runtime: Runtime, waiting: bool) {
    if waiting {
        tokio::task::spawn_blocking(move || drop(runtime)).await.unwrap();
    } else {
        runtime.shutdown_background();
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, work).await.expect("it goes on for ever")
}

/// A call while a runtime is ending, which may meet that and hears so then: on Postgres connections that were opened
/// there, on SQLite a line whose leader is about to end.
async fn at_last<T, Fut>(db: &TestDatabase, call: impl Fn(usize) -> Fut) -> T
where
    Fut: Future<Output = store::Result<T>>,
{
    let left_behind = match db.backend() {
        Backend::Sqlite => 3,
        Backend::Postgres => db.config().pool.max_connections as usize,
    };
    for tries in 0..left_behind {
        match within(call(tries)).await {
            Ok(done) => return done,
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::CommitUnknown),
                "{error:?}"
            ),
        }
    }
    within(call(left_behind)).await.unwrap()
}

/// Half of the writers send one statement, half a transaction, so there are appends that wait and groups in the making.
async fn write(store: Store, name: String, whole: bool) -> store::Result<String> {
    if whole {
        let bot = a_bot(&name);
        let work = |tx: Tx| {
            let bot = bot.clone();
            async move {
                let bot = tx.bots().create(bot).await?;
                tx.souls().save_version(bot.id, NewSoul::new("one")).await.map(drop)
            }
        };
        store.transaction(work).await?;
    } else {
        store.bots().create(a_bot(&name)).await?;
    }
    Ok(name)
}

/// As tests do that share a store, each with a runtime of its own.
async fn who_comes_after_a_runtime_finds_nothing_of_it(db: TestDatabase) {
    let store = open(&db).await;
    for round in 0..5 {
        let elsewhere = another_runtime();
        all_of_it_works(&store, elsewhere.handle(), &format!("there-{round}")).await;
        end(elsewhere, true).await;
        all_of_it_works(&store, &Handle::current(), &format!("here-{round}")).await;
    }
}

async fn all_of_it_works(store: &Store, runtime: &Handle, name: &str) {
    let tasks = (0..WRITERS).map(|n| {
        let (store, name) = (store.clone(), format!("{name}-{n}"));
        runtime.spawn(async move {
            write(store.clone(), name.clone(), n % 2 == 0).await.unwrap();
            store.bots().get_by_slug(&slug(&name)).await.unwrap().unwrap();
            let page = store.bots().list(BotFilter::default(), PageRequest::first(2)).await;
            assert!(!page.unwrap().items.is_empty());
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

/// As tests do that run at the same time. Only what the database is about to confirm at that moment is left open, and on
/// Postgres a transaction on a connection that was opened there is lost.
async fn who_stands_in_line_with_a_runtime_that_ends_is_served(db: TestDatabase) {
    let store = open(&db).await;
    let mut acknowledged = BTreeSet::new();
    for round in 0..20_u64 {
        let elsewhere = another_runtime();
        for n in 0..WRITERS {
            let store = store.clone();
            elsewhere.spawn(async move {
                for next in 0.. {
                    let name = format!("there-{round}-{n}-{next}");
                    if write(store.clone(), name, n % 2 == 0).await.is_err() {
                        return;
                    }
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(5 + round)).await;
        let here = (0..WRITERS).map(|n| {
            let work = write(store.clone(), format!("here-{round}-{n}"), n % 2 == 0);
            tokio::spawn(work)
        });
        let here = here.collect::<Vec<_>>();
        tokio::time::sleep(Duration::from_millis(1)).await;
        end(elsewhere, round % 2 == 0).await;
        for one in here {
            match within(one).await.unwrap().map_err(|error| error.kind()) {
                Ok(name) => assert!(acknowledged.insert(name)),
                Err(ErrorKind::CommitUnknown) => {}
                Err(kind) => assert_eq!((kind, db.backend()), (ErrorKind::Unavailable, Backend::Postgres)),
            }
        }
    }
    assert!(acknowledged.len() > 20 * WRITERS / 2, "{}", acknowledged.len());
    let all = slugs(&open(&db).await).await.into_iter().collect::<BTreeSet<_>>();
    assert!(acknowledged.is_subset(&all));
    within(store.close()).await.unwrap();
}

async fn a_runtime_that_ends_with_waiting_writes_leaves_a_store_that_works(db: TestDatabase) {
    let store = open(&db).await;
    let mut acknowledged = vec![];
    for round in 0..12_u64 {
        let elsewhere = another_runtime();
        let writers = (0..WRITERS).map(|n| {
            let work = write(store.clone(), format!("bot-{round}-{n}"), n % 2 == 0);
            elsewhere.spawn(work)
        });
        let writers = writers.collect::<Vec<_>>();
        tokio::time::sleep(Duration::from_micros(round * round * 200)).await;
        let waiting = round % 2 == 0;
        end(elsewhere, waiting).await;
        for writer in writers {
            if let Ok(Ok(name)) = within(writer).await {
                acknowledged.push(name);
            }
        }
        let next = |tries| write(store.clone(), format!("next-{round}-{tries}"), round % 4 < 2);
        acknowledged.push(match waiting {
            true => within(next(0)).await.unwrap(),
            false => at_last(&db, next).await,
        });
        assert_eq!(store.metrics().waiting, 0);
    }
    let witness = open(&db).await;
    let all = slugs(&witness).await;
    for name in acknowledged {
        assert!(all.contains(&name), "{name} was acknowledged and is not there");
    }
    for round in 0..12 {
        for n in (0..WRITERS).step_by(2) {
            let bot = witness.bots().get_by_slug(&slug(&format!("bot-{round}-{n}"))).await;
            let versions = bot.unwrap().map(|bot| bot.version_count);
            assert!(
                versions.is_none_or(|count| count == 1),
                "bot-{round}-{n} is there by half"
            );
        }
    }
    within(store.close()).await.unwrap();
}

/// Its connections were opened there, and where a task outlives its caller, that is where it would run.
async fn a_store_outlives_the_runtime_it_was_opened_in(db: TestDatabase) {
    let elsewhere = another_runtime();
    let config = db.config();
    let store = elsewhere.spawn(Store::open(config)).await.unwrap().unwrap();
    let busy = (0..WRITERS).map(|n| elsewhere.spawn(write(store.clone(), format!("bot-{n}"), n % 2 == 0)));
    let busy = busy.collect::<Vec<_>>();
    end(elsewhere, true).await;
    drop(busy);
    within(all_of_it_works(&store, &Handle::current(), "next")).await;
    within(store.close()).await.unwrap();
}

/// Dropped where there is a runtime, and where there is none: the next one finds no open transaction, and nothing of it.
async fn a_transaction_that_outlives_its_runtime_keeps_nothing(db: TestDatabase) {
    let mut kept = BTreeSet::new();
    for in_a_thread in [false, true] {
        for opened_elsewhere in [false, true] {
            let elsewhere = another_runtime();
            let config = db.config();
            let store = match opened_elsewhere {
                true => elsewhere.spawn(Store::open(config)).await.unwrap().unwrap(),
                false => Store::open(config).await.unwrap(),
            };
            let tx = elsewhere.spawn({
                let store = store.clone();
                async move {
                    let tx = store.begin().await.unwrap();
                    tx.bots().create(a_bot("dropped")).await.unwrap();
                    tx
                }
            });
            let tx = tx.await.unwrap();
            end(elsewhere, true).await;
            if in_a_thread {
                std::thread::spawn(move || drop(tx)).join().unwrap();
            } else {
                drop(tx);
            }
            let name = format!("next-{in_a_thread}-{opened_elsewhere}");
            kept.insert(within(write(store.clone(), name, false)).await.unwrap());
            let seen = within(seen_by_a_transaction(&store)).await.unwrap();
            assert!(kept.iter().all(|name| seen.contains(name)), "{seen:?}");
            assert!(!seen.contains(&"dropped".to_owned()));
            within(store.close()).await.unwrap();
        }
    }
    let all = slugs(&open(&db).await).await;
    assert!(kept.len() == 4 && !all.contains(&"dropped".to_owned()), "{all:?}");
}

async fn seen_by_a_transaction(store: &Store) -> store::Result<Vec<String>> {
    let tx = store.begin().await?;
    let page = tx.bots().list(BotFilter::default(), PageRequest::first(100)).await?;
    tx.commit().await?;
    Ok(page.items.into_iter().map(|bot| bot.slug.to_string()).collect())
}
