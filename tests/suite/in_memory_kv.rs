//! Another implementation of one trait, run by the published suite; and broken on purpose, to see that the suite notices.
//!
//! It is what somebody else's implementation would be: a map, in a world whose other repositories are a [`Store`]'s.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, Once};
use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use futures_util::FutureExt;
use serde_json::Value;
use store::conformance::{self, World};
use store::contract::check;
use store::prelude::*;
use store::testkit::{Test, TestDatabase};
use store::{Clock, Result, SystemClock, sql};

/// Each case of the trait on the sound implementation, and each defect with the case that must notice it.
pub(crate) fn tests() -> Vec<Test> {
    let sound = conformance::kv::cases::<InMemory>().into_iter().map(|case| {
        let name = format!("in_memory_kv::{}", case.name());
        Test::on_sqlite(name, move |db: TestDatabase| {
            let case = case.clone();
            async move { case.run(InMemory::on(&db, None).await).await }
        })
    });
    let broken = DEFECTS.iter().map(|(defect, case)| {
        let name = format!("{BROKEN}{defect:?}_is_noticed");
        Test::on_sqlite(name, move |db: TestDatabase| is_noticed(db, *defect, case))
    });
    sound.chain(broken).collect()
}

const BROKEN: &str = "in_memory_kv::broken::";

/// A mistake that an implementation could make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    ReturnsTheExpired,
    ForgetsWhenItWasCreated,
    TakesNullForAbsence,
    FindsPrefixesAnywhere,
    BeginsPagesWithTheCursor,
    LosesIncrements,
    WrapsAroundOnOverflow,
    ComparesAndThenSets,
    TakesUnknownBots,
}

const DEFECTS: &[(Defect, &str)] = &[
    (Defect::ReturnsTheExpired, "an_expired_entry_is_never_returned"),
    (Defect::ForgetsWhenItWasCreated, "set_replaces_and_keeps_created_at"),
    (Defect::TakesNullForAbsence, "null_is_a_value_and_not_absence"),
    (Defect::FindsPrefixesAnywhere, "keys_are_listed_by_prefix"),
    (
        Defect::BeginsPagesWithTheCursor,
        "keys_are_listed_byte_by_byte_in_order",
    ),
    (Defect::LosesIncrements, "concurrent_increments_all_count"),
    (Defect::WrapsAroundOnOverflow, "increment_refuses_to_overflow"),
    (Defect::ComparesAndThenSets, "compare_and_set_has_one_winner"),
    (Defect::TakesUnknownBots, "an_unknown_bot_is_a_foreign_key_error"),
];

async fn is_noticed(db: TestDatabase, defect: Defect, name: &str) -> std::result::Result<(), String> {
    keep_quiet_about_wanted_panics();
    let cases = conformance::kv::cases::<InMemory>();
    let case = cases.iter().find(|case| case.name() == name);
    let case = case.ok_or_else(|| format!("there is no case {name}"))?;
    let world = InMemory::on(&db, Some(defect)).await;
    match AssertUnwindSafe(case.run(world)).catch_unwind().await {
        Ok(()) => Err(format!("{name} did not notice: {defect:?}")),
        Err(_panic) => Ok(()),
    }
}

/// A case that notices a defect panics, as it shall: nobody need read of it. The threads of a test bear its name.
fn keep_quiet_about_wanted_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let thread = std::thread::current();
            if !thread.name().is_some_and(|name| name.starts_with(BROKEN)) {
                usual(info);
            }
        }));
    });
}

/// A world with values by key of its own.
#[derive(Clone)]
struct InMemory {
    store: Store,
    kv: MapKv,
}

impl InMemory {
    async fn on(db: &TestDatabase, defect: Option<Defect>) -> Self {
        let store = Store::open(db.config()).await.unwrap();
        let kv = MapKv {
            bots: Repositories::bots(&store),
            entries: Arc::default(),
            defect,
        };
        Self { store, kv }
    }
}

/// The world's other repositories are the store's.
macro_rules! borrowed {
    ($($kind:ident $method:ident,)+) => {
        impl World for InMemory {
            type Kv = MapKv;
            fn kv(&self) -> MapKv {
                self.kv.clone()
            }
            $(
                type $kind = <Store as World>::$kind;
                fn $method(&self) -> Self::$kind {
                    World::$method(&self.store)
                }
            )+
        }
    };
}

