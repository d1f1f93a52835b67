//! Secrets: the repository, which sees sealed bytes only.

use super::{World, a_bot, a_moment, cases, key, nowhere, pages, refused};
use crate::ErrorKind;
use crate::contract::*;

cases![
    setting_again_keeps_id_and_created_at,
    the_same_key_in_different_scopes_is_different_secrets,
    any_bytes_round_trip,
    what_is_not_there_is_none,
    secrets_are_listed_by_scope_and_all_in_the_order_of_keys,
    equal_keys_of_many_scopes_are_leafed_through_by_their_ids,
    a_listing_never_holds_a_value,
    delete_removes_one_and_a_missing_one_is_not_found,
    an_unknown_bots_scope_is_a_foreign_key_error,
    reseal_replaces_only_what_it_was_told,
    concurrent_sets_of_one_key_leave_one_row,
    a_global_secret_survives_every_bot,
    the_longest_key_is_stored,
];

fn sealed(bytes: &[u8]) -> SealedValue {
    SealedValue::from_sealed(bytes.to_vec())
}

async fn setting_again_keeps_id_and_created_at<W: World>(store: W) {
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    for scope in [Scope::Global, Scope::Bot(bot.id)] {
        let first = store
            .secrets()
            .set(scope, &key("k"), sealed(b"one"), SecretProvider::Vault)
            .await
            .unwrap();
        assert_eq!(
            (first.scope, first.key.as_str(), first.provider),
            (scope, "k", SecretProvider::Vault)
        );
        assert_eq!(first.created_at, first.updated_at);
        a_moment().await;
        let second = store
            .secrets()
            .set(scope, &key("k"), sealed(b"two"), SecretProvider::Keychain)
            .await
            .unwrap();
        let expected = SecretInfo {
            provider: SecretProvider::Keychain,
            updated_at: second.updated_at,
            ..first.clone()
        };
        assert!(second.updated_at > first.updated_at);
        assert_eq!(second, expected);
        assert_eq!(
            store.secrets().get(scope, &key("k")).await.unwrap(),
            Some(sealed(b"two"))
        );
        let listed = store.secrets().list(Some(scope), PageRequest::default()).await.unwrap();
        assert_eq!(listed.items, [second], "what set answers is what a listing tells");
    }
}

async fn the_same_key_in_different_scopes_is_different_secrets<W: World>(store: W) {
    let owl = store.bots().create(a_bot("owl")).await.unwrap();
    let bat = store.bots().create(a_bot("bat")).await.unwrap();
    let scopes = [Scope::Global, Scope::Bot(owl.id), Scope::Bot(bat.id)];
    for (n, scope) in scopes.into_iter().enumerate() {
        store
            .secrets()
            .set(scope, &key("k"), sealed(&[n as u8]), SecretProvider::Vault)
            .await
            .unwrap();
    }
    for (n, scope) in scopes.into_iter().enumerate() {
        assert_eq!(
            store.secrets().get(scope, &key("k")).await.unwrap(),
            Some(sealed(&[n as u8])),
            "{scope}"
        );
    }
    store.secrets().delete(scopes[1], &key("k")).await.unwrap();
    assert_eq!(store.secrets().get(scopes[1], &key("k")).await.unwrap(), None);
    assert!(store.secrets().get(scopes[0], &key("k")).await.unwrap().is_some());
    assert!(store.secrets().get(scopes[2], &key("k")).await.unwrap().is_some());
}

async fn any_bytes_round_trip<W: World>(store: W) {
    let every = (0..=255).collect::<Vec<u8>>();
    for (n, bytes) in [vec![], vec![0], every, vec![0xff; 1 << 20]].into_iter().enumerate() {
        let name = key(&format!("k{n}"));
        store
            .secrets()
            .set(Scope::Global, &name, sealed(&bytes), SecretProvider::Environment)
            .await
            .unwrap();
        let read = store.secrets().get(Scope::Global, &name).await.unwrap().unwrap();
        assert!(read.as_bytes() == bytes, "{} bytes", bytes.len());
    }
}

async fn what_is_not_there_is_none<W: World>(store: W) {
    store
        .secrets()
        .set(Scope::Global, &key("k"), sealed(b"x"), SecretProvider::Vault)
        .await
        .unwrap();
    // Case and blanks count.
    for other in ["K", "k ", "kk"] {
        assert_eq!(
            store.secrets().get(Scope::Global, &key(other)).await.unwrap(),
            None,
            "{other:?}"
        );
    }
    assert_eq!(
        store.secrets().get(Scope::Bot(nowhere()), &key("k")).await.unwrap(),
        None
    );
}

