//! The audit trail.

use std::time::Duration;

use chrono::Utc;
use serde_json::{Value, json};

use super::{World, a_bot, cases, nowhere, pages, refused};
use crate::ErrorKind;
use crate::contract::*;

cases![
    every_action_is_logged,
    details_absent_and_null_are_two_things,
    a_bots_trail_is_newest_first,
    a_memorys_trail_is_newest_first,
    many_are_logged_in_their_order,
    five_thousand_are_logged_at_once,
    none_of_many_is_no_error,
    one_bad_entry_of_many_logs_none,
    the_trail_survives_its_bot,
    pages_are_stable_while_more_is_logged,
    a_cursor_is_valid_in_its_own_trail_only,
    prune_removes_what_is_older,
    prune_counts_in_a_dry_run,
    nul_is_refused_in_every_text_field,
    a_blank_actor_is_refused,
    text_round_trips,
];

const ACTIONS: [AuditAction; 5] = [
    AuditAction::Add,
    AuditAction::Delete,
    AuditAction::Share,
    AuditAction::Revoke,
    AuditAction::Merge,
];

fn memory(text: &str) -> MemoryId {
    MemoryId::new(text).unwrap()
}

fn done(bot: BotId, name: &str) -> NewAuditEntry {
    NewAuditEntry {
        bot_id: bot,
        memory_id: memory(name),
        action: AuditAction::Add,
        actor: "test".into(),
        details: None,
    }
}

fn a_bot_id(n: u128) -> BotId {
    uuid::Uuid::from_u128(n).into()
}

/// A bot's trail, page by page.
async fn trail<W: World>(store: &W, bot: BotId, limit: u32) -> Vec<AuditEntry> {
    let audit = store.audit();
    pages(limit, |page| audit.for_bot(bot, page)).await
}

fn reversed<T: Clone>(items: &[T]) -> Vec<T> {
    items.iter().rev().cloned().collect()
}

async fn every_action_is_logged<W: World>(store: W) {
    let bot = store.bots().create(a_bot("owl")).await.unwrap().id;
    let mut logged = vec![];
    for (n, action) in ACTIONS.into_iter().enumerate() {
        let entry = NewAuditEntry {
            action,
            actor: format!("actor {n}"),
            details: Some(json!({"n": n, "why": ["because", null]})),
            ..done(bot, "m")
        };
        let kept = store.audit().log(entry.clone()).await.unwrap();
        assert_eq!(
            (kept.bot_id, &kept.memory_id, kept.action),
            (bot, &entry.memory_id, action)
        );
        assert_eq!((&kept.actor, &kept.details), (&entry.actor, &entry.details));
        assert_eq!(
            kept.created_at.timestamp_subsec_nanos() % 1000,
            0,
            "cut to microseconds"
        );
        logged.push(kept);
    }
    assert_eq!(trail(&store, bot, 10).await, reversed(&logged));
}

async fn details_absent_and_null_are_two_things<W: World>(store: W) {
    let bot = a_bot_id(1);
    for details in [None, Some(Value::Null), Some(json!({})), Some(json!("null"))] {
        let entry = NewAuditEntry {
            details: details.clone(),
            ..done(bot, "m")
        };
        let kept = store.audit().log(entry).await.unwrap();
        assert_eq!(kept.details, details);
        let newest = store.audit().for_bot(bot, PageRequest::first(1)).await.unwrap();
        assert_eq!(newest.items, std::slice::from_ref(&kept));
        // In text too.
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<AuditEntry>(&text).unwrap(), kept);
    }
}

async fn a_bots_trail_is_newest_first<W: World>(store: W) {
    let (owl, bat) = (a_bot_id(1), a_bot_id(2));
    let mut owls = vec![];
    for n in 0..7 {
        owls.push(store.audit().log(done(owl, &format!("m{n}"))).await.unwrap());
        store.audit().log(done(bat, "m0")).await.unwrap();
    }
    for limit in [1, 3, 7, 100] {
        assert_eq!(trail(&store, owl, limit).await, reversed(&owls), "{limit}");
    }
    assert_eq!(trail(&store, bat, 3).await.len(), 7);
    assert_eq!(trail(&store, nowhere(), 3).await, []);
}

