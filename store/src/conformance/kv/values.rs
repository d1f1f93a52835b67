//! What is stored under a key, how long, and for whom.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Shelf, everything};
use crate::ErrorKind;
use crate::conformance::{World, cases, key, refused};
use crate::contract::*;

cases![
    what_is_set_is_got,
    every_json_value_round_trips,
    null_is_a_value_and_not_absence,
    keys_belong_to_their_bot,
    set_replaces_and_keeps_created_at,
    an_entry_has_its_times,
    an_expired_entry_is_never_returned,
    a_key_set_after_it_expired_is_a_new_one,
    a_key_set_without_a_time_to_live_stays,
    a_time_to_live_out_of_range_is_refused,
    delete_says_whether_there_was_one,
    purge_removes_what_has_expired_and_nothing_else,
    purge_counts_in_a_dry_run,
    deleting_a_bot_deletes_its_values,
    an_unknown_bot_is_a_foreign_key_error,
    nul_in_a_value_is_refused,
    nesting_beyond_what_is_read_back_is_refused,
];

async fn what_is_set_is_got<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    assert_eq!(shelf.get("k").await, None);
    assert_eq!(shelf.store.kv().get_entry(shelf.bot, &key("k")).await.unwrap(), None);
    let value = json!({"name": "owl", "sees": ["night", {"deep": [[], {}]}]});
    shelf.put("k", value.clone()).await;
    assert_eq!(shelf.get("k").await, Some(value));
    assert_eq!(shelf.get("K").await, None);
}

async fn every_json_value_round_trips<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    let values = [
        json!({}),
        json!([]),
        json!({"": {"b": 1, "a": [null, true, false, "", {"c": {}}]}}),
        json!([[[[]]], [{}], null]),
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1.0),
        json!(-0.5),
        json!(0.1),
        json!(1e-7),
        json!(1.1e15),
        json!(1.5e300),
        json!(f64::MAX),
        json!(f64::MIN_POSITIVE),
        // Read back one digit off by a parser that takes the quick way.
        json!([31.245_270_191_439_438, 121.487_919_511_619_45, 100.783_996_582_031_25]),
        json!(""),
        json!("null"),
        json!("'; DROP TABLE bot_kv_store; -- \\ \" \u{1} \u{7f} \u{feff} 日本 👩‍👩‍👧"),
        json!("x".repeat(100_000)),
    ];
    for (n, value) in values.into_iter().enumerate() {
        let name = format!("k{n}");
        shelf.put(&name, value.clone()).await;
        assert_eq!(shelf.get(&name).await, Some(value));
    }
}

async fn null_is_a_value_and_not_absence<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    shelf.put("k", Value::Null).await;
    assert_eq!(shelf.get("k").await, Some(Value::Null));
    assert_eq!(shelf.keys("", 10).await, ["k"]);
    let taken = shelf.compare("k", None, json!(1), None).await;
    refused(taken, ErrorKind::Conflict, None);
    refused(shelf.increment("k", 1).await, ErrorKind::InvalidTransition, None);
    let replaced = shelf.compare("k", Some(&Value::Null), json!(1), None).await;
    replaced.unwrap();
    let absent = shelf.compare("none", Some(&Value::Null), json!(1), None).await;
    refused(absent, ErrorKind::Conflict, None);
    assert!(shelf.delete("k").await);
}

async fn keys_belong_to_their_bot<W: World>(store: W) {
    let owls = Shelf::of(store.clone(), "owl").await;
    let bats = Shelf::of(store, "bat").await;
    owls.put("k", json!("the owl's")).await;
    bats.put("k", json!("the bat's")).await;
    assert_eq!(owls.get("k").await, Some(json!("the owl's")));
    assert!(owls.delete("k").await);
    assert_eq!(bats.get("k").await, Some(json!("the bat's")));
    assert_eq!(owls.keys("", 10).await, [""; 0]);
    assert_eq!(bats.keys("", 10).await, ["k"]);
}