borrowed! {
    Bots bots,
    Souls souls,
    Secrets secrets,
    Users users,
    ApiKeys api_keys,
    Audit audit,
    ProviderHealth provider_health,
    Files files,
    Chats chats,
    Messages messages,
    Workflows workflows,
    WorkflowStates workflow_states,
    TaskStates task_states,
    Missions missions,
}

type Entries = BTreeMap<(BotId, Key), KvEntry>;

/// Values by key in a map. Only the bots are elsewhere.
#[derive(Clone)]
struct MapKv {
    bots: sql::Bots,
    entries: Arc<Mutex<Entries>>,
    defect: Option<Defect>,
}

fn new_entry(bot_id: BotId, key: &Key, value: Value, now: DateTime<Utc>) -> KvEntry {
    KvEntry {
        bot_id,
        key: key.clone(),
        value,
        expires_at: None,
        created_at: now,
        updated_at: now,
    }
}

const LIST: &str = "keys in a map";

impl MapKv {
    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    fn now(&self) -> DateTime<Utc> {
        SystemClock.now().trunc_subsecs(6)
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap()
    }

    fn is_live(&self, entry: &KvEntry) -> bool {
        entry.is_live(self.now()) || self.has(Defect::ReturnsTheExpired)
    }

    /// A deleted bot's values are gone with it.
    async fn knows(&self, bot: BotId) -> Result<bool> {
        Ok(self.bots.get(bot).await?.is_some() || self.has(Defect::TakesUnknownBots))
    }

    async fn must_know(&self, bot: BotId) -> Result<()> {
        if self.knows(bot).await? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::ForeignKey, "there is no such bot").breaking("fk_bot_kv_store_bot_id"))
    }

    fn live<'a>(&self, entries: &'a Entries, bot: BotId, key: &Key) -> Option<&'a KvEntry> {
        let entry = entries.get(&(bot, key.clone())).filter(|entry| self.is_live(entry));
        entry.filter(|entry| !(entry.value.is_null() && self.has(Defect::TakesNullForAbsence)))
    }

    /// Puts a new entry in the place of the one that is there, whose time of creation it takes over.
    fn put(&self, entries: &mut Entries, mut entry: KvEntry) {
        let before = self.live(entries, entry.bot_id, &entry.key);
        if let Some(before) = before.filter(|_| !self.has(Defect::ForgetsWhenItWasCreated)) {
            entry.created_at = before.created_at;
        }
        entries.insert((entry.bot_id, entry.key.clone()), entry);
    }

    fn matches(&self, key: &Key, prefix: &str) -> bool {
        if self.has(Defect::FindsPrefixesAnywhere) {
            key.as_str().contains(prefix)
        } else {
            key.as_str().starts_with(prefix)
        }
    }

    /// Where a page begins.
    fn start(&self, bot: BotId, page: &PageRequest) -> Result<Bound<(BotId, Key)>> {
        page.check()?;
        let Some(cursor) = &page.after else {
            return Ok(Bound::Included((bot, Key::new("\u{1}")?)));
        };
        match cursor.keys_for(LIST)? {
            [CursorKey::Text(last)] if self.has(Defect::BeginsPagesWithTheCursor) => {
                Ok(Bound::Included((bot, Key::new(last)?)))
            }
            [CursorKey::Text(last)] => Ok(Bound::Excluded((bot, Key::new(last)?))),
            _ => Err(Error::invalid("cursor", "does not have the keys of its list")),
        }
    }
}

impl KvStore for MapKv {
    async fn get(&self, bot: BotId, key: &Key) -> Result<Option<Value>> {
        Ok(self.get_entry(bot, key).await?.map(|entry| entry.value))
    }

    async fn get_entry(&self, bot: BotId, key: &Key) -> Result<Option<KvEntry>> {
        if !self.knows(bot).await? {
            return Ok(None);
        }
        Ok(self.live(&self.entries(), bot, key).cloned())
    }

