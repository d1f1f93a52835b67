//! A lane: connections for one kind of work, and a line of those who wait for one.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use config::{Connections, DatabaseConfig, Runtimes};
use sea_orm::{DatabaseConnection, DbErr, RuntimeErr, Statement};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, watch};

use super::connection::{Answer, Command, Connection};
use super::errors::breaks_the_connection;
use super::running::Running;
use crate::{Error, ErrorKind, Result};

/// What a statement does, and so which lane it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Reads any number of rows.
    Read,
    /// Reads one row at most.
    ReadOne,
    /// Changes rows.
    Write,
}

/// A pool with a fair line in front of it, first come, first served, and with the connections that are at hand: lent by
/// the pool and kept between two uses, so that a statement costs no more than itself.
///
/// Whoever holds a place gets a connection at once. So waiting happens here, where it is counted, can be given up without
/// harm and ends when the store is closed.
#[derive(Clone)]
pub(super) struct Lane(Arc<Inner>);

struct Inner {
    running: Running,
    pool: DatabaseConnection,
    places: Arc<Semaphore>,
    size: u32,
    at_hand: Mutex<Vec<AtHand>>,
    /// What was not used for so long goes back to the pool, which tests it, and closes what has grown old.
    fresh: Duration,
    /// Those that serve its connections.
    runtimes: Runtimes,
    /// Told of each use, for what is done when nobody needs the lane.
    used: watch::Sender<()>,
    /// Held by what is done then.
    tidying: Semaphore,
    /// The pool takes a connection back in a task, also from a thread that knows no runtime.
    runtime: Handle,
}

struct AtHand {
    connection: Connection,
    lent: Instant,
    used: Instant,
    /// How its commits are made less durable again, when they were raised for one.
    lower: Option<&'static str>,
}

/// A busy connection goes back to the pool so often, that it may look at its age.
const LONGEST_LOAN: Duration = Duration::from_secs(60);

impl Lane {
    /// The writer's lane and the readers': one and the same where they share their connections.
    pub(super) fn pair(running: Running, connections: Connections, config: &DatabaseConfig) -> (Self, Self) {
        let fresh = config.pool.check_after_idle;
        let runtimes = connections.runtimes;
        let writer = Self::new(running, connections.writer, fresh, runtimes.clone());
        if config.sqlite_path().is_some() {
            tokio::spawn(tidy_up_at_rest(Arc::downgrade(&writer.0), writer.0.used.subscribe()));
        }
        let shared = config.is_memory() || running.reads_on_the_writer();
        let reader = if shared {
            writer.clone()
        } else {
            Self::new(running, connections.reader, fresh, runtimes)
        };
        (writer, reader)
    }

    fn new(running: Running, pool: DatabaseConnection, fresh: Duration, runtimes: Runtimes) -> Self {
        let size = running.pool_size(&pool);
        let lane = Arc::new(Inner {
            running,
            pool,
            places: Arc::new(Semaphore::new(size as usize)),
            size,
            at_hand: Mutex::default(),
            fresh,
            runtimes,
            used: watch::Sender::new(()),
            tidying: Semaphore::new(1),
            runtime: Handle::current(),
        });
        if running.connections_go_stale() {
            tokio::spawn(give_back_what_is_idle(Arc::downgrade(&lane), fresh));
        }
        Self(lane)
    }

    /// Whether this is that lane, and has one place: who holds it holds up everybody else.
    pub(super) fn is_the_only_place_of(&self, other: &Self) -> bool {
        self.0.size == 1 && Arc::ptr_eq(&self.0, &other.0)
    }

    /// A connection, as soon as a place is free.
    pub(super) async fn take(&self) -> Result<Held> {
        let place = self.enter().await?;
        self.held(place).await
    }

