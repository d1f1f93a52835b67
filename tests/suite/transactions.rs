//! Transactions: all or nothing, serializable, doomed by a failure, on both databases alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use store::prelude::*;
use store::testkit::{Backend, TestDatabase};

use crate::support::{a_bot, cut_connections, open, refused, slug, slugs};

store::testkit::tests! {
    on_sqlite: [
        a_lock_of_another_program_is_waited_for_by_the_first_statement,
        a_transaction_without_a_statement_waits_for_nobody,
    ],
    on_both: [
        what_is_committed_is_there_and_what_is_not_is_not,
        an_error_of_the_closure_undoes_everything,
        the_callers_own_error_comes_back,
        a_failed_operation_dooms_the_transaction,
        a_rule_broken_before_the_database_is_asked_dooms_it_too,
        a_scope_fences_a_failure,
        scopes_nest,
        the_outer_transaction_rests_while_a_scope_is_open,
        a_scope_that_ends_well_is_kept,
        an_abandoned_scope_dooms_the_transaction,
        a_call_abandoned_half_way_dooms_the_transaction,
        a_scope_cannot_be_committed_by_hand,
        an_ended_transaction_takes_no_more,
        a_panic_undoes_everything,
        decisions_of_transactions_hold,
        a_lost_race_runs_the_closure_again,
        a_transaction_sees_its_own_writes_and_others_do_not,
        repositories_work_alike_on_store_and_transaction,
        a_write_on_the_store_inside_its_transaction_is_refused,
        a_transaction_begins_on_a_connection_that_answers,
    ],
}

async fn what_is_committed_is_there_and_what_is_not_is_not(db: TestDatabase) {
    let store = open(&db).await;
    let kept = store.begin().await.unwrap();
    kept.bots().create(a_bot("kept")).await.unwrap();
    kept.commit().await.unwrap();

    let undone = store.begin().await.unwrap();
    undone.bots().create(a_bot("undone")).await.unwrap();
    undone.rollback().await;

    let dropped = store.begin().await.unwrap();
    dropped.bots().create(a_bot("dropped")).await.unwrap();
    drop(dropped);

    assert_eq!(slugs(&store).await, ["kept"]);
    assert_eq!(slugs(&open(&db).await).await, ["kept"]);
}

async fn an_error_of_the_closure_undoes_everything(db: TestDatabase) {
    let store = open(&db).await;
    let outcome = store
        .transaction(|tx| async move {
            tx.bots().create(a_bot("a")).await?;
            tx.users().delete(store_id()).await
        })
        .await;
    refused(outcome, ErrorKind::NotFound, None);
    assert!(slugs(&store).await.is_empty());
}

fn store_id() -> UserId {
    UserId("00000000-0000-7000-8000-000000000000".parse().unwrap())
}

#[derive(Debug, PartialEq)]
struct OutOfCoffee;

impl std::fmt::Display for OutOfCoffee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("out of coffee")
    }
}

impl std::error::Error for OutOfCoffee {}

async fn the_callers_own_error_comes_back(db: TestDatabase) {
    let store = open(&db).await;
    let outcome: store::Result<()> = store
        .transaction(|tx| async move {
            tx.bots().create(a_bot("a")).await?;
            Err(Error::application(OutOfCoffee))
        })
        .await;
    let error = refused(outcome, ErrorKind::Application, None);
    assert!(error.to_string().contains("out of coffee"));
    assert_eq!(error.into_application::<OutOfCoffee>().unwrap(), OutOfCoffee);
    assert!(slugs(&store).await.is_empty());
}

/// On Postgres nothing works after an error and COMMIT says it is fine; on SQLite everything works and is kept.
async fn a_failed_operation_dooms_the_transaction(db: TestDatabase) {
    let store = open(&db).await;
    store.bots().create(a_bot("taken")).await.unwrap();

    let tx = store.begin().await.unwrap();
    tx.bots().create(a_bot("before")).await.unwrap();
    refused(
        tx.bots().create(a_bot("taken")).await,
        ErrorKind::Conflict,
        Some("uq_bots_slug"),
    );
    refused(
        tx.bots().create(a_bot("after")).await,
        ErrorKind::TransactionAborted,
        None,
    );
    refused(
        tx.bots().get_by_slug(&slug("taken")).await,
        ErrorKind::TransactionAborted,
        None,
    );
    let error = refused(tx.commit().await, ErrorKind::TransactionAborted, None);
    assert!(
        error.to_string().contains("uq_bots_slug"),
        "it tells the first failure: {error}"
    );
    assert_eq!(slugs(&store).await, ["taken"]);

    // The closure form does not let a swallowed failure pass for success either.
    let outcome = store
        .transaction(|tx| async move {
            tx.bots().create(a_bot("before")).await?;
            _ = tx.bots().create(a_bot("taken")).await;
            Ok(())
        })
        .await;
    refused(outcome, ErrorKind::TransactionAborted, None);
    assert_eq!(slugs(&store).await, ["taken"]);
}

