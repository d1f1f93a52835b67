//! Chats: several stores, a clock of the test's own, long sessions, hand-edited databases.

use store::ErrorKind;
use store::prelude::*;
use store::testkit::{Test, TestDatabase};

use crate::support::{SettableClock, a_bot, behind_its_back, key, open, open_with, pages, refused};

pub(crate) fn tests() -> Vec<Test> {
    let slow = Test::on_both(
        Test::path(module_path!(), "a_session_takes_100_000_messages_at_once"),
        a_session_takes_100_000_messages_at_once,
    );
    let mut tests = quick::tests();
    tests.push(slow.within(std::time::Duration::from_secs(600)));
    tests.push(Test::on_postgres(
        Test::path(module_path!(), "appends_to_two_sessions_do_not_meet"),
        appends_to_two_sessions_do_not_meet,
    ));
    tests
}

mod quick {
    use super::*;
    store::testkit::tests![
        two_stores_append_to_one_session,
        sessions_of_one_bot_do_not_lose_its_tokens,
        a_reopened_store_goes_on_where_it_was,
        an_append_is_a_part_of_its_callers_transaction,
        a_bots_activity_never_goes_back,
        sessions_of_one_instant_have_an_order,
        a_hand_edited_session_is_corrupt,
        a_hand_edited_message_is_corrupt,
    ];
}

async fn session(store: &Store, bot: BotId) -> ChatSessionId {
    store.chats().create(NewChatSession::new(bot, "m")).await.unwrap().id
}

async fn a_session(store: &Store) -> ChatSession {
    let bot = store.bots().create(a_bot("owl")).await.unwrap().id;
    store.chats().create(NewChatSession::new(bot, "m")).await.unwrap()
}

fn said(content: &str) -> NewChatMessage {
    NewChatMessage::new(ChatRole::User, content)
}

async fn all(store: &Store, session: ChatSessionId) -> Vec<ChatMessage> {
    let chats = store.chats();
    pages(1_000, |page| chats.messages(session, page, Direction::Ascending)).await
}

