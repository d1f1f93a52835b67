//! Opening SQLite: one writer and several read-only readers over one file, or a named database in memory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use log::LevelFilter;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use sea_orm::{DatabaseConnection, SqlxSqliteConnector};
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::{ConnectError, ConnectErrorKind as Kind, Connections};
use crate::settings::Target;
use crate::{DatabaseConfig, SqliteConfig, Synchronous};

/// Before it a checkpoint racing a writer could lose committed pages (the WAL-reset bug).
const OLDEST: [u32; 3] = [3, 51, 3];

/// Pages in the log before a commit moves them into the file: 40 MB at 4 KiB. Measured best for inserts.
const CHECKPOINT_PAGES: u32 = 10_000;

/// What the log is cut back to after a checkpoint, in bytes.
const LOG_SIZE_LIMIT: &str = "67108864";

/// Rows that a connection of sqlx may be ahead of the caller; 1.6 times faster than 50 for long results.
const ROW_BUFFER: usize = 1_000;

/// Prepared statements that a connection keeps: more than the store has, each in the few lengths in which it is sent.
const STATEMENTS: usize = 500;

/// The VFS whose databases are in memory and shared by every connection of this process that says the same name.
const MEMORY_VFS: &str = "memdb";

/// A SQLite database that was found usable: where it is, and how connections to it are opened. Cheap to clone.
///
/// A database in memory lives as long as a clone of this value or a connection to it.
#[derive(Clone, Debug)]
pub struct Sqlite(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    target: String,
    place: Place,
    settings: SqliteConfig,
    connect_timeout: Duration,
    acquire_timeout: Duration,
    slow_statement: Duration,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Memory {
        name: String,
        /// The database goes with its last connection, which is this one.
        anchor: Mutex<Option<Connection>>,
    },
}

/// Opens a database, creating what is missing, and checks that it can be used.
pub(super) async fn open(config: &DatabaseConfig) -> Result<Sqlite, ConnectError> {
    static MEMORIES: AtomicU64 = AtomicU64::new(0);
    let place = match &config.target {
        Target::File(path) => Place::File(path.clone()),
        _ => Place::Memory {
            // Names that begin with a slash are shared.
            name: format!("/undercroft-{}", MEMORIES.fetch_add(1, Ordering::Relaxed)),
            anchor: Mutex::new(None),
        },
    };
    let opened = Sqlite(Arc::new(Opened {
        target: config.describe(),
        place,
        settings: config.sqlite.clone(),
        connect_timeout: config.connect_timeout,
        acquire_timeout: config.pool.acquire_timeout,
        slow_statement: config.slow_statement,
    }));
    let checked = opened.clone();
    match tokio::task::spawn_blocking(move || checked.check()).await {
        Ok(outcome) => outcome.map(|()| opened),
        Err(error) => {
            Err(ConnectError::new(Kind::Other, config.describe(), "the runtime is shutting down").with(error))
        }
    }
}

/// SeaORM's pools over sqlx, for migrations and tools.
pub(super) async fn connect(config: &DatabaseConfig) -> Result<Connections, ConnectError> {
    let opened = open(config).await?;
    let writer = opened
        .pool(1)
        .min_connections(1)
        .connect_with(opened.pool_writer(opened.0.settings.synchronous))
        .await
        .map_err(|error| opened.pool_refused(error))?;
    let writer = SqlxSqliteConnector::from_sqlx_sqlite_pool(writer);
    let reader = match &opened.0.place {
        Place::Memory { .. } => writer.clone(),
        // They open as they are needed: a program that reads one row does not pay for eight connections.
        Place::File(path) => {
            let options = opened
                .pool_options(opened.0.settings.synchronous)
                .filename(path)
                .read_only(true);
            let readers = opened.pool(opened.0.settings.readers).connect_lazy_with(options);
            SqlxSqliteConnector::from_sqlx_sqlite_pool(readers)
        }
    };
    Ok(Connections {
        driver: crate::Driver::Sqlite,
        writer,
        reader,
        replicas: vec![],
    })
}

