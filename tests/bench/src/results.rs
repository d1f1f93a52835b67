//! What was measured, kept as JSON: a later run of some parts replaces these and leaves the others.

use std::fs;
use std::path::Path;
use std::process::Command;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::drive::Sample;
use crate::plan::{Backend, Cell, Who, Work};
use crate::stats::{self, Summary};
use crate::{Result, data};

/// Everything that was ever measured and not measured again.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) cells: Vec<Measured>,
    #[serde(default)]
    pub(crate) instructions: Vec<Instructions>,
}

/// Where it was measured last.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) memory_gib: u64,
    pub(crate) system: String,
    pub(crate) rust: String,
    pub(crate) sqlite: String,
    #[serde(default)]
    pub(crate) postgres: Option<String>,
    pub(crate) commit: String,
    /// Versions of the contenders, from Cargo.lock.
    #[serde(default)]
    pub(crate) crates: Vec<(String, String)>,
}

/// One cell with everybody's rounds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    #[serde(flatten)]
    pub(crate) cell: Cell,
    pub(crate) taken: DateTime<Utc>,
    /// The store's commit.
    pub(crate) commit: String,
    /// What to type to measure it so again.
    #[serde(default)]
    pub(crate) command: String,
    /// Which share of the machine's processors others had meanwhile; the Postgres server is one of them.
    #[serde(default)]
    pub(crate) elsewhere: f64,
    pub(crate) contenders: Vec<Run>,
}

/// One contender's rounds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) who: Who,
    pub(crate) rounds: Vec<Sample>,
}

/// How many instructions an operation takes in this process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Instructions {
    pub(crate) backend: Backend,
    pub(crate) who: Who,
    pub(crate) per_read: f64,
    pub(crate) taken: DateTime<Utc>,
    pub(crate) commit: String,
}

impl Run {
    fn numbers(&self, of: impl Fn(&Sample) -> Option<f64>) -> Vec<f64> {
        self.rounds.iter().filter_map(of).collect()
    }

    /// Microseconds for one operation.
    pub(crate) fn micros(&self) -> Option<Summary> {
        stats::summary(&self.numbers(Sample::micros))
    }

    /// Microseconds of this process's processor time for one operation.
    pub(crate) fn cpu_micros(&self) -> Option<Summary> {
        stats::summary(&self.numbers(Sample::cpu_micros))
    }

    /// How much memory of its own the process had at most, in MiB.
    pub(crate) fn peak_mib(&self) -> Option<f64> {
        let peaks = self.numbers(|sample| sample.peak_kib.map(|kib| kib as f64 / 1024.0));
        peaks.into_iter().max_by(f64::total_cmp)
    }

    /// How much memory the second half of a walk takes at most, as a multiple of the first half's.
    pub(crate) fn memory_growth(&self) -> Option<f64> {
        let growth = self.numbers(|sample| Some(sample.peak_kib? as f64 / sample.first_half_kib? as f64));
        growth.into_iter().max_by(f64::total_cmp)
    }

    pub(crate) fn errors(&self) -> u64 {
        self.rounds.iter().map(|sample| sample.errors).sum()
    }

    pub(crate) fn error(&self) -> Option<&str> {
        self.rounds.iter().find_map(|sample| sample.error.as_deref())
    }

    /// Everything that was tried: reads, changes, failures.
    pub(crate) fn attempts(&self) -> u64 {
        let tried = |sample: &Sample| sample.ops + sample.changes + sample.errors;
        self.rounds.iter().map(tried).sum()
    }

    /// Changes for each second, in the mixed load.
    pub(crate) fn changes_per_second(&self) -> Option<f64> {
        stats::median(&self.numbers(|sample| Some(sample.changes as f64 / sample.seconds)))
    }
}

impl Measured {
    pub(crate) fn run(&self, who: Who) -> Option<&Run> {
        self.contenders.iter().find(|run| run.who == who)
    }

    /// Who is the limit here: of the ways in which the driver may be at its best, the one that was.
    pub(crate) fn limit(&self) -> Option<Who> {
        let limits = Who::LIMITS.into_iter();
        let known = limits.filter_map(|who| Some((who, self.run(who)?.micros()?.median)));
        let best = known.min_by(|(_, one), (_, other)| one.total_cmp(other));
        best.map(|(who, _)| who)
    }

    /// How many times a contender's cost is the limit's, round by round.
    pub(crate) fn against_limit(&self, who: Who) -> Option<Summary> {
        self.ratio(who, self.limit()?)
    }

