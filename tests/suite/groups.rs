//! Writes that share a commit: each has its own outcome, and hears it when the commit is done.

use std::time::Duration;

use store::prelude::*;
use store::testkit::{Backend, TestDatabase};
use uuid::Uuid;

use crate::own_tables::{Notes, count, keep_as};
use crate::support::{a_bot, at_once, key, missing, open, refused, slug, slugs};

store::testkit::tests![
    writers_at_once_share_commits,
    sets_of_one_key_are_all_stored,
    who_is_alone_shares_none,
    what_is_acknowledged_is_there_for_others,
    a_failure_is_its_own,
    a_transaction_that_fails_undoes_its_part_only,
    callers_that_go_away_undo_their_part_only,
    a_commit_that_fails_is_told_to_whom_it_is_due,
    a_closure_that_fails_by_a_row_that_is_undone_is_run_again,
    transactions_that_do_nothing_undo_nobody,
    a_slow_transaction_does_not_hold_up_the_others_for_long,
    a_transaction_by_hand_shares_no_commit,
    transactions_are_not_starved,
    closing_waits_for_the_line,
    the_log_stays_short,
    at_rest_the_log_is_moved_into_the_file,
];

const TASKS: usize = 64;

async fn create_many(store: Store, task: usize) {
    for n in 0..5 {
        store.bots().create(a_bot(&format!("bot-{task}-{n}"))).await.unwrap();
    }
}

async fn writers_at_once_share_commits(db: TestDatabase) {
    let store = open(&db).await;
    at_once(&store, TASKS, create_many).await;
    let metrics = store.metrics();
    assert_eq!(slugs(&open(&db).await).await.len(), 5 * TASKS);
    assert_eq!(metrics.waiting, 0);
    assert!(metrics.largest_group >= 8, "{metrics:?}");
    assert!(
        metrics.grouped <= 320 && metrics.grouped > 2 * metrics.groups,
        "{metrics:?}"
    );
    assert!(metrics.waited_us > 0, "{metrics:?}");
    assert_eq!(metrics.log_bytes > 0, db.backend() == Backend::Sqlite, "{metrics:?}");
}

/// One key is set by many at once, between others: each set is stored, and the last one stays.
async fn sets_of_one_key_are_all_stored(db: TestDatabase) {
    let store = open(&db).await;
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    at_once(&store, TASKS, move |store, task| async move {
        for n in 0..5 {
            let name = if task % 2 == 0 {
                "one".to_owned()
            } else {
                format!("key-{task}")
            };
            store
                .kv()
                .set(owl, &key(&name), (1000 * task + n).into(), None)
                .await
                .unwrap();
        }
    })
    .await;
    let store = open(&db).await;
    for task in (1..TASKS).step_by(2) {
        let entry = store.kv().get(owl, &key(&format!("key-{task}"))).await.unwrap();
        assert_eq!(entry.unwrap(), 1000 * task + 4);
    }
    let one = store
        .kv()
        .get(owl, &key("one"))
        .await
        .unwrap()
        .unwrap()
        .as_u64()
        .unwrap();
    assert_eq!(one % 1000, 4, "some task's last one");
}

async fn who_is_alone_shares_none(db: TestDatabase) {
    let store = open(&db).await;
    create_many(store.clone(), 0).await;
    let bot = store.bots().get_by_slug(&slug("bot-0-0")).await.unwrap().unwrap();
    store.souls().save_version(bot.id, NewSoul::new("one")).await.unwrap();
    let metrics = store.metrics();
    assert_eq!((metrics.groups, metrics.waited_us), (0, 0), "{metrics:?}");
}

async fn what_is_acknowledged_is_there_for_others(db: TestDatabase) {
    let store = open(&db).await;
    let witness = open(&db).await;
    at_once(&store, TASKS, |store, task| {
        let witness = witness.clone();
        async move {
            let bot = store.bots().create(a_bot(&format!("bot-{task}"))).await.unwrap();
            assert_eq!(witness.bots().get(bot.id).await.unwrap(), Some(bot));
        }
    })
    .await;
}

