//! What was to be reached, and what is.

use std::fmt;

use super::number;
use crate::plan::{Backend, Who, Work};
use crate::results::{Measured, Results};

/// One line of the table of targets.
pub(crate) struct Target {
    pub(crate) backend: Backend,
    pub(crate) work: Work,
    pub(crate) what: String,
    pub(crate) bound: Bound,
    pub(crate) found: Option<f64>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// A ratio of at most this.
    AtMost(f64),
    /// A ratio of at least this.
    AtLeast(f64),
    /// No error.
    NoErrors,
    /// So many MiB at most.
    Mib(f64),
    /// So many instructions at most.
    Instructions(f64),
}

impl Bound {
    fn is_met(self, found: f64) -> bool {
        match self {
            Self::AtMost(most) | Self::Mib(most) | Self::Instructions(most) => found <= most,
            Self::AtLeast(least) => found >= least,
            Self::NoErrors => found == 0.0,
        }
    }

    fn show(self, found: f64) -> String {
        match self {
            Self::AtMost(_) | Self::AtLeast(_) => format!("{}×", number(found)),
            Self::NoErrors => format!("{found} errors"),
            Self::Mib(_) => format!("{found:.0} MiB"),
            Self::Instructions(_) => number(found),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {most}×"),
            Self::AtLeast(least) => write!(f, "≥ {least}×"),
            Self::NoErrors => f.write_str("no errors"),
            Self::Mib(most) => write!(f, "≤ {most} MiB"),
            Self::Instructions(most) => write!(f, "≤ {}", number(*most)),
        }
    }
}

impl Target {
    pub(crate) fn found_text(&self) -> String {
        self.found
            .map_or_else(|| "–".to_owned(), |found| self.bound.show(found))
    }

    pub(crate) fn verdict(&self) -> &'static str {
        match self.found {
            None => "not measured",
            Some(found) if self.bound.is_met(found) => "met",
            Some(_) => "not met",
        }
    }
}

/// The targets, in the order in which they were set.
pub(crate) fn targets(results: &Results) -> Vec<Target> {
    use Backend::{Postgres, Sqlite};
    use Work::{Bulk, Create, Insert, Page, PageDeep, ReadKey, Transaction};
    let limit = |backend, work, tasks, most, note: &str| against_limit(results, backend, work, tasks, most, note);
    let mut all = vec![
        limit(Sqlite, Insert, 64, 1.6, ""),
        gain(results, Insert, 64, Who::Tuned, 4.0),
        gain(results, Insert, 64, Who::Newcomer, 40.0),
        limit(Sqlite, Transaction, 64, 2.5, ""),
        held(results),
        limit(Sqlite, ReadKey, 1, 1.15, ""),
        limit(Sqlite, ReadKey, 64, 2.2, " (1.3× if coalesced)"),
        limit(Sqlite, Page, 1, 2.3, ""),
        limit(Sqlite, PageDeep, 1, 2.3, ""),
        depth(results, Sqlite),
        limit(Postgres, ReadKey, 1, 1.3, ""),
        limit(Postgres, ReadKey, 64, 1.4, " (0.7× if coalesced)"),
        limit(Postgres, Create, 64, 1.1, ""),
        limit(Postgres, Insert, 64, 0.5, ", coalesced"),
        limit(Sqlite, Bulk, 1, 1.2, ""),
        limit(Postgres, Bulk, 1, 1.2, ""),
    ];
    all.extend(mixed(results));
    all.extend(Backend::ALL.map(|backend| growth(results, backend)));
    for backend in Backend::ALL {
        all.extend(memory(results, backend));
    }
    all.push(instructions(results, Sqlite, 65_000.0));
    all.push(instructions(results, Postgres, 45_000.0));
    all
}

fn target(backend: Backend, work: Work, what: String, bound: Bound, found: Option<f64>) -> Target {
    Target {
        backend,
        work,
        what,
        bound,
        found,
    }
}

fn titled(work: Work, tasks: usize) -> String {
    match tasks {
        1 => format!("{}, 1 task", work.title()),
        _ => format!("{}, {tasks} tasks", work.title()),
    }
}

fn ratio(measured: Option<&Measured>, who: Who, base: Who) -> Option<f64> {
    Some(measured?.ratio(who, base)?.median)
}

fn against_limit(results: &Results, backend: Backend, work: Work, tasks: usize, most: f64, note: &str) -> Target {
    let measured = results.at_middle(backend, work, tasks);
    let found = ratio(measured, Who::Undercroft, Who::Limit);
    let what = format!("{}{note}", titled(work, tasks));
    target(backend, work, what, Bound::AtMost(most), found)
}

