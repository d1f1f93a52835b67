//! Transactions: serializable on both databases, doomed by the first failure, clean after a cancellation.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sea_orm::DbErr;
use tokio::sync::Mutex as AsyncMutex;

use super::connection::{Answer, Command};
use super::errors::breaks_the_connection;
use super::lane::Held;
use super::line::{Failure, Outcome, Turn};
use super::operation::Progress;
use super::{Engine, errors};
use crate::{Error, ErrorKind, Result};

/// An open transaction. Cheap to clone; every clone is the same transaction. When the last one is dropped before
/// [`commit`](Self::commit), nothing of it is kept.
///
/// The first operation that answers an error dooms the transaction, on both databases: every later call and the commit
/// answer [`TransactionAborted`](ErrorKind::TransactionAborted). Put what may fail into a [`scope`](Self::scope).
#[derive(Clone)]
pub struct Tx {
    shared: Arc<Shared>,
    scope: Arc<Scope>,
}

struct Shared {
    engine: Arc<Engine>,
    /// `None` once it is committed or rolled back.
    open: AsyncMutex<Option<Open>>,
    /// The depth of the scope that is at work: only its own operations may run.
    depth: AtomicUsize,
}

/// The writer, inside a transaction. Dropped, it undoes what was done.
enum Open {
    /// In a transaction of its own.
    Alone(Held),
    /// In a part of a group's.
    Part(Turn),
}

impl Open {
    fn held(&mut self) -> Result<&mut Held> {
        match self {
            Self::Alone(held) => Ok(held),
            Self::Part(turn) => turn.held().ok_or_else(over),
        }
    }

    async fn commit(self) -> Outcome<()> {
        match self {
            Self::Alone(mut held) => held.commit().await.map_err(Failure::Commit),
            Self::Part(turn) => turn.commit().await,
        }
    }
}

/// A savepoint, or at depth 0 the transaction itself.
struct Scope {
    depth: usize,
    doom: Mutex<Option<Doom>>,
}

/// The failure after which a scope takes no more operations.
#[derive(Clone)]
struct Doom {
    kind: ErrorKind,
    message: String,
}

impl Doom {
    fn error(&self) -> Error {
        let advice = "nothing of this transaction is kept; roll it back and start again";
        Error::new(
            ErrorKind::TransactionAborted,
            format!("an earlier operation failed ({}); {advice}", self.message),
        )
    }
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx")
            .field("depth", &self.scope.depth)
            .field("doomed", &self.doomed().is_some())
            .finish()
    }
}

tokio::task_local! {
    /// The engine whose transaction this task is inside of: an address, only to be compared.
    static INSIDE: usize;
}

/// Refuses a call on the store from inside the closure of one of its transactions. On SQLite it would wait for the one
/// writer, which the transaction has, and so for itself; on Postgres it would be no part of the transaction.
pub(super) fn refuse_inside(engine: &Engine) -> Result<()> {
    match INSIDE.try_with(|inside| *inside == std::ptr::from_ref(engine).addr()) {
        Ok(true) => Err(Error::invalid(
            "the store",
            "was called inside its own transaction; call the closure's `tx`",
        )),
        _ => Ok(()),
    }
}

/// Begins, runs `work`, commits; and all of it again while it loses against other transactions.
pub(super) async fn run<T, F, Fut>(engine: &Arc<Engine>, progress: &Progress, durable: bool, mut work: F) -> Result<T>
where
    F: FnMut(Tx) -> Fut + Send,
    Fut: Future<Output = Result<T>> + Send,
{
    let mut attempts = engine.retry.start();
    loop {
        let error = match attempt(engine, progress, durable, &mut work).await {
            Err(error) if error.kind() == ErrorKind::Contention => error,
            settled => return settled,
        };
        if !attempts.again().await {
            return Err(error);
        }
        engine.counters.retried();
        progress.retried();
    }
}

async fn attempt<T, F, Fut>(engine: &Arc<Engine>, progress: &Progress, durable: bool, work: &mut F) -> Result<T>
where
    F: FnMut(Tx) -> Fut + Send,
    Fut: Future<Output = Result<T>> + Send,
{
    let tx = Tx::join(engine, durable).await?;
    let outcome = INSIDE.scope(Arc::as_ptr(engine).addr(), work(tx.clone())).await;
    // Work that lost against another transaction is tried again, whatever it made of the error.
    let lost = tx.doomed().filter(|doom| doom.kind == ErrorKind::Contention);
    match (outcome, lost) {
        (_, Some(doom)) => {
            tx.rollback().await;
            Err(Error::new(ErrorKind::Contention, doom.message))
        }
        (Ok(value), None) => {
            progress.sends();
            let committed = tx.commit().await;
            progress.settled();
            committed.map(|()| value)
        }
        (Err(error), None) => {
            tx.undo().await?;
            Err(error)
        }
    }
}

