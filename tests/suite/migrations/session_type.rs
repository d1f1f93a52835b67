//! The way up from a database whose chat sessions do not say yet whom they are with.

use store::prelude::*;
use store::testkit::TestDatabase;

use super::{assert_sound, id, insert_bot, migrations, number, open, run};

store::testkit::tests! {
    on_both_empty: [sessions_from_before_are_with_users, the_way_down_keeps_sessions_and_messages],
}

const MIGRATION: &str = "m20261121_000015_session_type";

/// How many migrations come before it.
fn before() -> usize {
    let all = migration::migrations::all();
    all.iter().position(|migration| migration.name() == MIGRATION).unwrap()
}

/// A session with two messages, in a database as it was.
async fn a_database_from_before(db: &sea_orm::DatabaseConnection) {
    migration::up_by(db, before()).await.unwrap();
    insert_bot(db).await;
    let id = id(db);
    let at = "'2026-01-01T00:00:00+00:00'";
    run(
        db,
        &format!(
            "INSERT INTO chat_sessions (id, bot_id, model, started_at, message_count) VALUES ({id}, {id}, 'm', {at}, 2)"
        ),
    )
    .await;
    for sequence in [1, 2] {
        let own = id.replace("01", &format!("0{sequence}"));
        run(
            db,
            &format!(
                "INSERT INTO chat_messages (id, session_id, sequence, role, content, created_at) \
                 VALUES ({own}, {id}, {sequence}, 'user', 'turn {sequence}', {at})"
            ),
        )
        .await;
    }
}

async fn sessions_from_before_are_with_users(db: TestDatabase) {
    let config = db.config();
    let raw = open(&config).await.writer;
    a_database_from_before(&raw).await;
    migration::up(&raw).await.unwrap();
    assert_sound(&raw).await;
    let old = "SELECT count(*) FROM chat_sessions WHERE session_type = 'user' AND peer_bot_id IS NULL";
    assert_eq!(number(&raw, old).await, 1);

    let store = Store::open(config).await.unwrap();
    let chats = store.chats();
    let bot: BotId = "00000000-0000-0000-0000-000000000001".parse().unwrap();
    let sessions = chats.list(bot, PageRequest::default()).await.unwrap().items;
    assert_eq!((sessions.len(), sessions[0].peer), (1, ChatPeer::User));
    let said = vec![NewChatMessage::new(ChatRole::Assistant, "turn 3")];
    chats.append(sessions[0].id, said).await.unwrap();
    let page = chats.messages(sessions[0].id, PageRequest::default(), Direction::Ascending);
    let said: Vec<String> = page.await.unwrap().items.into_iter().map(|one| one.content).collect();
    assert_eq!(said, ["turn 1", "turn 2", "turn 3"]);
    store.close().await.unwrap();

    use sea_orm::ConnectionTrait as _;
    let other = raw
        .execute_unprepared("UPDATE chat_sessions SET session_type = 'crowd'")
        .await
        .unwrap_err();
    assert!(other.to_string().contains("ck_chat_sessions_session_type"), "{other}");
    run(&raw, "UPDATE chat_sessions SET session_type = 'bot'").await;
}

async fn the_way_down_keeps_sessions_and_messages(db: TestDatabase) {
    let db = open(&db.config()).await.writer;
    a_database_from_before(&db).await;
    migration::up(&db).await.unwrap();
    let toll = migration::toll_of_down(&db, migrations() - before()).await.unwrap();
    let lost = toll.iter().find(|table| table.table == "chat_sessions").unwrap();
    assert_eq!(
        (lost.columns.join(" ").as_str(), lost.rows),
        ("session_type peer_bot_id", 1)
    );
    let after = migration::snapshot(&db).await.unwrap();
    for _ in 0..2 {
        migration::down(&db, migrations() - before()).await.unwrap();
        let columns = &migration::snapshot(&db).await.unwrap().tables["chat_sessions"].columns;
        assert!(!columns.contains_key("session_type") && !columns.contains_key("peer_bot_id"));
        assert_eq!(number(&db, "SELECT count(*) FROM chat_sessions").await, 1);
        assert_eq!(number(&db, "SELECT max(sequence) FROM chat_messages").await, 2);
        migration::up(&db).await.unwrap();
        assert_eq!(migration::snapshot(&db).await.unwrap(), after);
    }
    assert_sound(&db).await;
}
