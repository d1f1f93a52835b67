//! Bad input, through the store: each gives its typed error, a message that a person can act on, and leaves what was
//! there as it was.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use migration::HISTORY_TABLE;
use sea_orm::{ConnectionTrait, Statement};
use store::prelude::*;
use store::testkit::{Backend, TestDatabase};
use store::{Error, ErrorKind};
use url::Url;

use crate::support::{a_bot, behind_its_back, email, key, open, refused, slug};

store::testkit::tests! {
    on_both: [
        a_newer_schema_is_refused,
        a_missing_column_is_drift,
        a_missing_table_is_drift,
        a_migration_out_of_order_is_drift,
        a_bots_word_that_nobody_knows_is_corrupt,
        a_secrets_word_that_nobody_knows_is_corrupt,
        a_users_word_that_nobody_knows_is_corrupt,
        tags_of_another_shape_are_corrupt,
        names_that_break_their_rule_are_corrupt,
        a_corrupt_row_harms_no_other,
        tampered_cursors_are_refused,
        a_forged_cursor_with_keys_of_other_types_is_refused,
    ],
    on_both_empty: [pending_migrations_wait_where_they_are_not_wanted],
    on_sqlite: [
        a_file_that_is_not_a_database_is_refused,
        a_database_cut_in_half_is_refused,
        a_read_only_file_is_refused,
        a_file_in_a_read_only_directory_is_refused,
        tags_that_are_not_json_are_corrupt,
    ],
    on_sqlite_empty: [a_directory_is_not_a_database],
    on_postgres: [
        a_wrong_password_is_refused,
        a_database_that_is_not_there_is_named,
        a_host_where_nobody_answers_is_named,
        a_host_that_does_not_exist_is_named,
    ],
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
    let user = store
        .users()
        .create(NewUser {
            email: email("ada@x"),
            role: UserRole::User,
        })
        .await
        .unwrap();
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
    let value = SealedValue::from_sealed(vec![1, 2, 3]);
    store
        .secrets()
        .set(Scope::Bot(bot.id), &key("k"), value, SecretProvider::Vault)
        .await
        .unwrap();
    store
        .api_keys()
        .issue(NewApiKey {
            user_id: Some(user.id),
            ..NewApiKey::default()
        })
        .await
        .unwrap();
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

async fn a_newer_schema_is_refused(db: TestDatabase) {
    furnish(&db).await;
    let later = "m99991231_000001_from_the_future";
    behind_its_back(
        &db,
        &[&format!(
            "INSERT INTO {HISTORY_TABLE} (version, applied_at) VALUES ('{later}', 1)"
        )],
    )
    .await;
    let before = contents(&db).await;
    does_not_open(db.config(), ErrorKind::Schema, &[later, "newer"]).await;
    assert_eq!(contents(&db).await, before);
}

async fn a_missing_column_is_drift(db: TestDatabase) {
    furnish(&db).await;
    behind_its_back(&db, &["ALTER TABLE bots DROP COLUMN description"]).await;
    let before = contents(&db).await;
    does_not_open(db.config(), ErrorKind::Schema, &["bots.description", "missing"]).await;
    assert_eq!(contents(&db).await, before);
}

async fn a_missing_table_is_drift(db: TestDatabase) {
    furnish(&db).await;
    behind_its_back(&db, &["DROP TABLE api_keys"]).await;
    let before = contents(&db).await;
    does_not_open(db.config(), ErrorKind::Schema, &["api_keys", "missing"]).await;
    assert_eq!(contents(&db).await, before);
}

async fn a_migration_out_of_order_is_drift(db: TestDatabase) {
    furnish(&db).await;
    let second = migration::migrations::all()[1].name();
    behind_its_back(
        &db,
        &[&format!("DELETE FROM {HISTORY_TABLE} WHERE version = '{second}'")],
    )
    .await;
    let before = contents(&db).await;
    does_not_open(db.config(), ErrorKind::Schema, &[]).await;
    assert_eq!(contents(&db).await, before);
}

async fn pending_migrations_wait_where_they_are_not_wanted(db: TestDatabase) {
    let before = contents(&db).await;
    let mut config = db.config();
    config.auto_migrate = false;
    let count = migration::migrations::all().len().to_string();
    does_not_open(config.clone(), ErrorKind::Schema, &[&count, "pending", "auto_migrate"]).await;
    assert_eq!(contents(&db).await, before);
    open(&db).await.close().await.unwrap();
    Store::open(config).await.unwrap();
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
        corrupt(
            store.bots().list(BotFilter::default(), PageRequest::default()).await,
            &words,
        );
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
    let value = || SealedValue::from_sealed(vec![1]);
    let secret = store
        .secrets()
        .set(Scope::Global, &key("k"), value(), SecretProvider::Vault)
        .await
        .unwrap();
    despite_the_check(&db, "secrets", "provider", "UPDATE secrets SET provider = 'pocket'").await;
    let words = ["secrets", "provider", &secret.id.to_string(), "pocket"];
    corrupt(store.secrets().list(None, PageRequest::default()).await, &words);
    corrupt(
        store.secrets().list(Some(Scope::Global), PageRequest::default()).await,
        &words,
    );
    // The value alone can still be read, and setting it again mends the row.
    assert_eq!(
        store.secrets().get(Scope::Global, &key("k")).await.unwrap(),
        Some(value())
    );
    store
        .secrets()
        .set(Scope::Global, &key("k"), value(), SecretProvider::Vault)
        .await
        .unwrap();
    store.secrets().list(None, PageRequest::default()).await.unwrap();
}

async fn a_users_word_that_nobody_knows_is_corrupt(db: TestDatabase) {
    let store = open(&db).await;
    let user = store
        .users()
        .create(NewUser {
            email: email("ada@x"),
            role: UserRole::User,
        })
        .await
        .unwrap();
    let issued = store
        .api_keys()
        .issue(NewApiKey {
            user_id: Some(user.id),
            ..NewApiKey::default()
        })
        .await
        .unwrap();
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
        corrupt(
            store.bots().list(BotFilter::default(), PageRequest::default()).await,
            &words,
        );
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
        corrupt(
            store.bots().list(BotFilter::default(), PageRequest::default()).await,
            &words,
        );
    }
}

