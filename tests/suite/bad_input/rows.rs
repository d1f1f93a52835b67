//! Rows that somebody has edited by hand: what cannot be understood is `Corrupt`, and names its place.

use store::prelude::*;
use store::testkit::{Backend, TestDatabase};

use super::{a_key_of, a_sealed_value, a_secret, a_user, listed, told};
use crate::support::{a_bot, behind_its_back, key, open, refused};

store::testkit::tests! {
    on_both: [
        a_bots_word_that_nobody_knows_is_corrupt,
        a_secrets_word_that_nobody_knows_is_corrupt,
        a_users_word_that_nobody_knows_is_corrupt,
        tags_of_another_shape_are_corrupt,
        names_that_break_their_rule_are_corrupt,
        a_corrupt_row_harms_no_other,
    ],
    on_sqlite: [tags_that_are_not_json_are_corrupt],
}

/// Takes a check away where SQL cannot go around it, and runs the statement.
async fn despite_the_check(db: &TestDatabase, table: &str, column: &str, update: &str) {
    match db.backend() {
        Backend::Sqlite => behind_its_back(db, &[update]).await,
        Backend::Postgres => {
            let drop = format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS ck_{table}_{column}");
            behind_its_back(db, &[&drop, update]).await;
        }
    }
}

/// The error names the table, the column and the row.
#[track_caller]
fn corrupt<T: std::fmt::Debug>(outcome: store::Result<T>, words: &[&str]) {
    let error = refused(outcome, ErrorKind::Corrupt, None);
    assert!(!error.is_retryable());
    told(&error, words);
}

async fn a_bots_word_that_nobody_knows_is_corrupt(db: TestDatabase) {
    for column in ["status", "category"] {
        let db = db.another().await;
        let store = open(&db).await;
        let bot = store.bots().create(a_bot("owl")).await.unwrap();
        let update = format!("UPDATE bots SET {column} = 'Asleep'");
        despite_the_check(&db, "bots", column, &update).await;
        let id = bot.id.to_string();
        let words = ["bots", column, id.as_str(), "Asleep"];
        corrupt(store.bots().get(bot.id).await, &words);
        corrupt(store.bots().get_by_slug(&bot.slug).await, &words);
        corrupt(listed(&store).await, &words);
        // It can be mended through the contract.
        let change = BotChange {
            status: Some(BotStatus::Active),
            category: Some(BotCategory::Assistant),
            ..BotChange::default()
        };
        store.bots().update(bot.id, change).await.unwrap();
        assert!(store.bots().get(bot.id).await.unwrap().is_some());
    }
}

async fn a_secrets_word_that_nobody_knows_is_corrupt(db: TestDatabase) {
    let store = open(&db).await;
    let secret = a_secret(&store, Scope::Global).await;
    despite_the_check(&db, "secrets", "provider", "UPDATE secrets SET provider = 'pocket'").await;
    let words = ["secrets", "provider", &secret.id.to_string(), "pocket"];
    corrupt(store.secrets().list(None, PageRequest::default()).await, &words);
    corrupt(
        store.secrets().list(Some(Scope::Global), PageRequest::default()).await,
        &words,
    );
    // The value alone can still be read, and setting it again mends the row.
    let value = store.secrets().get(Scope::Global, &key("k")).await.unwrap();
    assert_eq!(value, Some(a_sealed_value()));
    a_secret(&store, Scope::Global).await;
    store.secrets().list(None, PageRequest::default()).await.unwrap();
}

async fn a_users_word_that_nobody_knows_is_corrupt(db: TestDatabase) {
    let store = open(&db).await;
    let user = a_user(&store).await;
    let issued = a_key_of(&store, &user).await;
    despite_the_check(&db, "users", "role", "UPDATE users SET role = 'god'").await;
    let words = ["users", "role", &user.id.to_string(), "god"];
    corrupt(store.users().get(user.id).await, &words);
    corrupt(store.users().get_by_email(&user.email).await, &words);
    corrupt(store.users().list(None, PageRequest::default()).await, &words);
    corrupt(store.api_keys().authenticate(&issued.plaintext).await, &words);
}

async fn tags_of_another_shape_are_corrupt(db: TestDatabase) {
    for tags in [r#"{"a": 1}"#, "[1]", "null", r#""text""#] {
        let db = db.another().await;
        let store = open(&db).await;
        let bot = store.bots().create(a_bot("owl")).await.unwrap();
        despite_the_check(&db, "bots", "tags", &format!("UPDATE bots SET tags = '{tags}'")).await;
        let words = ["bots", "tags", &bot.id.to_string()];
        corrupt(store.bots().get(bot.id).await, &words);
        corrupt(listed(&store).await, &words);
    }
}

/// Postgres takes nothing but JSON into such a column.
async fn tags_that_are_not_json_are_corrupt(db: TestDatabase) {
    let store = open(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    for tags in ["[", "", "['a']", "[\"a\"] x"] {
        behind_its_back(
            &db,
            &[&format!("UPDATE bots SET tags = '{}'", tags.replace('\'', "''"))],
        )
        .await;
        let words = ["bots", "tags", &bot.id.to_string()];
        corrupt(store.bots().get(bot.id).await, &words);
        corrupt(listed(&store).await, &words);
    }
}

async fn names_that_break_their_rule_are_corrupt(db: TestDatabase) {
    let store = open(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let user = a_user(&store).await;
    let secret = a_secret(&store, Scope::Global).await;
    behind_its_back(
        &db,
        &[
            "UPDATE bots SET slug = 'Not A Slug'",
            "UPDATE users SET email = 'nowhere'",
            "UPDATE secrets SET key = ''",
        ],
    )
    .await;
    let id = bot.id.to_string();
    corrupt(store.bots().get(bot.id).await, &["bots", "slug", &id]);
    corrupt(listed(&store).await, &["bots", "slug", &id]);
    let id = user.id.to_string();
    corrupt(store.users().get(user.id).await, &["users", "email", &id]);
    corrupt(
        store.users().list(None, PageRequest::default()).await,
        &["users", "email", &id],
    );
    let id = secret.id.to_string();
    corrupt(
        store.secrets().list(None, PageRequest::default()).await,
        &["secrets", "key", &id],
    );
}

async fn a_corrupt_row_harms_no_other(db: TestDatabase) {
    let store = open(&db).await;
    let owl = store.bots().create(a_bot("owl")).await.unwrap();
    let bat = store.bots().create(a_bot("bat")).await.unwrap();
    despite_the_check(
        &db,
        "bots",
        "status",
        "UPDATE bots SET status = 'Asleep' WHERE slug = 'owl'",
    )
    .await;
    corrupt(listed(&store).await, &[&owl.id.to_string()]);
    assert_eq!(store.bots().get(bat.id).await.unwrap(), Some(bat));
    let active = BotFilter {
        status: Some(BotStatus::Active),
        ..BotFilter::default()
    };
    assert_eq!(
        store
            .bots()
            .list(active, PageRequest::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    store.bots().delete(owl.id).await.unwrap();
    assert_eq!(listed(&store).await.unwrap().items.len(), 1);
}
