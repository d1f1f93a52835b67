//! What many tests need.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Utc};
use sea_orm::ConnectionTrait;
use store::prelude::*;
use store::testkit::{Backend, TestDatabase};
use store::{Error, ErrorKind};

/// A store on the test's database.
pub(crate) async fn open(db: &TestDatabase) -> Store {
    Store::open(db.config()).await.unwrap()
}

pub(crate) fn slug(text: &str) -> Slug {
    Slug::new(text).unwrap()
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

pub(crate) fn email(text: &str) -> Email {
    Email::new(text).unwrap()
}

/// An active assistant of this slug, whose name is the slug.
pub(crate) fn a_bot(text: &str) -> NewBot {
    NewBot::new(slug(text), text)
}

/// The error, with its kind and the constraint it names: the same on every backend.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(
    outcome: store::Result<T>,
    kind: ErrorKind,
    constraint: Option<&str>,
) -> Error {
    let error = outcome.expect_err("it should have been refused");
    assert_eq!(error.kind(), kind, "{error:?}");
    assert_eq!(error.constraint(), constraint, "{error:?}");
    error
}

/// The slugs of all bots, sorted.
pub(crate) async fn slugs(on: &impl Repositories) -> Vec<String> {
    let filter = BotFilter {
        order: BotOrder::Name,
        direction: Direction::Ascending,
        ..BotFilter::default()
    };
    let page = on
        .bots()
        .list(filter, PageRequest::first(PageRequest::MAX))
        .await
        .unwrap();
    page.items.into_iter().map(|bot| bot.slug.to_string()).collect()
}

/// An id that nothing has.
pub(crate) fn missing<I: FromStr<Err: std::fmt::Debug>>() -> I {
    "00000000-0000-7000-8000-000000000000".parse().unwrap()
}

/// A list from beginning to end, so many items a page.
pub(crate) async fn pages<T, F, Fut>(limit: u32, mut list: F) -> Vec<T>
where
    F: FnMut(PageRequest) -> Fut,
    Fut: Future<Output = store::Result<Page<T>>>,
{
    let mut items = vec![];
    let mut request = PageRequest::first(limit);
    loop {
        let page = list(request).await.unwrap();
        assert!(page.items.len() <= limit as usize);
        assert!(
            page.next.is_none() || page.items.len() == limit as usize,
            "only the last page is short"
        );
        items.extend(page.items);
        match page.next {
            Some(cursor) => request = PageRequest::after(cursor, limit),
            None => return items,
        }
    }
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
