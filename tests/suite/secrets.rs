//! Secrets: what needs more than one store, or a clock. The rest is `conformance::secrets`.

use store::prelude::*;
use store::testkit::TestDatabase;
use store::{ErrorKind, conformance};

use crate::support::{SettableClock, key, open, open_with, refused};

store::testkit::tests! {
    on_both: [
        a_secret_has_the_clocks_times,
        concurrent_sets_of_one_key_by_two_stores_leave_one_row,
    ],
    without_database: [keys_that_break_their_rule_are_refused],
}

async fn a_secret_has_the_clocks_times(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    let secrets = store.secrets();
    let first = clock.time();
    for seconds in [0, 7] {
        clock.forward(seconds);
        let value = SealedValue::from_sealed(vec![1]);
        let set = secrets
            .set(Scope::Global, &key("k"), value, SecretProvider::Vault)
            .await;
        let set = set.unwrap();
        assert_eq!((set.created_at, set.updated_at), (first, clock.time()));
    }
}

async fn concurrent_sets_of_one_key_by_two_stores_leave_one_row(db: TestDatabase) {
    conformance::secrets::sets_at_once(&[open(&db).await, open(&db).await]).await;
}

async fn keys_that_break_their_rule_are_refused() {
    for (text, told) in [
        (String::new(), "1 to 512 bytes"),
        ("x".repeat(513), "has 513"),
        ("ä".repeat(257), "has 514"),
        ("a\0b".to_owned(), "U+0000 at byte 1"),
    ] {
        let error = refused(Key::new(text), ErrorKind::InvalidInput, None);
        assert!(
            error.to_string().contains("key") && error.to_string().contains(told),
            "{error}"
        );
    }
}
