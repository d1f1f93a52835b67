//! The writer: a thread that owns the writing connection and commits in groups.
//!
//! A durable commit costs a sync of the disk, whether it holds one row or a hundred. So the writes that wait for the
//! writer are run one after the other in one transaction: each gets its own answer, and gets it only when the group's
//! COMMIT is done. One that fails or goes away undoes its own part only: SQLite undoes a failed statement by itself, and a
//! transaction runs behind a savepoint.
//!
//! It is a thread and not a task: a caller's runtime that is paused or ends holds up nobody else.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::super::database::Answer;
use super::super::errors::Fault;
use super::super::metrics::Counters;
use super::super::statement::Command;
use super::checkpoint::Checkpoints;
use super::group::{Group, OLDEST_GROUP, Served};
use super::pool::{Pool, Pooled};
use super::slow::Slow;
use super::transaction::{Slot, Transaction};
use crate::{Error, ErrorKind};

/// The queue's length; more writes wait for a place in it, in their order.
const LONGEST_QUEUE: usize = 1_024;

/// The writer is at rest when nobody has written for so long.
const REST: Duration = Duration::from_secs(1);

/// The writer's thread, and the queue in front of it.
pub(super) struct Writer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The writes that wait.
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something waits, or the queue is closed.
    filled: Condvar,
    room: Arc<Semaphore>,
    pub(super) counters: Arc<Counters>,
    pub(super) slow: Arc<Slow>,
}

#[derive(Default)]
pub(super) struct State {
    waiting: VecDeque<Waiting>,
    closed: bool,
    /// Whether the writer's thread has a group at work.
    at_work: bool,
    /// Whether somebody has written since the last rest.
    used: bool,
    /// Whether the last group had more than one part: then the next writer is not alone for long.
    pub(super) shared: bool,
    /// How many are to be committed each by itself: one of them made a COMMIT fail, and nobody knows which.
    pub(super) one_by_one: usize,
    /// Whether closures have lately been quick: then one may share a commit with those before it.
    pub(super) quick_closures: bool,
    /// Where the connection is that a transaction has.
    pub(super) lent: Option<Weak<Slot>>,
}

struct Waiting {
    work: Work,
    /// `None` for who found the writer free.
    since: Option<Instant>,
    _room: OwnedSemaphorePermit,
}

/// What waits for the writer.
pub(super) enum Work {
    Statement(Single),
    Transaction(oneshot::Sender<Result<Transaction, Fault>>),
}

/// A statement that is an operation by itself.
pub(super) struct Single {
    pub(super) change: Arc<Command>,
    pub(super) answer: oneshot::Sender<Result<Answer, Fault>>,
}

impl Work {
    /// It cannot be run: the writer would not begin, or there is none.
    pub(super) fn refuse(self, fault: Fault) {
        match self {
            Self::Statement(single) => drop(single.answer.send(Err(fault))),
            Self::Transaction(grant) => drop(grant.send(Err(fault))),
        }
    }
}

impl State {
    /// The writer is done with what it has, and nothing waits.
    pub(super) fn at_rest(&mut self) {
        self.at_work = !self.waiting.is_empty();
    }
}

