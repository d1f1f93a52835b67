//! The line of writers on SQLite: writes that wait for the one writer are committed in groups.
//!
//! A durable commit costs a sync of the disk, whether it holds one row or a hundred. So a writer that finds nobody else
//! commits by itself, and those who would have to wait are run one after the other in one transaction: each gets its own
//! answer, and gets it only when the group's COMMIT is done. Whoever fails or goes away undoes its own part only: SQLite
//! undoes a failed statement by itself, and a transaction runs behind a savepoint.
//!
//! A task leads the line while somebody waits in it. So no caller does another one's work, and one that goes away or is
//! never polled again holds up nobody.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::DbErr;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::connection::{Answer, Command};
use super::lane::{Held, Lane, Opening};
use super::metrics::Counters;
use super::operation::Progress;
use super::running::Running;
use crate::{Error, ErrorKind, Result};

/// So many may wait; more wait for a place in the line, in their order.
const LONGEST_LINE: usize = 1_024;

/// So many share one commit at most.
const LARGEST_GROUP: usize = 256;

/// A group takes nobody in any more when it is so old: those who were first wait for its commit.
const OLDEST_GROUP: Duration = Duration::from_millis(20);

/// The line. Cheap to clone.
#[derive(Clone)]
pub(super) struct Line(Arc<Inner>);

struct Inner {
    running: Running,
    lane: Lane,
    counters: Arc<Counters>,
    room: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// Whether a task leads the line.
    led: bool,
    /// Whether the last group had more than one in it: then the next writer is not alone for long.
    crowded: bool,
    /// So many are to be committed each by itself: one of them made a COMMIT fail, and nobody knows which.
    singly: usize,
    /// Whether the last transaction kept the writer for long: then nobody's commit waits for the next one's end.
    slow: bool,
}

struct Waiting {
    work: Work,
    since: Instant,
    _room: OwnedSemaphorePermit,
}

enum Work {
    Statement(Single),
    Transaction(oneshot::Sender<Outcome<Turn>>),
}

impl Work {
    /// It cannot be run: the writer would not begin, or there is none.
    fn refuse(self, failure: Failure) {
        match self {
            Self::Statement(single) => drop(single.answer.send(Err(failure))),
            Self::Transaction(grant) => drop(grant.send(Err(failure))),
        }
    }
}

struct Single {
    command: Command,
    progress: Arc<Progress>,
    answer: oneshot::Sender<Outcome<Answer>>,
}

/// Why a write was not stored, or may not be.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// Its own error.
    Own(DbErr),
    /// The COMMIT's error.
    Commit(DbErr),
    /// It was undone because of another one's error, or because the runtime of whoever sent it ended.
    Undone,
    /// The runtime of whoever sent it ended before the database confirmed it.
    Unconfirmed,
    /// The store was closed before its turn.
    Closed,
}

pub(super) type Outcome<T> = std::result::Result<T, Failure>;

/// A transaction's turn with the writer. When it is dropped, its part is undone.
pub(super) struct Turn {
    held: Option<Held>,
    back: Option<oneshot::Sender<Returned>>,
}

struct Returned {
    held: Option<Held>,
    end: End,
}

/// How a part ends.
enum End {
    /// It is to be committed with the group, and its caller hears about the commit.
    Keep(oneshot::Sender<Outcome<()>>),
    /// It is to be undone. A caller that has an error of its own to tell waits for the commit all the same: its reason
    /// may be a row of somebody else in the group, and holds only when that row is there.
    Undo(Option<oneshot::Sender<Outcome<()>>>),
}

impl End {
    fn into_caller(self) -> Option<oneshot::Sender<Outcome<()>>> {
        match self {
            Self::Keep(caller) => Some(caller),
            Self::Undo(caller) => caller,
        }
    }
}

impl Turn {
    /// The writer's connection, inside the group's transaction.
    pub(super) fn held(&mut self) -> Option<&mut Held> {
        self.held.as_mut()
    }

    /// Ends the part and waits until it is committed with its group.
    pub(super) async fn commit(self) -> Outcome<()> {
        self.end(End::Keep).await
    }

    /// Undoes the part and waits until what it saw of the others is committed.
    pub(super) async fn undo(self) -> Outcome<()> {
        self.end(|caller| End::Undo(Some(caller))).await
    }

    async fn end(mut self, how: impl FnOnce(oneshot::Sender<Outcome<()>>) -> End) -> Outcome<()> {
        let (done, committed) = oneshot::channel();
        self.give_back(how(done));
        committed.await.unwrap_or(Err(Failure::Undone))
    }