async fn secrets_are_listed_by_scope_and_all_in_the_order_of_keys<W: World>(store: W) {
    let owl = store.bots().create(a_bot("owl")).await.unwrap();
    let bat = store.bots().create(a_bot("bat")).await.unwrap();
    let names = ["b", "B", "a b", "ab", "Ä", "a", "_", "é", "a/1", "日本"];
    for name in names {
        store
            .secrets()
            .set(Scope::Bot(owl.id), &key(name), sealed(b"x"), SecretProvider::Vault)
            .await
            .unwrap();
    }
    store
        .secrets()
        .set(Scope::Global, &key("a0"), sealed(b"x"), SecretProvider::Vault)
        .await
        .unwrap();
    store
        .secrets()
        .set(Scope::Bot(bat.id), &key("z"), sealed(b"x"), SecretProvider::Vault)
        .await
        .unwrap();

    let secrets = store.secrets();
    let of_owl = ["B", "_", "a", "a b", "a/1", "ab", "b", "Ä", "é", "日本"];
    let all = ["B", "_", "a", "a b", "a/1", "a0", "ab", "b", "z", "Ä", "é", "日本"];
    for (scope, expected) in [
        (Some(Scope::Bot(owl.id)), &of_owl[..]),
        (Some(Scope::Global), &["a0"]),
        (Some(Scope::Bot(bat.id)), &["z"]),
        (Some(Scope::Bot(nowhere())), &[]),
        (None, &all),
    ] {
        for limit in [1, 3, 50] {
            let listed = pages(limit, |page| secrets.list(scope, page)).await;
            let found = listed.iter().map(|secret| secret.key.as_str()).collect::<Vec<_>>();
            assert_eq!(found, expected, "{scope:?}, {limit} a page");
            assert!(scope.is_none_or(|scope| listed.iter().all(|secret| secret.scope == scope)));
        }
    }
    for limit in [0, PageRequest::MAX + 1] {
        refused(
            secrets.list(None, PageRequest::first(limit)).await,
            ErrorKind::InvalidInput,
            None,
        );
    }
}

async fn equal_keys_of_many_scopes_are_leafed_through_by_their_ids<W: World>(store: W) {
    let mut ids = vec![
        store
            .secrets()
            .set(Scope::Global, &key("k"), sealed(b"x"), SecretProvider::Vault)
            .await
            .unwrap()
            .id,
    ];
    for n in 0..6 {
        let bot = store.bots().create(a_bot(&format!("bot-{n}"))).await.unwrap();
        let set = store
            .secrets()
            .set(Scope::Bot(bot.id), &key("k"), sealed(b"x"), SecretProvider::Vault)
            .await;
        ids.push(set.unwrap().id);
    }
    ids.sort();
    let secrets = store.secrets();
    let listed = pages(2, |page| secrets.list(None, page)).await;
    assert_eq!(listed.into_iter().map(|secret| secret.id).collect::<Vec<_>>(), ids);
}

async fn a_listing_never_holds_a_value<W: World>(store: W) {
    let info = store
        .secrets()
        .set(
            Scope::Global,
            &key("k"),
            sealed(b"BYTES-OF-A-VALUE"),
            SecretProvider::Vault,
        )
        .await
        .unwrap();
    let listed = store.secrets().list(None, PageRequest::default()).await.unwrap();
    let numbers = format!("{:?}", b"BYTES-OF-A-VALUE");
    for text in [
        serde_json::to_string(&listed).unwrap(),
        serde_json::to_string(&info).unwrap(),
        format!("{listed:?} {info:?}"),
        format!("{:?}", store.secrets().get(Scope::Global, &key("k")).await.unwrap()),
    ] {
        assert!(!text.contains("BYTES-OF") && !text.contains(&numbers[1..20]), "{text}");
    }
}

async fn delete_removes_one_and_a_missing_one_is_not_found<W: World>(store: W) {
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    for name in ["a", "b"] {
        store
            .secrets()
            .set(Scope::Global, &key(name), sealed(b"x"), SecretProvider::Vault)
            .await
            .unwrap();
    }
    store.secrets().delete(Scope::Global, &key("a")).await.unwrap();
    assert_eq!(store.secrets().get(Scope::Global, &key("a")).await.unwrap(), None);
    assert!(store.secrets().get(Scope::Global, &key("b")).await.unwrap().is_some());
    let error = refused(
        store.secrets().delete(Scope::Global, &key("a")).await,
        ErrorKind::NotFound,
        None,
    );
    assert_eq!((error.entity(), error.operation()), (Some("secret"), Some("delete")));
    assert!(error.to_string().contains("`a` (global)"), "{error}");
    // There in another scope is not there in this one.
    refused(
        store.secrets().delete(Scope::Bot(bot.id), &key("b")).await,
        ErrorKind::NotFound,
        None,
    );
    assert!(store.secrets().get(Scope::Global, &key("b")).await.unwrap().is_some());
}

