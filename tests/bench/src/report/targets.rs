//! What was to be reached, and what is.

use std::fmt;

use super::number;
use crate::plan::{Backend, Cell, Who, Work};
use crate::results::{Measured, Results};

/// The rows of the largest table.
const LARGE: u64 = 2_000_000;

/// One line of the table of targets.
pub(crate) struct Target {
    pub(crate) backend: Backend,
    /// The work that it is about; all of them when there is none.
    pub(crate) work: Option<Work>,
    what: String,
    pub(crate) bound: Bound,
    found: Option<f64>,
    /// Whether it is one of those that were set before.
    earlier: bool,
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
    pub(crate) fn title(&self) -> String {
        let mark = if self.earlier { " (earlier target)" } else { "" };
        format!("{}, {}{mark}", self.backend.title(), self.what)
    }

    pub(crate) fn found_text(&self) -> String {
        self.found
            .map_or_else(|| "–".to_owned(), |found| self.bound.show(found))
    }

    pub(crate) fn verdict(&self) -> &'static str {
        match self.found {
            None => "not measured",
            Some(found) if self.bound.is_met(found) => "met",
            Some(_) => "missed",
        }
    }
}

/// The targets, in the order in which they were set.
pub(crate) fn targets(results: &Results) -> Vec<Target> {
    use Backend::{Postgres, Sqlite};
    use Work::{Bulk, Chat, Claim, Create, Insert, Page, PageDeep, ReadKey, Stream, Transaction};
    let limit = |backend, work, tasks, most| against_limit(results, backend, work, tasks, most, "");
    let mut all = Vec::from(Backend::ALL.map(|backend| peers(results, backend)));
    all.extend([1, 8, 64].map(|tasks| limit(Sqlite, ReadKey, tasks, 2.0)));
    for work in [Page, PageDeep] {
        all.extend([1, 8, 64].map(|tasks| limit(Sqlite, work, tasks, 1.4)));
    }
    all.extend([
        limit(Sqlite, Stream, 1, 1.4),
        limit(Sqlite, Insert, 64, 1.2),
        limit(Sqlite, Create, 64, 1.5),
        limit(Sqlite, Transaction, 64, 1.4),
        limit(Sqlite, Chat, 64, 1.4),
        limit(Sqlite, Claim, 64, 1.4),
        limit(Sqlite, Bulk, 1, 1.1),
    ]);
    all.extend([1, 64].map(|tasks| large(results, Sqlite, tasks)));
    for work in [Page, PageDeep] {
        all.extend([(1, 1.15), (64, 1.3)].map(|(tasks, most)| limit(Postgres, work, tasks, most)));
    }
    all.extend([
        limit(Postgres, Transaction, 1, 1.4),
        limit(Postgres, Transaction, 64, 1.5),
        limit(Postgres, Stream, 1, 1.3),
        limit(Postgres, Bulk, 1, 1.1),
        limit(Postgres, Chat, 64, 1.4),
        instructions(results, Sqlite, 22_000.0),
        instructions(results, Postgres, 26_500.0),
    ]);
    all.extend(earlier(results));
    all
}

/// Those of before that no later one has replaced.
fn earlier(results: &Results) -> Vec<Target> {
    use Backend::{Postgres, Sqlite};
    use Work::{Create, Insert, ReadKey};
    let limit = |backend, work, tasks, most, note: &str| against_limit(results, backend, work, tasks, most, note);
    let mut all = vec![
        gain(results, Insert, 64, Who::Tuned, 4.0),
        gain(results, Insert, 64, Who::Newcomer, 40.0),
        held(results),
        depth(results, Sqlite),
        limit(Postgres, ReadKey, 1, 1.3, ""),
        limit(Postgres, ReadKey, 64, 1.4, " (0.7× if coalesced)"),
        limit(Postgres, Create, 64, 1.1, ""),
        limit(Postgres, Insert, 64, 0.5, ", coalesced"),
    ];
    all.extend(mixed(results));
    all.extend(Backend::ALL.map(|backend| growth(results, backend)));
    for backend in Backend::ALL {
        all.extend(memory(results, backend));
    }
    for target in &mut all {
        target.earlier = true;
    }
    all
}

/// A peer that does a cell's work in less time than the store, by so much that it shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ahead {
    pub(crate) cell: Cell,
    pub(crate) who: Who,
    /// How many times the peer's time the store takes.
    pub(crate) ratio: f64,
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cell, peer) = (self.cell, self.who.title(self.cell.backend));
        write!(f, "{cell}: {peer}, {}×", number(self.ratio))
    }
}

/// How much longer than a peer the store may take.
const BEHIND: Bound = Bound::AtMost(1.05);

/// Every cell in which a peer is ahead.
pub(crate) fn ahead(results: &Results) -> Vec<Ahead> {
    let all = results.cells.iter().flat_map(beside_peers);
    all.filter(|it| !BEHIND.is_met(it.ratio)).collect()
}

/// The store beside each of its peers.
fn beside_peers(measured: &Measured) -> impl Iterator<Item = Ahead> {
    let peers = measured.contenders.iter().filter(|run| run.who.is_peer());
    peers.filter_map(|run| {
        Some(Ahead {
            cell: measured.cell,
            who: run.who,
            ratio: measured.ratio(Who::Undercroft, run.who)?.median,
        })
    })
}

/// The cell in which the store does worst beside a peer.
fn peers(results: &Results, backend: Backend) -> Target {
    let cells = results.cells.iter().filter(|measured| measured.cell.backend == backend);
    let found = cells.flat_map(beside_peers).map(|it| it.ratio).max_by(f64::total_cmp);
    Target {
        backend,
        work: None,
        what: "every table: the store against any peer".to_owned(),
        bound: BEHIND,
        found,
        earlier: false,
    }
}

