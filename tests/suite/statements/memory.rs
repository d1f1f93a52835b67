//! What the methods of the memory domain cost.

use serde_json::json;
use store::prelude::*;
use store::testkit::TestDatabase;

use super::{Meter, atomic, read};
use crate::support::{a_bot, key};

store::testkit::tests![kv, audit, provider_health, files];

async fn kv(db: TestDatabase) {
    let mut meter = Meter::on(&db).await;
    let kv = meter.store.kv();
    let owl = meter.store.bots().create(a_bot("owl")).await.unwrap().id;
    for number in 1..=20 {
        let key = key(&format!("key-{number}"));
        meter.call("kv.set", kv.set(owl, &key, json!(number), None)).await;
    }
    let (one, new) = (&key("key-1"), &key("new"));
    meter.call("kv.get", kv.get(owl, one)).await;
    meter.call("kv.get_entry", kv.get_entry(owl, one)).await;
    meter.list("kv.list_keys", |page| kv.list_keys(owl, "key", page)).await;
    for key in [one, new] {
        meter.call("kv.increment", kv.increment(owl, key, 2)).await;
    }
    let three = &json!(3);
    let set = kv.compare_and_set(owl, one, Some(three), json!("three"), None);
    meter.call("kv.compare_and_set", set).await;
    meter.call("kv.delete", kv.delete(owl, one)).await;
    let expired = Prune::older_than("2100-01-01T00:00:00Z".parse().unwrap());
    meter.call("kv.purge_expired", kv.purge_expired(expired)).await;
    meter
        .measure("kv.purge_expired", read(1), kv.purge_expired(expired.dry_run()))
        .await;
    meter.finish(&["kv"]);
}

async fn audit(db: TestDatabase) {
    let mut meter = Meter::on(&db).await;
    let audit = meter.store.audit();
    let owl = meter.store.bots().create(a_bot("owl")).await.unwrap().id;
    let memory = MemoryId::new("the winter").unwrap();
    let new = NewAuditEntry {
        bot_id: owl,
        memory_id: memory.clone(),
        action: AuditAction::Add,
        actor: "somebody".to_owned(),
        details: None,
    };
    let first = meter.call("audit.log", audit.log(new.clone())).await;
    meter
        .call("audit.log_many", audit.log_many(vec![new.clone(); 20]))
        .await;
    let many = audit.log_many(vec![new; 2_001]);
    meter.measure("audit.log_many", atomic(1), many).await;
    meter.list("audit.for_bot", |page| audit.for_bot(owl, page)).await;
    meter
        .list("audit.for_memory", |page| audit.for_memory(&memory, page))
        .await;
    let old = Prune::older_than(first.created_at);
    meter.call("audit.prune", audit.prune(old)).await;
    meter.measure("audit.prune", read(1), audit.prune(old.dry_run())).await;
    meter.finish(&["audit"]);
}

async fn provider_health(db: TestDatabase) {
    let mut meter = Meter::on(&db).await;
    let health = meter.store.provider_health();
    let named = |number| ProviderName::new(format!("provider-{number}")).unwrap();
    for number in 1..=20 {
        let save = health.save(NewProviderHealth::new(named(number)));
        meter.call("provider_health.save", save).await;
    }
    meter.call("provider_health.load", health.load(&named(1))).await;
    meter
        .list("provider_health.load_all", |page| health.load_all(page))
        .await;
    meter.finish(&["provider_health"]);
}

async fn files(db: TestDatabase) {
    let mut meter = Meter::on(&db).await;
    let files = meter.store.files();
    let owl = meter.store.bots().create(a_bot("owl")).await.unwrap().id;
    let named = |number| FileName::new(format!("file-{number}")).unwrap();
    for number in 1..=20 {
        let save = files.save_file(owl, NewFile::new(named(number), 1));
        meter.call("files.save_file", save).await;
    }
    let file = meter.call("files.get", files.get(owl, &named(1))).await.unwrap().id;
    meter.call("files.get_by_id", files.get_by_id(file)).await;
    for size in 1..=20 {
        meter.call("files.bump", files.bump(file, size)).await;
    }
    meter.call("files.set_indexed", files.set_indexed(file, true)).await;
    meter.list("files.list", |page| files.list(owl, page)).await;
    meter.list("files.versions", |page| files.versions(file, page)).await;
    meter.call("files.delete", files.delete(file)).await;
    meter.finish(&["files"]);
}