async fn a_rule_broken_before_the_database_is_asked_dooms_it_too(db: TestDatabase) {
    let store = open(&db).await;
    let tx = store.begin().await.unwrap();
    let nameless = NewBot {
        name: "\0".into(),
        ..a_bot("nul")
    };
    refused(tx.bots().create(nameless).await, ErrorKind::InvalidInput, None);
    refused(tx.commit().await, ErrorKind::TransactionAborted, None);
}

async fn a_scope_fences_a_failure(db: TestDatabase) {
    let store = open(&db).await;
    store.bots().create(a_bot("taken")).await.unwrap();
    store
        .transaction(|tx| async move {
            tx.bots().create(a_bot("before")).await?;
            let outcome = tx
                .scope(|inner| async move {
                    inner.bots().create(a_bot("inside")).await?;
                    inner.bots().create(a_bot("taken")).await
                })
                .await;
            refused(outcome, ErrorKind::Conflict, Some("uq_bots_slug"));
            tx.bots().create(a_bot("behind")).await?;
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(slugs(&store).await, ["before", "behind", "taken"]);
}

async fn scopes_nest(db: TestDatabase) {
    let store = open(&db).await;
    store
        .transaction(|tx| async move {
            tx.scope(|outer| async move {
                outer.bots().create(a_bot("outer")).await?;
                let undone: store::Result<()> = outer
                    .scope(|inner| async move {
                        inner.bots().create(a_bot("inner")).await?;
                        Err(Error::application(OutOfCoffee))
                    })
                    .await;
                refused(undone, ErrorKind::Application, None);
                outer
                    .scope(|inner| async move { inner.bots().create(a_bot("second")).await })
                    .await
            })
            .await
        })
        .await
        .unwrap();
    assert_eq!(slugs(&store).await, ["outer", "second"]);
}

async fn the_outer_transaction_rests_while_a_scope_is_open(db: TestDatabase) {
    let store = open(&db).await;
    let outcome = store
        .transaction(|tx| async move {
            let outer = tx.clone();
            tx.scope(|inner| async move {
                inner.bots().create(a_bot("inside")).await?;
                outer.bots().create(a_bot("outside")).await
            })
            .await
        })
        .await;
    refused(outcome, ErrorKind::TransactionAborted, None);
    assert!(slugs(&store).await.is_empty());
}

async fn a_scope_that_ends_well_is_kept(db: TestDatabase) {
    let store = open(&db).await;
    let tx = store.begin().await.unwrap();
    tx.scope(|inner| async move { inner.bots().create(a_bot("inside")).await })
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(slugs(&store).await, ["inside"]);
}

async fn an_abandoned_scope_dooms_the_transaction(db: TestDatabase) {
    let store = open(&db).await;
    let tx = store.begin().await.unwrap();
    let scope = tx.scope(|inner| async move {
        inner.bots().create(a_bot("inside")).await?;
        std::future::pending::<store::Result<()>>().await
    });
    tokio::time::timeout(Duration::from_millis(300), scope)
        .await
        .unwrap_err();
    is_doomed(tx, &store).await;
}

/// It takes no more calls, and nothing of it is kept.
async fn is_doomed(tx: Tx, store: &Store) {
    refused(
        tx.bots().create(a_bot("after")).await,
        ErrorKind::TransactionAborted,
        None,
    );
    refused(tx.commit().await, ErrorKind::TransactionAborted, None);
    assert!(slugs(store).await.is_empty());
}

async fn a_call_abandoned_half_way_dooms_the_transaction(db: TestDatabase) {
    let store = open(&db).await;
    let tx = store.begin().await.unwrap();
    let entry = NewAuditEntry {
        bot_id: crate::support::missing(),
        memory_id: MemoryId::new("memory").unwrap(),
        action: AuditAction::Add,
        actor: "owl".into(),
        details: None,
    };
    // One poll sends the first rows, which take the database longer than the poll.
    let audit = tx.audit();
    let mut call = Box::pin(audit.log_many(vec![entry.clone(); 5_000]));
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(call);
    is_doomed(tx, &store).await;
    let logged = store
        .audit()
        .for_bot(entry.bot_id, PageRequest::default())
        .await
        .unwrap();
    assert!(logged.items.is_empty());
    store.bots().create(a_bot("next")).await.unwrap();
}

async fn a_scope_cannot_be_committed_by_hand(db: TestDatabase) {
    let store = open(&db).await;
    let tx = store.begin().await.unwrap();
    let outcome = tx
        .scope(|inner| async move {
            inner.bots().create(a_bot("inside")).await?;
            inner.commit().await
        })
        .await;
    refused(outcome, ErrorKind::TransactionAborted, None);
    tx.bots().create(a_bot("outside")).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(slugs(&store).await, ["outside"]);
}

async fn an_ended_transaction_takes_no_more(db: TestDatabase) {
    let store = open(&db).await;
    let tx = store.begin().await.unwrap();
    let clone = tx.clone();
    tx.commit().await.unwrap();
    refused(
        clone.bots().create(a_bot("late")).await,
        ErrorKind::TransactionAborted,
        None,
    );
    refused(clone.commit().await, ErrorKind::TransactionAborted, None);
}

async fn a_panic_undoes_everything(db: TestDatabase) {
    let store = open(&db).await;
    let panicking = store.clone();
    let task = tokio::spawn(async move {
        let work = |tx: Tx| async move {
            tx.bots().create(a_bot("a")).await?;
            if tx.bots().get_by_slug(&slug("a")).await?.is_some() {
                std::panic::resume_unwind(Box::new("as the test wants it"));
            }
            Ok(())
        };
        panicking.transaction(work).await
    });
    assert!(task.await.unwrap_err().is_panic());
    assert!(slugs(&store).await.is_empty());
    store.bots().create(a_bot("a")).await.unwrap();
}

/// Each creates a bot if there are fewer than five: with anything weaker than serializable, more than five come out.
async fn decisions_of_transactions_hold(db: TestDatabase) {
    let store = open(&db).await;
    let tasks = (0..12).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let work = |tx: Tx| async move {
                let there = tx
                    .bots()
                    .list(BotFilter::default(), PageRequest::first(10))
                    .await?
                    .items
                    .len();
                if there < 5 {
                    tx.bots().create(a_bot(&format!("bot-{n}"))).await?;
                }
                Ok(there < 5)
            };
            store.transaction(work).await
        })
    });
    let mut created = 0;
    for task in tasks.collect::<Vec<_>>() {
        created += u32::from(task.await.unwrap().unwrap());
    }
    assert_eq!(created, 5);
    assert_eq!(slugs(&store).await.len(), 5);
}