    fn give_back(&mut self, end: End) {
        if let Some(back) = self.back.take() {
            let held = self.held.take();
            back.send(Returned { held, end }).ok();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.give_back(End::Undo(None));
    }
}

impl Line {
    pub(super) fn new(running: Running, lane: Lane, counters: Arc<Counters>) -> Self {
        Self(Arc::new(Inner {
            running,
            lane,
            counters,
            room: Arc::new(Semaphore::new(LONGEST_LINE)),
            state: Mutex::default(),
        }))
    }

    /// The writer, when nobody else has it or waits for it: who is alone need not join the line.
    pub(super) async fn alone(&self) -> Option<Result<Held>> {
        let place = {
            let state = self.state();
            if state.led || state.crowded {
                return None;
            }
            self.0.lane.free_place()?
        };
        Some(self.0.lane.held(place).await)
    }

    /// Runs one statement in the next group.
    pub(super) async fn run(&self, command: Command, progress: &Arc<Progress>) -> Result<Outcome<Answer>> {
        let (answer, answered) = oneshot::channel();
        let progress = Arc::clone(progress);
        let single = Single {
            command,
            progress,
            answer,
        };
        self.join(Work::Statement(single)).await?;
        Ok(answered.await.unwrap_or(Err(Failure::Undone)))
    }

    /// Waits for a transaction's turn.
    pub(super) async fn turn(&self) -> Result<Outcome<Turn>> {
        let (grant, granted) = oneshot::channel();
        self.join(Work::Transaction(grant)).await?;
        Ok(granted.await.unwrap_or(Err(Failure::Undone)))
    }

    /// How many wait.
    pub(super) fn length(&self) -> usize {
        self.state().waiting.len()
    }

    async fn join(&self, work: Work) -> Result<()> {
        let room = Arc::clone(&self.0.room).acquire_owned().await;
        let room = room.map_err(|_| Error::new(ErrorKind::Unavailable, "the store is closed"))?;
        let waiting = Waiting {
            work,
            since: Instant::now(),
            _room: room,
        };
        let unled = {
            let mut state = self.state();
            state.waiting.push_back(waiting);
            !std::mem::replace(&mut state.led, true)
        };
        if unled {
            let leader = Leader {
                line: self.clone(),
                at_work: true,
            };
            tokio::spawn(leader.lead());
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody leads any more: those who waited.
    fn dissolve(&self) -> VecDeque<Waiting> {
        let mut state = self.state();
        state.led = false;
        std::mem::take(&mut state.waiting)
    }

    fn next(&self) -> Option<Work> {
        let next = self.state().waiting.pop_front()?;
        self.0.counters.waited(next.since.elapsed());
        Some(next.work)
    }

    /// The statements behind this one with the same text.
    fn more_like(&self, first: &Single, limit: usize) -> Vec<Single> {
        let mut state = self.state();
        let alike = |waiting: &Waiting| match &waiting.work {
            Work::Statement(single) => single
                .command
                .text()
                .is_some_and(|text| first.command.text() == Some(text)),
            Work::Transaction(_) => false,
        };
        let found = state
            .waiting
            .iter()
            .take(limit)
            .take_while(|waiting| alike(waiting))
            .count();
        let mut more = Vec::with_capacity(found);
        for waiting in state.waiting.drain(..found) {
            self.0.counters.waited(waiting.since.elapsed());
            if let Work::Statement(single) = waiting.work {
                more.push(single);
            }
        }
        more
    }
}

/// The task that leads the line. When it is dropped with its runtime, those who wait stand in line again, and so do those
/// in its group: what is dropped with a group was not committed.
struct Leader {
    line: Line,
    at_work: bool,
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.at_work {
            drop(self.line.dissolve());
        }
    }
}

impl Leader {
    async fn lead(mut self) {
        while self.at_work {
            // Whoever else wants the writer (a migration, a transaction by hand, the end) gets it between two groups.
            match self.line.0.lane.take().await {
                Ok(writer) => self.lead_a_group(writer).await,
                Err(error) => {
                    tracing::debug!(target: "undercroft", %error, "the line has no writer");
                    self.at_work = false;
                    let waiting = self.line.dissolve();
                    return waiting.into_iter().for_each(|one| one.work.refuse(Failure::Closed));
                }
            }
            let mut state = self.line.state();
            self.at_work = !state.waiting.is_empty();
            state.led = self.at_work;
        }
    }

