//! Users.

use tokio::task::JoinHandle;

use super::{World, a_bot, a_moment, cases, email, nowhere, pages, refused};
use crate::contract::*;
use crate::{ErrorKind, Result};

cases![
    what_create_returns_a_later_read_returns,
    an_address_is_unique_in_every_case,
    a_user_is_found_by_address_in_every_case,
    addresses_are_kept_as_they_were_written,
    users_are_listed_newest_first_by_role_and_all,
    update_changes_what_it_names_and_nothing_else,
    an_address_can_change_its_case,
    update_to_a_taken_address_is_a_conflict,
    update_of_a_missing_user_is_not_found,
    a_deleted_users_keys_go_and_bots_stay,
    delete_of_a_missing_user_is_not_found,
    the_first_administrator_is_made_once,
    of_sixteen_that_bootstrap_at_once_one_succeeds,
    bootstrapping_beside_a_create_never_makes_a_second_first_one,
    bootstrapping_beside_a_promotion_never_makes_a_second_first_one,
    the_first_administrator_does_not_take_a_users_address,
    without_administrators_one_can_be_made_again,
];

fn new(address: &str, role: UserRole) -> NewUser {
    NewUser {
        email: email(address),
        role,
    }
}

async fn addresses(store: &impl World, role: Option<UserRole>) -> Vec<String> {
    let users = store.users();
    let listed = pages(50, |page| users.list(role, page)).await;
    listed.into_iter().map(|user| user.email.to_string()).collect()
}

async fn what_create_returns_a_later_read_returns<W: World>(store: W) {
    for role in [UserRole::User, UserRole::Admin] {
        let created = store
            .users()
            .create(new(&format!("{role}@example.org"), role))
            .await
            .unwrap();
        assert_eq!((created.role, created.created_at), (role, created.updated_at));
        assert_eq!(
            created.created_at.timestamp_subsec_nanos() % 1000,
            0,
            "cut to microseconds"
        );
        assert_eq!(store.users().get(created.id).await.unwrap(), Some(created));
    }
    assert_eq!(store.users().get(nowhere()).await.unwrap(), None);
}

async fn an_address_is_unique_in_every_case<W: World>(store: W) {
    for (first, others) in [
        (
            "Ada@Example.org",
            ["ada@example.org", "ADA@EXAMPLE.ORG", "Ada@Example.org"],
        ),
        (
            "äda@exämple.org",
            ["ÄDA@EXÄMPLE.ORG", "Äda@exämple.org", "äDA@EXämple.org"],
        ),
        (
            "ΣΟΦΙΑ@example.org",
            ["σοφια@example.org", "Σοφια@example.org", "ΣΟΦΙΑ@EXAMPLE.ORG"],
        ),
    ] {
        let user = store.users().create(new(first, UserRole::User)).await.unwrap();
        for other in others {
            let outcome = store.users().create(new(other, UserRole::Admin)).await;
            let error = refused(outcome, ErrorKind::Conflict, Some("uq_users_email_lc"));
            assert_eq!((error.entity(), error.operation()), (Some("user"), Some("create")));
        }
        assert_eq!(store.users().get(user.id).await.unwrap(), Some(user));
    }
    assert_eq!(addresses(&store, None).await.len(), 3);
}

async fn a_user_is_found_by_address_in_every_case<W: World>(store: W) {
    let ada = store
        .users()
        .create(new("ÄDA@Example.org", UserRole::User))
        .await
        .unwrap();
    store
        .users()
        .create(new("ada@example.org", UserRole::User))
        .await
        .unwrap();
    for text in ["ÄDA@Example.org", "äda@example.org", "Äda@EXAMPLE.ORG"] {
        assert_eq!(
            store.users().get_by_email(&email(text)).await.unwrap(),
            Some(ada.clone()),
            "{text}"
        );
    }
    for text in ["äd@example.org", "äda@example.or", "%da@example.org", "_da@example.org"] {
        assert_eq!(store.users().get_by_email(&email(text)).await.unwrap(), None, "{text}");
    }
}

