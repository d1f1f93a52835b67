//! The writer: a thread that owns the writing connection and commits in groups.
//!
//! A durable commit costs a sync of the disk, whether it holds one row or a hundred. So the writes that wait for the
//! writer are run one after the other in one transaction: each gets its own answer, and gets it only when the group's
//! COMMIT is done. One that fails or goes away undoes its own part only: SQLite undoes a failed statement by itself, and a
//! transaction runs behind a savepoint.
//!
//! It is a thread and not a task: a caller's runtime that is paused or ends holds up nobody else.

use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::super::errors::Fault;
use super::super::metrics::Counters;
use super::super::statement::{Answer, Command};
use super::blocking::on_blocking_thread;
use super::checkpoint::Checkpoints;
use super::group::{Group, OLDEST_GROUP, Served};
use super::pool::{Pool, Pooled};
use super::queue::{Queue, Single, Wait, Work};
use super::slow::Slow;
use super::transaction::Transaction;
use crate::{Error, ErrorKind};

/// The writer's thread, and the queue in front of it.
pub(super) struct Writer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(
        pool: Pool,
        checkpoints: Checkpoints,
        counters: &Arc<Counters>,
        slow: &Arc<Slow>,
    ) -> crate::Result<Self> {
        let queue = Queue::new(counters, slow);
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
        self.queue.is_shared()
    }

    /// Runs one statement in the next group.
    pub(super) async fn write(&self, change: Arc<Command>) -> Result<Answer, Fault> {
        let (answer, answered) = oneshot::channel();
        self.queue.join(Work::Statement(Single { change, answer })).await?;
        answered.await.unwrap_or_else(|_| Err(Fault::undone()))
    }

    /// Waits for the writer's connection.
    pub(super) async fn lend(&self) -> Result<Transaction, Fault> {
        let (grant, granted) = oneshot::channel();
        self.queue.join(Work::Transaction(grant)).await?;
        granted.await.unwrap_or_else(|_| Err(Fault::undone()))
    }

    /// Somebody has written without the writer's thread.
    pub(super) fn was_used(&self) {
        self.queue.was_used();
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.waiting()
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
            drop(on_blocking_thread(move || thread.join()).await);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
    }
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
        match lent.as_ref().and_then(Weak::upgrade) {
            // Then it comes home.
            Some(slot) => slot.revoke(OLDEST_GROUP),
            None => {
                if let Ok(group) = returned.try_recv() {
                    return Some(group);
                }
                // Unless it was handed on meanwhile, nobody has it.
                let now = queue.state().lent.clone();
                if lent.zip(now).is_none_or(|(then, now)| then.ptr_eq(&now)) {
                    return None;
                }
            }
        }
    }
}

fn refuse_all(queue: &Queue, fault: &Fault) {
    while let Some(work) = queue.next() {
        work.refuse(fault.clone());
    }
}