impl Sqlite {
    /// Opens a connection that writes. Blocks: in an async program, on a thread that may.
    ///
    /// One thread at a time may use it. Where `sqlite.synchronous` is `off` it makes no checkpoints by itself, as one
    /// made without syncing would overwrite what earlier ones have made durable: who writes through it makes them,
    /// with `PRAGMA synchronous` turned on for the time.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], for example [`Busy`](super::ConnectErrorKind::Busy) where another process holds the file
    /// throughout `sqlite.busy_timeout`.
    pub fn writer(&self) -> Result<Connection, ConnectError> {
        // The first process to switch a file to WAL needs it alone, and SQLite reports the others' attempts as busy at
        // once, whatever `busy_timeout` says: they try again until it has passed.
        let begun = Instant::now();
        let patience = self.0.settings.busy_timeout.max(self.0.connect_timeout);
        let mut pause = Duration::from_millis(1 + u64::from(std::process::id() % 7));
        loop {
            match self.try_writer() {
                Err(error) if is_busy(&error) && begun.elapsed() + pause < patience => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(100));
                }
                outcome => return outcome.map_err(|error| self.refused(error)),
            }
        }
    }

    /// Opens a connection that only reads. Blocks: in an async program, on a thread that may.
    ///
    /// One thread at a time may use it. A database in memory has no log: there a reader and the writer wait for each
    /// other, and reading through the writer is the better way.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], for example [`PermissionDenied`](super::ConnectErrorKind::PermissionDenied).
    pub fn reader(&self) -> Result<Connection, ConnectError> {
        let reader = self.connection(OpenFlags::SQLITE_OPEN_READ_ONLY);
        reader.map_err(|error| self.refused(error))
    }

    /// Whether the database is in memory.
    pub fn is_memory(&self) -> bool {
        self.path().is_none()
    }

    /// The file's absolute path; `None` for a database in memory.
    pub fn path(&self) -> Option<&Path> {
        match &self.0.place {
            Place::File(path) => Some(path),
            Place::Memory { .. } => None,
        }
    }

    /// A pool of one connection for SeaORM's migrations. They are durable also where other writes are not: the log
    /// moves into the file when the last connection closes, which may be this one.
    pub(super) async fn sea_orm(&self) -> Result<DatabaseConnection, ConnectError> {
        let synchronous = match self.0.settings.synchronous {
            Synchronous::Off => Synchronous::Full,
            other => other,
        };
        let pool = self.pool(1).connect_with(self.pool_writer(synchronous)).await;
        let pool = pool.map_err(|error| self.pool_refused(error))?;
        Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
    }

    fn try_writer(&self) -> rusqlite::Result<Connection> {
        let connection = self.connection(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        if !self.is_memory() {
            connection.execute_batch(&format!(
                "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = {}; PRAGMA journal_size_limit = {LOG_SIZE_LIMIT}",
                checkpoint_pages(self.0.settings.synchronous)
            ))?;
        }
        Ok(connection)
    }

    /// What holds for every connection, so that one opened later is like the first.
    fn connection(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        let flags = flags | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match &self.0.place {
            Place::File(path) => Connection::open_with_flags(path, flags),
            Place::Memory { name, .. } => Connection::open_with_flags(format!("file:{name}?vfs={MEMORY_VFS}"), flags),
        }?;
        let settings = &self.0.settings;
        connection.busy_timeout(settings.busy_timeout)?;
        // A plan does not depend on the values that are bound. Without this a bound LIMIT makes SQLite plan the
        // statement again at every call, which is more than half of a read by key.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let synchronous = match settings.synchronous {
            Synchronous::Off => "OFF",
            Synchronous::Normal => "NORMAL",
            Synchronous::Full => "FULL",
            Synchronous::Extra => "EXTRA",
        };
        // A negative cache size is in KiB rather than pages. A file from elsewhere may hold triggers and views that call
        // functions with side effects: the schema is not trusted.
        connection.execute_batch(&format!(
            "PRAGMA foreign_keys = ON; PRAGMA synchronous = {synchronous}; PRAGMA cache_size = -{}; \
             PRAGMA mmap_size = {}; PRAGMA trusted_schema = OFF",
            settings.cache_size.div_ceil(1024),
            settings.mmap_size
        ))?;
        Ok(connection)
    }

    /// Touches the database: SQLite's version, the database's header and schema, and whether it takes writes.
    fn check(&self) -> Result<(), ConnectError> {
        self.check_version()?;
        match &self.0.place {
            Place::Memory { anchor, .. } => {
                let connection = self.writer()?;
                *anchor.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(connection);
                Ok(())
            }
            Place::File(path) => {
                prepare_file(&self.0.target, path)?;
                // Closed last, as only a writer can move the log into the file.
                let mut writer = self.writer()?;
                try_write(&mut writer).map_err(|error| self.refused(error))?;
                // A reader that cannot be opened is found now and not by somebody's first query.
                let reader = self.reader()?;
                let read = reader.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()));
                read.map_err(|error| self.refused(error))
            }
        }
    }

    fn check_version(&self) -> Result<(), ConnectError> {
        let version = rusqlite::version();
        if is_new_enough(version) {
            return Ok(());
        }
        let message = format!("SQLite {version} can corrupt databases in WAL mode; link 3.51.3 or newer");
        Err(ConnectError::new(Kind::UnsupportedVersion, &self.0.target, message))
    }

    fn pool_options(&self, synchronous: Synchronous) -> SqliteConnectOptions {
        let settings = &self.0.settings;
        let synchronous = match synchronous {
            Synchronous::Off => SqliteSynchronous::Off,
            Synchronous::Normal => SqliteSynchronous::Normal,
            Synchronous::Full => SqliteSynchronous::Full,
            Synchronous::Extra => SqliteSynchronous::Extra,
        };
        SqliteConnectOptions::new()
            .busy_timeout(settings.busy_timeout)
            .foreign_keys(true)
            .synchronous(synchronous)
            .pragma("cache_size", format!("-{}", settings.cache_size.div_ceil(1024)))
            .pragma("mmap_size", settings.mmap_size.to_string())
            .pragma("trusted_schema", "OFF")
            .row_buffer_size(ROW_BUFFER)
            .statement_cache_capacity(STATEMENTS)
            .log_statements(LevelFilter::Debug)
            .log_slow_statements(LevelFilter::Warn, self.0.slow_statement)
    }

    fn pool_writer(&self, synchronous: Synchronous) -> SqliteConnectOptions {
        let options = self.pool_options(synchronous).create_if_missing(true);
        match &self.0.place {
            Place::Memory { name, .. } => options.filename(name).vfs(MEMORY_VFS),
            Place::File(path) => options
                .filename(path)
                .journal_mode(SqliteJournalMode::Wal)
                .pragma("wal_autocheckpoint", checkpoint_pages(synchronous).to_string())
                .pragma("journal_size_limit", LOG_SIZE_LIMIT),
        }
    }

    /// SQLite connections are files, not sessions: they do not go stale, and reopening one throws its cache away.
    fn pool(&self, size: u32) -> SqlitePoolOptions {
        SqlitePoolOptions::new()
            .max_connections(size)
            .acquire_timeout(self.0.acquire_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
    }

    fn refused(&self, error: rusqlite::Error) -> ConnectError {
        let code = error.sqlite_error().map(|error| error.extended_code & 0xff);
        match code.and_then(|code| reason(code, self.path())) {
            Some((kind, message)) => ConnectError::new(kind, &self.0.target, message).with(error),
            None => ConnectError::new(Kind::Other, &self.0.target, error.to_string()).with(error),
        }
    }

    fn pool_refused(&self, error: sqlx::Error) -> ConnectError {
        let code = error
            .as_database_error()
            .and_then(|error| error.code()?.parse::<i32>().ok());
        let reason = match error {
            sqlx::Error::PoolTimedOut => Some((Kind::Timeout, "it did not open within `pool.acquire_timeout`")),
            _ => code.and_then(|code| reason(code & 0xff, self.path())),
        };
        match reason {
            Some((kind, message)) => ConnectError::new(kind, &self.0.target, message).with(error),
            None => ConnectError::new(Kind::Other, &self.0.target, error.to_string()).with(error),
        }
    }
}

