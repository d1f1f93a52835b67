//! A pool of connections, first come, first served. They are kept between two uses, tested when they have been idle, and
//! closed when they are old.

#![expect(
    clippy::vec_box,
    reason = "a connection is large, and is moved in and out for each statement"
)]

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use config::{DatabaseConfig, PoolConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::super::errors::Fault;
use super::super::metrics::PoolUse;
use super::background::Background;
use super::connection::Connection;
use crate::{Error, ErrorKind};

/// How long a connection that has been idle may take to answer that it is still there.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a dropped transaction's rollback, or the end of a statement that nobody waits for, may take before its
/// connection is closed.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the server's goodbye is waited for.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The pool. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    server: config::postgres::Postgres,
    permits: Arc<Semaphore>,
    config: PoolConfig,
    state: Mutex<State>,
    background: Background,
    /// Whether the pool is about to be closed: then nothing is cleaned up that is closed anyway.
    closing: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    idle: Vec<Idle>,
    /// What was used last before this is tested before it is used again: what broke one connection may have broken others.
    broke: Option<Instant>,
    /// Why the last attempt to connect failed, until one succeeds.
    unreachable: Option<Fault>,
    /// How many transactions have a connection.
    transactions: usize,
}

struct Idle {
    /// Boxed: it is moved into the pool and out of it for each statement.
    connection: Box<Connection>,
    since: Instant,
}

impl Pool {
    pub(super) fn new(server: config::postgres::Postgres, config: &DatabaseConfig) -> crate::Result<Self> {
        let pool = Self(Arc::new(Inner {
            server,
            permits: Arc::new(Semaphore::new(config.pool.max_connections as usize)),
            config: config.pool.clone(),
            state: Mutex::default(),
            background: Background::start()?,
            closing: watch::Sender::new(false),
        }));
        pool.spawn(keep(Arc::downgrade(&pool.0)));
        Ok(pool)
    }

