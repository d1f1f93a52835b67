//! Runs one test: a thread, a runtime and a database of its own, and a limit on its time.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread;
use std::time::Duration;

use super::database::TestDatabase;
use super::{Backend, Template};

type Running = std::pin::Pin<Box<dyn Future<Output = Result<(), String>>>>;

/// One test on one backend, or on none.
pub(crate) struct Job {
    name: String,
    limit: Duration,
    body: JobBody,
}

enum JobBody {
    Alone(Arc<dyn Fn() -> Running + Send + Sync>),
    On(
        Backend,
        Option<Template>,
        Arc<dyn Fn(TestDatabase) -> Running + Send + Sync>,
    ),
}

/// The database of a running test, for whoever reports its end.
type Slot = Arc<Mutex<Option<TestDatabase>>>;

impl Job {
    pub(crate) fn alone(name: String, limit: Duration, run: Arc<dyn Fn() -> Running + Send + Sync>) -> Self {
        Self {
            name,
            limit,
            body: JobBody::Alone(run),
        }
    }

    pub(crate) fn on(
        name: String,
        limit: Duration,
        backend: Backend,
        template: Option<Template>,
        run: Arc<dyn Fn(TestDatabase) -> Running + Send + Sync>,
    ) -> Self {
        Self {
            name,
            limit,
            body: JobBody::On(backend, template, run),
        }
    }

    /// Runs the test to its end or its limit. A test that hangs leaves its thread behind: the process ends soon.
    ///
    /// `has_begun` is called when the test has got its database.
    pub(crate) fn run(self, has_begun: impl FnOnce()) -> Result<(), String> {
        let Self { name, limit, body } = self;
        let slot = Slot::default();
        let (sender, ended) = mpsc::channel();
        let ready = Arc::clone(&slot);
        let (begin, begun) = mpsc::channel();
        let started = thread::Builder::new().name(name.clone()).spawn(move || {
            let outcome = run_here(&name, &body, &ready, &begin);
            let _ = sender.send(outcome);
        });
        started.map_err(|error| format!("no thread for the test: {error}"))?;
        // Preparing the database has limits of its own, and the first test on a backend may start its server.
        if begun.recv().is_ok() {
            has_begun();
        }
        match ended.recv_timeout(limit) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Disconnected) => Err("the test's thread ended without a result".to_owned()),
            Err(RecvTimeoutError::Timeout) => Err(describe_kept(
                format!(
                    "still running after {} s (STORE_TEST_TIMEOUT sets the limit)",
                    limit.as_secs_f64()
                ),
                &slot,
            )),
        }
    }
}

fn run_here(name: &str, body: &JobBody, slot: &Slot, begin: &mpsc::Sender<()>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(|error| format!("no runtime for the test: {error}"))?;
    let outcome = match body {
        JobBody::Alone(run) => {
            let _ = begin.send(());
            caught(|| runtime.block_on(run()))
        }
        JobBody::On(backend, template, run) => {
            let database = runtime.block_on(TestDatabase::create(*backend, base(name), template.as_ref()))?;
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(database.clone());
            let _ = begin.send(());
            caught(|| runtime.block_on(run(database)))
        }
    };
    let outcome = match outcome {
        Ok(()) => match slot.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(database) => runtime.block_on(database.delete()),
            None => Ok(()),
        },
        Err(message) => Err(describe_kept(message, slot)),
    };
    runtime.shutdown_background();
    outcome
}

/// The test's name without its backend.
fn base(name: &str) -> &str {
    name.rsplit_once("::").map_or(name, |(base, _backend)| base)
}

fn describe_kept(message: String, slot: &Slot) -> String {
    match &*slot.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(database) => format!("{message}\n{}", database.keep()),
        None => message,
    }
}

thread_local! {
    static PANICKED_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Has every panic leave its place behind, for the report of the test whose thread it ends.
pub(crate) fn note_where_tests_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map(ToString::to_string);
            PANICKED_AT.with(|at| at.replace(place));
            usual(info);
        }));
    });
}

fn caught(test: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    panic::catch_unwind(AssertUnwindSafe(test)).unwrap_or_else(|payload| {
        let place = PANICKED_AT
            .with(RefCell::take)
            .unwrap_or_else(|| "an unknown place".to_owned());
        Err(format!("panicked at {place}:\n{}", words(&*payload)))
    })
}

fn words(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<String>() {
        Some(text) => text,
        None => payload
            .downcast_ref::<&str>()
            .copied()
            .unwrap_or("(a panic without words)"),
    }
}