async fn addresses_are_kept_as_they_were_written<W: World>(store: W) {
    let ada = store
        .users()
        .create(new("Ada.Lovelace@Example.ORG", UserRole::User))
        .await
        .unwrap();
    assert_eq!(
        store.users().get(ada.id).await.unwrap().unwrap().email.as_str(),
        "Ada.Lovelace@Example.ORG"
    );
}

async fn users_are_listed_newest_first_by_role_and_all<W: World>(store: W) {
    for n in 0..7 {
        let role = if n % 3 == 0 { UserRole::Admin } else { UserRole::User };
        store.users().create(new(&format!("{n}@x"), role)).await.unwrap();
        a_moment().await;
    }
    let users = store.users();
    for (role, expected) in [
        (None, &["6@x", "5@x", "4@x", "3@x", "2@x", "1@x", "0@x"][..]),
        (Some(UserRole::Admin), &["6@x", "3@x", "0@x"]),
        (Some(UserRole::User), &["5@x", "4@x", "2@x", "1@x"]),
    ] {
        for limit in [1, 2, 50] {
            let listed = pages(limit, |page| users.list(role, page)).await;
            let found = listed.iter().map(|user| user.email.as_str()).collect::<Vec<_>>();
            assert_eq!(found, expected, "{role:?}, {limit} a page");
        }
    }
    for limit in [0, PageRequest::MAX + 1] {
        refused(
            users.list(None, PageRequest::first(limit)).await,
            ErrorKind::InvalidInput,
            None,
        );
    }
}

async fn update_changes_what_it_names_and_nothing_else<W: World>(store: W) {
    let ada = store.users().create(new("ada@x", UserRole::User)).await.unwrap();
    let other = store.users().create(new("other@x", UserRole::User)).await.unwrap();
    a_moment().await;

    let change = UserChange {
        role: Some(UserRole::Admin),
        ..UserChange::default()
    };
    let promoted = store.users().update(ada.id, change).await.unwrap();
    let expected = User {
        role: UserRole::Admin,
        updated_at: promoted.updated_at,
        ..ada.clone()
    };
    assert_eq!(promoted, expected);
    assert!(promoted.updated_at > ada.updated_at);

    a_moment().await;
    let change = UserChange {
        email: Some(email("Äda@y")),
        ..UserChange::default()
    };
    let renamed = store.users().update(ada.id, change).await.unwrap();
    assert_eq!(
        renamed,
        User {
            email: email("Äda@y"),
            updated_at: renamed.updated_at,
            ..promoted
        }
    );
    assert!(renamed.updated_at > promoted.updated_at);
    assert_eq!(store.users().get(ada.id).await.unwrap(), Some(renamed.clone()));
    assert_eq!(
        store.users().get_by_email(&email("äDA@Y")).await.unwrap(),
        Some(renamed.clone())
    );
    assert_eq!(
        store.users().get_by_email(&email("ada@x")).await.unwrap(),
        None,
        "the old address is free"
    );
    store.users().create(new("ADA@X", UserRole::User)).await.unwrap();

    a_moment().await;
    let touched = store.users().update(ada.id, UserChange::default()).await.unwrap();
    assert_eq!(
        touched,
        User {
            updated_at: touched.updated_at,
            ..renamed
        }
    );
    assert!(touched.updated_at > renamed.updated_at);
    assert_eq!(store.users().get(other.id).await.unwrap(), Some(other));
}

async fn an_address_can_change_its_case<W: World>(store: W) {
    let ada = store.users().create(new("ada@x", UserRole::User)).await.unwrap();
    let change = UserChange {
        email: Some(email("ADA@X")),
        ..UserChange::default()
    };
    assert_eq!(
        store.users().update(ada.id, change).await.unwrap().email,
        email("ADA@X")
    );
}

