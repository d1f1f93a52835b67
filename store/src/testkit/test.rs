//! A test as a value: its name, what it needs, and its body.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::{Backend, TestDatabase};

type BoxedRun = Pin<Box<dyn Future<Output = Result<(), String>>>>;
type OnDatabase = dyn Fn(TestDatabase) -> BoxedRun + Send + Sync;
type Alone = dyn Fn() -> BoxedRun + Send + Sync;

/// What a test may return: nothing, or a `Result` whose error fails the test.
pub trait TestResult {
    /// `Err` says why the test failed.
    fn into_result(self) -> Result<(), String>;
}

impl TestResult for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Debug> TestResult for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| format!("the test returned an error: {error:?}"))
    }
}

/// One test, to be run once for every backend that it is meant for.
///
/// [`tests!`](crate::testkit::tests) makes them from plain functions, with the constructor's name as the category. Make
/// one by hand where a test is generated: over the cases of a table, or over several implementations of a contract.
#[derive(Clone)]
pub struct Test {
    pub(crate) name: String,
    pub(crate) body: Body,
    pub(crate) timeout: Option<Duration>,
}

#[derive(Clone)]
pub(crate) enum Body {
    /// Runs without a database, under its bare name.
    Alone(Arc<Alone>),
    /// Runs on each of these backends, as `name::backend`.
    On {
        backends: &'static [Backend],
        migrated: bool,
        run: Arc<OnDatabase>,
    },
}

impl Test {
    /// A test that runs on every backend, on a database with the suite's schema.
    pub fn on_both<F, R>(name: impl Into<String>, body: F) -> Self
    where
        F: Fn(TestDatabase) -> R + Send + Sync + 'static,
        R: Future<Output: TestResult> + 'static,
    {
        Self::on(&Backend::ALL, true, name, body)
    }

    /// A test that runs on every backend, on a database without a single table.
    pub fn on_both_empty<F, R>(name: impl Into<String>, body: F) -> Self
    where
        F: Fn(TestDatabase) -> R + Send + Sync + 'static,
        R: Future<Output: TestResult> + 'static,
    {
        Self::on(&Backend::ALL, false, name, body)
    }

    /// A test of something that only SQLite has, such as a truncated file, on a database with the suite's schema.
    pub fn on_sqlite<F, R>(name: impl Into<String>, body: F) -> Self
    where
        F: Fn(TestDatabase) -> R + Send + Sync + 'static,
        R: Future<Output: TestResult> + 'static,
    {
        Self::on(&[Backend::Sqlite], true, name, body)
    }

    /// A test of something that only SQLite has, with a path at which there is no file yet.
    pub fn on_sqlite_empty<F, R>(name: impl Into<String>, body: F) -> Self
    where
        F: Fn(TestDatabase) -> R + Send + Sync + 'static,
        R: Future<Output: TestResult> + 'static,
    {
        Self::on(&[Backend::Sqlite], false, name, body)
    }

    /// A test of something that only Postgres has, such as a wrong password, on a database with the suite's schema.
    pub fn on_postgres<F, R>(name: impl Into<String>, body: F) -> Self
    where
        F: Fn(TestDatabase) -> R + Send + Sync + 'static,
        R: Future<Output: TestResult> + 'static,
    {
        Self::on(&[Backend::Postgres], true, name, body)
    }

    /// A test of something that only Postgres has, on a database without a single table.
    pub fn on_postgres_empty<F, R>(name: impl Into<String>, body: F) -> Self
    where
        F: Fn(TestDatabase) -> R + Send + Sync + 'static,
        R: Future<Output: TestResult> + 'static,
    {
        Self::on(&[Backend::Postgres], false, name, body)
    }

    /// A test that needs no database; it runs once whatever is selected.
    pub fn without_database<F, R>(name: impl Into<String>, body: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output: TestResult> + 'static,
    {
        let run: Arc<Alone> = Arc::new(move || {
            let running = body();
            Box::pin(async move { running.await.into_result() })
        });
        Self {
            name: name.into(),
            body: Body::Alone(run),
            timeout: None,
        }
    }

    /// Gives this test its own time limit, in place of `STORE_TEST_TIMEOUT`.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// The name under which [`tests!`](crate::testkit::tests) lists a function: its path without the crate's name.
    #[doc(hidden)]
    pub fn path(module: &str, function: &str) -> String {
        match module.split_once("::") {
            Some((_crate, path)) => format!("{path}::{function}"),
            None => function.to_owned(),
        }
    }

    fn on<F, R>(backends: &'static [Backend], migrated: bool, name: impl Into<String>, body: F) -> Self
    where
        F: Fn(TestDatabase) -> R + Send + Sync + 'static,
        R: Future<Output: TestResult> + 'static,
    {
        let run: Arc<OnDatabase> = Arc::new(move |database| {
            let running = body(database);
            Box::pin(async move { running.await.into_result() })
        });
        Self {
            name: name.into(),
            body: Body::On {
                backends,
                migrated,
                run,
            },
            timeout: None,
        }
    }
}

impl fmt::Debug for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Test").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Lists the tests of a module: writes its `pub fn tests() -> Vec<Test>`.
///
/// The short form takes functions that run on every backend:
///
/// ```
/// # mod bots {
/// use store::testkit::TestDatabase;
///
/// store::testkit::tests![creates_a_bot, refuses_a_duplicate_slug];
///
/// async fn creates_a_bot(db: TestDatabase) { /* … */ }
/// async fn refuses_a_duplicate_slug(db: TestDatabase) { /* … */ }
/// # }
/// ```
///
/// The long form names categories, which are the constructors of [`Test`](crate::testkit::Test):
///
/// ```
/// # mod bots {
/// use store::testkit::TestDatabase;
///
/// store::testkit::tests! {
///     on_both: [creates_a_bot],
///     on_both_empty: [opens_an_empty_database],
///     on_sqlite: [refuses_a_truncated_file],
///     without_database: [folds_the_slug],
/// }
///
/// async fn creates_a_bot(db: TestDatabase) { /* … */ }
/// async fn opens_an_empty_database(db: TestDatabase) { /* … */ }
/// async fn refuses_a_truncated_file(db: TestDatabase) { /* … */ }
/// async fn folds_the_slug() { /* … */ }
/// # }
/// ```
///
/// A function that no list names is dead code, and the compiler says so.
#[macro_export]
#[doc(hidden)]
macro_rules! __testkit_tests {
    ($($category:ident : [$($function:ident),* $(,)?]),* $(,)?) => {
        /// The tests of this module.
        pub fn tests() -> ::std::vec::Vec<$crate::testkit::Test> {
            ::std::vec![$($(
                $crate::testkit::Test::$category(
                    $crate::testkit::Test::path(::std::module_path!(), ::std::stringify!($function)),
                    $function,
                ),
            )*)*]
        }
    };
    ($($function:ident),* $(,)?) => {
        $crate::__testkit_tests! { on_both: [$($function),*] }
    };
}
#[doc(inline)]
pub use crate::__testkit_tests as tests;