async fn set_replaces_and_keeps_created_at<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    shelf.put("k", json!(1)).await;
    let first = shelf.entry("k").await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    shelf.put("k", json!({"now": "an object"})).await;
    let second = shelf.entry("k").await;
    assert_eq!(second.value, json!({"now": "an object"}));
    assert_eq!(second.created_at, first.created_at);
    assert!(second.updated_at > first.updated_at);
}

async fn an_entry_has_its_times<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    let ttl = Duration::from_micros(3_600_000_001);
    shelf.set("k", json!(1), Some(ttl)).await.unwrap();
    let entry = shelf.entry("k").await;
    assert_eq!(
        (entry.bot_id, entry.key.as_str(), &entry.value),
        (shelf.bot, "k", &json!(1))
    );
    assert_eq!(entry.created_at, entry.updated_at);
    assert_eq!(
        entry.created_at.timestamp_subsec_nanos() % 1000,
        0,
        "cut to microseconds"
    );
    assert_eq!(
        entry.expires_at.unwrap() - entry.updated_at,
        chrono::Duration::from_std(ttl).unwrap()
    );
}

async fn an_expired_entry_is_never_returned<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    shelf.set("k", json!(1), Some(Duration::from_secs(3600))).await.unwrap();
    assert_eq!(shelf.get("k").await, Some(json!(1)), "its time is not over");
    assert_eq!(shelf.keys("", 10).await, ["k"]);
    shelf.put_expired("k", json!(1)).await;
    assert_eq!(shelf.get("k").await, None);
    assert_eq!(shelf.store.kv().get_entry(shelf.bot, &key("k")).await.unwrap(), None);
    assert_eq!(shelf.keys("", 10).await, [""; 0]);
    assert!(!shelf.delete("k").await);
    let gone = shelf.compare("k", Some(&json!(1)), json!(2), None).await;
    refused(gone, ErrorKind::Conflict, None);
    shelf.compare("k", None, json!(2), None).await.unwrap();
    assert_eq!(shelf.get("k").await, Some(json!(2)));
}

async fn a_key_set_after_it_expired_is_a_new_one<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    for name in ["set", "increment", "compare"] {
        shelf.put(name, json!(5)).await;
        let first = shelf.entry(name).await;
        shelf.put_expired(name, json!(5)).await;
        match name {
            "set" => shelf.put(name, json!(1)).await,
            "increment" => assert_eq!(shelf.increment(name, 1).await.unwrap(), 1),
            _ => shelf.compare(name, None, json!(1), None).await.unwrap(),
        }
        let second = shelf.entry(name).await;
        assert!(second.created_at > first.created_at, "{name}");
        assert_eq!((second.value, second.expires_at), (json!(1), None), "{name}");
        assert_eq!(second.created_at, second.updated_at, "{name}");
    }
}

async fn a_key_set_without_a_time_to_live_stays<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    shelf.set("k", json!(1), Some(Duration::from_millis(50))).await.unwrap();
    shelf.put("k", json!(2)).await;
    let entry = shelf.entry("k").await;
    assert_eq!(entry.expires_at, None);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(shelf.get("k").await, Some(json!(2)));
}

async fn a_time_to_live_out_of_range_is_refused<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    shelf.put("k", json!("stays")).await;
    for ttl in [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::MAX,
        Duration::from_secs(u64::MAX >> 1),
    ] {
        let error = refused(shelf.set("k", json!(1), Some(ttl)).await, ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains("ttl"), "{error}");
        let compared = shelf.compare("k", Some(&json!("stays")), json!(1), Some(ttl)).await;
        refused(compared, ErrorKind::InvalidInput, None);
    }
    assert_eq!(shelf.get("k").await, Some(json!("stays")));
}

