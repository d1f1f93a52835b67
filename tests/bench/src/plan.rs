//! What is measured: which work, on which database, over how many rows, by how many tasks.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    pub(crate) const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "Postgres",
        }
    }
}

/// A piece of work that every contender does in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    ReadKey,
    ReadUnique,
    Page,
    PageDeep,
    Insert,
    Create,
    Transaction,
    Mixed,
    Bulk,
    Chat,
    Claim,
    Stream,
}

impl Work {
    pub(crate) const ALL: [Self; 12] = [
        Self::ReadKey,
        Self::ReadUnique,
        Self::Page,
        Self::PageDeep,
        Self::Insert,
        Self::Create,
        Self::Transaction,
        Self::Mixed,
        Self::Bulk,
        Self::Chat,
        Self::Claim,
        Self::Stream,
    ];

    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ReadKey => "read-key",
            Self::ReadUnique => "read-unique",
            Self::Page => "page",
            Self::PageDeep => "page-deep",
            Self::Insert => "insert",
            Self::Create => "create",
            Self::Transaction => "transaction",
            Self::Mixed => "mixed",
            Self::Bulk => "bulk",
            Self::Chat => "chat",
            Self::Claim => "claim",
            Self::Stream => "stream",
        }
    }

    /// As a person reads it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::ReadKey => "read by key",
            Self::ReadUnique => "read by unique column",
            Self::Page => "page of 50, first",
            Self::PageDeep => "page of 50 at depth 100,000",
            Self::Insert => "durable insert (audit entry)",
            Self::Create => "durable insert (bot, 8 indexes)",
            Self::Transaction => "transaction (a read, two inserts)",
            Self::Mixed => "read beside 4 writers",
            Self::Bulk => "bulk insert of 100,000",
            Self::Chat => "append of 10 chat messages",
            Self::Claim => "claim of 10 workflow runs",
            Self::Stream => "walk of the whole table",
        }
    }

    /// What is done, and how the numbers are to be taken.
    pub(crate) fn explanation(self) -> &'static str {
        match self {
            Self::ReadKey => "One user by id, at random over the whole table, every column decoded.",
            Self::ReadUnique => "One user by email address.",
            Self::Page => "The 50 newest users.",
            Self::PageDeep => {
                "The 50 users behind the 100,000th: by sort keys, except for the newcomer, who uses OFFSET."
            }
            Self::Insert => "One row into the audit log (four indexes, id of version 7), committed to disk.",
            Self::Create => "One bot (14 columns, eight indexes, a foreign key), committed to disk.",
            Self::Transaction => {
                "Reads a user and logs two audit entries in one transaction. Undercroft's is serializable and retried; \
                 the others run at their database's default."
            }
            Self::Mixed => {
                "Eight tasks read users by key while four change users (read, then update, in a transaction). Time is \
                 per read. Calls that failed are counted, and are no reads."
            }
            Self::Bulk => {
                "100,000 audit entries in one go, per row; the newcomer, who inserts one at a time, is stopped after the \
                 cell's time."
            }
            Self::Chat => {
                "Ten messages onto one of 64 conversations, with the sums in the conversation and in the bot, in one \
                 transaction. Per batch."
            }
            Self::Claim => {
                "Eight workers, or as many as it says, take ten pending runs each, again and again. Per call."
            }
            Self::Stream => "Every user, newest first, in a process of its own. Per row.",
        }
    }

    /// Whether it changes the database, so that contenders must not share a file.
    pub(crate) fn writes(self) -> bool {
        !matches!(
            self,
            Self::ReadKey | Self::ReadUnique | Self::Page | Self::PageDeep | Self::Stream
        )
    }

    /// With how many tasks it is measured in a table of this size, out of the numbers asked for. The whole grid would
    /// take hours and say little more: apart from the size in the middle, only what the plots show is measured.
    pub(crate) fn tasks(self, rows: u64, choice: &Choice) -> Vec<usize> {
        let (first, last) = (choice.tasks.iter().min(), choice.tasks.iter().max());
        let few = |numbers: [Option<&usize>; 2]| {
            let mut numbers: Vec<usize> = numbers.into_iter().flatten().copied().collect();
            numbers.dedup();
            numbers
        };
        let middle = rows == choice.middle();
        match self {
            Self::PageDeep if rows <= DEPTH => vec![],
            _ if middle => match self {
                Self::Mixed => vec![READERS + WRITERS],
                Self::Claim => few([Some(&WORKERS), last.filter(|last| **last > WORKERS)]),
                Self::Bulk => vec![1],
                Self::Stream => vec![1],
                _ => choice.tasks.clone(),
            },
            Self::ReadKey | Self::Insert => few([first, last]),
            Self::ReadUnique | Self::Page | Self::PageDeep => few([first, None]),
            Self::Stream if choice.rows.iter().max() == Some(&rows) => vec![1],
            _ => vec![],
        }
    }
}

