//! A transaction: its statements run on its caller's thread, on a connection that is its own or is lent by the writer.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};

use tokio::sync::oneshot;

use super::super::database::{Answer, Decode};
use super::super::errors::Fault;
use super::super::metrics::Counters;
use super::super::statement::Command;
use super::connection::{BEGIN, Connection, is_busy};
use super::pool::Pooled;
use super::slow::Slow;
use crate::Result;

/// Where a transaction's connection is between two statements, so that the writer can take it back from a closure that
/// keeps it for too long.
pub(super) struct Slot {
    inside: Mutex<Inside>,
    put_back: Condvar,
}

struct Inside {
    /// Missing while a statement runs, and once it was taken back.
    connection: Option<Pooled>,
    /// What has to be run before the first statement.
    opening: Option<&'static str>,
    /// Whether the transaction, or its part of a group's, was opened.
    opened: bool,
    /// Nobody puts the connection back any more: the writer took it, or the transaction was dropped.
    over: bool,
    /// The writer took it: the transaction has lost what it did, and can be run again.
    revoked: bool,
}

impl Slot {
    pub(super) fn new(connection: Pooled, opening: Option<&'static str>) -> Arc<Self> {
        Arc::new(Self {
            inside: Mutex::new(Inside {
                connection: Some(connection),
                opening,
                opened: opening.is_none(),
                over: false,
                revoked: false,
            }),
            put_back: Condvar::new(),
        })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connection for a statement.
    fn take(self: &Arc<Self>) -> Result<Working, Fault> {
        let mut inside = self.inside();
        match inside.connection.take() {
            Some(connection) => Ok(Working {
                connection: Some(connection),
                slot: Arc::clone(self),
            }),
            None if inside.revoked => Err(Fault::undone()),
            None => Err(Fault::over()),
        }
    }

    /// Takes the connection for good, when no statement runs; with it comes whether the transaction was opened.
    pub(super) fn try_revoke(&self) -> Option<(Pooled, bool)> {
        let mut inside = self.inside();
        let connection = inside.connection.take()?;
        inside.over = true;
        inside.revoked = true;
        Some((connection, inside.opened))
    }

    /// Takes the connection for good, once the statement that runs has ended.
    pub(super) fn take_back(&self) -> Option<(Pooled, bool)> {
        let mut inside = self.inside();
        while inside.connection.is_none() && !inside.over {
            inside = self.put_back.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
        inside.over = true;
        let connection = inside.connection.take()?;
        Some((connection, inside.opened))
    }

    /// As [`take_back`](Self::take_back) for who must not wait: a statement that still runs gives its connection back
    /// to the pool when it has ended.
    fn abandon(&self) -> Option<Pooled> {
        let mut inside = self.inside();
        inside.over = true;
        inside.connection.take()
    }
}

/// The connection while a statement runs. It goes back to its slot whatever becomes of the statement.
struct Working {
    connection: Option<Pooled>,
    slot: Arc<Slot>,
}

impl Working {
    /// Runs what opens the transaction, if that was not done yet, and then the statement.
    fn run<T>(&self, statement: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let connection = self.connection.as_ref().ok_or_else(Fault::over)?;
        let opening = self.slot.inside().opening;
        if let Some(opening) = opening {
            connection.control(opening)?;
            let mut inside = self.slot.inside();
            inside.opening = None;
            inside.opened = true;
        }
        // After some errors SQLite ends a transaction by itself: what follows would be none of it.
        if !connection.in_transaction() {
            return Err(Fault::over().into());
        }
        statement(connection)
    }

    fn patiently<T>(&self, command: &Command, run: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        match &self.connection {
            Some(connection) => connection.patiently(Some(&command.progress), |_| self.run(run)),
            None => Err(Fault::over().into()),
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut inside = self.slot.inside();
        if inside.over {
            // Dropped outside of the lock: it rolls back.
            drop(inside);
            self.connection = None;
        } else {
            inside.connection = self.connection.take();
        }
        self.slot.put_back.notify_all();
    }
}

/// How a part of a group ends.
pub(super) enum End {
    /// It is to be committed with the group, and its caller hears about the commit.
    Keep(oneshot::Sender<Result<(), Fault>>),
    /// It is to be undone. A caller that has an error of its own waits for the commit all the same: its reason may be a
    /// row of somebody else in the group, and holds only when that row is there.
    Undo(Option<oneshot::Sender<Result<(), Fault>>>),
}

/// An open transaction. When it is dropped, it is undone.
pub(in super::super) struct Transaction {
    slot: Arc<Slot>,
    /// Whether the connection is the writer's, who takes it back from the slot.
    lent: bool,
    /// How to tell the writer of the end; until then.
    lender: Option<mpsc::Sender<End>>,
    /// What its connection is set back by after a commit that was made durable.
    lowered: Option<&'static str>,
    slow: Arc<Slow>,
    counters: Arc<Counters>,
}

impl Transaction {
    /// On a connection of its own. It begins with its first statement.
    pub(super) fn alone(connection: Pooled, slow: &Arc<Slow>, counters: &Arc<Counters>) -> Self {
        Self {
            slot: Slot::new(connection, Some(BEGIN)),
            lent: false,
            lender: None,
            lowered: None,
            slow: Arc::clone(slow),
            counters: Arc::clone(counters),
        }
    }

    pub(super) fn lowered_by(mut self, lowered: Option<&'static str>) -> Self {
        self.lowered = lowered;
        self
    }

    /// On the writer's connection, inside a group's transaction.
    pub(super) fn lent(slot: Arc<Slot>, lender: mpsc::Sender<End>, slow: &Arc<Slow>, counters: &Arc<Counters>) -> Self {
        Self {
            slot,
            lent: true,
            lender: Some(lender),
            lowered: None,
            slow: Arc::clone(slow),
            counters: Arc::clone(counters),
        }
    }

    /// Begins at once, and waits for another program's lock.
    pub(super) async fn begin(&self) -> Result<(), Fault> {
        let working = self.slot.take()?;
        let begun = super::on_blocking_thread(move || match &working.connection {
            Some(connection) => connection.patiently(None, |_| working.run(|_| Ok(()))),
            None => Err(Fault::over().into()),
        });
        Ok(begun.await??)
    }

    pub(in super::super) async fn read<M: Send + 'static>(
        &mut self,
        query: &Command,
        decode: Decode<M>,
    ) -> Result<Vec<M>> {
        self.counters.sent(&query.sql);
        let working = self.slot.take()?;
        if !self.slow.knows(query) {
            let rows = self
                .slow
                .timed(query, || working.run(|connection| connection.read(query, decode)));
            match rows {
                Err(error) if is_busy(error.kind()) && !working.has_opened() => {}
                settled => return settled,
            }
        }
        let (query, slow) = (query.clone(), Arc::clone(&self.slow));
        super::on_blocking_thread(move || {
            slow.timed(&query, || {
                working.patiently(&query, |connection| connection.read(&query, decode))
            })
        })
        .await?
    }

    pub(in super::super) async fn write(&mut self, change: Arc<Command>) -> Result<Answer, Fault> {
        self.counters.sent(&change.sql);
        let working = self.slot.take()?;
        if !change.is_long() && !self.slow.knows(&change) {
            let answer = self
                .slow
                .timed(&change, || working.run(|connection| Ok(connection.write(&change)?)));
            match answer {
                Err(error) if is_busy(error.kind()) && !working.has_opened() => {}
                settled => return Ok(settled?),
            }
        }
        let slow = Arc::clone(&self.slow);
        let answer = super::on_blocking_thread(move || {
            slow.timed(&change, || {
                working.patiently(&change, |connection| Ok(connection.write(&change)?))
            })
        });
        Ok(answer.await??)
    }

    pub(in super::super) async fn control(&mut self, sql: &str) -> Result<(), Fault> {
        let working = self.slot.take()?;
        Ok(working.run(|connection| Ok(connection.control(sql)?))?)
    }

    pub(in super::super) async fn commit(mut self) -> Result<(), Fault> {
        if let Some(lender) = self.lender.take() {
            let (done, committed) = oneshot::channel();
            return match lender.send(End::Keep(done)) {
                Ok(()) => committed.await.unwrap_or_else(|_| Err(Fault::undone())),
                Err(_) => Err(Fault::undone()),
            };
        }
        let Some(connection) = self.slot.abandon() else {
            return Err(Fault::over());
        };
        if !self.slot.inside().opened {
            return Ok(());
        }
        // A commit syncs the disk.
        let committed = super::on_blocking_thread(move || commit(&connection)).await?;
        if let Some(sql) = self.lowered {
            tracing::trace!(target: "undercroft::sql", sql);
        }
        committed
    }

    pub(in super::super) async fn rollback(mut self) -> Result<(), Fault> {
        let Some(lender) = self.lender.take() else {
            return Ok(());
        };
        let (done, committed) = oneshot::channel();
        match lender.send(End::Undo(Some(done))) {
            Ok(()) => committed.await.unwrap_or(Ok(())),
            Err(_) => Ok(()),
        }
    }
}

impl Working {
    fn has_opened(&self) -> bool {
        self.slot.inside().opened
    }
}

/// Commits what is open. When that fails, nothing is kept.
pub(super) fn commit(connection: &Connection) -> Result<(), Fault> {
    if !connection.in_transaction() {
        return Err(Fault::undone());
    }
    let committed = connection.control("COMMIT");
    connection.roll_back();
    committed
}

impl Drop for Transaction {
    fn drop(&mut self) {
        match self.lender.take() {
            Some(lender) => drop(lender.send(End::Undo(None))),
            None if self.lent => {}
            None => drop(self.slot.abandon()),
        }
    }
}
