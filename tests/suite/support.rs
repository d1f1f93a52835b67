//! What many tests need.

use store::prelude::*;
use store::testkit::TestDatabase;
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
