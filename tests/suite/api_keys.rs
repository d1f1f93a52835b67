//! API keys.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use sea_orm::ConnectionTrait;
use store::ErrorKind;
use store::prelude::*;
use store::testkit::{Backend, TestDatabase};

use crate::support::{SettableClock, email, missing, open, open_with, pages, refused};

store::testkit::tests![
    an_issued_key_authenticates,
    a_key_of_a_user_answers_the_user,
    what_issue_answers_a_later_read_answers,
    the_prefix_is_the_keys_public_part,
    anything_else_opens_nothing,
    a_key_opens_nothing_from_its_expiry_on,
    a_revoked_key_opens_nothing,
    revoking_again_keeps_the_first_time,
    a_deleted_key_opens_nothing,
    a_deleted_users_key_opens_nothing,
    touch_notes_the_time_and_never_goes_back,
    authenticate_does_not_touch,
    changes_of_a_missing_key_are_not_found,
    keys_are_listed_newest_first_by_user_and_all,
    an_unknown_user_is_a_foreign_key_error,
    names_that_break_their_rule_are_refused,
    an_expiry_that_no_database_keeps_is_refused,
    the_database_never_holds_a_keys_secret,
    a_key_issued_in_a_transaction_that_is_undone_opens_nothing,
    pruning_removes_what_expired_before_the_instant,
    pruning_goes_in_batches_and_can_only_count,
    pruning_refuses_a_batch_out_of_range,
];

fn named(name: &str) -> NewApiKey {
    NewApiKey {
        name: name.into(),
        ..NewApiKey::default()
    }
}

async fn issue(store: &Store, key: NewApiKey) -> IssuedKey {
    store.api_keys().issue(key).await.unwrap()
}

async fn a_user(store: &Store, address: &str) -> User {
    store
        .users()
        .create(NewUser {
            email: email(address),
            role: UserRole::User,
        })
        .await
        .unwrap()
}

async fn opened(store: &Store, plaintext: &SecretString) -> Option<Authenticated> {
    store.api_keys().authenticate(plaintext).await.unwrap()
}

async fn opened_by(store: &Store, text: &str) -> Option<Authenticated> {
    opened(store, &text.into()).await
}

async fn an_issued_key_authenticates(db: TestDatabase) {
    let store = open(&db).await;
    let mut keys = vec![];
    for n in 0..5 {
        keys.push(issue(&store, named(&format!("key {n}"))).await);
    }
    let reopened = open(&db).await;
    for issued in keys {
        let expected = Authenticated {
            key: issued.key,
            user: None,
        };
        assert_eq!(opened(&store, &issued.plaintext).await.as_ref(), Some(&expected));
        assert_eq!(opened(&reopened, &issued.plaintext).await, Some(expected));
    }
}

async fn a_key_of_a_user_answers_the_user(db: TestDatabase) {
    let store = open(&db).await;
    let ada = a_user(&store, "ada@x").await;
    a_user(&store, "bob@x").await;
    let issued = issue(
        &store,
        NewApiKey {
            user_id: Some(ada.id),
            ..NewApiKey::default()
        },
    )
    .await;
    let expected = Authenticated {
        key: issued.key,
        user: Some(ada.clone()),
    };
    assert_eq!(opened(&store, &issued.plaintext).await, Some(expected));
    let change = UserChange {
        role: Some(UserRole::Admin),
        ..UserChange::default()
    };
    let promoted = store.users().update(ada.id, change).await.unwrap();
    assert_eq!(
        opened(&store, &issued.plaintext).await.unwrap().user,
        Some(promoted),
        "the user as it is now"
    );
}