impl Tx {
    /// [`Store::transaction`](crate::Store::transaction).
    pub(crate) async fn run<T, F, Fut>(engine: &Arc<Engine>, work: F) -> Result<T>
    where
        F: FnMut(Tx) -> Fut + Send,
        Fut: Future<Output = Result<T>> + Send,
    {
        run(engine, &Progress::default(), false, work).await
    }

    /// A transaction whose end is in the caller's hands: it shares no commit, because others would wait for it.
    pub(crate) async fn begin(engine: &Arc<Engine>) -> Result<Self> {
        let begin = async {
            let mut held = engine.writer.take().await?;
            let begun = held.begin().await;
            Self::on_a_connection_that_answers(engine, held, begun).await
        };
        Self::within_deadline(engine, begin).await
    }

    /// A transaction that ends with a closure, and may share its commit with others.
    async fn join(engine: &Arc<Engine>, durable: bool) -> Result<Self> {
        let begin = async {
            if durable && engine.lowered.is_some() {
                return Self::alone(engine, engine.durable_writer().await?).await;
            }
            let Some(line) = &engine.line else {
                return Self::alone(engine, engine.writer.take().await?).await;
            };
            if let Some(held) = line.alone().await {
                return Self::alone(engine, held?).await;
            }
            let turn = line.turn().await?;
            let turn = turn.map_err(|failure| engine.not_begun(failure))?;
            Ok(Self::new(engine, Open::Part(turn)))
        };
        Self::within_deadline(engine, begin).await
    }

    async fn within_deadline(engine: &Engine, begin: impl Future<Output = Result<Self>>) -> Result<Self> {
        refuse_inside(engine)?;
        match tokio::time::timeout(engine.operation_timeout, begin).await {
            Ok(begun) => begun,
            Err(_) => Err(engine.timed_out("waiting for a transaction to begin")),
        }
    }

    async fn alone(engine: &Arc<Engine>, mut held: Held) -> Result<Self> {
        let begun = held.begin_with_the_next().await;
        Self::on_a_connection_that_answers(engine, held, begun).await
    }

    /// A connection that lay idle may have been cut off: BEGIN is the first to notice, and loses nothing by it.
    async fn on_a_connection_that_answers(
        engine: &Arc<Engine>,
        mut held: Held,
        begun: std::result::Result<(), DbErr>,
    ) -> Result<Self> {
        let begun = match begun {
            Err(error) if breaks_the_connection(&error) => {
                drop(held);
                let tested = engine.writer.take_tested().await;
                held = tested.map_err(|_| engine.running.classify(&error, ""))?;
                held.begin().await
            }
            begun => begun,
        };
        begun.map_err(|error| engine.running.classify(&error, ""))?;
        Ok(Self::new(engine, Open::Alone(held)))
    }

    fn new(engine: &Arc<Engine>, open: Open) -> Self {
        engine.counters.begun();
        let shared = Shared {
            engine: Arc::clone(engine),
            open: AsyncMutex::new(Some(open)),
            depth: AtomicUsize::new(0),
        };
        Self {
            shared: Arc::new(shared),
            scope: Scope::at(0),
        }
    }

    pub(super) fn engine(&self) -> &Arc<Engine> {
        &self.shared.engine
    }

    /// Makes the transaction's changes durable and visible, all of them at once.
    ///
    /// # Errors
    /// `TransactionAborted` when an operation of it failed; `Contention` when it lost against another transaction, and
    /// nothing of it is kept; `CommitUnknown` when the connection or the deadline was lost while it was being committed.
    pub async fn commit(self) -> Result<()> {
        if self.scope.depth > 0 {
            return Err(self.ended_by_hand("commit"));
        }
        if let Err(error) = self.usable() {
            self.undo().await?;
            return Err(error);
        }
        let open = self.shared.open.lock().await.take().ok_or_else(over)?;
        let engine = self.engine();
        match tokio::time::timeout(engine.operation_timeout, open.commit()).await {
            Ok(done) => {
                done.map_err(|failure| engine.failed(failure, ""))?;
                engine.counters.committed();
                Ok(())
            }
            Err(_) => Err(errors::commit_unknown("the deadline passed")),
        }
    }

    /// Gives the transaction up: nothing of it is kept. Dropping it does the same, a little later.
    pub async fn rollback(self) {
        if self.scope.depth > 0 {
            self.ended_by_hand("rollback");
            return;
        }
        // Whatever comes of it, what was not committed is not kept.
        drop(self.undo().await);
    }

    /// Gives the transaction up.
    ///
    /// # Errors
    /// When others' changes that it saw were undone too: then what it decided by them holds no longer.
    async fn undo(self) -> Result<()> {
        let engine = self.engine();
        let limit = engine.operation_timeout;
        match self.shared.open.lock().await.take() {
            None => Ok(()),
            Some(Open::Alone(mut held)) => {
                drop(tokio::time::timeout(limit, held.rollback()).await);
                Ok(())
            }
            Some(Open::Part(turn)) => match tokio::time::timeout(limit, turn.undo()).await {
                Ok(undone) => undone.map_err(|failure| engine.not_begun(failure)),
                Err(_) => Err(engine.timed_out("waiting for the commits of others")),
            },
        }
    }

