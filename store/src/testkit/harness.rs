//! Runs a suite: what `cargo test` starts when the test target says `harness = false`.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::backend::{SELECTION, Selection};
use super::runner::{self, Job};
use super::test::Body;
use super::{Backend, Template, Test, own};

const TIMEOUT: &str = "STORE_TEST_TIMEOUT";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);
const FAILED: u8 = 101;

/// Runs this project's tests on its own schema: the whole `main` of a test target with `harness = false`.
///
/// A project with its own schema uses a [`Suite`].
pub fn run(lists: impl IntoIterator<Item = Vec<Test>>) -> ExitCode {
    let suite = Suite::new(own::template());
    lists.into_iter().fold(suite, Suite::tests).run()
}

/// A suite under construction: tests and the schema that they start from.
#[derive(Debug)]
#[must_use = "a suite does nothing until it is run"]
pub struct Suite {
    template: Template,
    tests: Vec<Test>,
}

impl Suite {
    /// A suite whose tests start on this schema.
    pub fn new(template: Template) -> Self {
        Self {
            template,
            tests: Vec::new(),
        }
    }

    /// Adds tests.
    pub fn tests(mut self, tests: Vec<Test>) -> Self {
        self.tests.extend(tests);
        self
    }

    /// Runs what the command line and `STORE_TEST_BACKENDS` ask for, and reports as `cargo test` does.
    pub fn run(self) -> ExitCode {
        #[cfg(feature = "postgres")]
        if let Some(code) = super::postgres::keeper_main() {
            return code;
        }
        let lent = super::lend::lend_main();
        let code = lent
            .unwrap_or_else(|| self.run_with(&Arguments::from_args()))
            .unwrap_or_else(|message| {
                say(&format!("error: {message}"));
                ExitCode::from(FAILED)
            });
        #[cfg(feature = "sqlite")]
        super::rundir::RunDir::leave();
        code
    }

    fn run_with(self, args: &Arguments) -> Result<ExitCode, String> {
        let selection = Selection::from_env()?;
        let timeout = timeout()?;
        refuse_duplicates(&self.tests)?;
        runner::note_where_tests_panic();
        let tally = Arc::new(Tally::default());
        let mut trials = Vec::new();
        for test in self.tests {
            let limit = test.timeout.unwrap_or(timeout);
            add_trials(&mut trials, test, limit, &self.template, &selection, &tally, args);
        }
        if runs_everything(args) {
            trials.extend(idle_backends(&selection, &tally));
        }
        let conclusion = libtest_mimic::run(args, trials);
        if !args.list {
            say(&tally.summary(&selection));
        }
        Ok(conclusion.exit_code())
    }
}

/// How many tests each backend has, and how many ran.
#[derive(Default)]
struct Tally {
    listed: [AtomicUsize; 2],
    ran: [AtomicUsize; 2],
}

impl Tally {
    fn summary(&self, selection: &Selection) -> String {
        let lines = Backend::ALL.map(|backend| match selection.reason_to_skip(backend) {
            Some(reason) => format!("{backend}: {reason}"),
            None => {
                let ran = self.ran[backend as usize].load(Ordering::Relaxed);
                format!(
                    "{backend}: {ran} ran{}",
                    version(backend).map(|v| format!(" on {v}")).unwrap_or_default()
                )
            }
        });
        lines.join("; ")
    }
}

/// The version of the server that the tests ran on.
fn version(backend: Backend) -> Option<&'static str> {
    match backend {
        #[cfg(feature = "postgres")]
        Backend::Postgres => super::postgres::version(),
        _ => None,
    }
}

fn add_trials(
    trials: &mut Vec<Trial>,
    test: Test,
    limit: Duration,
    template: &Template,
    selection: &Selection,
    tally: &Arc<Tally>,
    args: &Arguments,
) {
    let Test { name, body, .. } = test;
    match body {
        Body::Alone(run) => {
            let job = Job::alone(name.clone(), limit, run);
            trials.push(Trial::test(name, move || job.run(|| ()).map_err(Failed::from)));
        }
        Body::On {
            backends,
            migrated,
            run,
        } => {
            for &backend in backends {
                let name = format!("{name}::{backend}");
                if let Some(reason) = selection.reason_to_skip(backend) {
                    trials.push(ignored(name, reason.to_owned(), args));
                    continue;
                }
                tally.listed[backend as usize].fetch_add(1, Ordering::Relaxed);
                let template = migrated.then(|| template.clone());
                let job = Job::on(name.clone(), limit, backend, template, Arc::clone(&run));
                let tally = Arc::clone(tally);
                trials.push(Trial::test(name, move || {
                    let has_begun = || {
                        tally.ran[backend as usize].fetch_add(1, Ordering::Relaxed);
                    };
                    job.run(has_begun).map_err(Failed::from)
                }));
            }
        }
    }
}

/// A test of a backend that takes no part in this run.
///
/// Ignoring it when it is run, not when it is listed, is what lets the report name the reason; a runner that asks for
/// the list first (cargo-nextest) or for the ignored tests alone needs the mark instead.
fn ignored(name: String, reason: String, args: &Arguments) -> Trial {
    let marked = args.list || args.ignored;
    Trial::ignorable_test(name, move || Ok(Completion::ignored_with(&reason))).with_ignored_flag(marked)
}

/// A run of the whole suite in which a selected backend has nothing to do is a mistake that looks like success.
fn idle_backends(selection: &Selection, tally: &Tally) -> Vec<Trial> {
    let idle = Backend::ALL.into_iter().filter(|&backend| {
        selection.reason_to_skip(backend).is_none() && tally.listed[backend as usize].load(Ordering::Relaxed) == 0
    });
    idle.map(|backend| {
        Trial::test(format!("testkit::{backend}_ran_nothing"), move || {
            Err(Failed::from(format!(
                "{backend} is selected and no test ran on it: list tests for it, or leave it out with {SELECTION}"
            )))
        })
    })
    .collect()
}

fn runs_everything(args: &Arguments) -> bool {
    args.filter.is_none() && args.skip.is_empty() && !args.list && !args.ignored && !args.bench
}

fn refuse_duplicates(tests: &[Test]) -> Result<(), String> {
    let mut seen = HashMap::new();
    for test in tests {
        if seen.insert(&test.name, ()).is_some() {
            return Err(format!("two tests are named {}", test.name));
        }
    }
    Ok(())
}

fn timeout() -> Result<Duration, String> {
    let Some(text) = std::env::var_os(TIMEOUT) else {
        return Ok(DEFAULT_TIMEOUT);
    };
    match text.to_str().and_then(|text| text.parse().ok()) {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!(
            "{TIMEOUT}={}: not a number of seconds above zero",
            text.to_string_lossy()
        )),
    }
}

/// Says something beside the report: standard output belongs to whoever reads the results.
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}
