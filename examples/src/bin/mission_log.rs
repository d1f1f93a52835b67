//! The log of an agent's mission: what it decided, which tools it called, and how they did.
//!
//! ```sh
//! cargo run -p examples --bin mission_log
//! STORE_URL=postgres://me@localhost/mine cargo run -p examples --bin mission_log
//! ```

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use examples::mission_file::{self, MissionFile, What};
use examples::program::{every, finish};
use examples::table::{Align, count, lines};
use store::Clock;
use store::chrono::{DateTime, TimeDelta, Utc};
use store::prelude::*;

const USAGE: &str = "\
Usage: mission_log [FILE]

Stores the log of an agent's mission (one event a line, as JSON) and prints it as a timeline with statistics of the
tools; by default the log that comes with the examples. The database is the one that Undercroft's configuration names;
with no configuration at all, a SQLite file in your data directory. Each run stores one mission more.";

#[tokio::main]
#[allow(clippy::print_stderr, reason = "a program tells its user what went wrong")]
async fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let outcome = match arguments.as_slice() {
        [] => run(&shipped_log()).await,
        [flag] if matches!(flag.to_str(), Some("-h" | "--help")) => Ok(format!("{USAGE}\n")),
        [file] if !file.to_string_lossy().starts_with('-') => run(file).await,
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    finish(outcome)
}

/// The log beside this program's source, as it looks from here.
fn shipped_log() -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("missions/slow-search.jsonl");
    let current = std::env::current_dir().unwrap_or_default();
    file.strip_prefix(current).map(Path::to_owned).unwrap_or(file)
}

/// A clock that shows the time of the event that is stored: an agent that logs as it goes needs none.
#[derive(Clone)]
struct Replay(Arc<Mutex<DateTime<Utc>>>);

impl Replay {
    fn at(instant: DateTime<Utc>) -> Self {
        Self(Arc::new(Mutex::new(instant)))
    }

    fn go_to(&self, instant: DateTime<Utc>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = instant;
    }
}

impl Clock for Replay {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(path: &Path) -> Result<String, Box<dyn Error>> {
    let file = mission_file::read(path)?;
    let clock = Replay::at(file.began_at);
    let store = Store::builder(DatabaseConfig::load()?)
        .clock(clock.clone())
        .open()
        .await?;
    let mission = keep(&store, &clock, &file).await?;

    let mut report = String::new();
    let places = [
        ["log", &path.display().to_string()],
        ["database", &store.config().describe()],
    ];
    let places = places.map(|row| row.map(str::to_owned));
    write!(report, "{}", lines([Align::Left; 2], &places))?;
    write_timeline(&mut report, &store, mission).await?;
    write_tools(&mut report, &store, mission).await?;
    write_history(&mut report, &store).await?;
    store.close().await?;
    Ok(report)
}

/// Stores the log, all of it or nothing.
async fn keep(store: &Store, clock: &Replay, file: &MissionFile) -> store::Result<MissionId> {
    let work = |tx: Tx| async move {
        clock.go_to(file.began_at);
        let missions = tx.missions();
        let id = missions.create(file.mission.clone()).await?;
        missions.update_status(id, MissionStatus::InProgress).await?;
        for event in &file.events {
            clock.go_to(event.at);
            match event.what.clone() {
                What::Tool(call) => drop(missions.log_tool_call(id, call).await?),
                What::Decision(decision) => drop(missions.record_decision(id, decision).await?),
                What::Status(status) => drop(missions.update_status(id, status).await?),
                What::Mission(_) => {}
            }
        }
        Ok(id)
    };
    store.transaction(work).await
}

/// One line of the timeline.
struct Moment {
    at: DateTime<Utc>,
    cells: [String; 4],
}

async fn write_timeline(report: &mut String, store: &Store, id: MissionId) -> Result<(), Box<dyn Error>> {
    let missions = store.missions();
    let mission = missions.get(id).await?.ok_or("the mission just stored is gone")?;
    let calls = every(async |page| missions.tool_history(id, ToolCallFilter::default(), page).await).await?;
    let decisions = every(async |page| missions.decisions(id, DecisionFilter::default(), page).await).await?;

    let goal = mission.metadata.get("goal").and_then(|goal| goal.as_str());
    let end = match mission.completed_at {
        Some(end) => format!("{} after {}", mission.status, span(end - mission.created_at)),
        None => mission.status.to_string(),
    };
    writeln!(
        report,
        "\n{}: {} ({end})",
        mission.phase,
        goal.unwrap_or("no goal given")
    )?;
    let mut moments: Vec<_> = calls.iter().map(called).chain(decisions.iter().map(decided)).collect();
    // Both lists are oldest first; a stable sort keeps the order within each.
    moments.sort_by_key(|moment| moment.at);
    let rows: Vec<_> = moments
        .into_iter()
        .map(
            |Moment {
                 at,
                 cells: [a, b, c, d],
             }| [at.format("%H:%M:%S").to_string(), a, b, c, d],
        )
        .collect();
    let align = [Align::Left, Align::Left, Align::Left, Align::Right, Align::Left];
    write!(report, "{}", lines(align, &rows))?;
    Ok(())
}

fn called(call: &ToolCall) -> Moment {
    let outcome = match (&call.error_message, &call.result) {
        (Some(message), _) => message.clone(),
        (None, Some(result)) => result.to_string(),
        (None, None) => String::new(),
    };
    Moment {
        at: call.timestamp,
        cells: [
            call.tool_name.clone(),
            if call.success { "ok" } else { "failed" }.to_owned(),
            call.duration_ms.map(|ms| format!("{ms} ms")).unwrap_or_default(),
            outcome,
        ],
    }
}

fn decided(decision: &Decision) -> Moment {
    Moment {
        at: decision.timestamp,
        cells: [
            decision.agent_name.clone().unwrap_or_default(),
            decision.decision_type.clone(),
            String::new(),
            decision.rationale.clone().unwrap_or_default(),
        ],
    }
}

async fn write_tools(report: &mut String, store: &Store, id: MissionId) -> Result<(), Box<dyn Error>> {
    let mut rows = vec![["TOOL", "CALLS", "FAILED", "MEAN MS", "LONGEST MS"].map(str::to_owned)];
    for tool in store.missions().tool_stats(Some(id)).await? {
        rows.push([
            tool.tool_name,
            tool.calls.to_string(),
            tool.failures.to_string(),
            tool.mean_duration_ms
                .map_or("-".to_owned(), |mean| format!("{mean:.1}")),
            tool.max_duration_ms
                .map_or("-".to_owned(), |longest| longest.to_string()),
        ]);
    }
    let align = [Align::Left, Align::Right, Align::Right, Align::Right, Align::Right];
    write!(report, "\nTools:\n{}", lines(align, &rows))?;
    Ok(())
}

async fn write_history(report: &mut String, store: &Store) -> Result<(), Box<dyn Error>> {
    let missions = store.missions();
    let all = every(async |page| missions.history(MissionFilter::default(), Some(page)).await).await?;
    let completed = all
        .iter()
        .filter(|mission| mission.status == MissionStatus::Completed)
        .count();
    writeln!(
        report,
        "\n  {} in this database, {completed} completed",
        count(all.len(), "mission")
    )?;
    Ok(())
}

/// A span of time for people: `6 min 52 s`.
fn span(span: TimeDelta) -> String {
    match (span.num_minutes(), span.num_seconds() % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}
