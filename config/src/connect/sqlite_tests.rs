//! Opening SQLite.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

use super::sqlite::{Sqlite, is_new_enough};
use super::{ConnectErrorKind as Kind, Connections, Database};
use crate::{DatabaseConfig, Driver, Synchronous};

async fn open(path: &Path) -> Sqlite {
    opened(&DatabaseConfig::sqlite(path).unwrap()).await
}

async fn opened(config: &DatabaseConfig) -> Sqlite {
    let database = config.open().await.unwrap();
    assert_eq!(database.driver(), Driver::Sqlite);
    match database {
        Database::Sqlite(sqlite) => sqlite,
        #[cfg(feature = "postgres")]
        Database::Postgres(_) => panic!("not SQLite"),
    }
}

async fn connect(path: &Path) -> Connections {
    DatabaseConfig::sqlite(path).unwrap().connect().await.unwrap()
}

/// What opening says, which is what connecting says.
async fn refused(path: &Path) -> (Kind, String) {
    let config = DatabaseConfig::sqlite(path).unwrap();
    let error = config.open().await.err().unwrap();
    let (kind, message) = (error.kind, error.to_string());
    let error = config.connect().await.err().unwrap();
    assert_eq!((error.kind, error.to_string()), (kind, message.clone()));
    (kind, message)
}

async fn run(connection: &DatabaseConnection, sql: &str) {
    connection.execute_unprepared(sql).await.unwrap();
}

fn pragma(connection: &Connection, name: &str) -> String {
    match connection
        .query_row(&format!("PRAGMA {name}"), (), |row| row.get(0))
        .unwrap()
    {
        Value::Integer(value) => value.to_string(),
        Value::Text(value) => value,
        other => panic!("{other:?}"),
    }
}

fn number(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, (), |row| row.get(0)).unwrap()
}

async fn pool_pragma(connection: &DatabaseConnection, name: &str) -> String {
    let statement = Statement::from_string(connection.get_database_backend(), format!("PRAGMA {name}"));
    let row = connection.query_one_raw(statement).await.unwrap().unwrap();
    row.try_get_by_index::<i64>(0)
        .map_or_else(|_| row.try_get_by_index::<String>(0).unwrap(), |n| n.to_string())
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A database of several pages, without a log beside it.
async fn make(path: &Path) {
    let writer = open(path).await.writer().unwrap();
    writer.execute_batch("CREATE TABLE t (x); INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) SELECT hex(randomblob(2000)) FROM n").unwrap();
}

#[tokio::test]
async fn new_files_belong_to_their_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/new.db");
    let database = open(&path).await;
    assert_eq!((database.path(), database.is_memory()), (Some(&*path), false));
    let writer = database.writer().unwrap();
    writer.execute_batch("CREATE TABLE t (x)").unwrap();
    for file in ["new.db", "new.db-wal", "new.db-shm"] {
        assert_eq!(mode(&path.with_file_name(file)), 0o600, "{file}");
    }
    assert_eq!(
        (mode(&dir.path().join("a")), mode(&dir.path().join("a/b"))),
        (0o700, 0o700)
    );
    drop(writer);
    assert!(
        !path.with_file_name("new.db-wal").exists(),
        "closing moves the log into the file"
    );
}

#[tokio::test]
async fn existing_permissions_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = dir.path().join("a.db");
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    open(&path).await;
    connect(&path).await.close().await;
    assert_eq!((mode(&path), mode(dir.path())), (0o640, 0o755));
}

const SETTINGS: [(&str, &str); 7] = [
    ("journal_mode", "wal"),
    ("foreign_keys", "1"),
    ("synchronous", "2"),
    ("busy_timeout", "5000"),
    ("cache_size", "-16384"),
    ("mmap_size", "268435456"),
    ("trusted_schema", "0"),
];

#[tokio::test]
async fn every_connection_has_the_settings() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(&dir.path().join("a.db")).await;
    let (writer, reader) = (database.writer().unwrap(), database.reader().unwrap());
    for connection in [&writer, &reader] {
        for (name, value) in SETTINGS {
            assert_eq!(pragma(connection, name), value, "{name}");
        }
        assert!(connection.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG).unwrap());
    }
    assert_eq!(pragma(&writer, "wal_autocheckpoint"), "10000");
    assert_eq!(pragma(&writer, "journal_size_limit"), "67108864");
    assert!(reader.is_readonly("main").unwrap() && !writer.is_readonly("main").unwrap());
}