async fn what_issue_answers_a_later_read_answers(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    let ada = a_user(&store, "ada@x").await;
    let end = clock.time() + TimeDelta::nanoseconds(86_400_000_000_999);
    let new = NewApiKey {
        user_id: Some(ada.id),
        name: "CI — Größe ☃".into(),
        expires_at: Some(end),
    };
    let key = issue(&store, new).await.key;
    let expected = ApiKey {
        user_id: Some(ada.id),
        name: "CI — Größe ☃".into(),
        created_at: clock.time(),
        last_used_at: None,
        expires_at: Some(end - TimeDelta::nanoseconds(999)),
        revoked_at: None,
        ..key.clone()
    };
    assert_eq!(key, expected);
    assert_eq!(store.api_keys().get(key.id).await.unwrap(), Some(key));
    assert_eq!(store.api_keys().get(missing()).await.unwrap(), None);
    assert_eq!(issue(&store, NewApiKey::default()).await.key.name, "default");
}

async fn the_prefix_is_the_keys_public_part(db: TestDatabase) {
    let store = open(&db).await;
    let mut prefixes = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let issued = issue(&store, NewApiKey::default()).await;
        let prefix = issued.key.prefix.clone();
        assert!(
            prefix.len() == 12 && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "{prefix}"
        );
        assert!(issued.plaintext.expose_secret().starts_with(&format!("uc_{prefix}_")));
        assert!(prefixes.insert(prefix), "prefixes differ");
    }
}