    async fn lead_a_group(&self, writer: Held) {
        let mut group = Group::new(&self.line, writer);
        while group.takes_more() {
            let Some(work) = self.line.next() else { break };
            match work {
                Work::Statement(single) => group.run(single).await,
                Work::Transaction(grant) => group.lend(grant).await,
            }
        }
        group.commit().await;
    }
}

/// A group in the making: an open transaction of the writer, and who waits for its commit.
struct Group<'a> {
    line: &'a Line,
    /// Missing only while it is lent.
    writer: Option<Held>,
    begun: Option<Instant>,
    waiting: Vec<Part>,
    parts: usize,
    limit: usize,
    over: bool,
    /// Whether the last transaction's savepoint is there.
    fenced: bool,
}

enum Part {
    Statement(oneshot::Sender<Outcome<Answer>>, Outcome<Answer>),
    Transaction(oneshot::Sender<Outcome<()>>),
    /// A transaction that is undone, and has a reason of its own to tell.
    Failed(oneshot::Sender<Outcome<()>>),
}

impl Part {
    fn settle(self, commit: &Outcome<()>) {
        match (self, commit) {
            // Its own error may come from a row of somebody else in the group: it holds only when that row is there.
            (Self::Statement(caller, answer), Ok(())) => drop(caller.send(answer)),
            (Self::Statement(caller, _), Err(failure)) => drop(caller.send(Err(failure.clone()))),
            (Self::Transaction(caller), commit) => drop(caller.send(commit.clone())),
            // Not for anything of its own: it tries again without what is gone.
            (Self::Failed(caller), commit) => drop(caller.send(commit.clone().map_err(|_| Failure::Undone))),
        }
    }
}

/// Those whose COMMIT is on its way.
struct Committing(Vec<Part>);

impl Committing {
    fn settle(mut self, commit: &Outcome<()>) {
        self.0.drain(..).for_each(|part| part.settle(commit));
    }
}

impl Drop for Committing {
    fn drop(&mut self) {
        let unconfirmed = Err(Failure::Unconfirmed);
        self.0.drain(..).for_each(|part| part.settle(&unconfirmed));
    }
}

impl<'a> Group<'a> {
    fn new(line: &'a Line, writer: Held) -> Self {
        let singly = line.state().singly > 0;
        Self {
            line,
            writer: Some(writer),
            begun: None,
            waiting: vec![],
            parts: 0,
            limit: if singly { 1 } else { LARGEST_GROUP },
            over: false,
            fenced: false,
        }
    }

    fn takes_more(&self) -> bool {
        let young = self.begun.is_none_or(|begun| begun.elapsed() < OLDEST_GROUP);
        young && self.parts < self.limit && !self.over
    }

    /// Runs a statement, together with those behind it that have the same text.
    async fn run(&mut self, first: Single) {
        if first.answer.is_closed() {
            return;
        }
        let more = self.line.more_like(&first, self.limit - self.parts - 1);
        let together = std::iter::once(first).chain(more).collect::<VecDeque<_>>();
        if let Err(error) = self.begin().await {
            together
                .into_iter()
                .for_each(|single| Work::Statement(single).refuse(Failure::Own(error.clone())));
            return;
        }
        let wanted = |single: &Single| !single.answer.is_closed() && single.progress.sends();
        let mut together = together.into_iter().filter(wanted).collect::<VecDeque<_>>();
        self.parts += together.len();
        while !together.is_empty() {
            if let Err((failed, error)) = self.run_some(&mut together).await {
                self.undo_all(Some((failed, error))).await;
                together
                    .into_iter()
                    .for_each(|single| drop(single.answer.send(Err(Failure::Undone))));
                return;
            }
        }
    }

    /// Runs them up to the first that fails.
    ///
    /// # Errors
    /// When the failure took the whole transaction with it.
    async fn run_some(&mut self, together: &mut VecDeque<Single>) -> std::result::Result<(), (Single, DbErr)> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let commands = together.iter().map(|single| single.command.clone());
        let commands = commands.collect::<Vec<_>>();
        for command in &commands {
            self.line.0.counters.sent(command.sql());
        }
        let (answers, error) = writer.perform_alike(commands).await;
        for answer in answers {
            if let Some(single) = together.pop_front() {
                self.waiting.push(Part::Statement(single.answer, Ok(answer)));
            }
        }
        let Some(error) = error else { return Ok(()) };
        let Some(failed) = together.pop_front() else {
            return Ok(());
        };
        if self.line.0.running.ends_the_transaction(&error) {
            return Err((failed, error));
        }
        self.waiting
            .push(Part::Statement(failed.answer, Err(Failure::Own(error))));
        Ok(())
    }

    /// Lends the writer to a transaction until it has done its part.
    async fn lend(&mut self, grant: oneshot::Sender<Outcome<Turn>>) {
        if grant.is_closed() {
            return;
        }
        if self.line.state().slow {
            self.commit().await;
        }
        if let Err(error) = self.open_with_the_next().await {
            Work::Transaction(grant).refuse(Failure::Own(error));
            return;
        }
        let (back, returned) = oneshot::channel();
        let turn = Turn {
            held: self.writer.take(),
            back: Some(back),
        };
        // When nobody takes it, it comes back at once.
        drop(grant.send(Ok(turn)));
        let lent = Instant::now();
        let Ok(Returned { held, end }) = returned.await else {
            self.over = true;
            return;
        };
        self.line.state().slow = lent.elapsed() > OLDEST_GROUP;
        self.writer = held;
        self.take_back(end, lent).await;
    }