    /// A place, if one is free at this moment and nobody waits for it.
    pub(super) fn free_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.places).try_acquire_owned().ok()
    }

    /// A connection that answered just now: for what has found one broken.
    pub(super) async fn take_tested(&self) -> Result<Held> {
        let place = self.enter_without_connection().await?;
        // Each that does not answer is closed, so after all of them there is a new one.
        for _ in 0..self.0.size {
            let mut lent = self.lent().await?;
            if lent.connection.ping().await.is_ok() {
                return self.lend(place, lent).await;
            }
            lent.connection.close_on_drop();
        }
        self.lend(place, self.lent().await?).await
    }

    /// The connection that belongs to a place.
    pub(super) async fn held(&self, place: OwnedSemaphorePermit) -> Result<Held> {
        let known = self.0.at_hand().pop();
        let at_hand = match known {
            Some(known) if self.0.is_fresh(&known) => known,
            stale => {
                self.0.give_back(stale);
                // Boxed, as all that is rare here: what is not would make every operation's future larger.
                Box::pin(self.lent()).await?
            }
        };
        self.lend(place, at_hand).await
    }

    async fn lend(&self, place: OwnedSemaphorePermit, at_hand: AtHand) -> Result<Held> {
        let lower = at_hand.lower;
        let mut held = Held {
            at_hand: Some(at_hand),
            under_way: false,
            in_transaction: false,
            opening: Opening::Done,
            lane: self.clone(),
            place: Some(place),
        };
        if let Some(lower) = lower {
            let lowered = Box::pin(held.set_durability(lower, None)).await;
            lowered.map_err(|error| self.0.running.classify(&error, ""))?;
        }
        Ok(held)
    }

    async fn lent(&self) -> Result<AtHand> {
        let lent = Connection::lent_by(&self.0.pool, self.0.running).await;
        let connection = lent.map_err(|error| self.0.running.classify(&error, ""))?;
        let now = Instant::now();
        Ok(AtHand {
            connection,
            lent: now,
            used: now,
            lower: None,
        })
    }

    /// The pool, with a place in the lane: for what needs a `DatabaseConnection`.
    pub(super) async fn pool(&self) -> Result<(OwnedSemaphorePermit, &DatabaseConnection)> {
        let place = self.enter_without_connection().await?;
        Ok((place, &self.0.pool))
    }

    /// All of the pool, so that nobody else is at work.
    pub(super) async fn drain(&self, limit: Duration) -> Result<(OwnedSemaphorePermit, &DatabaseConnection)> {
        let all = Arc::clone(&self.0.places).acquire_many_owned(self.0.size);
        match tokio::time::timeout(limit, all).await {
            Ok(places) => {
                let places = places.map_err(|_| closed())?;
                self.0.give_all_back();
                Ok((places, &self.0.pool))
            }
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("work was still under way after {limit:?}"),
            )),
        }
    }

    /// Waits for what is done at rest, and keeps it from being done for as long as the permit is held.
    pub(super) async fn keep_untidy(&self, limit: Duration) -> Option<SemaphorePermit<'_>> {
        tokio::time::timeout(limit, self.0.tidying.acquire()).await.ok()?.ok()
    }

    pub(super) async fn close(&self) -> Result<()> {
        self.0.places.close();
        self.0.tidying.close();
        self.0.give_all_back();
        let closed = self.0.pool.close_by_ref().await;
        closed.map_err(|error| super::errors::without_code(&error))
    }

    /// How many places are taken, and how many there are.
    pub(super) fn usage(&self) -> (u32, u32) {
        let size = self.0.size;
        let free = u32::try_from(self.0.places.available_permits()).unwrap_or(size);
        (size.saturating_sub(free), size)
    }

    /// Where tasks run that outlive a caller.
    pub(super) fn runtime(&self) -> Handle {
        self.0.runtime()
    }

    async fn enter(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.0.places).acquire_owned().await.map_err(|_| closed())
    }

    /// A place whose connection is the pool's to lend.
    async fn enter_without_connection(&self) -> Result<OwnedSemaphorePermit> {
        let place = self.enter().await?;
        let one = self.0.at_hand().pop();
        self.0.give_back(one);
        Ok(place)
    }
}

impl Inner {
    fn at_hand(&self) -> std::sync::MutexGuard<'_, Vec<AtHand>> {
        self.at_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_fresh(&self, known: &AtHand) -> bool {
        !self.running.connections_go_stale()
            || (known.used.elapsed() < self.fresh && !self.runtimes.ended_since(known.lent))
    }

    /// The caller's, or else the one in which the store was opened: that may have ended.
    fn runtime(&self) -> Handle {
        Handle::try_current().unwrap_or_else(|_| self.runtime.clone())
    }

    fn give_back(&self, connection: Option<AtHand>) {
        let runtime = self.runtime();
        let _runtime = runtime.enter();
        drop(connection);
    }

    fn give_all_back(&self) {
        let all = std::mem::take(&mut *self.at_hand());
        let runtime = self.runtime();
        let _runtime = runtime.enter();
        drop(all);
    }

