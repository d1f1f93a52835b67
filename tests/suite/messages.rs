//! Messages between bots: several stores, a clock that stands still, hand-edited databases.

use std::time::Duration;

use store::ErrorKind;
use store::prelude::*;
use store::testkit::TestDatabase;

use crate::support::{SettableClock, a_bot, behind_its_back, missing, open, open_with, pages, refused};

store::testkit::tests![
    messages_of_one_instant_have_an_order,
    one_of_many_creates_the_channel,
    one_of_many_subscribes_the_bot,
    prune_goes_by_the_instant_of_sending,
    a_recipient_is_set_as_its_type_says,
    a_hand_edited_message_is_corrupt,
    a_hand_edited_channel_is_corrupt,
];

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

async fn two_bots(store: &Store) -> [BotId; 2] {
    let owl = store.bots().create(a_bot("owl")).await.unwrap().id;
    [owl, store.bots().create(a_bot("bat")).await.unwrap().id]
}

async fn messages_of_one_instant_have_an_order(db: TestDatabase) {
    let store = open_with(&db, &SettableClock::new()).await;
    let [owl, bat] = two_bots(&store).await;
    let messages = store.messages();
    let batch = (0..9).map(|n| match n % 2 {
        0 => NewBotMessage::direct(owl, "Owl", bat, n),
        _ => NewBotMessage::direct(bat, "Bat", owl, n),
    });
    let mut sent = messages.send_many(batch.collect()).await.unwrap();
    sent.push(messages.send(NewBotMessage::direct(owl, "Owl", bat, 9)).await.unwrap());
    sent.reverse();
    assert!(sent.iter().all(|message| message.timestamp == sent[0].timestamp));
    for limit in [1, 2, 3, 10] {
        let found = pages(limit, |page| messages.between(owl, bat, page)).await;
        assert_eq!(found, sent, "{limit} a page");
    }
}

async fn one_of_many_creates_the_channel(db: TestDatabase) {
    let stores = [open(&db).await, open(&db).await];
    let tasks = (0..8).map(|task: usize| {
        let store = stores[task % 2].clone();
        tokio::spawn(async move { store.messages().create_channel(channel("ops"), missing()).await })
    });
    let mut created = 0;
    for task in tasks.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Ok(_) => created += 1,
            outcome => drop(refused(outcome, ErrorKind::Conflict, Some("pk_bot_channels"))),
        }
    }
    assert_eq!(created, 1);
}

async fn one_of_many_subscribes_the_bot(db: TestDatabase) {
    let stores = [open(&db).await, open(&db).await];
    let ops = channel("ops");
    stores[0]
        .messages()
        .create_channel(ops.clone(), missing())
        .await
        .unwrap();
    let tasks = (0..8).map(|task: usize| {
        let (store, ops) = (stores[task % 2].clone(), ops.clone());
        tokio::spawn(async move { store.messages().subscribe(missing(), &ops).await.unwrap() })
    });
    let mut new = 0;
    for task in tasks.collect::<Vec<_>>() {
        new += usize::from(task.await.unwrap());
    }
    assert_eq!(new, 1);
    let page = stores[1]
        .messages()
        .subscribers(&ops, PageRequest::default())
        .await
        .unwrap();
    assert_eq!(page.items.len(), 1);
}

async fn prune_goes_by_the_instant_of_sending(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    let [owl, bat] = two_bots(&store).await;
    let messages = store.messages();
    let mut sent = vec![];
    for n in 0..10 {
        sent.push(messages.send(NewBotMessage::direct(owl, "Owl", bat, n)).await.unwrap());
        clock.forward(60);
    }
    // A nanosecond after the fourth is the same microsecond: it is not older.
    let bound = Prune {
        batch: 2,
        ..Prune::older_than(sent[3].timestamp + Duration::from_nanos(999))
    };
    assert_eq!(messages.prune(bound.dry_run()).await.unwrap(), 3);
    assert_eq!(messages.prune(bound).await.unwrap(), 3);
    sent.reverse();
    let left = pages(1_000, |page| messages.between(owl, bat, page)).await;
    assert_eq!(left, sent[..7]);
}

/// The rule stands in the database itself.
async fn a_recipient_is_set_as_its_type_says(db: TestDatabase) {
    let store = open(&db).await;
    let [owl, bat] = two_bots(&store).await;
    store
        .messages()
        .send(NewBotMessage::direct(owl, "Owl", bat, 1))
        .await
        .unwrap();
    let connections = db.config().connect().await.unwrap();
    for edit in [
        "recipient_type = 'channel'",
        "recipient_bot_id = NULL",
        "recipient_channel = 'ops'",
        "recipient_type = 'channel', recipient_channel = 'ops'",
    ] {
        use sea_orm::ConnectionTrait as _;
        let sql = format!("UPDATE bot_messages SET {edit}");
        let error = connections.writer.execute_unprepared(&sql).await.unwrap_err();
        assert!(
            error.to_string().contains("ck_bot_messages_recipient"),
            "{edit}: {error}"
        );
    }
    connections.close().await;
}

async fn a_hand_edited_message_is_corrupt(db: TestDatabase) {
    let store = open(&db).await;
    let [owl, bat] = two_bots(&store).await;
    let sent = store
        .messages()
        .send(NewBotMessage::direct(owl, "Owl", bat, 1))
        .await
        .unwrap();
    for edit in ["recipient_type = 'channel'", "recipient_type = 'crowd'"] {
        let checks = ["recipient", "recipient_type"]
            .map(|what| format!("ALTER TABLE bot_messages DROP CONSTRAINT IF EXISTS ck_bot_messages_{what}"));
        let edit = format!("UPDATE bot_messages SET {edit}");
        match db.path() {
            Some(_) => behind_its_back(&db, &[&edit]).await,
            None => behind_its_back(&db, &[&checks[0], &checks[1], &edit]).await,
        }
        let read = store.messages().between(owl, bat, PageRequest::default()).await;
        let text = refused(read, ErrorKind::Corrupt, None).to_string();
        assert!(text.contains(&format!("table bot_messages, row {}", sent.id)), "{text}");
        assert!(text.contains("recipient_type"), "{text}");
    }
}

async fn a_hand_edited_channel_is_corrupt(db: TestDatabase) {
    let store = open(&db).await;
    store
        .messages()
        .create_channel(channel("ops"), missing())
        .await
        .unwrap();
    behind_its_back(&db, &["UPDATE bot_channels SET name = ''"]).await;
    let read = store.messages().channels(PageRequest::default()).await;
    let text = refused(read, ErrorKind::Corrupt, None).to_string();
    assert!(
        text.contains("table bot_channels") && text.contains("channel must be"),
        "{text}"
    );
}