async fn an_unknown_bots_scope_is_a_foreign_key_error<W: World>(store: W) {
    let nobody = Scope::Bot(nowhere());
    let outcome = store
        .secrets()
        .set(nobody, &key("k"), sealed(b"x"), SecretProvider::Vault)
        .await;
    let error = refused(outcome, ErrorKind::ForeignKey, Some("fk_secrets_bot_id"));
    assert_eq!((error.entity(), error.operation()), (Some("secret"), Some("set")));
    assert_eq!(store.secrets().get(nobody, &key("k")).await.unwrap(), None);
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

async fn reseal_replaces_only_what_it_was_told<W: World>(store: W) {
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let secrets = store.secrets();
    for scope in [Scope::Global, Scope::Bot(bot.id)] {
        secrets
            .set(scope, &key("k"), sealed(b"old"), SecretProvider::Keychain)
            .await
            .unwrap();
    }
    let before = secrets.list(None, PageRequest::default()).await.unwrap();
    a_moment().await;

    assert!(
        !secrets
            .reseal(Scope::Global, &key("k"), &sealed(b"other"), sealed(b"new"))
            .await
            .unwrap()
    );
    assert!(
        !secrets
            .reseal(Scope::Global, &key("absent"), &sealed(b"old"), sealed(b"new"))
            .await
            .unwrap()
    );
    assert_eq!(
        secrets.get(Scope::Global, &key("k")).await.unwrap(),
        Some(sealed(b"old"))
    );

    assert!(
        secrets
            .reseal(Scope::Global, &key("k"), &sealed(b"old"), sealed(b"new"))
            .await
            .unwrap()
    );
    assert_eq!(
        secrets.get(Scope::Global, &key("k")).await.unwrap(),
        Some(sealed(b"new"))
    );
    assert_eq!(
        secrets.get(Scope::Bot(bot.id), &key("k")).await.unwrap(),
        Some(sealed(b"old")),
        "another scope"
    );
    assert!(
        !secrets
            .reseal(Scope::Global, &key("k"), &sealed(b"old"), sealed(b"newer"))
            .await
            .unwrap()
    );
    assert_eq!(
        secrets.list(None, PageRequest::default()).await.unwrap(),
        before,
        "neither provider nor times change"
    );
}

async fn concurrent_sets_of_one_key_leave_one_row<W: World>(store: W) {
    sets_at_once(&[store]).await;
}

/// Sixteen that set one key at once, in one world or in several that are on the same database.
pub async fn sets_at_once(stores: &[impl World]) {
    let bot = stores[0].bots().create(a_bot("owl")).await.unwrap();
    for scope in [Scope::Global, Scope::Bot(bot.id)] {
        let setters = (0..16_u8).map(|n| {
            let store = stores[usize::from(n) % stores.len()].clone();
            tokio::spawn(async move {
                store
                    .secrets()
                    .set(scope, &key("k"), sealed(&[n]), SecretProvider::Vault)
                    .await
            })
        });
        let mut ids = vec![];
        for setter in setters.collect::<Vec<_>>() {
            ids.push(setter.await.unwrap().unwrap().id);
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "one secret, whoever came first");
        let listed = stores[0]
            .secrets()
            .list(Some(scope), PageRequest::default())
            .await
            .unwrap();
        assert_eq!(listed.items.iter().map(|secret| secret.id).collect::<Vec<_>>(), ids);
        let value = stores[stores.len() - 1]
            .secrets()
            .get(scope, &key("k"))
            .await
            .unwrap()
            .unwrap();
        assert!(matches!(value.as_bytes(), [0..16]), "one of the values that were set");
    }
}

async fn a_global_secret_survives_every_bot<W: World>(store: W) {
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    for scope in [Scope::Global, Scope::Bot(bot.id)] {
        store
            .secrets()
            .set(scope, &key("k"), sealed(b"x"), SecretProvider::Vault)
            .await
            .unwrap();
    }
    store.bots().delete(bot.id).await.unwrap();
    let left = store.secrets().list(None, PageRequest::default()).await.unwrap();
    assert_eq!(
        left.items.iter().map(|secret| secret.scope).collect::<Vec<_>>(),
        [Scope::Global]
    );
}

async fn the_longest_key_is_stored<W: World>(store: W) {
    // Without repetition, so that no compression makes it fit an index.
    let longest: String = (0_u32..)
        .flat_map(|n| char::from_u32(0x4e00 + n * 37))
        .take(170)
        .chain("xy".chars())
        .collect();
    assert_eq!(longest.len(), 512);
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    for scope in [Scope::Global, Scope::Bot(bot.id)] {
        store
            .secrets()
            .set(scope, &key(&longest), sealed(b"x"), SecretProvider::Vault)
            .await
            .unwrap();
        assert!(store.secrets().get(scope, &key(&longest)).await.unwrap().is_some());
    }
}