/// How deep the deep page is.
pub(crate) const DEPTH: u64 = 100_000;
/// Rows of a page.
pub(crate) const PAGE: u32 = 50;
/// Rows of a bulk insert.
pub(crate) const BULK: usize = 100_000;
/// Tasks of the mixed load.
pub(crate) const READERS: usize = 8;
/// Tasks of the mixed load that write.
pub(crate) const WRITERS: usize = 4;
/// Workers who claim runs, in the table of middle size; the largest number of tasks does so too.
pub(crate) const WORKERS: usize = 8;
/// Runs in one claim.
pub(crate) const CLAIM: u32 = 10;
/// Messages in one append.
pub(crate) const MESSAGES: usize = 10;

/// Who does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Who {
    /// The driver below everything, used in the best way that is known: what the others are measured against. On SQLite
    /// the driver has threads of its own, which is the best of some works only.
    Limit,
    /// SQLite's driver on the caller's thread, which is the best of the others.
    LimitInline,
    /// This project's store, through its public functions.
    Undercroft,
    /// SeaORM over one connection that nobody else uses and that goes through no pool.
    Held,
    /// SeaORM with the settings that somebody uses who knows the database.
    Tuned,
    /// sqlx by hand, with the same settings.
    Sqlx,
    /// Diesel; on Postgres with diesel-async.
    Diesel,
    /// SeaORM as it comes.
    Newcomer,
    /// SeaORM as it comes, but with ten connections, as many a program asks for.
    NewcomerTen,
}

impl Who {
    /// Those of whom the better is the limit.
    pub(crate) const LIMITS: [Self; 2] = [Self::Limit, Self::LimitInline];

    pub(crate) fn is_limit(self) -> bool {
        Self::LIMITS.contains(&self)
    }

    /// Whether a program would use it in the store's place.
    pub(crate) fn is_peer(self) -> bool {
        matches!(
            self,
            Self::Tuned | Self::Sqlx | Self::Diesel | Self::Newcomer | Self::NewcomerTen
        )
    }

    pub(crate) fn title(self, backend: Backend) -> &'static str {
        match (self, backend) {
            (Self::Limit, Backend::Sqlite) => "limit (rusqlite, own threads)",
            (Self::Limit, Backend::Postgres) => "limit (tokio-postgres)",
            (Self::LimitInline, _) => "limit (rusqlite, caller's thread)",
            (Self::Undercroft, _) => "undercroft",
            (Self::Held, _) => "SeaORM, one held connection",
            (Self::Tuned, _) => "SeaORM tuned",
            (Self::Sqlx, _) => "sqlx",
            (Self::Diesel, Backend::Sqlite) => "Diesel",
            (Self::Diesel, Backend::Postgres) => "diesel-async",
            (Self::Newcomer, _) => "SeaORM newcomer",
            (Self::NewcomerTen, _) => "SeaORM newcomer, pool of 10",
        }
    }
}

