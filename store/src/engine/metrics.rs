//! What the engine counts while it works.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// How much the database was asked, since the store was opened: [`Store::metrics`](crate::Store::metrics).
///
/// Two of them, taken before and after, tell what a call costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// Statements of operations that were sent, those of retries and of savepoints too. Not BEGIN, COMMIT and ROLLBACK.
    /// Reads that went together count each.
    pub statements: u64,
    /// Transactions that were begun. A statement by itself is none of them.
    pub transactions: u64,
    /// Transactions that were committed.
    pub commits: u64,
    /// Tries after the first, of a statement or of a transaction that lost against another one.
    pub retries: u64,
    /// Groups of waiting writes that were committed together: on SQLite any writes, on Postgres rows that were inserted
    /// into one table. A write that finds nobody else is in no group.
    pub groups: u64,
    /// Statements and transactions in those groups.
    pub grouped: u64,
    /// The largest group.
    pub largest_group: u64,
    /// Reads of one row that waited for a connection together, and were sent as one command.
    pub reads_together: u64,
    /// Writes that wait for their group at this moment.
    pub waiting: u64,
    /// How long all of them have waited for their turn, in microseconds.
    pub waited_us: u64,
    /// The size of the file of SQLite's write-ahead log at this moment, in bytes; 0 on Postgres. It does not shrink when the
    /// log is moved into the database file: its space is used again. Only what is above 64 MiB is cut off then.
    pub log_bytes: u64,
}

/// How many connections of a pool are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PoolUse {
    /// How many are in use.
    pub in_use: u32,
    /// How many there are at most.
    pub size: u32,
}

/// [`Metrics`] in the making.
#[derive(Debug, Default)]
pub(super) struct Counters {
    statements: AtomicU64,
    transactions: AtomicU64,
    commits: AtomicU64,
    retries: AtomicU64,
    groups: AtomicU64,
    grouped: AtomicU64,
    largest_group: AtomicU64,
    reads_together: AtomicU64,
    waited_us: AtomicU64,
}

impl Counters {
    /// A statement goes out. Whoever listens to `undercroft::sql` at TRACE reads its text, never its values.
    pub(super) fn sent(&self, sql: &str) {
        tracing::trace!(target: "undercroft::sql", sql);
        count(&self.statements);
    }

    pub(super) fn begun(&self) {
        count(&self.transactions);
    }

    pub(super) fn committed(&self) {
        count(&self.commits);
    }

    pub(super) fn retried(&self) {
        count(&self.retries);
    }

    pub(super) fn group_of(&self, parts: usize) {
        let parts = parts as u64;
        count(&self.groups);
        self.grouped.fetch_add(parts, Ordering::Relaxed);
        self.largest_group.fetch_max(parts, Ordering::Relaxed);
    }

    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "on SQLite a read is no round trip")
    )]
    pub(super) fn read_together(&self, reads: usize) {
        self.reads_together.fetch_add(reads as u64, Ordering::Relaxed);
    }

    pub(super) fn waited(&self, time: Duration) {
        let time = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.waited_us.fetch_add(time, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Metrics {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Metrics {
            statements: value(&self.statements),
            transactions: value(&self.transactions),
            commits: value(&self.commits),
            retries: value(&self.retries),
            groups: value(&self.groups),
            grouped: value(&self.grouped),
            largest_group: value(&self.largest_group),
            reads_together: value(&self.reads_together),
            waiting: 0,
            waited_us: value(&self.waited_us),
            log_bytes: 0,
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