/// Every other write breaks a rule: on the way of one command, and on the way of a transaction.
async fn a_failure_is_its_own(db: TestDatabase) {
    let store = open(&db).await;
    let taken = store.bots().create(a_bot("taken")).await.unwrap();
    let outcomes = at_once(&store, TASKS, move |store, task| async move {
        match task % 4 {
            0 => store.bots().create(a_bot(&format!("bot-{task}"))).await.map(drop),
            1 => store.bots().create(a_bot("taken")).await.map(drop),
            2 => store.souls().save_version(taken.id, NewSoul::new("x")).await.map(drop),
            _ => store.souls().save_version(missing(), NewSoul::new("x")).await.map(drop),
        }
    })
    .await;
    for (task, outcome) in outcomes.into_iter().enumerate() {
        match task % 4 {
            1 => drop(refused(outcome, ErrorKind::Conflict, Some("uq_bots_slug"))),
            3 => drop(refused(outcome, ErrorKind::NotFound, None)),
            _ => outcome.unwrap(),
        }
    }
    let all = open(&db).await;
    assert_eq!(slugs(&all).await.len(), 1 + TASKS / 4);
    let versions = all.bots().get(taken.id).await.unwrap().unwrap().version_count;
    assert_eq!(usize::try_from(versions).unwrap(), TASKS / 4);
}

/// A third of the transactions answer an error after they have written, and a third panic.
async fn a_transaction_that_fails_undoes_its_part_only(db: TestDatabase) {
    let store = open(&db).await;
    let work = |store: Store, task: usize| {
        tokio::spawn(async move {
            let work = |tx: Tx| async move {
                let bot = tx.bots().create(a_bot(&format!("bot-{task}"))).await?;
                tx.souls().save_version(bot.id, NewSoul::new("one")).await?;
                match task % 3 {
                    0 => Ok(()),
                    1 => Err(Error::application("no")),
                    // A panic that prints nothing.
                    _ => std::panic::resume_unwind(Box::new("on purpose")),
                }
            };
            store.transaction(work).await
        })
    };
    for (task, outcome) in at_once(&store, TASKS, work).await.into_iter().enumerate() {
        match (task % 3, outcome) {
            (0, Ok(Ok(()))) | (1, Ok(Err(_))) | (2, Err(_)) => {}
            (_, outcome) => panic!("task {task}: {outcome:?}"),
        }
    }
    let kept = slugs(&open(&db).await).await;
    let wanted = (0..TASKS)
        .filter(|task| task % 3 == 0)
        .map(|task| format!("bot-{task}"));
    let mut wanted = wanted.collect::<Vec<_>>();
    wanted.sort();
    assert_eq!(kept, wanted);
}

/// Half of the callers are dropped in the middle: each one's rows are there entirely or not at all, the others' always.
async fn callers_that_go_away_undo_their_part_only(db: TestDatabase) {
    let store = open(&db).await;
    for round in 0..8_u64 {
        at_once(&store, 32, move |store, task| async move {
            let name = format!("bot-{round}-{task}");
            let name = name.as_str();
            let work = store.transaction(|tx| async move {
                let bot = tx.bots().create(a_bot(name)).await?;
                tx.souls().save_version(bot.id, NewSoul::new("one")).await
            });
            match task % 2 {
                0 => drop(work.await.unwrap()),
                _ => drop(tokio::time::timeout(Duration::from_micros(300 * round * task as u64 / 8), work).await),
            }
        })
        .await;
    }
    let witness = open(&db).await;
    let all = pages_of_bots(&witness).await;
    assert!(all.len() >= 8 * 16);
    for bot in &all {
        assert_eq!(bot.version_count, 1, "{} is there by half", bot.slug);
    }
    store.bots().create(a_bot("next")).await.unwrap();
}

async fn pages_of_bots(store: &Store) -> Vec<Bot> {
    let bots = store.bots();
    crate::support::pages(100, |page| bots.list(BotFilter::default(), page)).await
}

/// A foreign key that is checked at the COMMIT: SQLite does not say whose row it was. It is told to whom it is due.
async fn a_commit_that_fails_is_told_to_whom_it_is_due(db: TestDatabase) {
    let store = open(&db).await;
    store.migrate::<Notes>().await.unwrap();
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    let outcomes = at_once(&store, 24, move |store, task| async move {
        let bot = if task == 11 { missing() } else { owl };
        keep_as(&store, Uuid::from_u128(100 + task as u128), bot).await
    })
    .await;
    for (task, outcome) in outcomes.into_iter().enumerate() {
        match task {
            11 => assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ForeignKey),
            _ => drop(outcome.unwrap()),
        }
    }
    assert_eq!(count(&open(&db).await).await, 23);
}