    /// What a transaction needs before its first statement goes out with that one. The group's first part has the
    /// group's transaction to itself; the others are fenced from it by a savepoint. One at a time: the pages that SQLite
    /// keeps for going back to it stay in memory then, where those of many would fill a file.
    async fn open_with_the_next(&mut self) -> std::result::Result<(), DbErr> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if self.begun.is_none() {
            let begun = writer.begin_with_the_next().await;
            self.over = begun.is_err();
            return begun;
        }
        match (self.parts > 0, self.fenced) {
            (false, _) => {}
            (true, false) => writer.opens_with_the_next("SAVEPOINT part"),
            (true, true) => writer.opens_with_the_next("RELEASE part; SAVEPOINT part"),
        }
        Ok(())
    }

    /// A transaction has done its part.
    async fn take_back(&mut self, end: End, lent: Instant) {
        let opening = self.writer.as_mut().map_or(Opening::Sent, Held::take_opening);
        let first = self.parts == 0;
        if opening == Opening::Done {
            self.begun.get_or_insert(lent);
            self.fenced = !first;
        }
        if opening == Opening::Sent {
            // The writer would not begin: the next group takes it anew.
            self.over = true;
        }
        match (opening, end) {
            // It sent nothing, and so it saw nothing.
            (Opening::Next(_), end) => settle(end.into_caller(), Ok(())),
            (_, End::Undo(caller)) if first => {
                self.start_again().await;
                settle(caller, Ok(()));
            }
            // Nobody knows whether there is a savepoint to go back to.
            (Opening::Sent, end) => {
                self.undo_all(None).await;
                settle(end.into_caller(), Err(Failure::Undone));
            }
            (Opening::Done, End::Keep(caller)) => {
                self.parts += 1;
                self.waiting.push(Part::Transaction(caller));
            }
            (Opening::Done, End::Undo(caller)) => {
                if self.control("ROLLBACK TO part").await.is_ok() {
                    self.waiting.extend(caller.map(Part::Failed));
                    return;
                }
                // Its error took everything with it, as a full disk does: that is nobody else's.
                self.undo_all(None).await;
                settle(caller, Ok(()));
            }
        }
    }

    async fn begin(&mut self) -> std::result::Result<(), DbErr> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if self.begun.is_none() {
            let begun = writer.begin().await;
            if begun.is_err() {
                self.over = true;
            }
            begun?;
            self.begun = Some(Instant::now());
        }
        Ok(())
    }

    async fn control(&mut self, sql: &str) -> std::result::Result<(), DbErr> {
        match &mut self.writer {
            Some(writer) => writer.control(sql).await,
            None => Ok(()),
        }
    }

    /// Undoes what the first part did, when nobody else has done anything yet.
    async fn start_again(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.rollback().await;
        }
        self.begun = None;
        self.fenced = false;
    }

    /// SQLite has undone everything, or has to. Who is not to blame tries again.
    async fn undo_all(&mut self, blamed: Option<(Single, DbErr)>) {
        self.start_again().await;
        self.over = true;
        let undone = Err(Failure::Undone);
        self.waiting.drain(..).for_each(|part| part.settle(&undone));
        if let Some((blamed, error)) = blamed {
            blamed.answer.send(Err(Failure::Own(error))).ok();
        }
    }

    async fn commit(&mut self) {
        let (Some(writer), Some(_)) = (&mut self.writer, self.begun.take()) else {
            return;
        };
        let parts = Committing(std::mem::take(&mut self.waiting));
        let mut committed = writer.commit().await.map_err(Failure::Commit);
        {
            let mut state = self.line.state();
            state.crowded = self.parts > 1;
            state.singly = state.singly.saturating_sub(self.parts);
            // A deferred foreign key: SQLite does not say whose it was.
            if let Err(Failure::Commit(error)) = &committed
                && self.parts > 1
                && self.line.0.running.is_a_broken_rule(error)
            {
                state.singly += self.parts;
                committed = Err(Failure::Undone);
            }
        }
        self.line.0.counters.group_of(self.parts);
        self.parts = 0;
        self.fenced = false;
        parts.settle(&committed);
    }
}

fn settle(caller: Option<oneshot::Sender<Outcome<()>>>, outcome: Outcome<()>) {
    if let Some(caller) = caller {
        caller.send(outcome).ok();
    }
}
