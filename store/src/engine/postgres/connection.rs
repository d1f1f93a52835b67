//! One connection to Postgres. The task that uses it moves its bytes: it needs no other task, of any runtime.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use config::postgres::Driver;
use futures_util::future::{BoxFuture, join3, try_join_all};
use futures_util::task::AtomicWaker;
use futures_util::{TryStreamExt as _, pin_mut};
use sea_orm::Value;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{CancelToken, Client, Error, Row, SimpleQueryMessage, Statement};

use super::super::errors::Fault;
use super::errors::classify;
use super::value::{Array, Bound, type_of};

/// Prepared statements that a connection keeps: more than the store has.
const STATEMENTS: usize = 500;

/// How often client and driver are asked in one poll. Then the task's runtime has its turn: a socket has nothing for a task
/// that has used up its share of time, and wakes it at once.
const MOST_ROUNDS: usize = 8;

/// A connection.
pub(super) struct Connection {
    client: Client,
    wire: Wire,
    statements: HashMap<Arc<str>, Statement>,
    pub(super) opened: Instant,
    /// A transaction was begun that has not ended.
    pub(super) in_transaction: bool,
    /// The transaction's COMMIT is under way.
    pub(super) committing: bool,
    /// It cannot be used any more.
    broken: bool,
}

/// What a statement returned.
pub(super) struct Found {
    pub(super) rows: Vec<Row>,
    pub(super) changed: u64,
}

/// A statement with its values, for one of several that are sent together.
pub(super) struct Query<'q> {
    pub(super) sql: &'q Arc<str>,
    pub(super) values: &'q [Value],
}

impl Connection {
    pub(super) fn new(opened: config::postgres::Connection) -> Self {
        Self {
            client: opened.client,
            wire: Wire::new(opened.driver),
            statements: HashMap::new(),
            opened: Instant::now(),
            in_transaction: false,
            committing: false,
            broken: false,
        }
    }

    /// Whether somebody else can use it as it is.
    pub(super) fn is_clean(&self) -> bool {
        !self.wire.under_way && !self.in_transaction && !self.broken
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.wire.under_way
    }

    pub(super) fn cancel_token(&self) -> CancelToken {
        self.client.cancel_token()
    }

    /// Runs a statement; `before` and `after` go out with it, in one round trip.
    pub(super) async fn run(
        &mut self,
        before: Option<&str>,
        query: Query<'_>,
        after: Option<&str>,
    ) -> Result<Found, Fault> {
        let statement = self.prepared(&query).await?;
        let client = &self.client;
        let found = fetch(client, &statement, query.values.iter().map(Bound));
        let all = self.wire.drive(Box::pin(together(client, before, found, after))).await;
        all.map_err(|error| self.judge(&error))
    }

