//! Chats.

use std::time::Duration;

use super::{World, a_bot, cases, key, nowhere, refused};
use crate::contract::*;
use crate::{ErrorKind, Result};

cases![
    what_create_returns_a_later_read_returns,
    create_counts_the_conversation_for_its_bot,
    a_session_of_an_unknown_bot_is_a_foreign_key_error,
    list_is_newest_first_and_of_one_bot,
    active_lists_those_that_have_not_ended,
    end_and_crash_say_how_and_when,
    an_ended_session_does_not_end_again,
    a_missing_session_is_not_found,
    what_append_returns_a_later_read_returns,
    append_counts_for_the_session_and_for_its_bot,
    sequences_go_on_from_batch_to_batch,
    an_ended_session_takes_no_messages,
    a_repeated_key_returns_the_first_result,
    a_repeated_batch_is_answered_after_the_end,
    of_known_and_unknown_keys_the_unknown_are_appended,
    a_key_belongs_to_its_session,
    a_key_twice_in_a_batch_is_refused,
    a_batch_is_appended_whole_or_not_at_all,
    a_sum_of_tokens_never_overflows,
    no_messages_are_no_work,
    a_batch_has_any_length,
    concurrent_appenders_leave_no_gap,
    one_key_from_many_at_once_is_appended_once,
    messages_are_read_both_ways,
    pages_are_stable_while_messages_are_appended,
    two_readers_go_on_from_one_cursor,
    a_cursor_is_good_for_its_direction_only,
    delete_takes_the_messages_along,
    a_deleted_bots_chats_go_along,
    a_session_outlives_its_peer,
    bad_input_is_refused_and_changes_nothing,
];

fn said(role: ChatRole, content: &str) -> NewChatMessage {
    NewChatMessage::new(role, content)
}

/// Messages of a user: their numbers.
fn numbered(numbers: std::ops::Range<usize>) -> Vec<NewChatMessage> {
    numbers.map(|n| said(ChatRole::User, &n.to_string())).collect()
}

async fn bot(store: &impl World, slug: &str) -> BotId {
    store.bots().create(a_bot(slug)).await.unwrap().id
}

async fn session(store: &impl World, bot: BotId) -> ChatSession {
    store.chats().create(NewChatSession::new(bot, "model-1")).await.unwrap()
}

async fn a_session(store: &impl World) -> ChatSession {
    session(store, bot(store, "owl").await).await
}

/// A list from beginning to end, so many items a page.
pub(super) async fn walk<T>(limit: u32, list: impl AsyncFn(PageRequest) -> Result<Page<T>>) -> Vec<T> {
    let mut items = vec![];
    let mut request = PageRequest::first(limit);
    loop {
        let page = list(request).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        items.extend(page.items);
        match page.next {
            Some(cursor) => request = PageRequest::after(cursor, limit),
            None => return items,
        }
    }
}

async fn all(store: &impl World, session: ChatSessionId) -> Vec<ChatMessage> {
    let chats = store.chats();
    walk(1_000, async |page| {
        chats.messages(session, page, Direction::Ascending).await
    })
    .await
}

fn contents(messages: &[ChatMessage]) -> Vec<&str> {
    messages.iter().map(|message| message.content.as_str()).collect()
}

/// The sequences are 1, 2, 3 and so on, and the session counts them.
async fn assert_gap_free(store: &impl World, session: ChatSessionId, count: i64) {
    let sequences: Vec<i64> = all(store, session).await.iter().map(|one| one.sequence).collect();
    assert_eq!(sequences, (1..=count).collect::<Vec<_>>());
    let session = store.chats().get(session).await.unwrap().unwrap();
    assert_eq!(session.message_count, count);
}

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
        let listed = walk(limit, async |page| chats.list(owl, page).await).await;
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
        let active = walk(limit, async |page| chats.active(owl, page).await).await;
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

