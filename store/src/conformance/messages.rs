//! Messages between bots.

use std::time::Duration;

use serde_json::json;

use super::{World, a_bot, cases, nowhere, pages, refused};
use crate::ErrorKind;
use crate::contract::*;

cases![
    what_send_returns_a_later_read_returns,
    every_kind_of_body_round_trips,
    between_is_both_directions_newest_first,
    between_pages_are_stable,
    a_bots_notes_to_itself_are_there_once,
    in_channel_is_newest_first,
    send_many_keeps_the_order,
    send_many_takes_any_length,
    messages_are_sent_all_or_none,
    no_messages_are_no_work,
    the_record_survives_its_bots,
    channels_are_listed_by_name,
    a_duplicate_channel_is_a_conflict,
    subscribing_again_changes_nothing,
    a_subscription_to_an_unknown_channel_is_not_found,
    unsubscribe_says_whether_there_was_one,
    subscriptions_are_listed_by_channel,
    subscribers_are_listed_the_longest_first,
    prune_removes_what_is_old,
    bad_input_is_refused_and_changes_nothing,
];

fn channel(name: &str) -> ChannelName {
    ChannelName::new(name).unwrap()
}

async fn bots<const N: usize>(store: &impl World) -> [BotId; N] {
    let mut ids = [nowhere(); N];
    for (n, id) in ids.iter_mut().enumerate() {
        *id = store.bots().create(a_bot(&format!("bot-{n}"))).await.unwrap().id;
    }
    ids
}

fn to(sender: BotId, recipient: BotId, body: &str) -> NewBotMessage {
    NewBotMessage::direct(sender, "Owl", recipient, body)
}

fn into_channel(sender: BotId, name: &str, body: &str) -> NewBotMessage {
    NewBotMessage::channel(sender, "Owl", channel(name), body)
}

fn bodies(messages: &[BotMessage]) -> Vec<&str> {
    messages.iter().map(|message| message.body.as_str().unwrap()).collect()
}

async fn between(store: &impl World, a: BotId, b: BotId, limit: u32) -> Vec<BotMessage> {
    let messages = store.messages();
    pages(limit, |page| messages.between(a, b, page)).await
}

async fn in_channel(store: &impl World, name: &str, limit: u32) -> Vec<BotMessage> {
    let (messages, channel) = (store.messages(), channel(name));
    pages(limit, |page| messages.in_channel(&channel, page)).await
}

async fn what_send_returns_a_later_read_returns<W: World>(store: W) {
    let [owl, bat] = bots(&store).await;
    let direct = NewBotMessage {
        message_type: "handover".into(),
        ..NewBotMessage::direct(owl, "Öwl", bat, json!({"b": [1, null], "a": "x"}))
    };
    let first = store.messages().send(direct.clone()).await.unwrap();
    let expected = BotMessage {
        id: first.id,
        sender_bot_id: owl,
        sender_bot_name: "Öwl".into(),
        recipient: Recipient::Direct(bat),
        message_type: "handover".into(),
        body: direct.body,
        reply_to: None,
        timestamp: first.timestamp,
    };
    assert_eq!(first, expected);
    let cut = first.timestamp.timestamp_subsec_nanos() % 1000;
    assert_eq!(cut, 0, "cut to microseconds");

    let reply = into_channel(bat, "ops", "done").in_reply_to(first.id);
    let second = store.messages().send(reply).await.unwrap();
    assert_eq!(second.recipient, Recipient::Channel(channel("ops")));
    assert_eq!(
        (second.reply_to, second.message_type.as_str()),
        (Some(first.id), "text")
    );
    assert_eq!(between(&store, owl, bat, 10).await, [first]);
    assert_eq!(in_channel(&store, "ops", 10).await, [second]);
}

async fn every_kind_of_body_round_trips<W: World>(store: W) {
    let [owl, bat] = bots(&store).await;
    for body in [
        json!(null),
        json!(true),
        json!(""),
        json!(-1.5),
        json!(i64::MIN),
        json!([]),
        json!({}),
        json!({"z": {"y": [{"x": "ü🦉"}]}, "a": null}),
    ] {
        let sent = store
            .messages()
            .send(NewBotMessage::direct(owl, "Owl", bat, body.clone()))
            .await
            .unwrap();
        assert_eq!(sent.body, body);
        assert_eq!(between(&store, owl, bat, 1_000).await[0], sent);
    }
}