    /// How many times one contender's cost is another's, round by round.
    pub(crate) fn ratio(&self, who: Who, base: Who) -> Option<Summary> {
        let (one, other) = (self.run(who)?, self.run(base)?);
        // A round in which somebody did nothing would shift the others.
        let rounds = one.rounds.iter().zip(&other.rounds);
        let pairs = rounds.filter_map(|(one, other)| Some((one.micros()?, other.micros()?)));
        let (one, other): (Vec<f64>, Vec<f64>) = pairs.unzip();
        stats::ratio(&one, &other)
    }
}

impl Results {
    /// What the file has; nothing when there is none.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path)?;
        let results = serde_json::from_str(&text);
        Ok(results.map_err(|error| format!("{}: {error}; remove it to begin anew", path.display()))?)
    }

    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let part = path.with_extension("part");
        fs::write(&part, self.lines()?)?;
        Ok(fs::rename(part, path)?)
    }

    /// As JSON with a line for each contender of each cell: short, and a later run shows as changed lines.
    fn lines(&self) -> Result<String> {
        let text = serde_json::to_string(self)?;
        let breaks = [
            ("\"cells\":[", "\"cells\":[\n"),
            ("]},{\"who\":", "]},\n  {\"who\":"),
            ("\"contenders\":[", "\"contenders\":[\n  "),
            ("]}]},{\"backend\":", "]}]},\n{\"backend\":"),
            ("\"instructions\":[", "\n\"instructions\":[\n"),
            ("\"},{\"backend\":", "\"},\n{\"backend\":"),
        ];
        let broken = breaks.iter().fold(text, |text, (from, to)| text.replace(from, to));
        Ok(broken + "\n")
    }

    /// Takes a cell in, in place of an earlier measurement of it.
    pub(crate) fn put(&mut self, measured: Measured) {
        self.cells.retain(|known| known.cell != measured.cell);
        self.cells.push(measured);
        self.cells.sort_by_key(|measured| measured.cell);
    }

    /// The instructions of the limit: the fewest of the ways in which the driver may be at its best.
    pub(crate) fn fewest_instructions(&self, backend: Backend) -> Option<f64> {
        let limits = self.instructions.iter();
        let limits = limits.filter(|counted| counted.backend == backend && counted.who.is_limit());
        limits.map(|counted| counted.per_read).min_by(f64::total_cmp)
    }

    pub(crate) fn put_instructions(&mut self, counted: Instructions) {
        let same = |known: &Instructions| (known.backend, known.who) == (counted.backend, counted.who);
        self.instructions.retain(|known| !same(known));
        self.instructions.push(counted);
        self.instructions.sort_by_key(|counted| (counted.backend, counted.who));
    }

    /// The share of the machine's processors that other programs had: the median of the cells in which this program and
    /// its contenders were a single process.
    pub(crate) fn elsewhere(&self) -> Option<f64> {
        let alone = |it: &&Measured| it.cell.backend == Backend::Sqlite && it.cell.work != Work::Stream;
        let shares: Vec<f64> = self.cells.iter().filter(alone).map(|it| it.elsewhere).collect();
        stats::median(&shares)
    }

    pub(crate) fn find(&self, backend: Backend, work: Work, rows: u64, tasks: usize) -> Option<&Measured> {
        let cell = Cell {
            backend,
            work,
            rows,
            tasks,
        };
        self.cells.iter().find(|measured| measured.cell == cell)
    }

    /// The size at which this work was measured with so many tasks: 200 thousand where there is one.
    pub(crate) fn at_middle(&self, backend: Backend, work: Work, tasks: usize) -> Option<&Measured> {
        let of_work = |measured: &&Measured| {
            let cell = measured.cell;
            (cell.backend, cell.work, cell.tasks) == (backend, work, tasks)
        };
        let usual = self.cells.iter().filter(of_work).filter(|it| it.cell.rows <= 200_000);
        usual
            .max_by_key(|it| it.cell.rows)
            .or_else(|| self.cells.iter().filter(of_work).min_by_key(|it| it.cell.rows))
    }
}

impl Machine {
    /// This one. The server's version is known when it was asked.
    pub(crate) fn here(postgres: Option<String>) -> Self {
        Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned()),
            processors: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_gib: memory_gib(),
            system: said("uname", &["-srm"]),
            rust: said("rustc", &["--version"]),
            sqlite: rusqlite::version().to_owned(),
            postgres,
            commit: commit(),
            crates: crates(),
        }
    }
}

