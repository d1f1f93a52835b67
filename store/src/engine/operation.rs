//! One operation of a repository: deadline, span, retry, and the statements it runs.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, Utc};
use sea_orm::{DatabaseBackend, EntityTrait, FromQueryResult, QueryTrait, Select};
use tracing::{Instrument, Span, field};
use uuid::Uuid;

use super::connection::{Answer, Command};
use super::lane::Access;
use super::statement::Write;
use super::{Engine, Tx, errors, transaction};
use crate::{Error, ErrorKind, Result};

/// Where operations run: each by itself, or all in one transaction. Cheap to clone.
#[derive(Clone)]
pub struct Session(Place);

#[derive(Clone)]
enum Place {
    Store(Arc<Engine>),
    Tx(Tx),
}

impl From<Arc<Engine>> for Session {
    fn from(engine: Arc<Engine>) -> Self {
        Self(Place::Store(engine))
    }
}

impl From<Tx> for Session {
    fn from(tx: Tx) -> Self {
        Self(Place::Tx(tx))
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Place::Store(_) => "Session(store)",
            Place::Tx(_) => "Session(transaction)",
        })
    }
}

impl Session {
    fn engine(&self) -> &Arc<Engine> {
        match &self.0 {
            Place::Store(engine) => engine,
            Place::Tx(tx) => tx.engine(),
        }
    }

    /// Runs one operation of a repository: `entity` and `operation` name it in the tracing span and in errors.
    ///
    /// # Errors
    /// Those of `work`; `Timeout` when the configuration's operation timeout passes with nothing changed, and
    /// `CommitUnknown` when it passes while a change was on its way. Inside a transaction any error dooms the
    /// transaction.
    pub async fn run<T, F, Fut>(&self, entity: &'static str, operation: &'static str, work: F) -> Result<T>
    where
        F: FnOnce(Operation) -> Fut + Send,
        Fut: Future<Output = Result<T>> + Send,
    {
        let span = tracing::debug_span!(
            target: "undercroft",
            "operation",
            entity,
            operation,
            outcome = field::Empty,
            retries = field::Empty,
        );
        let progress = Arc::new(Progress::default());
        let work = work(Operation {
            session: self.clone(),
            progress: Arc::clone(&progress),
            durable: false,
        });
        let outcome = self.within_deadline(work, &progress).instrument(span.clone()).await;
        let outcome = outcome.map_err(|error| error.during(entity, operation));
        progress.record(&span, outcome.as_ref().err());
        if let (Err(error), Place::Tx(tx)) = (&outcome, &self.0) {
            tx.doom(error);
        }
        outcome
    }

    async fn within_deadline<T>(&self, work: impl Future<Output = Result<T>>, progress: &Progress) -> Result<T> {
        let engine = self.engine();
        match tokio::time::timeout(engine.operation_timeout, work).await {
            Ok(outcome) => outcome,
            Err(_) if progress.gives_up() => Err(engine.timed_out("the operation")),
            Err(_) => Err(errors::commit_unknown("the deadline passed")),
        }
    }
}

/// What is known of an operation from outside: for its span, and for the day its deadline passes.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// How many changes are on their way that could not be taken back, or [`GIVEN_UP`].
    sent: AtomicU32,
    retries: AtomicU32,
}

/// The deadline has passed: nothing may be sent any more.
const GIVEN_UP: u32 = u32::MAX;

impl Progress {
    /// A change is about to be sent; `false` when the caller was told already that nothing was.
    pub(super) fn sends(&self) -> bool {
        self.goes(|sent| (sent != GIVEN_UP).then(|| sent + 1))
    }

    /// What was sent has its answer; `false` when nothing was sent.
    pub(super) fn settled(&self) -> bool {
        self.goes(|sent| (sent != GIVEN_UP && sent > 0).then(|| sent - 1))
    }

    /// Nothing was sent, and from now on nothing will be; `false` when something was.
    fn gives_up(&self) -> bool {
        self.goes(|sent| (sent == 0).then_some(GIVEN_UP))
    }

    fn goes(&self, next: impl FnMut(u32) -> Option<u32>) -> bool {
        self.sent
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next)
            .is_ok()
    }

    pub(super) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    fn record(&self, span: &Span, error: Option<&Error>) {
        span.record("retries", self.retries.load(Ordering::Relaxed));
        match error {
            None => span.record("outcome", "ok"),
            Some(error) => span.record("outcome", field::debug(error.kind())),
        };
    }
}

/// What an operation reads and writes through. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Operation {
    session: Session,
    progress: Arc<Progress>,
    durable: bool,
}

impl Operation {
    /// The present instant by the store's clock, cut to microseconds.
    pub fn now(&self) -> DateTime<Utc> {
        self.session.engine().now()
    }