async fn between_is_both_directions_newest_first<W: World>(store: W) {
    let [owl, bat, cat] = bots(&store).await;
    for message in [
        to(owl, bat, "1"),
        to(bat, owl, "2"),
        to(bat, owl, "3"),
        to(owl, cat, "not theirs"),
        to(cat, bat, "not theirs"),
        into_channel(owl, "ops", "not theirs"),
        to(owl, bat, "4"),
        to(owl, owl, "not theirs"),
        to(bat, owl, "5"),
    ] {
        store.messages().send(message).await.unwrap();
    }
    for limit in [1, 2, 3, 5, 100] {
        for (a, b) in [(owl, bat), (bat, owl)] {
            let found = between(&store, a, b, limit).await;
            assert_eq!(bodies(&found), ["5", "4", "3", "2", "1"], "{limit} a page");
        }
    }
    assert_eq!(between(&store, owl, nowhere(), 10).await, []);
}

async fn between_pages_are_stable<W: World>(store: W) {
    let [owl, bat] = bots(&store).await;
    let sent = (0..7).map(|n| {
        if n % 3 == 0 {
            to(owl, bat, &n.to_string())
        } else {
            to(bat, owl, &n.to_string())
        }
    });
    store.messages().send_many(sent.collect()).await.unwrap();
    let first = store.messages().between(owl, bat, PageRequest::first(3)).await.unwrap();
    assert_eq!(bodies(&first.items), ["6", "5", "4"]);
    for message in [to(owl, bat, "7"), to(bat, owl, "8")] {
        store.messages().send(message).await.unwrap();
    }
    let cursor: Cursor = first.next.unwrap().to_string().parse().unwrap();
    // It is a place in the conversation, from whichever side one looks.
    let request = PageRequest::after(cursor.clone(), 10);
    let rest = store.messages().between(bat, owl, request).await.unwrap();
    assert_eq!(bodies(&rest.items), ["3", "2", "1", "0"]);
    assert_eq!(rest.next, None);
    let outcome = store.messages().channels(PageRequest::after(cursor, 10)).await;
    refused(outcome, ErrorKind::InvalidInput, None);
}

async fn a_bots_notes_to_itself_are_there_once<W: World>(store: W) {
    let [owl, bat] = bots(&store).await;
    for message in [to(owl, owl, "1"), to(owl, bat, "no note"), to(owl, owl, "2")] {
        store.messages().send(message).await.unwrap();
    }
    for limit in [1, 10] {
        assert_eq!(bodies(&between(&store, owl, owl, limit).await), ["2", "1"]);
    }
}

async fn in_channel_is_newest_first<W: World>(store: W) {
    let [owl, bat] = bots(&store).await;
    for message in [
        into_channel(owl, "ops", "1"),
        into_channel(bat, "ops", "2"),
        into_channel(bat, "op", "elsewhere"),
        to(owl, bat, "elsewhere"),
        into_channel(owl, "ops", "3"),
    ] {
        store.messages().send(message).await.unwrap();
    }
    for limit in [1, 2, 3, 100] {
        assert_eq!(bodies(&in_channel(&store, "ops", limit).await), ["3", "2", "1"]);
    }
    assert_eq!(in_channel(&store, "nowhere", 10).await, []);
}

async fn send_many_keeps_the_order<W: World>(store: W) {
    let [owl, bat] = bots(&store).await;
    let batch = vec![
        to(owl, bat, "1"),
        into_channel(owl, "ops", "2"),
        to(bat, owl, "3"),
        to(owl, bat, "4"),
    ];
    let sent = store.messages().send_many(batch).await.unwrap();
    assert_eq!(bodies(&sent), ["1", "2", "3", "4"]);
    let found = between(&store, owl, bat, 10).await;
    assert_eq!(found, [sent[3].clone(), sent[2].clone(), sent[0].clone()]);
    assert_eq!(in_channel(&store, "ops", 10).await, sent[1..2]);
}

async fn send_many_takes_any_length<W: World>(store: W) {
    let [owl, bat] = bots(&store).await;
    let batch = (0..2_345).map(|n| to(owl, bat, &n.to_string())).collect();
    let mut sent = store.messages().send_many(batch).await.unwrap();
    sent.reverse();
    assert_eq!(sent.len(), 2_345);
    assert_eq!(between(&store, owl, bat, 1_000).await, sent);
}

async fn messages_are_sent_all_or_none<W: World>(store: W) {
    let [owl, bat] = bots(&store).await;
    let mut batch: Vec<_> = (0..1_500).map(|n| to(owl, bat, &n.to_string())).collect();
    batch[1_400].body = json!({"deep": ["a\0"]});
    let error = refused(store.messages().send_many(batch).await, ErrorKind::InvalidInput, None);
    assert!(error.to_string().contains("messages[1400].body.deep[0]"), "{error}");
    assert_eq!(between(&store, owl, bat, 10).await, []);
}

async fn no_messages_are_no_work<W: World>(store: W) {
    assert_eq!(store.messages().send_many(vec![]).await.unwrap(), []);
}