/// On SQLite nobody can come in between; on Postgres somebody does, and the closure runs again. The answer is the same.
async fn a_lost_race_runs_the_closure_again(db: TestDatabase) {
    let store = open(&db).await;
    let bot = store.bots().create(a_bot("a")).await.unwrap();
    let runs = Arc::new(AtomicU32::new(0));
    let racers = (0..8).map(|_| {
        let (store, runs) = (store.clone(), Arc::clone(&runs));
        tokio::spawn(async move {
            let work = |tx: Tx| {
                runs.fetch_add(1, Ordering::Relaxed);
                async move {
                    let now = tx.bots().get(bot.id).await?.unwrap();
                    let tags = [now.tags, vec!["x".to_owned()]].concat();
                    tokio::task::yield_now().await;
                    tx.bots()
                        .update(
                            bot.id,
                            BotChange {
                                tags: Some(tags),
                                ..BotChange::default()
                            },
                        )
                        .await
                }
            };
            store.transaction(work).await
        })
    });
    for racer in racers.collect::<Vec<_>>() {
        racer.await.unwrap().unwrap();
    }
    assert_eq!(
        store.bots().get(bot.id).await.unwrap().unwrap().tags.len(),
        8,
        "no update was lost"
    );
    assert!(runs.load(Ordering::Relaxed) >= 8);
}

async fn a_transaction_sees_its_own_writes_and_others_do_not(db: TestDatabase) {
    let store = open(&db).await;
    let tx = store.begin().await.unwrap();
    tx.bots().create(a_bot("a")).await.unwrap();
    assert_eq!(slugs(&tx).await, ["a"]);
    assert!(
        slugs(&store).await.is_empty(),
        "readers are not held up and see the last commit"
    );
    tx.commit().await.unwrap();
    assert_eq!(slugs(&store).await, ["a"]);
}

async fn repositories_work_alike_on_store_and_transaction(db: TestDatabase) {
    async fn onboard(on: &impl Repositories, name: &str) -> store::Result<SoulVersion> {
        let bot = on.bots().create(a_bot(name)).await?;
        on.souls().save_version(bot.id, NewSoul::new("Be kind.")).await
    }
    let store = open(&db).await;
    onboard(&store, "direct").await.unwrap();
    store
        .transaction(|tx| async move { onboard(&tx, "within").await })
        .await
        .unwrap();
    assert_eq!(slugs(&store).await, ["direct", "within"]);
}