/// Who takes part in a cell.
pub(crate) fn contenders(backend: Backend, work: Work, tasks: usize) -> Vec<Who> {
    use Who::{Diesel, Held, Newcomer, NewcomerTen, Sqlx, Tuned, Undercroft};
    let mut all = match (work, backend) {
        (Work::Mixed, _) => vec![],
        _ => limits(backend).to_vec(),
    };
    all.extend(match (work, backend) {
        (Work::Insert | Work::Create, Backend::Sqlite) if tasks == 1 => {
            vec![Undercroft, Held, Tuned, Sqlx, Diesel, Newcomer]
        }
        (Work::Mixed, Backend::Sqlite) => vec![Undercroft, Tuned, Sqlx, Diesel, Newcomer, NewcomerTen],
        (Work::Chat | Work::Claim | Work::Stream, _) => vec![Undercroft, Tuned, Newcomer],
        _ => vec![Undercroft, Tuned, Sqlx, Diesel, Newcomer],
    });
    all
}

/// The ways in which a database's driver may be at its best.
pub(crate) fn limits(backend: Backend) -> &'static [Who] {
    match backend {
        Backend::Sqlite => &Who::LIMITS,
        Backend::Postgres => &[Who::Limit],
    }
}

/// What the command line asks for.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) rows: Vec<u64>,
    pub(crate) tasks: Vec<usize>,
    pub(crate) parts: Vec<Part>,
}

/// A part of the benchmark, as the command line names it: `read-key`, `sqlite`, `postgres/insert`, `instructions`, `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    backend: Option<Backend>,
    what: Option<What>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Work(Work),
    Instructions,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = self.what.map(|what| match what {
            What::Work(work) => work.name(),
            What::Instructions => INSTRUCTIONS,
        });
        match (self.backend.map(Backend::name), what) {
            (None, None) => f.write_str(ALL),
            (Some(one), None) | (None, Some(one)) => f.write_str(one),
            (Some(backend), Some(what)) => write!(f, "{backend}/{what}"),
        }
    }
}

const ALL: &str = "all";
const INSTRUCTIONS: &str = "instructions";

impl std::str::FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let everything = Self {
            backend: None,
            what: None,
        };
        if text == ALL {
            return Ok(everything);
        }
        let (first, rest) = match text.split_once('/') {
            Some((first, rest)) => (first, Some(rest)),
            None => (text, None),
        };
        let backend = Backend::ALL.into_iter().find(|backend| backend.name() == first);
        match (backend, rest) {
            (Some(_), None) => Ok(Self { backend, what: None }),
            (Some(_), Some(what)) => Ok(Self {
                backend,
                what: Some(what.parse()?),
            }),
            (None, None) => Ok(Self {
                backend: None,
                what: Some(first.parse()?),
            }),
            (None, Some(_)) => Err(format!("`{first}` is no database: sqlite or postgres")),
        }
    }
}

impl std::str::FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let work = Work::ALL.into_iter().find(|work| work.name() == text);
        match work {
            Some(work) => Ok(Self::Work(work)),
            None if text == INSTRUCTIONS => Ok(Self::Instructions),
            None => {
                let works = Work::ALL.map(Work::name).join(", ");
                Err(format!("there are: all, sqlite, postgres, instructions, {works}"))
            }
        }
    }
}

impl Choice {
    /// The size at which everything is measured: the largest one up to 200 thousand, or the smallest.
    pub(crate) fn middle(&self) -> u64 {
        let usual = self.rows.iter().filter(|rows| **rows <= 200_000).max();
        usual.or(self.rows.iter().min()).copied().unwrap_or(200_000)
    }

    fn wants(&self, backend: Backend, what: What) -> bool {
        let wanted = |part: &Part| part.backend.is_none_or(|it| it == backend) && part.what.is_none_or(|it| it == what);
        self.parts.iter().any(wanted)
    }

