//! Transactions: serializable on both databases, doomed by the first failure, clean after a cancellation.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Mutex as AsyncMutex;

use super::database::Transaction;
use super::errors::{self, Fault};
use super::open::Engine;
use super::progress::Progress;
use super::row::Decode;
use super::statement::{Answer, Begin, Command};
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
    open: AsyncMutex<Option<Transaction>>,
    /// The depth of the scope that is at work: only its own operations may run.
    depth: AtomicUsize,
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

/// Refuses a call on the store from inside the closure of one of its transactions: it would be no part of the transaction,
/// and would wait for the connection that the transaction has.
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
            Err(Failed::Lost(error)) => error,
            Err(Failed::Settled(error)) => return Err(error),
            Ok(value) => return Ok(value),
        };
        if !attempts.again().await {
            return Err(error);
        }
        engine.counters.retried();
        progress.retried();
    }
}

/// Why an attempt at a transaction failed.
enum Failed {
    /// Nothing of it is kept, and it may go better the next time: it lost against another transaction, or lost its
    /// connection before its commit.
    Lost(Error),
    Settled(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Contention => Self::Lost(error),
            _ => Self::Settled(error),
        }
    }
}

async fn attempt<T, F, Fut>(
    engine: &Arc<Engine>,
    progress: &Progress,
    durable: bool,
    work: &mut F,
) -> std::result::Result<T, Failed>
where
    F: FnMut(Tx) -> Fut + Send,
    Fut: Future<Output = Result<T>> + Send,
{
    let tx = Tx::start(engine, Begin::Closure { durable }).await?;
    let outcome = INSIDE.scope(Arc::as_ptr(engine).addr(), work(tx.clone())).await;
    // Work that lost is tried again, whatever it made of the error.
    let lost = tx
        .doomed()
        .filter(|doom| matches!(doom.kind, ErrorKind::Contention | ErrorKind::Unavailable));
    match (outcome, lost) {
        (_, Some(doom)) => {
            tx.rollback().await;
            Err(Failed::Lost(Error::new(doom.kind, doom.message)))
        }
        (Ok(value), None) => {
            progress.sends();
            let committed = tx.commit().await;
            progress.settled();
            committed?;
            progress.note_change();
            Ok(value)
        }
        (Err(error), None) => {
            tx.undo().await?;
            Err(error.into())
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
        run(engine, &Progress::within(engine.operation_timeout), false, work).await
    }

    /// A transaction whose end is in the caller's hands: it shares no commit, because others would wait for it.
    pub(crate) async fn begin(engine: &Arc<Engine>) -> Result<Self> {
        Self::start(engine, Begin::ByHand).await
    }

    async fn start(engine: &Arc<Engine>, begin: Begin) -> Result<Self> {
        refuse_inside(engine)?;
        let begun = tokio::time::timeout(engine.operation_timeout, engine.database.begin(begin)).await;
        let open = begun.map_err(|_| engine.timed_out("waiting for a transaction to begin"))??;
        engine.counters.begun();
        let shared = Shared {
            engine: Arc::clone(engine),
            open: AsyncMutex::new(Some(open)),
            depth: AtomicUsize::new(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
            scope: Scope::at(0),
        })
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
        let open = self.shared.open.lock().await.take().ok_or_else(Fault::over)?;
        let engine = self.engine();
        match tokio::time::timeout(engine.operation_timeout, open.commit()).await {
            Ok(done) => {
                done?;
                engine.counters.committed();
                Ok(())
            }
            Err(_) => Err(errors::commit_unknown("the deadline passed").into()),
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
        let Some(open) = self.shared.open.lock().await.take() else {
            return Ok(());
        };
        match tokio::time::timeout(engine.operation_timeout, open.rollback()).await {
            Ok(undone) => Ok(undone?),
            Err(_) => Err(engine.timed_out("waiting for the commits of others")),
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
        self.savepoint(&format!("SAVEPOINT scope_{depth}"), depth).await?;
        let inner = Self {
            shared: Arc::clone(&self.shared),
            scope: Scope::at(depth),
        };
        let outcome = work(inner.clone()).await;
        let outcome = outcome.and_then(|value| inner.usable().map(|()| value));
        match outcome {
            Ok(value) => {
                inner.end_scope(&format!("RELEASE SAVEPOINT scope_{depth}")).await?;
                Ok(value)
            }
            Err(error) => {
                let fatal = inner.doomed().filter(|doom| !can_be_undone(doom.kind));
                if fatal.is_some() || !can_be_undone(error.kind()) {
                    self.doom(&error);
                    self.shared.depth.store(self.scope.depth, Ordering::Release);
                } else {
                    let undo = format!("ROLLBACK TO SAVEPOINT scope_{depth}; RELEASE SAVEPOINT scope_{depth}");
                    self.end_scope_at(depth, &undo).await?;
                }
                Err(error)
            }
        }
    }

    /// Runs one query of an operation. One that is abandoned half-way dooms the transaction, as a change does: nobody
    /// knows in which state it left the connection.
    pub(super) async fn read<M: Send + 'static>(&self, command: &Command, decode: Decode<M>) -> Result<Vec<M>> {
        let mut open = self.shared.open.lock().await;
        self.usable()?;
        let transaction = open.as_mut().ok_or_else(Fault::over)?;
        let abandoned = Abandoned(self);
        let rows = transaction.read(command, decode).await;
        std::mem::forget(abandoned);
        rows.inspect_err(|error| self.doom(error))
    }

    /// Runs one change of an operation. One that is abandoned half-way dooms the transaction: nobody knows whether it had
    /// its effect.
    pub(super) async fn write(&self, command: Arc<Command>) -> Result<Answer> {
        let mut open = self.shared.open.lock().await;
        self.usable()?;
        let transaction = open.as_mut().ok_or_else(Fault::over)?;
        let abandoned = Abandoned(self);
        let answer = transaction.write(command).await;
        std::mem::forget(abandoned);
        answer.inspect_err(|error| self.doom(error))
    }

    /// Opens a scope, unless another one is open: of two at once the second is refused.
    async fn savepoint(&self, sql: &str, depth: usize) -> Result<()> {
        let mut open = self.shared.open.lock().await;
        self.usable()?;
        self.control(open.as_mut(), sql).await?;
        self.shared.depth.store(depth, Ordering::Release);
        Ok(())
    }

    /// As the scope itself.
    async fn end_scope(&self, sql: &str) -> Result<()> {
        self.end_scope_at(self.scope.depth, sql).await
    }

    async fn end_scope_at(&self, depth: usize, sql: &str) -> Result<()> {
        let mut open = self.shared.open.lock().await;
        let ended = self.control(open.as_mut(), sql).await;
        self.shared.depth.store(depth - 1, Ordering::Release);
        ended
    }

    async fn control(&self, open: Option<&mut Transaction>, sql: &str) -> Result<()> {
        let transaction = open.ok_or_else(Fault::over)?;
        let abandoned = Abandoned(self);
        self.engine().counters.sent(sql);
        let done = transaction.control(sql).await;
        std::mem::forget(abandoned);
        done.inspect_err(|error| self.doom(error))
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