/// A checkpoint under `off` does not sync the file before the log is used again: none is made without being asked for.
fn checkpoint_pages(synchronous: Synchronous) -> u32 {
    match synchronous {
        Synchronous::Off => 0,
        _ => CHECKPOINT_PAGES,
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
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

/// Writes into a transaction that is rolled back: SQLite opens a file it may not write without a word. When another
/// process is writing there is nothing to be learnt, and no reason to wait for it.
fn try_write(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))?;
    connection.busy_timeout(Duration::ZERO)?;
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Err(error) if is_busy(&error) => return Ok(()),
        begun => begun?,
    };
    let version: i64 = transaction.query_row("PRAGMA user_version", (), |row| row.get(0))?;
    transaction.execute_batch(&format!("PRAGMA user_version = {version}"))?;
    transaction.rollback()
}

pub(super) fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let parts: [u32; 3] = std::array::from_fn(|_| parts.next().unwrap_or(0));
    parts >= OLDEST
}

/// What a primary result code means here.
fn reason(code: i32, path: Option<&Path>) -> Option<(Kind, &'static str)> {
    Some(match code {
        3 | 23 => (Kind::PermissionDenied, "permission denied"),
        5 | 6 => (
            Kind::Busy,
            "another process holds the database; try again, or raise `sqlite.busy_timeout`",
        ),
        8 => (
            Kind::ReadOnly,
            "the file or its directory is read-only, and the store needs to write",
        ),
        11 => (
            Kind::Corrupt,
            "the database is damaged (cut off, perhaps); restore it from a backup",
        ),
        13 => (Kind::DiskFull, "the disk is full"),
        14 => cannot_open(path),
        26 => (
            Kind::NotADatabase,
            "the file is not a SQLite database; name another file",
        ),
        _ => return None,
    })
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
