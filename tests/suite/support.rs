//! What many tests need.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use sea_orm::ConnectionTrait;
use store::conformance;
pub(crate) use store::conformance::{a_bot, email, key, nowhere as missing, pages, refused, slug};
use store::prelude::*;
use store::testkit::{Backend, TestDatabase};

/// A store on the test's database.
pub(crate) async fn open(db: &TestDatabase) -> Store {
    Store::open(db.config()).await.unwrap()
}

/// The slugs of all bots, sorted.
pub(crate) async fn slugs(on: &impl Repositories) -> Vec<String> {
    conformance::bots::slugs(&on.bots()).await
}

/// A clock that stands still until it is moved. Clones are the same clock.
#[derive(Clone)]
pub(crate) struct SettableClock(Arc<AtomicI64>);

impl SettableClock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_800_000_000_123_456)))
    }

    pub(crate) fn time(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0.load(Ordering::SeqCst)).unwrap()
    }

    /// Moves it by so many seconds, back if they are negative.
    pub(crate) fn forward(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl store::Clock for SettableClock {
    fn now(&self) -> DateTime<Utc> {
        self.time()
    }
}

/// A store on the test's database with a clock of the test's own.
pub(crate) async fn open_with(db: &TestDatabase, clock: &SettableClock) -> Store {
    Store::builder(db.config()).clock(clock.clone()).open().await.unwrap()
}

/// Runs SQL behind the store's back, with checks of values off: what somebody with a database client may do.
pub(crate) async fn behind_its_back(db: &TestDatabase, sql: &[&str]) {
    let connections = db.config().connect().await.unwrap();
    if db.backend() == Backend::Sqlite {
        connections
            .writer
            .execute_unprepared("PRAGMA ignore_check_constraints = ON")
            .await
            .unwrap();
    }
    for sql in sql {
        connections.writer.execute_unprepared(sql).await.unwrap();
    }
    connections.close().await;
}

/// Ends all connections, as a server that is restarted does, or its operator. On SQLite there is nothing to cut.
pub(crate) async fn cut_connections(db: &TestDatabase) {
    let others = "datname = current_database() AND pid <> pg_backend_pid()";
    let cut = format!("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}");
    if db.backend() == Backend::Postgres {
        behind_its_back(db, &[&cut]).await;
    }
}

/// Runs so many tasks at once and answers what each of them did, in their order.
pub(crate) async fn at_once<F, Fut, T>(store: &Store, tasks: usize, work: F) -> Vec<T>
where
    F: Fn(Store, usize) -> Fut,
    Fut: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let tasks = (0..tasks).map(|task| tokio::spawn(work(store.clone(), task)));
    let mut done = vec![];
    for task in tasks.collect::<Vec<_>>() {
        done.push(task.await.unwrap());
    }
    done
}
