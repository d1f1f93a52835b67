//! Cursors that the store has not made.

use store::prelude::*;
use store::testkit::TestDatabase;

use super::{page_of_bots, told};
use crate::support::{a_bot, open, refused};

store::testkit::tests![
    tampered_cursors_are_refused,
    a_forged_cursor_with_keys_of_other_types_is_refused,
];

async fn tampered_cursors_are_refused(db: TestDatabase) {
    let store = open(&db).await;
    for name in ["a", "b"] {
        store.bots().create(a_bot(name)).await.unwrap();
    }
    let page = page_of_bots(&store, PageRequest::first(1)).await.unwrap();
    let text = page.next.unwrap().to_string();
    let middle = text.len() / 2;
    let other = if text.as_bytes()[middle] == b'x' { "y" } else { "x" };
    let altered = format!("{}{other}{}", &text[..middle], &text[middle + 1..]);
    for bad in [
        "",
        "x",
        "!",
        &text[..middle],
        &text[1..],
        &altered,
        &format!("{text}AAAA"),
        &format!("{text}="),
        "\0",
    ] {
        let error = refused(bad.parse::<Cursor>(), ErrorKind::InvalidInput, None);
        told(&error, &["cursor", "first page"]);
        let json = serde_json::to_string(bad).unwrap();
        serde_json::from_str::<Cursor>(&json).unwrap_err();
    }
    let rest = page_of_bots(&store, PageRequest::after(text.parse().unwrap(), 1))
        .await
        .unwrap();
    assert_eq!(rest.items.len(), 1, "as it was made, it is good");
}

/// Somebody who knows how cursors are made gets an error, and never a failing statement.
async fn a_forged_cursor_with_keys_of_other_types_is_refused(db: TestDatabase) {
    let store = open(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let id = CursorKey::Id(bot.id.0);
    let instant = CursorKey::Instant(bot.created_at);
    for keys in [
        vec![],
        vec![instant.clone()],
        vec![id.clone(), instant.clone()],
        vec![CursorKey::Text("2026".into()), id.clone()],
        vec![CursorKey::Number(1), id.clone()],
        vec![instant.clone(), CursorKey::Text(bot.id.to_string())],
        vec![instant.clone(), id.clone(), id.clone()],
    ] {
        let cursor = Cursor::new("bots created_at,id desc", keys.clone());
        let outcome = page_of_bots(&store, PageRequest::after(cursor, 1)).await;
        let error = refused(outcome, ErrorKind::InvalidInput, None);
        told(&error, &["cursor"]);
    }
    let far = chrono::DateTime::from_timestamp(400_000_000_000, 0).unwrap();
    let far = Cursor::new("bots created_at,id desc", vec![CursorKey::Instant(far), id.clone()]);
    let outcome = page_of_bots(&store, PageRequest::after(far, 1)).await;
    refused(outcome, ErrorKind::InvalidInput, None);
    let nul = Cursor::new("bots name,id", vec![CursorKey::Text("a\0".into()), id.clone()]);
    let by_name = BotFilter {
        order: BotOrder::Name,
        direction: Direction::Ascending,
        ..BotFilter::default()
    };
    refused(
        store.bots().list(by_name, PageRequest::after(nul, 1)).await,
        ErrorKind::InvalidInput,
        None,
    );
    let right = Cursor::new("bots created_at,id desc", vec![instant, id]);
    let page = page_of_bots(&store, PageRequest::after(right, 1)).await.unwrap();
    assert!(page.items.is_empty(), "the keys are those of the list's only row");
}
