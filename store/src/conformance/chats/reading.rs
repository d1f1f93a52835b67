//! Messages read from either end, a page at a time.

use super::{a_session, bot, contents, numbered, session};
use crate::ErrorKind;
use crate::conformance::{World, cases, pages, refused};
use crate::contract::*;

cases![
    messages_are_read_both_ways,
    pages_are_stable_while_messages_are_appended,
    two_readers_go_on_from_one_cursor,
    a_cursor_is_good_for_its_direction_only,
];

async fn messages_are_read_both_ways<W: World>(store: W) {
    let owl = bot(&store, "owl").await;
    let (one, other) = (session(&store, owl).await.id, session(&store, owl).await.id);
    let mut expected = store.chats().append(one, numbered(0..11)).await.unwrap();
    store.chats().append(other, numbered(100..105)).await.unwrap();
    let chats = store.chats();
    for direction in [Direction::Ascending, Direction::Descending] {
        for limit in [1, 3, 11, 1_000] {
            let read = pages(limit, |page| chats.messages(one, page, direction)).await;
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
