//! Writes that share a commit, where one of them does what the others must not feel.

use std::sync::Arc;
use std::time::Duration;

use store::prelude::*;
use store::testkit::TestDatabase;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Own, impatient, sql, within};
use crate::support::{a_bot, at_once, open, slugs};

store::testkit::tests![
    a_table_of_the_users_own_that_rolls_back_undoes_nobody_else,
    nobody_hears_ok_for_what_a_table_of_the_users_own_has_rolled_back,
    a_slow_closure_leaves_no_write_before_it_open,
    a_closure_may_wait_for_a_write_that_was_queued_before_it,
];

const WRITERS: usize = 64;

/// What rolls a whole transaction back on SQLite: a trigger of the user's own, and a rule of the user's own table.
const TRAPS: [&str; 2] = [
    "INSERT INTO app_traps (word) VALUES ('x')",
    "INSERT INTO app_once (word) VALUES ('x')",
];

/// Behind a transaction by hand they wait in their order: one that is done, the trap, and one that comes after it.
async fn a_table_of_the_users_own_that_rolls_back_undoes_nobody_else(db: TestDatabase) {
    let store = open(&db).await;
    store.migrate::<Own>().await.unwrap();
    sql(&store, TRAPS[1]).await.unwrap();
    let mut wrong = vec![];
    let mut created = 0;
    for trap in TRAPS {
        for (first_is_whole, trap_is_whole, last_is_whole) in [
            (false, false, true),
            (true, false, true),
            (false, true, true),
            (false, false, false),
            (true, true, false),
        ] {
            let holder = store.begin().await.unwrap();
            let names = ["first", "last"].map(|which| format!("{which}-{created}"));
            created += 1;
            let first = queued(&store, create(&store, &names[0], first_is_whole)).await;
            let trapped = queued(&store, spring(&store, trap, trap_is_whole)).await;
            let last = queued(&store, create(&store, &names[1], last_is_whole)).await;
            holder.commit().await.unwrap();
            let first = within(8_000, first).await.unwrap();
            let last = within(8_000, last).await.unwrap();
            within(8_000, trapped).await.unwrap().expect_err("it is refused");
            let all = slugs(&open(&db).await).await;
            for (name, outcome) in names.into_iter().zip([first, last]) {
                if outcome.is_err() || !all.contains(&name) {
                    let there = all.contains(&name);
                    wrong.push(format!("{trap}: {name} heard {outcome:?}, there: {there}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A bot, by a single write or by a transaction.
fn create(store: &Store, name: &str, whole: bool) -> impl Future<Output = store::Result<()>> + use<> {
    let (store, bot) = (store.clone(), a_bot(name));
    async move {
        let work = |tx: Tx| {
            let bot = bot.clone();
            async move { tx.bots().create(bot).await.map(drop) }
        };
        match whole {
            true => store.transaction(work).await,
            false => store.bots().create(bot).await.map(drop),
        }
    }
}

fn spring(store: &Store, trap: &'static str, whole: bool) -> impl Future<Output = store::Result<()>> + use<> {
    let store = store.clone();
    async move {
        let work = |tx: Tx| async move { sql(&tx, trap).await.map(drop) };
        match whole {
            true => store.transaction(work).await,
            false => sql(&store, trap).await.map(drop),
        }
    }
}

/// Every fourth writer inserts into a table whose trigger refuses each row, on SQLite by rolling the whole transaction
/// back, half of them in a closure. That is nobody else's.
async fn nobody_hears_ok_for_what_a_table_of_the_users_own_has_rolled_back(db: TestDatabase) {
    let store = open(&db).await;
    store.migrate::<Own>().await.unwrap();
    let mut told = vec![];
    for round in 0..12 {
        let outcomes = at_once(&store, WRITERS, move |store, task| async move {
            let name = format!("bot-{round}-{task}");
            let bot = a_bot(&name);
            let trap = TRAPS[0];
            let outcome = match task % 8 {
                0 => sql(&store, trap).await.map(drop),
                4 => {
                    let work = |tx: Tx| {
                        let bot = bot.clone();
                        async move {
                            tx.bots().create(bot).await?;
                            sql(&tx, trap).await.map(drop)
                        }
                    };
                    store.transaction(work).await
                }
                1 | 3 | 5 => store.bots().create(bot).await.map(drop),
                _ => {
                    let work = |tx: Tx| {
                        let bot = bot.clone();
                        async move {
                            let bot = tx.bots().create(bot).await?;
                            tx.souls().save_version(bot.id, NewSoul::new("one")).await.map(drop)
                        }
                    };
                    store.transaction(work).await
                }
            };
            (task, name, outcome)
        });
        told.extend(within(15_000, outcomes).await);
    }
    let all = slugs(&open(&db).await).await;
    let lost = told
        .iter()
        .filter(|(_, name, outcome)| outcome.is_ok() && !all.contains(name));
    let lost = lost.map(|(_, name, _)| name).collect::<Vec<_>>();
    assert!(
        lost.is_empty(),
        "{} were acknowledged and are not there: {lost:?}",
        lost.len()
    );
    for (task, name, outcome) in told {
        assert_eq!(all.contains(&name), outcome.is_ok(), "{name}: {outcome:?}");
        assert_eq!(outcome.is_ok(), task % 4 != 0, "{name}: {outcome:?}");
    }
}

/// Returns when it stands in the line, as far as there is one.
async fn queued<F>(store: &Store, work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let before = store.metrics().waiting;
    let running = tokio::spawn(work);
    for _ in 0..40 {
        if store.metrics().waiting > before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    running
}

/// A single write and a whole transaction, both done before somebody else's closure takes longer than an operation may.
async fn a_slow_closure_leaves_no_write_before_it_open(db: TestDatabase) {
    let store = Store::open(impatient(&db, 600)).await.unwrap();
    let holder = store.begin().await.unwrap();
    let single = queued(&store, {
        let store = store.clone();
        async move { store.bots().create(a_bot("single")).await }
    })
    .await;
    let whole = queued(&store, {
        let store = store.clone();
        async move {
            let work = |tx: Tx| async move {
                let bot = tx.bots().create(a_bot("whole")).await?;
                tx.souls().save_version(bot.id, NewSoul::new("one")).await.map(drop)
            };
            store.transaction(work).await
        }
    })
    .await;
    let slow = queued(&store, {
        let store = store.clone();
        async move {
            let work = |tx: Tx| async move {
                tx.bots().create(a_bot("slow")).await?;
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                Ok(())
            };
            store.transaction(work).await
        }
    })
    .await;
    holder.commit().await.unwrap();
    let single = within(5_000, single).await.unwrap().map(drop);
    let whole = within(5_000, whole).await.unwrap();
    let slow = within(5_000, slow).await.unwrap();
    single.expect("the single write was done long before");
    whole.expect("the transaction was done long before");
    slow.expect("a transaction has no deadline as a whole");
    assert_eq!(slugs(&open(&db).await).await, ["single", "slow", "whole"]);
}

/// The closure has the writer, and the write that it waits for has been run before it.
async fn a_closure_may_wait_for_a_write_that_was_queued_before_it(db: TestDatabase) {
    let store = Store::open(impatient(&db, 2_000)).await.unwrap();
    let holder = store.begin().await.unwrap();
    let (done, heard) = watch::channel(None);
    let done = Arc::new(done);
    let first = queued(&store, {
        let (store, done) = (store.clone(), Arc::clone(&done));
        async move {
            let outcome = store.bots().create(a_bot("first")).await;
            done.send_replace(Some(outcome.as_ref().map(drop).map_err(Error::kind)));
            outcome
        }
    })
    .await;
    let second = queued(&store, {
        let store = store.clone();
        async move {
            let work = |tx: Tx| {
                let mut heard = heard.clone();
                async move {
                    tx.bots().create(a_bot("second")).await?;
                    let outcome = *heard.wait_for(Option::is_some).await.unwrap();
                    assert_eq!(outcome, Some(Ok(())));
                    Ok(())
                }
            };
            store.transaction(work).await
        }
    })
    .await;
    holder.commit().await.unwrap();
    within(6_000, first).await.unwrap().unwrap();
    within(6_000, second).await.unwrap().unwrap();
    assert_eq!(slugs(&open(&db).await).await, ["first", "second"]);
}
