//! API keys: what needs more than one store, a clock, a transaction or the database itself. The rest is
//! `conformance::api_keys`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use sea_orm::ConnectionTrait;
use store::prelude::*;
use store::testkit::{Backend, TestDatabase};

use crate::support::{SettableClock, open, open_with};

store::testkit::tests![
    an_issued_key_authenticates_when_the_store_is_opened_again,
    a_key_is_issued_at_the_clocks_time,
    a_key_opens_nothing_from_its_expiry_on,
    a_revoked_key_opens_nothing_for_a_clock_that_is_behind,
    revoking_again_with_a_clock_that_goes_back_keeps_the_first_time,
    touch_notes_the_time_and_never_goes_back,
    the_database_never_holds_a_keys_secret,
    a_key_issued_in_a_transaction_that_is_undone_opens_nothing,
    pruning_inside_a_transaction_is_a_part_of_it,
    pruning_ends_with_the_present_instant,
];

async fn issue(store: &Store, key: NewApiKey) -> IssuedKey {
    store.api_keys().issue(key).await.unwrap()
}

async fn opened(store: &Store, plaintext: &SecretString) -> Option<Authenticated> {
    store.api_keys().authenticate(plaintext).await.unwrap()
}

async fn an_issued_key_authenticates_when_the_store_is_opened_again(db: TestDatabase) {
    let store = open(&db).await;
    let issued = issue(&store, NewApiKey::default()).await;
    let expected = Authenticated {
        key: issued.key,
        user: None,
    };
    let reopened = open(&db).await;
    assert_eq!(opened(&reopened, &issued.plaintext).await, Some(expected));
}

async fn a_key_is_issued_at_the_clocks_time(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    for seconds in [0, 60] {
        clock.forward(seconds);
        let key = issue(&store, NewApiKey::default()).await.key;
        assert_eq!(key.created_at, clock.time());
        assert_eq!(store.api_keys().get(key.id).await.unwrap(), Some(key));
    }
}

async fn a_key_opens_nothing_from_its_expiry_on(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    let end = clock.time() + TimeDelta::seconds(60);
    let issued = issue(
        &store,
        NewApiKey {
            expires_at: Some(end),
            ..NewApiKey::default()
        },
    )
    .await;
    let endless = issue(&store, NewApiKey::default()).await;
    for (seconds, open) in [(0, true), (59, true), (1, false), (1, false), (86_400 * 365, false)] {
        clock.forward(seconds);
        assert_eq!(
            opened(&store, &issued.plaintext).await.is_some(),
            open,
            "at {}",
            clock.time()
        );
    }
    assert!(opened(&store, &endless.plaintext).await.is_some());
    let expired = store.api_keys().get(issued.key.id).await.unwrap();
    assert_eq!(expired, Some(issued.key), "it is still there to look at");
    let stillborn = NewApiKey {
        expires_at: Some(clock.time()),
        ..NewApiKey::default()
    };
    let stillborn = issue(&store, stillborn).await;
    assert_eq!(opened(&store, &stillborn.plaintext).await, None);
}

async fn a_revoked_key_opens_nothing_for_a_clock_that_is_behind(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    let issued = issue(&store, NewApiKey::default()).await;
    clock.forward(5);
    store.api_keys().revoke(issued.key.id).await.unwrap();
    let revoked = ApiKey {
        revoked_at: Some(clock.time()),
        ..issued.key
    };
    assert_eq!(store.api_keys().get(revoked.id).await.unwrap(), Some(revoked));
    clock.forward(-3_600);
    assert_eq!(opened(&store, &issued.plaintext).await, None);
}

async fn revoking_again_with_a_clock_that_goes_back_keeps_the_first_time(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    let key = issue(&store, NewApiKey::default()).await.key;
    let first = clock.time();
    for seconds in [0, 60, -3_600] {
        clock.forward(seconds);
        store.api_keys().revoke(key.id).await.unwrap();
        assert_eq!(
            store.api_keys().get(key.id).await.unwrap().unwrap().revoked_at,
            Some(first)
        );
    }
}

async fn touch_notes_the_time_and_never_goes_back(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    let key = issue(&store, NewApiKey::default()).await.key;
    let other = issue(&store, NewApiKey::default()).await.key;
    let mut latest = None;
    for seconds in [10, 0, -3_600, 3_599, 2, -1] {
        clock.forward(seconds);
        store.api_keys().touch(key.id).await.unwrap();
        latest = latest.max(Some(clock.time()));
        let touched = store.api_keys().get(key.id).await.unwrap();
        assert_eq!(
            touched,
            Some(ApiKey {
                last_used_at: latest,
                ..key.clone()
            })
        );
    }
    assert_eq!(store.api_keys().get(other.id).await.unwrap(), Some(other));
}

