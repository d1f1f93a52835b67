//! Reads of one row that wait for each other: those of one text are sent together.
//!
//! A read by key costs the database little. What it costs is the trip: to SQLite's thread, or to the server. Who finds a
//! connection free reads by itself, as fast as it can be. Once somebody would have to wait for one, those who read the
//! same meanwhile wait with it and are sent as one command: fewer trips, and fewer connections at work. Each is asked for,
//! also what several ask for, and each hears its own answer.
//!
//! A task takes the connection on behalf of those who wait. A read changes nothing, so whatever becomes of that task, who
//! waited for it can read by itself.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::DbErr;
use tokio::sync::oneshot;

use super::connection::{Answer, Command};
use super::lane::{Held, Lane};
use super::metrics::Counters;

/// So many go in one flight.
const MOST_TOGETHER: usize = 64;

/// A flight shall take no longer: when the last one says that it would, the next takes fewer reads, down to a single one,
/// which delays nobody else.
const LONGEST_FLIGHT: Duration = Duration::from_millis(20);

/// Slow reads are remembered for so many texts, and those at work.
const MOST_TEXTS: usize = 1_000;

/// Who reads one row and has to wait. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reads(Arc<Inner>);

struct Inner {
    lane: Lane,
    counters: Arc<Counters>,
    /// Flights of one text at once: half of the connections are left to everything else.
    most_flights: usize,
    /// By the statement's text, while any of it is under way or known to be slow.
    texts: Mutex<HashMap<String, Text>>,
}

struct Text {
    flights: usize,
    waiting: VecDeque<Read>,
    /// The next flight takes so many.
    most: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            flights: 0,
            waiting: VecDeque::new(),
            most: MOST_TOGETHER,
        }
    }
}

struct Read {
    command: Command,
    /// Dropped without an answer: read by yourself.
    answer: oneshot::Sender<Result<Answer, DbErr>>,
}

impl Reads {
    pub(super) fn new(lane: Lane, counters: Arc<Counters>) -> Self {
        let (_, size) = lane.usage();
        Self(Arc::new(Inner {
            lane,
            counters,
            most_flights: (size as usize / 2).max(1),
            texts: Mutex::default(),
        }))
    }

    /// Whether others of this text are under way.
    pub(super) fn has(&self, text: &str) -> bool {
        self.texts().get(text).is_some_and(|text| text.flights > 0)
    }

    /// The answer, when the read went with others; `None` when it is to be sent by itself.
    pub(super) async fn join(&self, command: &Command) -> Option<Result<Answer, DbErr>> {
        let text = command.text()?;
        let (answer, answered) = oneshot::channel();
        let read = Read {
            command: command.clone(),
            answer,
        };
        if self.wait(text, read) {
            let flight = Flight {
                reads: self.clone(),
                text: text.to_owned(),
                over: false,
            };
            self.0.lane.runtime().spawn(flight.run());
        }
        answered.await.ok()
    }

    /// Puts a read among those who wait; whether it takes one more flight to serve them.
    fn wait(&self, text: &str, read: Read) -> bool {
        let mut texts = self.texts();
        if !texts.contains_key(text) {
            if texts.len() >= MOST_TEXTS {
                texts.retain(|_, known| known.flights > 0);
            }
            texts.insert(text.to_owned(), Text::default());
        }
        let Some(text) = texts.get_mut(text) else { return false };
        text.waiting.push_back(read);
        let one_more = text.flights < self.0.most_flights;
        text.flights += usize::from(one_more);
        one_more
    }

    fn texts(&self) -> MutexGuard<'_, HashMap<String, Text>> {
        self.0.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that reads for those who wait, until nobody does. When it is dropped before that with its runtime, and is the
/// last one, they read by themselves.
struct Flight {
    reads: Reads,
    text: String,
    over: bool,
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.over {
            drop(self.end());
        }
    }
}

impl Flight {
    async fn run(mut self) {
        // Each time anew: others wait for a connection too.
        while let Ok(held) = self.reads.0.lane.take().await {
            let Some(together) = self.those_who_wait() else { return };
            let reads = together.len();
            let begun = Instant::now();
            self.answer(held, together).await;
            self.note(fitting(reads, begun.elapsed()));
        }
        // There is no connection: each hears why when it asks for one itself.
    }

    /// Some of those who wait. When nobody does, this was the flight's end.
    fn those_who_wait(&mut self) -> Option<Vec<Read>> {
        let mut texts = self.reads.texts();
        let text = texts.get_mut(&self.text)?;
        text.waiting.retain(|read| !read.answer.is_closed());
        if text.waiting.is_empty() {
            drop(texts);
            self.end();
            return None;
        }
        let some = text.waiting.len().min(text.most);
        Some(text.waiting.drain(..some).collect())
    }

    fn note(&self, most: usize) {
        if let Some(text) = self.reads.texts().get_mut(&self.text) {
            text.most = most;
        }
    }

    /// Answers those who are left without a flight.
    fn end(&mut self) -> VecDeque<Read> {
        self.over = true;
        let mut texts = self.reads.texts();
        let Some(text) = texts.get_mut(&self.text) else {
            return VecDeque::new();
        };
        text.flights -= 1;
        if text.flights > 0 {
            return VecDeque::new();
        }
        let left = std::mem::take(&mut text.waiting);
        if text.most == MOST_TOGETHER {
            texts.remove(&self.text);
        }
        left
    }

    async fn answer(&self, mut held: Held, together: Vec<Read>) {
        let counters = &self.reads.0.counters;
        let (commands, callers): (Vec<_>, Vec<_>) =
            together.into_iter().map(|read| (read.command, read.answer)).unzip();
        for command in &commands {
            counters.sent(command.sql());
        }
        if commands.len() > 1 {
            counters.read_together(commands.len());
        }
        let (answers, error) = held.perform_alike(commands).await;
        // Who waits for a connection gets it first.
        drop(held);
        let outcomes = answers.into_iter().map(Ok).chain(error.map(Err));
        for (caller, outcome) in callers.into_iter().zip(outcomes) {
            caller.send(outcome).ok();
        }
    }
}

/// How many reads a flight should take, when one of so many took so long. One that was in time may take twice as many:
/// on a busy machine most of a flight's time is not its reads'.
fn fitting(reads: usize, took: Duration) -> usize {
    let fit = LONGEST_FLIGHT.as_nanos().saturating_mul(reads as u128) / took.as_nanos().max(1);
    let fit = usize::try_from(fit).unwrap_or(MOST_TOGETHER);
    let least = if took > LONGEST_FLIGHT { 1 } else { 2 * reads };
    fit.max(least).min(MOST_TOGETHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flight_takes_what_fits_into_its_time() {
        let after = |reads, micros| fitting(reads, Duration::from_micros(micros));
        assert_eq!(after(1, 50), 64);
        assert_eq!(after(64, 0), 64);
        assert_eq!(after(60, 300_000), 4);
        assert_eq!(after(4, 20_000), 8);
        assert_eq!(after(8, 40_000), 4);
        assert_eq!(after(1, 30_000), 1);
        assert_eq!(after(64, 3_600_000_000), 1);
    }
}
