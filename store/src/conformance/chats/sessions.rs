//! Sessions: begun, listed, ended and deleted.

use std::time::Duration;

use super::{a_session, all, assert_gap_free, bot, numbered, said, session};
use crate::ErrorKind;
use crate::conformance::{World, a_bot, cases, key, nowhere, pages, refused};
use crate::contract::*;

cases![
    what_create_returns_a_later_read_returns,
    create_counts_the_conversation_for_its_bot,
    a_session_of_an_unknown_bot_is_a_foreign_key_error,
    list_is_newest_first_and_of_one_bot,
    active_lists_those_that_have_not_ended,
    end_and_crash_say_how_and_when,
    an_ended_session_does_not_end_again,
    a_missing_session_is_not_found,
    delete_takes_the_messages_along,
    a_deleted_bots_chats_go_along,
    a_session_outlives_its_peer,
    bad_input_is_refused_and_changes_nothing,
];

async fn what_create_returns_a_later_read_returns<W: World>(store: W) {
    let owl = bot(&store, "owl").await;
    let plain = session(&store, owl).await;
    assert_eq!(
        (plain.bot_id, plain.model.as_str(), plain.title.as_deref()),
        (owl, "model-1", None)
    );
    assert_eq!(
        (plain.peer, plain.status, plain.ended_at),
        (ChatPeer::User, ChatStatus::Active, None)
    );
    let counts = (plain.message_count, plain.total_input_tokens, plain.total_output_tokens);
    assert_eq!(counts, (0, 0, 0));
    let cut = plain.started_at.timestamp_subsec_nanos() % 1000;
    assert_eq!(cut, 0, "cut to microseconds");

    let named = NewChatSession {
        peer: ChatPeer::Bot(bot(&store, "bat").await),
        title: Some("Über uns\n🦉".into()),
        ..NewChatSession::new(owl, "model-2")
    };
    let created = store.chats().create(named.clone()).await.unwrap();
    assert_eq!((created.peer, created.title.clone()), (named.peer, named.title));
    for session in [plain, created] {
        assert_eq!(store.chats().get(session.id).await.unwrap(), Some(session));
    }
    assert_eq!(store.chats().get(nowhere()).await.unwrap(), None);
}

async fn create_counts_the_conversation_for_its_bot<W: World>(store: W) {
    let owl = store.bots().create(a_bot("owl")).await.unwrap();
    let bat = store.bots().create(a_bot("bat")).await.unwrap();
    for _ in 0..3 {
        session(&store, owl.id).await;
    }
    let expected = Bot {
        conversation_count: 3,
        ..owl
    };
    assert_eq!(store.bots().get(expected.id).await.unwrap(), Some(expected));
    assert_eq!(store.bots().get(bat.id).await.unwrap(), Some(bat));
}

async fn a_session_of_an_unknown_bot_is_a_foreign_key_error<W: World>(store: W) {
    let outcome = store.chats().create(NewChatSession::new(nowhere(), "m")).await;
    refused(outcome, ErrorKind::ForeignKey, Some("fk_chat_sessions_bot_id"));
    let page = store.chats().list(nowhere(), PageRequest::default()).await.unwrap();
    assert_eq!(page.items, []);
}

async fn list_is_newest_first_and_of_one_bot<W: World>(store: W) {
    let (owl, bat) = (bot(&store, "owl").await, bot(&store, "bat").await);
    let mut expected = vec![];
    for _ in 0..5 {
        expected.insert(0, session(&store, owl).await);
        session(&store, bat).await;
    }
    let chats = store.chats();
    for limit in [1, 2, 5, 100] {
        let listed = pages(limit, |page| chats.list(owl, page)).await;
        assert_eq!(listed, expected, "{limit} a page");
    }
    // The cursor's own row gone, and a new one in front.
    let first = chats.list(owl, PageRequest::first(2)).await.unwrap();
    chats.delete(expected[1].id).await.unwrap();
    session(&store, owl).await;
    let rest = chats
        .list(owl, PageRequest::after(first.next.unwrap(), 10))
        .await
        .unwrap();
    assert_eq!(rest.items, expected[2..]);
    assert_eq!(chats.list(nowhere(), PageRequest::default()).await.unwrap().items, []);
}

async fn active_lists_those_that_have_not_ended<W: World>(store: W) {
    let (owl, bat) = (bot(&store, "owl").await, bot(&store, "bat").await);
    let mut sessions = vec![];
    for _ in 0..6 {
        sessions.insert(0, session(&store, owl).await);
        session(&store, bat).await;
    }
    let chats = store.chats();
    chats.end(sessions[1].id).await.unwrap();
    chats.crash(sessions[4].id).await.unwrap();
    let expected = [0, 2, 3, 5].map(|at: usize| sessions[at].clone());
    for limit in [1, 3, 100] {
        let active = pages(limit, |page| chats.active(owl, page)).await;
        assert_eq!(active, expected, "{limit} a page");
    }
}

async fn end_and_crash_say_how_and_when<W: World>(store: W) {
    let owl = bot(&store, "owl").await;
    let (first, second) = (session(&store, owl).await, session(&store, owl).await);
    tokio::time::sleep(Duration::from_millis(2)).await;
    let ended = store.chats().end(first.id).await.unwrap();
    let crashed = store.chats().crash(second.id).await.unwrap();
    for (after, before, status) in [
        (ended, first, ChatStatus::Completed),
        (crashed, second, ChatStatus::Crashed),
    ] {
        assert!(after.ended_at.unwrap() > before.started_at);
        let expected = ChatSession {
            status,
            ended_at: after.ended_at,
            ..before
        };
        assert_eq!(after, expected);
        assert_eq!(store.chats().get(after.id).await.unwrap(), Some(after));
    }
}

