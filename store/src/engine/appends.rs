//! Appends on Postgres: rows for one table that many callers insert at once are sent as one statement.
//!
//! A durable commit costs a sync of the server's disk, and a statement costs a round trip: a few writers with many rows
//! each are faster than many writers with one. So the first inserts of a shape go out by themselves, and those that come
//! while these are under way wait for each other. A statement of many rows that fails has stored nothing; then each of its
//! rows is sent by itself, so that a bad one fails alone, with its own error.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::Statement;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::connection::{Answer, Command};
use super::errors::{breaks_the_connection, was_sent};
use super::lane::Lane;
use super::line::{Failure, Outcome};
use super::metrics::Counters;
use super::operation::Progress;
use super::rows::Rows;
use crate::{Error, ErrorKind, Result};

/// Statements of one shape under way at once. Measured best with one or two.
const FLIGHTS: usize = 2;

/// Rows in one statement.
const MOST_ROWS: usize = 500;

/// So many may wait; more wait for a place among them, in their order.
const MOST_WAITING: usize = 1_024;

/// Who inserts rows. Cheap to clone.
#[derive(Clone)]
pub(super) struct Appends(Arc<Inner>);

struct Inner {
    lane: Lane,
    counters: Arc<Counters>,
    room: Arc<Semaphore>,
    /// By the text of the INSERT of one row.
    shapes: Mutex<HashMap<String, Shape>>,
}

#[derive(Default)]
struct Shape {
    flights: usize,
    waiting: VecDeque<Append>,
}

struct Append {
    row: Rows,
    since: Instant,
    progress: Arc<Progress>,
    /// `None`: send it by yourself.
    answer: oneshot::Sender<Option<Outcome<Answer>>>,
    _room: OwnedSemaphorePermit,
}

/// What became of a command.
pub(super) enum Joined {
    /// It is to be sent by itself; the next ones of its shape wait while it has a flight.
    Alone(Option<Flight>),
    /// It was sent with others.
    Done(Outcome<Answer>),
}

/// A statement of a shape that is under way. When it ends, those who wait go next.
pub(super) struct Flight {
    appends: Appends,
    sql: String,
    /// Not yet for one whose task has not run: a runtime that is shutting down never runs it.
    begun: bool,
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.begun {
            // They stand in line again.
            drop(self.everybody());
        }
        let waiting = {
            let mut shapes = self.appends.shapes();
            let Some(shape) = shapes.get_mut(&self.sql) else { return };
            if shape.waiting.is_empty() || !self.begun {
                shape.flights -= 1;
            }
            !shape.waiting.is_empty() && self.begun
        };
        if waiting {
            let next = Self {
                appends: self.appends.clone(),
                sql: self.sql.clone(),
                begun: false,
            };
            self.appends.0.lane.runtime().spawn(next.take_all());
        }
    }
}

impl Appends {
    pub(super) fn new(lane: Lane, counters: Arc<Counters>) -> Self {
        Self(Arc::new(Inner {
            lane,
            counters,
            room: Arc::new(Semaphore::new(MOST_WAITING)),
            shapes: Mutex::default(),
        }))
    }

    /// Sends the command with others of its shape, if it is one that can be, and if others are under way.
    pub(super) async fn join(&self, command: &Command, progress: &Arc<Progress>) -> Result<Joined> {
        let Command::Statement(statement) = command else {
            return Ok(Joined::Alone(None));
        };
        if !can_be_merged(statement) {
            return Ok(Joined::Alone(None));
        }
        if let Some(flight) = self.flight(&statement.sql) {
            return Ok(Joined::Alone(Some(flight)));
        }
        let Some(row) = Rows::of(statement.clone()) else {
            return Ok(Joined::Alone(None));
        };
        let room = Arc::clone(&self.0.room).acquire_owned().await;
        let room = room.map_err(|_| Error::new(ErrorKind::Unavailable, "the store is closed"))?;
        let (answer, answered) = oneshot::channel();
        let append = Append {
            row,
            since: Instant::now(),
            progress: Arc::clone(progress),
            answer,
            _room: room,
        };
        {
            let mut shapes = self.shapes();
            let shape = shapes.entry(statement.sql.clone()).or_default();
            // The flights may have ended while this one waited for room.
            if shape.flights == 0 {
                shape.flights = 1;
                let (appends, sql) = (self.clone(), statement.sql.clone());
                let begun = true;
                return Ok(Joined::Alone(Some(Flight { appends, sql, begun })));
            }
            shape.waiting.push_back(append);
        }
        match answered.await {
            Ok(Some(outcome)) => Ok(Joined::Done(outcome)),
            Ok(None) => {
                progress.settled();
                Ok(Joined::Alone(None))
            }
            Err(_) if progress.settled() => Ok(Joined::Done(Err(Failure::Unconfirmed))),
            Err(_) => Ok(Joined::Done(Err(Failure::Undone))),
        }
    }

