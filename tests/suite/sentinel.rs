//! No password, no secret and no key shows: not in an error, not in `Debug`, not in what is serialised, not in a log at
//! TRACE. A process of its own does what a program does, well and badly, and looks for them in all that it was told.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt::{Debug, Write as _};
use std::io::Write;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use migration::sea_orm_migration::prelude::{
    ConnectionTrait, DbErr, DynIden, IntoIden, MigrationName, MigrationTrait, MigratorTrait, SchemaManager,
};
use store::prelude::*;
use store::testkit::TestDatabase;
use tracing_subscriber::fmt::format::FmtSpan;
use url::Url;

use crate::support::{a_bot, email, key, missing};

store::testkit::tests![no_password_no_secret_and_no_key_shows, what_does_show_is_found,];

pub(crate) const CHILD: &str = "look for what must not show";
const URL: &str = "STORE_TEST_SENTINEL_URL";
const SPILL: &str = "STORE_TEST_SENTINEL_SPILL";

/// Of letters and digits only, so that no way of writing a URL changes them.
const PASSWORD: &str = "S3ntinelPassword4Servers";
const VALUE: &str = "S3ntinelValueOfASecret";
const VAULT_KEY: &[u8; 32] = b"S3ntinelKeyOfTheVault0123456789A";
const OLD_VAULT_KEY: &[u8; 32] = b"S3ntinelOldKeyOfTheVault01234567";

async fn no_password_no_secret_and_no_key_shows(db: TestDatabase) {
    let output = looking(&db).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.contains("nothing shows in"), "{said}");
    println!("{said}");
}

async fn what_does_show_is_found(db: TestDatabase) {
    for spill in ["text", "bytes", "log"] {
        let output = looking(&db.another().await).env(SPILL, spill).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains("the value shows"),
            "{spill}: {said}"
        );
    }
}

fn looking(db: &TestDatabase) -> std::process::Command {
    let mut command = crate::child::command(&std::env::current_exe().unwrap(), CHILD);
    command.env(URL, db.url()).env_remove(SPILL);
    command
}

/// Everything that was told, with where.
#[derive(Default)]
struct Told(Vec<(String, String)>);

impl Told {
    fn text(&mut self, by: &str, text: impl Into<String>) {
        self.0.push((by.to_owned(), text.into()));
    }

    fn debug(&mut self, by: &str, value: &impl Debug) {
        self.text(by, format!("{value:?}\n{value:#?}"));
    }

    fn serialised(&mut self, by: &str, value: &impl serde::Serialize) {
        self.text(by, serde_json::to_string(value).unwrap());
    }

    /// What failed, and must have: every way of looking at the error and at what caused it.
    #[track_caller]
    fn failed<T: Debug, E: StdError>(&mut self, by: &str, outcome: Result<T, E>) {
        let error = outcome.err().unwrap_or_else(|| panic!("{by} should have failed"));
        let mut text = format!("{error:?}\n{error:#?}");
        let mut cause: Option<&dyn StdError> = Some(&error);
        while let Some(error) = cause {
            write!(text, "\n{error}\n{error:?}").unwrap();
            cause = error.source();
        }
        self.text(by, text);
    }

    /// Where any form of it shows.
    fn holding(&self, bytes: &[u8]) -> Vec<String> {
        let numbers = format!("{bytes:?}");
        let lines = format!("{bytes:#?}");
        let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let forms = [
            String::from_utf8_lossy(bytes).into_owned(),
            numbers[1..numbers.len() - 1].to_owned(),
            lines[2..lines.len() - 2].to_owned(),
            hex.to_uppercase(),
            hex,
            STANDARD.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
        ];
        let mut found = vec![];
        for (by, text) in &self.0 {
            for form in &forms {
                if let Some(at) = text.find(form) {
                    let around = text[..at].chars().rev().take(200).collect::<Vec<_>>();
                    found.push(format!("{by}: {}<here>", around.into_iter().rev().collect::<String>()));
                }
            }
        }
        found
    }
}

