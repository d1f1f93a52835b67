//! SQLite at work: readers that run on their callers' threads, and one writer that commits in groups on a thread of its own.
//!
//! - `connection.rs`: one connection; `value.rs`: values into it and out of it; `errors.rs`: its result codes.
//! - `pool.rs`: the connections; `slow.rs`: which statements leave their caller's thread.
//! - `queue.rs`, `writer.rs`: the writes that wait, and the thread; `group.rs`: one group commit; `transaction.rs`: a closure's or a caller's own.
//! - `checkpoint.rs`: the write-ahead log.
//!
//! A statement that is quick runs on its caller's thread: a hop to another one costs more than the work. What is slow, what
//! commits and what waits for another program's lock runs on a thread that may block.

mod blocking;
mod checkpoint;
mod connection;
mod errors;
mod group;
mod pool;
mod queue;
mod slow;
mod transaction;
mod value;
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{DatabaseConfig, Synchronous};

use super::errors::Fault;
use super::metrics::Counters;
use super::metrics::PoolUse;
use super::row::Decode;
use super::statement::{Answer, Begin, Command};
use crate::{ErrorKind, Result};
use blocking::on_blocking_thread;
use checkpoint::Checkpoints;
use connection::{Connection, is_busy};
use pool::{Pool, Pooled};
use slow::Slow;
use writer::Writer;

pub(super) use transaction::Transaction;

/// Rows of a bulk insert that one turn of the connection takes: enough to make up for the hop.
pub(super) const ROWS_AT_ONCE: usize = 5_000;

/// An open SQLite database.
pub(super) struct Sqlite {
    readers: Pool,
    /// The writing connection. In memory it is the only one, and so the readers' too.
    writing: Pool,
    writer: Writer,
    checkpoints: Checkpoints,
    slow: Arc<Slow>,
    counters: Arc<Counters>,
    /// How commits are made as little durable as configured, where that is less than a durable operation asks for.
    lowered: Option<&'static str>,
}

impl Sqlite {
    pub(super) fn new(
        database: config::sqlite::Sqlite,
        config: &DatabaseConfig,
        counters: &Arc<Counters>,
    ) -> Result<Self> {
        let lowered = lowered(config);
        let busy_timeout = config.sqlite.busy_timeout;
        let place = database.clone();
        let open_writer = move || opened(place.writer(), busy_timeout, lowered);
        let writing = Pool::new(vec![open_writer()?], 1, open_writer);
        let readers = match database.is_memory() {
            true => writing.clone(),
            false => {
                let place = database.clone();
                Pool::new(vec![], config.sqlite.readers, move || {
                    opened(place.reader(), busy_timeout, None)
                })
            }
        };
        let unsynced = lowered.filter(|_| config.sqlite.synchronous == Synchronous::Off);
        let checkpoints = Checkpoints::new(database, unsynced);
        let slow = Arc::new(Slow::default());
        Ok(Self {
            readers,
            writer: Writer::start(writing.clone(), checkpoints.clone(), counters, &slow)?,
            writing,
            checkpoints,
            slow,
            counters: Arc::clone(counters),
            lowered,
        })
    }