async fn a_memorys_trail_is_newest_first<W: World>(store: W) {
    let (owl, bat) = (a_bot_id(1), a_bot_id(2));
    let mut ours = vec![];
    for n in 0..6 {
        let bot = if n % 2 == 0 { owl } else { bat };
        ours.push(store.audit().log(done(bot, "shared")).await.unwrap());
        store.audit().log(done(bot, "Shared")).await.unwrap();
    }
    let first = store
        .audit()
        .for_memory(&memory("shared"), PageRequest::first(4))
        .await
        .unwrap();
    let next = PageRequest::after(first.next.unwrap(), 4);
    let second = store.audit().for_memory(&memory("shared"), next).await.unwrap();
    assert_eq!([first.items, second.items].concat(), reversed(&ours));
    assert_eq!(second.next, None);
    let none = store
        .audit()
        .for_memory(&memory("share"), PageRequest::first(4))
        .await
        .unwrap();
    assert_eq!(none.items, []);
}

async fn many_are_logged_in_their_order<W: World>(store: W) {
    let bot = a_bot_id(1);
    let new = (0..10).map(|n| NewAuditEntry {
        details: (n % 2 == 0).then(|| json!(n)),
        action: ACTIONS[n % 5],
        ..done(bot, &format!("m{n}"))
    });
    let new = new.collect::<Vec<_>>();
    let logged = store.audit().log_many(new.clone()).await.unwrap();
    assert_eq!(logged.len(), 10);
    for (kept, new) in logged.iter().zip(&new) {
        assert_eq!(
            (&kept.memory_id, kept.action, &kept.details),
            (&new.memory_id, new.action, &new.details)
        );
        assert_eq!(kept.created_at, logged[0].created_at, "at one instant");
    }
    assert_eq!(trail(&store, bot, 3).await, reversed(&logged), "the last is the newest");
}

async fn five_thousand_are_logged_at_once<W: World>(store: W) {
    let bot = a_bot_id(1);
    // More than 32,766 values, and not a round number of statements.
    let new = (0..5_001).map(|n| done(bot, &format!("m{n}"))).collect::<Vec<_>>();
    let logged = store.audit().log_many(new).await.unwrap();
    assert_eq!(logged.len(), 5_001);
    assert_eq!(trail(&store, bot, 1_000).await, reversed(&logged));
}

async fn none_of_many_is_no_error<W: World>(store: W) {
    assert_eq!(store.audit().log_many(vec![]).await.unwrap(), []);
}

async fn one_bad_entry_of_many_logs_none<W: World>(store: W) {
    let bot = a_bot_id(1);
    let mut new = (0..2_000).map(|n| done(bot, &format!("m{n}"))).collect::<Vec<_>>();
    new[1_999].details = Some(json!({"said": "a\0b"}));
    let error = refused(store.audit().log_many(new).await, ErrorKind::InvalidInput, None);
    assert!(error.to_string().contains("entries[1999]: details.said"), "{error}");
    assert_eq!(trail(&store, bot, 10).await, []);
}

async fn the_trail_survives_its_bot<W: World>(store: W) {
    let bot = store.bots().create(a_bot("owl")).await.unwrap().id;
    let entry = store.audit().log(done(bot, "m")).await.unwrap();
    store.bots().delete(bot).await.unwrap();
    assert_eq!(trail(&store, bot, 10).await, std::slice::from_ref(&entry));
    // It still takes entries: the deletion itself is worth one.
    let last = store.audit().log(done(bot, "m")).await.unwrap();
    assert_eq!(trail(&store, bot, 10).await, [last, entry]);
}

async fn pages_are_stable_while_more_is_logged<W: World>(store: W) {
    let bot = a_bot_id(1);
    let logged = store
        .audit()
        .log_many((0..6).map(|n| done(bot, &format!("m{n}"))).collect())
        .await
        .unwrap();
    let first = store.audit().for_bot(bot, PageRequest::first(2)).await.unwrap();
    assert_eq!(first.items, [logged[5].clone(), logged[4].clone()]);
    store.audit().log(done(bot, "new")).await.unwrap();
    let cursor = first.next.unwrap().to_string().parse().unwrap();
    let rest = store
        .audit()
        .for_bot(bot, PageRequest::after(cursor, 10))
        .await
        .unwrap();
    assert_eq!(rest.items, reversed(&logged[..4]));
    assert_eq!(rest.next, None);
}