/// It finds the key taken by a row whose own writer fails at the COMMIT: neither row may stand in its way.
async fn a_closure_that_fails_by_a_row_that_is_undone_is_run_again(db: TestDatabase) {
    let store = open(&db).await;
    store.migrate::<Notes>().await.unwrap();
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    for round in 0..8_u128 {
        let id = Uuid::from_u128(100 + round);
        let holder = store.begin().await.unwrap();
        let refused_at_the_commit =
            in_the_line(&store, move |tx| async move { keep_as(&tx, id, missing()).await }).await;
        let runs_into_it = in_the_line(&store, move |tx| async move {
            tx.bots().create(a_bot(&format!("with-{round}"))).await?;
            keep_as(&tx, id, owl).await
        });
        let runs_into_it = runs_into_it.await;
        holder.commit().await.unwrap();
        let refused_at_the_commit = refused_at_the_commit.await.unwrap();
        assert_eq!(refused_at_the_commit.unwrap_err().kind(), ErrorKind::ForeignKey);
        runs_into_it.await.unwrap().unwrap();
    }
    let witness = open(&db).await;
    assert_eq!(count(&witness).await, 8);
    assert_eq!(slugs(&witness).await.len(), 1 + 8);
}

type Running<T> = tokio::task::JoinHandle<store::Result<T>>;

