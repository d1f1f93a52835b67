//! Counts the instructions of this process for one read by key, with callgrind: unlike time, they come out the same on a
//! busy machine.

use std::process::Stdio;

use crate::arena::Arena;
use crate::child::{self, Errand, Task};
use crate::plan::{Backend, Who, limits};
use crate::results::{Instructions, commit, taken_now};
use crate::{Failure, Result};

/// Whether the database's limits are counted, who else is, and the reads of the two runs: what the longer one takes more is the reads' own, and not the start's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counting {
    limits: bool,
    who: &'static [Who],
    reads: [u64; 2],
}

/// Everybody, as it is reported.
pub(crate) const MANY: Counting = Counting {
    limits: true,
    who: &[Who::Undercroft, Who::Tuned, Who::Newcomer],
    reads: [1_000, 5_000],
};
/// To see that it works.
pub(crate) const FEW: Counting = Counting {
    limits: false,
    who: &[Who::Undercroft],
    reads: [20, 40],
};

/// Counts for everybody on one database, of so many rows. Nothing, with a word about it, where there is no valgrind.
pub(crate) async fn count(
    arena: &mut Arena,
    backend: Backend,
    rows: Option<u64>,
    counting: Counting,
) -> Result<Vec<Instructions>> {
    let found = std::process::Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if found.is_err() {
        eprintln!("instructions were not counted: valgrind is missing (apt-get install valgrind)");
        return Ok(vec![]);
    }
    let rows = rows.unwrap_or(10_000);
    let mut counted = Vec::new();
    let reads = counting.reads;
    let limits = match counting.limits {
        true => limits(backend),
        false => &[],
    };
    for &who in limits.iter().chain(counting.who) {
        let place = arena.place(backend, rows, who, false).await?;
        let mut totals = [0.0; 2];
        for (total, reads) in totals.iter_mut().zip(reads) {
            eprintln!("counting instructions: {}, {reads} reads", who.title(backend));
            let errand = Errand {
                who,
                place: place.clone(),
                rows,
                task: Task::Read(reads),
            };
            *total = total_of(errand).await?;
        }
        counted.push(Instructions {
            backend,
            who,
            per_read: (totals[1] - totals[0]) / (reads[1] - reads[0]) as f64,
            taken: taken_now(),
            commit: commit(),
        });
    }
    arena.clear(backend, rows).await?;
    Ok(counted)
}

async fn total_of(errand: Errand) -> Result<f64> {
    let valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"];
    let mut command = child::command(&errand, &valgrind)?;
    let answer = tokio::task::spawn_blocking(move || command.output()).await??;
    let words = String::from_utf8_lossy(&answer.stderr).into_owned();
    if !answer.status.success() {
        return Err(Failure::from(words));
    }
    collected(&words).ok_or_else(|| format!("callgrind tells no total: {words}").into())
}

/// The number of callgrind's line `==123== Collected : 456`.
fn collected(words: &str) -> Option<f64> {
    let line = words.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(':').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found() {
        let words = "==12== Events    : Ir\n==12== Collected : 23045671\n==12==\n==12== I   refs:      23,045,671";
        assert_eq!(collected(words), Some(23_045_671.0));
        assert_eq!(collected("error: no such file"), None);
    }
}