async fn update_to_a_taken_address_is_a_conflict<W: World>(store: W) {
    store.users().create(new("ada@x", UserRole::User)).await.unwrap();
    let bob = store.users().create(new("bob@x", UserRole::User)).await.unwrap();
    let change = UserChange {
        email: Some(email("ADA@x")),
        role: Some(UserRole::Admin),
    };
    let outcome = store.users().update(bob.id, change).await;
    refused(outcome, ErrorKind::Conflict, Some("uq_users_email_lc"));
    assert_eq!(store.users().get(bob.id).await.unwrap(), Some(bob));
}

async fn update_of_a_missing_user_is_not_found<W: World>(store: W) {
    let nobody: UserId = nowhere();
    let change = UserChange {
        role: Some(UserRole::Admin),
        ..UserChange::default()
    };
    let error = refused(store.users().update(nobody, change).await, ErrorKind::NotFound, None);
    assert!(error.to_string().contains(&nobody.to_string()), "{error}");
    assert!(addresses(&store, None).await.is_empty());
}

async fn a_deleted_users_keys_go_and_bots_stay<W: World>(store: W) {
    let ada = store.users().create(new("ada@x", UserRole::User)).await.unwrap();
    let bob = store.users().create(new("bob@x", UserRole::User)).await.unwrap();
    let bot = store
        .bots()
        .create(NewBot {
            user_id: Some(ada.id),
            ..a_bot("owl")
        })
        .await
        .unwrap();
    let mut keys = vec![];
    for user_id in [Some(ada.id), Some(bob.id), None] {
        keys.push(
            store
                .api_keys()
                .issue(NewApiKey {
                    user_id,
                    ..NewApiKey::default()
                })
                .await
                .unwrap()
                .key
                .id,
        );
    }
    store.users().delete(ada.id).await.unwrap();
    assert_eq!(store.users().get(ada.id).await.unwrap(), None);
    assert_eq!(store.users().get_by_email(&email("ada@x")).await.unwrap(), None);
    assert_eq!(store.api_keys().get(keys[0]).await.unwrap(), None);
    assert!(store.api_keys().get(keys[1]).await.unwrap().is_some());
    assert!(store.api_keys().get(keys[2]).await.unwrap().is_some());
    assert_eq!(
        store.bots().get(bot.id).await.unwrap(),
        Some(Bot { user_id: None, ..bot })
    );
    assert_eq!(addresses(&store, None).await, ["bob@x"]);
}

async fn delete_of_a_missing_user_is_not_found<W: World>(store: W) {
    let ada = store.users().create(new("ada@x", UserRole::User)).await.unwrap();
    store.users().delete(ada.id).await.unwrap();
    let error = refused(store.users().delete(ada.id).await, ErrorKind::NotFound, None);
    assert!(error.to_string().contains(&ada.id.to_string()), "{error}");
}

async fn the_first_administrator_is_made_once<W: World>(store: W) {
    store.users().create(new("user@x", UserRole::User)).await.unwrap();
    let first = store
        .users()
        .create_initial_admin_if_none(email("Root@x"))
        .await
        .unwrap();
    assert_eq!((first.role, first.email.as_str()), (UserRole::Admin, "Root@x"));
    assert_eq!(store.users().get(first.id).await.unwrap(), Some(first));
    for address in ["other@x", "root@x", "user@x"] {
        let outcome = store.users().create_initial_admin_if_none(email(address)).await;
        let error = refused(outcome, ErrorKind::AlreadyBootstrapped, None);
        assert_eq!(error.operation(), Some("create_initial_admin_if_none"));
        assert!(!error.is_retryable());
    }
    assert_eq!(addresses(&store, Some(UserRole::Admin)).await, ["Root@x"]);
}

async fn of_sixteen_that_bootstrap_at_once_one_succeeds<W: World>(store: W) {
    sixteen_bootstrap_at_once(&[store]).await;
}