async fn a_cursor_is_valid_in_its_own_trail_only<W: World>(store: W) {
    let bot = a_bot_id(1);
    store
        .audit()
        .log_many(vec![done(bot, "m"), done(bot, "m")])
        .await
        .unwrap();
    let page = store.audit().for_bot(bot, PageRequest::first(1)).await.unwrap();
    let foreign = PageRequest::after(page.next.unwrap(), 1);
    let outcome = store.audit().for_memory(&memory("m"), foreign).await;
    refused(outcome, ErrorKind::InvalidInput, None);
    for limit in [0, PageRequest::MAX + 1] {
        let outcome = store.audit().for_bot(bot, PageRequest::first(limit)).await;
        refused(outcome, ErrorKind::InvalidInput, None);
        let outcome = store.audit().for_memory(&memory("m"), PageRequest::first(limit)).await;
        refused(outcome, ErrorKind::InvalidInput, None);
    }
}

/// Logs five entries, waits, and logs two; answers the instant of the first of the two.
async fn five_old_and_two_new<W: World>(store: &W, bot: BotId) -> chrono::DateTime<Utc> {
    store
        .audit()
        .log_many((0..5).map(|n| done(bot, &format!("old{n}"))).collect())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let new = store
        .audit()
        .log_many(vec![done(bot, "new1"), done(bot, "new2")])
        .await
        .unwrap();
    new[0].created_at
}

async fn prune_removes_what_is_older<W: World>(store: W) {
    let bot = a_bot_id(1);
    let instant = five_old_and_two_new(&store, bot).await;
    let in_batches = Prune {
        batch: 2,
        ..Prune::older_than(instant)
    };
    assert_eq!(store.audit().prune(in_batches).await.unwrap(), 5);
    assert_eq!(store.audit().prune(in_batches).await.unwrap(), 0);
    let left = trail(&store, bot, 10).await;
    assert_eq!(
        left.iter().map(|entry| entry.memory_id.as_str()).collect::<Vec<_>>(),
        ["new2", "new1"]
    );
    for batch in [0, 10_001] {
        let outcome = store.audit().prune(Prune { batch, ..in_batches }).await;
        refused(outcome, ErrorKind::InvalidInput, None);
    }
}

async fn prune_counts_in_a_dry_run<W: World>(store: W) {
    let bot = a_bot_id(1);
    let instant = five_old_and_two_new(&store, bot).await;
    for _ in 0..2 {
        assert_eq!(
            store.audit().prune(Prune::older_than(instant).dry_run()).await.unwrap(),
            5
        );
    }
    assert_eq!(trail(&store, bot, 10).await.len(), 7);
}

async fn nul_is_refused_in_every_text_field<W: World>(store: W) {
    let bot = a_bot_id(1);
    for (field, entry) in [
        (
            "actor",
            NewAuditEntry {
                actor: "a\0".into(),
                ..done(bot, "m")
            },
        ),
        (
            "details[1].x",
            NewAuditEntry {
                details: Some(json!([1, {"x": "\0"}])),
                ..done(bot, "m")
            },
        ),
        (
            "a key of details",
            NewAuditEntry {
                details: Some(json!({"\0": 1})),
                ..done(bot, "m")
            },
        ),
    ] {
        let error = refused(store.audit().log(entry).await, ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains(field), "{error}");
    }
    for text in ["", "a\0", &"x".repeat(513)] {
        let error = refused(MemoryId::new(text), ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains("memory_id"), "{error}");
    }
    assert_eq!(trail(&store, bot, 10).await, []);
}

async fn a_blank_actor_is_refused<W: World>(store: W) {
    for actor in ["", " \t"] {
        let entry = NewAuditEntry {
            actor: actor.into(),
            ..done(a_bot_id(1), "m")
        };
        let error = refused(store.audit().log(entry).await, ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains("actor"), "{error}");
    }
}

async fn text_round_trips<W: World>(store: W) {
    let bot = a_bot_id(1);
    for text in [
        "'; DROP TABLE memory_audit_log; --",
        "\"q\" \\ \n\r\t",
        "日本 👩‍👩‍👧 \u{feff}\u{1}",
        "%_*?[]",
    ] {
        let entry = NewAuditEntry {
            actor: text.into(),
            details: Some(json!({ text: [text] })),
            ..done(bot, text)
        };
        let kept = store.audit().log(entry).await.unwrap();
        assert_eq!((kept.actor.as_str(), kept.memory_id.as_str()), (text, text));
        let found = store
            .audit()
            .for_memory(&memory(text), PageRequest::default())
            .await
            .unwrap();
        assert_eq!(found.items, [kept]);
    }
}