/// It would wait for the transaction that it is made in, until the deadline; on Postgres it would go its own way.
async fn a_write_on_the_store_inside_its_transaction_is_refused(db: TestDatabase) {
    let store = open(&db).await;
    let outside = &store;
    let outcome = store
        .transaction(|tx| async move {
            tx.bots().create(a_bot("inside")).await?;
            outside.bots().create(a_bot("outside")).await
        })
        .await;
    let error = refused(outcome, ErrorKind::InvalidInput, None);
    assert!(error.to_string().contains("`tx`"), "{error}");
    let nested = store
        .transaction(|_| async move { outside.begin().await.map(drop) })
        .await;
    refused(nested, ErrorKind::InvalidInput, None);
    assert!(slugs(&store).await.is_empty());
    // Another store's transaction is another matter, and so is what comes afterwards.
    let another = store::Store::open(db.another().await.config()).await.unwrap();
    let elsewhere = &another;
    store
        .transaction(|_| async move { elsewhere.bots().create(a_bot("elsewhere")).await })
        .await
        .unwrap();
    store.bots().create(a_bot("after")).await.unwrap();
}

async fn a_transaction_begins_on_a_connection_that_answers(db: TestDatabase) {
    let store = open(&db).await;
    let bot = |name: &str| {
        let bot = a_bot(name);
        move |tx: Tx| {
            let bot = bot.clone();
            async move { tx.bots().create(bot).await.map(drop) }
        }
    };
    store.transaction(bot("before")).await.unwrap();
    cut_connections(&db).await;
    store.transaction(bot("closure")).await.unwrap();
    cut_connections(&db).await;
    let tx = store.begin().await.unwrap();
    bot("by-hand")(tx.clone()).await.unwrap();
    tx.commit().await.unwrap();
    cut_connections(&db).await;
    // One whose connections are cut while it is open is not kept.
    let tx = store.begin().await.unwrap();
    bot("cut")(tx.clone()).await.unwrap();
    cut_connections(&db).await;
    if db.backend() == Backend::Postgres {
        refused(bot("after")(tx.clone()).await, ErrorKind::Unavailable, None);
    }
    drop(tx);
    assert_eq!(slugs(&store).await, ["before", "by-hand", "closure"]);
}

/// A store that is not patient, and another one on the same file that has the lock.
async fn locked_out(db: &TestDatabase) -> (Store, Tx) {
    let mut config = db.config();
    config.sqlite.busy_timeout = Duration::from_millis(20);
    config.operation_timeout = Duration::from_secs(1);
    let store = Store::open(config).await.unwrap();
    let lock = open(db).await.begin().await.unwrap();
    lock.bots().create(a_bot("lock")).await.unwrap();
    (store, lock)
}

async fn a_lock_of_another_program_is_waited_for_by_the_first_statement(db: TestDatabase) {
    let (store, lock) = locked_out(&db).await;
    refused(store.begin().await.map(drop), ErrorKind::Contention, None);
    let one = |tx: Tx| async move { tx.bots().create(a_bot("one")).await.map(drop) };
    refused(store.transaction(one).await, ErrorKind::Contention, None);
    // Also when the closure keeps the error to itself.
    let silent = |tx: Tx| async move {
        _ = tx.bots().create(a_bot("one")).await;
        Ok(())
    };
    refused(store.transaction(silent).await, ErrorKind::Contention, None);
    let scoped = |tx: Tx| async move { tx.scope(one).await };
    refused(store.transaction(scoped).await, ErrorKind::Contention, None);
    let (first, second) = tokio::join!(store.transaction(one), store.transaction(scoped));
    refused(first, ErrorKind::Contention, None);
    refused(second, ErrorKind::Contention, None);
    lock.commit().await.unwrap();
    store.transaction(scoped).await.unwrap();
    assert_eq!(slugs(&open(&db).await).await, ["lock", "one"]);
}

async fn a_transaction_without_a_statement_waits_for_nobody(db: TestDatabase) {
    let (store, lock) = locked_out(&db).await;
    store.transaction(|_| async { Ok(()) }).await.unwrap();
    let refusing = |_| async { Err::<(), _>(Error::application("no")) };
    refused(store.transaction(refusing).await, ErrorKind::Application, None);
    assert_eq!(store.metrics().retries, 0);
    lock.rollback().await;
    store.bots().create(a_bot("next")).await.unwrap();
    assert_eq!(slugs(&open(&db).await).await, ["next"]);
}