    async fn set(&self, bot: BotId, key: &Key, value: Value, ttl: Option<Duration>) -> Result<()> {
        let value = check::json("value", value)?;
        let mut entry = new_entry(bot, key, value, self.now());
        entry.expires_at = KvEntry::expiry(entry.created_at, ttl)?;
        self.must_know(bot).await?;
        self.put(&mut self.entries(), entry);
        Ok(())
    }

    async fn delete(&self, bot: BotId, key: &Key) -> Result<bool> {
        if !self.knows(bot).await? {
            return Ok(false);
        }
        let gone = self.entries().remove(&(bot, key.clone()));
        Ok(gone.is_some_and(|entry| self.is_live(&entry)))
    }

    async fn list_keys(&self, bot: BotId, prefix: &str, page: PageRequest) -> Result<Page<Key>> {
        check::text("prefix", prefix)?;
        let start = self.start(bot, &page)?;
        let known = self.knows(bot).await?;
        let entries = self.entries();
        let found = entries
            .range((start, Bound::Unbounded))
            .take_while(|((owner, _), _)| known && *owner == bot)
            .filter(|((_, key), entry)| self.matches(key, prefix) && self.is_live(entry));
        let limit = page.limit as usize;
        let mut items = found
            .map(|((_, key), _)| key.clone())
            .take(limit + 1)
            .collect::<Vec<_>>();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more);
        let next = next.map(|last| Cursor::new(LIST, vec![CursorKey::Text(last.to_string())]));
        Ok(Page { items, next })
    }

    async fn increment(&self, bot: BotId, key: &Key, by: i64) -> Result<i64> {
        self.must_know(bot).await?;
        let sum_of = |entry: Option<&KvEntry>| match entry {
            Some(entry) if self.has(Defect::WrapsAroundOnOverflow) => {
                Ok(entry.value.as_i64().unwrap_or_default().wrapping_add(by))
            }
            Some(entry) => KvEntry::incremented(&entry.value, by),
            None => Ok(by),
        };
        if self.has(Defect::LosesIncrements) {
            let sum = sum_of(self.live(&self.entries(), bot, key))?;
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.put(&mut self.entries(), new_entry(bot, key, sum.into(), self.now()));
            return Ok(sum);
        }
        let mut entries = self.entries();
        let before = self.live(&entries, bot, key);
        let sum = sum_of(before)?;
        let expires_at = before.and_then(|entry| entry.expires_at);
        let entry = new_entry(bot, key, sum.into(), self.now());
        self.put(&mut entries, KvEntry { expires_at, ..entry });
        Ok(sum)
    }

    async fn compare_and_set(
        &self,
        bot: BotId,
        key: &Key,
        expected: Option<&Value>,
        new: Value,
        ttl: Option<Duration>,
    ) -> Result<()> {
        let expected = check::optional_json("expected", expected.cloned())?;
        let new = check::json("value", new)?;
        let mut entry = new_entry(bot, key, new, self.now());
        entry.expires_at = KvEntry::expiry(entry.created_at, ttl)?;
        let holds = |entries: &Entries| self.live(entries, bot, key).map(|entry| &entry.value) == expected.as_ref();
        let changed = || Error::new(ErrorKind::Conflict, "the value is not the expected one by now");
        if self.has(Defect::ComparesAndThenSets) {
            self.must_know(bot).await?;
            if !holds(&self.entries()) {
                return Err(changed());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.put(&mut self.entries(), entry);
            return Ok(());
        }
        if !self.knows(bot).await? && expected.is_some() {
            return Err(changed());
        }
        self.must_know(bot).await?;
        let mut entries = self.entries();
        if !holds(&entries) {
            return Err(changed());
        }
        self.put(&mut entries, entry);
        Ok(())
    }

    async fn purge_expired(&self, expired: Prune) -> Result<u64> {
        expired.check()?;
        let now = self.now();
        let old = |entry: &KvEntry| {
            let before = entry.expires_at.is_some_and(|end| end < expired.older_than);
            before && !entry.is_live(now)
        };
        let mut entries = self.entries();
        let count = entries.values().filter(|entry| old(entry)).count() as u64;
        if !expired.dry_run {
            entries.retain(|_, entry| !old(entry));
        }
        Ok(count)
    }
}