/// Everything that the database keeps of a key, as it is written there.
async fn everything(db: &TestDatabase) -> Vec<u8> {
    match db.backend() {
        Backend::Sqlite => {
            let path = db.path().unwrap();
            let log = std::fs::read(format!("{}-wal", path.display())).unwrap_or_default();
            [std::fs::read(path).unwrap(), log].concat()
        }
        Backend::Postgres => {
            let connections = db.config().connect().await.unwrap();
            let rows = "SELECT api_keys::text || encode(hash, 'escape') FROM api_keys";
            let rows = sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, rows);
            let rows = connections.writer.query_all_raw(rows).await.unwrap();
            let rows = rows.iter().map(|row| row.try_get_by_index::<String>(0).unwrap());
            rows.collect::<String>().into_bytes()
        }
    }
}

async fn the_database_never_holds_a_keys_secret(db: TestDatabase) {
    let store = open(&db).await;
    let issued = issue(&store, NewApiKey::default()).await;
    opened(&store, &issued.plaintext).await.unwrap();
    store.api_keys().touch(issued.key.id).await.unwrap();
    opened(&store, &format!("{}A", issued.plaintext.expose_secret()).into()).await;

    let text = issued.plaintext.expose_secret();
    let secret = &text["uc_".len() + 12 + 1..];
    let bytes = URL_SAFE_NO_PAD.decode(secret).unwrap();
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let kept = everything(&db).await;
    let holds = |part: &[u8]| kept.windows(part.len()).any(|window| window == part);
    assert!(holds(issued.key.prefix.as_bytes()), "the search finds what is there");
    // Parts of it, too: half a secret is easier to guess.
    for part in [
        &secret.as_bytes()[..16],
        &secret.as_bytes()[24..],
        &bytes[..8],
        &bytes[24..],
        &hex.as_bytes()[..16],
    ] {
        assert!(!holds(part), "the database holds a part of the key's secret");
    }
}

async fn a_key_issued_in_a_transaction_that_is_undone_opens_nothing(db: TestDatabase) {
    let store = open(&db).await;
    let tx = store.begin().await.unwrap();
    let issued = tx.api_keys().issue(NewApiKey::default()).await.unwrap();
    assert!(tx.api_keys().authenticate(&issued.plaintext).await.unwrap().is_some());
    assert_eq!(opened(&store, &issued.plaintext).await, None);
    tx.rollback().await;
    assert_eq!(opened(&store, &issued.plaintext).await, None);
}

async fn left(store: &Store) -> usize {
    let keys = store.api_keys().list(None, PageRequest::default()).await.unwrap();
    keys.items.len()
}

async fn pruning_inside_a_transaction_is_a_part_of_it(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    for n in 0..7 {
        let key = NewApiKey {
            expires_at: Some(clock.time() + TimeDelta::seconds(n)),
            ..NewApiKey::default()
        };
        issue(&store, key).await;
    }
    let old = Prune {
        batch: 2,
        ..Prune::older_than(clock.time() + TimeDelta::seconds(6))
    };
    clock.forward(6);
    let tx = store.begin().await.unwrap();
    assert_eq!(tx.api_keys().prune(old).await.unwrap(), 6, "all batches");
    tx.rollback().await;
    assert_eq!(left(&store).await, 7);
    assert_eq!(store.api_keys().prune(old).await.unwrap(), 6);
    assert_eq!(left(&store).await, 1);
}

async fn pruning_ends_with_the_present_instant(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    for seconds in [1, 2, 3] {
        let key = NewApiKey {
            expires_at: Some(clock.time() + TimeDelta::seconds(seconds)),
            ..NewApiKey::default()
        };
        issue(&store, key).await;
    }
    let later = Prune::older_than(clock.time() + TimeDelta::days(365));
    assert_eq!(store.api_keys().prune(later).await.unwrap(), 0);
    clock.forward(2);
    assert_eq!(store.api_keys().prune(later.dry_run()).await.unwrap(), 2);
    assert_eq!(
        store.api_keys().prune(later).await.unwrap(),
        2,
        "one ends now, and opens nothing"
    );
    assert_eq!(left(&store).await, 1);
}