    pub(super) async fn wait_until_empty(&self) {
        while self.length() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// How many wait.
    pub(super) fn length(&self) -> usize {
        self.shapes().values().map(|shape| shape.waiting.len()).sum()
    }

    fn flight(&self, sql: &str) -> Option<Flight> {
        let mut shapes = self.shapes();
        if !shapes.contains_key(sql) {
            shapes.insert(sql.to_owned(), Shape::default());
        }
        let shape = shapes.get_mut(sql)?;
        if shape.flights >= FLIGHTS || !shape.waiting.is_empty() {
            return None;
        }
        shape.flights += 1;
        Some(Flight {
            appends: self.clone(),
            sql: sql.to_owned(),
            begun: true,
        })
    }

    fn shapes(&self) -> MutexGuard<'_, HashMap<String, Shape>> {
        self.0.shapes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Flight {
    /// Sends everybody who waits by now. Those who come meanwhile are sent by the next flight, which begins where this
    /// one is dropped.
    async fn take_all(mut self) {
        self.begun = true;
        let Ok(mut held) = self.appends.0.lane.take().await else {
            let closed = |append: Append| append.answer.send(Some(Err(Failure::Closed)));
            return self.everybody().into_iter().for_each(|append| drop(closed(append)));
        };
        let together = self.those_who_wait();
        let wanted = |append: &Append| !append.answer.is_closed() && append.progress.sends();
        let together = together.into_iter().filter(wanted).collect::<Vec<_>>();
        let Some(first) = together.first() else { return };
        let mut rows = first.row.clone();
        rows.rows = together.iter().flat_map(|append| append.row.rows.clone()).collect();
        let counters = &self.appends.0.counters;
        counters.sent(&rows.sql);
        counters.group_of(together.len());
        let answer = held.perform(Command::Rows(rows)).await;
        drop(held);
        for append in together {
            let outcome = match &answer {
                Ok(_) => Some(Ok(Answer::of_one_row())),
                Err(error) if was_sent(error) && breaks_the_connection(error) => Some(Err(Failure::Own(error.clone()))),
                Err(_) => None,
            };
            append.answer.send(outcome).ok();
        }
    }

    fn those_who_wait(&self) -> Vec<Append> {
        let mut shapes = self.appends.shapes();
        let Some(shape) = shapes.get_mut(&self.sql) else {
            return vec![];
        };
        let some = shape.waiting.len().min(MOST_ROWS);
        let some = shape.waiting.drain(..some).collect::<Vec<_>>();
        for append in &some {
            self.appends.0.counters.waited(append.since.elapsed());
        }
        some
    }

    /// Takes all those who wait.
    fn everybody(&self) -> VecDeque<Append> {
        let mut shapes = self.appends.shapes();
        let shape = shapes.get_mut(&self.sql);
        shape
            .map(|shape| std::mem::take(&mut shape.waiting))
            .unwrap_or_default()
    }
}

/// One row that is stored in any case, or fails: then it does not matter with whom it is sent.
fn can_be_merged(statement: &Statement) -> bool {
    let sql = &statement.sql;
    let decides = [" RETURNING ", " DO NOTHING", " WHERE "];
    sql.starts_with("INSERT INTO ") && !decides.iter().any(|word| sql.contains(word))
}
