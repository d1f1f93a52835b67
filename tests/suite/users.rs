//! Users: what needs more than one store, a clock, or a transaction. The rest is `conformance::users`.

use store::prelude::*;
use store::testkit::TestDatabase;
use store::{ErrorKind, conformance};

use crate::support::{SettableClock, email, open, open_with, pages, refused};

store::testkit::tests![
    a_user_is_there_when_the_store_is_opened_again,
    a_user_has_the_clocks_times,
    users_of_one_instant_are_leafed_through_by_their_ids,
    of_sixteen_in_two_stores_that_bootstrap_at_once_one_succeeds,
    bootstrapping_in_two_stores_beside_a_create_never_makes_a_second_first_one,
    bootstrapping_in_two_stores_beside_a_promotion_never_makes_a_second_first_one,
    a_duplicate_inside_a_transaction_undoes_it,
];

fn new(address: &str, role: UserRole) -> NewUser {
    NewUser {
        email: email(address),
        role,
    }
}

async fn two(db: &TestDatabase) -> [Store; 2] {
    [open(db).await, open(db).await]
}

async fn a_user_is_there_when_the_store_is_opened_again(db: TestDatabase) {
    let store = open(&db).await;
    for role in [UserRole::User, UserRole::Admin] {
        let created = store.users().create(new(&format!("{role}@x"), role)).await.unwrap();
        let reopened = open(&db).await;
        assert_eq!(reopened.users().get(created.id).await.unwrap(), Some(created));
    }
}

async fn users_of_one_instant_are_leafed_through_by_their_ids(db: TestDatabase) {
    let store = open_with(&db, &SettableClock::new()).await;
    let mut ids = vec![];
    for n in 0..7 {
        ids.push(
            store
                .users()
                .create(new(&format!("{n}@x"), UserRole::User))
                .await
                .unwrap()
                .id,
        );
    }
    ids.sort();
    ids.reverse();
    let users = store.users();
    let listed = pages(2, |page| users.list(None, page)).await;
    assert_eq!(listed.into_iter().map(|user| user.id).collect::<Vec<_>>(), ids);
}

async fn a_user_has_the_clocks_times(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    let created = store.users().create(new("ada@x", UserRole::User)).await.unwrap();
    assert_eq!((created.created_at, created.updated_at), (clock.time(), clock.time()));
    for seconds in [60, 1] {
        clock.forward(seconds);
        let updated = store.users().update(created.id, UserChange::default()).await.unwrap();
        assert_eq!(
            (updated.created_at, updated.updated_at),
            (created.created_at, clock.time())
        );
    }
}

async fn of_sixteen_in_two_stores_that_bootstrap_at_once_one_succeeds(db: TestDatabase) {
    conformance::users::sixteen_bootstrap_at_once(&two(&db).await).await;
}

async fn bootstrapping_in_two_stores_beside_a_create_never_makes_a_second_first_one(db: TestDatabase) {
    conformance::users::bootstrap_beside_a_create(&two(&db).await).await;
}

async fn bootstrapping_in_two_stores_beside_a_promotion_never_makes_a_second_first_one(db: TestDatabase) {
    conformance::users::bootstrap_beside_a_promotion(&two(&db).await).await;
}

async fn a_duplicate_inside_a_transaction_undoes_it(db: TestDatabase) {
    let store = open(&db).await;
    store.users().create(new("taken@x", UserRole::User)).await.unwrap();
    let outcome = store
        .transaction(|tx| async move {
            tx.users().create_initial_admin_if_none(email("root@x")).await?;
            tx.users().create(new("TAKEN@x", UserRole::User)).await
        })
        .await;
    refused(outcome, ErrorKind::Conflict, Some("uq_users_email_lc"));
    let left = store.users().list(None, PageRequest::default()).await.unwrap().items;
    assert_eq!(
        left.iter().map(|user| user.email.as_str()).collect::<Vec<_>>(),
        ["taken@x"]
    );
}
