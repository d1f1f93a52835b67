//! Lists of keys.

use serde_json::json;

use super::Shelf;
use crate::ErrorKind;
use crate::conformance::{World, cases, key, refused};
use crate::contract::*;

cases![
    keys_are_listed_byte_by_byte_in_order,
    keys_are_listed_by_prefix,
    a_prefix_may_end_in_any_character,
    key_pages_are_stable_while_keys_come_and_go,
    key_pages_refuse_a_limit_or_cursor_that_is_not_theirs,
    a_key_of_512_bytes_is_kept,
];

async fn keys_are_listed_byte_by_byte_in_order<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    shelf
        .put_all(&["b", "B", "a b", "ab", "Ä", "a", "_", "é", "日本", "\u{10ffff}", "a-b"])
        .await;
    let sorted = ["B", "_", "a", "a b", "a-b", "ab", "b", "Ä", "é", "日本", "\u{10ffff}"];
    for limit in [1, 3, 11, 100] {
        assert_eq!(shelf.keys("", limit).await, sorted, "{limit}");
    }
}

async fn keys_are_listed_by_prefix<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    shelf
        .put_all(&[
            "user", "x-user:1", "user:", "user:1", "user:2", "user:%", "user;", "USER:3", "use", "user_", "x",
        ])
        .await;
    shelf.put_expired("user:0", json!(1)).await;
    for limit in [1, 2, 10] {
        assert_eq!(
            shelf.keys("user:", limit).await,
            ["user:", "user:%", "user:1", "user:2"]
        );
    }
    assert_eq!(shelf.keys("user:%", 10).await, ["user:%"], "no wildcards");
    assert_eq!(shelf.keys("user_", 10).await, ["user_"], "no wildcards");
    assert_eq!(shelf.keys("USER", 10).await, ["USER:3"], "case matters");
    assert_eq!(shelf.keys("nothing", 10).await, [""; 0]);
    assert_eq!(shelf.keys(&"x".repeat(1000), 10).await, [""; 0]);
    let error = refused(
        shelf.list("a\0", PageRequest::default()).await,
        ErrorKind::InvalidInput,
        None,
    );
    assert!(error.to_string().contains("prefix"), "{error}");
}

async fn a_prefix_may_end_in_any_character<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    let all = [
        "a\u{7f}x",
        "a\u{80}",
        "a\u{d7ff}",
        "a\u{d7ff}x",
        "a\u{e000}",
        "a\u{ffff}",
        "a\u{10000}",
        "a\u{10ffff}",
        "a\u{10ffff}\u{10ffff}x",
        "b",
        "ä",
        "äx",
        "å",
        "日本",
        "日札",
        "\u{10ffff}",
        "\u{10ffff}x",
    ];
    shelf.put_all(&all).await;
    for prefix in all.into_iter().chain(["a", "日", "\u{10ffff}\u{10ffff}"]) {
        let mut expected = all.iter().filter(|name| name.starts_with(prefix)).collect::<Vec<_>>();
        expected.sort();
        assert_eq!(
            shelf.keys(prefix, 2).await.iter().collect::<Vec<_>>(),
            expected,
            "{prefix:?}"
        );
    }
}

async fn key_pages_are_stable_while_keys_come_and_go<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    shelf.put_all(&["b", "d", "f", "h", "j"]).await;
    let first = shelf.list("", PageRequest::first(2)).await.unwrap();
    assert_eq!(first.items, [key("b"), key("d")]);
    // A new one in front, the cursor's own key gone, one gone from behind, a new one behind.
    shelf.put_all(&["a", "g"]).await;
    shelf.delete("d").await;
    shelf.delete("h").await;
    let cursor = first.next.unwrap().to_string().parse().unwrap();
    let second = shelf.list("", PageRequest::after(cursor, 10)).await.unwrap();
    assert_eq!(second.items, [key("f"), key("g"), key("j")]);
    assert_eq!(second.next, None);
}

async fn key_pages_refuse_a_limit_or_cursor_that_is_not_theirs<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    for limit in [0, PageRequest::MAX + 1] {
        let outcome = shelf.list("", PageRequest::first(limit)).await;
        refused(outcome, ErrorKind::InvalidInput, None);
    }
    // One of another prefix leads nowhere else than to the keys of this one.
    shelf.put_all(&["a1", "a2", "b1", "b2", "c1"]).await;
    let page = shelf.list("a", PageRequest::first(1)).await.unwrap();
    let of_a = PageRequest::after(page.next.unwrap(), 10);
    assert_eq!(shelf.list("b", of_a).await.unwrap().items, [key("b1"), key("b2")]);
    let foreign = Cursor::new("bots name,id", vec![CursorKey::Text("x".into())]);
    let outcome = shelf.list("", PageRequest::after(foreign, 1)).await;
    refused(outcome, ErrorKind::InvalidInput, None);
}

async fn a_key_of_512_bytes_is_kept<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    let longest = "ä".repeat(256);
    shelf.put(&longest, json!(1)).await;
    assert_eq!(shelf.get(&longest).await, Some(json!(1)));
    assert_eq!(shelf.keys(&longest, 10).await, [longest]);
}
