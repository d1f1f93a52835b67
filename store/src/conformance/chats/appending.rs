//! Messages that are appended: whole, without gaps, and counted.

use super::{a_session, all, assert_gap_free, at_once, bot, contents, numbered, said, session};
use crate::ErrorKind;
use crate::conformance::{World, a_bot, cases, key, nowhere, refused};
use crate::contract::*;

cases![
    what_append_returns_a_later_read_returns,
    append_counts_for_the_session_and_for_its_bot,
    sequences_go_on_from_batch_to_batch,
    an_ended_session_takes_no_messages,
    a_batch_is_appended_whole_or_not_at_all,
    a_sum_of_tokens_never_overflows,
    no_messages_are_no_work,
    a_batch_has_any_length,
    concurrent_appenders_leave_no_gap,
];

async fn what_append_returns_a_later_read_returns<W: World>(store: W) {
    let session = a_session(&store).await;
    let batch = vec![
        said(ChatRole::System, "Be kind."),
        said(ChatRole::User, "Zażółć\r\n\t🦉 'quoted' \"text\""),
        NewChatMessage {
            model: Some("model-2".into()),
            stop_reason: Some("end_turn".into()),
            ..said(ChatRole::Assistant, "").tokens(17, 0).once(key("turn 3"))
        },
        NewChatMessage {
            output_tokens: Some(5),
            ..said(ChatRole::Tool, "{\"ok\": true}")
        },
    ];
    let stored = store.chats().append(session.id, batch.clone()).await.unwrap();
    assert_eq!(stored.len(), batch.len());
    for ((at, new), stored) in (1..).zip(&batch).zip(&stored) {
        let expected = ChatMessage {
            id: stored.id,
            session_id: session.id,
            sequence: at,
            role: new.role,
            content: new.content.clone(),
            model: new.model.clone(),
            input_tokens: new.input_tokens,
            output_tokens: new.output_tokens,
            stop_reason: new.stop_reason.clone(),
            idempotency_key: new.idempotency_key.clone(),
            created_at: stored.created_at,
        };
        assert_eq!(*stored, expected);
        assert!(stored.created_at >= session.started_at);
    }
    assert_eq!(all(&store, session.id).await, stored);
}

async fn append_counts_for_the_session_and_for_its_bot<W: World>(store: W) {
    let owl = store.bots().create(a_bot("owl")).await.unwrap();
    let (first, second) = (session(&store, owl.id).await, session(&store, owl.id).await);
    let batch = || {
        vec![
            said(ChatRole::User, "a").tokens(10, 0),
            said(ChatRole::Assistant, "b").tokens(3, 4),
            said(ChatRole::User, "c"),
        ]
    };
    store.chats().append(first.id, batch()).await.unwrap();
    store.chats().append(first.id, batch()).await.unwrap();
    let last = store.chats().append(second.id, numbered(0..1)).await.unwrap();
    let expected = ChatSession {
        message_count: 6,
        total_input_tokens: 26,
        total_output_tokens: 8,
        ..first
    };
    assert_eq!(store.chats().get(expected.id).await.unwrap(), Some(expected));
    let expected = Bot {
        conversation_count: 2,
        total_tokens_used: 34,
        last_active_at: Some(last[0].created_at),
        ..owl
    };
    assert_eq!(store.bots().get(expected.id).await.unwrap(), Some(expected));
}