    /// Keeps a connection at hand, unless the lane is closed: then the pool waits for it.
    fn keep(&self, mut connection: AtHand) {
        connection.used = Instant::now();
        if !self.used.is_closed() {
            self.used.send_replace(());
        }
        let mut at_hand = self.at_hand();
        let keep = !self.places.is_closed()
            && (!self.running.connections_go_stale() || connection.lent.elapsed() < LONGEST_LOAN);
        if keep {
            at_hand.push(connection);
        } else {
            drop(at_hand);
            self.give_back(Some(connection));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.give_all_back();
    }
}

/// Ends with the lane.
async fn give_back_what_is_idle(lane: Weak<Inner>, fresh: Duration) {
    loop {
        tokio::time::sleep(fresh.max(Duration::from_secs(1))).await;
        let Some(lane) = lane.upgrade() else { return };
        let idle = lane
            .at_hand()
            .extract_if(.., |known| !lane.is_fresh(known))
            .collect::<Vec<_>>();
        drop(idle);
    }
}

/// The lane is at rest when nobody has used it for so long.
const REST: Duration = Duration::from_secs(1);

/// Sleeps while nobody writes, and ends with the lane.
async fn tidy_up_at_rest(lane: Weak<Inner>, mut used: watch::Receiver<()>) {
    while used.changed().await.is_ok() {
        loop {
            tokio::time::sleep(REST).await;
            match used.has_changed() {
                Ok(true) => used.mark_unchanged(),
                Ok(false) => break,
                Err(_) => return,
            }
        }
        let Some(lane) = lane.upgrade() else { return };
        let Ok(_permit) = lane.tidying.acquire().await else {
            return;
        };
        if let Err(error) = lane.running.tidy_up(&lane.pool).await {
            tracing::debug!(target: "undercroft", cause = %super::Cause::of(&error), "the log stays as it is");
        }
    }
}

/// What opens a transaction, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// It goes out with the next command, and so costs no trip of its own.
    Next(&'static str),
    /// It is under way, or has failed.
    Sent,
    /// The database has confirmed it, or there is nothing to open.
    Done,
}

/// A connection in use. Dropped, it is at hand for the next one: after a rollback when a transaction is open, and after
/// the pool has looked after it when a statement is still under way or the connection broke.
pub(super) struct Held {
    at_hand: Option<AtHand>,
    under_way: bool,
    in_transaction: bool,
    opening: Opening,
    lane: Lane,
    /// Released last.
    place: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Runs a command to its end.
    pub(super) async fn perform(&mut self, command: Command) -> std::result::Result<Answer, DbErr> {
        if let Opening::Next(opening) = self.opening {
            return Box::pin(self.perform_first(opening, command)).await;
        }
        self.under_way = true;
        let answer = match &mut self.at_hand {
            Some(at_hand) => at_hand.connection.perform(command).await,
            None => Err(gone()),
        };
        self.under_way = answer.as_ref().is_err_and(breaks_the_connection);
        answer
    }

    /// From here on the connection counts as inside a transaction, as in [`begin`](Self::begin). An opening that stays
    /// `Sent` may have failed or not: whoever gave it to this connection undoes everything.
    async fn perform_first(&mut self, opening: &'static str, command: Command) -> std::result::Result<Answer, DbErr> {
        let inside = self.in_transaction;
        self.in_transaction = true;
        self.under_way = true;
        let state = &mut self.opening;
        *state = Opening::Sent;
        let answer = match &mut self.at_hand {
            Some(at_hand) => {
                let opened = || *state = Opening::Done;
                at_hand.connection.perform_first(opening, command, opened).await
            }
            None => Err(gone()),
        };
        self.under_way = answer.as_ref().is_err_and(breaks_the_connection);
        self.in_transaction = inside || self.under_way || self.opening == Opening::Done;
        answer
    }

    /// Runs commands of one text, up to the first that fails: the answers of those before it, and its error.
    pub(super) async fn perform_alike(&mut self, commands: Vec<Command>) -> (Vec<Answer>, Option<DbErr>) {
        self.under_way = true;
        let (answers, error) = match &mut self.at_hand {
            Some(at_hand) => at_hand.connection.perform_alike(commands).await,
            None => (vec![], Some(gone())),
        };
        self.under_way = error.as_ref().is_some_and(breaks_the_connection);
        (answers, error)
    }

    /// Runs what is no one's operation: a savepoint, a setting.
    pub(super) async fn control(&mut self, sql: &str) -> std::result::Result<(), DbErr> {
        self.under_way = true;
        let done = match &mut self.at_hand {
            Some(at_hand) => at_hand.connection.control(sql).await,
            None => Err(gone()),
        };
        self.under_way = done.as_ref().is_err_and(breaks_the_connection);
        done
    }

