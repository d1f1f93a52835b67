//! API keys.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::{World, a_moment, a_user, cases, nowhere, pages, refused};
use crate::contract::*;
use crate::{Clock, ErrorKind, ExposeSecret, SecretString, SystemClock};

cases![
    an_issued_key_authenticates,
    a_key_of_a_user_answers_the_user,
    what_issue_answers_a_later_read_answers,
    the_prefix_is_the_keys_public_part,
    anything_else_opens_nothing,
    an_expired_key_opens_nothing,
    a_revoked_key_opens_nothing,
    revoking_again_keeps_the_first_time,
    a_deleted_key_opens_nothing,
    a_deleted_users_key_opens_nothing,
    touch_notes_the_time,
    authenticate_does_not_touch,
    changes_of_a_missing_key_are_not_found,
    keys_are_listed_newest_first_by_user_and_all,
    an_unknown_user_is_a_foreign_key_error,
    names_that_break_their_rule_are_refused,
    an_expiry_that_no_database_keeps_is_refused,
    pruning_removes_what_expired_before_the_instant,
    pruning_leaves_what_still_opens,
    pruning_goes_in_batches_and_can_only_count,
    pruning_refuses_a_batch_out_of_range,
];

fn named(name: &str) -> NewApiKey {
    NewApiKey {
        name: name.into(),
        ..NewApiKey::default()
    }
}

fn an_instant() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_800_000_000_123_456).unwrap()
}

/// Whatever ended here has ended long ago.
fn in_the_past() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_600_000_000_123_456).unwrap()
}

fn ending_in(hours: i64) -> NewApiKey {
    NewApiKey {
        expires_at: Some(SystemClock.now() + TimeDelta::hours(hours)),
        ..NewApiKey::default()
    }
}

async fn issue(store: &impl World, key: NewApiKey) -> IssuedKey {
    store.api_keys().issue(key).await.unwrap()
}

async fn opened(store: &impl World, plaintext: &SecretString) -> Option<Authenticated> {
    store.api_keys().authenticate(plaintext).await.unwrap()
}

async fn opened_by(store: &impl World, text: &str) -> Option<Authenticated> {
    opened(store, &text.into()).await
}

async fn an_issued_key_authenticates<W: World>(store: W) {
    let mut keys = vec![];
    for n in 0..5 {
        keys.push(issue(&store, named(&format!("key {n}"))).await);
    }
    for issued in keys {
        let expected = Authenticated {
            key: issued.key,
            user: None,
        };
        assert_eq!(opened(&store, &issued.plaintext).await, Some(expected));
    }
}

