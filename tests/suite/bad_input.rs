//! Bad input, through the store: each gives its typed error, a message that a person can act on, and leaves what was
//! there as it was.

mod cursors;
pub(crate) mod files;
mod rows;
mod schema;
mod servers;

use std::collections::BTreeMap;

use migration::HISTORY_TABLE;
use sea_orm::{ConnectionTrait, Statement};
use store::Error;
use store::prelude::*;
use store::testkit::{Backend, Test, TestDatabase};

use crate::support::{a_bot, email, key, open, refused};

pub(crate) fn tests() -> Vec<Test> {
    [
        schema::tests(),
        rows::tests(),
        cursors::tests(),
        files::tests(),
        servers::tests(),
    ]
    .concat()
}

/// Opening is refused with this kind, and a message that has these words in it.
async fn does_not_open(config: DatabaseConfig, kind: ErrorKind, words: &[&str]) -> Error {
    let error = refused(Store::open(config).await, kind, None);
    told(&error, words);
    error
}

#[track_caller]
fn told(error: &Error, words: &[&str]) {
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "not told: {word}: {message}");
    }
}

/// Some rows of every table.
async fn furnish(db: &TestDatabase) {
    let store = open(db).await;
    let user = a_user(&store).await;
    let bot = NewBot {
        user_id: Some(user.id),
        tags: vec!["a".into()],
        ..a_bot("owl")
    };
    let bot = store.bots().create(bot).await.unwrap();
    store
        .souls()
        .save_version(bot.id, NewSoul::new("Be kind. ".repeat(20_000)))
        .await
        .unwrap();
    a_secret(&store, Scope::Bot(bot.id)).await;
    a_key_of(&store, &user).await;
    store.close().await.unwrap();
}

/// Every table's shape and rows, the record of migrations included.
async fn contents(db: &TestDatabase) -> BTreeMap<String, Vec<String>> {
    let connections = db.config().connect().await.unwrap();
    let snapshot = migration::snapshot(&connections.reader).await.unwrap();
    let mut contents = BTreeMap::from([("(schema)".to_owned(), vec![format!("{snapshot:?}")])]);
    let history = (
        HISTORY_TABLE.to_owned(),
        vec!["version".to_owned(), "applied_at".to_owned()],
    );
    let ours = snapshot
        .tables
        .iter()
        .map(|(name, table)| (name.clone(), table.columns.keys().cloned().collect()));
    for (table, columns) in ours.chain([history]) {
        let cells = columns.iter().map(|column| match db.backend() {
            Backend::Sqlite => format!("quote(\"{column}\")"),
            Backend::Postgres => format!("coalesce(\"{column}\"::text, 'NULL')"),
        });
        let row = cells.collect::<Vec<_>>().join(" || ', ' || ");
        let sql = format!("SELECT {row} FROM \"{table}\" ORDER BY 1");
        let sql = Statement::from_string(connections.reader.get_database_backend(), sql);
        // An empty database has no record yet.
        let rows = connections.reader.query_all_raw(sql).await.unwrap_or_default();
        let rows = rows.iter().map(|row| row.try_get_by_index::<String>(0).unwrap());
        contents.insert(table, rows.collect());
    }
    connections.close().await;
    contents
}

/// A plain user.
async fn a_user(store: &Store) -> User {
    let user = NewUser {
        email: email("ada@x"),
        role: UserRole::User,
    };
    store.users().create(user).await.unwrap()
}

async fn a_key_of(store: &Store, user: &User) -> IssuedKey {
    let new = NewApiKey {
        user_id: Some(user.id),
        ..NewApiKey::default()
    };
    store.api_keys().issue(new).await.unwrap()
}

fn a_sealed_value() -> SealedValue {
    SealedValue::from_sealed(vec![1, 2, 3])
}

/// A secret of the key `k`.
async fn a_secret(store: &Store, scope: Scope) -> SecretInfo {
    let secrets = store.secrets();
    let (key, value) = (key("k"), a_sealed_value());
    secrets.set(scope, &key, value, SecretProvider::Vault).await.unwrap()
}

async fn page_of_bots(store: &Store, page: PageRequest) -> store::Result<Page<Bot>> {
    store.bots().list(BotFilter::default(), page).await
}

async fn listed(store: &Store) -> store::Result<Page<Bot>> {
    page_of_bots(store, PageRequest::default()).await
}
