//! The vault: secrets in the clear for the program, sealed in the database.

use store::prelude::*;
use store::testkit::TestDatabase;
use store::{ErrorKind, Rotation, VaultError};

use crate::support::{a_bot, key, missing, open, refused};

store::testkit::tests![
    a_secret_opens_again_in_a_reopened_store,
    what_was_never_set_is_none,
    setting_again_replaces_the_value,
    every_text_round_trips,
    the_same_value_is_never_sealed_alike,
    a_wrong_key_does_not_open,
    a_key_that_is_not_in_the_ring_is_named,
    a_value_moved_to_another_row_does_not_open,
    a_flipped_bit_is_noticed,
    plaintext_in_the_database_is_refused,
    an_unknown_bots_scope_is_a_foreign_key_error,
    rotation_seals_everything_with_the_new_key,
    rotation_goes_through_every_page,
    rotation_leaves_other_providers_alone,
    rotation_stops_at_what_it_cannot_open_and_can_go_on,
    what_is_set_during_a_rotation_keeps_its_value,
    two_rotations_at_once_both_succeed,
    the_configuration_gives_the_keys,
    without_keys_there_is_no_vault,
    a_transaction_has_its_own_vault,
];

type Vault = SecretVault<store::sql::Secrets>;

fn old_key() -> KeyRing {
    KeyRing::new("old", &[7; 32]).unwrap()
}

fn new_key() -> KeyRing {
    KeyRing::new("new", &[8; 32]).unwrap()
}

/// Seals with the new key and opens what the old one sealed.
fn both_keys() -> KeyRing {
    new_key().and("old", &[7; 32]).unwrap()
}

fn vault(store: &Store, ring: KeyRing) -> Vault {
    SecretVault::new(store.secrets(), ring)
}

async fn set(vault: &Vault, scope: Scope, name: &str, value: &str) -> SecretInfo {
    vault.set(scope, &key(name), &value.into()).await.unwrap()
}

async fn value(vault: &Vault, scope: Scope, name: &str) -> Option<String> {
    let value = vault.get(scope, &key(name)).await.unwrap();
    value.map(|value| value.expose_secret().to_owned())
}

/// Why it does not open.
#[track_caller]
fn closed(outcome: store::Result<Option<SecretString>>) -> VaultError {
    let error = refused(outcome, ErrorKind::Vault, None);
    assert_eq!(error.entity(), Some("secret"));
    error.vault_error().unwrap().clone()
}

