//! Reads and inserts that go together.
//!
//! A read by key and a small insert cost the server little: what they cost is the round trip, and an insert its share of a
//! commit. A call that finds a connection free goes by itself. Those that would have to wait for one, or for others of
//! their kind, wait together and go out in one round trip: reads of one text as one statement, inserts into one table as
//! one statement, other reads one behind the other. Each hears its own outcome.
//!
//! Batches are sent by the store's own runtime: whatever becomes of a caller, the others are served.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_postgres::Row;

use super::super::errors::Fault;
use super::super::metrics::Counters;
use super::super::statement::Command;
use super::connection::{Connection, Found, Query};
use super::insert::{COMMIT, append};
use super::merge;
use super::pool::Pool;

/// How many go in one batch at most.
const LARGEST_BATCH: usize = 64;

/// Rows of one merged insert.
const MOST_ROWS: usize = 500;

/// A batch of reads should take no longer: when one does, the next of its kind takes fewer, down to a single one, which
/// delays nobody else.
const LONGEST_BATCH: Duration = Duration::from_millis(20);

/// How many kinds are remembered while none of them is in flight.
const MOST_KINDS: usize = 1_000;

/// How many inserts may wait; more wait for a place among them, in their order.
const MOST_WAITING: usize = 1_024;

/// What waits for others of its kind.
pub(super) trait Call: Send + Sized + 'static {
    /// Whether somebody still waits for it.
    fn is_wanted(&self) -> bool;

    /// Sends some of a kind on one connection, and reports to each.
    fn send(batch: Vec<Self>, pool: Pool, counters: Arc<Counters>) -> impl Future<Output = ()> + Send;
}

/// The calls of one sort that wait, by their kind. Cheap to clone.
pub(super) struct Batches<C>(Arc<Inner<C>>);

struct Inner<C> {
    pool: Pool,
    counters: Arc<Counters>,
    most_in_flight: usize,
    largest: usize,
    /// A batch that the server does not answer for so long is given up, so that its place is free for others.
    timeout: Duration,
    kinds: Mutex<HashMap<Arc<str>, Kind<C>>>,
    /// How many kinds there are in `kinds`, to be known without its lock.
    known: AtomicUsize,
}

struct Kind<C> {
    in_flight: usize,
    waiting: VecDeque<(C, Instant)>,
    /// How many the next batch takes.
    size: usize,
}

/// One of a kind that is in flight. When it is dropped, those that wait go next.
pub(super) struct InFlight<C: Call> {
    batches: Batches<C>,
    kind: Arc<str>,
}

impl<C> Clone for Batches<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C: Call> Batches<C> {
    fn new(pool: &Pool, counters: &Arc<Counters>, [most_in_flight, largest]: [usize; 2], timeout: Duration) -> Self {
        Self(Arc::new(Inner {
            pool: pool.clone(),
            counters: Arc::clone(counters),
            most_in_flight,
            largest,
            timeout,
            kinds: Mutex::default(),
            known: AtomicUsize::new(0),
        }))
    }

    /// Whether any may be in flight.
    pub(super) fn are_in_use(&self) -> bool {
        self.0.known.load(Ordering::Relaxed) > 0
    }

    fn kinds(&self) -> MutexGuard<'_, HashMap<Arc<str>, Kind<C>>> {
        self.0.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether others of this kind are in flight.
    pub(super) fn has(&self, kind: &str) -> bool {
        self.kinds().get(kind).is_some_and(|kind| kind.in_flight > 0)
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.kinds().values().map(|kind| kind.waiting.len()).sum()
    }

    /// Leave to go alone, unless as many of this kind as may are in flight, or wait.
    pub(super) fn alone(&self, kind: &Arc<str>) -> Option<InFlight<C>> {
        let mut kinds = self.kinds();
        let known = self.kind(&mut kinds, kind);
        if known.in_flight >= self.0.most_in_flight || !known.waiting.is_empty() {
            return None;
        }
        known.in_flight += 1;
        Some(self.in_flight(kind))
    }