fn target(backend: Backend, work: Work, what: String, bound: Bound, found: Option<f64>) -> Target {
    Target {
        backend,
        work: Some(work),
        what,
        bound,
        found,
        earlier: false,
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
    let found = measured.and_then(|it| Some(it.against_limit(Who::Undercroft)?.median));
    let what = format!("{}{note}", titled(work, tasks));
    target(backend, work, what, Bound::AtMost(most), found)
}

/// In the largest table, where the driver is slower too.
fn large(results: &Results, backend: Backend, tasks: usize) -> Target {
    let measured = results.find(backend, Work::ReadKey, LARGE, tasks);
    let found = measured.and_then(|it| Some(it.against_limit(Who::Undercroft)?.median));
    let what = format!("{} at 2 million rows", titled(Work::ReadKey, tasks));
    target(backend, Work::ReadKey, what, Bound::AtMost(1.3), found)
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
    let found = at(LARGE).zip(at(10_000)).map(|(large, small)| large / small);
    let what = "read by key at 2 million rows against 10 thousand".to_owned();
    target(backend, Work::ReadKey, what, Bound::AtMost(2.0), found)
}

fn memory(results: &Results, backend: Backend) -> [Target; 2] {
    let walk = results.find(backend, Work::Stream, LARGE, 1);
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
    use crate::results::tests::measured;

    fn cell(backend: Backend, work: Work, tasks: usize) -> Cell {
        Cell {
            backend,
            work,
            rows: 200_000,
            tasks,
        }
    }

    /// What is told of the target with this name.
    fn told(results: &Results, title: &str) -> (String, &'static str) {
        let found = targets(results).into_iter().find(|target| target.title() == title);
        let found = found.unwrap_or_else(|| panic!("no target {title}"));
        (found.found_text(), found.verdict())
    }

    #[test]
    fn every_target_is_named_once_and_open_until_it_is_measured() {
        let found = targets(&Results::default());
        let names: std::collections::BTreeSet<_> = found.iter().map(|it| (it.backend, it.what.clone())).collect();
        assert_eq!(names.len(), found.len());
        assert!(found.iter().all(|target| target.verdict() == "not measured"));
    }

    #[test]
    fn a_target_about_a_table_has_a_cell() {
        let everything = crate::plan::Choice {
            rows: vec![10_000, 200_000, LARGE],
            tasks: vec![1, 8, 64],
            parts: vec!["all".parse().unwrap()],
        };
        let mut results = Results::default();
        for cell in everything.cells() {
            let whole: Vec<(Who, &[f64])> = crate::plan::contenders(cell.backend, cell.work, cell.tasks)
                .into_iter()
                .map(|who| (who, &[10.0][..]))
                .collect();
            results.put(measured(cell, &whole));
        }
        let open = targets(&results).into_iter();
        let open = open.filter(|target| target.verdict() == "not measured");
        let others = |target: &Target| matches!(target.bound, Bound::Instructions(_) | Bound::Mib(_));
        let open: Vec<String> = open.filter(|target| !others(target)).map(|it| it.title()).collect();
        let memory = |title: &String| title.contains("memory of walking");
        assert!(open.iter().all(memory), "{open:?}");
    }

    #[test]
    fn a_gain_is_how_much_longer_the_other_takes() {
        let mut results = Results::default();
        let rounds: [(Who, &[f64]); 3] = [
            (Who::Limit, &[50.0]),
            (Who::Undercroft, &[75.0]),
            (Who::Newcomer, &[1_500.0]),
        ];
        results.put(measured(cell(Backend::Sqlite, Work::Insert, 64), &rounds));
        let insert = "SQLite, durable insert (audit entry), 64 tasks";
        let expected = [
            (insert.to_owned(), "1.50×", "missed"),
            (
                format!("{insert}: SeaORM tuned takes (earlier target)"),
                "–",
                "not measured",
            ),
            (
                format!("{insert}: SeaORM newcomer takes (earlier target)"),
                "20.0×",
                "missed",
            ),
        ];
        for (title, text, verdict) in expected {
            assert_eq!(told(&results, &title), (text.to_owned(), verdict), "{title}");
        }
    }

    #[test]
    fn a_peer_that_is_ahead_is_named_with_its_table() {
        let title = "SQLite, every table: the store against any peer";
        let mut results = Results::default();
        let close: [(Who, &[f64]); 4] = [
            (Who::Limit, &[50.0]),
            (Who::LimitInline, &[40.0]),
            (Who::Undercroft, &[104.0]),
            (Who::Diesel, &[100.0]),
        ];
        results.put(measured(cell(Backend::Sqlite, Work::Page, 1), &close));
        assert_eq!(told(&results, title), ("1.04×".to_owned(), "met"));
        assert!(ahead(&results).is_empty());
        let behind: [(Who, &[f64]); 3] = [
            (Who::Undercroft, &[120.0]),
            (Who::Diesel, &[100.0]),
            (Who::Sqlx, &[130.0]),
        ];
        results.put(measured(cell(Backend::Sqlite, Work::Page, 8), &behind));
        assert_eq!(told(&results, title), ("1.20×".to_owned(), "missed"));
        let found: Vec<_> = ahead(&results).iter().map(|it| (it.cell.tasks, it.who)).collect();
        assert_eq!(found, [(8, Who::Diesel)]);
        let other = "Postgres, every table: the store against any peer";
        assert_eq!(told(&results, other).1, "not measured");
    }
}
