//! One connection to SQLite, and statements stepped on it to their end, on whichever thread has it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::errors::{Cause, Fault};
use super::super::progress::Progress;
use super::super::row::Decode;
use super::super::statement::{Answer, Command, Values};
use super::errors::classify;
use super::value::{Bound, OwnedRow};
use crate::{Error, ErrorKind, Result};

/// How many instructions of SQLite's virtual machine run between two looks at the deadline: a tenth of a millisecond.
const LOOK_EVERY: i32 = 10_000;

/// A query that takes longer on its caller's thread is begun again on one that may block.
const LONGEST_ON_A_CALLERS_THREAD: Duration = Duration::from_millis(5);

/// With the write lock from the start: a transaction that reads first and then wants to write fails at once
/// (SQLITE_BUSY_SNAPSHOT) when another has written in between, whatever the busy timeout is.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";

/// What makes a commit durable that others need not be.
pub(super) const RAISE: &str = "PRAGMA synchronous = FULL";

/// How long a statement may run.
struct Limit {
    progress: Arc<Progress>,
    /// For one on its caller's thread.
    until: Option<Instant>,
}

impl Limit {
    fn is_over(&self) -> bool {
        self.progress.is_over() || self.until.is_some_and(|until| Instant::now() > until)
    }
}

/// A connection. It belongs to one thread at a time.
pub(super) struct Connection {
    sqlite: rusqlite::Connection,
    /// The operation whose statement runs, for the progress handler.
    running: Arc<Mutex<Option<Limit>>>,
    busy_timeout: Duration,
    /// `PRAGMA synchronous` as configured, where a durable commit has to raise it.
    synchronous: Option<&'static str>,
    raised: bool,
}

impl Connection {
    /// `synchronous` is given where commits are less durable than a durable operation asks for.
    pub(super) fn new(
        sqlite: rusqlite::Connection,
        busy_timeout: Duration,
        synchronous: Option<&'static str>,
    ) -> Result<Self, Fault> {
        let running = Arc::new(Mutex::new(None::<Limit>));
        let looked_at = Arc::clone(&running);
        let is_over = move || {
            let running = looked_at.lock().unwrap_or_else(PoisonError::into_inner);
            running.as_ref().is_some_and(Limit::is_over)
        };
        let set_up = sqlite
            .progress_handler(LOOK_EVERY, Some(is_over))
            .and_then(|()| sqlite.busy_timeout(Duration::ZERO));
        set_up.map_err(|error| classify(&error, ""))?;
        Ok(Self {
            sqlite,
            running,
            busy_timeout,
            synchronous,
            raised: false,
        })
    }

    /// Reads every row of a query on its caller's thread. `None` when it would take too long there.
    pub(super) fn read_quickly<M>(&self, query: &Command, decode: Decode<M>) -> Option<Result<Vec<M>>> {
        let until = Instant::now() + LONGEST_ON_A_CALLERS_THREAD;
        let _running = self.runs(query, Some(until));
        match self.rows(query, decode) {
            Err(error) if error.kind() == ErrorKind::Timeout && !query.progress.is_over() => None,
            settled => Some(settled),
        }
    }

    /// Reads every row of a query.
    pub(super) fn read<M>(&self, query: &Command, decode: Decode<M>) -> Result<Vec<M>> {
        let _running = self.runs(query, None);
        self.rows(query, decode)
    }

    fn rows<M>(&self, query: &Command, decode: Decode<M>) -> Result<Vec<M>> {
        let fault = |error: rusqlite::Error| Error::from(classify(&error, query.table));
        let mut statement = self.sqlite.prepare_cached(&query.sql).map_err(fault)?;
        bind(&mut statement, query.once().unwrap_or_default()).map_err(fault)?;
        let mut rows = statement.raw_query();
        let mut found = vec![];
        while let Some(row) = rows.next().map_err(fault)? {
            found.push(decode.row(row)?);
        }
        Ok(found)
    }

    /// Runs a change to its end: SQLite reports some errors after the last row
    /// (<https://www.sqlite.org/lang_returning.html>).
    pub(super) fn write(&self, change: &Command) -> Result<Answer, Fault> {
        let _running = self.runs(change, None);
        self.change(change).map_err(|error| classify(&error, change.table))
    }