async fn delete_says_whether_there_was_one<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    shelf.put("k", json!(1)).await;
    shelf.put("other", json!(2)).await;
    assert!(shelf.delete("k").await);
    assert!(!shelf.delete("k").await);
    assert_eq!(shelf.get("k").await, None);
    assert_eq!(shelf.keys("", 10).await, ["other"]);
}

async fn purge_removes_what_has_expired_and_nothing_else<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    shelf.put_all(&["stays"]).await;
    shelf
        .set("lives", json!(1), Some(Duration::from_secs(3600)))
        .await
        .unwrap();
    for n in 0..5 {
        shelf.put_expired(&format!("gone-{n}"), json!(n)).await;
    }
    let long_ago = Prune::older_than("2000-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(shelf.purge(long_ago).await.unwrap(), 0);
    let in_batches = Prune {
        batch: 2,
        ..everything()
    };
    assert_eq!(shelf.purge(in_batches).await.unwrap(), 5);
    assert_eq!(shelf.purge(everything()).await.unwrap(), 0);
    assert_eq!(shelf.keys("", 10).await, ["lives", "stays"]);
    for batch in [0, 10_001] {
        let outcome = shelf.purge(Prune { batch, ..everything() }).await;
        refused(outcome, ErrorKind::InvalidInput, None);
    }
}

async fn purge_counts_in_a_dry_run<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    shelf.put_all(&["stays"]).await;
    for n in 0..3 {
        shelf.put_expired(&format!("gone-{n}"), json!(n)).await;
    }
    for _ in 0..2 {
        assert_eq!(shelf.purge(everything().dry_run()).await.unwrap(), 3);
    }
    assert_eq!(shelf.purge(everything()).await.unwrap(), 3);
    assert_eq!(shelf.purge(everything().dry_run()).await.unwrap(), 0);
}

async fn deleting_a_bot_deletes_its_values<W: World>(store: W) {
    let owls = Shelf::of(store.clone(), "owl").await;
    let bats = Shelf::of(store.clone(), "bat").await;
    for shelf in [&owls, &bats] {
        shelf.put_all(&["a", "b"]).await;
    }
    store.bots().delete(owls.bot).await.unwrap();
    assert_eq!(owls.get("a").await, None);
    assert_eq!(owls.keys("", 10).await, [""; 0]);
    assert_eq!(bats.keys("", 10).await, ["a", "b"]);
}

async fn an_unknown_bot_is_a_foreign_key_error<W: World>(store: W) {
    let shelf = Shelf::of_nobody(store);
    let constraint = Some("fk_bot_kv_store_bot_id");
    let set = shelf.set("k", json!(1), None).await;
    refused(set, ErrorKind::ForeignKey, constraint);
    refused(shelf.increment("k", 1).await, ErrorKind::ForeignKey, constraint);
    let compared = shelf.compare("k", None, json!(1), None).await;
    refused(compared, ErrorKind::ForeignKey, constraint);
    assert_eq!(shelf.get("k").await, None);
    assert_eq!(shelf.keys("", 10).await, [""; 0]);
    assert!(!shelf.delete("k").await);
}

async fn nul_in_a_value_is_refused<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    shelf.put_all(&["k"]).await;
    for (value, place) in [
        (json!("a\0"), "value"),
        (json!({"a": ["fine", "a\0"]}), "value.a[1]"),
        (json!({"a\0": 1}), "a key of value"),
    ] {
        let error = refused(shelf.set("k", value.clone(), None).await, ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains(place), "{error}");
        let compared = shelf.compare("k", Some(&json!(1)), value, None).await;
        refused(compared, ErrorKind::InvalidInput, None);
    }
    assert_eq!(shelf.get("k").await, Some(json!(1)));
}

async fn nesting_beyond_what_is_read_back_is_refused<W: World>(store: W) {
    let shelf = Shelf::of_a_bot(store).await;
    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    shelf.put("k", nested(127)).await;
    refused(shelf.set("k", nested(128), None).await, ErrorKind::InvalidInput, None);
    assert_eq!(shelf.get("k").await, Some(nested(127)));
}