async fn a_secret_opens_again_in_a_reopened_store(db: TestDatabase) {
    let store = open(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let sealing = vault(&store, old_key());
    let info = set(&sealing, Scope::Global, "openai", "sk-global").await;
    assert_eq!((info.provider, info.key.as_str()), (SecretProvider::Vault, "openai"));
    set(&sealing, Scope::Bot(bot.id), "openai", "sk-owl").await;
    let sealed = store
        .secrets()
        .get(Scope::Global, &key("openai"))
        .await
        .unwrap()
        .unwrap();
    let readable = String::from_utf8_lossy(sealed.as_bytes()).into_owned();
    assert!(!readable.contains("sk-global"), "{readable}");
    store.close().await.unwrap();

    let reopened = open(&db).await;
    let opening = vault(&reopened, old_key());
    assert_eq!(
        value(&opening, Scope::Global, "openai").await.as_deref(),
        Some("sk-global")
    );
    assert_eq!(
        value(&opening, Scope::Bot(bot.id), "openai").await.as_deref(),
        Some("sk-owl")
    );
}

async fn what_was_never_set_is_none(db: TestDatabase) {
    let store = open(&db).await;
    let vault = vault(&store, old_key());
    assert_eq!(value(&vault, Scope::Global, "k").await, None);
    assert_eq!(value(&vault, Scope::Bot(missing()), "k").await, None);
}

async fn setting_again_replaces_the_value(db: TestDatabase) {
    let store = open(&db).await;
    let vault = vault(&store, old_key());
    let first = set(&vault, Scope::Global, "k", "one").await;
    let second = set(&vault, Scope::Global, "k", "two").await;
    assert_eq!((second.id, second.created_at), (first.id, first.created_at));
    assert_eq!(value(&vault, Scope::Global, "k").await.as_deref(), Some("two"));
}

async fn every_text_round_trips(db: TestDatabase) {
    let store = open(&db).await;
    let vault = vault(&store, old_key());
    let long = "🔑".repeat(250_000);
    // Sealed, a NUL is a byte like any other.
    for text in ["", "\0", "a\0b", "ü\r\n\t", &long] {
        set(&vault, Scope::Global, "k", text).await;
        let read = value(&vault, Scope::Global, "k").await.unwrap();
        assert!(read == text, "{} bytes came back of {}", read.len(), text.len());
    }
}

async fn the_same_value_is_never_sealed_alike(db: TestDatabase) {
    let store = open(&db).await;
    let vault = vault(&store, old_key());
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..8 {
        set(&vault, Scope::Global, "k", "the same").await;
        let sealed = store.secrets().get(Scope::Global, &key("k")).await.unwrap().unwrap();
        assert!(seen.insert(sealed.into_bytes()));
    }
}

async fn a_wrong_key_does_not_open(db: TestDatabase) {
    let store = open(&db).await;
    set(&vault(&store, old_key()), Scope::Global, "k", "value").await;
    let impostor = vault(&store, KeyRing::new("old", &[9; 32]).unwrap());
    assert_eq!(
        closed(impostor.get(Scope::Global, &key("k")).await),
        VaultError::Rejected
    );
    let right = vault(&store, old_key());
    assert_eq!(value(&right, Scope::Global, "k").await.as_deref(), Some("value"));
}

async fn a_key_that_is_not_in_the_ring_is_named(db: TestDatabase) {
    let store = open(&db).await;
    set(&vault(&store, old_key()), Scope::Global, "k", "value").await;
    let without = vault(&store, new_key());
    let error = refused(without.get(Scope::Global, &key("k")).await, ErrorKind::Vault, None);
    assert_eq!(error.vault_error(), Some(&VaultError::UnknownKey("old".into())));
    let told = error.to_string();
    assert!(
        told.contains("`old`") && told.contains("`k` (global)") && told.contains("add that key"),
        "{told}"
    );
}

async fn a_value_moved_to_another_row_does_not_open(db: TestDatabase) {
    let store = open(&db).await;
    let owl = store.bots().create(a_bot("owl")).await.unwrap();
    let bat = store.bots().create(a_bot("bat")).await.unwrap();
    let vault = vault(&store, old_key());
    let home = Scope::Bot(owl.id);
    set(&vault, home, "k", "the owl's").await;
    let sealed = store.secrets().get(home, &key("k")).await.unwrap().unwrap();
    for (scope, name) in [
        (home, "k2"),
        (home, "K"),
        (Scope::Bot(bat.id), "k"),
        (Scope::Global, "k"),
    ] {
        store
            .secrets()
            .set(scope, &key(name), sealed.clone(), SecretProvider::Vault)
            .await
            .unwrap();
        assert_eq!(
            closed(vault.get(scope, &key(name)).await),
            VaultError::Rejected,
            "{name} ({scope})"
        );
    }
    assert_eq!(value(&vault, home, "k").await.as_deref(), Some("the owl's"));
}

async fn a_flipped_bit_is_noticed(db: TestDatabase) {
    let store = open(&db).await;
    let vault = vault(&store, old_key());
    set(&vault, Scope::Global, "k", "value").await;
    let sealed = store.secrets().get(Scope::Global, &key("k")).await.unwrap().unwrap();
    for at in 0..sealed.as_bytes().len() {
        let mut bytes = sealed.as_bytes().to_vec();
        bytes[at] ^= 1 << (at % 8);
        let altered = SealedValue::from_sealed(bytes);
        store
            .secrets()
            .set(Scope::Global, &key("k"), altered, SecretProvider::Vault)
            .await
            .unwrap();
        closed(vault.get(Scope::Global, &key("k")).await);
    }
    store
        .secrets()
        .set(Scope::Global, &key("k"), sealed, SecretProvider::Vault)
        .await
        .unwrap();
    assert_eq!(
        value(&vault, Scope::Global, "k").await.as_deref(),
        Some("value"),
        "as it was, it opens"
    );
}

async fn plaintext_in_the_database_is_refused(db: TestDatabase) {
    let store = open(&db).await;
    let vault = vault(&store, old_key());
    for plain in ["", "sk-in-the-clear", "UCV1"] {
        let bytes = SealedValue::from_sealed(plain.into());
        store
            .secrets()
            .set(Scope::Global, &key("k"), bytes, SecretProvider::Vault)
            .await
            .unwrap();
        let error = refused(vault.get(Scope::Global, &key("k")).await, ErrorKind::Vault, None);
        assert_eq!(error.vault_error(), Some(&VaultError::NotSealed), "{plain:?}");
        assert!(!format!("{error} {error:?}").contains("sk-in"), "{error:?}");
    }
}

async fn an_unknown_bots_scope_is_a_foreign_key_error(db: TestDatabase) {
    let store = open(&db).await;
    let vault = vault(&store, old_key());
    let outcome = vault.set(Scope::Bot(missing()), &key("k"), &"value".into()).await;
    refused(outcome, ErrorKind::ForeignKey, Some("fk_secrets_bot_id"));
    assert!(
        store
            .secrets()
            .list(None, PageRequest::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

async fn rotation_seals_everything_with_the_new_key(db: TestDatabase) {
    let store = open(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let before = vault(&store, old_key());
    for name in ["a", "b", "c"] {
        set(&before, Scope::Global, name, &format!("global {name}")).await;
    }
    set(&before, Scope::Bot(bot.id), "a", "the owl's a").await;
    let during = vault(&store, both_keys());
    set(&during, Scope::Global, "d", "global d").await;
    let listed = store.secrets().list(None, PageRequest::default()).await.unwrap();

    assert_eq!(
        during.rotate().await.unwrap(),
        Rotation {
            resealed: 4,
            current: 1,
            foreign: 0
        }
    );
    assert_eq!(
        store.secrets().list(None, PageRequest::default()).await.unwrap(),
        listed,
        "no time has changed"
    );

    let after = vault(&store, new_key());
    for name in ["a", "b", "c", "d"] {
        assert_eq!(value(&after, Scope::Global, name).await, Some(format!("global {name}")));
        let closed = closed(before.get(Scope::Global, &key(name)).await);
        assert_eq!(
            closed,
            VaultError::UnknownKey("new".into()),
            "the old key has had its day"
        );
    }
    assert_eq!(
        value(&after, Scope::Bot(bot.id), "a").await.as_deref(),
        Some("the owl's a")
    );
    assert_eq!(
        after.rotate().await.unwrap(),
        Rotation {
            resealed: 0,
            current: 5,
            foreign: 0
        }
    );
}

/// Rotation takes pages of 500.
async fn rotation_goes_through_every_page(db: TestDatabase) {
    let store = open(&db).await;
    store
        .transaction(|tx| async move {
            let vault = SecretVault::new(tx.secrets(), old_key());
            for n in 0..1_003 {
                vault
                    .set(Scope::Global, &key(&format!("k{n}")), &format!("value {n}").into())
                    .await?;
            }
            Ok(())
        })
        .await
        .unwrap();
    let rotation = vault(&store, both_keys()).rotate().await.unwrap();
    assert_eq!(
        rotation,
        Rotation {
            resealed: 1_003,
            current: 0,
            foreign: 0
        }
    );
    let after = vault(&store, new_key());
    for n in [0, 499, 500, 501, 999, 1_000, 1_002] {
        assert_eq!(
            value(&after, Scope::Global, &format!("k{n}")).await,
            Some(format!("value {n}"))
        );
    }
}

async fn rotation_leaves_other_providers_alone(db: TestDatabase) {
    let store = open(&db).await;
    set(&vault(&store, old_key()), Scope::Global, "ours", "value").await;
    for (name, provider) in [
        ("keychain", SecretProvider::Keychain),
        ("environment", SecretProvider::Environment),
    ] {
        let bytes = SealedValue::from_sealed(name.into());
        store
            .secrets()
            .set(Scope::Global, &key(name), bytes, provider)
            .await
            .unwrap();
    }
    let rotation = vault(&store, both_keys()).rotate().await.unwrap();
    assert_eq!(
        rotation,
        Rotation {
            resealed: 1,
            current: 0,
            foreign: 2
        }
    );
    for name in ["keychain", "environment"] {
        let bytes = store.secrets().get(Scope::Global, &key(name)).await.unwrap().unwrap();
        assert_eq!(bytes.as_bytes(), name.as_bytes());
    }
}

async fn rotation_stops_at_what_it_cannot_open_and_can_go_on(db: TestDatabase) {
    let store = open(&db).await;
    let before = vault(&store, old_key());
    for name in ["a", "b", "c"] {
        set(&before, Scope::Global, name, name).await;
    }
    let good = store.secrets().get(Scope::Global, &key("b")).await.unwrap().unwrap();
    let damaged = SealedValue::from_sealed([good.as_bytes(), &[0]].concat());
    assert!(
        store
            .secrets()
            .reseal(Scope::Global, &key("b"), &good, damaged.clone())
            .await
            .unwrap()
    );

    let during = vault(&store, both_keys());
    let error = refused(during.rotate().await, ErrorKind::Vault, None);
    assert!(error.to_string().contains("`b` (global)"), "{error}");
    assert_eq!(
        store.secrets().get(Scope::Global, &key("b")).await.unwrap(),
        Some(damaged.clone())
    );
    for name in ["a", "c"] {
        assert_eq!(
            value(&during, Scope::Global, name).await.as_deref(),
            Some(name),
            "nothing is lost"
        );
    }

    assert!(
        store
            .secrets()
            .reseal(Scope::Global, &key("b"), &damaged, good)
            .await
            .unwrap()
    );
    assert_eq!(
        during.rotate().await.unwrap(),
        Rotation {
            resealed: 2,
            current: 1,
            foreign: 0
        }
    );
    for name in ["a", "b", "c"] {
        assert_eq!(
            value(&vault(&store, new_key()), Scope::Global, name).await.as_deref(),
            Some(name)
        );
    }
}

/// A repository in which somebody else sets each secret anew between the vault's reading and its resealing of it.
#[derive(Clone, Debug)]
struct Meddled(store::sql::Secrets);

impl SecretRepository for Meddled {
    async fn get(&self, scope: Scope, key: &Key) -> store::Result<Option<SealedValue>> {
        self.0.get(scope, key).await
    }

    async fn set(
        &self,
        scope: Scope,
        key: &Key,
        value: SealedValue,
        provider: SecretProvider,
    ) -> store::Result<SecretInfo> {
        self.0.set(scope, key, value, provider).await
    }

    async fn reseal(&self, scope: Scope, key: &Key, old: &SealedValue, new: SealedValue) -> store::Result<bool> {
        // Only the first time: the second reads what was set in between.
        if both_keys().open(scope, key, old)?.expose_secret().starts_with("before") {
            // By somebody who does not know the new key yet, so that there is something left to reseal.
            let other = SecretVault::new(self.0.clone(), old_key());
            other.set(scope, key, &"set during the rotation".into()).await?;
        }
        self.0.reseal(scope, key, old, new).await
    }

    async fn delete(&self, scope: Scope, key: &Key) -> store::Result<()> {
        self.0.delete(scope, key).await
    }

    async fn list(&self, scope: Option<Scope>, page: PageRequest) -> store::Result<Page<SecretInfo>> {
        self.0.list(scope, page).await
    }
}

async fn what_is_set_during_a_rotation_keeps_its_value(db: TestDatabase) {
    let store = open(&db).await;
    let before = vault(&store, old_key());
    for name in ["a", "b"] {
        set(&before, Scope::Global, name, "before").await;
    }
    let meddled = SecretVault::new(Meddled(store.secrets()), both_keys());
    assert_eq!(
        meddled.rotate().await.unwrap(),
        Rotation {
            resealed: 2,
            current: 0,
            foreign: 0
        }
    );
    let after = vault(&store, new_key());
    for name in ["a", "b"] {
        assert_eq!(
            value(&after, Scope::Global, name).await.as_deref(),
            Some("set during the rotation")
        );
    }
}

async fn two_rotations_at_once_both_succeed(db: TestDatabase) {
    let store = open(&db).await;
    let before = vault(&store, old_key());
    for n in 0..40 {
        set(&before, Scope::Global, &format!("k{n}"), "value").await;
    }
    let (one, two) = (vault(&store, both_keys()), vault(&open(&db).await, both_keys()));
    let (one, two) = futures_util::join!(one.rotate(), two.rotate());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(
        one.resealed + two.resealed,
        40,
        "each was sealed again once: {one:?} {two:?}"
    );
    assert_eq!(one.current + two.current, 40);
    let after = vault(&store, new_key());
    for n in 0..40 {
        assert_eq!(
            value(&after, Scope::Global, &format!("k{n}")).await.as_deref(),
            Some("value")
        );
    }
}

async fn the_configuration_gives_the_keys(db: TestDatabase) {
    // 32 bytes of 7, and of 8.
    let (old, new) = (
        "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=",
        "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=",
    );
    let configured = |active: &str| {
        let loader = DatabaseConfig::loader().no_file().no_environment();
        let keys = std::collections::BTreeMap::from([("old", old), ("new", new)]);
        let loader = match db.path() {
            Some(path) => loader.set("path", path),
            None => loader.set("url", db.url()),
        };
        loader
            .set("vault.keys", keys)
            .set("vault.active", active)
            .load()
            .unwrap()
    };
    let store = Store::open(configured("old")).await.unwrap();
    set(&store.vault().unwrap(), Scope::Global, "k", "value").await;
    assert_eq!(
        value(&vault(&store, old_key()), Scope::Global, "k").await.as_deref(),
        Some("value")
    );
    store.close().await.unwrap();

    let store = Store::open(configured("new")).await.unwrap();
    let configured = store.vault().unwrap();
    assert_eq!(
        configured.rotate().await.unwrap(),
        Rotation {
            resealed: 1,
            current: 0,
            foreign: 0
        }
    );
    assert_eq!(
        value(&vault(&store, new_key()), Scope::Global, "k").await.as_deref(),
        Some("value")
    );
}

async fn without_keys_there_is_no_vault(db: TestDatabase) {
    let store = open(&db).await;
    let error = refused(store.vault(), ErrorKind::Config, None);
    let told = error.to_string();
    assert!(told.contains("vault.key_file") && told.contains("vault.keys"), "{told}");
}

async fn a_transaction_has_its_own_vault(db: TestDatabase) {
    let store = open(&db).await;
    let tx = store.begin().await.unwrap();
    let within = SecretVault::new(tx.secrets(), old_key());
    within.set(Scope::Global, &key("k"), &"undone".into()).await.unwrap();
    assert_eq!(
        within
            .get(Scope::Global, &key("k"))
            .await
            .unwrap()
            .unwrap()
            .expose_secret(),
        "undone"
    );
    let outside = vault(&store, old_key());
    assert_eq!(value(&outside, Scope::Global, "k").await, None);
    tx.rollback().await;
    assert_eq!(value(&outside, Scope::Global, "k").await, None);

    let outside = &outside;
    store
        .transaction(|tx| async move {
            let bot = tx.bots().create(a_bot("owl")).await?;
            let vault = outside.over(tx.secrets());
            vault.set(Scope::Bot(bot.id), &key("k"), &"kept".into()).await
        })
        .await
        .unwrap();
    let owl = store
        .bots()
        .get_by_slug(&crate::support::slug("owl"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(value(outside, Scope::Bot(owl.id), "k").await.as_deref(), Some("kept"));
}
