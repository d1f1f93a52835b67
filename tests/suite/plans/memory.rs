//! The plans of the memory domain.

use serde_json::json;
use store::prelude::*;
use store::testkit::TestDatabase;

use super::Look;
use super::identity::BOTS_OF_NOBODY;
use crate::fill::{Columns, ROWS, id, rows};
use crate::support::key;

store::testkit::tests![kv, audit, provider_health, files, file_versions];

const VALUES: Columns = &[
    ("bot_id", "id(1 + x % 50)"),
    ("key", "'key-' || (100000 + x)"),
    ("value", "json('1')"),
    ("expires_at", "pick(x / 50, instant(x), NULL)"),
    ("created_at", "instant(x)"),
    ("updated_at", "instant(x)"),
];

const ENTRIES: Columns = &[
    ("id", "id(i)"),
    ("bot_id", "id(1 + x % 50)"),
    ("memory_id", "'memory-' || (1 + x / 50 % 50)"),
    ("action", "'add'"),
    ("actor", "'somebody'"),
    ("created_at", "instant(x)"),
];

const PROVIDERS: Columns = &[("name", "'provider-' || x"), ("updated_at", "instant(x)")];

const FILES: Columns = &[
    ("id", "id(i)"),
    ("bot_id", "id(1 + x % 50)"),
    ("filename", "'file-' || x"),
    ("size_bytes", "x"),
    ("created_at", "instant(x)"),
    ("updated_at", "instant(x)"),
];

const VERSIONS: Columns = &[
    ("id", "id(i)"),
    ("file_id", "id(1 + x % 50)"),
    ("version", "1 + x / 50"),
    ("size_bytes", "x"),
    ("created_at", "instant(x)"),
];

async fn kv(db: TestDatabase) {
    rows(&db, 1_000, "bots", BOTS_OF_NOBODY).await;
    rows(&db, ROWS, "bot_kv_store", VALUES).await;
    let mut look = Look::at(&db).await;
    let (kv, bot, one) = (look.store.kv(), id(7), &key("counter"));
    look.lookup("kv.set", kv.set(bot, one, json!(1), None)).await;
    look.lookup("kv.get", kv.get(bot, one)).await;
    look.lookup("kv.get_entry", kv.get_entry(bot, one)).await;
    look.pages("kv.list_keys", |page| kv.list_keys(bot, "", page)).await;
    look.pages("kv.list_keys with a prefix", |page| kv.list_keys(bot, "key-1", page))
        .await;
    look.lookup("kv.increment", kv.increment(bot, one, 1)).await;
    let two = &json!(2);
    let set = kv.compare_and_set(bot, one, Some(two), json!(3), None);
    look.lookup("kv.compare_and_set", set).await;
    look.lookup("kv.delete", kv.delete(bot, one)).await;
    let expired = Prune::older_than("2026-01-01T00:01:00Z".parse().unwrap());
    look.lookup("kv.purge_expired, counting", kv.purge_expired(expired.dry_run()))
        .await;
    look.lookup("kv.purge_expired", kv.purge_expired(expired)).await;
    look.finish();
}

async fn audit(db: TestDatabase) {
    rows(&db, ROWS, "memory_audit_log", ENTRIES).await;
    let mut look = Look::at(&db).await;
    let audit = look.store.audit();
    let memory = &MemoryId::new("memory-7").unwrap();
    look.pages("audit.for_bot", |page| audit.for_bot(id(7), page)).await;
    look.pages("audit.for_memory", |page| audit.for_memory(memory, page))
        .await;
    let old = Prune::older_than("2026-01-01T00:01:00Z".parse().unwrap());
    look.lookup("audit.prune, counting", audit.prune(old.dry_run())).await;
    look.lookup("audit.prune", audit.prune(old)).await;
    look.finish();
}

async fn provider_health(db: TestDatabase) {
    rows(&db, ROWS, "provider_health", PROVIDERS).await;
    let mut look = Look::at(&db).await;
    let health = look.store.provider_health();
    let name = &ProviderName::new("provider-7").unwrap();
    look.lookup("provider_health.load", health.load(name)).await;
    look.pages("provider_health.load_all", |page| health.load_all(page))
        .await;
    let save = health.save(NewProviderHealth::new(name.clone()));
    look.lookup("provider_health.save", save).await;
    look.finish();
}

async fn files(db: TestDatabase) {
    rows(&db, 1_000, "bots", BOTS_OF_NOBODY).await;
    rows(&db, ROWS, "bot_files", FILES).await;
    let mut look = Look::at(&db).await;
    let (files, bot) = (look.store.files(), id(8));
    let name = &FileName::new("file-7").unwrap();
    let file = look.lookup("files.get", files.get(bot, name)).await.unwrap().id;
    look.lookup("files.get_by_id", files.get_by_id(file)).await;
    look.pages("files.list", |page| files.list(bot, page)).await;
    look.lookup("files.set_indexed", files.set_indexed(file, true)).await;
    look.lookup("files.bump", files.bump(file, 1)).await;
    look.lookup("files.delete", files.delete(file)).await;
    look.finish();
}

async fn file_versions(db: TestDatabase) {
    rows(&db, 1_000, "bots", BOTS_OF_NOBODY).await;
    rows(&db, 1_000, "bot_files", FILES).await;
    rows(&db, ROWS, "bot_file_versions", VERSIONS).await;
    let mut look = Look::at(&db).await;
    let files = look.store.files();
    look.pages("files.versions", |page| files.versions(id(7), page)).await;
    look.finish();
}
