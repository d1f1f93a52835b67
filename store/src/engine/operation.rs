//! One operation of a repository: deadline, span, retry, and the statements it runs.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use sea_orm::{ActiveModelTrait, DatabaseBackend, EntityTrait, IntoActiveModel, Iterable, QueryTrait, Select, Value};
use tracing::{Instrument, field};
use uuid::Uuid;

use super::open::Engine;
use super::progress::{Abandoned, Progress};
use super::row::{Decode, FromRow};
use super::statement::{Answer, Command, KeyOf, Values, Write};
use super::transaction::Tx;
use super::{errors, transaction};
use crate::{Error, ErrorKind, Result};

/// Where operations run: each by itself, or all in one transaction. Cheap to clone.
#[derive(Clone)]
pub struct Session(Scope);

#[derive(Clone)]
enum Scope {
    Store(Arc<Engine>),
    Tx(Tx),
}

impl From<Arc<Engine>> for Session {
    fn from(engine: Arc<Engine>) -> Self {
        Self(Scope::Store(engine))
    }
}

impl From<Tx> for Session {
    fn from(tx: Tx) -> Self {
        Self(Scope::Tx(tx))
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Scope::Store(_) => "Session(store)",
            Scope::Tx(_) => "Session(transaction)",
        })
    }
}

impl Session {
    fn engine(&self) -> &Arc<Engine> {
        match &self.0 {
            Scope::Store(engine) => engine,
            Scope::Tx(tx) => tx.engine(),
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
        let progress = Arc::new(Progress::within(self.engine().operation_timeout));
        let _abandoned = Abandoned(&progress);
        // Pinned here: a future is moved as a whole, and this one is large.
        let work = pin!(work(Operation {
            session: self.clone(),
            progress: Arc::clone(&progress),
            durable: false,
        }));
        let work = self.within_deadline(work, &progress);
        let outcome = match span.is_disabled() {
            true => work.await,
            false => Box::pin(work.instrument(span.clone())).await,
        };
        let outcome = match outcome {
            // Of several changes, each a transaction by itself, one was stored before time ran out.
            Err(error) if error.kind() == ErrorKind::Timeout && progress.has_changed() => {
                Err(errors::commit_unknown("the deadline passed").into())
            }
            outcome => outcome,
        };
        let outcome = outcome.map_err(|error: Error| error.during(entity, operation));
        progress.record(&span, outcome.as_ref().err());
        if let (Err(error), Scope::Tx(tx)) = (&outcome, &self.0) {
            tx.doom(error);
        }
        outcome
    }

    async fn within_deadline<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = Result<T>>>,
        progress: &Progress,
    ) -> Result<T> {
        let deadline = progress.deadline().into();
        if let Ok(outcome) = tokio::time::timeout_at(deadline, &mut work).await {
            return outcome;
        }
        if progress.gives_up() {
            return Err(errors::timed_out("the operation", self.engine().operation_timeout).into());
        }
        // The database ends at the deadline what it is at, and then says what became of it.
        match tokio::time::timeout(LAST_WORD, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(errors::commit_unknown("the deadline passed").into()),
        }
    }
}