    pub(super) async fn read<M: Send + 'static>(&self, query: &Command, decode: Decode<M>) -> Result<Vec<M>> {
        // Nothing here may ever have to wait: without this a task that reads in a loop would keep its thread.
        tokio::task::coop::consume_budget().await;
        self.counters.sent(&query.sql);
        let reader = match self.readers.try_acquire() {
            Some(reader) => reader,
            None => Box::pin(self.readers.acquire()).await?,
        };
        if !self.slow.knows(query) {
            match self.slow.timed(query, || reader.read_quickly(query, decode)) {
                None => {}
                Some(Err(error)) if is_busy(error.kind()) => {}
                Some(settled) => return settled,
            }
        }
        let (query, slow) = (query.clone(), Arc::clone(&self.slow));
        let read = on_blocking_thread(move || {
            slow.timed(&query, || {
                reader.patiently(Some(&query.progress), |reader| reader.read(&query, decode))
            })
        });
        Box::pin(read).await?
    }

    pub(super) async fn write(&self, change: &Arc<Command>, durable: bool) -> Result<Answer, Fault> {
        if durable && self.lowered.is_some() {
            return self.write_durably(Arc::clone(change)).await;
        }
        self.counters.sent(&change.sql);
        self.writer.write(Arc::clone(change)).await
    }

    async fn write_durably(&self, change: Arc<Command>) -> Result<Answer, Fault> {
        let mut connection = self.writing.acquire().await?;
        self.writer.was_used();
        tracing::trace!(target: "undercroft::sql", sql = connection::RAISE);
        self.counters.sent(&change.sql);
        let checkpoints = self.checkpoints.clone();
        let written = on_blocking_thread(move || {
            connection.raise()?;
            if !change.progress.sends() {
                return Err(Fault::undone());
            }
            let written = connection.patiently(Some(&change.progress), |connection| connection.write(&change));
            checkpoints.after_commit(&connection);
            written.map_err(Fault::of_a_change)
        })
        .await?;
        tracing::trace!(target: "undercroft::sql", sql = self.lowered);
        written
    }

    pub(super) async fn begin(&self, begin: Begin) -> Result<Transaction, Fault> {
        let durable = match begin {
            Begin::ByHand => {
                let connection = self.writing.acquire().await?;
                self.writer.was_used();
                let transaction = self.alone_on(connection);
                transaction.begin().await?;
                return Ok(transaction);
            }
            Begin::Closure { durable } => durable && self.lowered.is_some(),
        };
        if durable {
            let mut connection = self.writing.acquire().await?;
            self.writer.was_used();
            tracing::trace!(target: "undercroft::sql", sql = connection::RAISE);
            connection.raise()?;
            return Ok(self.alone_on(connection).lowered_by(self.lowered));
        }
        // One that finds nobody else commits by itself.
        if !self.writer.is_shared()
            && let Some(connection) = self.writing.try_acquire()
        {
            self.writer.was_used();
            return Ok(self.alone_on(connection));
        }
        self.writer.lend().await
    }

    fn alone_on(&self, connection: Pooled) -> Transaction {
        Transaction::alone(connection, &self.slow, &self.counters).checkpointed_by(&self.checkpoints)
    }

    /// A file does not go away.
    pub(super) fn answers(&self) -> bool {
        true
    }

    pub(super) fn waiting(&self) -> usize {
        self.writer.waiting()
    }

    pub(super) fn log_bytes(&self) -> u64 {
        self.checkpoints.log_bytes()
    }

    pub(super) fn usage(&self) -> (PoolUse, PoolUse) {
        (self.writing.usage(), self.readers.usage())
    }

    pub(super) async fn foreign_keys(&self) -> Result<bool, Fault> {
        let found = self
            .texts("SELECT CAST(foreign_keys AS TEXT) FROM pragma_foreign_keys")
            .await?;
        Ok(found == [[Some("1".to_owned())]])
    }

    pub(super) async fn texts(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Fault> {
        let reader = self.readers.acquire().await?;
        let sql = sql.to_owned();
        on_blocking_thread(move || reader.patiently(None, |reader| reader.texts(&sql))).await?
    }

    /// Other programs may still write: the work takes the file's own lock.
    pub(super) async fn alone<T>(&self, work: impl Future<Output = T>) -> Result<T, Fault> {
        let _writing = self.writing.acquire().await?;
        Ok(work.await)
    }

    pub(super) async fn close(&self, deadline: Instant) -> Result<(), Fault> {
        if self.writing.is_closed() {
            return Err(Fault::closed());
        }
        drop(tokio::time::timeout_at(deadline.into(), self.writer.those_before()).await);
        let in_use = |what: &str| {
            let message = format!("{what} at the deadline of closing; the store stays open");
            Fault::new(ErrorKind::Timeout, message)
        };
        let writing = self.writing.drain(deadline).await;
        let writing = writing.ok_or_else(|| in_use("a transaction was still open"))?;
        let reading = match self.readers.is_same_as(&self.writing) {
            true => None,
            false => {
                let drained = self.readers.drain(deadline).await;
                Some(drained.ok_or_else(|| in_use("a read was still running"))?)
            }
        };
        let (readers, writers) = (self.readers.close(), self.writing.close());
        drop((writing, reading));
        self.writer.close().await;
        let checkpoints = self.checkpoints.clone();
        on_blocking_thread(move || {
            checkpoints.wait();
            drop(readers);
            writers.iter().try_for_each(|writer| checkpoint::flush(writer))
        })
        .await?
    }
}

fn opened(
    opened: std::result::Result<rusqlite::Connection, config::ConnectError>,
    busy_timeout: Duration,
    lowered: Option<&'static str>,
) -> Result<Connection, Fault> {
    let sqlite = opened.map_err(|error| Fault::from(crate::Error::from(error)))?;
    Connection::new(sqlite, busy_timeout, lowered)
}

/// In memory nothing is durable.
fn lowered(config: &DatabaseConfig) -> Option<&'static str> {
    match config.sqlite.synchronous {
        _ if config.is_memory() => None,
        Synchronous::Off => Some("PRAGMA synchronous = OFF"),
        Synchronous::Normal => Some("PRAGMA synchronous = NORMAL"),
        _ => None,
    }
}