    /// Runs a statement whose values are arrays.
    pub(super) async fn run_arrays(
        &mut self,
        before: Option<&str>,
        sql: &str,
        arrays: &[Array<'_>],
        after: Option<&str>,
    ) -> Result<Found, Fault> {
        let sql: Arc<str> = sql.into();
        let types = arrays.iter().map(|array| array.ty.clone()).collect::<Vec<_>>();
        let statement = self.prepare(&sql, types).await?;
        let client = &self.client;
        let values = arrays.iter().map(|array| array as &(dyn ToSql + Sync));
        let found = fetch(client, &statement, values);
        let all = self.wire.drive(Box::pin(together(client, before, found, after))).await;
        all.map_err(|error| self.judge(&error))
    }

    /// Runs queries one behind the other in one round trip. Each has its own outcome, unless the connection breaks.
    pub(super) async fn run_each(&mut self, queries: &[Query<'_>]) -> Result<Vec<Result<Found, Fault>>, Fault> {
        let mut statements = Vec::with_capacity(queries.len());
        for query in queries {
            statements.push(self.prepared(query).await);
        }
        let client = &self.client;
        let each = queries.iter().zip(&statements).map(|(query, statement)| async move {
            let statement = match statement {
                Ok(statement) => statement,
                Err(fault) => return Ok(Err(fault.clone())),
            };
            match fetch(client, statement, query.values.iter().map(Bound)).await {
                // Its own error; one of the connection is everybody's.
                Err(error) if classify(&error).lost => Err(error),
                found => Ok(Ok(found)),
            }
        });
        let found = self.wire.drive(Box::pin(try_join_all(each))).await;
        let found = found.map_err(|error| self.judge(&error))?;
        let found = found.into_iter().map(|found| match found {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(self.judge(&error)),
            Err(fault) => Err(fault),
        });
        Ok(found.collect())
    }

    /// Sends rows in the binary format of COPY (<https://www.postgresql.org/docs/current/sql-copy.html>).
    pub(super) async fn copy(&mut self, sql: &str, rows: &[Vec<Value>]) -> Result<u64, Fault> {
        let types = rows.first().into_iter().flatten().map(type_of).collect::<Vec<_>>();
        let client = &self.client;
        let copied = async {
            let sink = client.copy_in(sql).await?;
            let writer = BinaryCopyInWriter::new(sink, &types);
            pin_mut!(writer);
            for row in rows {
                let row = row.iter().map(Bound).collect::<Vec<_>>();
                writer.as_mut().write_raw(row).await?;
            }
            writer.finish().await
        };
        let copied = self.wire.drive(Box::pin(copied)).await;
        copied.map_err(|error| self.judge(&error))
    }

    /// Runs statements without values: BEGIN, COMMIT, a savepoint.
    pub(super) async fn control(&mut self, sql: &str) -> Result<(), Fault> {
        let done = self.wire.drive(Box::pin(self.client.batch_execute(sql))).await;
        done.map_err(|error| self.judge(&error))
    }

    /// Every column of every row as text.
    pub(super) async fn texts(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Fault> {
        let messages = self.wire.drive(Box::pin(self.client.simple_query(sql))).await;
        let messages = messages.map_err(|error| self.judge(&error))?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(rows
            .map(|row| (0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
            .collect())
    }

    /// Whether it answers.
    pub(super) async fn ping(&mut self) -> Result<(), Fault> {
        self.control("").await
    }

    /// Says goodbye.
    pub(super) async fn close(self) {
        drop(self.client);
        drop(self.wire.driver.await);
    }

    /// Whether the statement is prepared.
    pub(super) fn knows(&self, query: &Query<'_>) -> bool {
        self.known(query).is_some()
    }

    fn known(&self, query: &Query<'_>) -> Option<&Statement> {
        let known = self.statements.get(query.sql)?;
        let (types, values) = (known.params(), query.values);
        let alike = types.len() == values.len() && types.iter().zip(values).all(|(of, value)| *of == type_of(value));
        alike.then_some(known)
    }

    async fn prepared(&mut self, query: &Query<'_>) -> Result<Statement, Fault> {
        if let Some(known) = self.known(query) {
            return Ok(known.clone());
        }
        self.prepare(query.sql, query.values.iter().map(type_of).collect())
            .await
    }

    async fn prepare(&mut self, sql: &Arc<str>, types: Vec<Type>) -> Result<Statement, Fault> {
        if let Some(known) = self.statements.get(sql)
            && known.params() == types
        {
            return Ok(known.clone());
        }
        let statement = self.wire.drive(Box::pin(self.client.prepare_typed(sql, &types))).await;
        let statement = statement.map_err(|error| self.judge(&error))?;
        if self.statements.len() >= STATEMENTS {
            self.statements.clear();
        }
        self.statements.insert(Arc::clone(sql), statement.clone());
        Ok(statement)
    }

    fn judge(&mut self, error: &Error) -> Fault {
        let fault = classify(error);
        self.broken |= fault.lost || self.client.is_closed();
        fault
    }
}

/// Moves a connection's bytes.
struct Wire {
    driver: Driver,
    wakes: Arc<Wakes>,
    waker: Waker,
    /// A statement was sent and its answer has not come to its end.
    under_way: bool,
}

impl Wire {
    fn new(driver: Driver) -> Self {
        let wakes = Arc::new(Wakes::default());
        Self {
            driver,
            waker: Waker::from(Arc::clone(&wakes)),
            wakes,
            under_way: false,
        }
    }

    /// Waits for the client's answer, and moves bytes meanwhile.
    async fn drive<T>(&mut self, mut work: BoxFuture<'_, Result<T, Error>>) -> Result<T, Error> {
        self.under_way = true;
        let Self {
            driver, wakes, waker, ..
        } = self;
        let done = poll_fn(|context| {
            for _ in 0..MOST_ROUNDS {
                wakes.enter(context.waker());
                let mut inside = Context::from_waker(waker);
                // First, so that what it sends is there when the driver looks.
                let mut done = work.as_mut().poll(&mut inside);
                if done.is_pending()
                    && let Poll::Ready(Err(error)) = Pin::new(&mut *driver).poll(&mut inside)
                {
                    done = Poll::Ready(Err(error));
                }
                let woken = wakes.leave();
                if done.is_ready() || !woken {
                    return done;
                }
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.under_way = false;
        done
    }
}

/// A statement with what goes out before it and after it. Each sends at its first poll, in this order.
async fn together(
    client: &Client,
    before: Option<&str>,
    found: impl Future<Output = Result<Found, Error>>,
    after: Option<&str>,
) -> Result<Found, Error> {
    let (before, found, after) = join3(batch(client, before), found, batch(client, after)).await;
    before?;
    let found = found?;
    after?;
    Ok(found)
}

async fn batch(client: &Client, sql: Option<&str>) -> Result<(), Error> {
    match sql {
        Some(sql) => client.batch_execute(sql).await,
        None => Ok(()),
    }
}

async fn fetch<P, I>(client: &Client, statement: &Statement, values: I) -> Result<Found, Error>
where
    P: tokio_postgres::types::BorrowToSql,
    I: IntoIterator<Item = P>,
    I::IntoIter: ExactSizeIterator,
{
    let stream = client.query_raw(statement, values).await?;
    pin_mut!(stream);
    let mut rows = vec![];
    while let Some(row) = stream.try_next().await? {
        rows.push(row);
    }
    Ok(Found {
        changed: stream.rows_affected().unwrap_or_default(),
        rows,
    })
}

/// Wakes the task that uses the connection, except while it is polled: what client and driver tell each other then is
/// looked at before the poll ends, and a wake-up would only have the task polled once more.
#[derive(Default)]
struct Wakes {
    polled: AtomicBool,
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Wakes {
    fn enter(&self, task: &Waker) {
        self.task.register(task);
        self.woken.store(false, Ordering::SeqCst);
        self.polled.store(true, Ordering::SeqCst);
    }

    /// Whether it was woken since it was entered.
    fn leave(&self) -> bool {
        self.polled.store(false, Ordering::SeqCst);
        self.woken.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        if !self.polled.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}