/// `tasks` at once, each with a number.
async fn at_once<T: Send + 'static, F>(tasks: usize, work: impl Fn(usize) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    let spawned: Vec<_> = (0..tasks).map(|task| tokio::spawn(work(task))).collect();
    let mut answers = vec![];
    for task in spawned {
        answers.push(task.await.unwrap());
    }
    answers
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

async fn messages_are_read_both_ways<W: World>(store: W) {
    let owl = bot(&store, "owl").await;
    let (one, other) = (session(&store, owl).await.id, session(&store, owl).await.id);
    let mut expected = store.chats().append(one, numbered(0..11)).await.unwrap();
    store.chats().append(other, numbered(100..105)).await.unwrap();
    let chats = store.chats();
    for direction in [Direction::Ascending, Direction::Descending] {
        for limit in [1, 3, 11, 1_000] {
            let read = walk(limit, async |page| chats.messages(one, page, direction).await).await;
            assert_eq!(read, expected, "{direction:?}, {limit} a page");
        }
        expected.reverse();
    }
}

async fn pages_are_stable_while_messages_are_appended<W: World>(store: W) {
    let session = a_session(&store).await.id;
    let chats = store.chats();
    chats.append(session, numbered(0..6)).await.unwrap();
    let first = PageRequest::first(4);
    let back = chats
        .messages(session, first.clone(), Direction::Descending)
        .await
        .unwrap();
    let forth = chats.messages(session, first, Direction::Ascending).await.unwrap();
    assert_eq!(contents(&back.items), ["5", "4", "3", "2"]);
    chats.append(session, numbered(6..9)).await.unwrap();
    let rest = |page: Page<ChatMessage>| PageRequest::after(page.next.unwrap(), 10);
    let back = chats
        .messages(session, rest(back), Direction::Descending)
        .await
        .unwrap();
    assert_eq!(contents(&back.items), ["1", "0"]);
    let forth = chats
        .messages(session, rest(forth), Direction::Ascending)
        .await
        .unwrap();
    assert_eq!(contents(&forth.items), ["4", "5", "6", "7", "8"]);
}

async fn two_readers_go_on_from_one_cursor<W: World>(store: W) {
    let session = a_session(&store).await.id;
    let chats = store.chats();
    chats.append(session, numbered(0..10)).await.unwrap();
    let read = async |page| chats.messages(session, page, Direction::Ascending).await.unwrap();
    let shared = read(PageRequest::first(4)).await.next.unwrap();
    // The cursor's text is as good as the cursor.
    let told: Cursor = shared.to_string().parse().unwrap();
    let one = read(PageRequest::after(shared, 2)).await;
    let other = read(PageRequest::after(told, 5)).await;
    assert_eq!(contents(&one.items), ["4", "5"]);
    assert_eq!(contents(&other.items), ["4", "5", "6", "7", "8"]);
    let one = read(PageRequest::after(one.next.unwrap(), 5)).await;
    let other = read(PageRequest::after(other.next.unwrap(), 5)).await;
    assert_eq!(contents(&one.items), ["6", "7", "8", "9"]);
    assert_eq!(contents(&other.items), ["9"]);
    assert_eq!((one.next, other.next), (None, None));
}

async fn a_cursor_is_good_for_its_direction_only<W: World>(store: W) {
    let session = a_session(&store).await;
    let chats = store.chats();
    chats.append(session.id, numbered(0..3)).await.unwrap();
    let page = chats
        .messages(session.id, PageRequest::first(1), Direction::Ascending)
        .await
        .unwrap();
    let cursor = page.next.unwrap();
    let request = PageRequest::after(cursor, 1);
    let outcome = chats.messages(session.id, request.clone(), Direction::Descending).await;
    refused(outcome, ErrorKind::InvalidInput, None);
    let outcome = chats.list(session.bot_id, request).await;
    refused(outcome, ErrorKind::InvalidInput, None);
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