/// Where every thread's log goes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Hears everything that this process logs from here on.
    fn begin() -> Self {
        let log = Self::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .init();
        log
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// The child's work.
pub(crate) async fn child() {
    let log = Log::begin();
    let mut told = Told::default();
    let url = std::env::var(URL).unwrap();

    let config = configured(&url);
    what_a_configuration_tells(&mut told, &config);
    what_wrong_configurations_tell(&mut told);
    what_failing_opens_tell(&mut told, &url).await;
    let keys = what_work_tells(&mut told, config.clone()).await;
    what_refused_rows_tell(&mut told, config).await;

    match std::env::var(SPILL).as_deref() {
        Ok("text") => told.text("spilled", format!("see {VALUE} there")),
        Ok("bytes") => told.debug("spilled", &VALUE.as_bytes()),
        Ok("log") => tracing::trace!(VALUE, "spilled"),
        _ => {}
    }
    let log = log.text();
    for word in [
        "INSERT INTO",
        "operation{entity=\"secret\" operation=\"set\"",
        "outcome=",
        " TRACE ",
        "sqlx",
    ] {
        assert!(log.contains(word), "the log should hear {word}:\n{log}");
    }
    told.text("the log", log);
    judge(&told, &url, &keys);
}

fn judge(told: &Told, url: &str, keys: &[String]) {
    let mut found = vec![];
    let mut look = |what: &str, bytes: &[u8]| {
        found.extend(
            told.holding(bytes)
                .into_iter()
                .map(|place| format!("{what} shows in {place}")),
        );
    };
    look("the password", PASSWORD.as_bytes());
    look("the value", VALUE.as_bytes());
    look("the vault's key", VAULT_KEY);
    look("the vault's old key", OLD_VAULT_KEY);
    if let Some(password) = Url::parse(url).unwrap().password() {
        look("the server's password", password.as_bytes());
    }
    for key in keys {
        let secret = &key["uc_".len() + 12 + 1..];
        look("an API key's secret", secret.as_bytes());
        look("an API key's secret", &URL_SAFE_NO_PAD.decode(secret).unwrap());
    }
    let (texts, bytes) = (told.0.len(), told.0.iter().map(|(_, text)| text.len()).sum::<usize>());
    assert!(found.is_empty(), "{}", found.join("\n\n"));
    println!("nothing shows in {texts} texts of {bytes} bytes");
}

fn bare() -> store::config::Loader {
    DatabaseConfig::loader().no_file().no_environment().directory("/")
}

fn configured(url: &str) -> DatabaseConfig {
    let keys = BTreeMap::from([
        ("new", STANDARD.encode(VAULT_KEY)),
        ("old", STANDARD.encode(OLD_VAULT_KEY)),
    ]);
    // Every statement is slow enough to be logged at WARN as well.
    bare()
        .set("url", url)
        .set("slow_statement", "0s")
        .set("vault.keys", keys)
        .set("vault.active", "new")
        .load()
        .unwrap()
}

fn what_a_configuration_tells(told: &mut Told, config: &DatabaseConfig) {
    told.debug("DatabaseConfig", config);
    told.text("DatabaseConfig::describe", config.describe());
    told.text("Explain", config.explain().to_string());
    told.debug("Explain", config.explain());
    told.serialised("Explain", config.explain());
    let vault = config.vault.as_ref().unwrap();
    told.debug("VaultConfig", vault);
    told.debug("VaultKey", &vault.keys()["new"]);
    told.debug("KeyRing", &KeyRing::try_from(vault).unwrap());
    let server = DatabaseConfig::postgres(&format!("postgres://me:{PASSWORD}@db.invalid/x")).unwrap();
    told.debug("DatabaseConfig of a server", &server);
    told.text("Explain of a server", server.explain().to_string());
    let loader = bare()
        .set("host", "db.invalid")
        .set("user", "me")
        .set("password", PASSWORD);
    told.debug("Loader", &loader);
    told.debug("DatabaseConfig of fields", &loader.load().unwrap());
}

fn what_wrong_configurations_tell(told: &mut Told) {
    for url in [
        format!("postgres://me:{PASSWORD}@db.invalid:99999/x"),
        format!("postgres://me:{PASSWORD}@db.invalid:port/x"),
        format!("postgres://me:{PASSWORD}@/x"),
        format!("postgres://me:{PASSWORD}@db.invalid/x?sslmod=require"),
        format!("postgres://db.invalid/x?user=me&password={PASSWORD}"),
        format!("postgres//me:{PASSWORD}@db.invalid/x"),
        format!("postgre://me:{PASSWORD}@db.invalid/x"),
        format!("mysql://me:{PASSWORD}@db.invalid/x"),
        format!("me:{PASSWORD}@db.invalid/x"),
        format!("postgres://me:{PASSWORD}@[::1/x"),
        format!("postgres://me:%{PASSWORD}@db.invalid/\0"),
        PASSWORD.to_owned(),
    ] {
        let outcome = bare().set("url", &url).load();
        match outcome {
            Ok(config) => told.debug(&url.replace(PASSWORD, "***"), &config),
            Err(error) => told.failed(&url.replace(PASSWORD, "***"), Err::<(), _>(error)),
        }
    }
    let server = || bare().set("host", "db.invalid").set("user", "me");
    told.failed(
        "a password twice",
        server().set("password", PASSWORD).set("password_file", "/none").load(),
    );
    told.failed(
        "a password for SQLite",
        bare().set("path", ":memory:").set("password", PASSWORD).load(),
    );
    told.failed(
        "a NUL in a password",
        server().set("password", format!("{PASSWORD}\0")).load(),
    );
    told.failed("a password as a list", server().set("password", vec![PASSWORD]).load());
    told.failed("a misspelt key", server().set("pasword", PASSWORD).load());
    let environment = |name: &str| {
        let variables = [("STORE_HOST", "db.invalid"), ("STORE_USER", "me"), (name, PASSWORD)];
        DatabaseConfig::loader().no_file().environment(variables).load()
    };
    told.failed("a misspelt variable", environment("STORE_PASWORD"));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store.toml");
    for text in [
        format!("password = '{PASSWORD}"),
        format!("password = {PASSWORD}"),
        format!("url = 'postgres://me:{PASSWORD}@db.invalid/x'\nurl = 'postgres://me:{PASSWORD}@db.invalid/x'"),
        format!("pasword = '{PASSWORD}'"),
        format!("[password]\nvalue = '{PASSWORD}'"),
        format!("[vault]\nkeys = '{}'", STANDARD.encode(VAULT_KEY)),
    ] {
        std::fs::write(&file, &text).unwrap();
        let loaded = DatabaseConfig::loader().no_environment().file(&file).load();
        told.failed(&format!("a file: {}", text.replace(PASSWORD, "***")), loaded);
    }

    let encoded = STANDARD.encode(VAULT_KEY);
    let vault = |keys: BTreeMap<&str, &str>| bare().set("path", ":memory:").set("vault.keys", keys).load();
    told.failed("a cut vault key", vault(BTreeMap::from([("a", &encoded[..40])])));
    told.failed(
        "a vault key for an id",
        vault(BTreeMap::from([(encoded.as_str(), "a")])),
    );
    told.failed(
        "a vault key that is not base64",
        vault(BTreeMap::from([("a", "S3ntinelKeyOfTheVault!")])),
    );
    for lines in [
        encoded.clone(),
        format!("{encoded}:a"),
        format!("a:{encoded}{encoded}"),
        format!("a={encoded}"),
    ] {
        std::fs::write(&file, lines).unwrap();
        told.failed(
            "a file of vault keys",
            bare().set("path", ":memory:").set("vault.key_file", &file).load(),
        );
    }
}

async fn what_failing_opens_tell(told: &mut Told, url: &str) {
    for server in [
        format!("postgres://me:{PASSWORD}@127.0.0.1:1/x"),
        format!("postgres://me:{PASSWORD}@no-such-host.invalid/x"),
    ] {
        let config = bare().set("url", server).set("connect_retry", 1).load().unwrap();
        told.failed("opening where nobody is", Store::open(config).await);
    }
    let mut url = Url::parse(url).unwrap();
    if url.scheme() == "sqlite" {
        return;
    }
    let right = url.clone();
    if url.password().is_some() {
        url.set_password(Some(PASSWORD)).unwrap();
        told.failed(
            "a wrong password",
            Store::open(DatabaseConfig::postgres(url.as_str()).unwrap()).await,
        );
    }
    let mut url = right;
    url.set_path("no_such_database");
    told.failed(
        "no such database",
        Store::open(DatabaseConfig::postgres(url.as_str()).unwrap()).await,
    );
}

/// What a program does, well and badly. Answers the API keys that it was given.
async fn what_work_tells(told: &mut Told, config: DatabaseConfig) -> Vec<String> {
    let store = Store::open(config.clone()).await.unwrap();
    told.debug("Store", &store);
    let vault = store.vault().unwrap();
    told.debug("SecretVault", &vault);
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let value = SecretString::from(VALUE);
    told.debug("SecretString", &value);

    let scope = Scope::Bot(bot.id);
    let old = SecretVault::new(store.secrets(), KeyRing::new("old", OLD_VAULT_KEY).unwrap());
    told.debug("SecretInfo", &old.set(scope, &key("k"), &value).await.unwrap());
    told.failed("no such bot", vault.set(Scope::Bot(missing()), &key("k"), &value).await);
    told.debug("Rotation", &vault.rotate().await.unwrap());
    assert_eq!(
        vault.get(scope, &key("k")).await.unwrap().unwrap().expose_secret(),
        VALUE
    );
    told.failed("an unknown key", old.get(scope, &key("k")).await);
    let impostor = SecretVault::new(store.secrets(), KeyRing::new("new", OLD_VAULT_KEY).unwrap());
    told.failed("a wrong key", impostor.get(scope, &key("k")).await);
    let listed = store.secrets().list(None, PageRequest::default()).await.unwrap();
    told.debug("a listing", &listed);
    told.serialised("a listing", &listed);

    // Plaintext that somebody stored directly, and that is told about as if it were sealed.
    let plain = SealedValue::from_sealed(VALUE.into());
    told.debug("SealedValue", &plain);
    store
        .secrets()
        .set(scope, &key("plain"), plain.clone(), SecretProvider::Vault)
        .await
        .unwrap();
    told.failed("plaintext", vault.get(scope, &key("plain")).await);
    told.failed("plaintext in a rotation", impostor.rotate().await);
    store
        .secrets()
        .reseal(scope, &key("plain"), &plain, plain.clone())
        .await
        .unwrap();
    let nowhere = store
        .secrets()
        .set(Scope::Bot(missing()), &key("plain"), plain, SecretProvider::Vault)
        .await;
    told.failed("plaintext without a bot", nowhere);

    let tx = store.begin().await.unwrap();
    let within = SecretVault::new(tx.secrets(), KeyRing::new("new", VAULT_KEY).unwrap());
    within.set(scope, &key("within"), &value).await.unwrap();
    told.failed(
        "inside a transaction",
        within.set(Scope::Bot(missing()), &key("k"), &value).await,
    );
    told.debug("Tx", &tx);
    told.failed("a doomed transaction", within.set(scope, &key("k"), &value).await);
    told.failed("its commit", tx.commit().await);

    let keys = what_api_keys_tell(told, &store).await;
    let health = store.health().await;
    told.debug("Health", &health);
    told.serialised("Health", &health);
    store.close().await.unwrap();
    told.failed("a closed store", vault.set(scope, &key("k"), &value).await);

    let connections = config.connect().await.unwrap();
    told.debug("Connections", &connections);
    connections.close().await;
    keys
}

async fn what_api_keys_tell(told: &mut Told, store: &Store) -> Vec<String> {
    let user = store
        .users()
        .create(NewUser {
            email: email("ada@x"),
            role: UserRole::Admin,
        })
        .await
        .unwrap();
    let mut keys = vec![];
    for user_id in [Some(user.id), None] {
        let issued = store
            .api_keys()
            .issue(NewApiKey {
                user_id,
                ..NewApiKey::default()
            })
            .await
            .unwrap();
        told.debug("IssuedKey", &issued);
        told.serialised("ApiKey", &issued.key);
        let opened = store.api_keys().authenticate(&issued.plaintext).await.unwrap().unwrap();
        told.debug("Authenticated", &opened);
        told.serialised("Authenticated", &opened);
        told.text("Authenticated", opened.to_string());
        let wrong = format!("{}A", issued.plaintext.expose_secret()).into();
        assert!(store.api_keys().authenticate(&wrong).await.unwrap().is_none());
        store.api_keys().touch(issued.key.id).await.unwrap();
        keys.push(issued.plaintext.expose_secret().to_owned());
    }
    let listed = store.api_keys().list(None, PageRequest::default()).await.unwrap();
    told.debug("a listing of keys", &listed);
    told.serialised("a listing of keys", &listed);
    let nobody = NewApiKey {
        user_id: Some(missing()),
        ..NewApiKey::default()
    };
    told.failed("no such user", store.api_keys().issue(nobody).await);
    keys
}

/// Rows that the database refuses as a whole: Postgres tells all that they would have held ("Failing row contains …").
async fn what_refused_rows_tell(told: &mut Told, config: DatabaseConfig) {
    let connections = config.connect().await.unwrap();
    let refuse = match config.driver {
        Driver::Postgres => "ALTER TABLE secrets ADD CONSTRAINT ck_secrets_none CHECK (key = '') NOT VALID",
        Driver::Sqlite => {
            "CREATE TRIGGER secrets_none BEFORE INSERT ON secrets BEGIN SELECT RAISE(ABORT, 'CHECK constraint failed: \
             ck_secrets_none'); END"
        }
    };
    connections.writer.execute_unprepared(refuse).await.unwrap();
    connections.close().await;
    let store = Store::open(config).await.unwrap();
    let plain = SealedValue::from_sealed(VALUE.into());
    let set = store
        .secrets()
        .set(Scope::Global, &key("refused"), plain.clone(), SecretProvider::Vault)
        .await;
    told.failed("a refused row", set);
    let within = store
        .transaction(|tx| {
            let plain = plain.clone();
            async move {
                tx.secrets()
                    .set(Scope::Global, &key("refused"), plain, SecretProvider::Vault)
                    .await
            }
        })
        .await;
    told.failed("a refused row in a transaction", within);
    told.failed(
        "a program's own migration that the rows refuse",
        store.migrate::<Meddling>().await,
    );
    store.close().await.unwrap();
}

/// A program's own migrations, with one that breaks a check of the store's: the rows are told as they would have been.
struct Meddling;

#[async_trait::async_trait]
impl MigratorTrait for Meddling {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(BreakTheCheck)]
    }

    fn migration_table_name() -> DynIden {
        "app_migrations".into_iden()
    }
}

struct BreakTheCheck;

impl MigrationName for BreakTheCheck {
    fn name(&self) -> &str {
        "m1_break_the_check"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for BreakTheCheck {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let update = "UPDATE secrets SET provider = 'nobody' WHERE key = 'plain'";
        manager.get_connection().execute_unprepared(update).await.map(drop)
    }
}