async fn anything_else_opens_nothing(db: TestDatabase) {
    let store = open(&db).await;
    let (one, two) = (issue(&store, named("one")).await, issue(&store, named("two")).await);
    let text = one.plaintext.expose_secret();
    let secret = two
        .plaintext
        .expose_secret()
        .rsplit_once('_')
        .map_or("", |(_, secret)| secret);
    let last = if text.ends_with('A') { "E" } else { "A" };
    let swapped = |from: &str, to: &str| text.replacen(from, to, 1);
    let wrong = [
        // The right prefix with a wrong secret: all zeros, the other key's, one character off, cut, padded, continued.
        format!("uc_{}_{}", one.key.prefix, "A".repeat(43)),
        format!("uc_{}_{secret}", one.key.prefix),
        format!("{}{last}", &text[..text.len() - 1]),
        text[..text.len() - 1].to_owned(),
        format!("{text}="),
        format!("{text}A"),
        // A prefix that nobody has, the key with other marks, blanks around it.
        swapped(&one.key.prefix, "AAAAAAAAAAAA"),
        swapped("uc_", "UC_"),
        swapped("uc_", ""),
        format!(" {text}"),
        format!("{text}\n"),
        text.to_uppercase(),
        // No key at all.
        String::new(),
        "uc_".to_owned(),
        one.key.prefix.clone(),
        "'; DROP TABLE api_keys; --".to_owned(),
        "uc_\0\0\0\0\0\0\0\0\0\0\0\0_".to_owned() + &"A".repeat(43),
        format!("uc_%%%%%%%%%%%%_{}", "A".repeat(43)),
        "é".repeat(10_000),
    ];
    for text in wrong {
        assert_eq!(opened_by(&store, &text).await, None, "{text}");
    }
    assert!(opened(&store, &one.plaintext).await.is_some());
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

async fn a_revoked_key_opens_nothing(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    let (issued, other) = (
        issue(&store, NewApiKey::default()).await,
        issue(&store, NewApiKey::default()).await,
    );
    clock.forward(5);
    store.api_keys().revoke(issued.key.id).await.unwrap();
    assert_eq!(opened(&store, &issued.plaintext).await, None);
    let revoked = ApiKey {
        revoked_at: Some(clock.time()),
        ..issued.key
    };
    assert_eq!(store.api_keys().get(revoked.id).await.unwrap(), Some(revoked));
    assert!(opened(&store, &other.plaintext).await.is_some());
    // Not even for a program whose clock is behind.
    clock.forward(-3_600);
    assert_eq!(opened(&store, &issued.plaintext).await, None);
}

async fn revoking_again_keeps_the_first_time(db: TestDatabase) {
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

async fn a_deleted_key_opens_nothing(db: TestDatabase) {
    let store = open(&db).await;
    let (issued, other) = (
        issue(&store, NewApiKey::default()).await,
        issue(&store, NewApiKey::default()).await,
    );
    store.api_keys().delete(issued.key.id).await.unwrap();
    assert_eq!(opened(&store, &issued.plaintext).await, None);
    assert_eq!(store.api_keys().get(issued.key.id).await.unwrap(), None);
    assert!(opened(&store, &other.plaintext).await.is_some());
}

async fn a_deleted_users_key_opens_nothing(db: TestDatabase) {
    let store = open(&db).await;
    let ada = a_user(&store, "ada@x").await;
    let issued = issue(
        &store,
        NewApiKey {
            user_id: Some(ada.id),
            ..NewApiKey::default()
        },
    )
    .await;
    let other = issue(&store, NewApiKey::default()).await;
    store.users().delete(ada.id).await.unwrap();
    assert_eq!(opened(&store, &issued.plaintext).await, None);
    assert_eq!(
        store.api_keys().get(issued.key.id).await.unwrap(),
        None,
        "it does not become a key of no user"
    );
    assert!(opened(&store, &other.plaintext).await.is_some());
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

async fn authenticate_does_not_touch(db: TestDatabase) {
    let store = open(&db).await;
    let issued = issue(&store, NewApiKey::default()).await;
    opened(&store, &issued.plaintext).await.unwrap();
    assert_eq!(store.api_keys().get(issued.key.id).await.unwrap(), Some(issued.key));
}

async fn changes_of_a_missing_key_are_not_found(db: TestDatabase) {
    let store = open(&db).await;
    let keys = store.api_keys();
    let key: ApiKeyId = missing();
    for outcome in [keys.touch(key).await, keys.revoke(key).await, keys.delete(key).await] {
        let error = refused(outcome, ErrorKind::NotFound, None);
        assert!(error.to_string().contains(&key.to_string()), "{error}");
    }
    let gone = issue(&store, NewApiKey::default()).await.key.id;
    keys.delete(gone).await.unwrap();
    refused(keys.delete(gone).await, ErrorKind::NotFound, None);
}

async fn keys_are_listed_newest_first_by_user_and_all(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    let (ada, bob) = (a_user(&store, "ada@x").await, a_user(&store, "bob@x").await);
    for n in 0..7 {
        let user_id = [Some(ada.id), Some(bob.id), None][n % 3];
        let key = issue(
            &store,
            NewApiKey {
                user_id,
                ..named(&n.to_string())
            },
        )
        .await
        .key;
        if n == 3 {
            store.api_keys().revoke(key.id).await.unwrap();
        }
        clock.forward(1);
    }
    let keys = store.api_keys();
    for (user, expected) in [
        (None, "6543210"),
        (Some(ada.id), "630"),
        (Some(bob.id), "41"),
        (Some(missing()), ""),
    ] {
        for limit in [1, 2, 50] {
            let listed = pages(limit, |page| keys.list(user, page)).await;
            let names = listed.iter().map(|key| key.name.as_str()).collect::<String>();
            assert_eq!(names, expected, "{user:?}, {limit} a page");
        }
    }
    for limit in [0, PageRequest::MAX + 1] {
        refused(
            keys.list(None, PageRequest::first(limit)).await,
            ErrorKind::InvalidInput,
            None,
        );
    }
}

async fn an_unknown_user_is_a_foreign_key_error(db: TestDatabase) {
    let store = open(&db).await;
    let outcome = store
        .api_keys()
        .issue(NewApiKey {
            user_id: Some(missing()),
            ..NewApiKey::default()
        })
        .await;
    let error = refused(outcome, ErrorKind::ForeignKey, Some("fk_api_keys_user_id"));
    assert_eq!((error.entity(), error.operation()), (Some("api_key"), Some("issue")));
    assert!(
        store
            .api_keys()
            .list(None, PageRequest::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

async fn names_that_break_their_rule_are_refused(db: TestDatabase) {
    let store = open(&db).await;
    for name in ["", "  ", "\t\n", "\u{a0}", "a\0b"] {
        let error = refused(store.api_keys().issue(named(name)).await, ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains("name"), "{error}");
    }
    assert!(
        store
            .api_keys()
            .list(None, PageRequest::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

async fn an_expiry_that_no_database_keeps_is_refused(db: TestDatabase) {
    let store = open(&db).await;
    let year = |year: i32| {
        let end = chrono::NaiveDate::from_ymd_opt(year, 6, 1)
            .unwrap()
            .and_time(chrono::NaiveTime::MIN)
            .and_utc();
        NewApiKey {
            expires_at: Some(end),
            ..named(&year.to_string())
        }
    };
    for out in [-1, 10_000, 200_000] {
        let error = refused(store.api_keys().issue(year(out)).await, ErrorKind::InvalidInput, None);
        assert!(
            error.to_string().contains("expires_at") && error.to_string().contains(&out.to_string()),
            "{error}"
        );
    }
    for kept in [0, 1, 1969, 9999] {
        let key = issue(&store, year(kept)).await.key;
        assert_eq!(store.api_keys().get(key.id).await.unwrap(), Some(key));
    }
    assert!(
        opened(&store, &issue(&store, year(1969)).await.plaintext)
            .await
            .is_none()
    );
    assert!(
        opened(&store, &issue(&store, year(9999)).await.plaintext)
            .await
            .is_some()
    );
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
    opened_by(&store, &format!("{}A", issued.plaintext.expose_secret())).await;

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

async fn names(store: &Store) -> String {
    let keys = store.api_keys();
    let listed = pages(50, |page| keys.list(None, page)).await;
    listed.iter().map(|key| key.name.as_str()).collect()
}

async fn pruning_removes_what_expired_before_the_instant(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    let limit = clock.time() + TimeDelta::seconds(10);
    for (name, micros) in [
        ("e", 3_600_000_000),
        ("d", 1),
        ("c", 0),
        ("b", -1),
        ("a", -3_600_000_000),
    ] {
        let expires_at = Some(limit + TimeDelta::microseconds(micros));
        issue(
            &store,
            NewApiKey {
                expires_at,
                ..named(name)
            },
        )
        .await;
        clock.forward(1);
    }
    let endless = issue(&store, named("f")).await.key;
    clock.forward(1);
    store.api_keys().revoke(endless.id).await.unwrap();
    assert_eq!(names(&store).await, "fabcde");
    assert_eq!(store.api_keys().prune(Prune::older_than(limit)).await.unwrap(), 2);
    assert_eq!(
        names(&store).await,
        "fcde",
        "what ends at the instant stays, and what has no end"
    );
    assert_eq!(store.api_keys().prune(Prune::older_than(limit)).await.unwrap(), 0);
}

async fn pruning_goes_in_batches_and_can_only_count(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    for n in 0..7 {
        let expires_at = Some(clock.time() + TimeDelta::seconds(n));
        issue(
            &store,
            NewApiKey {
                expires_at,
                ..named(&n.to_string())
            },
        )
        .await;
    }
    issue(&store, named("f")).await;
    let old = Prune {
        batch: 2,
        ..Prune::older_than(clock.time() + TimeDelta::seconds(6))
    };
    assert_eq!(store.api_keys().prune(old.dry_run()).await.unwrap(), 6);
    assert_eq!(names(&store).await.len(), 8, "counting removes nothing");
    // In a transaction all batches are a part of it.
    let tx = store.begin().await.unwrap();
    assert_eq!(tx.api_keys().prune(old).await.unwrap(), 6);
    tx.rollback().await;
    assert_eq!(names(&store).await.len(), 8);
    assert_eq!(store.api_keys().prune(old).await.unwrap(), 6);
    assert_eq!(names(&store).await.len(), 2);
}

async fn pruning_refuses_a_batch_out_of_range(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    issue(
        &store,
        NewApiKey {
            expires_at: Some(clock.time()),
            ..NewApiKey::default()
        },
    )
    .await;
    clock.forward(60);
    for batch in [0, 10_001] {
        let old = Prune {
            batch,
            ..Prune::older_than(clock.time())
        };
        for old in [old, old.dry_run()] {
            let error = refused(store.api_keys().prune(old).await, ErrorKind::InvalidInput, None);
            assert!(error.to_string().contains("batch"), "{error}");
        }
    }
    assert_eq!(names(&store).await, "default");
}
