//! Opening SQLite: one writer and several read-only readers over one file, or one held connection to memory.

use std::ffi::c_int;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use log::LevelFilter;
use sea_orm::{DatabaseConnection, SqlxSqliteConnector};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};

use super::{ConnectError, ConnectErrorKind as Kind, Connections};
use crate::settings::Target;
use crate::{DatabaseConfig, Synchronous};

/// Before it a checkpoint racing a writer could lose committed pages (the WAL-reset bug).
const OLDEST: [u32; 3] = [3, 51, 3];

/// Pages in the log before a commit moves them into the file: 40 MB at 4 KiB. Measured best for inserts.
const CHECKPOINT_PAGES: &str = "10000";

/// What the log is cut back to after a checkpoint, in bytes.
const LOG_SIZE_LIMIT: &str = "67108864";

/// Rows that a connection's thread may be ahead of the caller; 1.6 times faster than 50 for long results.
const ROW_BUFFER: usize = 1_000;

/// Prepared statements that a connection keeps: more than the store has, each in the few lengths in which it is sent.
const STATEMENTS: usize = 500;

pub(super) async fn open(config: &DatabaseConfig) -> Result<Connections, ConnectError> {
    let target = config.describe();
    let Target::File(path) = &config.target else {
        let options = options(config).in_memory(true).filename(":memory:");
        let pool = pool(config, 1)
            .connect_with(options)
            .await
            .map_err(|error| refused(&target, None, error))?;
        check_version(&target, &pool).await?;
        let writer = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool);
        return Ok(connections(writer.clone(), writer));
    };
    prepare_file(&target, path)?;
    let writer = open_writer(config, &target, path).await?;
    let checked = check(config, &target, path, &writer).await;
    if let Err(error) = checked {
        writer.close().await;
        return Err(error);
    }
    let readers = open_readers(config, path);
    // A reader that cannot be opened is found now and not by somebody's first query.
    if let Err(error) = readers.acquire().await {
        writer.close().await;
        return Err(refused(&target, Some(path), error));
    }
    Ok(connections(
        SqlxSqliteConnector::from_sqlx_sqlite_pool(writer),
        SqlxSqliteConnector::from_sqlx_sqlite_pool(readers),
    ))
}

fn connections(writer: DatabaseConnection, reader: DatabaseConnection) -> Connections {
    Connections {
        driver: crate::Driver::Sqlite,
        writer,
        reader,
        replicas: vec![],
        runtimes: super::Runtimes::default(),
    }
}

/// What holds for every connection, so that one opened later is like the first.
fn options(config: &DatabaseConfig) -> SqliteConnectOptions {
    let sqlite = &config.sqlite;
    let synchronous = match sqlite.synchronous {
        Synchronous::Off => SqliteSynchronous::Off,
        Synchronous::Normal => SqliteSynchronous::Normal,
        Synchronous::Full => SqliteSynchronous::Full,
        Synchronous::Extra => SqliteSynchronous::Extra,
    };
    SqliteConnectOptions::new()
        .busy_timeout(sqlite.busy_timeout)
        .foreign_keys(true)
        .synchronous(synchronous)
        // Negative: KiB rather than pages.
        .pragma("cache_size", format!("-{}", sqlite.cache_size.div_ceil(1024)))
        .pragma("mmap_size", sqlite.mmap_size.to_string())
        // A file from elsewhere may hold triggers and views that call functions with side effects.
        .pragma("trusted_schema", "OFF")
        .row_buffer_size(ROW_BUFFER)
        .statement_cache_capacity(STATEMENTS)
        .log_statements(LevelFilter::Debug)
        .log_slow_statements(LevelFilter::Warn, config.slow_statement)
}

fn writer_options(config: &DatabaseConfig, path: &Path) -> SqliteConnectOptions {
    options(config)
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        .pragma("journal_size_limit", LOG_SIZE_LIMIT)
}

/// SQLite connections are files, not sessions: they do not go stale, and reopening one throws its cache away.
fn pool(config: &DatabaseConfig, size: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(size)
        .min_connections(size)
        .acquire_timeout(config.pool.acquire_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(plan_once(connection)))
}

/// Turns on SQLite's query planner stability guarantee: a plan does not depend on the values that are bound. Without it a
/// bound LIMIT makes SQLite plan the statement again at every call, which is more than half of a read by key.
#[expect(unsafe_code, reason = "sqlx has no safe way to this switch")]
async fn plan_once(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut handle = connection.lock_handle().await?;
    // SAFETY: the handle is open and locked for this call, and the switch takes an int and a pointer that may be null
    // (https://www.sqlite.org/c3ref/c_dbconfig_defensive.html).
    let code = unsafe {
        libsqlite3_sys::sqlite3_db_config(
            handle.as_raw_handle().as_ptr(),
            libsqlite3_sys::SQLITE_DBCONFIG_ENABLE_QPSG,
            1 as c_int,
            std::ptr::null_mut::<c_int>(),
        )
    };
    match code {
        libsqlite3_sys::SQLITE_OK => Ok(()),
        code => Err(sqlx::Error::Protocol(format!(
            "SQLite refuses to keep its plans (code {code})"
        ))),
    }
}

fn open_readers(config: &DatabaseConfig, path: &Path) -> SqlitePool {
    let options = options(config).filename(path).read_only(true);
    // They open as they are needed: a program that reads one row does not pay for eight connections.
    pool(config, config.sqlite.readers)
        .min_connections(0)
        .connect_lazy_with(options)
}