async fn a_key_of_a_user_answers_the_user<W: World>(store: W) {
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

async fn what_issue_answers_a_later_read_answers<W: World>(store: W) {
    let ada = a_user(&store, "ada@x").await;
    let end = an_instant() + TimeDelta::nanoseconds(86_400_000_000_999);
    let new = NewApiKey {
        user_id: Some(ada.id),
        name: "CI — Größe ☃".into(),
        expires_at: Some(end),
    };
    let key = issue(&store, new).await.key;
    let expected = ApiKey {
        user_id: Some(ada.id),
        name: "CI — Größe ☃".into(),
        last_used_at: None,
        expires_at: Some(end - TimeDelta::nanoseconds(999)),
        revoked_at: None,
        ..key.clone()
    };
    assert_eq!(key, expected);
    assert_eq!(key.created_at.timestamp_subsec_nanos() % 1000, 0, "cut to microseconds");
    assert_eq!(store.api_keys().get(key.id).await.unwrap(), Some(key));
    assert_eq!(store.api_keys().get(nowhere()).await.unwrap(), None);
    assert_eq!(issue(&store, NewApiKey::default()).await.key.name, "default");
}

async fn the_prefix_is_the_keys_public_part<W: World>(store: W) {
    let mut prefixes = BTreeSet::new();
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

async fn anything_else_opens_nothing<W: World>(store: W) {
    let (one, two) = (issue(&store, named("one")).await, issue(&store, named("two")).await);
    let text = one.plaintext.expose_secret();
    let secret = two.plaintext.expose_secret().splitn(3, '_').nth(2).unwrap_or_default();
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

async fn an_expired_key_opens_nothing<W: World>(store: W) {
    let (past, coming) = (issue(&store, ending_in(-1)).await, issue(&store, ending_in(1)).await);
    assert_eq!(opened(&store, &past.plaintext).await, None);
    assert!(opened(&store, &coming.plaintext).await.is_some());
    let expired = store.api_keys().get(past.key.id).await.unwrap();
    assert_eq!(expired, Some(past.key), "it is still there to look at");
}

async fn a_revoked_key_opens_nothing<W: World>(store: W) {
    let (issued, other) = (
        issue(&store, NewApiKey::default()).await,
        issue(&store, NewApiKey::default()).await,
    );
    a_moment().await;
    store.api_keys().revoke(issued.key.id).await.unwrap();
    assert_eq!(opened(&store, &issued.plaintext).await, None);
    let revoked = store.api_keys().get(issued.key.id).await.unwrap().unwrap();
    assert!(revoked.revoked_at > Some(issued.key.created_at));
    let expected = ApiKey {
        revoked_at: revoked.revoked_at,
        ..issued.key
    };
    assert_eq!(revoked, expected);
    assert!(opened(&store, &other.plaintext).await.is_some());
}

async fn revoking_again_keeps_the_first_time<W: World>(store: W) {
    let key = issue(&store, NewApiKey::default()).await.key;
    store.api_keys().revoke(key.id).await.unwrap();
    let first = store.api_keys().get(key.id).await.unwrap();
    a_moment().await;
    store.api_keys().revoke(key.id).await.unwrap();
    assert_eq!(store.api_keys().get(key.id).await.unwrap(), first);
}

async fn a_deleted_key_opens_nothing<W: World>(store: W) {
    let (issued, other) = (
        issue(&store, NewApiKey::default()).await,
        issue(&store, NewApiKey::default()).await,
    );
    store.api_keys().delete(issued.key.id).await.unwrap();
    assert_eq!(opened(&store, &issued.plaintext).await, None);
    assert_eq!(store.api_keys().get(issued.key.id).await.unwrap(), None);
    assert!(opened(&store, &other.plaintext).await.is_some());
}

async fn a_deleted_users_key_opens_nothing<W: World>(store: W) {
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

async fn touch_notes_the_time<W: World>(store: W) {
    let key = issue(&store, NewApiKey::default()).await.key;
    let other = issue(&store, NewApiKey::default()).await.key;
    let mut before = None;
    for _ in 0..3 {
        a_moment().await;
        store.api_keys().touch(key.id).await.unwrap();
        let touched = store.api_keys().get(key.id).await.unwrap().unwrap();
        assert!(touched.last_used_at > before.max(Some(key.created_at)));
        before = touched.last_used_at;
        let expected = ApiKey {
            last_used_at: before,
            ..key.clone()
        };
        assert_eq!(touched, expected);
    }
    assert_eq!(store.api_keys().get(other.id).await.unwrap(), Some(other));
}

async fn authenticate_does_not_touch<W: World>(store: W) {
    let issued = issue(&store, NewApiKey::default()).await;
    opened(&store, &issued.plaintext).await.unwrap();
    assert_eq!(store.api_keys().get(issued.key.id).await.unwrap(), Some(issued.key));
}

async fn changes_of_a_missing_key_are_not_found<W: World>(store: W) {
    let keys = store.api_keys();
    let key: ApiKeyId = nowhere();
    for outcome in [keys.touch(key).await, keys.revoke(key).await, keys.delete(key).await] {
        let error = refused(outcome, ErrorKind::NotFound, None);
        assert!(error.to_string().contains(&key.to_string()), "{error}");
    }
    let gone = issue(&store, NewApiKey::default()).await.key.id;
    keys.delete(gone).await.unwrap();
    refused(keys.delete(gone).await, ErrorKind::NotFound, None);
}

async fn keys_are_listed_newest_first_by_user_and_all<W: World>(store: W) {
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
        a_moment().await;
    }
    let keys = store.api_keys();
    for (user, expected) in [
        (None, "6543210"),
        (Some(ada.id), "630"),
        (Some(bob.id), "41"),
        (Some(nowhere()), ""),
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

async fn an_unknown_user_is_a_foreign_key_error<W: World>(store: W) {
    let outcome = store
        .api_keys()
        .issue(NewApiKey {
            user_id: Some(nowhere()),
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

async fn names_that_break_their_rule_are_refused<W: World>(store: W) {
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

async fn an_expiry_that_no_database_keeps_is_refused<W: World>(store: W) {
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

async fn names(store: &impl World) -> String {
    let keys = store.api_keys();
    let listed = pages(50, |page| keys.list(None, page)).await;
    listed.iter().map(|key| key.name.as_str()).collect()
}

async fn pruning_removes_what_expired_before_the_instant<W: World>(store: W) {
    let limit = in_the_past();
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
        a_moment().await;
    }
    let endless = issue(&store, named("f")).await.key;
    a_moment().await;
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

async fn pruning_leaves_what_still_opens<W: World>(store: W) {
    let (past, coming) = (issue(&store, ending_in(-1)).await, issue(&store, ending_in(1)).await);
    let everything = Prune::older_than("2999-01-01T00:00:00Z".parse().unwrap());
    let keys = store.api_keys();
    assert_eq!(keys.prune(everything.dry_run()).await.unwrap(), 1);
    assert_eq!(keys.prune(everything).await.unwrap(), 1);
    assert_eq!(keys.get(past.key.id).await.unwrap(), None);
    assert!(opened(&store, &coming.plaintext).await.is_some());
    assert_eq!(keys.prune(everything).await.unwrap(), 0);
}

async fn pruning_goes_in_batches_and_can_only_count<W: World>(store: W) {
    for n in 0..7 {
        let expires_at = Some(in_the_past() + TimeDelta::seconds(n));
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
        ..Prune::older_than(in_the_past() + TimeDelta::seconds(6))
    };
    assert_eq!(store.api_keys().prune(old.dry_run()).await.unwrap(), 6);
    assert_eq!(names(&store).await.len(), 8, "counting removes nothing");
    assert_eq!(store.api_keys().prune(old).await.unwrap(), 6);
    assert_eq!(names(&store).await.len(), 2);
}

async fn pruning_refuses_a_batch_out_of_range<W: World>(store: W) {
    issue(
        &store,
        NewApiKey {
            expires_at: Some(in_the_past()),
            ..NewApiKey::default()
        },
    )
    .await;
    for batch in [0, 10_001] {
        let old = Prune {
            batch,
            ..Prune::older_than(in_the_past() + TimeDelta::seconds(60))
        };
        for old in [old, old.dry_run()] {
            let error = refused(store.api_keys().prune(old).await, ErrorKind::InvalidInput, None);
            assert!(error.to_string().contains("batch"), "{error}");
        }
    }
    assert_eq!(names(&store).await, "default");
}