    /// Whether instructions are to be counted for this database.
    pub(crate) fn instructions(&self, backend: Backend) -> bool {
        self.wants(backend, What::Instructions)
    }

    /// Every cell, those of one database and size together.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for backend in Backend::ALL {
            for &rows in &self.rows {
                let works = Work::ALL.into_iter();
                for work in works.filter(|work| self.wants(backend, What::Work(*work))) {
                    let tasks = work.tasks(rows, self);
                    cells.extend(tasks.into_iter().map(|tasks| Cell {
                        backend,
                        work,
                        rows,
                        tasks,
                    }));
                }
            }
        }
        cells
    }
}

/// One comparison: everybody does the same, in turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) backend: Backend,
    pub(crate) work: Work,
    pub(crate) rows: u64,
    pub(crate) tasks: usize,
}

impl std::fmt::Display for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (backend, work) = (self.backend.title(), self.work.title());
        let tasks = if self.tasks == 1 { "task" } else { "tasks" };
        write!(
            f,
            "{backend}, {work}, {} rows, {} {tasks}",
            grouped(self.rows),
            self.tasks
        )
    }
}

/// A number with commas.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(rows: &[u64]) -> Choice {
        Choice {
            rows: rows.to_vec(),
            tasks: vec![1, 8, 64],
            parts: vec!["all".parse().unwrap()],
        }
    }

    #[test]
    fn numbers_have_commas() {
        assert_eq!(
            [0, 12, 999, 1_000, 2_000_000].map(grouped),
            ["0", "12", "999", "1,000", "2,000,000"]
        );
    }

    #[test]
    fn the_middle_is_the_largest_usual_size() {
        assert_eq!(choice(&[10_000, 200_000, 2_000_000]).middle(), 200_000);
        assert_eq!(choice(&[10_000]).middle(), 10_000);
        assert_eq!(choice(&[2_000_000]).middle(), 2_000_000);
    }

    #[test]
    fn every_work_has_a_cell_and_no_cell_is_there_twice() {
        let cells = choice(&[10_000, 200_000, 2_000_000]).cells();
        for work in Work::ALL {
            assert!(cells.iter().any(|cell| cell.work == work), "{work:?}");
        }
        let distinct: std::collections::BTreeSet<_> = cells.iter().collect();
        assert_eq!(distinct.len(), cells.len());
    }

    #[test]
    fn parts_choose() {
        let mut choice = choice(&[10_000]);
        choice.parts = vec!["sqlite/read-key".parse().unwrap(), "claim".parse().unwrap()];
        let cells = choice.cells();
        let found: Vec<_> = cells.iter().map(|cell| (cell.backend, cell.work, cell.tasks)).collect();
        let expected = [
            (Backend::Sqlite, Work::ReadKey, 1),
            (Backend::Sqlite, Work::ReadKey, 8),
            (Backend::Sqlite, Work::ReadKey, 64),
            (Backend::Sqlite, Work::Claim, 8),
            (Backend::Sqlite, Work::Claim, 64),
            (Backend::Postgres, Work::Claim, 8),
            (Backend::Postgres, Work::Claim, 64),
        ];
        assert_eq!(found, expected);
        assert!(!choice.instructions(Backend::Sqlite));
        for name in ["all", "postgres", "sqlite/read-key", "claim", "postgres/instructions"] {
            assert_eq!(name.parse::<Part>().unwrap().to_string(), name);
        }
        assert!("read-kee".parse::<Part>().is_err() && "oracle/insert".parse::<Part>().is_err());
    }

    #[test]
    fn a_single_number_of_tasks_is_measured_once() {
        let mut choice = choice(&[10_000, 200_000]);
        choice.tasks = vec![64];
        assert_eq!(Work::ReadKey.tasks(10_000, &choice), [64]);
        assert_eq!(Work::PageDeep.tasks(10_000, &choice), [0; 0]);
    }
}
