//! Postgres at work: a pool of connections, each used by the task that waits for it.
//!
//! - `connection.rs`: one connection, driven by its user; `value.rs`: values into it and out of it; `errors.rs`: its codes.
//! - `pool.rs`: the connections; `background.rs`: the store's own runtime, for what no caller waits for.
//! - `batch.rs`: reads and inserts that go together; `merge.rs`, `insert.rs`: their statements.
//! - `transaction.rs`: serializable transactions.

mod background;
mod batch;
mod connection;
mod errors;
mod insert;
mod merge;
mod pool;
mod transaction;
mod value;

use std::sync::Arc;
use std::time::Instant;

use config::DatabaseConfig;
use tokio::sync::oneshot;
use tokio_postgres::Row;

use super::errors::Fault;
use super::metrics::Counters;
use super::metrics::PoolUse;
use super::row::Decode;
use super::statement::{Answer, Begin, Command, Values};
use crate::{ErrorKind, Result};
use batch::{Append, Appends, Batches, Read};
use connection::{Found, Query};
use insert::{BEGIN, COMMIT};
use pool::Pool;

pub(super) use transaction::Transaction;

/// Rows of a bulk insert that are sent at once.
pub(super) const ROWS_AT_ONCE: usize = 5_000;

/// An open Postgres database.
pub(super) struct Postgres {
    pool: Pool,
    reads: Batches<Read>,
    appends: Appends,
    counters: Arc<Counters>,
}

impl Postgres {
    pub(super) fn new(
        server: config::postgres::Postgres,
        config: &DatabaseConfig,
        counters: &Arc<Counters>,
    ) -> Result<Self> {
        let pool = Pool::new(server, config)?;
        Ok(Self {
            reads: batch::reads(&pool, counters, config.operation_timeout),
            appends: Appends::new(&pool, counters, config.operation_timeout),
            pool,
            counters: Arc::clone(counters),
        })
    }

    pub(super) async fn read<M>(&self, query: &Command, one: bool, decode: Decode<M>) -> Result<Vec<M>> {
        self.counters.sent(&query.sql);
        let rows = match self.rows(query, one).await {
            // A connection that was idle may have been cut off: a read loses nothing by it.
            Err(fault) if fault.lost => Box::pin(self.rows_again(query, fault)).await?,
            settled => settled?,
        };
        rows.iter().map(|row| decode.row(row)).collect()
    }

    async fn rows(&self, query: &Command, one: bool) -> Result<Vec<Row>, Fault> {
        let others = one && self.reads.are_in_use() && self.reads.has(&merge::kind_of(query));
        if !others && let Some(permit) = self.pool.try_permit() {
            let mut connection = self.pool.with(permit).await?;
            return Ok(connection.run(None, as_query(query), None).await?.rows);
        }
        Box::pin(self.rows_with_others(query)).await
    }

    async fn rows_with_others(&self, query: &Command) -> Result<Vec<Row>, Fault> {
        let (answer, answered) = oneshot::channel();
        let query = query.clone();
        self.reads.join(&merge::kind_of(&query), Read { query, answer });
        answered.await.unwrap_or_else(|_| Err(Fault::closed()))
    }

    async fn rows_again(&self, query: &Command, fault: Fault) -> Result<Vec<Row>, Fault> {
        let Ok(mut connection) = self.pool.acquire_tested().await else {
            return Err(fault);
        };
        self.counters.sent(&query.sql);
        Ok(connection.run(None, as_query(query), None).await?.rows)
    }

    pub(super) async fn write(&self, change: &Arc<Command>) -> Result<Answer, Fault> {
        self.counters.sent(&change.sql);
        if let Values::Rows(_) = change.values {
            let mut transaction = Transaction::new(self.pool.acquire().await?, &self.pool, &self.counters);
            let answer = transaction.write(Arc::clone(change)).await?;
            return transaction.commit().await.map(|()| answer);
        }
        if !insert::can_be_merged(change) {
            return self.write_alone(change).await;
        }
        if let Some(_in_flight) = self.appends.batches.alone(&change.sql) {
            return self.write_alone(change).await;
        }
        let room = Arc::clone(&self.appends.room).acquire_owned().await;
        let (answer, answered) = oneshot::channel();
        let append = Append {
            insert: Arc::clone(change),
            answer,
            _room: room.map_err(|_| Fault::closed())?,
        };
        self.appends.batches.join(&change.sql, append);
        match answered.await {
            Ok(Some(outcome)) => outcome.map(|()| Answer::changed(1)),
            Ok(None) => {
                change.progress.settled();
                self.write_alone(change).await
            }
            Err(_) if change.progress.settled() => Err(super::errors::commit_unknown("the store was closed")),
            Err(_) => Err(Fault::undone()),
        }
    }

