//! The writes that wait for the writer.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::super::errors::Fault;
use super::super::metrics::Counters;
use super::super::statement::{Answer, Command};
use super::slow::Slow;
use super::transaction::{Slot, Transaction};

/// The queue's length; more writes wait for a place in it, in their order.
const LONGEST_QUEUE: usize = 1_024;

/// The writer is at rest when nobody has written for so long.
const REST: Duration = Duration::from_secs(1);

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
    /// When a closure was last too slow for those before it.
    revoked: Option<Instant>,
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
    /// For a second after one was too slow, each closure begins with nobody's commit before it: that one is run again.
    pub(super) fn note_closure(&mut self, quick: bool) {
        let lately = self.revoked.is_some_and(|revoked| revoked.elapsed() < REST);
        self.quick_closures = quick && !lately;
    }

    pub(super) fn note_revoked(&mut self) {
        self.quick_closures = false;
        self.revoked = Some(Instant::now());
    }

    /// The writer is done with what it has, and nothing waits.
    pub(super) fn at_rest(&mut self) {
        self.at_work = !self.waiting.is_empty();
    }
}

impl Queue {
    pub(super) fn new(counters: &Arc<Counters>, slow: &Arc<Slow>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            room: Arc::new(Semaphore::new(LONGEST_QUEUE)),
            counters: Arc::clone(counters),
            slow: Arc::clone(slow),
        })
    }

    /// Waits for room, and then in the queue.
    pub(super) async fn join(&self, work: Work) -> Result<(), Fault> {
        let room = Arc::clone(&self.room).acquire_owned().await;
        let room = room.map_err(|_| Fault::closed())?;
        let mut state = self.state();
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
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Whether a transaction would have to wait for others, or would have others wait for it soon.
    pub(super) fn is_shared(&self) -> bool {
        let state = self.state();
        state.at_work || state.shared || !state.waiting.is_empty()
    }

    /// Somebody has written without the writer's thread.
    pub(super) fn was_used(&self) {
        let mut state = self.state();
        state.shared = false;
        if !std::mem::replace(&mut state.used, true) {
            self.filled.notify_one();
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn close(&self) {
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
    pub(super) fn wait(&self) -> Wait {
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

/// Why the writer woke up.
pub(super) enum Wait {
    Work,
    /// Nobody has written for a while.
    Rest,
    Closed,
}
