//! What a transaction may see of others, and others of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use store::prelude::*;
use store::testkit::TestDatabase;
use tokio::sync::watch;

use super::{Own, impatient, literal, sql, within};
use crate::support::{a_bot, key, open, refused, slug};

store::testkit::tests! {
    on_both: [
        a_run_is_not_completed_beside_a_step_that_nobody_has_seen,
        a_bot_that_a_table_of_the_users_own_refers_to_is_refused_at_once,
        a_workflow_that_a_table_of_the_users_own_refers_to_is_refused_at_once,
        a_read_on_the_store_inside_its_transaction_is_refused,
        closures_that_read_on_the_store_do_not_wait_for_each_other,
        two_scopes_at_once_lose_nothing_of_each_other,
    ],
    on_postgres: [sets_of_many_keys_in_two_orders_do_not_wait_for_each_other],
}

/// A closure lists the steps and completes the run, which takes the lease away; a step is logged under the lease in
/// between. In either order one of the two sees the other.
async fn a_run_is_not_completed_beside_a_step_that_nobody_has_seen(db: TestDatabase) {
    let store = open(&db).await;
    let workflows = store.workflows();
    let draft = WorkflowDraft::new(WorkflowName::new("w").unwrap(), json!({}));
    let workflow = workflows.save_definition(draft).await.unwrap().id;
    workflows.create_run(NewRun::new(workflow)).await.unwrap();
    let lease = Duration::from_secs(60);
    let lease = workflows
        .claim_runs(&key("worker"), 1, lease)
        .await
        .unwrap()
        .remove(0)
        .lease;
    let (listed, mut has_listed) = watch::channel(false);
    let (logged, has_logged) = watch::channel(false);
    let listed = Arc::new(listed);
    let completing = tokio::spawn({
        let (store, lease) = (store.clone(), lease.clone());
        async move {
            let work = |tx: Tx| {
                let (lease, listed, mut has_logged) = (lease.clone(), Arc::clone(&listed), has_logged.clone());
                async move {
                    let steps = tx.workflows().list_step_logs(lease.run, PageRequest::default()).await?;
                    listed.send_replace(true);
                    // On SQLite it is logged after this one, or not at all.
                    let limit = Duration::from_secs(1);
                    drop(tokio::time::timeout(limit, has_logged.wait_for(|logged| *logged)).await);
                    let change = RunChange::to(RunStatus::Completed);
                    tx.workflows()
                        .update_run_status(lease.run, change, Some(&lease))
                        .await?;
                    Ok(steps.items.len())
                }
            };
            store.transaction(work).await
        }
    });
    within(5_000, has_listed.wait_for(|listed| *listed)).await.unwrap();
    let step = workflows.create_step_log(lease.run, NewStep::new(key("step")), Some(&lease));
    let step = within(10_000, step).await;
    logged.send_replace(true);
    let seen = within(10_000, completing).await.unwrap().unwrap();
    let stored = workflows
        .list_step_logs(lease.run, PageRequest::default())
        .await
        .unwrap();
    if let Err(error) = &step {
        assert_eq!(error.kind(), ErrorKind::Fenced, "{error:?}");
    }
    assert_eq!(stored.items.len(), usize::from(step.is_ok()));
    assert_eq!(
        seen,
        stored.items.len(),
        "the run was completed without a step that was logged before"
    );
}

/// Trying it again would not help: it is no race.
async fn refused_at_once(store: &Store, outcome: store::Result<()>, begun: Instant, retries: u64) {
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ForeignKey);
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "it took {:?}",
        begun.elapsed()
    );
    let retries = store.metrics().retries - retries;
    assert!(retries <= 2, "{retries} retries");
}