    /// Runs what marks a place inside a transaction: a savepoint.
    pub(super) async fn mark(&mut self, sql: &str) -> std::result::Result<(), DbErr> {
        if let Opening::Next(opening) = self.opening {
            let mark = Statement::from_string(self.lane.0.running.backend(), sql);
            let marked = Box::pin(self.perform_first(opening, Command::Statement(mark)));
            return marked.await.map(drop);
        }
        self.control(sql).await
    }

    /// Makes the next commit durable; the connection's next user makes its own less so again.
    pub(super) async fn raise(&mut self, lower: &'static str) -> std::result::Result<(), DbErr> {
        self.set_durability("PRAGMA synchronous = FULL", Some(lower)).await
    }

    async fn set_durability(&mut self, sql: &str, lower: Option<&'static str>) -> std::result::Result<(), DbErr> {
        tracing::trace!(target: "undercroft::sql", sql);
        self.control(sql).await?;
        if let Some(at_hand) = &mut self.at_hand {
            at_hand.lower = lower;
        }
        Ok(())
    }

    /// Begins a transaction. From here on the connection counts as inside it, whatever becomes of the caller: one left
    /// inside a transaction that nobody ends would take later writes with it (seen with sqlx 0.9.0's own `begin`).
    pub(super) async fn begin(&mut self) -> std::result::Result<(), DbErr> {
        self.in_transaction = true;
        let begin = self.lane.0.running.begin();
        let begun = self.control(begin).await;
        self.in_transaction = begun.is_ok() || self.under_way;
        begun
    }

    /// Begins a transaction with the next command, where that saves a trip: one without any sends nothing.
    pub(super) async fn begin_with_the_next(&mut self) -> std::result::Result<(), DbErr> {
        let running = self.lane.0.running;
        if !running.joins_statements() {
            return self.begin().await;
        }
        self.opens_with_the_next(running.begin());
        Ok(())
    }

    /// This goes out with the next command, before it.
    pub(super) fn opens_with_the_next(&mut self, opening: &'static str) {
        self.opening = Opening::Next(opening);
    }

    /// How far the opening has come. From here on it is nobody's any more.
    pub(super) fn take_opening(&mut self) -> Opening {
        std::mem::replace(&mut self.opening, Opening::Done)
    }

    /// Commits; when that fails, nothing is kept.
    pub(super) async fn commit(&mut self) -> std::result::Result<(), DbErr> {
        if !self.in_transaction {
            return Ok(());
        }
        let committed = self.control("COMMIT").await;
        match &committed {
            Ok(()) => self.in_transaction = false,
            Err(_) => self.rollback().await,
        }
        committed
    }

    /// Undoes the transaction, if one has begun.
    pub(super) async fn rollback(&mut self) {
        if self.in_transaction {
            self.undo().await;
        }
    }

    /// A connection that cannot do even that is closed.
    async fn undo(&mut self) {
        let done = self.control("ROLLBACK").await;
        self.in_transaction = false;
        let Err(error) = done else { return };
        // SQLite has ended the transaction by itself when the disk was full or failed.
        if !self.lane.0.running.says_no_transaction(&error) {
            tracing::debug!(target: "undercroft", cause = %super::Cause::of(&error), "rollback failed");
            if let Some(at_hand) = &mut self.at_hand {
                at_hand.connection.close_on_drop();
            }
            self.under_way = true;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let lane = self.lane.clone();
        if self.in_transaction {
            let mut inside = Self {
                at_hand: self.at_hand.take(),
                // Until it is rolled back: a task that never runs must not leave it at hand.
                under_way: true,
                in_transaction: false,
                opening: Opening::Done,
                lane,
                place: self.place.take(),
            };
            self.lane.runtime().spawn(async move { inside.undo().await });
        } else if let Some(at_hand) = self.at_hand.take() {
            if self.under_way {
                // What broke one connection may have broken the others too.
                lane.0.give_back(Some(at_hand));
                lane.0.give_all_back();
            } else {
                lane.0.keep(at_hand);
            }
        }
    }
}

fn gone() -> DbErr {
    DbErr::Conn(RuntimeErr::Internal("the connection was given away".to_owned()))
}

fn closed() -> Error {
    Error::new(ErrorKind::Unavailable, "the store is closed")
}