async fn names_that_break_their_rule_are_corrupt(db: TestDatabase) {
    let store = open(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let user = store
        .users()
        .create(NewUser {
            email: email("ada@x"),
            role: UserRole::User,
        })
        .await
        .unwrap();
    let value = SealedValue::from_sealed(vec![1]);
    let secret = store
        .secrets()
        .set(Scope::Global, &key("k"), value, SecretProvider::Vault)
        .await
        .unwrap();
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
    corrupt(
        store.bots().list(BotFilter::default(), PageRequest::default()).await,
        &["bots", "slug", &id],
    );
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
    corrupt(
        store.bots().list(BotFilter::default(), PageRequest::default()).await,
        &[&owl.id.to_string()],
    );
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
    assert_eq!(
        store
            .bots()
            .list(BotFilter::default(), PageRequest::default())
            .await
            .unwrap()
            .items
            .len(),
        1
    );
}

async fn tampered_cursors_are_refused(db: TestDatabase) {
    let store = open(&db).await;
    for name in ["a", "b"] {
        store.bots().create(a_bot(name)).await.unwrap();
    }
    let page = store
        .bots()
        .list(BotFilter::default(), PageRequest::first(1))
        .await
        .unwrap();
    let text = page.next.unwrap().to_string();
    let middle = text.len() / 2;
    let other = if text.as_bytes()[middle] == b'x' { "y" } else { "x" };
    let altered = format!("{}{other}{}", &text[..middle], &text[middle + 1..]);
    for bad in [
        "",
        "x",
        "!",
        &text[..middle],
        &text[1..],
        &altered,
        &format!("{text}AAAA"),
        &format!("{text}="),
        "\0",
    ] {
        let error = refused(bad.parse::<Cursor>(), ErrorKind::InvalidInput, None);
        told(&error, &["cursor", "first page"]);
        let json = serde_json::to_string(bad).unwrap();
        serde_json::from_str::<Cursor>(&json).unwrap_err();
    }
    let rest = store
        .bots()
        .list(BotFilter::default(), PageRequest::after(text.parse().unwrap(), 1))
        .await
        .unwrap();
    assert_eq!(rest.items.len(), 1, "as it was made, it is good");
}

/// Somebody who knows how cursors are made gets an error, and never a failing statement.
async fn a_forged_cursor_with_keys_of_other_types_is_refused(db: TestDatabase) {
    let store = open(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let id = CursorKey::Id(bot.id.0);
    let instant = CursorKey::Instant(bot.created_at);
    for keys in [
        vec![],
        vec![instant.clone()],
        vec![id.clone(), instant.clone()],
        vec![CursorKey::Text("2026".into()), id.clone()],
        vec![CursorKey::Number(1), id.clone()],
        vec![instant.clone(), CursorKey::Text(bot.id.to_string())],
        vec![instant.clone(), id.clone(), id.clone()],
    ] {
        let cursor = Cursor::new("bots created_at,id desc", keys.clone());
        let outcome = store
            .bots()
            .list(BotFilter::default(), PageRequest::after(cursor, 1))
            .await;
        let error = refused(outcome, ErrorKind::InvalidInput, None);
        told(&error, &["cursor"]);
    }
    let far = chrono::DateTime::from_timestamp(400_000_000_000, 0).unwrap();
    let far = Cursor::new("bots created_at,id desc", vec![CursorKey::Instant(far), id.clone()]);
    let outcome = store
        .bots()
        .list(BotFilter::default(), PageRequest::after(far, 1))
        .await;
    refused(outcome, ErrorKind::InvalidInput, None);
    let nul = Cursor::new("bots name,id", vec![CursorKey::Text("a\0".into()), id.clone()]);
    let by_name = BotFilter {
        order: BotOrder::Name,
        direction: Direction::Ascending,
        ..BotFilter::default()
    };
    refused(
        store.bots().list(by_name, PageRequest::after(nul, 1)).await,
        ErrorKind::InvalidInput,
        None,
    );
    let right = Cursor::new("bots created_at,id desc", vec![instant, id]);
    let page = store
        .bots()
        .list(BotFilter::default(), PageRequest::after(right, 1))
        .await
        .unwrap();
    assert!(page.items.is_empty(), "the keys are those of the list's only row");
}

async fn a_directory_is_not_a_database(db: TestDatabase) {
    let path = db.path().unwrap();
    let config = db.config();
    std::fs::create_dir(&path).unwrap();
    let named = path.display().to_string();
    // Whether it was one before the configuration was read or has become one since.
    let error = Error::from(DatabaseConfig::sqlite(&path).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Config);
    told(&error, &["directory", &named]);
    does_not_open(config, ErrorKind::Config, &["directory", &named]).await;
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
}

async fn a_file_that_is_not_a_database_is_refused(db: TestDatabase) {
    let path = db.path().unwrap();
    let text = "Dear diary, this is not a database.\n".repeat(1_000);
    std::fs::write(&path, &text).unwrap();
    let named = path.display().to_string();
    does_not_open(
        db.config(),
        ErrorKind::Corrupt,
        &["not a SQLite database", &named, "another file"],
    )
    .await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

async fn a_database_cut_in_half_is_refused(db: TestDatabase) {
    furnish(&db).await;
    let path = db.path().unwrap();
    let whole = std::fs::read(&path).unwrap();
    for half in [whole.len() / 2 / 4096 * 4096, whole.len() / 2 / 4096 * 4096 + 1234] {
        std::fs::write(&path, &whole[..half]).unwrap();
        let named = path.display().to_string();
        does_not_open(db.config(), ErrorKind::Corrupt, &["damaged", &named, "backup"]).await;
        assert!(
            std::fs::read(&path).unwrap() == whole[..half],
            "not a byte of it has changed"
        );
    }
    std::fs::write(&path, &whole).unwrap();
    assert!(
        open(&db)
            .await
            .bots()
            .get_by_slug(&slug("owl"))
            .await
            .unwrap()
            .is_some()
    );
}

pub(crate) const CHILD: &str = "open this file";
const CHILDS_FILE: &str = "STORE_TEST_CHILDS_FILE";

/// Opens a file as the user that this process runs as, and says how that went.
pub(crate) async fn child() {
    let path = PathBuf::from(std::env::var_os(CHILDS_FILE).unwrap());
    match Store::open(DatabaseConfig::sqlite(path).unwrap()).await {
        Ok(_) => println!("opened"),
        Err(error) => println!("{:?}|{error}", error.kind()),
    }
}

/// What a user hears who may do no more than everybody: root may write whatever the permissions are, so it hands the
/// work to a process without rights.
fn opened_without_rights(dir: &Path, file: &Path) -> String {
    let copy = dir.join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    std::fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    let mut command = crate::child::command(&copy, CHILD);
    command.env(CHILDS_FILE, file).current_dir("/");
    if std::fs::metadata(dir).unwrap().uid() == 0 {
        command.uid(65534).gid(65534);
    }
    let output = loop {
        match command.output() {
            // A process that another test starts at this moment may still hold the copy open for writing.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            output => break output.unwrap(),
        }
    };
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8(said).unwrap().trim().to_owned()
}

/// A copy of the database in a directory that everybody may enter, and, if told so, write to.
async fn a_copy_for_everybody(db: &TestDatabase, dir: &Path, mode: u32) -> PathBuf {
    furnish(db).await;
    let inner = dir.join("databases");
    std::fs::create_dir(&inner).unwrap();
    let copy = inner.join("copy.db");
    std::fs::copy(db.path().unwrap(), &copy).unwrap();
    std::fs::set_permissions(dir, Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&copy, Permissions::from_mode(0o444)).unwrap();
    std::fs::set_permissions(&inner, Permissions::from_mode(mode)).unwrap();
    copy
}

async fn a_read_only_file_is_refused(db: TestDatabase) {
    let dir = tempfile::tempdir().unwrap();
    let copy = a_copy_for_everybody(&db, dir.path(), 0o777).await;
    let before = std::fs::read(&copy).unwrap();
    let said = opened_without_rights(dir.path(), &copy);
    let named = copy.display().to_string();
    assert!(
        said.starts_with("ReadOnly|") && said.contains(&named) && said.contains("read-only"),
        "{said}"
    );
    assert!(std::fs::read(&copy).unwrap() == before);
}

async fn a_file_in_a_read_only_directory_is_refused(db: TestDatabase) {
    let dir = tempfile::tempdir().unwrap();
    let copy = a_copy_for_everybody(&db, dir.path(), 0o555).await;
    let before = std::fs::read(&copy).unwrap();
    let said = opened_without_rights(dir.path(), &copy);
    std::fs::set_permissions(copy.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    let named = copy.display().to_string();
    assert!(
        said.starts_with("ReadOnly|") && said.contains(&named) && said.contains("its directory is read-only"),
        "{said}"
    );
    assert!(std::fs::read(&copy).unwrap() == before);
}

/// The test's server with something else about it.
fn server(db: &TestDatabase, change: impl FnOnce(&mut Url)) -> DatabaseConfig {
    let mut url = Url::parse(&db.url()).unwrap();
    change(&mut url);
    DatabaseConfig::postgres(url.as_str()).unwrap()
}

async fn a_wrong_password_is_refused(db: TestDatabase) {
    let url = Url::parse(&db.url()).unwrap();
    if url.password().is_none() {
        println!("skipped: the server that was given to the suite lets its user in without a password");
        return;
    }
    let config = server(&db, |url| url.set_password(Some("hunter2")).unwrap());
    let error = does_not_open(
        config,
        ErrorKind::Config,
        &[url.username(), url.host_str().unwrap(), "password"],
    )
    .await;
    assert!(!error.is_retryable());
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

async fn a_database_that_is_not_there_is_named(db: TestDatabase) {
    let config = server(&db, |url| url.set_path("no_such_database"));
    does_not_open(config, ErrorKind::Config, &["no_such_database", "create it", "dbname"]).await;
}

/// Without patience, which would only make the test longer.
fn impatient(url: &str) -> DatabaseConfig {
    let mut config = DatabaseConfig::postgres(url).unwrap();
    config.connect_retry = 0;
    config
}

async fn a_host_where_nobody_answers_is_named(_db: TestDatabase) {
    // Free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = impatient(&format!("postgres://me:hunter2@127.0.0.1:{port}/db"));
    let error = does_not_open(
        config,
        ErrorKind::Unavailable,
        &[&format!("127.0.0.1:{port}"), "host and port"],
    )
    .await;
    assert!(error.is_retryable());
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

/// RFC 6761 keeps `.invalid` free of hosts.
async fn a_host_that_does_not_exist_is_named(_db: TestDatabase) {
    let config = impatient("postgres://me:hunter2@no-such-host.invalid/db");
    let error = does_not_open(config, ErrorKind::Unavailable, &["no-such-host.invalid", "check host"]).await;
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}