    /// A new id.
    pub fn new_id<I: From<Uuid>>(&self) -> I {
        self.session.engine().new_id().into()
    }

    /// The same operation, whose changes are durable when they are confirmed, whatever `sqlite.synchronous` says of the
    /// others. A part of a transaction is as durable as that one.
    pub fn durable(&self) -> Self {
        Self {
            durable: true,
            ..self.clone()
        }
    }

    pub(super) fn is_durable(&self) -> bool {
        self.durable
    }

    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// The rows of a query, as the entity's models.
    ///
    /// # Errors
    /// `Corrupt` naming table, column and key when a row does not decode.
    pub async fn all<E: EntityTrait>(&self, select: Select<E>) -> Result<Vec<E::Model>> {
        self.all_as::<E, E::Model>(select).await
    }

    /// The first row of a query that has one at most.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub async fn one<E: EntityTrait>(&self, select: Select<E>) -> Result<Option<E::Model>> {
        let select = Command::Statement(select.build(self.backend()));
        let rows = self.read::<E, E::Model>(Access::ReadOne, select).await?;
        Ok(rows.into_iter().next())
    }

    /// The rows of a query over some of an entity's columns, as a type made for them.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub async fn all_as<E: EntityTrait, M: FromQueryResult>(&self, select: Select<E>) -> Result<Vec<M>> {
        let select = Command::Statement(select.build(self.backend()));
        self.read::<E, M>(Access::Read, select).await
    }

    pub(super) async fn read<E, M>(&self, access: Access, select: Command) -> Result<Vec<M>>
    where
        E: EntityTrait,
        M: FromQueryResult,
    {
        let answer = self.perform::<E>(access, select).await?;
        answer.rows.iter().map(errors::decode::<E, M>).collect()
    }

    /// Changes rows and answers how many.
    ///
    /// # Errors
    /// `Conflict`, `ForeignKey` and `Check` with the constraint's name.
    pub async fn write<W: Write>(&self, write: W) -> Result<u64> {
        let statement = Command::Statement(write.build(self.backend(), false));
        Ok(self.perform::<W::Entity>(Access::Write, statement).await?.changed)
    }

    /// Changes rows and answers them as they are now.
    ///
    /// # Errors
    /// As [`write`](Self::write) and [`all`](Self::all).
    pub async fn write_returning<W: Write>(&self, write: W) -> Result<Vec<<W::Entity as EntityTrait>::Model>> {
        let statement = Command::Statement(write.build(self.backend(), true));
        let answer = self.perform::<W::Entity>(Access::Write, statement).await?;
        answer.rows.iter().map(errors::decode::<W::Entity, _>).collect()
    }

    /// Several statements, all or none of them: a serializable transaction, run again when it lost against another one,
    /// so `work` may run several times. Inside a transaction it is a part of that one.
    ///
    /// # Errors
    /// Those of `work`; `Contention` when every retry lost; `CommitUnknown`.
    pub async fn atomic<T, F, Fut>(&self, mut work: F) -> Result<T>
    where
        F: FnMut(Operation) -> Fut + Send,
        Fut: Future<Output = Result<T>> + Send,
        T: Send,
    {
        let Place::Store(engine) = &self.session.0 else {
            return work(self.clone()).await;
        };
        let attempt = |tx: Tx| {
            work(Self {
                session: tx.into(),
                progress: Arc::clone(&self.progress),
                durable: false,
            })
        };
        Box::pin(transaction::run(engine, &self.progress, self.durable, attempt)).await
    }

    pub(super) fn engine(&self) -> &Engine {
        self.session.engine()
    }

    pub(super) fn backend(&self) -> DatabaseBackend {
        self.session.engine().running.backend()
    }

    /// Sends a command as an operation of its own, or in its transaction.
    pub(super) async fn perform<E: EntityTrait>(&self, access: Access, command: Command) -> Result<Answer> {
        let entity = E::default();
        let table = entity.table_name();
        let engine = match &self.session.0 {
            Place::Tx(tx) => return Box::pin(tx.step(command, table)).await,
            Place::Store(engine) => engine,
        };
        let mut attempts = engine.retry.start();
        loop {
            // Boxed: callers' futures grow with every operation that they hold.
            let step = match access {
                Access::Read => Box::pin(engine.read(&command, table)).await,
                Access::ReadOne => Box::pin(engine.read_one(&command, table)).await,
                Access::Write => Box::pin(engine.write(command.clone(), table, self)).await,
            };
            let error = match step {
                Err(error) if error.kind() == ErrorKind::Contention => error,
                settled => return settled,
            };
            if !attempts.again().await {
                return Err(error);
            }
            engine.counters.retried();
            self.progress.retried();
        }
    }
}