async fn an_ended_session_does_not_end_again<W: World>(store: W) {
    let owl = bot(&store, "owl").await;
    let ended = session(&store, owl).await.id;
    let crashed = session(&store, owl).await.id;
    let chats = store.chats();
    for session in [chats.end(ended).await.unwrap(), chats.crash(crashed).await.unwrap()] {
        let error = refused(chats.end(session.id).await, ErrorKind::InvalidTransition, None);
        assert!(error.to_string().contains(session.status.as_str()), "{error}");
        refused(chats.crash(session.id).await, ErrorKind::InvalidTransition, None);
        assert_eq!(chats.get(session.id).await.unwrap(), Some(session));
    }
}

async fn a_missing_session_is_not_found<W: World>(store: W) {
    let missing: ChatSessionId = nowhere();
    let chats = store.chats();
    let error = refused(chats.end(missing).await, ErrorKind::NotFound, None);
    assert!(error.to_string().contains(&missing.to_string()), "{error}");
    refused(chats.crash(missing).await, ErrorKind::NotFound, None);
    refused(chats.delete(missing).await, ErrorKind::NotFound, None);
    refused(chats.append(missing, numbered(0..2)).await, ErrorKind::NotFound, None);
    let keyed = vec![said(ChatRole::User, "a").once(key("k"))];
    refused(chats.append(missing, keyed).await, ErrorKind::NotFound, None);
    let read = chats
        .messages(missing, PageRequest::default(), Direction::Ascending)
        .await;
    assert_eq!(read.unwrap().items, []);
}

async fn delete_takes_the_messages_along<W: World>(store: W) {
    let owl = bot(&store, "owl").await;
    let (gone, kept) = (session(&store, owl).await.id, session(&store, owl).await.id);
    for session in [gone, kept] {
        let batch = vec![said(ChatRole::User, "a").tokens(2, 3)];
        store.chats().append(session, batch).await.unwrap();
    }
    let before = store.bots().get(owl).await.unwrap();
    store.chats().delete(gone).await.unwrap();
    assert_eq!(store.chats().get(gone).await.unwrap(), None);
    assert_eq!(all(&store, gone).await, []);
    assert_gap_free(&store, kept, 1).await;
    assert_eq!(store.bots().get(owl).await.unwrap(), before, "what was counted stays");
    refused(store.chats().delete(gone).await, ErrorKind::NotFound, None);
}

async fn a_deleted_bots_chats_go_along<W: World>(store: W) {
    let (owl, bat) = (bot(&store, "owl").await, bot(&store, "bat").await);
    let (gone, kept) = (session(&store, owl).await.id, session(&store, bat).await.id);
    for session in [gone, kept] {
        store.chats().append(session, numbered(0..3)).await.unwrap();
    }
    store.bots().delete(owl).await.unwrap();
    assert_eq!(store.chats().get(gone).await.unwrap(), None);
    assert_eq!(all(&store, gone).await, []);
    assert_gap_free(&store, kept, 3).await;
}

async fn a_session_outlives_its_peer<W: World>(store: W) {
    let (owl, bat) = (bot(&store, "owl").await, bot(&store, "bat").await);
    let with_bat = NewChatSession {
        peer: ChatPeer::Bot(bat),
        ..NewChatSession::new(owl, "m")
    };
    let session = store.chats().create(with_bat).await.unwrap();
    store.bots().delete(bat).await.unwrap();
    assert_eq!(store.chats().get(session.id).await.unwrap(), Some(session));
}

async fn bad_input_is_refused_and_changes_nothing<W: World>(store: W) {
    let session = a_session(&store).await;
    let bot = store.bots().get(session.bot_id).await.unwrap();
    let new = |title: Option<&str>, model: &str| NewChatSession {
        title: title.map(str::to_owned),
        ..NewChatSession::new(session.bot_id, model)
    };
    for (bad, field) in [
        (new(None, " "), "model"),
        (new(None, "a\0"), "model"),
        (new(Some("a\0b"), "m"), "title"),
    ] {
        let error = refused(store.chats().create(bad).await, ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains(field), "{error}");
    }
    let plain = || said(ChatRole::User, "a");
    let with = |change: fn(&mut NewChatMessage)| {
        let mut message = plain();
        change(&mut message);
        message
    };
    for (bad, field) in [
        (said(ChatRole::User, "a\0b"), "content"),
        (with(|message| message.model = Some("\0".into())), "model"),
        (with(|message| message.stop_reason = Some("\0".into())), "stop_reason"),
        (plain().tokens(-1, 0), "input_tokens"),
        (plain().tokens(0, i64::MIN), "output_tokens"),
    ] {
        let outcome = store.chats().append(session.id, vec![plain(), bad]).await;
        let error = refused(outcome, ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains(&format!("messages[1].{field}")), "{error}");
    }
    for limit in [0, PageRequest::MAX + 1] {
        let page = PageRequest::first(limit);
        let outcome = store
            .chats()
            .messages(session.id, page.clone(), Direction::Ascending)
            .await;
        refused(outcome, ErrorKind::InvalidInput, None);
        refused(
            store.chats().list(session.bot_id, page.clone()).await,
            ErrorKind::InvalidInput,
            None,
        );
        refused(
            store.chats().active(session.bot_id, page).await,
            ErrorKind::InvalidInput,
            None,
        );
    }
    assert_gap_free(&store, session.id, 0).await;
    assert_eq!(store.bots().get(session.bot_id).await.unwrap(), bot);
}
