//! A transaction: serializable, on a connection of its own.

use std::sync::Arc;

use super::super::errors::Fault;
use super::super::metrics::Counters;
use super::super::row::Decode;
use super::super::statement::{Answer, Command, Values};
use super::connection::{Found, Query};
use super::insert::{BEGIN, bulk};
use super::pool::{InTransaction, Pool, Pooled};
use crate::Result;

/// An open transaction. When it is dropped, its connection is rolled back before anybody else gets it.
pub(in super::super) struct Transaction {
    connection: Pooled,
    _open: InTransaction,
    counters: Arc<Counters>,
    /// What goes out with the next statement, and so costs no round trip: BEGIN, savepoints.
    pending: String,
}

impl Transaction {
    pub(super) fn new(connection: Pooled, pool: &Pool, counters: &Arc<Counters>) -> Self {
        Self {
            connection,
            _open: pool.in_transaction(),
            counters: Arc::clone(counters),
            pending: BEGIN.to_owned(),
        }
    }

    /// Begins at once.
    pub(super) async fn begin(&mut self) -> Result<(), Fault> {
        self.send_pending().await
    }

    pub(in super::super) async fn read<M>(&mut self, query: &Command, decode: Decode<M>) -> Result<Vec<M>> {
        let found = self.run(query).await?;
        found.rows.iter().map(|row| decode.row(row)).collect()
    }

    pub(in super::super) async fn write(&mut self, change: Arc<Command>) -> Result<Answer, Fault> {
        if let Values::Rows(rows) = &change.values {
            self.counters.sent(&change.sql);
            self.send_pending().await?;
            let changed = bulk(&mut self.connection, &change.sql, rows).await;
            return Ok(Answer::changed(changed.map_err(nothing_is_kept)?));
        }
        let found = self.run(&change).await?;
        Ok(Answer {
            rows: found.rows.into_iter().map(|row| Box::new(row) as _).collect(),
            changed: found.changed,
        })
    }

    pub(in super::super) async fn control(&mut self, sql: &str) -> Result<(), Fault> {
        if !self.pending.is_empty() {
            self.pending.push_str("; ");
        }
        self.pending.push_str(sql);
        Ok(())
    }

    async fn run(&mut self, command: &Command) -> Result<Found, Fault> {
        self.counters.sent(&command.sql);
        let query = Query {
            sql: &command.sql,
            values: command.once().unwrap_or_default(),
        };
        // A text that is not known is prepared first, and may be refused: then the transaction and its savepoint have to be
        // there.
        if !self.connection.knows(&query) {
            self.send_pending().await?;
        }
        let pending = std::mem::take(&mut self.pending);
        let pending = (!pending.is_empty()).then_some(pending);
        self.connection.in_transaction = true;
        let found = self
            .connection
            .cancelled_at(command.progress.deadline(), async |connection| {
                connection.run(pending.as_deref(), query, None).await
            })
            .await;
        found.map_err(nothing_is_kept)
    }

    async fn send_pending(&mut self) -> Result<(), Fault> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(());
        }
        self.connection.in_transaction = true;
        self.connection.control(&pending).await.map_err(nothing_is_kept)
    }

    pub(in super::super) async fn commit(mut self) -> Result<(), Fault> {
        if !self.connection.in_transaction {
            return Ok(());
        }
        let commit = match self.pending.is_empty() {
            true => "COMMIT".to_owned(),
            false => format!("{}; COMMIT", self.pending),
        };
        self.connection.committing = true;
        let committed = self.connection.control(&commit).await;
        self.connection.committing = false;
        // A COMMIT that failed has rolled back, unless something before it failed: it is rolled back again.
        self.connection.in_transaction = committed.is_err();
        committed.map_err(Fault::of_a_change)
    }

    pub(in super::super) async fn rollback(mut self) -> Result<(), Fault> {
        if self.connection.in_transaction && !self.connection.is_broken() {
            // Whatever comes of it, nothing is kept: a connection that cannot even do this is closed.
            let rolled_back = self.connection.control("ROLLBACK").await.is_ok();
            self.connection.in_transaction = !rolled_back;
        }
        Ok(())
    }
}

/// Before its COMMIT a transaction that loses its connection loses everything, and can be run again.
fn nothing_is_kept(fault: Fault) -> Fault {
    Fault { lost: false, ..fault }
}