    /// Runs `work` behind a savepoint: when it fails, its own changes are undone and this transaction goes on. While the
    /// scope is open, only its own `Tx` may be used.
    ///
    /// # Errors
    /// Those of `work`. A lost race, a full disk and a lost connection doom the whole transaction all the same.
    pub async fn scope<T, F, Fut>(&self, work: F) -> Result<T>
    where
        F: FnOnce(Tx) -> Fut + Send,
        Fut: Future<Output = Result<T>> + Send,
    {
        let depth = self.scope.depth + 1;
        self.control(&format!("SAVEPOINT scope_{depth}")).await?;
        let inner = Self {
            shared: Arc::clone(&self.shared),
            scope: Scope::at(depth),
        };
        self.shared.depth.store(depth, Ordering::Release);
        let outcome = work(inner.clone()).await;
        let outcome = outcome.and_then(|value| inner.usable().map(|()| value));
        self.shared.depth.store(self.scope.depth, Ordering::Release);
        match outcome {
            Ok(value) => {
                self.control(&format!("RELEASE SAVEPOINT scope_{depth}")).await?;
                Ok(value)
            }
            Err(error) => {
                let fatal = inner.doomed().filter(|doom| !can_be_undone(doom.kind));
                if fatal.is_some() || !can_be_undone(error.kind()) {
                    self.doom(&error);
                } else {
                    self.control(&format!("ROLLBACK TO SAVEPOINT scope_{depth}")).await?;
                    self.control(&format!("RELEASE SAVEPOINT scope_{depth}")).await?;
                }
                Err(error)
            }
        }
    }

    /// Runs one statement of an operation. One that is abandoned half-way dooms the transaction: nobody knows whether it
    /// had its effect.
    pub(super) async fn step(&self, command: Command, table: &str) -> Result<Answer> {
        let mut open = self.shared.open.lock().await;
        self.usable()?;
        let held = open.as_mut().ok_or_else(over)?.held()?;
        let abandoned = Abandoned(self);
        self.engine().counters.sent(command.sql());
        let answer = held.perform(command).await;
        std::mem::forget(abandoned);
        answer.map_err(|error| self.failed(&error, table))
    }

    async fn control(&self, sql: &str) -> Result<()> {
        let mut open = self.shared.open.lock().await;
        self.usable()?;
        let held = open.as_mut().ok_or_else(over)?.held()?;
        let abandoned = Abandoned(self);
        self.engine().counters.sent(sql);
        let done = held.mark(sql).await;
        std::mem::forget(abandoned);
        done.map_err(|error| self.failed(&error, ""))
    }

    fn failed(&self, error: &DbErr, table: &str) -> Error {
        let error = self.engine().running.classify(error, table);
        self.doom(&error);
        error
    }

    /// Takes no more operations from here on; the first reason stays.
    pub(super) fn doom(&self, error: &Error) {
        let doom = Doom {
            kind: error.kind(),
            message: error.to_string(),
        };
        self.scope.doom().get_or_insert(doom);
    }

    /// A scope ends with its `work`: ending it by hand dooms it, so that its changes are undone.
    fn ended_by_hand(&self, how: &str) -> Error {
        let message = format!("{how} was called inside a scope, which ends by what its closure returns");
        let error = Error::new(ErrorKind::TransactionAborted, message);
        self.doom(&error);
        error
    }

    fn doomed(&self) -> Option<Doom> {
        self.scope.doom().clone()
    }

    fn usable(&self) -> Result<()> {
        if let Some(doom) = self.doomed() {
            return Err(doom.error());
        }
        if self.shared.depth.load(Ordering::Acquire) != self.scope.depth {
            let advice = "use the scope's own transaction inside it, and this one only when the scope has ended";
            return Err(Error::new(
                ErrorKind::TransactionAborted,
                format!("another scope is at work; {advice}"),
            ));
        }
        Ok(())
    }
}

impl Scope {
    fn at(depth: usize) -> Arc<Self> {
        Arc::new(Self {
            depth,
            doom: Mutex::new(None),
        })
    }

    fn doom(&self) -> MutexGuard<'_, Option<Doom>> {
        self.doom.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dooms the transaction when it is dropped; forgotten when the statement came to its end.
struct Abandoned<'a>(&'a Tx);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        let error = Error::new(
            ErrorKind::TransactionAborted,
            "a call was abandoned before its answer came",
        );
        self.0.doom(&error);
    }
}

/// Whether rolling back to a savepoint makes the transaction good again. SQLite ends the whole transaction by itself
/// when the disk is full or fails, and Postgres loses a race as a whole.
fn can_be_undone(kind: ErrorKind) -> bool {
    !matches!(
        kind,
        ErrorKind::Contention
            | ErrorKind::Unavailable
            | ErrorKind::StorageFull
            | ErrorKind::Corrupt
            | ErrorKind::CommitUnknown
            | ErrorKind::Internal
    )
}

fn over() -> Error {
    Error::new(ErrorKind::TransactionAborted, "this transaction has ended")
}