async fn a_bot_that_a_table_of_the_users_own_refers_to_is_refused_at_once(db: TestDatabase) {
    let store = open(&db).await;
    store.migrate::<Own>().await.unwrap();
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    let pin = literal(&db, owl.0);
    let insert = format!("INSERT INTO app_pins (id, bot_id) VALUES ({pin}, {pin})");
    assert_eq!(sql(&store, insert).await.unwrap(), 1);
    let (begun, retries) = (Instant::now(), store.metrics().retries);
    let outcome = store.bots().delete(owl).await;
    refused_at_once(&store, outcome, begun, retries).await;
    sql(&store, "DELETE FROM app_pins").await.unwrap();
    store.bots().delete(owl).await.unwrap();
}

async fn a_workflow_that_a_table_of_the_users_own_refers_to_is_refused_at_once(db: TestDatabase) {
    let store = open(&db).await;
    store.migrate::<Own>().await.unwrap();
    let draft = WorkflowDraft::new(WorkflowName::new("w").unwrap(), json!({}));
    let workflow = store.workflows().save_definition(draft).await.unwrap().id;
    let pin = literal(&db, workflow.0);
    let insert = format!("INSERT INTO app_pins (id, workflow_id) VALUES ({pin}, {pin})");
    assert_eq!(sql(&store, insert).await.unwrap(), 1);
    let (begun, retries) = (Instant::now(), store.metrics().retries);
    let outcome = store.workflows().purge_definition(workflow).await.map(drop);
    refused_at_once(&store, outcome, begun, retries).await;
    sql(&store, "DELETE FROM app_pins").await.unwrap();
    store.workflows().purge_definition(workflow).await.unwrap();
}

/// It would be no part of the transaction, and would not see what that has written.
async fn a_read_on_the_store_inside_its_transaction_is_refused(db: TestDatabase) {
    let store = open(&db).await;
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    let another = Store::open(db.another().await.config()).await.unwrap();
    let (outside, elsewhere) = (&store, &another);
    store
        .transaction(|tx| async move {
            tx.bots().create(a_bot("inside")).await?;
            let page = PageRequest::default;
            for outcome in [
                outside.bots().get(owl).await.map(drop),
                outside.bots().get_by_slug(&slug("owl")).await.map(drop),
                outside.bots().list(BotFilter::default(), page()).await.map(drop),
                outside.kv().get(owl, &key("k")).await.map(drop),
                outside.missions().tool_stats(None).await.map(drop),
            ] {
                let error = refused(outcome, ErrorKind::InvalidInput, None);
                assert!(error.to_string().contains("`tx`"), "{error}");
            }
            // Another store is another matter.
            assert!(elsewhere.bots().get(owl).await?.is_none());
            assert!(tx.bots().get(owl).await?.is_some());
            Ok(())
        })
        .await
        .unwrap();
    assert!(store.bots().get(owl).await.unwrap().is_some());
}

