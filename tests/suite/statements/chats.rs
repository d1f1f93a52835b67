//! What the methods of chats and messages cost.

use store::prelude::*;
use store::testkit::TestDatabase;

use super::{Meter, atomic};
use crate::support::{a_bot, key};

store::testkit::tests![chats, messages];

async fn chats(db: TestDatabase) {
    let mut meter = Meter::on(&db).await;
    let chats = meter.store.chats();
    let owl = meter.store.bots().create(a_bot("owl")).await.unwrap().id;
    let new = || NewChatSession::new(owl, "model-1");
    let one = meter.call("chats.create", chats.create(new())).await.id;
    let other = chats.create(new()).await.unwrap().id;
    for _ in 1..=20 {
        chats.create(new()).await.unwrap();
    }
    let said = || NewChatMessage::new(ChatRole::User, "a");
    meter.call("chats.append", chats.append(one, vec![said(); 20])).await;
    let keyed = vec![said().once(key("1")), said(), said().once(key("2"))];
    let append = chats.append(one, keyed.clone());
    meter.measure("chats.append with keys", atomic(4), append).await;
    let append = chats.append(one, vec![said(); 1_500]);
    meter.measure("chats.append of many", atomic(3), append).await;
    meter.call("chats.get", chats.get(one)).await;
    meter.list("chats.list", |page| chats.list(owl, page)).await;
    meter.list("chats.active", |page| chats.active(owl, page)).await;
    for direction in [Direction::Ascending, Direction::Descending] {
        meter
            .list("chats.messages", |page| chats.messages(one, page, direction))
            .await;
    }
    meter.call("chats.end", chats.end(one)).await;
    meter.call("chats.crash", chats.crash(other)).await;
    meter.call("chats.delete", chats.delete(one)).await;
    meter.finish(&["chats"]);
}

async fn messages(db: TestDatabase) {
    let mut meter = Meter::on(&db).await;
    let messages = meter.store.messages();
    let owl = meter.store.bots().create(a_bot("owl")).await.unwrap().id;
    let bat = meter.store.bots().create(a_bot("bat")).await.unwrap().id;
    let mut channels = vec![];
    for number in 1..=20 {
        let name = ChannelName::new(format!("channel-{number}")).unwrap();
        let made = messages.create_channel(name, owl);
        channels.push(meter.call("messages.create_channel", made).await.name);
    }
    let ops = &channels[0];
    let there = || NewBotMessage::direct(owl, "Owl", bat, "there");
    let back = || NewBotMessage::direct(bat, "Bat", owl, "back");
    let posted = || NewBotMessage::channel(owl, "Owl", ops.clone(), "all");
    meter.call("messages.send", messages.send(there())).await;
    let many = vec![there(), back(), posted(), back(), posted(), posted()];
    meter.call("messages.send_many", messages.send_many(many)).await;
    for (a, b) in [(owl, bat), (bat, owl)] {
        meter
            .list("messages.between", |page| messages.between(a, b, page))
            .await;
    }
    meter
        .list("messages.in_channel", |page| messages.in_channel(ops, page))
        .await;
    meter.list("messages.channels", |page| messages.channels(page)).await;
    for channel in &channels {
        meter.call("messages.subscribe", messages.subscribe(owl, channel)).await;
    }
    for number in 1..=20 {
        let bot = meter
            .store
            .bots()
            .create(a_bot(&format!("bot-{number}")))
            .await
            .unwrap();
        messages.subscribe(bot.id, ops).await.unwrap();
    }
    meter
        .list("messages.subscriptions", |page| messages.subscriptions(owl, page))
        .await;
    meter
        .list("messages.subscribers", |page| messages.subscribers(ops, page))
        .await;
    meter.call("messages.unsubscribe", messages.unsubscribe(owl, ops)).await;
    let old = Prune::older_than("2100-01-01T00:00:00Z".parse().unwrap());
    meter.call("messages.prune", messages.prune(old)).await;
    meter.finish(&["messages"]);
}
