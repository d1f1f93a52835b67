//! Moving the write-ahead log into the database file (<https://www.sqlite.org/wal.html#ckpt>).

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::super::errors::Fault;
use super::connection::Connection;
use super::errors::classify;

/// A log of so many pages is moved into the file while nobody writes: 4 MB, where SQLite's own default would have a commit
/// do it. Moving less costs its two syncs for nothing.
const LONG_LOG: i64 = 1_000;

/// What a commit moves where SQLite may not do it by itself: as many pages as elsewhere.
const LONGEST_LOG: u64 = 10_000;

/// A header and a page.
const FRAME: u64 = 24 + 4_096;

/// When and how the log is moved. Cheap to clone.
#[derive(Clone)]
pub(super) struct Checkpoints(Arc<Inner>);

struct Inner {
    database: config::sqlite::Sqlite,
    log: Option<PathBuf>,
    /// How commits are configured, where SQLite's own checkpoints would be as little synced as they are.
    unsynced: Option<&'static str>,
    /// What moves the log at rest, beside the writer.
    at_rest: Mutex<Option<JoinHandle<()>>>,
}

impl Checkpoints {
    pub(super) fn new(database: config::sqlite::Sqlite, unsynced: Option<&'static str>) -> Self {
        Self(Arc::new(Inner {
            log: database.path().map(log_beside),
            database,
            unsynced,
            at_rest: Mutex::default(),
        }))
    }

    /// The size of the log, in bytes.
    pub(super) fn log_bytes(&self) -> u64 {
        self.0
            .log
            .as_ref()
            .map_or(0, |log| std::fs::metadata(log).map_or(0, |log| log.len()))
    }

    /// With `synchronous = off` SQLite would sync neither the log before it is copied nor the file before the log is used
    /// again, and so lose what a durable commit has put into the log: there the store moves it, with syncs.
    pub(super) fn after_commit(&self, connection: &Connection) {
        let Some(unsynced) = self.0.unsynced else { return };
        if self.log_bytes() < LONGEST_LOG * FRAME {
            return;
        }
        let moved = connection
            .pragma("PRAGMA synchronous = NORMAL")
            .and_then(|()| connection.pragma("PRAGMA wal_checkpoint(RESTART)"));
        note(moved.and(connection.pragma(unsynced)));
    }

    /// Moves a log that has become long into the file, so that no commit has to and the next one begins it from its start.
    ///
    /// On a thread and a connection of its own: a passive checkpoint is in nobody's way but that of the connection it runs
    /// on.
    pub(super) fn at_rest(&self) {
        // The file does not shrink when it is moved; a short one need not be looked into.
        if self.log_bytes() < LONG_LOG.unsigned_abs() * FRAME {
            return;
        }
        let database = self.0.database.clone();
        let thread = std::thread::Builder::new().name("undercroft-checkpoint".to_owned());
        let thread = thread.spawn(move || note(move_log(&database)));
        *self.0.at_rest.lock().unwrap_or_else(PoisonError::into_inner) = thread.ok();
    }

    /// Waits for what was begun at rest.
    pub(super) fn wait(&self) {
        let thread = self.0.at_rest.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            drop(thread.join());
        }
    }
}

fn note(moved: Result<(), Fault>) {
    if let Err(fault) = moved {
        let cause = fault.cause.map(|cause| cause.to_string());
        tracing::debug!(target: "undercroft", cause, "the log stays as it is");
    }
}

fn move_log(database: &config::sqlite::Sqlite) -> Result<(), Fault> {
    let opened = database.writer();
    let connection = opened.map_err(|error| Fault::from(crate::Error::from(error)))?;
    let moved = || {
        // It syncs, whatever is configured for commits: nothing that was durable in the log may be less so in the file.
        connection.execute_batch("PRAGMA synchronous = NORMAL")?;
        let (pages, moved): (i64, i64) =
            connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok((row.get(1)?, row.get(2)?)))?;
        if pages - moved < LONG_LOG {
            return Ok(());
        }
        connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE)")
    };
    moved().map_err(|error: rusqlite::Error| classify(&error, ""))
}

/// Gives the planner fresh statistics and moves the log into the file, so that the file alone is the whole database.
pub(super) fn flush(connection: &Connection) -> Result<(), Fault> {
    connection.patiently(None, |connection| {
        connection.pragma("PRAGMA optimize")?;
        connection.pragma("PRAGMA synchronous = FULL")?;
        connection.pragma("PRAGMA wal_checkpoint(TRUNCATE)")
    })
}

/// <https://www.sqlite.org/walformat.html>
fn log_beside(database: &Path) -> PathBuf {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}
