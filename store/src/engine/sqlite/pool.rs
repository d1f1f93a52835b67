//! A pool of connections, first come, first served.

#![expect(
    clippy::vec_box,
    reason = "a connection is large, and is moved in and out for each statement"
)]

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::errors::Fault;
use super::super::metrics::PoolUse;
use super::connection::Connection;

/// Opens one more connection; it may block.
type Open = dyn Fn() -> Result<Connection, Fault> + Send + Sync;

/// The pool. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    permits: Arc<Semaphore>,
    size: u32,
    /// Boxed: they are moved in and out for each read.
    idle: Mutex<Vec<Box<Connection>>>,
    open: Box<Open>,
}

impl Pool {
    /// The connections beyond the first ones are opened when they are needed.
    pub(super) fn new(
        first: Vec<Connection>,
        size: u32,
        open: impl Fn() -> Result<Connection, Fault> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            permits: Arc::new(Semaphore::new(size as usize)),
            size,
            idle: Mutex::new(first.into_iter().map(Box::new).collect()),
            open: Box::new(open),
        }))
    }

    /// A connection, as soon as one is free.
    pub(super) async fn acquire(&self) -> Result<Pooled, Fault> {
        let permit = match Arc::clone(&self.0.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let permit = Arc::clone(&self.0.permits).acquire_owned().await;
                permit.map_err(|_| Fault::closed())?
            }
        };
        if let Some(connection) = self.0.idle().pop() {
            return Ok(Pooled::new(self, connection, permit));
        }
        let pool = self.clone();
        super::blocking::on_blocking_thread(move || {
            let connection = Box::new((pool.0.open)()?);
            Ok(Pooled::new(&pool, connection, permit))
        })
        .await?
    }

    /// A connection, if one is free at this moment and nobody waits for it.
    pub(super) fn try_acquire(&self) -> Option<Pooled> {
        let permit = Arc::clone(&self.0.permits).try_acquire_owned().ok()?;
        let connection = self.0.idle().pop()?;
        Some(Pooled::new(self, connection, permit))
    }

    /// Waits for every connection to be given back. While the permits are held, nobody else gets one.
    pub(super) async fn drain(&self, deadline: Instant) -> Option<OwnedSemaphorePermit> {
        let all = Arc::clone(&self.0.permits).acquire_many_owned(self.0.size);
        tokio::time::timeout_at(deadline.into(), all).await.ok()?.ok()
    }

    /// Gives out no more connections, and returns those that are here.
    pub(super) fn close(&self) -> Vec<Box<Connection>> {
        self.0.permits.close();
        std::mem::take(&mut *self.0.idle())
    }

    pub(super) fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.permits.is_closed()
    }

    pub(super) fn usage(&self) -> PoolUse {
        let free = u32::try_from(self.0.permits.available_permits()).unwrap_or(self.0.size);
        PoolUse {
            in_use: self.0.size.saturating_sub(free),
            size: self.0.size,
        }
    }
}

impl Inner {
    fn idle(&self) -> MutexGuard<'_, Vec<Box<Connection>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in use. When it is dropped, it goes back to its pool, without a transaction.
pub(super) struct Pooled {
    /// Missing only while it is dropped.
    connection: Option<Box<Connection>>,
    pool: Pool,
    /// Given back after the connection.
    _permit: OwnedSemaphorePermit,
}

impl Pooled {
    fn new(pool: &Pool, connection: Box<Connection>, permit: OwnedSemaphorePermit) -> Self {
        Self {
            connection: Some(connection),
            pool: pool.clone(),
            _permit: permit,
        }
    }
}

impl Deref for Pooled {
    type Target = Connection;

    #[expect(clippy::expect_used, reason = "it is missing only while the value is dropped")]
    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("a pooled connection in use")
    }
}

impl DerefMut for Pooled {
    #[expect(clippy::expect_used, reason = "it is missing only while the value is dropped")]
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("a pooled connection in use")
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        connection.roll_back();
        let lowered = connection.lower();
        // One that is still in a transaction, or cannot be set back, is closed: another one is opened when it is needed.
        if lowered.is_ok() && !connection.in_transaction() && !self.pool.is_closed() {
            self.pool.0.idle().push(connection);
        }
    }
}