#[tokio::test]
async fn every_pooled_connection_has_the_settings() {
    let dir = tempfile::tempdir().unwrap();
    let config = DatabaseConfig::sqlite(dir.path().join("a.db")).unwrap();
    let connections = config.connect().await.unwrap();
    for connection in [&connections.writer, &connections.reader] {
        for (name, value) in SETTINGS {
            assert_eq!(pool_pragma(connection, name).await, value, "{name}");
        }
    }
    assert_eq!(pool_pragma(&connections.writer, "wal_autocheckpoint").await, "10000");
    assert_eq!(pool_pragma(&connections.writer, "journal_size_limit").await, "67108864");
    let pool =
        |connection: &DatabaseConnection| connection.get_sqlite_connection_pool().options().get_max_connections();
    assert_eq!(pool(&connections.writer), 1);
    assert_eq!(pool(&connections.reader), config.sqlite.readers);
}

#[tokio::test]
async fn what_is_configured_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let loader = DatabaseConfig::loader().no_file().no_environment();
    let config = loader
        .set("path", dir.path().join("a.db"))
        .set("sqlite.synchronous", "extra")
        .set("sqlite.busy_timeout", "7s")
        .set("sqlite.cache_size", "1MiB")
        .set("sqlite.mmap_size", "0B")
        .load()
        .unwrap();
    let database = opened(&config).await;
    for connection in [database.writer().unwrap(), database.reader().unwrap()] {
        let asked = |name| pragma(&connection, name);
        assert_eq!(
            (asked("synchronous"), asked("busy_timeout")),
            ("3".into(), "7000".into())
        );
        assert_eq!(
            asked("cache_size"),
            format!("-{}", config.sqlite.cache_size.div_ceil(1024))
        );
        assert_eq!(asked("mmap_size"), "0");
    }
}

/// A checkpoint under `off` does not sync the file, and the log that is used again may be what earlier commits are in.
#[tokio::test]
async fn without_syncing_nothing_makes_a_checkpoint_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = DatabaseConfig::sqlite(dir.path().join("a.db")).unwrap();
    config.sqlite.synchronous = Synchronous::Off;
    let database = opened(&config).await;
    let writer = database.writer().unwrap();
    assert_eq!(
        (pragma(&writer, "synchronous"), pragma(&writer, "wal_autocheckpoint")),
        ("0".into(), "0".into())
    );
    // Migrations are durable all the same.
    let migrations = database.sea_orm().await.unwrap();
    assert_eq!(pool_pragma(&migrations, "synchronous").await, "2");
    assert_eq!(pool_pragma(&migrations, "wal_autocheckpoint").await, "10000");
    migrations.close().await.unwrap();
}

#[tokio::test]
async fn readers_see_the_writer_and_cannot_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let database = open(&path).await;
    let (writer, reader) = (database.writer().unwrap(), database.reader().unwrap());
    writer
        .execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        .unwrap();
    assert_eq!(number(&reader, "SELECT count(*) FROM t"), 1);
    let error = reader.execute_batch("INSERT INTO t VALUES (1)").unwrap_err();
    assert!(error.to_string().contains("readonly"), "{error}");

    let connections = connect(&path).await;
    run(&connections.reader, "SELECT * FROM t").await;
    let error = connections
        .reader
        .execute_unprepared("INSERT INTO t VALUES (1)")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("readonly"), "{error}");
    connections.close().await;
}

#[tokio::test]
async fn memory_is_one_held_connection() {
    let connections = DatabaseConfig::memory().connect().await.unwrap();
    run(&connections.writer, "CREATE TABLE t (x)").await;
    run(&connections.reader, "INSERT INTO t VALUES (1)").await;
    assert_eq!(pool_pragma(&connections.reader, "foreign_keys").await, "1");
    assert_ne!(pool_pragma(&connections.reader, "journal_mode").await, "wal");
    connections.close().await;
}

