//! A transaction: its statements run on its caller's thread, on a connection that is its own or is lent by the writer.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::super::errors::Fault;
use super::super::metrics::Counters;
use super::super::row::Decode;
use super::super::statement::{Answer, Command};
use super::checkpoint::Checkpoints;
use super::connection::{BEGIN, Connection, is_busy};
use super::pool::Pooled;
use super::slow::Slow;
use crate::Result;

/// Where a transaction's connection is between two statements, so that the writer can take it back from a closure that
/// keeps it for too long.
pub(super) struct Slot {
    inside: Mutex<Inside>,
}

struct Inside {
    /// Missing while a statement runs, and once the transaction is over.
    held: Option<Held>,
    /// What has to be run before the first statement.
    opening: Option<&'static str>,
    /// Whether the transaction, or its part of a group's, was opened.
    opened: bool,
    state: State,
}

enum State {
    Open,
    /// The writer took the connection: the transaction has lost what it did, and can be run again.
    Revoked,
    /// The transaction has ended. A statement that still runs then ends it when it is done.
    Over(Option<End>),
}

/// What a transaction runs on.
pub(super) enum Held {
    /// A connection of its own.
    Own(Pooled),
    /// The writer's, with the group that it is a part of.
    Part(Box<dyn Lent>),
}

/// The writer's connection with the group that is being made on it.
pub(super) trait Lent: Send {
    fn connection(&self) -> Option<&Connection>;

    /// Whether writers have waited for the group's commit while a transaction, which was opened or not, has had it for
    /// longer than this.
    fn has_waited(&self, opened: bool, patience: Duration) -> bool;

    /// A transaction, which was opened or not, has done its part.
    fn take_back(self: Box<Self>, opened: bool, end: End);

    /// A transaction has kept it for too long.
    fn revoke(self: Box<Self>, opened: bool);
}

impl Held {
    fn connection(&self) -> Result<&Connection, Fault> {
        match self {
            Self::Own(connection) => Ok(connection),
            Self::Part(group) => group.connection().ok_or_else(Fault::over),
        }
    }
}

impl Slot {
    pub(super) fn new(held: Held, opening: Option<&'static str>) -> Arc<Self> {
        Arc::new(Self {
            inside: Mutex::new(Inside {
                held: Some(held),
                opening,
                opened: opening.is_none(),
                state: State::Open,
            }),
        })
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connection for a statement.
    fn take(self: &Arc<Self>) -> Result<Working, Fault> {
        let mut inside = self.inside();
        match (inside.held.take(), &inside.state) {
            (Some(held), _) => Ok(Working {
                held: Some(held),
                slot: Arc::clone(self),
            }),
            (None, State::Revoked) => Err(Fault::undone()),
            (None, _) => Err(Fault::over()),
        }
    }

    /// Takes a group from a transaction that runs no statement, when others have waited for its commit for long.
    pub(super) fn revoke(&self, patience: Duration) {
        let mut inside = self.inside();
        let opened = inside.opened;
        match inside.held.take() {
            Some(Held::Part(group)) if group.has_waited(opened, patience) => {
                inside.state = State::Revoked;
                drop(inside);
                group.revoke(opened);
            }
            kept => inside.held = kept,
        }
    }

    /// Ends the transaction: at once, or when the statement that still runs is done.
    fn end(&self, end: End) {
        let mut inside = self.inside();
        let (held, opened) = (inside.held.take(), inside.opened);
        inside.state = match (&inside.state, &held) {
            (State::Revoked, _) => return end.report(Err(Fault::undone())),
            (_, Some(_)) => State::Over(None),
            (_, None) => return inside.state = State::Over(Some(end)),
        };
        drop(inside);
        if let Some(held) = held {
            ended(held, opened, end);
        }
    }
}

/// A transaction is done with what it ran on.
fn ended(held: Held, opened: bool, end: End) {
    match held {
        // Rolled back where it is dropped.
        Held::Own(connection) => drop(connection),
        Held::Part(group) => group.take_back(opened, end),
    }
}

/// The connection while a statement runs. It goes back to its slot whatever becomes of the statement.
struct Working {
    held: Option<Held>,
    slot: Arc<Slot>,
}

impl Working {
    fn connection(&self) -> Result<&Connection, Fault> {
        self.held.as_ref().ok_or_else(Fault::over)?.connection()
    }

    /// Runs what opens the transaction, if that was not done yet, and then the statement.
    fn run<T>(&self, statement: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let connection = self.connection()?;
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
        self.connection()?.patiently(Some(&command.progress), |_| self.run(run))
    }