/// Two stores are to each other as two programs are. Every batch is sent twice, as after a lost connection.
async fn two_stores_append_to_one_session(db: TestDatabase) {
    let stores = [open(&db).await, open(&db).await];
    let session = a_session(&stores[0]).await.id;
    let tasks = (0..8).map(|task: usize| {
        let stores = stores.clone();
        tokio::spawn(async move {
            for n in 0..3 {
                let batch: Vec<_> = (0..2)
                    .map(|at| said("a").once(key(&format!("{task} {n} {at}"))))
                    .collect();
                let first = stores[task % 2].chats().append(session, batch.clone()).await.unwrap();
                let again = stores[(task + 1) % 2].chats().append(session, batch).await.unwrap();
                assert_eq!(first, again);
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let sequences: Vec<i64> = all(&stores[1], session).await.iter().map(|one| one.sequence).collect();
    assert_eq!(sequences, (1..=48).collect::<Vec<_>>());
    let told = stores[1].chats().get(session).await.unwrap().unwrap();
    assert_eq!(told.message_count, 48);
}

async fn sessions_of_one_bot_do_not_lose_its_tokens(db: TestDatabase) {
    let stores = [open(&db).await, open(&db).await];
    let bot = stores[0].bots().create(a_bot("owl")).await.unwrap().id;
    let tasks = (0..8).map(|task: usize| {
        let store = stores[task % 2].clone();
        tokio::spawn(async move {
            let session = session(&store, bot).await;
            for _ in 0..4 {
                store
                    .chats()
                    .append(session, vec![said("a").tokens(1, 2)])
                    .await
                    .unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let bot = stores[0].bots().get(bot).await.unwrap().unwrap();
    assert_eq!((bot.conversation_count, bot.total_tokens_used), (8, 96));
}

/// Postgres would read a table of thirty rows from end to end, and take each append for a reader of all sessions: of two
/// at once, one would start again.
async fn appends_to_two_sessions_do_not_meet(db: TestDatabase) {
    let store = open(&db).await;
    let mut sessions = vec![];
    for n in 0..30 {
        let bot = store.bots().create(a_bot(&format!("owl-{n}"))).await.unwrap().id;
        sessions.push(session(&store, bot).await);
    }
    behind_its_back(&db, &["ANALYZE"]).await;
    let (one, other) = (store.begin().await.unwrap(), store.begin().await.unwrap());
    one.chats().append(sessions[0], vec![said("a")]).await.unwrap();
    other.chats().append(sessions[1], vec![said("b")]).await.unwrap();
    one.commit().await.unwrap();
    other.commit().await.unwrap();
}

async fn a_reopened_store_goes_on_where_it_was(db: TestDatabase) {
    let store = open(&db).await;
    let session = a_session(&store).await.id;
    let first = store
        .chats()
        .append(session, vec![said("a").once(key("1"))])
        .await
        .unwrap();
    store.close().await.unwrap();
    let store = open(&db).await;
    let batch = vec![said("a").once(key("1")), said("b")];
    let answer = store.chats().append(session, batch).await.unwrap();
    assert_eq!((&answer[0], answer[1].sequence), (&first[0], 2));
    assert_eq!(all(&store, session).await, answer);
}

async fn an_append_is_a_part_of_its_callers_transaction(db: TestDatabase) {
    let store = open(&db).await;
    let session = a_session(&store).await;
    let before = store.bots().get(session.bot_id).await.unwrap();
    let tx = store.begin().await.unwrap();
    let batch = || vec![said("a").tokens(1, 1), said("b").once(key("b"))];
    let stored = tx.chats().append(session.id, batch()).await.unwrap();
    assert_eq!(stored.len(), 2);
    tx.rollback().await;
    assert_eq!(all(&store, session.id).await, []);
    assert_eq!(store.chats().get(session.id).await.unwrap(), Some(session.clone()));
    assert_eq!(store.bots().get(session.bot_id).await.unwrap(), before);

    let told = store
        .transaction(|tx| async move {
            tx.chats().append(session.id, batch()).await?;
            tx.chats().append(session.id, batch()).await?;
            tx.chats().end(session.id).await
        })
        .await
        .unwrap();
    assert_eq!((told.message_count, told.status), (3, ChatStatus::Completed));
    assert_eq!(all(&store, session.id).await.len(), 3);
}

/// The clocks of several machines differ.
async fn a_bots_activity_never_goes_back(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    let session = a_session(&store).await;
    let mut latest = clock.time();
    for (seconds, is_latest) in [(5, true), (-60, false), (57, true), (1, true), (-1, false)] {
        clock.forward(seconds);
        if is_latest {
            latest = latest.max(clock.time());
        }
        let stored = store.chats().append(session.id, vec![said("a")]).await.unwrap();
        assert_eq!(stored[0].created_at, clock.time());
        let bot = store.bots().get(session.bot_id).await.unwrap().unwrap();
        assert_eq!(bot.last_active_at, Some(latest));
        assert_eq!(bot.updated_at, bot.created_at, "talking is no change");
    }
}

async fn sessions_of_one_instant_have_an_order(db: TestDatabase) {
    let store = open_with(&db, &SettableClock::new()).await;
    let first = a_session(&store).await;
    let bot = first.bot_id;
    let mut ids = vec![first.id];
    for _ in 0..6 {
        ids.insert(0, session(&store, bot).await);
    }
    let chats = store.chats();
    for limit in [1, 2, 7] {
        let listed = pages(limit, |page| chats.list(bot, page)).await;
        assert_eq!(listed.iter().map(|one| one.id).collect::<Vec<_>>(), ids);
        let active = pages(limit, |page| chats.active(bot, page)).await;
        assert_eq!(active, listed);
    }
}

async fn a_hand_edited_session_is_corrupt(db: TestDatabase) {
    let store = open(&db).await;
    let session = a_session(&store).await;
    for (edit, column) in [
        ("status = 'gone'", "status"),
        ("status = 'active', session_type = 'crowd'", "session_type"),
        ("session_type = 'bot'", "peer_bot_id"),
        ("session_type = 'user', peer_bot_id = bot_id", "peer_bot_id"),
    ] {
        let checks = ["status", "session_type"]
            .map(|column| format!("ALTER TABLE chat_sessions DROP CONSTRAINT IF EXISTS ck_chat_sessions_{column}"));
        let edit = format!("UPDATE chat_sessions SET {edit}");
        match db.path() {
            Some(_) => behind_its_back(&db, &[&edit]).await,
            None => behind_its_back(&db, &[&checks[0], &checks[1], &edit]).await,
        }
        for error in [
            refused(store.chats().get(session.id).await, ErrorKind::Corrupt, None),
            refused(
                store.chats().list(session.bot_id, PageRequest::default()).await,
                ErrorKind::Corrupt,
                None,
            ),
        ] {
            let text = error.to_string();
            assert!(
                text.contains(&format!("table chat_sessions, row {}", session.id)),
                "{text}"
            );
            assert!(text.contains(column), "{text}");
        }
    }
}

async fn a_hand_edited_message_is_corrupt(db: TestDatabase) {
    let store = open(&db).await;
    let session = a_session(&store).await.id;
    let stored = store.chats().append(session, vec![said("a")]).await.unwrap();
    let long = format!("idempotency_key = '{}'", "x".repeat(513));
    for (edit, column) in [(long.as_str(), "key"), ("role = 'narrator'", "role")] {
        let check = "ALTER TABLE chat_messages DROP CONSTRAINT ck_chat_messages_role";
        let edit = format!("UPDATE chat_messages SET {edit}");
        match db.path() {
            None if column == "role" => behind_its_back(&db, &[check, &edit]).await,
            _ => behind_its_back(&db, &[&edit]).await,
        }
        let read = store
            .chats()
            .messages(session, PageRequest::default(), Direction::Ascending)
            .await;
        let text = refused(read, ErrorKind::Corrupt, None).to_string();
        assert!(
            text.contains(&format!("table chat_messages, row {}", stored[0].id)),
            "{text}"
        );
        assert!(text.contains(column), "{text}");
    }
}

/// One batch in, a page from anywhere, and all of it gone with its bot. (What a page costs is shown by its plan.)
async fn a_session_takes_100_000_messages_at_once(db: TestDatabase) {
    let mut config = db.config();
    config.operation_timeout = std::time::Duration::from_secs(300);
    let store = Store::open(config).await.unwrap();
    let session = a_session(&store).await;
    let chats = store.chats();
    let batch = (1..=100_000).map(|n| said(&format!("turn {n}")).tokens(1, 1)).collect();
    let stored = chats.append(session.id, batch).await.unwrap();
    assert_eq!((stored[0].sequence, stored[99_999].sequence), (1, 100_000));
    let last = chats.append(session.id, vec![said("the last")]).await.unwrap();
    assert_eq!(last[0].sequence, 100_001);
    let told = chats.get(session.id).await.unwrap().unwrap();
    assert_eq!((told.message_count, told.total_input_tokens), (100_001, 100_000));

    let back = chats
        .messages(session.id, PageRequest::first(3), Direction::Descending)
        .await
        .unwrap();
    let expected = [&last[0], &stored[99_999], &stored[99_998]];
    assert_eq!(back.items.iter().collect::<Vec<_>>(), expected);
    let mut page = PageRequest::first(1_000);
    let mut read = 0;
    while let Some(next) = chats
        .messages(session.id, page.clone(), Direction::Ascending)
        .await
        .unwrap()
        .next
    {
        read += 1_000;
        page = PageRequest::after(next, 1_000);
    }
    assert_eq!(read, 100_000, "the last page has one");

    store.bots().delete(session.bot_id).await.unwrap();
    assert_eq!(chats.get(session.id).await.unwrap(), None);
    let page = chats
        .messages(session.id, PageRequest::default(), Direction::Ascending)
        .await
        .unwrap();
    assert_eq!(page.items, []);
}
