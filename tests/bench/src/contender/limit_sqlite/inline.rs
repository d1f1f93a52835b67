//! rusqlite on the caller's thread: whoever asks runs the statement there, on a connection that nobody else holds. What
//! waits for the disk, or takes long, goes to a thread that may block.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use futures_util::future::BoxFuture;
use rusqlite::Connection;
use tokio::task::{coop, spawn_blocking};

use super::{Claims, End, begun, commit, connect, shape, walk, whole};
use crate::Result;
use crate::contender::{Call, Contender, Shape};
use crate::data::Op;
use crate::plan::Work;

pub(crate) struct Limit {
    readers: Arc<Readers>,
    writer: Arc<tokio::sync::Mutex<Connection>>,
    claims: Arc<Claims>,
}

/// One for each processor: no read waits while it has one, so no more than these are wanted at once.
struct Readers(Vec<Mutex<Connection>>);

impl Readers {
    /// A connection that is free, from this one on.
    fn any(&self, first: usize) -> MutexGuard<'_, Connection> {
        let (before, after) = self.0.split_at(first % self.0.len());
        let free = after.iter().chain(before).find_map(|reader| match reader.try_lock() {
            Ok(connection) => Some(connection),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        free.unwrap_or_else(|| self.0[0].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Limit {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let readers = (0..processors)
            .map(|_| Ok(Mutex::new(connect(path, true)?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            readers: Arc::new(Readers(readers)),
            writer: Arc::new(tokio::sync::Mutex::new(connect(path, false)?)),
            claims: Arc::new(Claims::new()),
        })
    }

    async fn do_it(&self, call: Call<'_>) -> Result<u64> {
        match (End::of(call.op), call.op) {
            (End::Read, op) => {
                // A task whose reads never wait would keep all others from the thread.
                coop::consume_budget().await;
                whole(&self.readers.any(call.task), op, &self.claims)
            }
            (End::Itself, op) | (End::Commit, op @ Op::Bulk(_)) => {
                let (db, op, claims) = (self.writer().await, op.clone(), Arc::clone(&self.claims));
                spawn_blocking(move || whole(&db, &op, &claims)).await?
            }
            (End::Commit, op) => {
                let db = self.writer().await;
                let done = begun(&db, op, &self.claims)?;
                spawn_blocking(move || commit(&db)).await??;
                Ok(done)
            }
        }
    }

    async fn writer(&self) -> tokio::sync::OwnedMutexGuard<Connection> {
        Arc::clone(&self.writer).lock_owned().await
    }
}

impl Contender for Limit {
    fn shape(&self, work: Work, tasks: usize) -> Shape {
        shape(work, tasks)
    }

    fn run<'a>(&'a self, call: Call<'a>) -> BoxFuture<'a, Result<u64>> {
        Box::pin(self.do_it(call))
    }

    fn walk(&self, rows: u64) -> BoxFuture<'_, Result<u64>> {
        let readers = Arc::clone(&self.readers);
        Box::pin(async move { spawn_blocking(move || walk(&readers.any(0), rows)).await? })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
