//! The plans of chats and messages.

use store::prelude::*;
use store::testkit::TestDatabase;

use super::Look;
use super::identity::BOTS_OF_NOBODY;
use crate::fill::{Columns, ROWS, id, rows};
use crate::support::key;

store::testkit::tests![
    chat_sessions,
    a_session_of_100_000_messages,
    messages,
    channels_and_subscriptions,
    subscribers,
];

const SESSIONS: Columns = &[
    ("id", "id(i)"),
    ("bot_id", "id(1 + x % 50)"),
    ("model", "'model-1'"),
    ("status", "pick(x / 7, 'active', 'completed', 'completed', 'crashed')"),
    ("started_at", "instant(x)"),
];

/// All of one session.
const TURNS: Columns = &[
    ("id", "id(i)"),
    ("session_id", "id(7)"),
    ("sequence", "1 + x"),
    ("role", "pick(x, 'user', 'assistant')"),
    ("content", "'turn ' || x"),
    ("idempotency_key", "pick(x, 'key ' || x, NULL)"),
    ("created_at", "instant(x)"),
];

/// Of five bots to each other and to five channels, so that each list is a long one.
const MESSAGES: Columns = &[
    ("id", "id(i)"),
    ("sender_bot_id", "id(1 + x % 5)"),
    ("sender_bot_name", "'Bot'"),
    ("recipient_type", "pick(x / 25, 'direct', 'channel')"),
    ("recipient_bot_id", "pick(x / 25, id(1 + x / 5 % 5), NULL)"),
    ("recipient_channel", "pick(x / 25, NULL, 'channel-' || (x / 5 % 5))"),
    ("message_type", "'text'"),
    ("body", "json('\"hello\"')"),
    ("timestamp", "instant(x)"),
];

const CHANNELS: Columns = &[
    ("name", "'channel-' || i"),
    ("created_at", "instant(x)"),
    ("created_by_bot_id", "id(1 + x % 50)"),
];

/// Of ten bots, each to many channels.
const SUBSCRIPTIONS: Columns = &[
    ("bot_id", "id(1 + x % 10)"),
    ("channel_name", "'channel-' || (1 + x / 10)"),
    ("subscribed_at", "instant(x)"),
];

/// Of ten channels, each with many bots.
const SUBSCRIBERS: Columns = &[
    ("bot_id", "id(1 + x / 10)"),
    ("channel_name", "'channel-' || (1 + x % 10)"),
    ("subscribed_at", "instant(x)"),
];

async fn chat_sessions(db: TestDatabase) {
    rows(&db, 1_000, "bots", BOTS_OF_NOBODY).await;
    rows(&db, ROWS, "chat_sessions", SESSIONS).await;
    let mut look = Look::at(&db).await;
    let chats = look.store.chats();
    let bot = id(7);
    let made = look
        .lookup("chats.create", chats.create(NewChatSession::new(bot, "m")))
        .await;
    let other = chats.create(NewChatSession::new(bot, "m")).await.unwrap();
    look.lookup("chats.get", chats.get(made.id)).await;
    look.pages("chats.list", |page| chats.list(bot, page)).await;
    look.pages("chats.active", |page| chats.active(bot, page)).await;
    look.lookup("chats.end", chats.end(made.id)).await;
    look.lookup("chats.crash", chats.crash(other.id)).await;
    look.lookup("chats.delete", chats.delete(made.id)).await;
    look.finish();
}

/// A page reads the index that keeps the sequence unique, from where it begins and no further than it goes: its cost is
/// the same at any depth.
async fn a_session_of_100_000_messages(db: TestDatabase) {
    rows(&db, 1_000, "bots", BOTS_OF_NOBODY).await;
    rows(&db, 1_000, "chat_sessions", SESSIONS).await;
    rows(&db, ROWS, "chat_messages", TURNS).await;
    let mut look = Look::at(&db).await;
    let chats = look.store.chats();
    let session = id(7);
    for direction in [Direction::Ascending, Direction::Descending] {
        look.pages("chats.messages", |page| chats.messages(session, page, direction))
            .await;
        let first = chats.messages(session, PageRequest::first(2), direction).await.unwrap();
        let next = PageRequest::after(first.next.unwrap(), 2);
        chats.messages(session, next, direction).await.unwrap();
        let sent = look.listener.take();
        assert_eq!(sent.len(), 2);
        for sql in sent {
            let plan = look.explain.plan(&sql).await;
            assert!(
                plan.text.contains("uq_chat_messages_session_id_sequence"),
                "{sql}\n{plan}"
            );
            let read = plan.text.lines().filter(|line| line.contains(" USING "));
            assert!(read.clone().all(|line| line.contains("SEARCH")), "{sql}\n{plan}");
        }
    }
    let other = chats.create(NewChatSession::new(id(8), "m")).await.unwrap().id;
    let said = |name: &str| NewChatMessage::new(ChatRole::User, "a").once(key(name));
    let batch = vec![said("a"), said("b")];
    look.lookup("chats.append", chats.append(other, batch)).await;
    look.finish();
}

async fn messages(db: TestDatabase) {
    rows(&db, ROWS, "bot_messages", MESSAGES).await;
    let mut look = Look::at(&db).await;
    let messages = look.store.messages();
    let (a, b) = (id(2), id(3));
    look.pages("messages.between two bots", |page| messages.between(a, b, page))
        .await;
    look.pages("messages.between a bot and itself", |page| messages.between(a, a, page))
        .await;
    let channel = &ChannelName::new("channel-3").unwrap();
    look.pages("messages.in_channel", |page| messages.in_channel(channel, page))
        .await;
    let old = Prune::older_than("2026-01-01T00:01:00Z".parse().unwrap());
    look.lookup("messages.prune, counting", messages.prune(old.dry_run()))
        .await;
    look.lookup("messages.prune", messages.prune(old)).await;
    look.finish();
}

async fn channels_and_subscriptions(db: TestDatabase) {
    rows(&db, ROWS, "bot_channels", CHANNELS).await;
    rows(&db, ROWS, "bot_subscriptions", SUBSCRIPTIONS).await;
    let mut look = Look::at(&db).await;
    let messages = look.store.messages();
    look.pages("messages.channels", |page| messages.channels(page)).await;
    let (bot, channel) = (id(7), &ChannelName::new("channel-7").unwrap());
    look.pages("messages.subscriptions", |page| messages.subscriptions(bot, page))
        .await;
    look.lookup("messages.subscribe", messages.subscribe(bot, channel))
        .await;
    look.lookup("messages.unsubscribe", messages.unsubscribe(bot, channel))
        .await;
    look.finish();
}

async fn subscribers(db: TestDatabase) {
    rows(&db, 1_000, "bot_channels", CHANNELS).await;
    rows(&db, ROWS, "bot_subscriptions", SUBSCRIBERS).await;
    let mut look = Look::at(&db).await;
    let messages = look.store.messages();
    let channel = &ChannelName::new("channel-7").unwrap();
    look.pages("messages.subscribers", |page| messages.subscribers(channel, page))
        .await;
    look.finish();
}