/// The commit that is measured, with a mark when files differ from it.
pub(crate) fn commit() -> String {
    said("git", &["describe", "--always", "--dirty", "--exclude=*"])
}

pub(crate) fn taken_now() -> DateTime<Utc> {
    data::now()
}

fn said(program: &str, arguments: &[&str]) -> String {
    let answer = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let text = answer.map(|answer| String::from_utf8_lossy(&answer.stdout).trim().to_owned());
    text.unwrap_or_default()
}

/// The value of the first line `name : value`.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_gib() -> u64 {
    let kib = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    kib.map_or(0, |kib| (kib + (1 << 19)) >> 20)
}

const CRATES: [&str; 6] = [
    "sea-orm",
    "sqlx",
    "diesel",
    "diesel-async",
    "rusqlite",
    "tokio-postgres",
];

fn crates() -> Vec<(String, String)> {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let text = fs::read_to_string(lock).unwrap_or_default();
    let version = |name: &str| {
        let after = text.split(&format!("name = \"{name}\"\nversion = \"")).nth(1)?;
        Some((name.to_owned(), after.split('"').next()?.to_owned()))
    };
    CRATES.iter().filter_map(|name| version(name)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn measured(cell: Cell, micros: &[(Who, &[f64])]) -> Measured {
        let sample = |micros: &f64| Sample {
            ops: 1_000,
            seconds: micros / 1e3,
            cpu_seconds: micros / 2e3,
            ..Sample::default()
        };
        Measured {
            cell,
            taken: DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
            commit: "abc1234".to_owned(),
            command: "cargo run --release -p bench -- all".to_owned(),
            elsewhere: 0.0,
            contenders: micros
                .iter()
                .map(|(who, rounds)| Run {
                    who: *who,
                    rounds: rounds.iter().map(sample).collect(),
                })
                .collect(),
        }
    }

    fn cell(tasks: usize) -> Cell {
        Cell {
            backend: Backend::Sqlite,
            work: Work::ReadKey,
            rows: 10_000,
            tasks,
        }
    }

    #[test]
    fn a_later_run_replaces_its_own_cells_only() {
        let mut results = Results::default();
        results.put(measured(cell(1), &[(Who::Limit, &[10.0])]));
        results.put(measured(cell(64), &[(Who::Limit, &[20.0])]));
        results.put(measured(cell(1), &[(Who::Limit, &[30.0])]));
        assert_eq!(results.cells.len(), 2);
        let found = results.find(Backend::Sqlite, Work::ReadKey, 10_000, 1).unwrap();
        assert_eq!(found.run(Who::Limit).unwrap().micros().unwrap().median, 30.0);
        let text = results.lines().unwrap();
        assert!(text.lines().count() > 4, "{text}");
        assert_eq!(serde_json::from_str::<Results>(&text).unwrap().cells.len(), 2);
    }

    #[test]
    fn the_limit_is_the_better_of_two_by_its_median_and_everybody_is_compared_with_that_one() {
        let both = measured(
            cell(1),
            &[
                (Who::Limit, &[10.0, 11.0, 30.0]),
                (Who::LimitInline, &[8.0, 9.0, 40.0]),
                (Who::Undercroft, &[16.0, 18.0, 40.0]),
            ],
        );
        assert_eq!(both.limit(), Some(Who::LimitInline));
        assert_eq!(both.against_limit(Who::Undercroft).unwrap().median, 2.0);
        assert_eq!(both.against_limit(Who::LimitInline).unwrap().median, 1.0);
        let one = measured(cell(1), &[(Who::Limit, &[10.0]), (Who::Undercroft, &[15.0])]);
        assert_eq!(one.limit(), Some(Who::Limit));
        assert_eq!(one.against_limit(Who::Undercroft).unwrap().median, 1.5);
        assert_eq!(measured(cell(1), &[(Who::Undercroft, &[15.0])]).limit(), None);
    }

    #[test]
    fn a_round_without_work_is_left_out_of_the_ratio_on_both_sides() {
        let mut both = measured(
            cell(1),
            &[(Who::Limit, &[10.0, 10.0, 10.0]), (Who::Undercroft, &[20.0, 0.0, 30.0])],
        );
        both.contenders[1].rounds[1].ops = 0;
        let found = both.ratio(Who::Undercroft, Who::Limit).unwrap();
        assert_eq!((found.low, found.high), (2.0, 3.0));
    }
}