async fn the_record_survives_its_bots<W: World>(store: W) {
    let [owl, bat] = bots(&store).await;
    let messages = store.messages();
    let ops = messages.create_channel(channel("ops"), owl).await.unwrap();
    messages.subscribe(owl, &ops.name).await.unwrap();
    let direct = messages.send(to(owl, bat, "1")).await.unwrap();
    let posted = messages.send(into_channel(owl, "ops", "2")).await.unwrap();
    for bot in [owl, bat] {
        store.bots().delete(bot).await.unwrap();
    }
    assert_eq!(between(&store, owl, bat, 10).await, [direct]);
    assert_eq!(in_channel(&store, "ops", 10).await, [posted]);
    let page = messages.channels(PageRequest::default()).await.unwrap();
    assert_eq!(page.items, std::slice::from_ref(&ops));
    let page = messages.subscribers(&ops.name, PageRequest::default()).await.unwrap();
    assert_eq!(page.items[0].bot_id, owl);
    // And one may write to who is gone, or was never there.
    messages.send(to(nowhere(), owl, "3")).await.unwrap();
}

async fn channels_are_listed_by_name<W: World>(store: W) {
    let creator = nowhere();
    let mut created = vec![];
    for name in ["b", "B", "a b", "ab", "Ä", "#ops", "日本"] {
        let made = store.messages().create_channel(channel(name), creator).await.unwrap();
        assert_eq!((made.name.as_str(), made.created_by_bot_id), (name, creator));
        created.push(made);
    }
    created.sort_by(|a, b| a.name.as_str().as_bytes().cmp(b.name.as_str().as_bytes()));
    let messages = store.messages();
    for limit in [1, 3, 100] {
        assert_eq!(pages(limit, |page| messages.channels(page)).await, created);
    }
}

async fn a_duplicate_channel_is_a_conflict<W: World>(store: W) {
    let [owl, bat] = bots(&store).await;
    let first = store.messages().create_channel(channel("ops"), owl).await.unwrap();
    let outcome = store.messages().create_channel(channel("ops"), bat).await;
    refused(outcome, ErrorKind::Conflict, Some("pk_bot_channels"));
    let page = store.messages().channels(PageRequest::default()).await.unwrap();
    assert_eq!(page.items, [first]);
}