#[tokio::test]
async fn memory_lives_as_long_as_somebody_may_open_it() {
    let database = opened(&DatabaseConfig::memory()).await;
    assert!(database.is_memory() && database.path().is_none());
    // What a migration makes through SeaORM is there for the store's own connections, and the other way round.
    let migrations = database.sea_orm().await.unwrap();
    run(&migrations, "CREATE TABLE t (x); INSERT INTO t VALUES (1)").await;
    migrations.close().await.unwrap();
    let writer = database.clone().writer().unwrap();
    assert_eq!(number(&writer, "SELECT count(*) FROM t"), 1);
    assert_eq!(pragma(&writer, "foreign_keys"), "1");
    writer.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    drop(writer);
    assert_eq!(
        number(&database.reader().unwrap(), "SELECT count(*) FROM t"),
        2,
        "nobody but the value itself had it open meanwhile"
    );
    let migrations = database.sea_orm().await.unwrap();
    run(&migrations, "INSERT INTO t VALUES (3)").await;
    migrations.close().await.unwrap();

    let another = opened(&DatabaseConfig::memory()).await;
    assert_eq!(
        number(&another.writer().unwrap(), "SELECT count(*) FROM sqlite_schema"),
        0,
        "every open is a database of its own"
    );
    let writer = database.writer().unwrap();
    drop(database);
    assert_eq!(number(&writer, "SELECT count(*) FROM t"), 3);
}

#[tokio::test]
async fn migrations_run_beside_the_stores_own_connections() {
    let dir = tempfile::tempdir().unwrap();
    let database = open(&dir.path().join("a.db")).await;
    let writer = database.writer().unwrap();
    let migrations = database.sea_orm().await.unwrap();
    run(&migrations, "CREATE TABLE t (x); INSERT INTO t VALUES (1)").await;
    migrations.close().await.unwrap();
    assert_eq!(number(&writer, "SELECT count(*) FROM t"), 1);
}

#[tokio::test]
async fn paths_that_cannot_be_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    // Made a directory after the configuration was checked.
    let config = DatabaseConfig::sqlite(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let error = config.open().await.err().unwrap();
    assert_eq!(error.kind, Kind::InvalidPath);
    assert_eq!(
        error.to_string(),
        format!(
            "cannot open SQLite file {}: it is a directory; name a file in it",
            path.display()
        )
    );

    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let (kind, message) = refused(&file.join("sub/a.db")).await;
    assert_eq!(kind, Kind::InvalidPath, "{message}");
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    for content in ["dear diary".repeat(1000), "short".to_owned()] {
        std::fs::write(&path, &content).unwrap();
        let (kind, message) = refused(&path).await;
        assert_eq!(kind, Kind::NotADatabase, "{message}");
        assert!(message.contains("not a SQLite database"), "{message}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }
}

#[tokio::test]
async fn a_truncated_database_is_found_at_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    make(&path).await;
    let whole = std::fs::read(&path).unwrap();
    for length in [whole.len() - 4096, whole.len() / 2, 4096, 1000] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let (kind, message) = refused(&path).await;
        assert!(
            matches!(kind, Kind::Corrupt | Kind::NotADatabase),
            "{length}: {message}"
        );
        assert!(length < 4096 || kind == Kind::Corrupt, "{length}: {message}");
        assert_eq!(std::fs::read(&path).unwrap(), whole[..length], "{length}");
    }
}

#[tokio::test]
async fn another_process_that_writes_does_not_keep_us_from_opening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let first = open(&path).await.writer().unwrap();
    first.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = std::time::Instant::now();
    open(&path).await;
    connect(&path).await.close().await;
    assert!(started.elapsed().as_secs() < 4, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_database_that_is_held_for_good_is_busy() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let holder = Connection::open(&path).unwrap();
    holder.execute_batch("CREATE TABLE t (x); BEGIN EXCLUSIVE").unwrap();
    let loader = DatabaseConfig::loader().no_file().no_environment().set("path", &path);
    let config = loader
        .set("sqlite.busy_timeout", "50ms")
        .set("connect_timeout", "200ms")
        .load()
        .unwrap();
    for error in [config.open().await.err(), config.connect().await.err()] {
        let error = error.unwrap();
        assert_eq!(error.kind, Kind::Busy, "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[test]
fn versions() {
    for old in ["3.51.2", "3.50.9", "2.99.9", "", "x"] {
        assert!(!is_new_enough(old), "{old}");
    }
    for new in ["3.51.3", "3.52.0", "4.0.0", "3.51.10"] {
        assert!(is_new_enough(new), "{new}");
    }
}

/// This test binary, to run one test of it as another process.
fn child(test: &str, path: &Path, exe: &Path) -> Command {
    let mut command = Command::new(exe);
    let name = format!("connect::sqlite_tests::{test}");
    command
        .args([&name, "--exact", "--ignored", "--nocapture"])
        .env("UNDERCROFT_CHILD", path)
        .current_dir("/");
    command
}

fn child_path() -> PathBuf {
    std::env::var_os("UNDERCROFT_CHILD")
        .expect("run by another test")
        .into()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test]
#[ignore = "a child process of `eight_processes_open_one_new_file`"]
async fn child_opens() {
    let database = open(&child_path()).await;
    let writer = database.writer().unwrap();
    let sql = "CREATE TABLE IF NOT EXISTS t (x); INSERT INTO t VALUES (1)";
    writer.execute_batch(sql).unwrap();
    drop(writer);
    // The others may be opening and closing all the while.
    let connections = connect(&child_path()).await;
    run(&connections.writer, "INSERT INTO t VALUES (2)").await;
    connections.close().await;
}

#[tokio::test]
async fn eight_processes_open_one_new_file() {
    let exe = std::env::current_exe().unwrap();
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/a.db");
        let start = || {
            child("child_opens", &path, &exe)
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
        };
        let children: Vec<_> = (0..8).map(|_| start().unwrap()).collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text(&output));
        }
        let reader = open(&path).await.reader().unwrap();
        assert_eq!(number(&reader, "SELECT count(*) FROM t"), 16);
    }
}