    fn has_opened(&self) -> bool {
        self.slot.inside().opened
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let Some(held) = self.held.take() else { return };
        let mut inside = self.slot.inside();
        match &mut inside.state {
            State::Over(end) => {
                let (end, opened) = (end.take(), inside.opened);
                drop(inside);
                ended(held, opened, end.unwrap_or(End::Undo(None)));
            }
            State::Open | State::Revoked => inside.held = Some(held),
        }
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

impl End {
    pub(super) fn report(self, outcome: Result<(), Fault>) {
        match self {
            Self::Keep(caller) | Self::Undo(Some(caller)) => drop(caller.send(outcome)),
            Self::Undo(None) => {}
        }
    }
}

/// An open transaction. When it is dropped, it is undone.
pub(in super::super) struct Transaction {
    slot: Arc<Slot>,
    /// Whether it shares the writer's connection and commit.
    shared: bool,
    over: bool,
    /// What its connection is set back by after a commit that was made durable.
    lowered: Option<&'static str>,
    /// What looks after the log when a commit of its own is done.
    checkpoints: Option<Checkpoints>,
    slow: Arc<Slow>,
    counters: Arc<Counters>,
}

impl Transaction {
    fn on(slot: Arc<Slot>, shared: bool, slow: &Arc<Slow>, counters: &Arc<Counters>) -> Self {
        Self {
            slot,
            shared,
            over: false,
            lowered: None,
            checkpoints: None,
            slow: Arc::clone(slow),
            counters: Arc::clone(counters),
        }
    }

    /// On a connection of its own. It begins with its first statement.
    pub(super) fn alone(connection: Pooled, slow: &Arc<Slow>, counters: &Arc<Counters>) -> Self {
        Self::on(Slot::new(Held::Own(connection), Some(BEGIN)), false, slow, counters)
    }

    /// On the writer's connection, inside a group's transaction.
    pub(super) fn lent(slot: Arc<Slot>, slow: &Arc<Slow>, counters: &Arc<Counters>) -> Self {
        Self::on(slot, true, slow, counters)
    }

    pub(super) fn checkpointed_by(mut self, checkpoints: &Checkpoints) -> Self {
        self.checkpoints = Some(checkpoints.clone());
        self
    }

    pub(super) fn lowered_by(mut self, lowered: Option<&'static str>) -> Self {
        self.lowered = lowered;
        self
    }

    /// Begins at once, and waits for another program's lock.
    pub(super) async fn begin(&self) -> Result<(), Fault> {
        let working = self.slot.take()?;
        let begun = super::blocking::on_blocking_thread(move || -> Result<()> {
            working.connection()?.patiently(None, |_| working.run(|_| Ok(())))
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
        super::blocking::on_blocking_thread(move || {
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
        let answer = super::blocking::on_blocking_thread(move || {
            slow.timed(&change, || {
                working.patiently(&change, |connection| Ok(connection.write(&change)?))
            })
        });
        Ok(answer.await??)
    }

    pub(in super::super) async fn control(&mut self, sql: &str) -> Result<(), Fault> {
        let working = self.slot.take()?;
        match working.run(|connection| Ok(connection.control(sql)?)) {
            Err(error) if is_busy(error.kind()) && !working.has_opened() => {}
            settled => return Ok(settled?),
        }
        let sql = sql.to_owned();
        let done = super::blocking::on_blocking_thread(move || -> Result<()> {
            let run = |_: &Connection| working.run(|connection| Ok(connection.control(&sql)?));
            working.connection()?.patiently(None, run)
        });
        Ok(done.await??)
    }

    pub(in super::super) async fn commit(mut self) -> Result<(), Fault> {
        self.over = true;
        if self.shared {
            let (done, committed) = oneshot::channel();
            self.slot.end(End::Keep(done));
            return committed.await.unwrap_or_else(|_| Err(Fault::undone()));
        }
        let working = self.slot.take()?;
        if !working.has_opened() {
            return Ok(());
        }
        // A commit syncs the disk.
        let checkpoints = self.checkpoints.take();
        let committed = super::blocking::on_blocking_thread(move || {
            let connection = working.connection()?;
            commit(connection).map_err(Fault::of_a_change)?;
            if let Some(checkpoints) = checkpoints {
                checkpoints.after_commit(connection);
            }
            Ok(())
        })
        .await?;
        if let Some(sql) = self.lowered {
            tracing::trace!(target: "undercroft::sql", sql);
        }
        committed
    }

    pub(in super::super) async fn rollback(mut self) -> Result<(), Fault> {
        self.over = true;
        if !self.shared {
            self.slot.end(End::Undo(None));
            return Ok(());
        }
        let (done, committed) = oneshot::channel();
        self.slot.end(End::Undo(Some(done)));
        committed.await.unwrap_or(Ok(()))
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
        if !self.over {
            self.slot.end(End::Undo(None));
        }
    }
}