    fn change(&self, change: &Command) -> rusqlite::Result<Answer> {
        let mut statement = self.sqlite.prepare_cached(&change.sql)?;
        let mut changed = 0;
        match &change.values {
            Values::Rows(rows) => {
                for row in rows {
                    bind(&mut statement, row)?;
                    changed += statement.raw_execute()? as u64;
                }
            }
            Values::Once(values) => {
                bind(&mut statement, values)?;
                if statement.column_count() > 0 {
                    let rows = returned(&mut statement)?;
                    return Ok(Answer {
                        changed: rows.len() as u64,
                        rows: rows.into_iter().map(|row| Box::new(row) as _).collect(),
                    });
                }
                changed = statement.raw_execute()? as u64;
            }
        }
        Ok(Answer::changed(changed))
    }

    /// Runs what belongs to no operation: BEGIN, COMMIT, savepoints. Several are parted by `; `.
    pub(super) fn control(&self, sql: &str) -> Result<(), Fault> {
        let run = |statement: &str| self.sqlite.prepare_cached(statement)?.raw_execute();
        for statement in sql.split("; ") {
            run(statement).map_err(|error| classify(&error, ""))?;
        }
        Ok(())
    }

    /// Sets a PRAGMA, or runs one whose rows are of no interest.
    pub(super) fn pragma(&self, sql: &str) -> Result<(), Fault> {
        self.sqlite.execute_batch(sql).map_err(|error| classify(&error, ""))
    }

    /// Every column of every row as text.
    pub(super) fn texts(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Fault> {
        let read = || {
            let mut statement = self.sqlite.prepare(sql)?;
            let width = statement.column_count();
            let mut rows = statement.query([])?;
            let mut texts = vec![];
            while let Some(row) = rows.next()? {
                let column = |at| row.get::<_, Option<String>>(at);
                texts.push((0..width).map(column).collect::<rusqlite::Result<_>>()?);
            }
            Ok(texts)
        };
        read().map_err(|error: rusqlite::Error| classify(&error, ""))
    }

    /// Whether a transaction is open. SQLite ends one by itself after some errors.
    pub(super) fn in_transaction(&self) -> bool {
        !self.sqlite.is_autocommit()
    }

    /// Runs `work` so that it waits while another connection holds a lock that it needs, as long as `busy_timeout` says but
    /// not past its operation's deadline. Without this nothing waits here: the thread may be a caller's.
    pub(super) fn patiently<T>(&self, progress: Option<&Progress>, work: impl FnOnce(&Self) -> T) -> T {
        let left = progress.map(|progress| progress.deadline().saturating_duration_since(Instant::now()));
        let wait = left.map_or(self.busy_timeout, |left| left.min(self.busy_timeout));
        let _unchanged = self.sqlite.busy_timeout(wait);
        let done = work(self);
        let _unchanged = self.sqlite.busy_timeout(Duration::ZERO);
        done
    }

    /// Makes the next commits durable until [`lower`](Self::lower).
    pub(super) fn raise(&mut self) -> Result<(), Fault> {
        if self.synchronous.is_some() {
            self.pragma(RAISE)?;
            self.raised = true;
        }
        Ok(())
    }

    /// Makes commits as durable again as is configured.
    pub(super) fn lower(&mut self) -> Result<(), Fault> {
        if let Some(synchronous) = self.synchronous
            && std::mem::take(&mut self.raised)
        {
            self.pragma(synchronous)?;
        }
        Ok(())
    }

    /// Ends a transaction that is open.
    pub(super) fn roll_back(&self) {
        if self.in_transaction()
            && let Err(fault) = self.control("ROLLBACK")
        {
            let cause = fault.cause.map(|cause: Cause| cause.to_string());
            tracing::debug!(target: "undercroft", cause, "rollback failed");
        }
    }

    fn runs(&self, command: &Command, until: Option<Instant>) -> Running<'_> {
        let progress = Arc::clone(&command.progress);
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(Limit { progress, until });
        Running(self)
    }
}

/// A statement of an operation is at work.
struct Running<'c>(&'c Connection);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn bind(statement: &mut rusqlite::Statement<'_>, values: &[sea_orm::Value]) -> rusqlite::Result<()> {
    for (at, value) in values.iter().enumerate() {
        statement.raw_bind_parameter(at + 1, Bound(value))?;
    }
    Ok(())
}

fn returned(statement: &mut rusqlite::Statement<'_>) -> rusqlite::Result<Vec<OwnedRow>> {
    let names = statement.column_names().into_iter().map(str::to_owned).collect();
    let mut rows = statement.raw_query();
    let mut returned = vec![];
    while let Some(row) = rows.next()? {
        returned.push(OwnedRow::new(row, &names)?);
    }
    Ok(returned)
}

/// Whether it is another connection's lock that stood in the way.
pub(super) fn is_busy(kind: ErrorKind) -> bool {
    kind == ErrorKind::Contention
}
