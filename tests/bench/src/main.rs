//! What the store costs, against what a program would use in its place: SeaORM, sqlx, Diesel, and the drivers below
//! everything as the limit.
//!
//! `cargo run --release -p bench -- --help` tells how to run it; CONTRIBUTING.md what for. No time that is measured here
//! is a test: times are for people to read.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks to the person who runs it"
)]

mod arena;
mod child;
mod contender;
mod data;
mod drive;
mod instructions;
mod plan;
mod report;
mod results;
mod run;
mod seed;
mod server;
mod sql;
mod stats;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use arena::Arena;
use plan::{Backend, Cell, Choice, Part};
use results::{Machine, Results};
use run::Pace;

/// Whatever went wrong, in words for a person.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Failure>;

/// Measures the store against SeaORM, sqlx, Diesel and the drivers below them, in turns, on SQLite and Postgres.
///
/// Writes docs/performance.md with plots, and docs/performance.json with every round. A run of some parts replaces only
/// their results. Postgres is the server of STORE_TEST_POSTGRES_URL, or one that is started from the programs found here.
#[derive(Debug, Parser)]
struct Arguments {
    /// all, sqlite, postgres, instructions, a work (see --list), or one on one database: postgres/insert
    #[arg(value_name = "PART", default_value = "all")]
    parts: Vec<Part>,
    /// Sizes of the tables
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 200_000, 2_000_000])]
    rows: Vec<u64>,
    /// Numbers of tasks at once
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 64])]
    tasks: Vec<usize>,
    /// Rounds that count; one more goes before them
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Milliseconds for each contender in each round
    #[arg(long, default_value_t = 600)]
    millis: u64,
    /// A minute's run to see that everything works: few rows, one short round, and nothing is written to docs
    #[arg(long)]
    quick: bool,
    /// Shows what would be measured
    #[arg(long)]
    list: bool,
    /// Writes the report anew from the saved results, and measures nothing
    #[arg(long)]
    report: bool,
    /// Where the databases are; on a disk
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where the report goes
    #[arg(long)]
    out: Option<PathBuf>,
}

impl Arguments {
    fn choice(&self) -> Choice {
        let (mut rows, mut tasks) = (self.rows.clone(), self.tasks.clone());
        if self.quick {
            rows = vec![10_000];
            tasks.retain(|tasks| *tasks != 8);
        }
        rows.sort_unstable();
        tasks.sort_unstable();
        Choice {
            rows,
            tasks,
            parts: self.parts.clone(),
        }
    }

    fn pace(&self) -> Pace {
        let (warm, rounds, millis) = match self.quick {
            true => (0, 1, 30),
            false => (1, self.rounds.max(1), self.millis),
        };
        Pace {
            command: self.command(rounds, millis),
            warm,
            rounds,
            length: Duration::from_millis(millis),
        }
    }

    /// What measures the same, with everything said that makes a difference.
    fn command(&self, rounds: u64, millis: u64) -> String {
        let choice = self.choice();
        let parts: Vec<String> = self.parts.iter().map(Part::to_string).collect();
        format!(
            "cargo run --release -p bench -- {} --rows {} --tasks {} --rounds {rounds} --millis {millis}",
            parts.join(" "),
            listed(&choice.rows),
            listed(&choice.tasks)
        )
    }

    fn dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| arena::target().join("bench"))
    }

    fn out(&self) -> PathBuf {
        match &self.out {
            Some(out) => out.clone(),
            None if self.quick => self.dir().join("quick"),
            None => report::docs(),
        }
    }
}

fn listed(numbers: &[impl ToString]) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    numbers.join(",")
}

fn main() -> ExitCode {
    match begin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn begin() -> Result<()> {
    if let Some(errand) = child::errand()? {
        return child::runtime(&errand)?.block_on(child::run(errand));
    }
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(runtime.spawn(act(arguments)))?
}

async fn act(arguments: Arguments) -> Result<()> {
    let choice = arguments.choice();
    let cells = choice.cells();
    if arguments.list {
        list(&choice, &cells);
        println!("{}", run::announcement(&choice, &cells, &arguments.pace()));
        return Ok(());
    }
    let out = arguments.out();
    std::fs::create_dir_all(&out)?;
    let out = out.canonicalize()?;
    let mut results = Results::load(&out.join("performance.json"))?;
    let measured = match arguments.report {
        true => Ok(0),
        // The server ends with its owner.
        false => tokio::select! {
            done = measure(&arguments, &choice, &cells, &out, &mut results) => done,
            signal = ended() => signal.and(Err("interrupted; what was measured until then is kept".into())),
        },
    };
    // Also after an interruption: each cell was saved as soon as it was measured.
    report::write(&results, &out)?;
    println!("{}", report::summary(&results, &cells));
    println!("{}", out.join("performance.md").display());
    match measured? {
        0 => Ok(()),
        _ => Err("not everything could be measured; see above".into()),
    }
}

/// Somebody wants this program to end.
async fn ended() -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        signal = tokio::signal::ctrl_c() => signal?,
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Measures, saves each cell as soon as it is there, and answers how many groups of cells failed.
async fn measure(
    arguments: &Arguments,
    choice: &Choice,
    cells: &[Cell],
    out: &Path,
    results: &mut Results,
) -> Result<usize> {
    let file = out.join("performance.json");
    if cfg!(debug_assertions) && !arguments.quick {
        eprintln!("warning: this is a debug build, whose times mean nothing; use --release");
    }
    let mut arena = Arena::new(&arguments.dir())?;
    let postgres = cells.iter().any(|cell| cell.backend == Backend::Postgres) || choice.instructions(Backend::Postgres);
    let version = match postgres {
        true => Some(arena.postgres_version().await?),
        false => results.machine.postgres.clone(),
    };
    results.machine = Machine::here(version);
    let pace = arguments.pace();
    eprintln!("{}", run::announcement(choice, cells, &pace));
    let bar = run::bar(cells, &pace);
    let mut failures = 0;
    for group in run::groups(cells) {
        let done = run::group(&mut arena, &group, &pace, &bar, |measured| {
            bar.suspend(|| println!("{}", report::table(&measured)));
            results.put(measured);
            results.save(&file)
        });
        // An hour's run goes on with what else there is.
        if let Err(error) = done.await {
            bar.suspend(|| eprintln!("error: {error}"));
            failures += 1;
        }
    }
    bar.finish_and_clear();
    let counts = match arguments.quick {
        true => instructions::FEW,
        false => instructions::MANY,
    };
    for backend in Backend::ALL.into_iter().filter(|backend| choice.instructions(*backend)) {
        for counted in instructions::count(&mut arena, backend, choice.rows.iter().copied().min(), counts).await? {
            results.put_instructions(counted);
        }
        results.save(&file)?;
    }
    Ok(failures)
}

fn list(choice: &Choice, cells: &[Cell]) {
    for cell in cells {
        println!("{:8} {:12} {cell}", cell.backend.name(), cell.work.name());
    }
    for backend in Backend::ALL.into_iter().filter(|backend| choice.instructions(*backend)) {
        println!("{:8} instructions {}, read by key", backend.name(), backend.title());
    }
}
