//! A group in the making: an open transaction of the writer, and who waits for its commit.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::database::Answer;
use super::super::errors::Fault;
use super::connection::BEGIN;
use super::pool::Pooled;
use super::transaction::{End, Slot, Transaction, commit};
use super::writer::{Queue, Single, Work};

/// How many share one commit at most.
const LARGEST_GROUP: usize = 256;

/// A group takes nobody in any more when it is so old: those who were first wait for its commit. A closure that keeps the
/// writer for longer, while others wait for its group's commit, loses it and is run again.
const OLDEST_GROUP: Duration = Duration::from_millis(20);

/// What a transaction's part is undone by.
const SAVEPOINT: &str = "SAVEPOINT part";

/// One at a time: the pages that SQLite keeps for going back to it stay in memory then, where those of many would fill a
/// file.
const NEXT_SAVEPOINT: &str = "RELEASE part; SAVEPOINT part";

pub(super) struct Group<'q> {
    queue: &'q Arc<Queue>,
    /// Missing only while it is lent.
    connection: Option<Pooled>,
    begun: Option<Instant>,
    parts: Vec<Part>,
    /// How many parts there are whose changes are in the open transaction.
    size: usize,
    limit: usize,
    over: bool,
    /// Whether the last transaction's savepoint is there.
    has_savepoint: bool,
}

/// Who waits for the commit.
enum Part {
    Statement(oneshot::Sender<Result<Answer, Fault>>, Result<Answer, Fault>),
    Transaction(oneshot::Sender<Result<(), Fault>>),
    /// A transaction that is undone, and has an error of its own.
    Failed(oneshot::Sender<Result<(), Fault>>),
}

impl Part {
    fn settle(self, commit: &Result<(), Fault>) {
        match (self, commit) {
            // Its own error may come from a row of somebody else in the group: it holds only when that row is there.
            (Self::Statement(caller, answer), Ok(())) => drop(caller.send(answer)),
            (Self::Statement(caller, _), Err(fault)) => drop(caller.send(Err(fault.clone()))),
            (Self::Transaction(caller), commit) => drop(caller.send(commit.clone())),
            // Not for anything of its own: it tries again without what is gone.
            (Self::Failed(caller), commit) => drop(caller.send(commit.clone().map_err(|_| Fault::undone()))),
        }
    }
}

impl<'q> Group<'q> {
    pub(super) fn new(queue: &'q Arc<Queue>, connection: Pooled) -> Self {
        let one_by_one = queue.state().one_by_one > 0;
        Self {
            queue,
            connection: Some(connection),
            begun: None,
            parts: vec![],
            size: 0,
            limit: if one_by_one { 1 } else { LARGEST_GROUP },
            over: false,
            has_savepoint: false,
        }
    }

    pub(super) fn takes_more(&self) -> bool {
        let young = self.begun.is_none_or(|begun| begun.elapsed() < OLDEST_GROUP);
        young && self.size < self.limit && !self.over && self.connection.is_some()
    }

    /// Runs a statement.
    pub(super) fn run(&mut self, single: Single) {
        let Some(connection) = &self.connection else { return };
        if single.answer.is_closed() || !single.change.progress.sends() {
            return;
        }
        if self.begun.is_none() {
            let begun = connection.patiently(Some(&single.change.progress), |connection| connection.control(BEGIN));
            if let Err(fault) = begun {
                self.over = true;
                return Work::Statement(single).refuse(fault);
            }
            self.begun = Some(Instant::now());
        }
        match connection.write(&single.change) {
            Err(fault) if fault.ended || !connection.in_transaction() => {
                self.undo_all();
                drop(single.answer.send(Err(fault)));
            }
            answer => {
                self.size += 1;
                self.parts.push(Part::Statement(single.answer, answer));
            }
        }
    }

    /// Lends the connection to a transaction until it has done its part.
    pub(super) fn lend(&mut self, grant: oneshot::Sender<Result<Transaction, Fault>>) {
        if grant.is_closed() {
            return;
        }
        // Nobody's commit waits for a closure of which nothing is known.
        if self.size > 0 && !self.queue.state().quick_closures {
            self.settle();
        }
        let Some(connection) = self.connection.take() else {
            return;
        };
        let opening = match (self.begun.is_some(), self.size > 0, self.has_savepoint) {
            (false, ..) => Some(BEGIN),
            (true, false, _) => None,
            (true, true, false) => Some(SAVEPOINT),
            (true, true, true) => Some(NEXT_SAVEPOINT),
        };
        let slot = Slot::new(connection, opening);
        let (back, returned) = mpsc::channel();
        let turn = Transaction::lent(Arc::clone(&slot), back, &self.queue.slow, &self.queue.counters);
        let lent = Instant::now();
        // When nobody takes it, it is dropped, and so comes back at once.
        drop(grant.send(Ok(turn)));
        let end = self.wait(&slot, &returned);
        self.queue.state().quick_closures = lent.elapsed() < OLDEST_GROUP / 4;
        match end {
            Some(end) => self.take_back(&slot, end, lent),
            // It kept the connection for too long. Those who wait have their commit; the closure is run again.
            None => self.over = true,
        }
    }

