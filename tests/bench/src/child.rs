//! This program run once more, for one contender alone: to see its memory, or to count its instructions.

use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::contender::{self, Call, Place};
use crate::data::Maker;
use crate::drive::{self, Sample, processor_time};
use crate::plan::{Who, Work};
use crate::{Failure, Result};

/// What the child shall do. It travels as JSON in an environment variable: others can read a command
/// line, and a server's address may have a password in it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Errand {
    pub(crate) who: Who,
    pub(crate) place: Place,
    pub(crate) rows: u64,
    pub(crate) task: Task,
}

/// One or the other.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Read the whole table.
    Walk,
    /// Read so many rows by key, one after the other.
    Read(u64),
}

/// Where a child finds its errand.
const VARIABLE: &str = "UNDERCROFT_BENCH_ERRAND";

/// How often the child looks at its memory.
const LOOK: Duration = Duration::from_millis(5);

/// In the child: what it was called for. In the parent there is nothing.
pub(crate) fn errand() -> Result<Option<Errand>> {
    match std::env::var(VARIABLE) {
        Ok(errand) => Ok(Some(serde_json::from_str(&errand)?)),
        Err(_) => Ok(None),
    }
}

/// What it runs on. Where instructions are counted this is one thread: how several hand work to each other differs from
/// run to run.
pub(crate) fn runtime(errand: &Errand) -> Result<tokio::runtime::Runtime> {
    let mut builder = match errand.task {
        Task::Walk => tokio::runtime::Builder::new_multi_thread(),
        Task::Read(_) => tokio::runtime::Builder::new_current_thread(),
    };
    Ok(builder.enable_all().build()?)
}

/// In the child: does it, and prints what came of it.
pub(crate) async fn run(errand: Errand) -> Result<()> {
    let contender = contender::open(errand.who, &errand.place, 0).await?;
    let sample = match errand.task {
        Task::Walk => walk(contender.as_ref(), errand.rows).await?,
        Task::Read(count) => read(contender.as_ref(), errand.rows, count).await?,
    };
    contender.close().await;
    println!("{}", serde_json::to_string(&sample)?);
    Ok(())
}

async fn walk(contender: &dyn contender::Contender, rows: u64) -> Result<Sample> {
    let looks = Arc::new(Mutex::new(vec![private_kib()]));
    let looking = tokio::spawn(look(Arc::clone(&looks)));
    let (begun, cpu) = (Instant::now(), processor_time());
    let found = contender.walk(rows).await?;
    let sample = Sample {
        ops: found,
        seconds: drive::seconds(begun.elapsed()),
        cpu_seconds: drive::seconds(processor_time().saturating_sub(cpu)),
        ..Sample::default()
    };
    looking.abort();
    if found != rows {
        return Err(format!("walked over {found} rows of {rows}, or met a wrong one").into());
    }
    let looks = looks.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Sample {
        peak_kib: looks.iter().max().copied(),
        first_half_kib: looks[..looks.len().div_ceil(2)].iter().max().copied(),
        ..sample
    })
}

/// Looks at this process's memory again and again.
async fn look(looks: Arc<Mutex<Vec<u64>>>) {
    loop {
        tokio::time::sleep(LOOK).await;
        looks.lock().unwrap_or_else(PoisonError::into_inner).push(private_kib());
    }
}

/// What this process has for itself. Mapped files are the system's cache, and not counted.
fn private_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    kib.unwrap_or(0)
}

async fn read(contender: &dyn contender::Contender, rows: u64, count: u64) -> Result<Sample> {
    let mut maker = Maker::new(Work::ReadKey, rows, 0, 1, 1);
    for _ in 0..count {
        let op = maker.next();
        let call = Call { op: &op, task: 0 };
        if contender.run(call).await? != op.expected() {
            return Err("a row was not found".into());
        }
    }
    Ok(Sample {
        ops: count,
        ..Sample::default()
    })
}

/// In the parent: the command that runs the child, behind another program if one is given.
pub(crate) fn command(errand: &Errand, before: &[&str]) -> Result<Command> {
    let me = std::env::current_exe()?;
    let errand = serde_json::to_string(errand)?;
    let mut command = match before.split_first() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments).arg(me);
            command
        }
        None => Command::new(me),
    };
    command.env(VARIABLE, errand);
    Ok(command)
}

/// In the parent: runs the child and reads what it printed.
pub(crate) async fn sample(errand: Errand) -> Result<Sample> {
    let mut command = command(&errand, &[])?;
    let answer = tokio::task::spawn_blocking(move || command.output()).await??;
    if !answer.status.success() {
        return Err(Failure::from(String::from_utf8_lossy(&answer.stderr).trim().to_owned()));
    }
    Ok(serde_json::from_slice(&answer.stdout)?)
}
