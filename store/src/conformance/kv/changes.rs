//! Changes that look at what is there: increment, compare and set.

use std::time::Duration;

use serde_json::{Value, json};

use super::Shelf;
use crate::ErrorKind;
use crate::conformance::{World, cases, refused};

cases![
    increment_starts_at_what_is_added,
    increment_refuses_what_is_no_whole_number,
    increment_refuses_to_overflow,
    concurrent_increments_all_count,
    compare_and_set_sets_what_is_as_expected,
    compare_and_set_expects_absence,
    compare_and_set_compares_values,
    compare_and_set_has_one_winner,
];

async fn increment_starts_at_what_is_added<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    for (by, sum) in [(5, 5), (-7, -2), (0, -2), (i64::MAX, i64::MAX - 2), (2, i64::MAX)] {
        assert_eq!(shelf.increment("n", by).await.unwrap(), sum);
        assert_eq!(shelf.get("n").await, Some(json!(sum)));
    }
    // It keeps the time of creation and the time to live.
    shelf.set("m", json!(1), Some(Duration::from_secs(3600))).await.unwrap();
    let before = shelf.entry("m").await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    shelf.increment("m", 1).await.unwrap();
    let after = shelf.entry("m").await;
    assert_eq!(
        (after.created_at, after.expires_at),
        (before.created_at, before.expires_at)
    );
    assert!(after.updated_at > before.updated_at);
}

async fn increment_refuses_what_is_no_whole_number<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    for value in [
        json!("1"),
        json!(1.5),
        json!(2.0),
        json!(true),
        json!([1]),
        json!({}),
        json!(u64::MAX),
    ] {
        shelf.put("k", value.clone()).await;
        let outcome = shelf.increment("k", 1).await;
        refused(outcome, ErrorKind::InvalidTransition, None);
        assert_eq!(shelf.get("k").await, Some(value));
    }
}

async fn increment_refuses_to_overflow<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    for (value, by) in [(i64::MAX, 1), (i64::MIN, -1), (-2, i64::MIN)] {
        shelf.put("k", json!(value)).await;
        let outcome = shelf.increment("k", by).await;
        refused(outcome, ErrorKind::InvalidTransition, None);
        assert_eq!(shelf.get("k").await, Some(json!(value)));
    }
}

async fn concurrent_increments_all_count<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    let mut sums = vec![];
    let tasks = (0..16).map(|_| {
        let shelf = shelf.clone();
        tokio::spawn(async move {
            let mut sums = vec![];
            for _ in 0..5 {
                sums.push(shelf.increment("n", 1).await.unwrap());
            }
            sums
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        sums.extend(task.await.unwrap());
    }
    sums.sort_unstable();
    assert_eq!(sums, (1..=80).collect::<Vec<_>>(), "each has its own sum");
    assert_eq!(shelf.get("n").await, Some(json!(80)));
}

async fn compare_and_set_sets_what_is_as_expected<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    shelf.put("k", json!("a")).await;
    let before = shelf.entry("k").await;
    let ttl = Some(Duration::from_secs(60));
    shelf.compare("k", Some(&json!("a")), json!("b"), ttl).await.unwrap();
    let after = shelf.entry("k").await;
    assert_eq!((after.value, after.created_at), (json!("b"), before.created_at));
    assert!(after.expires_at.is_some());

    let late = shelf.compare("k", Some(&json!("a")), json!("c"), None).await;
    let error = refused(late, ErrorKind::Conflict, None);
    assert!(!error.is_retryable());
    assert_eq!(shelf.get("k").await, Some(json!("b")));
}

async fn compare_and_set_expects_absence<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    shelf.compare("k", None, json!(1), None).await.unwrap();
    let taken = shelf.compare("k", None, json!(2), None).await;
    refused(taken, ErrorKind::Conflict, None);
    let absent = shelf.compare("none", Some(&json!(1)), json!(2), None).await;
    refused(absent, ErrorKind::Conflict, None);
    assert_eq!(shelf.get("k").await, Some(json!(1)));
    assert_eq!(shelf.get("none").await, None);
}

async fn compare_and_set_compares_values<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    for (stored, equal) in [
        (r#"{"a":1,"b":[1,2]}"#, r#" { "b" : [ 1 , 2 ] , "a" : 1 } "#),
        (r#""\u00e9""#, r#""é""#),
        ("1e16", "10000000000000000"),
        ("1.0", "1.00"),
    ] {
        shelf.put("k", parsed(stored)).await;
        let same = shelf.compare("k", Some(&parsed(equal)), json!("set"), None).await;
        same.unwrap();
    }
    for (stored, other) in [
        ("1", "1.0"),
        ("[1,2]", "[2,1]"),
        ("{}", "[]"),
        (r#""1""#, "1"),
        (r#"{"a":null}"#, "{}"),
    ] {
        shelf.put("k", parsed(stored)).await;
        let outcome = shelf.compare("k", Some(&parsed(other)), json!("set"), None).await;
        refused(outcome, ErrorKind::Conflict, None);
    }
}

async fn compare_and_set_has_one_winner<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    for expected in [None, Some(json!("free"))] {
        let tasks = (0..12).map(|n| {
            let (shelf, expected) = (shelf.clone(), expected.clone());
            tokio::spawn(async move {
                let won = shelf.compare("lock", expected.as_ref(), json!(n), None).await;
                won.map(|()| n)
            })
        });
        let mut winners = vec![];
        for task in tasks.collect::<Vec<_>>() {
            match task.await.unwrap() {
                Ok(n) => winners.push(n),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error:?}"),
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(shelf.get("lock").await, Some(json!(winners[0])));
        shelf.put("lock", json!("free")).await;
    }
}