/// Sixteen that make the first administrator at once, in one world or in several that are on the same database.
pub async fn sixteen_bootstrap_at_once(stores: &[impl World]) {
    let callers = (0..16).map(|n| {
        let store = stores[n % stores.len()].clone();
        tokio::spawn(async move {
            store
                .users()
                .create_initial_admin_if_none(email(&format!("{n}@x")))
                .await
        })
    });
    let mut winners = vec![];
    for caller in callers.collect::<Vec<_>>() {
        match caller.await.unwrap() {
            Ok(user) => winners.push(user.email.to_string()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyBootstrapped, "{error:?}"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(addresses(&stores[stores.len() - 1], None).await, winners);
}

/// A create always succeeds; those that bootstrap beside it find no administrator once, or never.
async fn bootstrapping_beside_a_create_never_makes_a_second_first_one<W: World>(store: W) {
    bootstrap_beside_a_create(&[store]).await;
}

/// Some that make the first administrator while one is created, in one world or in several that are on the same database.
pub async fn bootstrap_beside_a_create(stores: &[impl World]) {
    let created = {
        let store = stores[0].clone();
        tokio::spawn(async move { store.users().create(new("created@x", UserRole::Admin)).await })
    };
    bootstrap_beside(stores, created).await;
}

async fn bootstrapping_beside_a_promotion_never_makes_a_second_first_one<W: World>(store: W) {
    bootstrap_beside_a_promotion(&[store]).await;
}

/// Some that make the first administrator while a user becomes one, in one world or in several that are on the same database.
pub async fn bootstrap_beside_a_promotion(stores: &[impl World]) {
    let user = stores[0]
        .users()
        .create(new("promoted@x", UserRole::User))
        .await
        .unwrap();
    let promoted = {
        let store = stores[0].clone();
        let change = UserChange {
            role: Some(UserRole::Admin),
            ..UserChange::default()
        };
        tokio::spawn(async move { store.users().update(user.id, change).await })
    };
    bootstrap_beside(stores, promoted).await;
}

async fn bootstrap_beside(stores: &[impl World], other: JoinHandle<Result<User>>) {
    let callers = (0..6).map(|n| {
        let store = stores[n % stores.len()].clone();
        tokio::spawn(async move {
            store
                .users()
                .create_initial_admin_if_none(email(&format!("{n}@x")))
                .await
        })
    });
    let mut admins = 0;
    for caller in callers.collect::<Vec<_>>() {
        match caller.await.unwrap() {
            Ok(_) => admins += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyBootstrapped, "{error:?}"),
        }
    }
    assert!(admins <= 1, "{admins} were the first");
    other.await.unwrap().unwrap();
    assert_eq!(addresses(&stores[0], Some(UserRole::Admin)).await.len(), admins + 1);
    let late = stores[stores.len() - 1]
        .users()
        .create_initial_admin_if_none(email("late@x"))
        .await;
    refused(late, ErrorKind::AlreadyBootstrapped, None);
}

async fn the_first_administrator_does_not_take_a_users_address<W: World>(store: W) {
    let ada = store.users().create(new("ada@x", UserRole::User)).await.unwrap();
    let outcome = store.users().create_initial_admin_if_none(email("ADA@X")).await;
    refused(outcome, ErrorKind::Conflict, Some("uq_users_email_lc"));
    assert_eq!(store.users().get(ada.id).await.unwrap(), Some(ada));
    assert_eq!(addresses(&store, None).await, ["ada@x"]);
    store
        .users()
        .create_initial_admin_if_none(email("root@x"))
        .await
        .unwrap();
}

async fn without_administrators_one_can_be_made_again<W: World>(store: W) {
    let first = store.users().create_initial_admin_if_none(email("a@x")).await.unwrap();
    let change = UserChange {
        role: Some(UserRole::User),
        ..UserChange::default()
    };
    store.users().update(first.id, change).await.unwrap();
    let second = store.users().create_initial_admin_if_none(email("b@x")).await.unwrap();
    store.users().delete(second.id).await.unwrap();
    store.users().create_initial_admin_if_none(email("b@x")).await.unwrap();
}