impl Writer {
    pub(super) fn start(
        pool: Pool,
        checkpoints: Checkpoints,
        counters: &Arc<Counters>,
        slow: &Arc<Slow>,
    ) -> crate::Result<Self> {
        let queue = Arc::new(Queue {
            state: Mutex::default(),
            filled: Condvar::new(),
            room: Arc::new(Semaphore::new(LONGEST_QUEUE)),
            counters: Arc::clone(counters),
            slow: Arc::clone(slow),
        });
        let served = Arc::clone(&queue);
        let thread = std::thread::Builder::new().name("undercroft-writer".to_owned());
        let thread = thread.spawn(move || serve(&served, &pool, &checkpoints));
        let thread = thread.map_err(|error| {
            Error::new(ErrorKind::Internal, "the writer's thread could not be started").caused_by(error)
        })?;
        Ok(Self {
            queue,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Whether a transaction would have to wait for others, or would have others wait for it soon.
    pub(super) fn is_shared(&self) -> bool {
        let state = self.queue.state();
        state.at_work || state.shared || !state.waiting.is_empty()
    }

    /// Runs one statement in the next group.
    pub(super) async fn write(&self, change: Arc<Command>) -> Result<Answer, Fault> {
        let (answer, answered) = oneshot::channel();
        self.join(Work::Statement(Single { change, answer })).await?;
        answered.await.unwrap_or_else(|_| Err(Fault::undone()))
    }

    /// Waits for the writer's connection.
    pub(super) async fn lend(&self) -> Result<Transaction, Fault> {
        let (grant, granted) = oneshot::channel();
        self.join(Work::Transaction(grant)).await?;
        granted.await.unwrap_or_else(|_| Err(Fault::undone()))
    }

    /// Somebody has written without the writer's thread.
    pub(super) fn was_used(&self) {
        let mut state = self.queue.state();
        state.shared = false;
        if !std::mem::replace(&mut state.used, true) {
            self.queue.filled.notify_one();
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.state().waiting.len()
    }

    async fn join(&self, work: Work) -> Result<(), Fault> {
        let room = Arc::clone(&self.queue.room).acquire_owned().await;
        let room = room.map_err(|_| Fault::closed())?;
        let mut state = self.queue.state();
        if state.closed {
            return Err(Fault::closed());
        }
        let free = !state.at_work && state.waiting.is_empty();
        state.waiting.push_back(Waiting {
            work,
            since: (!free).then(Instant::now),
            _room: room,
        });
        if !state.at_work {
            self.queue.filled.notify_one();
        }
        Ok(())
    }

    /// Waits until those have been served that wait at this moment.
    pub(super) async fn those_before(&self) {
        if let Ok(turn) = self.lend().await {
            drop(turn.rollback().await);
        }
    }

    /// Ends the thread; it serves what waits first.
    pub(super) async fn close(&self) {
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            drop(super::on_blocking_thread(move || thread.join()).await);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Queue {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.state().closed = true;
        self.room.close();
        self.filled.notify_one();
    }

    /// What waits longest.
    pub(super) fn next(&self) -> Option<Work> {
        let next = self.state().waiting.pop_front()?;
        if let Some(since) = next.since {
            self.counters.waited(since.elapsed());
        }
        Some(next.work)
    }

    /// The transaction that waits longest, if nothing else has waited for longer.
    pub(super) fn next_transaction(&self) -> Option<oneshot::Sender<Result<Transaction, Fault>>> {
        let is_wanted = |waiting: &mut Waiting| match &waiting.work {
            Work::Transaction(grant) => !grant.is_closed(),
            Work::Statement(_) => false,
        };
        let next = self.state().waiting.pop_front_if(is_wanted)?;
        if let Some(since) = next.since {
            self.counters.waited(since.elapsed());
        }
        match next.work {
            Work::Transaction(grant) => Some(grant),
            Work::Statement(_) => None,
        }
    }

    /// Sleeps until something waits.
    fn wait(&self) -> Wait {
        let mut state = self.state();
        state.at_work = false;
        loop {
            if !state.waiting.is_empty() {
                state.at_work = true;
                state.used = true;
                return Wait::Work;
            }
            if state.closed {
                return Wait::Closed;
            }
            if !state.used {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.used = false;
            let waited = self.filled.wait_timeout(state, REST);
            let (again, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = again;
            if timeout.timed_out() && state.waiting.is_empty() && !state.used && !state.closed {
                return Wait::Rest;
            }
            state.used = true;
        }
    }
}

enum Wait {
    Work,
    /// Nobody has written for a while.
    Rest,
    Closed,
}

fn serve(queue: &Arc<Queue>, pool: &Pool, checkpoints: &Checkpoints) {
    // Only for waiting: it has no drivers and runs no tasks of anybody's.
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else {
        tracing::error!(target: "undercroft", "the writer has no way to wait");
        return;
    };
    loop {
        match queue.wait() {
            Wait::Closed => return,
            Wait::Rest => checkpoints.at_rest(),
            // A migration, a transaction by hand or the end gets the connection between two groups.
            Wait::Work => match runtime.block_on(pool.acquire()) {
                Ok(connection) => serve_a_group(queue, connection, checkpoints),
                Err(fault) => refuse_all(queue, &fault),
            },
        }
    }
}

fn serve_a_group(queue: &Arc<Queue>, connection: Pooled, checkpoints: &Checkpoints) {
    let (home, returned) = mpsc::channel();
    let mut group = Group::new(queue, connection, &home);
    let group = loop {
        match group.serve() {
            Served::Whole(whole) => break whole,
            Served::Lent => match wait_for(queue, &returned) {
                Some(back) => group = back,
                None => return,
            },
        }
    };
    if let Some(connection) = group.commit() {
        checkpoints.after_commit(&connection);
    }
}

/// Waits until the transactions that have the group one after the other are done, or one of them has kept it for so long
/// that it is taken back.
fn wait_for(queue: &Queue, returned: &mpsc::Receiver<Box<Group>>) -> Option<Box<Group>> {
    loop {
        match returned.recv_timeout(OLDEST_GROUP) {
            Ok(group) => return Some(group),
            Err(mpsc::RecvTimeoutError::Disconnected) => return None,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        let lent = queue.state().lent.clone();
        let Some(slot) = lent.and_then(|lent| lent.upgrade()) else {
            return returned.try_recv().ok();
        };
        if let Some((mut group, opened)) = slot.try_revoke(OLDEST_GROUP) {
            group.revoked(opened);
            return Some(group);
        }
    }
}

fn refuse_all(queue: &Queue, fault: &Fault) {
    while let Some(work) = queue.next() {
        work.refuse(fault.clone());
    }
}
