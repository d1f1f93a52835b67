//! Futures dropped at any point leave clean connections, and rows that are there entirely or not at all.

use std::future::Future;
use std::pin::pin;

use store::prelude::*;
use store::testkit::TestDatabase;

use crate::support::{a_bot, email, key, open, pages};

store::testkit::tests![
    a_dropped_begin_leaves_no_connection_inside_a_transaction,
    a_dropped_transaction_is_there_entirely_or_not_at_all,
    a_dropped_write_is_there_entirely_or_not_at_all,
    what_is_dropped_in_any_domain_is_there_entirely_or_not_at_all,
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

/// The writes of several statements, alone and next to a writer that makes them share commits.
async fn what_is_dropped_in_any_domain_is_there_entirely_or_not_at_all(db: TestDatabase) {
    let store = open(&db).await;
    let witness = open(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap().id;
    let session = store
        .chats()
        .create(NewChatSession::new(bot, "model"))
        .await
        .unwrap()
        .id;
    let file = FileName::new("notes").unwrap();
    let file = store.files().save_file(bot, NewFile::new(file, 1)).await.unwrap().id;
    let posted = || NewBotMessage::direct(bot, "Owl", bot, "hoo");
    for round in 0..60 {
        let polls = 1 + round / 2 % 15;
        let beside = tokio::spawn(write_beside(store.clone(), bot, round));
        let turns = vec![NewChatMessage::new(ChatRole::User, "a"); 3];
        abandon(store.chats().append(session, turns), polls).await;
        abandon(store.files().bump(file, round as i64), polls).await;
        abandon(store.kv().increment(bot, &key("count"), 1), polls).await;
        abandon(store.messages().send_many(vec![posted(); 3]), polls).await;
        beside.await.unwrap();
    }
    store.kv().increment(bot, &key("count"), 1).await.unwrap();

    let chats = witness.chats();
    let stored = chats.get(session).await.unwrap().unwrap().message_count;
    let said = pages(100, |page| chats.messages(session, page, Direction::Ascending)).await;
    assert_eq!(said.len() as i64, stored, "the counter counts what is there");
    assert_eq!(stored % 3, 0, "a batch is there whole");
    let numbers = said.iter().map(|message| message.sequence).collect::<Vec<_>>();
    assert_eq!(numbers, (1..=stored).collect::<Vec<_>>(), "no gap");
    let files = witness.files();
    let version = files.get_by_id(file).await.unwrap().unwrap().version;
    let versions = pages(100, |page| files.versions(file, page)).await;
    assert_eq!(versions.len() as i64, version);
    let messages = witness.messages();
    assert_eq!(pages(100, |page| messages.between(bot, bot, page)).await.len() % 3, 0);
    for round in 0..60 {
        let beside = witness.kv().get(bot, &key(&format!("beside-{round}"))).await.unwrap();
        assert_eq!(beside, Some(round.into()), "the others' writes are all there");
    }
}

async fn write_beside(store: Store, bot: BotId, round: usize) {
    store
        .kv()
        .set(bot, &key(&format!("beside-{round}")), round.into(), None)
        .await
        .unwrap();
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