    /// One round trip, in a transaction of its own.
    async fn write_alone(&self, change: &Command) -> Result<Answer, Fault> {
        let mut connection = self.pool.acquire().await?;
        if !change.progress.sends() {
            return Err(Fault::undone());
        }
        let (begin, commit) = match insert::is_any_of_many(&change.sql) {
            true => (None, None),
            false => (Some(BEGIN), Some(COMMIT)),
        };
        connection.in_transaction = begin.is_some();
        let changed = connection
            .cancelled_at(change.progress.deadline(), async |connection| {
                connection.run(begin, as_query(change), commit).await
            })
            .await;
        connection.in_transaction = false;
        let Found { rows, changed } = changed.map_err(Fault::of_a_change)?;
        Ok(Answer {
            rows: rows.into_iter().map(|row| Box::new(row) as _).collect(),
            changed,
        })
    }

    pub(super) async fn begin(&self, begin: Begin) -> Result<Transaction, Fault> {
        let mut transaction = Transaction::new(self.pool.acquire().await?, &self.pool, &self.counters);
        if let Begin::ByHand = begin
            && let Err(fault) = transaction.begin().await
        {
            // A connection that was idle may have been cut off: BEGIN is the first to notice, and loses nothing by it.
            drop(transaction);
            let tested = self.pool.acquire_tested().await.map_err(|_| fault)?;
            transaction = Transaction::new(tested, &self.pool, &self.counters);
            transaction.begin().await?;
        }
        Ok(transaction)
    }

    pub(super) fn answers(&self) -> bool {
        self.pool.answers()
    }

    pub(super) fn waiting(&self) -> usize {
        self.appends.batches.waiting()
    }

    pub(super) fn log_bytes(&self) -> u64 {
        0
    }

    pub(super) fn usage(&self) -> (PoolUse, PoolUse) {
        (self.pool.usage(), self.pool.usage())
    }

    /// Triggers, and with them foreign keys, are off on a connection that replays changes of another server.
    pub(super) async fn foreign_keys(&self) -> Result<bool, Fault> {
        let found = self.texts("SHOW session_replication_role").await?;
        let role = found.first().and_then(|row| row.first()).cloned().flatten();
        Ok(role.is_some_and(|role| role != "replica"))
    }

    pub(super) async fn texts(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Fault> {
        let mut connection = self.pool.acquire().await?;
        match connection.texts(sql).await {
            Err(fault) if fault.lost => {
                drop(connection);
                self.pool.acquire_tested().await.map_err(|_| fault)?.texts(sql).await
            }
            settled => settled,
        }
    }

    pub(super) async fn alone<T>(&self, work: impl Future<Output = T>) -> Result<T, Fault> {
        Ok(work.await)
    }

    pub(super) async fn close(&self, deadline: Instant) -> Result<(), Fault> {
        if self.pool.is_closed() {
            return Err(Fault::closed());
        }
        while self.waiting() > 0 && Instant::now() < deadline {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        let drained = self.pool.drain(deadline).await;
        let drained = drained.ok_or_else(|| {
            let what = match self.pool.transactions() {
                0 => "a read or a write was still running",
                _ => "a transaction was still open",
            };
            let message = format!("{what} at the deadline of closing; the store stays open");
            Fault::new(ErrorKind::Timeout, message)
        })?;
        self.appends.room.close();
        self.pool.close().await;
        drop(drained);
        Ok(())
    }
}

fn as_query(command: &Command) -> Query<'_> {
    Query {
        sql: &command.sql,
        values: command.once().unwrap_or_default(),
    }
}
