//! Reads of one row that would have to wait for a connection: those of one text wait together, and are sent as one.
//!
//! A read by key costs the database little. What it costs is the trip: to SQLite's thread, or to the server. Who finds a
//! connection free reads by itself, as fast as it can be. Only who would have to wait goes with the others who do, and so
//! gets its answer sooner. Each is asked for, also what several ask for, and each hears its own answer.
//!
//! A task waits for the connection on behalf of all of one text. A read changes nothing, so whatever becomes of that task,
//! who waited for it can read by itself.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sea_orm::DbErr;
use tokio::sync::oneshot;

use super::connection::{Answer, Command};
use super::lane::{Held, Lane};
use super::metrics::Counters;

/// So many go with one connection. What is left waits for the next one, which may come at the same moment.
const MOST_TOGETHER: usize = 64;

/// Who waits to read one row. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reads(Arc<Inner>);

struct Inner {
    lane: Lane,
    counters: Arc<Counters>,
    /// By the statement's text; each has a task that waits for a connection.
    waiting: Mutex<HashMap<String, VecDeque<Read>>>,
}

struct Read {
    command: Command,
    /// Dropped without an answer: read by yourself.
    answer: oneshot::Sender<Result<Answer, DbErr>>,
}

impl Reads {
    pub(super) fn new(lane: Lane, counters: Arc<Counters>) -> Self {
        Self(Arc::new(Inner {
            lane,
            counters,
            waiting: Mutex::default(),
        }))
    }

    /// The answer, when the read went with others; `None` when it is to be sent by itself.
    pub(super) async fn join(&self, command: &Command) -> Option<Result<Answer, DbErr>> {
        let text = command.text()?;
        let (answer, answered) = oneshot::channel();
        let read = Read {
            command: command.clone(),
            answer,
        };
        let first = {
            let mut waiting = self.waiting();
            match waiting.get_mut(text) {
                Some(others) => {
                    others.push_back(read);
                    false
                }
                None => {
                    waiting.insert(text.to_owned(), VecDeque::from([read]));
                    true
                }
            }
        };
        if first {
            self.send_for(text.to_owned());
        }
        answered.await.ok()
    }

    fn send_for(&self, text: String) {
        let errand = Errand {
            reads: self.clone(),
            text: Some(text),
        };
        self.0.lane.runtime().spawn(errand.run());
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, VecDeque<Read>>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that waits for a connection. When it is dropped before it has one, those who count on it read by themselves.
struct Errand {
    reads: Reads,
    /// Of those who count on it.
    text: Option<String>,
}

impl Drop for Errand {
    fn drop(&mut self) {
        if let Some(text) = self.text.take() {
            let left_alone = self.reads.waiting().remove(&text);
            drop(left_alone);
        }
    }
}

impl Errand {
    async fn run(mut self) {
        // Without a connection, each hears the reason when it asks for one itself.
        let Ok(held) = self.reads.0.lane.take().await else {
            return;
        };
        let Some(text) = self.text.take() else { return };
        let together = self.those_who_wait(text);
        self.answer(held, together).await;
    }

    /// Those of the text, up to as many as go together. Whoever is left gets a task of its own.
    fn those_who_wait(&self, text: String) -> Vec<Read> {
        let mut waiting = self.reads.waiting();
        let Some(mut all) = waiting.remove(&text) else {
            return vec![];
        };
        all.retain(|read| !read.answer.is_closed());
        let together = all.drain(..all.len().min(MOST_TOGETHER)).collect();
        if !all.is_empty() {
            waiting.insert(text.clone(), all);
            drop(waiting);
            self.reads.send_for(text);
        }
        together
    }

    async fn answer(&self, mut held: Held, together: Vec<Read>) {
        let counters = &self.reads.0.counters;
        let commands = together.iter().map(|read| read.command.clone()).collect::<Vec<_>>();
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
        for (read, outcome) in together.into_iter().zip(outcomes) {
            read.answer.send(outcome).ok();
        }
    }
}