    /// Waits for the transaction's end; not for ever while others wait for the commit. `None` when the connection was
    /// taken from it.
    fn wait(&mut self, slot: &Slot, returned: &mpsc::Receiver<End>) -> Option<End> {
        if self.parts.is_empty() {
            return Some(returned.recv().unwrap_or(End::Undo(None)));
        }
        loop {
            match returned.recv_timeout(OLDEST_GROUP) {
                Ok(end) => return Some(end),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Some(End::Undo(None)),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            if let Some((connection, opened)) = slot.try_revoke() {
                self.connection = Some(connection);
                if opened {
                    self.undo_part();
                }
                return None;
            }
        }
    }

    /// A transaction has done its part.
    fn take_back(&mut self, slot: &Slot, end: End, lent: Instant) {
        let first = self.size == 0;
        let Some((connection, opened)) = slot.take_back() else {
            self.over = true;
            return;
        };
        let in_transaction = connection.in_transaction();
        self.connection = Some(connection);
        if !opened {
            // It sent nothing, and so it saw nothing; or the writer would not begin, and then the next group tries again.
            self.over = self.begun.is_none();
            return settle(end, Ok(()));
        }
        self.begun.get_or_insert(lent);
        self.has_savepoint = !first;
        match end {
            // SQLite has ended the transaction by itself.
            End::Keep(_) if !in_transaction => {
                self.undo_all();
                settle(end, Err(Fault::undone()));
            }
            End::Undo(_) if first || !in_transaction => {
                self.undo_all();
                self.over = !first;
                settle(end, Ok(()));
            }
            End::Keep(caller) => {
                self.size += 1;
                self.parts.push(Part::Transaction(caller));
            }
            End::Undo(caller) => {
                self.undo_part();
                self.parts.extend(caller.map(Part::Failed));
            }
        }
    }

    /// Undoes what the last transaction did.
    fn undo_part(&mut self) {
        let undone = self.connection.as_ref().is_some_and(|connection| match self.size {
            0 => {
                connection.roll_back();
                true
            }
            _ => connection.control("ROLLBACK TO part").is_ok(),
        });
        self.has_savepoint = undone;
        if self.size == 0 {
            self.begun = None;
            self.has_savepoint = false;
        } else if !undone {
            // Its error took everything with it, as a full disk does: that is nobody else's.
            self.undo_all();
        }
    }

    /// SQLite has undone everything, or has to. Who is not to blame tries again.
    fn undo_all(&mut self) {
        if let Some(connection) = &self.connection {
            connection.roll_back();
        }
        self.begun = None;
        self.has_savepoint = false;
        self.size = 0;
        self.over = true;
        let undone = Err(Fault::undone());
        self.parts.drain(..).for_each(|part| part.settle(&undone));
    }

    /// Commits, and gives the connection back.
    pub(super) fn commit(mut self) -> Option<Pooled> {
        self.settle();
        self.connection.take()
    }

    /// Commits what is open, and reports to those who wait for it.
    fn settle(&mut self) {
        let Some(connection) = &self.connection else { return };
        if self.begun.take().is_none() {
            return;
        }
        let committed = commit(connection);
        let committed = self.judged(committed);
        if self.size > 1 {
            self.queue.counters.group_of(self.size);
        }
        self.size = 0;
        self.has_savepoint = false;
        self.parts.drain(..).for_each(|part| part.settle(&committed));
    }

    fn judged(&self, committed: Result<(), Fault>) -> Result<(), Fault> {
        let mut state = self.queue.state();
        // Before its writers hear of it: who then comes back and finds nobody else has not waited.
        state.at_rest();
        state.shared = self.size > 1;
        state.one_by_one = state.one_by_one.saturating_sub(self.size);
        match committed {
            // A deferred foreign key: SQLite does not say whose it was.
            Err(fault) if self.size > 1 && fault.is_a_broken_rule() => {
                state.one_by_one += self.size;
                Err(Fault::undone())
            }
            Err(fault) => Err(fault.of_a_change()),
            Ok(()) => Ok(()),
        }
    }
}

fn settle(end: End, outcome: Result<(), Fault>) {
    match end {
        End::Keep(caller) | End::Undo(Some(caller)) => drop(caller.send(outcome)),
        End::Undo(None) => {}
    }
}
