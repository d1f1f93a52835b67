//! Sets tasks to work for a while, and counts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::contender::{Call, Contender};
use crate::data::{Maker, Op};
use crate::plan::{Cell, READERS, WRITERS, Work};

/// What one contender did in one round.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// What was done and answered rightly.
    pub(crate) ops: u64,
    /// Calls that failed, or answered something else than what is there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) errors: u64,
    /// The first error, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// From the first task's beginning to the last one's end.
    pub(crate) seconds: f64,
    /// The processor time of this process meanwhile, whatever its threads.
    pub(crate) cpu_seconds: f64,
    /// In the mixed load, the changes; `ops` are the reads.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) changes: u64,
    /// In the walk, the most memory that the process had for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peak_kib: Option<u64>,
    /// The most in the first half of the walk: what stays flat has its peak there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_half_kib: Option<u64>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Seconds to the microsecond: the file is for people too.
pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

impl Sample {
    /// Microseconds of the clock for one operation; `None` when none was done.
    pub(crate) fn micros(&self) -> Option<f64> {
        (self.ops > 0).then(|| self.seconds * 1e6 / self.ops as f64)
    }

    /// Microseconds of the processor for one operation.
    pub(crate) fn cpu_micros(&self) -> Option<f64> {
        (self.ops > 0).then(|| self.cpu_seconds * 1e6 / self.ops as f64)
    }
}

/// The processor time of the whole process so far.
pub(crate) fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)
        .map(Duration::from)
        .unwrap_or_default()
}

/// The processor time of the whole machine so far, everybody's.
pub(crate) fn machine_time() -> Duration {
    /// The kernel counts in hundredths of a second, whatever its own clock.
    const TICK: Duration = Duration::from_millis(10);
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    TICK.saturating_mul(busy_ticks(&text))
}

/// What the first line of /proc/stat counts as busy: all but the fourth and fifth number, idling and waiting; what comes
/// behind the eighth is counted in others.
fn busy_ticks(stat: &str) -> u32 {
    let line = stat.lines().next().unwrap_or_default();
    let numbers = line.split_whitespace().skip(1).take(8).enumerate();
    let busy = numbers.filter(|(at, _)| *at != 3 && *at != 4);
    let ticks: u64 = busy.filter_map(|(_, number)| number.parse::<u64>().ok()).sum();
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// One round of one contender.
pub(crate) async fn drive(contender: &Arc<dyn Contender>, cell: Cell, round: u64, length: Duration) -> Sample {
    let shape = contender.shape(cell.work, cell.tasks);
    let mut tasks = JoinSet::new();
    let mut crew: Vec<Crewman> = (0..shape.tasks)
        .map(|task| Crewman {
            contender: Arc::clone(contender),
            maker: Maker::new(cell.work, cell.rows, task, shape.batch, round),
            task,
            changes: cell.work == Work::Mixed && task >= READERS,
        })
        .collect();
    debug_assert!(cell.work != Work::Mixed || crew.len() == READERS + WRITERS);
    let (begun, cpu) = (Instant::now(), processor_time());
    for member in crew.drain(..) {
        tasks.spawn(member.work_until(begun + length));
    }
    let mut sample = Sample::default();
    while let Some(done) = tasks.join_next().await {
        let done = done.unwrap_or_else(|panic| Tally::failed(panic.to_string()));
        sample.ops += done.ops;
        sample.changes += done.changes;
        sample.errors += done.errors;
        sample.error = sample.error.take().or(done.error);
    }
    sample.seconds = seconds(begun.elapsed());
    sample.cpu_seconds = seconds(processor_time().saturating_sub(cpu));
    sample
}

/// What one task has done.
#[derive(Debug, Default)]
struct Tally {
    ops: u64,
    changes: u64,
    errors: u64,
    error: Option<String>,
}

impl Tally {
    fn failed(why: String) -> Self {
        Self {
            errors: 1,
            error: Some(why),
            ..Self::default()
        }
    }

    fn count(&mut self, op: &Op, answer: crate::Result<u64>) {
        match answer {
            Ok(rows) if rows == op.expected() && matches!(op, Op::Modify(_)) => self.changes += 1,
            Ok(rows) if rows == op.expected() => self.ops += op.weight(),
            Ok(rows) => self.fail(format!("answered {rows} rows and not {}", op.expected())),
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn fail(&mut self, why: String) {
        self.errors += 1;
        self.error.get_or_insert(why);
    }
}

/// One task.
struct Crewman {
    contender: Arc<dyn Contender>,
    maker: Maker,
    task: usize,
    changes: bool,
}

impl Crewman {
    async fn work_until(mut self, end: Instant) -> Tally {
        let mut tally = Tally::default();
        loop {
            let op = if self.changes {
                self.maker.next_change()
            } else {
                self.maker.next()
            };
            let call = Call {
                op: &op,
                task: self.task,
            };
            let answer = self.contender.run(call).await;
            tally.count(&op, answer);
            if Instant::now() >= end {
                return tally;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_wrongly_is_an_error_and_no_operation() {
        let mut tally = Tally::default();
        tally.count(&Op::ReadKey(1), Ok(1));
        tally.count(&Op::ReadKey(1), Ok(0));
        tally.count(&Op::ReadKey(1), Err("database is locked".into()));
        tally.count(&Op::Modify(1), Ok(1));
        assert_eq!((tally.ops, tally.changes, tally.errors), (1, 1, 2));
        assert_eq!(tally.error.as_deref(), Some("answered 0 rows and not 1"));
    }

    #[test]
    fn a_machine_is_busy_unless_it_idles_or_waits() {
        let stat = "cpu  100 20 30 9000 500 6 7 8 1 2\ncpu0 50 10 15 4500 250 3 3 4 1 1\n";
        assert_eq!(busy_ticks(stat), 171);
        assert_eq!(busy_ticks(""), 0);
    }

    #[test]
    fn time_is_per_operation() {
        let sample = Sample {
            ops: 1_000,
            seconds: 0.5,
            cpu_seconds: 0.25,
            ..Sample::default()
        };
        assert_eq!((sample.micros(), sample.cpu_micros()), (Some(500.0), Some(250.0)));
        assert_eq!(Sample::default().micros(), None);
    }
}