/// Opens the writer. The first process to switch a file to WAL needs it alone, and SQLite reports the others' attempts
/// as busy at once, whatever `busy_timeout` says: they try again until it has passed.
async fn open_writer(config: &DatabaseConfig, target: &str, path: &Path) -> Result<SqlitePool, ConnectError> {
    let deadline = Instant::now() + config.sqlite.busy_timeout.max(config.connect_timeout);
    let mut pause = Duration::from_millis(1 + u64::from(std::process::id() % 7));
    loop {
        match pool(config, 1).connect_with(writer_options(config, path)).await {
            Ok(pool) => return Ok(pool),
            Err(error) if primary_code(&error) == Some(5) && Instant::now() + pause < deadline => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
            Err(error) => return Err(refused(target, Some(path), error)),
        }
    }
}

/// Creates what is missing with permissions for the owner only, and reports what cannot be a database file.
fn prepare_file(target: &str, path: &Path) -> Result<(), ConnectError> {
    /// Closing a database file drops this process's SQLite locks on it: only a file that nobody else can have opened
    /// yet is opened and closed here, one at a time.
    static CREATING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = CREATING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);

    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            return Err(ConnectError::new(
                Kind::InvalidPath,
                target,
                "it is a directory; name a file in it",
            ));
        }
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(blocked(target, "cannot look at the file", error)),
    }
    if let Some(parent) = path.parent() {
        create_directory(parent).map_err(|error| {
            blocked(
                target,
                &format!("cannot create the directory {}", parent.display()),
                error,
            )
        })?;
    }
    match create_file(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(blocked(target, "cannot create the file", error))
        }
        _ => Ok(()),
    }
}

fn create_directory(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// SQLite gives its `-wal` and `-shm` files the permissions of this one.
fn create_file(path: &Path) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn blocked(target: &str, what: &str, error: io::Error) -> ConnectError {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => Kind::PermissionDenied,
        io::ErrorKind::ReadOnlyFilesystem => Kind::ReadOnly,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Kind::DiskFull,
        _ => Kind::InvalidPath,
    };
    ConnectError::new(kind, target, format!("{what}: {error}")).with(error)
}

/// Touches the database: its version, its header and schema, and whether it takes writes.
async fn check(config: &DatabaseConfig, target: &str, path: &Path, pool: &SqlitePool) -> Result<(), ConnectError> {
    check_version(target, pool).await?;
    let touched = async {
        let mut connection = pool.acquire().await?;
        let _: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
            .fetch_one(&mut *connection)
            .await?;
        let writable = try_write(&mut connection).await;
        let timeout = format!("PRAGMA busy_timeout = {}", config.sqlite.busy_timeout.as_millis());
        sqlx::raw_sql(sqlx::AssertSqlSafe(timeout))
            .execute(&mut *connection)
            .await?;
        writable
    };
    touched.await.map_err(|error| refused(target, Some(path), error))
}

/// Writes into a transaction that is rolled back: SQLite opens a file it may not write without a word. When another
/// process is writing there is nothing to be learnt, and no reason to wait for it.
async fn try_write(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("PRAGMA busy_timeout = 0")
        .execute(&mut *connection)
        .await?;
    let mut transaction = match connection.begin_with("BEGIN IMMEDIATE").await {
        Err(error) if primary_code(&error) == Some(5) => return Ok(()),
        begun => begun?,
    };
    let version: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *transaction)
        .await?;
    let same = format!("PRAGMA user_version = {version}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(same))
        .execute(&mut *transaction)
        .await?;
    transaction.rollback().await
}

async fn check_version(target: &str, pool: &SqlitePool) -> Result<(), ConnectError> {
    let version: String = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(pool)
        .await
        .map_err(|error| refused(target, None, error))?;
    if is_new_enough(&version) {
        return Ok(());
    }
    let message = format!("SQLite {version} can corrupt databases in WAL mode; link 3.51.3 or newer");
    Err(ConnectError::new(Kind::UnsupportedVersion, target, message))
}

pub(super) fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let parts: [u32; 3] = std::array::from_fn(|_| parts.next().unwrap_or(0));
    parts >= OLDEST
}

/// The primary result code: the low byte of the extended one.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

fn refused(target: &str, path: Option<&Path>, error: sqlx::Error) -> ConnectError {
    let (kind, message) = match primary_code(&error) {
        Some(3 | 23) => (Kind::PermissionDenied, "permission denied"),
        Some(5 | 6) => (
            Kind::Busy,
            "another process holds the database; try again, or raise `sqlite.busy_timeout`",
        ),
        Some(8) => (
            Kind::ReadOnly,
            "the file or its directory is read-only, and the store needs to write",
        ),
        Some(11) => (
            Kind::Corrupt,
            "the database is damaged (cut off, perhaps); restore it from a backup",
        ),
        Some(13) => (Kind::DiskFull, "the disk is full"),
        Some(14) => cannot_open(path),
        Some(26) => (
            Kind::NotADatabase,
            "the file is not a SQLite database; name another file",
        ),
        _ if matches!(error, sqlx::Error::PoolTimedOut) => {
            (Kind::Timeout, "it did not open within `pool.acquire_timeout`")
        }
        _ => return ConnectError::new(Kind::Other, target, error.to_string()).with(error),
    };
    ConnectError::new(kind, target, message).with(error)
}

/// SQLite does not say why a file cannot be opened; the file system does.
fn cannot_open(path: Option<&Path>) -> (Kind, &'static str) {
    match path.map(std::fs::metadata) {
        Some(Ok(meta)) if meta.is_file() => (
            Kind::PermissionDenied,
            "this user may not open the file, or may not create files beside it",
        ),
        Some(Ok(_)) => (Kind::InvalidPath, "it is not a regular file"),
        _ => (Kind::InvalidPath, "the file cannot be opened or created"),
    }
}