/// As many closures as there are connections, each of which would need one more.
async fn closures_that_read_on_the_store_do_not_wait_for_each_other(db: TestDatabase) {
    let mut config = impatient(&db, 3_000);
    config.pool.max_connections = 2;
    let store = Store::open(config).await.unwrap();
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    let begun = Instant::now();
    let closures = (0..8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            let outside = &store;
            let work = |tx: Tx| async move {
                tx.kv().set(owl, &key(&format!("key-{n}")), n.into(), None).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(outside.bots().get(owl).await.map(drop).map_err(|error| error.kind()))
            };
            store.transaction(work).await
        })
    });
    for closure in closures.collect::<Vec<_>>() {
        let read = within(10_000, closure).await.unwrap().unwrap();
        assert_eq!(read, Err(ErrorKind::InvalidInput));
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// On two threads, again and again: each scope is run properly, or refused. Of those that were run, one that ends well
/// is kept, and one that fails is undone.
async fn two_scopes_at_once_lose_nothing_of_each_other(db: TestDatabase) {
    const SCOPES: usize = 100;
    let store = open(&db).await;
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    let begun = Instant::now();
    let mut round = 0;
    while begun.elapsed() < Duration::from_secs(4) {
        let tx = store.begin().await.unwrap();
        let tasks = [true, false].map(|keeps| {
            let tx = tx.clone();
            tokio::spawn(async move {
                let mut run = vec![];
                for n in 0..SCOPES {
                    run.push(until_it_is_run(&tx, owl, &format!("{round}-{keeps}-{n}"), keeps).await);
                }
                run
            })
        });
        let mut wanted = BTreeSet::new();
        for task in tasks {
            let run = within(8_000, task).await.unwrap();
            wanted.extend(run.into_iter().flatten());
        }
        tx.commit().await.expect("a scope that is refused dooms nothing");
        let kept = crate::support::pages(1_000, |page| {
            let store = store.clone();
            async move { store.kv().list_keys(owl, &format!("{round}-"), page).await }
        });
        let kept = kept.await.iter().map(Key::to_string).collect::<BTreeSet<_>>();
        let lost = wanted.difference(&kept).collect::<Vec<_>>();
        let left = kept.difference(&wanted).collect::<Vec<_>>();
        assert!(
            lost.is_empty(),
            "round {round}: of scopes that ended well, lost: {lost:?}"
        );
        assert!(
            left.is_empty(),
            "round {round}: of scopes that failed or were refused, kept: {left:?}"
        );
        assert_eq!(wanted.len(), SCOPES);
        round += 1;
    }
}

/// Tries a scope until it is not refused. What it set, when it was to keep that.
async fn until_it_is_run(tx: &Tx, bot: BotId, name: &str, keeps: bool) -> Option<String> {
    for tries in 0.. {
        let name = format!("{name}-{tries}");
        let key = &key(&name);
        let work = |inner: Tx| async move {
            inner.kv().set(bot, key, 1.into(), None).await?;
            match keeps {
                true => Ok(()),
                false => Err(Error::application("on purpose")),
            }
        };
        match tx.scope(work).await {
            Ok(()) => return Some(name),
            Err(error) if error.kind() == ErrorKind::Application => return None,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TransactionAborted, "{error:?}");
                assert!(error.to_string().contains("another scope is at work"), "{error}");
                tokio::task::yield_now().await;
            }
        }
    }
    None
}

async fn queue_set(store: &Store, bot: BotId, name: &str) -> tokio::task::JoinHandle<store::Result<()>> {
    let before = store.metrics().waiting;
    let set = tokio::spawn({
        let (store, name) = (store.clone(), key(name));
        async move { store.kv().set(bot, &name, 2.into(), None).await }
    });
    for _ in 0..50 {
        if store.metrics().waiting > before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    set
}

/// Sets that wait for each other go together. Those of the same keys, asked for in one order and in the other, must not
/// lock their rows in two orders: a server finds out about that only after a second.
///
/// Three transactions by hand hold one key each: two of them the first sets, so that the others gather behind them, and
/// one the key in the middle, so that two of those that have gathered are under way at once.
async fn sets_of_many_keys_in_two_orders_do_not_wait_for_each_other(db: TestDatabase) {
    let store = open(&db).await;
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    let names = (0..20).map(|n| format!("key-{n:02}")).collect::<Vec<_>>();
    for name in names.iter().map(String::as_str).chain(["one", "other"]) {
        store.kv().set(owl, &key(name), 1.into(), None).await.unwrap();
    }
    let mut holders = vec![];
    for held in ["one", "other", "key-10"] {
        let tx = store.begin().await.unwrap();
        tx.kv().set(owl, &key(held), 0.into(), None).await.unwrap();
        holders.push(tx);
    }
    let mut sets = vec![
        queue_set(&store, owl, "one").await,
        queue_set(&store, owl, "other").await,
    ];
    for name in &names {
        sets.push(queue_set(&store, owl, name).await);
    }
    holders.remove(0).commit().await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    for name in names.iter().rev() {
        sets.push(queue_set(&store, owl, name).await);
    }
    holders.remove(0).commit().await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    let begun = Instant::now();
    holders.remove(0).commit().await.unwrap();
    for set in sets {
        within(10_000, set).await.unwrap().unwrap();
    }
    assert!(
        begun.elapsed() < Duration::from_millis(800),
        "it took {:?}",
        begun.elapsed()
    );
}