async fn subscribing_again_changes_nothing<W: World>(store: W) {
    let [owl, bat] = bots(&store).await;
    let messages = store.messages();
    let ops = messages.create_channel(channel("ops"), owl).await.unwrap().name;
    assert!(messages.subscribe(owl, &ops).await.unwrap());
    assert!(messages.subscribe(bat, &ops).await.unwrap());
    let before = messages.subscribers(&ops, PageRequest::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert!(!messages.subscribe(owl, &ops).await.unwrap());
    let after = messages.subscribers(&ops, PageRequest::default()).await.unwrap();
    assert_eq!(after, before, "since the first time");
}

async fn a_subscription_to_an_unknown_channel_is_not_found<W: World>(store: W) {
    let [owl] = bots(&store).await;
    let outcome = store.messages().subscribe(owl, &channel("nowhere")).await;
    let error = refused(outcome, ErrorKind::NotFound, None);
    assert!(error.to_string().contains("no bot_channel `nowhere`"), "{error}");
    let page = store
        .messages()
        .subscriptions(owl, PageRequest::default())
        .await
        .unwrap();
    assert_eq!(page.items, []);
}

async fn unsubscribe_says_whether_there_was_one<W: World>(store: W) {
    let [owl, bat] = bots(&store).await;
    let messages = store.messages();
    let ops = messages.create_channel(channel("ops"), owl).await.unwrap().name;
    for bot in [owl, bat] {
        messages.subscribe(bot, &ops).await.unwrap();
    }
    assert!(messages.unsubscribe(owl, &ops).await.unwrap());
    assert!(!messages.unsubscribe(owl, &ops).await.unwrap());
    assert!(!messages.unsubscribe(bat, &channel("nowhere")).await.unwrap());
    let page = messages.subscribers(&ops, PageRequest::default()).await.unwrap();
    assert_eq!(page.items.iter().map(|one| one.bot_id).collect::<Vec<_>>(), [bat]);
    assert!(messages.subscribe(owl, &ops).await.unwrap(), "it is new again");
}

async fn subscriptions_are_listed_by_channel<W: World>(store: W) {
    let [owl, bat] = bots(&store).await;
    let messages = store.messages();
    for name in ["b", "B", "a", "ä", "c"] {
        let made = messages.create_channel(channel(name), owl).await.unwrap();
        messages.subscribe(owl, &made.name).await.unwrap();
        if name != "c" {
            messages.subscribe(bat, &made.name).await.unwrap();
        }
    }
    for limit in [1, 2, 100] {
        let listed = pages(limit, |page| messages.subscriptions(bat, page)).await;
        let names: Vec<_> = listed.iter().map(|one| one.channel_name.as_str()).collect();
        assert_eq!(names, ["B", "a", "b", "ä"]);
        assert!(listed.iter().all(|one| one.bot_id == bat));
    }
}

async fn subscribers_are_listed_the_longest_first<W: World>(store: W) {
    let [owl, bat, cat, dog] = bots(&store).await;
    let messages = store.messages();
    let [ops, other] = [channel("ops"), channel("other")];
    for channel in [&ops, &other] {
        messages.create_channel(channel.clone(), owl).await.unwrap();
    }
    messages.subscribe(dog, &other).await.unwrap();
    for bot in [cat, owl, bat] {
        messages.subscribe(bot, &ops).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for limit in [1, 2, 100] {
        let listed = pages(limit, |page| messages.subscribers(&ops, page)).await;
        assert_eq!(listed.iter().map(|one| one.bot_id).collect::<Vec<_>>(), [cat, owl, bat]);
        assert!(listed.iter().all(|one| one.channel_name == ops));
    }
}

async fn prune_removes_what_is_old<W: World>(store: W) {
    let [owl, bat] = bots(&store).await;
    let messages = store.messages();
    let ops = messages.create_channel(channel("ops"), owl).await.unwrap().name;
    messages.subscribe(owl, &ops).await.unwrap();
    let old = (0..5).map(|n| to(owl, bat, &n.to_string())).collect();
    messages.send_many(old).await.unwrap();
    messages.send(into_channel(owl, "ops", "old")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let kept = messages.send(to(bat, owl, "kept")).await.unwrap();

    // What is exactly so old is not older.
    let old = Prune {
        batch: 4,
        ..Prune::older_than(kept.timestamp)
    };
    assert_eq!(messages.prune(old.dry_run()).await.unwrap(), 6);
    assert_eq!(between(&store, owl, bat, 10).await.len(), 6, "only counted");
    assert_eq!(messages.prune(old).await.unwrap(), 6);
    assert_eq!(messages.prune(old).await.unwrap(), 0);
    assert_eq!(between(&store, owl, bat, 10).await, [kept]);
    assert_eq!(in_channel(&store, "ops", 10).await, []);
    assert_eq!(
        messages
            .subscribers(&ops, PageRequest::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    let none = Prune { batch: 0, ..old };
    refused(messages.prune(none).await, ErrorKind::InvalidInput, None);
}

async fn bad_input_is_refused_and_changes_nothing<W: World>(store: W) {
    let [owl, bat] = bots(&store).await;
    let messages = store.messages();
    let with = |change: fn(&mut NewBotMessage)| {
        let mut message = to(owl, bat, "a");
        change(&mut message);
        message
    };
    for (bad, field) in [
        (with(|message| message.sender_bot_name = " ".into()), "sender_bot_name"),
        (
            with(|message| message.sender_bot_name = "a\0".into()),
            "sender_bot_name",
        ),
        (with(|message| message.message_type = String::new()), "message_type"),
        (with(|message| message.message_type = "\0".into()), "message_type"),
        (with(|message| message.body = json!("\0")), "body"),
        (with(|message| message.body = json!({"a\0": 1})), "body"),
    ] {
        let error = refused(messages.send(bad.clone()).await, ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains(field), "{error}");
        let outcome = messages.send_many(vec![to(owl, bat, "a"), bad]).await;
        let error = refused(outcome, ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains(&format!("messages[1].{field}")), "{error}");
    }
    for limit in [0, PageRequest::MAX + 1] {
        let page = || PageRequest::first(limit);
        let ops = channel("ops");
        refused(messages.between(owl, bat, page()).await, ErrorKind::InvalidInput, None);
        refused(messages.between(owl, owl, page()).await, ErrorKind::InvalidInput, None);
        refused(messages.in_channel(&ops, page()).await, ErrorKind::InvalidInput, None);
        refused(messages.channels(page()).await, ErrorKind::InvalidInput, None);
        refused(messages.subscriptions(owl, page()).await, ErrorKind::InvalidInput, None);
        refused(messages.subscribers(&ops, page()).await, ErrorKind::InvalidInput, None);
    }
    assert_eq!(between(&store, owl, bat, 10).await, []);
    for name in [String::new(), "x".repeat(513), "a\0".into()] {
        refused(ChannelName::new(name), ErrorKind::InvalidInput, None);
    }
    let longest = messages.create_channel(channel(&"x".repeat(512)), owl).await.unwrap();
    assert!(messages.subscribe(owl, &longest.name).await.unwrap());
    messages
        .send(into_channel(owl, longest.name.as_str(), "a"))
        .await
        .unwrap();
}
