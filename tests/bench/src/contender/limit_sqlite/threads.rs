//! rusqlite on threads of its own, which do nothing else: one that writes, and two that read.

use std::path::Path;
use std::sync::mpsc;

use futures_util::future::BoxFuture;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{Claims, End, connect, shape, walk, whole};
use crate::contender::{Call, Contender, Shape};
use crate::data::Op;
use crate::plan::Work;
use crate::{Failure, Result};

const READERS: usize = 2;

type Job = (Request, oneshot::Sender<Result<u64>>);

enum Request {
    Do(Op),
    Walk(u64),
}

pub(crate) struct Limit {
    readers: Vec<mpsc::Sender<Job>>,
    writer: mpsc::Sender<Job>,
}

impl Limit {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let writer = hired(connect(path, false)?);
        let readers = (0..READERS)
            .map(|_| Ok(hired(connect(path, true)?)))
            .collect::<Result<_>>()?;
        Ok(Self { readers, writer })
    }

    fn reader(&self, call: &Call<'_>) -> &mpsc::Sender<Job> {
        &self.readers[call.task % self.readers.len()]
    }
}

/// A thread that works on this connection until nobody can ask it any more.
fn hired(connection: Connection) -> mpsc::Sender<Job> {
    let (sender, jobs) = mpsc::channel::<Job>();
    let claims = Claims::new();
    std::thread::spawn(move || {
        while let Ok((request, answer)) = jobs.recv() {
            let done = match request {
                Request::Do(op) => whole(&connection, &op, &claims),
                Request::Walk(rows) => walk(&connection, rows),
            };
            // Nobody waits any more when the task was dropped.
            let _ = answer.send(done);
        }
    });
    sender
}

async fn asked(worker: &mpsc::Sender<Job>, request: Request) -> Result<u64> {
    let (sender, answer) = oneshot::channel();
    let gone = |_| Failure::from("the thread has ended");
    worker
        .send((request, sender))
        .map_err(|_| Failure::from("the thread has ended"))?;
    answer.await.map_err(gone)?
}

impl Contender for Limit {
    fn shape(&self, work: Work, tasks: usize) -> Shape {
        shape(work, tasks)
    }

    fn run<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<u64>> {
        let worker = match End::of(call.op) {
            End::Read => self.reader(&call),
            End::Itself | End::Commit => &self.writer,
        };
        Box::pin(asked(worker, Request::Do(call.op.clone())))
    }

    fn walk(&self, rows: u64) -> BoxFuture<'_, Result<u64>> {
        Box::pin(asked(&self.readers[0], Request::Walk(rows)))
    }

    /// The threads end when their senders are gone.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
