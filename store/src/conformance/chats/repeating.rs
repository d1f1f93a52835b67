//! Messages with a key, which are appended once however often they are sent.

use std::time::Duration;

use super::{a_session, all, assert_gap_free, at_once, bot, contents, numbered, said, session};
use crate::ErrorKind;
use crate::conformance::{World, cases, key, refused};
use crate::contract::*;

cases![
    a_repeated_key_returns_the_first_result,
    a_repeated_batch_is_answered_after_the_end,
    of_known_and_unknown_keys_the_unknown_are_appended,
    a_key_belongs_to_its_session,
    a_key_twice_in_a_batch_is_refused,
    one_key_from_many_at_once_is_appended_once,
];

async fn a_repeated_key_returns_the_first_result<W: World>(store: W) {
    let session = a_session(&store).await;
    let batch = vec![
        said(ChatRole::User, "a").tokens(1, 2).once(key("1")),
        said(ChatRole::Assistant, "b").tokens(3, 4).once(key("2")),
    ];
    let chats = store.chats();
    let first = chats.append(session.id, batch.clone()).await.unwrap();
    let told = (
        chats.get(session.id).await.unwrap(),
        store.bots().get(session.bot_id).await.unwrap(),
    );
    tokio::time::sleep(Duration::from_millis(2)).await;

    assert_eq!(chats.append(session.id, batch.clone()).await.unwrap(), first);
    let part = chats.append(session.id, batch[1..].to_vec()).await.unwrap();
    assert_eq!(part, first[1..]);
    let backwards = batch.iter().rev().cloned().collect();
    let answer = chats.append(session.id, backwards).await.unwrap();
    assert_eq!(answer, [first[1].clone(), first[0].clone()], "in the order given");
    let other = vec![said(ChatRole::Tool, "something else").once(key("1"))];
    assert_eq!(
        chats.append(session.id, other).await.unwrap(),
        first[..1],
        "the key decides"
    );

    assert_eq!(all(&store, session.id).await, first);
    let now = (
        chats.get(session.id).await.unwrap(),
        store.bots().get(session.bot_id).await.unwrap(),
    );
    assert_eq!(now, told, "nothing was counted again");
}

async fn a_repeated_batch_is_answered_after_the_end<W: World>(store: W) {
    let session = a_session(&store).await.id;
    let batch = vec![said(ChatRole::User, "bye").once(key("last"))];
    let first = store.chats().append(session, batch.clone()).await.unwrap();
    store.chats().end(session).await.unwrap();
    assert_eq!(store.chats().append(session, batch.clone()).await.unwrap(), first);
    let more = [batch, numbered(0..1)].concat();
    let outcome = store.chats().append(session, more).await;
    refused(outcome, ErrorKind::InvalidTransition, None);
    assert_gap_free(&store, session, 1).await;
}

async fn of_known_and_unknown_keys_the_unknown_are_appended<W: World>(store: W) {
    let session = a_session(&store).await;
    let keyed = |name: &str| said(ChatRole::User, name).tokens(1, 0).once(key(name));
    let chats = store.chats();
    let old = chats.append(session.id, vec![keyed("b"), keyed("d")]).await.unwrap();
    let batch = vec![
        keyed("a"),
        keyed("b"),
        said(ChatRole::User, "c"),
        keyed("d"),
        keyed("e"),
    ];
    let answer = chats.append(session.id, batch.clone()).await.unwrap();
    assert_eq!(contents(&answer), ["a", "b", "c", "d", "e"], "in the order given");
    assert_eq!([&answer[1], &answer[3]], [&old[0], &old[1]]);
    assert_eq!(contents(&all(&store, session.id).await), ["b", "d", "a", "c", "e"]);
    assert_gap_free(&store, session.id, 5).await;
    let told = chats.get(session.id).await.unwrap().unwrap();
    assert_eq!(told.total_input_tokens, 4);
    // Again: only what has no key is new.
    let again = chats.append(session.id, batch).await.unwrap();
    assert_eq!(
        [&again[..2], &again[3..]].concat(),
        [&answer[..2], &answer[3..]].concat()
    );
    assert_eq!(again[2].sequence, 6);
}

async fn a_key_belongs_to_its_session<W: World>(store: W) {
    let owl = bot(&store, "owl").await;
    let (one, other) = (session(&store, owl).await.id, session(&store, owl).await.id);
    for session in [one, other] {
        let batch = vec![said(ChatRole::User, "a").once(key("k"))];
        let stored = store.chats().append(session, batch).await.unwrap();
        assert_eq!((stored[0].session_id, stored[0].sequence), (session, 1));
    }
}

async fn a_key_twice_in_a_batch_is_refused<W: World>(store: W) {
    let session = a_session(&store).await.id;
    let keyed = |content: &str| said(ChatRole::User, content).once(key("k"));
    let batch = vec![keyed("a"), said(ChatRole::User, "b"), keyed("c")];
    let error = refused(
        store.chats().append(session, batch).await,
        ErrorKind::InvalidInput,
        None,
    );
    assert!(error.to_string().contains("messages[2].idempotency_key"), "{error}");
    assert_gap_free(&store, session, 0).await;
}

async fn one_key_from_many_at_once_is_appended_once<W: World>(store: W) {
    let session = a_session(&store).await.id;
    let answers = at_once(8, |_| {
        let chats = store.chats();
        async move {
            let batch = vec![
                said(ChatRole::User, "a").once(key("a")),
                said(ChatRole::User, "b").once(key("b")),
            ];
            chats.append(session, batch).await.unwrap()
        }
    })
    .await;
    let stored = all(&store, session).await;
    assert!(answers.iter().all(|answer| *answer == stored), "{answers:?}");
    assert_gap_free(&store, session, 2).await;
}
