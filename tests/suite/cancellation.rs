//! Futures dropped at any point leave clean connections, and rows that are there entirely or not at all.

use std::future::Future;
use std::pin::pin;

use store::prelude::*;
use store::testkit::TestDatabase;

use crate::support::{a_bot, email, key, open};

store::testkit::tests![
    a_dropped_begin_leaves_no_connection_inside_a_transaction,
    a_dropped_transaction_is_there_entirely_or_not_at_all,
    a_dropped_write_is_there_entirely_or_not_at_all,
    a_caller_that_goes_away_in_the_line_leaves_it_moving,
];

/// Polls a future a few times, then drops it. Whether it came to its end by then is chance; both must be fine.
async fn abandon<F: Future>(work: F, polls: usize) -> bool {
    let mut work = pin!(work);
    for _ in 0..polls {
        if futures_util::poll!(&mut work).is_ready() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

/// A connection left inside a transaction takes later writes, answers Ok, and loses them when it is rolled back
/// (sqlx 0.9.0: 16 of 160 dropped BEGINs). So: drop many, write, and look from another store.
async fn a_dropped_begin_leaves_no_connection_inside_a_transaction(db: TestDatabase) {
    let store = open(&db).await;
    for round in 0..400 {
        abandon(store.begin(), 1 + round % 5).await;
    }
    let mut written = vec![];
    for n in 0..20 {
        written.push(store.bots().create(a_bot(&format!("bot-{n}"))).await.unwrap().id);
    }
    store.close().await.unwrap();
    let another = open(&db).await;
    for id in written {
        assert!(
            another.bots().get(id).await.unwrap().is_some(),
            "an acknowledged write was lost"
        );
    }
}

async fn a_dropped_transaction_is_there_entirely_or_not_at_all(db: TestDatabase) {
    let store = open(&db).await;
    let witness = open(&db).await;
    for round in 0..120 {
        let slug = format!("bot-{round}");
        let name = slug.as_str();
        let work = store.transaction(|tx| async move {
            let bot = tx.bots().create(a_bot(name)).await?;
            tx.souls().save_version(bot.id, NewSoul::new("one")).await?;
            tx.souls().save_version(bot.id, NewSoul::new("two")).await
        });
        let finished = abandon(work, 1 + round % 40).await;
        // The next one in the line comes after whatever the dropped one left behind.
        store.begin().await.unwrap().rollback().await;
        let found = witness.bots().get_by_slug(&Slug::new(name).unwrap()).await.unwrap();
        assert!(found.is_some() || !finished, "{name} was acknowledged and is not there");
        if let Some(bot) = found {
            assert_eq!(bot.version_count, 2, "{name} is there by half");
        }
    }
}

async fn a_dropped_write_is_there_entirely_or_not_at_all(db: TestDatabase) {
    let store = open(&db).await;
    let witness = open(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    for round in 0..60 {
        let polls = 1 + round % 12;
        abandon(store.bots().create(a_bot(&format!("bot-{round}"))), polls).await;
        abandon(
            store.souls().save_version(bot.id, NewSoul::new(format!("{round}"))),
            polls,
        )
        .await;
        let sealed = SealedValue::from_sealed(vec![1, 2, 3]);
        abandon(
            store
                .secrets()
                .set(Scope::Global, &key("k"), sealed, SecretProvider::Keychain),
            polls,
        )
        .await;
        let user = NewUser {
            email: email(&format!("a{round}@b.c")),
            role: UserRole::User,
        };
        abandon(store.users().create(user), polls).await;
        abandon(store.api_keys().issue(NewApiKey::default()), polls).await;
        abandon(store.bots().update(bot.id, BotChange::default()), polls).await;
    }
    // Whatever became of each, the counter and the versions agree, and the store takes more.
    store.souls().save_version(bot.id, NewSoul::new("last")).await.unwrap();
    let versions = witness
        .souls()
        .list_versions(bot.id, PageRequest::first(1000))
        .await
        .unwrap()
        .items;
    let count = witness.bots().get(bot.id).await.unwrap().unwrap().version_count;
    assert_eq!(versions.len(), usize::try_from(count).unwrap());
    let numbers = versions.iter().rev().map(|version| version.version).collect::<Vec<_>>();
    assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "no gap");
}

async fn a_caller_that_goes_away_in_the_line_leaves_it_moving(db: TestDatabase) {
    let store = open(&db).await;
    let lanes = store.health().await.writer.size;
    let mut holders = vec![];
    for _ in 0..lanes {
        holders.push(store.begin().await.unwrap());
    }
    // Everybody in front of the last one goes away while waiting.
    for round in 0..10 {
        assert!(!abandon(store.bots().create(a_bot("never")), 1 + round).await);
    }
    let last = tokio::spawn({
        let store = store.clone();
        async move { store.bots().create(a_bot("last")).await }
    });
    tokio::task::yield_now().await;
    for holder in holders {
        holder.commit().await.unwrap();
    }
    last.await.unwrap().unwrap();
    assert_eq!(crate::support::slugs(&store).await, ["last"]);
}
