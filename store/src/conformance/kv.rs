//! Values by key.

pub mod changes;
pub mod keys;
pub mod values;

use std::time::Duration;

use serde_json::{Value, json};

use super::{Case, World, a_bot, key, nowhere, pages};
use crate::Result;
use crate::contract::*;

/// What must hold.
pub fn cases<W: World>() -> Vec<Case<W>> {
    [values::cases(), keys::cases(), changes::cases()].concat()
}

/// What purges everything that has expired by now, and would purge more if it could.
fn everything() -> Prune {
    Prune::older_than("2999-01-01T00:00:00Z".parse().unwrap())
}

/// One bot's values.
#[derive(Clone)]
struct Shelf<W> {
    store: W,
    bot: BotId,
}

impl<W: World> Shelf<W> {
    /// The values of a new bot.
    async fn of_a_bot(store: W) -> Self {
        Self::of(store, "owl").await
    }

    async fn of(store: W, slug: &str) -> Self {
        let bot = store.bots().create(a_bot(slug)).await.unwrap().id;
        Self { store, bot }
    }

    /// The values of a bot that does not exist.
    fn of_nobody(store: W) -> Self {
        Self { store, bot: nowhere() }
    }

    async fn get(&self, name: &str) -> Option<Value> {
        self.store.kv().get(self.bot, &key(name)).await.unwrap()
    }

    /// The entry, which must be there.
    async fn entry(&self, name: &str) -> KvEntry {
        self.store.kv().get_entry(self.bot, &key(name)).await.unwrap().unwrap()
    }

    async fn set(&self, name: &str, value: Value, ttl: Option<Duration>) -> Result<()> {
        self.store.kv().set(self.bot, &key(name), value, ttl).await
    }

    /// Sets a value that stays.
    async fn put(&self, name: &str, value: Value) {
        self.set(name, value, None).await.unwrap();
    }

    async fn put_all(&self, names: &[&str]) {
        for name in names {
            self.put(name, json!(1)).await;
        }
    }

    /// Sets a value that has expired when this returns.
    async fn put_expired(&self, name: &str, value: Value) {
        self.set(name, value, Some(Duration::from_millis(1))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    async fn delete(&self, name: &str) -> bool {
        self.store.kv().delete(self.bot, &key(name)).await.unwrap()
    }

    async fn increment(&self, name: &str, by: i64) -> Result<i64> {
        self.store.kv().increment(self.bot, &key(name), by).await
    }

    async fn compare(&self, name: &str, expected: Option<&Value>, new: Value, ttl: Option<Duration>) -> Result<()> {
        let kv = self.store.kv();
        kv.compare_and_set(self.bot, &key(name), expected, new, ttl).await
    }

    async fn list(&self, prefix: &str, page: PageRequest) -> Result<Page<Key>> {
        self.store.kv().list_keys(self.bot, prefix, page).await
    }

    /// All keys with a prefix, page by page.
    async fn keys(&self, prefix: &str, limit: u32) -> Vec<String> {
        let listed = pages(limit, |page| self.list(prefix, page)).await;
        listed.into_iter().map(String::from).collect()
    }

    async fn purge(&self, expired: Prune) -> Result<u64> {
        self.store.kv().purge_expired(expired).await
    }
}