/// A transaction that stands in the line when this returns, as far as there is one.
async fn in_the_line<F, Fut, T>(store: &Store, work: F) -> Running<T>
where
    F: FnMut(Tx) -> Fut + Send + 'static,
    Fut: Future<Output = store::Result<T>> + Send + 'static,
    T: Send + 'static,
{
    let before = store.metrics().waiting;
    let running = tokio::spawn({
        let store = store.clone();
        async move { store.transaction(work).await }
    });
    for _ in 0..25 {
        if store.metrics().waiting > before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    running
}

/// Some send nothing, some only read, some fail before or after their first statement, and some are given up.
async fn transactions_that_do_nothing_undo_nobody(db: TestDatabase) {
    let store = open(&db).await;
    let taken = store.bots().create(a_bot("taken")).await.unwrap();
    let outcomes = at_once(&store, 6 * 16, move |store, task| async move {
        let work = |tx: Tx| async move {
            match task % 6 {
                0 => Ok(()),
                1 => Err(Error::application("no")),
                2 => tx.bots().get(taken.id).await.map(drop),
                3 => tx.bots().create(a_bot("taken")).await.map(drop),
                4 => {
                    tx.rollback().await;
                    Err(Error::application("given up"))
                }
                _ => tx.bots().create(a_bot(&format!("bot-{task}"))).await.map(drop),
            }
        };
        store.transaction(work).await
    })
    .await;
    for (task, outcome) in outcomes.into_iter().enumerate() {
        match task % 6 {
            1 | 4 => drop(refused(outcome, ErrorKind::Application, None)),
            3 => drop(refused(outcome, ErrorKind::Conflict, Some("uq_bots_slug"))),
            _ => outcome.unwrap(),
        }
    }
    assert_eq!(slugs(&open(&db).await).await.len(), 1 + 16);
}

async fn a_slow_transaction_does_not_hold_up_the_others_for_long(db: TestDatabase) {
    let store = open(&db).await;
    let slow = at_once(&store, 4, |store, task| async move {
        let work = |tx: Tx| async move {
            tx.bots().create(a_bot(&format!("slow-{task}"))).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(())
        };
        store.transaction(work).await
    });
    let quick = at_once(&store, TASKS, create_many);
    let (slow, _) = tokio::join!(slow, quick);
    slow.into_iter().for_each(|outcome| outcome.unwrap());
    assert_eq!(slugs(&open(&db).await).await.len(), 4 + 5 * TASKS);
}

/// It may stay open for as long as its owner likes: nobody's commit waits for its end.
async fn a_transaction_by_hand_shares_no_commit(db: TestDatabase) {
    let store = open(&db).await;
    let witness = open(&db).await;
    let others = tokio::spawn({
        let store = store.clone();
        async move { at_once(&store, TASKS, create_many).await }
    });
    for n in 0..5 {
        let tx = store.begin().await.unwrap();
        let bot = tx.bots().create(a_bot(&format!("by-hand-{n}"))).await.unwrap();
        assert_eq!(witness.bots().get(bot.id).await.unwrap(), None);
        match n % 2 {
            0 => tx.commit().await.unwrap(),
            _ => tx.rollback().await,
        }
        assert_eq!(witness.bots().get(bot.id).await.unwrap().is_some(), n % 2 == 0);
    }
    others.await.unwrap();
    assert_eq!(slugs(&witness).await.len(), 3 + 5 * TASKS);
}

/// While others write without a pause, a transaction gets its turn.
async fn transactions_are_not_starved(db: TestDatabase) {
    let store = open(&db).await;
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let busy = (0..16).map(|task| {
        let (store, done) = (store.clone(), done.clone());
        tokio::spawn(async move {
            let mut n = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                store.bots().create(a_bot(&format!("bot-{task}-{n}"))).await.unwrap();
                n += 1;
            }
        })
    });
    let busy = busy.collect::<Vec<_>>();
    for n in 0..20 {
        let work = |tx: Tx| async move { tx.bots().create(a_bot(&format!("mine-{n}"))).await };
        store.transaction(work).await.unwrap();
        store.begin().await.unwrap().commit().await.unwrap();
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    for task in busy {
        task.await.unwrap();
    }
}

/// Who was in the line when the store was closed is served, and who comes later is refused.
async fn closing_waits_for_the_line(db: TestDatabase) {
    let store = open(&db).await;
    let holder = store.begin().await.unwrap();
    let early = tokio::spawn({
        let store = store.clone();
        async move {
            at_once(&store, 16, |store, task| async move {
                store.bots().create(a_bot(&format!("bot-{task}"))).await
            })
            .await
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    holder.commit().await.unwrap();
    closing.await.unwrap().unwrap();
    early
        .await
        .unwrap()
        .into_iter()
        .for_each(|created| drop(created.unwrap()));
    refused(store.bots().create(a_bot("late")).await, ErrorKind::Unavailable, None);
    assert_eq!(slugs(&open(&db).await).await.len(), 16);
}

/// An INSERT that answers its row, through sqlx's `fetch_one`, never moves the log into the file: 25,000 of them left
/// 355 MB (measured with SeaORM 2.0.4).
async fn the_log_stays_short(db: TestDatabase) {
    let store = open(&db).await;
    let entry = |n| NewAuditEntry {
        bot_id: missing(),
        memory_id: MemoryId::new(format!("memory-{n}")).unwrap(),
        action: AuditAction::Add,
        actor: "owl".into(),
        details: None,
    };
    let logged = at_once(&store, 50, move |store, _| async move {
        let mut longest = 0;
        for n in 0..500 {
            store.audit().log(entry(n)).await.unwrap();
            longest = longest.max(store.metrics().log_bytes);
        }
        longest
    })
    .await;
    let longest = logged.into_iter().max().unwrap();
    // 10,000 pages of 4 KiB, and what one group adds before its commit looks at the length.
    assert!(longest < 48 << 20, "{longest} bytes");
    store.close().await.unwrap();
}

/// The file alone, without its log, has the rows a while after the last write. A store that is closed leaves it alone.
async fn at_rest_the_log_is_moved_into_the_file(db: TestDatabase) {
    let store = open(&db).await;
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    for _ in 0..8 {
        let soul = NewSoul::new("x".repeat(1 << 20));
        store.souls().save_version(owl, soul).await.unwrap();
    }
    let Some(path) = db.path() else { return };
    let copies = tempfile::tempdir().unwrap();
    let mut tries = 0..40;
    while !has(&path, &copies.path().join("copy.db"), owl).await {
        tries.next().expect("it is never moved");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    assert!(tries.start > 0, "no commit has moved it");
    let before = store.metrics().log_bytes;
    store.souls().save_version(owl, NewSoul::new("y")).await.unwrap();
    assert_eq!(store.metrics().log_bytes, before, "the log begins anew");

    for _ in 0..8 {
        let soul = NewSoul::new("z".repeat(1 << 20));
        store.souls().save_version(owl, soul).await.unwrap();
    }
    store.close().await.unwrap();
    std::fs::remove_file(&path).unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!path.exists());
}

/// Whether a copy of the file alone has this bot.
async fn has(path: &std::path::Path, copy: &std::path::Path, bot: BotId) -> bool {
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(format!("{}{suffix}", copy.display())).ok();
    }
    // By another process: closing the file in this one would drop SQLite's locks on it.
    let copied = std::process::Command::new("cp").args([path, copy]).status();
    assert!(copied.unwrap().success());
    let Ok(copy) = Store::open(DatabaseConfig::sqlite(copy).unwrap()).await else {
        return false;
    };
    let bot = copy.bots().get(bot).await;
    copy.close().await.unwrap();
    bot.is_ok_and(|bot| bot.is_some_and(|bot| bot.version_count == 8))
}