    /// Runs what no caller waits for.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.background.spawn(work);
    }

    /// A connection, as soon as one is free.
    pub(super) async fn acquire(&self) -> Result<Pooled, Fault> {
        let permit = match Arc::clone(&self.0.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait().await?,
        };
        self.with(permit).await
    }

    /// A permit for a connection, if one is free at this moment and nobody waits for it.
    pub(super) fn try_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.permits).try_acquire_owned().ok()
    }

    async fn wait(&self) -> Result<OwnedSemaphorePermit, Fault> {
        let limit = self.0.config.acquire_timeout;
        match tokio::time::timeout(limit, Arc::clone(&self.0.permits).acquire_owned()).await {
            Ok(permit) => permit.map_err(|_| Fault::closed()),
            Err(_) => {
                let unreachable = self.0.state().unreachable.clone();
                Err(unreachable.unwrap_or_else(|| {
                    let message = format!("no connection became free within {limit:?} (pool.acquire_timeout)");
                    Fault::new(ErrorKind::Timeout, message)
                }))
            }
        }
    }

    /// The connection that belongs to a permit: one that is kept, or a new one.
    pub(super) async fn with(&self, permit: OwnedSemaphorePermit) -> Result<Pooled, Fault> {
        if let Some(fresh) = self.0.fresh() {
            return Ok(Pooled::new(self, fresh, Some(permit)));
        }
        // Boxed, as it is rare: what is not would make every operation's future larger.
        Box::pin(self.tested_or_new(permit)).await
    }

    /// A connection that answered just now: for who has found one broken.
    pub(super) async fn acquire_tested(&self) -> Result<Pooled, Fault> {
        let permit = self.wait().await?;
        self.0.state().broke = Some(Instant::now());
        Box::pin(self.tested_or_new(permit)).await
    }

    async fn tested_or_new(&self, permit: OwnedSemaphorePermit) -> Result<Pooled, Fault> {
        loop {
            let Some(idle) = self.0.state().idle.pop() else { break };
            if self.0.is_old(&idle.connection) {
                self.farewell(idle.connection);
                continue;
            }
            let mut pooled = Pooled::new(self, idle.connection, None);
            if let Ok(Ok(())) = tokio::time::timeout(PING_TIMEOUT, pooled.ping()).await {
                pooled.permit = Some(permit);
                return Ok(pooled);
            }
            pooled.discard();
        }
        let opened = self.0.server.connect().await;
        let opened = opened.map_err(unreachable);
        self.0.state().unreachable = opened.as_ref().err().cloned();
        Ok(Pooled::new(self, Box::new(Connection::new(opened?)), Some(permit)))
    }

    /// Waits for every connection to be given back. While the permits are held, nobody else gets one.
    pub(super) async fn drain(&self, deadline: Instant) -> Option<OwnedSemaphorePermit> {
        self.0.closing.send_replace(true);
        let all = Arc::clone(&self.0.permits).acquire_many_owned(self.0.config.max_connections);
        let stays_open = StaysOpen(self);
        let all = tokio::time::timeout_at(deadline.into(), all).await;
        let all = all.ok().and_then(std::result::Result::ok);
        if all.is_some() {
            std::mem::forget(stays_open);
        }
        all
    }

    /// Gives out no more connections, and closes those that are here.
    pub(super) async fn close(&self) {
        self.0.permits.close();
        let idle = std::mem::take(&mut self.0.state().idle);
        let farewells = idle.into_iter().map(|idle| idle.connection.close());
        let all = futures_util::future::join_all(farewells);
        drop(tokio::time::timeout(CLOSE_TIMEOUT, all).await);
    }

    /// A transaction has a connection from here on, until the result is dropped.
    pub(super) fn in_transaction(&self) -> InTransaction {
        self.0.state().transactions += 1;
        InTransaction(self.clone())
    }

    /// How many transactions are open.
    pub(super) fn transactions(&self) -> usize {
        self.0.state().transactions
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.permits.is_closed()
    }

    /// Whether the last attempt to connect, if there was one, succeeded.
    pub(super) fn answers(&self) -> bool {
        self.0.state().unreachable.is_none()
    }

    pub(super) fn usage(&self) -> PoolUse {
        let size = self.0.config.max_connections;
        let free = u32::try_from(self.0.permits.available_permits()).unwrap_or(size);
        PoolUse {
            in_use: size.saturating_sub(free),
            size,
        }
    }

    fn farewell(&self, connection: Box<Connection>) {
        self.spawn(async move {
            drop(tokio::time::timeout(CLOSE_TIMEOUT, connection.close()).await);
        });
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that needs no test.
    fn fresh(&self) -> Option<Box<Connection>> {
        let mut state = self.state();
        let newest = state.idle.last()?;
        let tested = newest.since.elapsed() < self.config.check_after_idle
            && state.broke.is_none_or(|broke| broke < newest.since)
            && !self.is_old(&newest.connection);
        match tested {
            true => state.idle.pop().map(|idle| idle.connection),
            false => None,
        }
    }

    fn is_old(&self, connection: &Connection) -> bool {
        let limit = self.config.max_lifetime;
        limit.is_some_and(|limit| connection.opened.elapsed() > limit)
    }

    /// Those that have been idle for too long, or are old, as far as more are open than are to be kept.
    fn superfluous(&self) -> Vec<Box<Connection>> {
        let mut state = self.state();
        let mut spare = state.idle.len().saturating_sub(self.config.min_connections as usize);
        let is_superfluous = |idle: &mut Idle| {
            let unused = self
                .config
                .idle_timeout
                .is_some_and(|limit| idle.since.elapsed() > limit);
            let superfluous = self.is_old(&idle.connection) || (unused && spare > 0);
            spare = spare.saturating_sub(usize::from(superfluous));
            superfluous
        };
        let superfluous = state.idle.extract_if(.., is_superfluous);
        superfluous.map(|idle| idle.connection).collect()
    }
}

fn unreachable(error: config::ConnectError) -> Fault {
    let mut fault = Fault::from(Error::from(error));
    if let ErrorKind::Unavailable | ErrorKind::Timeout = fault.kind {
        fault.message = format!("the database cannot be reached: {}", fault.message).into();
    }
    fault
}

