//! A group in the making: an open transaction of the writer, and who waits for its commit.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::errors::Fault;
use super::super::statement::Answer;
use super::connection::{BEGIN, Connection};
use super::pool::Pooled;
use super::queue::{Queue, Single, Work};
use super::transaction::{End, Held, Lent, Slot, Transaction, commit};

/// How many share one commit at most.
const LARGEST_GROUP: usize = 256;

/// A group takes nobody in any more when it is so old: those who were first wait for its commit. A closure that keeps the
/// writer for longer, while others wait for its group's commit, loses it and is run again.
pub(super) const OLDEST_GROUP: Duration = Duration::from_millis(20);

/// What a transaction's part is undone by.
const SAVEPOINT: &str = "SAVEPOINT part";

/// One at a time: the pages that SQLite keeps for going back to it stay in memory then, where those of many would fill a
/// file.
const NEXT_SAVEPOINT: &str = "RELEASE part; SAVEPOINT part";

/// It belongs to the writer's thread, or to the transaction whose part is being made: that hands it on to the next
/// transaction that waits, if one does, and else back to the thread.
pub(super) struct Group {
    queue: Arc<Queue>,
    /// Back to the writer's thread.
    home: mpsc::Sender<Box<Self>>,
    /// Missing once it is given back.
    connection: Option<Pooled>,
    /// Since when a transaction has it.
    lent: Instant,
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

/// What became of a group that was served.
pub(super) enum Served {
    /// Nothing that it may take waits any more: it is to be committed.
    Whole(Box<Group>),
    /// A transaction has it.
    Lent,
}

impl Group {
    pub(super) fn new(queue: &Arc<Queue>, connection: Pooled, home: &mpsc::Sender<Box<Self>>) -> Box<Self> {
        let one_by_one = queue.state().one_by_one > 0;
        Box::new(Self {
            queue: Arc::clone(queue),
            home: home.clone(),
            connection: Some(connection),
            lent: Instant::now(),
            begun: None,
            parts: vec![],
            size: 0,
            limit: if one_by_one { 1 } else { LARGEST_GROUP },
            over: false,
            has_savepoint: false,
        })
    }

    /// Runs what waits, until a transaction has the group or nothing more is to be taken.
    pub(super) fn serve(mut self: Box<Self>) -> Served {
        while self.takes_more() {
            match self.queue.next() {
                Some(Work::Statement(single)) => self.run(single),
                Some(Work::Transaction(grant)) if !grant.is_closed() => {
                    self.lend(grant);
                    return Served::Lent;
                }
                Some(Work::Transaction(_)) => {}
                None => break,
            }
        }
        Served::Whole(self)
    }

    fn takes_more(&self) -> bool {
        let young = self.begun.is_none_or(|begun| begun.elapsed() < OLDEST_GROUP);
        young && self.size < self.limit && !self.over && self.connection.is_some()
    }

    /// Runs a statement.
    fn run(&mut self, single: Single) {
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

    /// Lends itself to a transaction until that has done its part.
    fn lend(mut self: Box<Self>, grant: oneshot::Sender<Result<Transaction, Fault>>) {
        // Nobody's commit waits for a closure of which nothing is known.
        if self.size > 0 && !self.queue.state().quick_closures {
            self.settle();
        }
        let opening = match (self.begun.is_some(), self.size > 0, self.has_savepoint) {
            (false, ..) => Some(BEGIN),
            (true, false, _) => None,
            (true, true, false) => Some(SAVEPOINT),
            (true, true, true) => Some(NEXT_SAVEPOINT),
        };
        self.lent = Instant::now();
        let queue = Arc::clone(&self.queue);
        let slot = Slot::new(Held::Part(self), opening);
        queue.state().lent = Some(Arc::downgrade(&slot));
        let turn = Transaction::lent(slot, &queue.slow, &queue.counters);
        // When nobody takes it, it is dropped, and so ends at once.
        drop(grant.send(Ok(turn)));
    }

    fn go_home(self: Box<Self>) {
        let home = self.home.clone();
        // There is always somebody at home: the thread ends with nothing lent.
        drop(home.send(self));
    }

    fn end_part(&mut self, opened: bool, end: End) {
        let first = self.size == 0;
        let in_transaction = self
            .connection
            .as_ref()
            .is_some_and(|connection| connection.in_transaction());
        if !opened {
            // It sent nothing, and so it saw nothing; or the writer would not begin, and then the next group tries again.
            self.over = self.begun.is_none();
            return end.report(Ok(()));
        }
        let lent = self.lent;
        self.begun.get_or_insert(lent);
        self.has_savepoint = !first;
        match end {
            // SQLite has ended the transaction by itself.
            End::Keep(_) if !in_transaction => {
                self.undo_all();
                end.report(Err(Fault::undone()));
            }
            End::Undo(_) if first || !in_transaction => {
                self.undo_all();
                self.over = !first;
                end.report(Ok(()));
            }
            End::Keep(caller) => {
                self.size += 1;
                self.parts.push(Part::Transaction(caller));
            }
            End::Undo(caller) => {
                self.undo_part();
                match self.begun {
                    Some(_) => self.parts.extend(caller.map(Part::Failed)),
                    // Its error took everything with it: that is nobody else's.
                    None => End::Undo(caller).report(Ok(())),
                }
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

impl Lent for Group {
    fn connection(&self) -> Option<&Connection> {
        self.connection.as_deref()
    }

    /// One that was not opened has done nothing yet, and may never: its runtime may stand still.
    fn has_waited(&self, opened: bool, patience: Duration) -> bool {
        let waited = !self.parts.is_empty() || (!opened && self.queue.waiting() > 0);
        waited && self.lent.elapsed() > patience
    }

    /// On its caller's thread: the next transaction has the group without the writer's thread being woken; everything else
    /// waits for that.
    fn take_back(mut self: Box<Self>, opened: bool, end: End) {
        let quick = self.lent.elapsed() < OLDEST_GROUP / 4;
        self.queue.state().note_closure(quick);
        self.end_part(opened, end);
        match self.takes_more().then(|| self.queue.next_transaction()).flatten() {
            Some(grant) => self.lend(grant),
            None => self.go_home(),
        }
    }

    /// Those who wait have their commit, and the closure is run again.
    fn revoke(mut self: Box<Self>, opened: bool) {
        self.queue.state().note_revoked();
        if opened {
            self.undo_part();
        }
        self.over = true;
        self.go_home();
    }
}
