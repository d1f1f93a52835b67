//! What the engine counts while it works.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// How much the database was asked, since the store was opened: [`Store::metrics`](crate::Store::metrics).
///
/// Two of them, taken before and after, tell what a call costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// Statements of operations that were sent, those of retries and of savepoints too. Not BEGIN, COMMIT and ROLLBACK.
    pub statements: u64,
    /// Transactions that were begun. A statement by itself is none of them.
    pub transactions: u64,
    /// Transactions that were committed.
    pub commits: u64,
    /// Tries after the first, of a statement or of a transaction that lost against another one.
    pub retries: u64,
}

/// [`Metrics`] in the making.
#[derive(Debug, Default)]
pub(super) struct Counters {
    statements: AtomicU64,
    transactions: AtomicU64,
    commits: AtomicU64,
    retries: AtomicU64,
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

    pub(super) fn read(&self) -> Metrics {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Metrics {
            statements: value(&self.statements),
            transactions: value(&self.transactions),
            commits: value(&self.commits),
            retries: value(&self.retries),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