async fn sequences_go_on_from_batch_to_batch<W: World>(store: W) {
    let session = a_session(&store).await;
    for range in [0..1, 1..4, 4..9] {
        store.chats().append(session.id, numbered(range)).await.unwrap();
    }
    let messages = all(&store, session.id).await;
    assert_eq!(contents(&messages), ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
    assert_gap_free(&store, session.id, 9).await;
}

async fn an_ended_session_takes_no_messages<W: World>(store: W) {
    let owl = bot(&store, "owl").await;
    let (ended, crashed) = (session(&store, owl).await.id, session(&store, owl).await.id);
    store.chats().end(ended).await.unwrap();
    store.chats().crash(crashed).await.unwrap();
    let before = store.bots().get(owl).await.unwrap();
    for session in [ended, crashed] {
        let outcome = store.chats().append(session, numbered(0..3)).await;
        let error = refused(outcome, ErrorKind::InvalidTransition, None);
        assert_eq!(
            (error.entity(), error.operation()),
            (Some("chat_session"), Some("append"))
        );
        assert_gap_free(&store, session, 0).await;
    }
    assert_eq!(store.bots().get(owl).await.unwrap(), before);
}

async fn a_batch_is_appended_whole_or_not_at_all<W: World>(store: W) {
    let owl = bot(&store, "owl").await;
    let (full, session) = (session(&store, owl).await.id, session(&store, owl).await);
    let most = said(ChatRole::User, "much").tokens(i64::MAX, 0);
    store.chats().append(full, vec![most]).await.unwrap();
    let before = store.bots().get(owl).await.unwrap();
    // The messages fit and so do the session's sums; the bot's does not.
    let batch = [numbered(0..2), vec![said(ChatRole::User, "more").tokens(1, 0)]].concat();
    let outcome = store.chats().append(session.id, batch).await;
    refused(outcome, ErrorKind::InvalidInput, None);
    assert_gap_free(&store, session.id, 0).await;
    assert_eq!(store.chats().get(session.id).await.unwrap(), Some(session));
    assert_eq!(store.bots().get(owl).await.unwrap(), before);
}

async fn a_sum_of_tokens_never_overflows<W: World>(store: W) {
    let session = a_session(&store).await.id;
    let much = || said(ChatRole::User, "much").tokens(i64::MAX, 0);
    let outcome = store.chats().append(session, vec![much(), much()]).await;
    refused(outcome, ErrorKind::InvalidInput, None);
    let outcome = store
        .chats()
        .append(session, vec![said(ChatRole::User, "both").tokens(i64::MAX, 1)])
        .await;
    refused(outcome, ErrorKind::InvalidInput, None);
    assert_gap_free(&store, session, 0).await;
    store.chats().append(session, vec![much()]).await.unwrap();
    let outcome = store.chats().append(session, vec![much()]).await;
    refused(outcome, ErrorKind::InvalidInput, None);
    assert_gap_free(&store, session, 1).await;
    let told = store.chats().get(session).await.unwrap().unwrap();
    assert_eq!(told.total_input_tokens, i64::MAX);
}

async fn no_messages_are_no_work<W: World>(store: W) {
    let session = a_session(&store).await;
    let before = store.bots().get(session.bot_id).await.unwrap();
    assert_eq!(store.chats().append(session.id, vec![]).await.unwrap(), []);
    assert_eq!(store.chats().append(nowhere(), vec![]).await.unwrap(), []);
    assert_eq!(store.bots().get(session.bot_id).await.unwrap(), before);
}

async fn a_batch_has_any_length<W: World>(store: W) {
    let session = a_session(&store).await.id;
    let batch: Vec<_> = numbered(0..2_345)
        .into_iter()
        .map(|message| message.tokens(1, 1))
        .enumerate()
        .map(|(n, message)| message.once(key(&format!("key {n}"))))
        .collect();
    let stored = store.chats().append(session, batch.clone()).await.unwrap();
    assert_eq!(all(&store, session).await, stored);
    assert!(
        stored
            .iter()
            .zip(&batch)
            .all(|(stored, new)| stored.content == new.content)
    );
    assert_gap_free(&store, session, 2_345).await;
    let told = store.chats().get(session).await.unwrap().unwrap();
    assert_eq!((told.total_input_tokens, told.total_output_tokens), (2_345, 2_345));
    assert_eq!(store.chats().append(session, batch).await.unwrap(), stored);
}

async fn concurrent_appenders_leave_no_gap<W: World>(store: W) {
    let session = a_session(&store).await;
    let answers = at_once(8, |task| {
        let chats = store.chats();
        async move {
            let mut stored = vec![];
            for n in 0..4 {
                let batch: Vec<_> = (0..3)
                    .map(|_| said(ChatRole::User, &format!("{task} {n}")).tokens(1, 1))
                    .collect();
                stored.push(chats.append(session.id, batch).await.unwrap());
            }
            stored
        }
    });
    for batch in answers.await.iter().flatten() {
        let begin = batch[0].sequence;
        let sequences: Vec<i64> = batch.iter().map(|message| message.sequence).collect();
        assert_eq!(sequences, [begin, begin + 1, begin + 2], "a batch stays together");
    }
    assert_gap_free(&store, session.id, 96).await;
    let bot = store.bots().get(session.bot_id).await.unwrap().unwrap();
    assert_eq!(bot.total_tokens_used, 192);
}