    /// Waits with the others of its kind.
    pub(super) fn join(&self, kind: &Arc<str>, call: C) {
        let mut kinds = self.kinds();
        let known = self.kind(&mut kinds, kind);
        known.waiting.push_back((call, Instant::now()));
        if known.in_flight < self.0.most_in_flight {
            known.in_flight += 1;
            drop(kinds);
            self.in_flight(kind).send_next();
        }
    }

    fn kind<'k>(&self, kinds: &'k mut HashMap<Arc<str>, Kind<C>>, kind: &Arc<str>) -> &'k mut Kind<C> {
        if kinds.len() >= MOST_KINDS && !kinds.contains_key(kind) {
            kinds.retain(|_, kind| kind.in_flight > 0);
        }
        self.0.known.store(kinds.len() + 1, Ordering::Relaxed);
        kinds.entry(Arc::clone(kind)).or_insert_with(|| Kind {
            in_flight: 0,
            waiting: VecDeque::new(),
            size: self.0.largest,
        })
    }

    fn in_flight(&self, kind: &Arc<str>) -> InFlight<C> {
        InFlight {
            batches: self.clone(),
            kind: Arc::clone(kind),
        }
    }
}

impl<C: Call> InFlight<C> {
    /// Sends those that wait, on the store's runtime, until nobody does.
    fn send_next(self) {
        let pool = self.batches.0.pool.clone();
        pool.spawn(async move {
            let inner = Arc::clone(&self.batches.0);
            let batch = self.some();
            if batch.is_empty() {
                return;
            }
            let (calls, begun) = (batch.len(), Instant::now());
            let sent = C::send(batch, inner.pool.clone(), Arc::clone(&inner.counters));
            drop(tokio::time::timeout(inner.timeout, sent).await);
            self.note(calls, begun.elapsed());
        });
    }

    fn some(&self) -> Vec<C> {
        let mut kinds = self.batches.kinds();
        let Some(kind) = kinds.get_mut(&self.kind) else {
            return vec![];
        };
        kind.waiting.retain(|(call, _)| call.is_wanted());
        let some = kind.waiting.len().min(kind.size);
        let some = kind.waiting.drain(..some).map(|(call, since)| {
            self.batches.0.counters.waited(since.elapsed());
            call
        });
        some.collect()
    }

    /// A batch that was in time may be twice as large the next time: on a busy machine most of its time is not its own.
    fn note(&self, calls: usize, took: Duration) {
        let largest = self.batches.0.largest;
        if let Some(kind) = self.batches.kinds().get_mut(&self.kind) {
            kind.size = fitting(calls, took, largest);
        }
    }
}

impl<C: Call> Drop for InFlight<C> {
    fn drop(&mut self) {
        let mut kinds = self.batches.kinds();
        let Some(kind) = kinds.get_mut(&self.kind) else { return };
        if kind.waiting.is_empty() {
            kind.in_flight -= 1;
            if kind.in_flight == 0 && kind.size == self.batches.0.largest {
                kinds.remove(&self.kind);
                self.batches.0.known.store(kinds.len(), Ordering::Relaxed);
            }
            return;
        }
        drop(kinds);
        self.batches.in_flight(&self.kind).send_next();
    }
}

/// How many calls a batch should have, when one of so many took so long.
fn fitting(calls: usize, took: Duration, largest: usize) -> usize {
    let fit = LONGEST_BATCH.as_nanos().saturating_mul(calls as u128) / took.as_nanos().max(1);
    let fit = usize::try_from(fit).unwrap_or(largest);
    let least = if took > LONGEST_BATCH { 1 } else { 2 * calls };
    fit.max(least).min(largest)
}

/// A query that waits for a connection with others.
pub(super) struct Read {
    pub(super) query: Command,
    pub(super) answer: oneshot::Sender<Result<Vec<Row>, Fault>>,
}

pub(super) fn reads(pool: &Pool, counters: &Arc<Counters>, timeout: Duration) -> Batches<Read> {
    // Half of the connections are left to everything else.
    let in_flight = (pool.usage().size as usize / 2).max(1);
    Batches::new(pool, counters, [in_flight, LARGEST_BATCH], timeout)
}

impl Call for Read {
    fn is_wanted(&self) -> bool {
        !self.answer.is_closed()
    }