/// Closes what is idle for too long and keeps as many open as is configured. Ends with the pool.
async fn keep(pool: Weak<Inner>) {
    loop {
        let pause = {
            let Some(pool) = pool.upgrade().map(Pool) else { return };
            for connection in pool.0.superfluous() {
                pool.farewell(connection);
            }
            let open = pool.0.state().idle.len() as u32 + pool.usage().in_use;
            if open < pool.0.config.min_connections
                && let Some(permit) = pool.try_permit()
            {
                let Ok(opened) = pool.0.server.connect().await else {
                    drop(permit);
                    continue_after(Duration::from_secs(1)).await;
                    continue;
                };
                drop(Pooled::new(&pool, Box::new(Connection::new(opened)), Some(permit)));
                continue;
            }
            pool.0.config.idle_timeout.unwrap_or(Duration::from_secs(60)) / 2
        };
        continue_after(pause.clamp(Duration::from_millis(100), Duration::from_secs(30))).await;
    }
}

async fn continue_after(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// The pool is not closed after all.
struct StaysOpen<'p>(&'p Pool);

impl Drop for StaysOpen<'_> {
    fn drop(&mut self) {
        self.0.0.closing.send_replace(false);
    }
}

/// A transaction is open.
pub(super) struct InTransaction(Pool);

impl Drop for InTransaction {
    fn drop(&mut self) {
        self.0.0.state().transactions -= 1;
    }
}

/// A connection in use. When it is dropped, it goes back to its pool: after a rollback when a transaction is open, and after
/// the end of a statement that nobody waits for any more. One that broke is closed.
pub(super) struct Pooled {
    /// Missing only while it is dropped.
    connection: Option<Box<Connection>>,
    pool: Pool,
    /// Given back after the connection.
    permit: Option<OwnedSemaphorePermit>,
    /// Whether cleaning it was tried.
    cleaned: bool,
}

impl Pooled {
    fn new(pool: &Pool, connection: Box<Connection>, permit: Option<OwnedSemaphorePermit>) -> Self {
        Self {
            connection: Some(connection),
            pool: pool.clone(),
            permit,
            cleaned: false,
        }
    }

    fn discard(mut self) {
        self.connection = None;
    }

    /// Runs a statement; the server is asked to end one that is still under way at the deadline, and says so.
    pub(super) async fn cancelled_at<T>(
        &mut self,
        deadline: Instant,
        run: impl AsyncFnOnce(&mut Connection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let (server, token) = (self.pool.0.server.clone(), self.cancel_token());
        let mut run = std::pin::pin!(run(self));
        match tokio::time::timeout_at(deadline.into(), &mut run).await {
            Ok(done) => done,
            // Meanwhile the connection is driven: the answer may come by itself.
            Err(_) => futures_util::future::join(server.cancel(&token), run).await.1,
        }
    }

    /// Ends what is under way and what is open, and says whether the connection is good again.
    async fn clean(&mut self) -> bool {
        let server = self.pool.0.server.clone();
        // A COMMIT is left to its end.
        if self.is_under_way() && !self.committing {
            let token = self.cancel_token();
            // The server may be ahead of us, or gone: the rollback shows it.
            drop(server.cancel(&token).await);
        }
        let rolled_back = self.control("ROLLBACK").await.is_ok();
        if rolled_back {
            self.in_transaction = false;
        }
        rolled_back
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
        let Some(connection) = self.connection.take() else {
            return;
        };
        if connection.is_broken() {
            self.pool.0.state().broke = Some(Instant::now());
        } else if connection.is_clean() {
            if !self.pool.0.permits.is_closed() {
                let since = Instant::now();
                self.pool.0.state().idle.push(Idle { connection, since });
            }
        } else if !self.cleaned {
            let mut unclean = Self::new(&self.pool, connection, self.permit.take());
            unclean.cleaned = true;
            let pool = self.pool.clone();
            self.pool.spawn(async move {
                let mut closing = pool.0.closing.subscribe();
                let cleaned = tokio::select! {
                    cleaned = tokio::time::timeout(CLEAN_TIMEOUT, unclean.clean()) => cleaned == Ok(true),
                    _ = closing.wait_for(|closing| *closing) => false,
                };
                if !cleaned {
                    unclean.discard();
                }
            });
        }
    }
}
