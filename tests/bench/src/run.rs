//! Goes through the cells: everybody in turns, round after round.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::Result;
use crate::arena::Arena;
use crate::child::{self, Errand, Task};
use crate::contender::{self, Contender, Place};
use crate::drive::{self, Sample};
use crate::plan::{Backend, Cell, Choice, Who, Work, contenders, grouped};
use crate::results::{Measured, Run, commit, taken_now};

/// How long and how often.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    /// What was typed for it.
    pub(crate) command: String,
    /// Rounds before those that count: they fill caches and prepare statements.
    pub(crate) warm: u64,
    /// Rounds that count.
    pub(crate) rounds: u64,
    /// One contender's time in one round. Whatever is under way then is finished.
    pub(crate) length: Duration,
}

/// The bar that shows how far it is.
pub(crate) fn bar(cells: &[Cell], pace: &Pace) -> ProgressBar {
    let steps = cells.iter().map(|cell| steps(*cell, pace)).sum();
    let bar = ProgressBar::new(steps);
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {elapsed_precise} (eta {eta}) {wide_msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}

fn steps(cell: Cell, pace: &Pace) -> u64 {
    contenders(cell.backend, cell.work, cell.tasks).len() as u64 * (pace.warm + pace.rounds)
}

/// What is to be measured, and how long it will take about.
pub(crate) fn announcement(choice: &Choice, cells: &[Cell], pace: &Pace) -> String {
    let turns: u64 = cells.iter().map(|cell| steps(*cell, pace)).sum();
    let minutes = expected(choice, cells, pace).as_secs_f64() / 60.0;
    format!(
        "{} comparisons, {} turns: about {} minutes; each comparison is saved when it is done",
        cells.len(),
        grouped(turns),
        minutes.ceil()
    )
}

/// From what it took on a machine with two processors.
fn expected(choice: &Choice, cells: &[Cell], pace: &Pace) -> Duration {
    let turns = cells
        .iter()
        .map(|cell| turn(*cell, pace) * u32::try_from(steps(*cell, pace)).unwrap_or(0));
    let preparing = groups(cells)
        .into_iter()
        .filter_map(|group| Some(preparing(*group.first()?)));
    let counting = Backend::ALL.into_iter().filter(|backend| choice.instructions(*backend));
    turns.chain(preparing).chain(counting.map(|_| COUNTING)).sum()
}

/// Counting the instructions on one database.
const COUNTING: Duration = Duration::from_secs(45);

/// One contender's turn. What is under way when its time is over is finished.
fn turn(cell: Cell, pace: &Pace) -> Duration {
    match cell.work {
        Work::Stream => Duration::from_micros(5 * cell.rows) + Duration::from_millis(100),
        Work::Bulk => pace.length + Duration::from_secs(2),
        work if work.writes() => pace.length + Duration::from_millis(100),
        _ => pace.length,
    }
}

/// Filling databases, or copying them for those who write.
fn preparing(cell: Cell) -> Duration {
    Duration::from_micros(cell.rows * if cell.work.writes() { 25 } else { 40 }) + Duration::from_secs(5)
}

/// The cells that share their databases, in the order in which they are run: reading first, as long as nobody writes.
pub(crate) fn groups(cells: &[Cell]) -> Vec<Vec<Cell>> {
    let mut groups: BTreeMap<_, Vec<Cell>> = BTreeMap::new();
    for cell in cells {
        let key = (cell.backend, cell.rows, cell.work.writes());
        groups.entry(key).or_default().push(*cell);
    }
    groups.into_values().collect()
}

/// The contenders of a group, with their databases.
struct Field {
    places: BTreeMap<Who, Place>,
    open: BTreeMap<Who, Arc<dyn Contender>>,
}

impl Field {
    async fn open(arena: &mut Arena, group: &[Cell]) -> Result<Self> {
        let mut field = Self {
            places: BTreeMap::new(),
            open: BTreeMap::new(),
        };
        for cell in group {
            for who in contenders(cell.backend, cell.work, cell.tasks) {
                if field.places.contains_key(&who) {
                    continue;
                }
                let place = arena.place(cell.backend, cell.rows, who, cell.work.writes()).await?;
                let opened = contender::open(who, &place, cell.rows).await;
                let opened = opened.map_err(|error| format!("{}: {error}", who.title(cell.backend)))?;
                field.places.insert(who, place);
                field.open.insert(who, opened);
            }
        }
        Ok(field)
    }

    async fn round(&self, arena: &Arena, cell: Cell, who: Who, round: u64, pace: &Pace) -> Result<Sample> {
        let (Some(place), Some(contender)) = (self.places.get(&who), self.open.get(&who)) else {
            return Err(format!("{who:?} was not opened").into());
        };
        if cell.work == Work::Stream {
            let errand = Errand {
                who,
                place: place.clone(),
                rows: cell.rows,
                task: Task::Walk,
            };
            return child::sample(errand).await;
        }
        if cell.work == Work::Claim {
            arena.release_runs(place).await?;
        }
        Ok(drive::drive(contender, cell, round, pace.length).await)
    }

    async fn close(self) {
        for contender in self.open.into_values() {
            contender.close().await;
        }
    }
}

/// Runs the cells of a group and hands each out as soon as it is measured.
pub(crate) async fn group(
    arena: &mut Arena,
    group: &[Cell],
    pace: &Pace,
    bar: &ProgressBar,
    mut done: impl FnMut(Measured) -> Result<()>,
) -> Result<()> {
    let Some(first) = group.first() else { return Ok(()) };
    bar.set_message(format!("{}: preparing {} rows", first.backend.title(), first.rows));
    let field = Field::open(arena, group).await?;
    for cell in group {
        done(measure(&field, arena, *cell, pace, bar).await?)?;
    }
    field.close().await;
    arena.clear(first.backend, first.rows).await
}

/// A B C, A B C, …
async fn measure(field: &Field, arena: &Arena, cell: Cell, pace: &Pace, bar: &ProgressBar) -> Result<Measured> {
    let mut runs: Vec<Run> = contenders(cell.backend, cell.work, cell.tasks)
        .into_iter()
        .map(|who| Run { who, rounds: vec![] })
        .collect();
    let watch = Watch::start();
    for round in 0..pace.warm + pace.rounds {
        for run in &mut runs {
            bar.set_message(format!("{cell}: {}", run.who.title(cell.backend)));
            let sample = field.round(arena, cell, run.who, round, pace).await;
            let sample = sample.map_err(|error| format!("{cell}, {}: {error}", run.who.title(cell.backend)))?;
            if round >= pace.warm {
                run.rounds.push(sample);
            }
            bar.inc(1);
        }
    }
    Ok(Measured {
        cell,
        taken: taken_now(),
        commit: commit(),
        command: pace.command.clone(),
        elsewhere: watch.elsewhere(),
        contenders: runs,
    })
}

/// Watches what others do with the machine.
struct Watch {
    begun: Instant,
    machine: Duration,
    own: Duration,
}

impl Watch {
    fn start() -> Self {
        Self {
            begun: Instant::now(),
            machine: drive::machine_time(),
            own: drive::processor_time(),
        }
    }

    /// The share of the processors' time that went to other processes since.
    fn elsewhere(&self) -> f64 {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let own = drive::processor_time().saturating_sub(self.own);
        let others = drive::machine_time().saturating_sub(self.machine).saturating_sub(own);
        let share = others.as_secs_f64() / (self.begun.elapsed().as_secs_f64() * processors as f64);
        (share * 1e3).round() / 1e3
    }
}