/// How many times as fast as somebody else, on SQLite.
fn gain(results: &Results, work: Work, tasks: usize, than: Who, least: f64) -> Target {
    let backend = Backend::Sqlite;
    let found = ratio(results.at_middle(backend, work, tasks), than, Who::Undercroft);
    let what = format!("{}: {} takes", titled(work, tasks), than.title(backend));
    target(backend, work, what, Bound::AtLeast(least), found)
}

fn held(results: &Results) -> Target {
    let (backend, work) = (Backend::Sqlite, Work::Insert);
    let found = ratio(results.at_middle(backend, work, 1), Who::Undercroft, Who::Held);
    let what = format!("{} against one held SeaORM connection", titled(work, 1));
    target(backend, work, what, Bound::AtMost(1.1), found)
}

/// The store's median microseconds.
fn micros(measured: Option<&Measured>) -> Option<f64> {
    Some(measured?.run(Who::Undercroft)?.micros()?.median)
}

fn depth(results: &Results, backend: Backend) -> Target {
    let deep = results.at_middle(backend, Work::PageDeep, 1);
    let first = deep.and_then(|deep| results.find(backend, Work::Page, deep.cell.rows, 1));
    let found = micros(deep).zip(micros(first)).map(|(deep, first)| deep / first);
    let what = "page at depth 100,000 against the first".to_owned();
    target(backend, Work::PageDeep, what, Bound::AtMost(1.2), found)
}

fn mixed(results: &Results) -> [Target; 2] {
    let (backend, work) = (Backend::Sqlite, Work::Mixed);
    let tasks = crate::plan::READERS + crate::plan::WRITERS;
    let measured = results.at_middle(backend, work, tasks);
    let errors = measured
        .and_then(|it| it.run(Who::Undercroft))
        .map(|run| run.errors() as f64);
    let gain = ratio(measured, Who::Newcomer, Who::Undercroft);
    let what = |rest: &str| format!("8 readers and 4 writers: {rest}");
    [
        target(backend, work, what("errors"), Bound::NoErrors, errors),
        target(
            backend,
            work,
            what("a newcomer's read takes"),
            Bound::AtLeast(15.0),
            gain,
        ),
    ]
}

fn growth(results: &Results, backend: Backend) -> Target {
    let at = |rows| micros(results.find(backend, Work::ReadKey, rows, 1));
    let found = at(2_000_000).zip(at(10_000)).map(|(large, small)| large / small);
    let what = "read by key at 2 million rows against 10 thousand".to_owned();
    target(backend, Work::ReadKey, what, Bound::AtMost(2.0), found)
}

fn memory(results: &Results, backend: Backend) -> [Target; 2] {
    let walk = results.find(backend, Work::Stream, 2_000_000, 1);
    let run = walk.and_then(|walk| walk.run(Who::Undercroft));
    let what = "memory of walking 2 million rows".to_owned();
    let flat = "memory of walking 2 million rows: the second half against the first".to_owned();
    let growth = run.and_then(crate::results::Run::memory_growth);
    [
        target(
            backend,
            Work::Stream,
            what,
            Bound::Mib(64.0),
            run.and_then(crate::results::Run::peak_mib),
        ),
        target(backend, Work::Stream, flat, Bound::AtMost(1.1), growth),
    ]
}

fn instructions(results: &Results, backend: Backend, most: f64) -> Target {
    let of_store = results
        .instructions
        .iter()
        .find(|counted| (counted.backend, counted.who) == (backend, Who::Undercroft));
    let found = of_store.map(|counted| counted.per_read);
    let what = "instructions of a read by key".to_owned();
    target(backend, Work::ReadKey, what, Bound::Instructions(most), found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Cell;
    use crate::results::tests::measured;

    #[test]
    fn every_target_is_named_once_and_open_until_it_is_measured() {
        let found = targets(&Results::default());
        let names: std::collections::BTreeSet<_> = found.iter().map(|it| (it.backend, it.what.clone())).collect();
        assert_eq!(names.len(), found.len());
        assert!(found.iter().all(|target| target.verdict() == "not measured"));
    }

    #[test]
    fn a_gain_is_how_much_longer_the_other_takes() {
        let mut results = Results::default();
        let cell = Cell {
            backend: Backend::Sqlite,
            work: Work::Insert,
            rows: 200_000,
            tasks: 64,
        };
        let rounds: [(Who, &[f64]); 3] = [
            (Who::Limit, &[50.0]),
            (Who::Undercroft, &[75.0]),
            (Who::Newcomer, &[1_500.0]),
        ];
        results.put(measured(cell, &rounds));
        let found = targets(&results);
        let shown: Vec<_> = found.iter().take(3).map(|it| (it.found_text(), it.verdict())).collect();
        let expected = [("1.50×", "met"), ("–", "not measured"), ("20.0×", "not met")];
        assert_eq!(shown, expected.map(|(text, verdict)| (text.to_owned(), verdict)));
    }
}