/// How long after its deadline a change that was sent may still be reported on.
const LAST_WORD: Duration = Duration::from_millis(250);

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

    pub(super) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// The rows of a query, as the entity's models.
    ///
    /// # Errors
    /// `Corrupt` naming table, column and key when a row does not decode.
    pub async fn all<E: EntityTrait>(&self, select: Select<E>) -> Result<Vec<E::Model>>
    where
        E::Model: FromRow,
    {
        self.all_as::<E, E::Model>(select).await
    }

    /// The first row of a query that has one at most.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub async fn one<E: EntityTrait>(&self, select: Select<E>) -> Result<Option<E::Model>>
    where
        E::Model: FromRow,
    {
        self.read_one::<E, E::Model>(self.command::<E>(select.build(self.backend())))
            .await
    }

    /// The rows of a query over some of an entity's columns, as a type made for them: see [`FromRow`].
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub async fn all_as<E: EntityTrait, M: FromRow>(&self, select: Select<E>) -> Result<Vec<M>> {
        let select = self.command::<E>(select.build(self.backend()));
        self.read::<E, M>(select, false).await
    }

    pub(super) async fn read_one<E: EntityTrait, M: FromRow>(&self, select: Command) -> Result<Option<M>> {
        Ok(self.read::<E, M>(select, true).await?.into_iter().next())
    }

    async fn read<E: EntityTrait, M: FromRow>(&self, select: Command, one: bool) -> Result<Vec<M>> {
        let engine = match &self.session.0 {
            Scope::Tx(tx) => return Box::pin(tx.read(&select, Decode::of::<E>())).await,
            Scope::Store(engine) => engine,
        };
        transaction::refuse_inside(engine)?;
        let mut attempts = engine.retry.start();
        loop {
            let read = engine.database.read(&select, one, Decode::of::<E>()).await;
            let error = match read {
                Err(error) if error.kind() == ErrorKind::Contention => error,
                settled => return settled,
            };
            if !Box::pin(self.tries_again(engine, &mut attempts)).await {
                return Err(error);
            }
        }
    }

    /// Changes rows and returns how many.
    ///
    /// # Errors
    /// `Conflict`, `ForeignKey` and `Check` with the constraint's name.
    pub async fn write<W: Write>(&self, write: W) -> Result<u64> {
        let statement = write.build(self.backend(), false);
        Ok(self.change(self.command::<W::Entity>(statement)).await?.changed)
    }

    /// Changes rows and returns them as they are now.
    ///
    /// # Errors
    /// As [`write`](Self::write) and [`all`](Self::all).
    pub async fn write_returning<W: Write>(&self, write: W) -> Result<Vec<<W::Entity as EntityTrait>::Model>>
    where
        <W::Entity as EntityTrait>::Model: FromRow,
    {
        let statement = write.build(self.backend(), true);
        let answer = self.change(self.command::<W::Entity>(statement)).await?;
        let decode = Decode::of::<W::Entity>();
        answer.rows.iter().map(|row| decode.row(&**row)).collect()
    }

    /// Boxed: callers' futures grow with every operation that they hold.
    pub(super) fn change(&self, command: Command) -> BoxFuture<'_, Result<Answer>> {
        Box::pin(self.change_now(Arc::new(command)))
    }

    async fn change_now(&self, command: Arc<Command>) -> Result<Answer> {
        let engine = match &self.session.0 {
            Scope::Tx(tx) => return tx.write(command).await,
            Scope::Store(engine) => engine,
        };
        transaction::refuse_inside(engine)?;
        let mut attempts = engine.retry.start();
        loop {
            let changed = engine.database.write(&command, self.durable).await;
            self.progress.settled();
            let error = match changed.map_err(Error::from) {
                Err(error) if error.kind() == ErrorKind::Contention => error,
                settled => return settled.inspect(|_| self.progress.note_change()),
            };
            if !self.tries_again(engine, &mut attempts).await {
                return Err(error);
            }
        }
    }

    async fn tries_again(&self, engine: &Engine, attempts: &mut super::retry::Attempts) -> bool {
        let again = attempts.again().await;
        if again {
            engine.counters.retried();
            self.progress.retried();
        }
        again
    }

    fn command<E: EntityTrait>(&self, statement: sea_orm::Statement) -> Command {
        Command::new(statement, E::default().table_name(), &self.progress)
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
        let Scope::Store(engine) = &self.session.0 else {
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

    /// [`atomic`](Self::atomic), and twice more while it fails for a reason that may be gone the next time. Inside a
    /// transaction, which such an error dooms, once.
    pub(crate) async fn atomic_again<T, F, Fut>(&self, may_be_gone: fn(&Error) -> bool, mut work: F) -> Result<T>
    where
        F: FnMut(Operation) -> Fut + Send,
        Fut: Future<Output = Result<T>> + Send,
        T: Send,
    {
        let again = match self.session.0 {
            Scope::Store(_) => 2,
            Scope::Tx(_) => 0,
        };
        for _ in 0..again {
            match self.atomic(&mut work).await {
                Err(error) if may_be_gone(&error) => self.progress.retried(),
                settled => return settled,
            }
        }
        self.atomic(work).await
    }

    pub(super) fn engine(&self) -> &Engine {
        self.session.engine()
    }

    pub(super) fn backend(&self) -> DatabaseBackend {
        self.session.engine().database.backend()
    }
}

impl Operation {
    /// The row with this primary key, if there is one. Cheaper than [`one`](Self::one): its statement is known already.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub async fn by_key<E: EntityTrait>(&self, key: impl Into<KeyOf<E>>) -> Result<Option<E::Model>>
    where
        E::Model: FromRow,
    {
        let (sql, values) = self.engine().texts.by_key::<E>(self.backend(), key);
        let select = Command {
            sql,
            values: Values::Once(values),
            table: E::default().table_name(),
            progress: Arc::clone(self.progress()),
        };
        self.read_one::<E, E::Model>(select).await
    }

    /// Inserts any number of rows, in their order, thousands by one statement. Call it inside [`atomic`](Self::atomic): it
    /// may take several.
    ///
    /// # Errors
    /// `Conflict`, `ForeignKey` and `Check` with the constraint's name; `InvalidInput` outside of a transaction.
    pub async fn insert_all<E>(&self, models: impl IntoIterator<Item = E::Model, IntoIter: Send>) -> Result<()>
    where
        E: EntityTrait,
        E::Model: IntoActiveModel<E::ActiveModel>,
        E::ActiveModel: Send,
    {
        if let Scope::Store(_) = self.session.0 {
            return Err(Error::invalid(
                "insert_all",
                "belongs inside `atomic`: it may take several statements",
            ));
        }
        let size = self.engine().database.rows_at_once();
        let mut models = models.into_iter().map(|model| model.into_active_model().reset_all());
        let mut chunk = || {
            let some = models.by_ref().take(size).collect::<Vec<E::ActiveModel>>();
            (!some.is_empty()).then(|| self.insert_of::<E>(some))
        };
        let mut next = chunk();
        while let Some(insert) = next.take() {
            // The next one is made while the database is at work on this one.
            let made = async { next = chunk() };
            let (inserted, ()) = tokio::join!(self.change(insert), made);
            inserted?;
        }
        Ok(())
    }

    fn insert_of<E: EntityTrait>(&self, models: Vec<E::ActiveModel>) -> Command {
        let value = |model: &E::ActiveModel, column| model.get(column).into_value();
        let row = |model| E::Column::iter().filter_map(|column| value(model, column)).collect();
        let rows = models.iter().map(row).collect::<Vec<Vec<Value>>>();
        let one = models
            .into_iter()
            .next()
            .map(|first| E::insert(first).build(self.backend()).sql);
        Command {
            sql: one.unwrap_or_default().into(),
            values: Values::Rows(rows),
            table: E::default().table_name(),
            progress: Arc::clone(self.progress()),
        }
    }
}