#[tokio::test]
#[ignore = "a child process of `what_this_user_may_not_write`"]
async fn child_is_refused() {
    let path = child_path();
    let (kind, message) = refused(&path).await;
    println!("REFUSED {kind:?} {message}");
}

/// As an unprivileged user, also when the tests run as root, whom permissions do not stop.
fn refused_unprivileged(path: &Path) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let exe = dir.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    let mut command = child("child_is_refused", path, &exe);
    if std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0) {
        command.uid(65534).gid(65534);
    }
    // A process that another test starts at the same moment may still hold the copy open for writing.
    let output = loop {
        match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            output => break text(&output.unwrap()),
        }
    };
    output
        .lines()
        .find_map(|line| line.split_once("REFUSED "))
        .unwrap_or_else(|| panic!("{output}"))
        .1
        .to_owned()
}

#[tokio::test]
async fn what_this_user_may_not_write() {
    let dir = tempfile::tempdir().unwrap();
    let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    set(dir.path(), 0o755);
    let wal = dir.path().join("wal.db");
    make(&wal).await;
    let plain = dir.path().join("plain.db");
    let connection = Connection::open(&plain).unwrap();
    connection.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(connection);

    set(&wal, 0o444);
    set(&plain, 0o444);
    set(dir.path(), 0o555);
    for path in [&wal, &plain] {
        let answer = refused_unprivileged(path);
        assert!(answer.starts_with("ReadOnly"), "{answer}");
    }
    let answer = refused_unprivileged(&dir.path().join("new.db"));
    assert!(answer.starts_with("PermissionDenied"), "{answer}");
    set(&plain, 0o000);
    let answer = refused_unprivileged(&plain);
    assert!(answer.starts_with("PermissionDenied"), "{answer}");
    set(dir.path(), 0o755);
}

#[tokio::test]
#[ignore = "a child process of `logs_show_statements_and_no_values`"]
async fn child_logs() {
    // For every thread: sqlx logs SQLite's statements on the connection's own.
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_ansi(false)
        .init();
    let loader = DatabaseConfig::loader()
        .no_file()
        .no_environment()
        .set("path", child_path());
    let connections = loader
        .set("slow_statement", "0s")
        .load()
        .unwrap()
        .connect()
        .await
        .unwrap();
    let backend = connections.reader.get_database_backend();
    let bound = Statement::from_sql_and_values(backend, "SELECT ? AS marker", ["S3ntinel".into()]);
    connections.reader.query_one_raw(bound).await.unwrap();
    connections.close().await;
}

#[test]
fn logs_show_statements_and_no_values() {
    let dir = tempfile::tempdir().unwrap();
    let exe = std::env::current_exe().unwrap();
    let output = child("child_logs", &dir.path().join("a.db"), &exe).output().unwrap();
    let log = text(&output);
    assert!(output.status.success() && log.contains("opened"), "{log}");
    assert!(log.contains("AS marker") && !log.contains("S3ntinel"), "{log}");
    let statement = |line: &&str| line.contains("sqlx::query:");
    assert!(
        log.lines().filter(statement).all(|line| line.contains(" WARN ")),
        "all are slow"
    );
}