    async fn send(batch: Vec<Self>, pool: Pool, counters: Arc<Counters>) {
        let (queries, callers): (Vec<_>, Vec<_>) = batch.into_iter().map(|read| (read.query, read.answer)).unzip();
        if queries.len() > 1 {
            counters.read_together(queries.len());
        }
        let answers = match pool.acquire().await {
            Ok(mut connection) => read_all(&mut connection, &queries).await,
            Err(fault) => Err(fault),
        };
        match answers {
            Ok(answers) => callers.into_iter().zip(answers).for_each(|(caller, answer)| {
                drop(caller.send(answer));
            }),
            Err(fault) => callers.into_iter().for_each(|caller| {
                drop(caller.send(Err(fault.clone())));
            }),
        }
    }
}

async fn read_all(connection: &mut Connection, queries: &[Command]) -> Result<Vec<Result<Vec<Row>, Fault>>, Fault> {
    if queries.len() > 1
        && let Some((sql, arrays)) = merge::merged(queries)
    {
        match connection.run_arrays(None, &sql, &arrays, None).await {
            Ok(found) => return Ok(merge::apart(found.rows, queries.len())),
            Err(fault) if fault.lost => return Err(fault),
            // It does not say whose error it is: each by itself does.
            Err(_) => {}
        }
    }
    let each = queries.iter().map(|query| Query {
        sql: &query.sql,
        values: query.once().unwrap_or_default(),
    });
    let found = connection.run_each(&each.collect::<Vec<_>>()).await?;
    let rows = |found: Result<Found, Fault>| found.map(|found| found.rows);
    Ok(found.into_iter().map(rows).collect())
}

/// A row to be inserted that waits for others of its table.
pub(super) struct Append {
    pub(super) insert: Arc<Command>,
    /// `None`: to be sent by itself.
    pub(super) answer: oneshot::Sender<Option<Result<(), Fault>>>,
    pub(super) _room: OwnedSemaphorePermit,
}

/// The inserts that wait, and the room for them.
pub(super) struct Appends {
    pub(super) batches: Batches<Append>,
    pub(super) room: Arc<Semaphore>,
}

impl Appends {
    pub(super) fn new(pool: &Pool, counters: &Arc<Counters>, timeout: Duration) -> Self {
        // Measured best with one or two in flight: a few writers with many rows each are faster than many with one.
        Self {
            batches: Batches::new(pool, counters, [2, MOST_ROWS], timeout),
            room: Arc::new(Semaphore::new(MOST_WAITING)),
        }
    }
}

impl Call for Append {
    fn is_wanted(&self) -> bool {
        !self.answer.is_closed()
    }

    async fn send(batch: Vec<Self>, pool: Pool, counters: Arc<Counters>) {
        let mut connection = match pool.acquire().await {
            Ok(connection) => connection,
            Err(fault) => {
                let refuse = |append: Self| drop(append.answer.send(Some(Err(fault.clone()))));
                return batch.into_iter().for_each(refuse);
            }
        };
        let sends = |append: &Self| append.is_wanted() && append.insert.progress.sends();
        let batch = batch.into_iter().filter(sends).collect::<Vec<_>>();
        let Some(first) = batch.first() else { return };
        counters.group_of(batch.len());
        let rows = batch.iter().map(|append| append.insert.once().unwrap_or_default());
        let appended = append(
            &mut connection,
            &first.insert.sql,
            &rows.collect::<Vec<_>>(),
            Some(COMMIT),
        )
        .await;
        drop(connection);
        for append in batch {
            let outcome = match &appended {
                Ok(_) => Some(Ok(())),
                Err(fault) if fault.lost => Some(Err(fault.clone().of_a_change())),
                // It has stored nothing, and does not say whose row it was: each by itself does.
                Err(_) => None,
            };
            drop(append.answer.send(outcome));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_takes_what_fits_into_its_time() {
        let after = |calls, micros| fitting(calls, Duration::from_micros(micros), LARGEST_BATCH);
        assert_eq!(after(1, 50), 64);
        assert_eq!(after(64, 0), 64);
        assert_eq!(after(60, 300_000), 4);
        assert_eq!(after(4, 20_000), 8);
        assert_eq!(after(8, 40_000), 4);
        assert_eq!(after(1, 30_000), 1);
        assert_eq!(after(64, 3_600_000_000), 1);
    }
}
