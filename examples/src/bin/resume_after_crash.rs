//! Work that survives its workers: one is killed, another stands still for too long, and every step happens once.
//!
//! ```sh
//! cargo run -p examples --bin resume_after_crash                                  # on a SQLite file of its own
//! STORE_URL=postgres://me@localhost/mine cargo run -p examples --bin resume_after_crash
//! ```
//!
//! The program starts itself as its workers, each a process of its own, and stops them with signals (Unix). On a
//! database of yours it leaves the workflow `letters` behind to look at, and replaces it the next time.

#![allow(clippy::print_stdout, reason = "this program talks to a person")]

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::json;
use store::ErrorKind;
use store::prelude::*;

type Outcome<T = ()> = Result<T, Box<dyn StdError + Send + Sync>>;

const STEPS: [&str; 5] = ["gather", "draft", "review", "print", "post"];
/// How long a silent worker keeps its run. Far longer in earnest.
const LEASE: Duration = Duration::from_secs(2);

#[tokio::main]
pub(crate) async fn main() -> Outcome {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let arguments = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    match arguments[..] {
        [] => direct().await,
        ["alone", name, pause] => alone(&Worker::new(name, pause).await?).await,
        ["worker", name, pause] => one_of_many(&Worker::new(name, pause).await?).await,
        _ => Err("this program takes no arguments".into()),
    }
}

// ---- The workers -------------------------------------------------------------------------------------------------------

struct Worker {
    store: Store,
    name: String,
    /// After so many steps it waits for a word, so that the signal finds it between two steps.
    pause: usize,
}

impl Worker {
    async fn new(name: &str, pause: &str) -> Outcome<Self> {
        Ok(Self {
            store: Store::open(DatabaseConfig::load()?).await?,
            name: name.to_owned(),
            pause: pause.parse()?,
        })
    }

    fn says(&self, what: &str) {
        println!("{:<5} {what}", self.name);
    }

    /// Does the steps of a run that are not done: announces each, does it, and records it, before the next.
    async fn finish(&self, run: &WorkflowRun, lease: Option<&Lease>) -> store::Result<()> {
        let workflows = self.store.workflows();
        let done = workflows.get_completed_step_ids(run.id).await?;
        for (n, step) in STEPS.into_iter().enumerate() {
            let step = Key::new(step)?;
            if done.contains(&step) {
                continue;
            }
            if n == self.pause {
                self.says(&format!("turns to {step} …"));
                let _ = std::io::stdin().read_line(&mut String::new());
            }
            let attempt = self.next_attempt(run.id, &step).await?;
            let announced = NewStep {
                attempt,
                ..NewStep::running(step.clone())
            };
            let entry = workflows.create_step_log(run.id, announced, lease).await?;
            tokio::time::sleep(Duration::from_millis(40)).await; // the work itself
            let recorded = StepChange::to(StepStatus::Completed).output(json!({ "by": self.name }));
            workflows.update_step_status(entry.id, recorded, lease).await?;
            self.says(&format!("{}: {step} done", letter(run)));
            if let Some(lease) = lease {
                workflows.heartbeat(lease, LEASE).await?;
            }
        }
        let end = RunChange::to(RunStatus::Completed);
        workflows.update_run_status(run.id, end, lease).await?;
        Ok(())
    }

    /// 1, or one more when somebody began the step and did not come to its end.
    async fn next_attempt(&self, run: WorkflowRunId, step: &Key) -> store::Result<i64> {
        let log = self
            .store
            .workflows()
            .list_step_logs(run, PageRequest::default())
            .await?;
        let earlier = log.items.iter().filter(|entry| entry.step_id == *step);
        Ok(earlier.map(|entry| entry.attempt).max().unwrap_or(0) + 1)
    }

    async fn letters(&self) -> Outcome<Workflow> {
        let (workflows, name) = (self.store.workflows(), WorkflowName::new("letters")?);
        let found = workflows.get_definition_by_name(&name, Owner::Global).await?;
        found.ok_or_else(|| "nobody has saved the workflow".into())
    }
}

fn letter(run: &WorkflowRun) -> &str {
    run.context["letter"].as_str().unwrap_or("a letter")
}

/// A program that is the only one: what it finds running when it starts, it left running itself.
async fn alone(worker: &Worker) -> Outcome {
    let workflows = worker.store.workflows();
    let letters = worker.letters().await?;
    let left = workflows.list_crashed_runs(PageRequest::default()).await?.items;
    let run = match left.into_iter().find(|run| run.workflow_id == letters.id) {
        Some(run) => {
            let done = workflows.get_completed_step_ids(run.id).await?.len();
            worker.says(&format!(
                "finds {} with {done} of {} steps done",
                letter(&run),
                STEPS.len()
            ));
            run
        }
        None => {
            let new = NewRun {
                context: json!({ "letter": "letter 1" }),
                ..NewRun::new(letters.id)
            };
            let run = workflows.create_run(new).await?;
            let begin = RunChange::to(RunStatus::Running);
            workflows.update_run_status(run.id, begin, None).await?
        }
    };
    Ok(worker.finish(&run, None).await?)
}

/// One of several workers: takes one run after the other until all are done.
async fn one_of_many(worker: &Worker) -> Outcome {
    let workflows = worker.store.workflows();
    let letters = worker.letters().await?.id;
    let name = Key::new(worker.name.clone())?;
    loop {
        for ClaimedRun { run, lease } in workflows.claim_runs(&name, 1, LEASE).await? {
            let how = if lease.epoch == 1 { "takes" } else { "takes over" };
            worker.says(&format!("{how} {}", letter(&run)));
            match worker.finish(&run, Some(&lease)).await {
                Err(error) if error.kind() == ErrorKind::Fenced => {
                    worker.says(&format!("is fenced: {} has another worker by now", letter(&run)));
                    return Ok(());
                }
                outcome => outcome?,
            }
        }
        let runs = workflows.list_runs(letters, PageRequest::default()).await?.items;
        if runs.iter().all(|run| run.status.is_terminal()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

// ---- The director ------------------------------------------------------------------------------------------------------

async fn direct() -> Outcome {
    let place = Place::choose();
    let store = Store::open(DatabaseConfig::loader().set("url", &place.url).load()?).await?;
    println!("On {}\n", store.config().describe());
    let letters = fresh_workflow(&store).await?;
    killed_between_two_steps(&place)?;
    every_step_happened_once(&store, letters).await?;
    stopped_past_its_lease(&store, &place, letters).await?;
    every_step_happened_once(&store, letters).await?;
    store.close().await?;
    Ok(())
}

async fn fresh_workflow(store: &Store) -> Outcome<WorkflowId> {
    let name = WorkflowName::new("letters")?;
    let workflows = store.workflows();
    if let Some(earlier) = workflows.get_definition_by_name(&name, Owner::Global).await? {
        workflows.purge_definition(earlier.id).await?;
    }
    let draft = WorkflowDraft::new(name, json!({ "steps": STEPS }));
    Ok(workflows.save_definition(draft).await?.id)
}

fn killed_between_two_steps(place: &Place) -> Outcome {
    println!("One worker, killed between two steps");
    let mut ada = Started::new(place, ["alone", "ada", "2"])?;
    ada.speaks_until(Some("turns to"))?;
    ada.child.kill()?; // SIGKILL
    ada.child.wait()?;
    println!("  —     SIGKILL: ada is gone");
    let mut ben = Started::new(place, ["alone", "ben", "never"])?;
    ben.speaks_until(None)?;
    ben.ended_well()
}

async fn stopped_past_its_lease(store: &Store, place: &Place, letters: WorkflowId) -> Outcome {
    println!("\nThree workers, one of them stopped past its lease");
    for n in 2..=4 {
        let new = NewRun {
            context: json!({ "letter": format!("letter {n}") }),
            ..NewRun::new(letters)
        };
        store.workflows().create_run(new).await?;
    }
    let mut ada = Started::new(place, ["worker", "ada", "1"])?;
    ada.speaks_until(Some("turns to"))?;
    ada.signal("STOP")?;
    println!("  —     SIGSTOP: ada stands still");

    let (speak, spoken) = channel();
    let ben = Started::new(place, ["worker", "ben", "never"])?.speaks_to(speak.clone())?;
    let cleo = Started::new(place, ["worker", "cleo", "never"])?.speaks_to(speak)?;
    say_all(&spoken);
    ben.ended_well()?;
    cleo.ended_well()?;

    ada.signal("CONT")?;
    println!("  —     SIGCONT: ada goes on where she stood");
    ada.wake()?;
    ada.speaks_until(None)?;
    ada.ended_well()
}

fn say_all(spoken: &Receiver<String>) {
    for line in spoken {
        println!("  {line}");
    }
}

/// Reads the log of every run and shows who did what.
async fn every_step_happened_once(store: &Store, letters: WorkflowId) -> Outcome {
    let mut runs = store
        .workflows()
        .list_runs(letters, PageRequest::default())
        .await?
        .items;
    runs.reverse();
    println!();
    for run in &runs {
        let log = store.workflows().list_step_logs(run.id, PageRequest::default()).await?;
        let mut times: BTreeMap<&str, u32> = BTreeMap::new();
        let mut line = format!("  {}:", letter(run));
        for entry in &log.items {
            *times.entry(entry.step_id.as_str()).or_default() += 1;
            let by = entry.output.as_ref().and_then(|output| output["by"].as_str());
            line += &format!("  {} {}", entry.step_id, by.unwrap_or("?"));
        }
        println!("{line}");
        let once = STEPS.iter().all(|step| times.get(step) == Some(&1));
        let done = log.items.iter().all(|entry| entry.status == StepStatus::Completed);
        if !(once && done && run.status == RunStatus::Completed) {
            return Err(format!("{} went wrong: {times:?}", letter(run)).into());
        }
    }
    println!("  Every step happened once.");
    Ok(())
}

/// Where the workers meet: `STORE_URL`, or a SQLite file that is gone afterwards.
struct Place {
    url: String,
    directory: Option<PathBuf>,
}

impl Place {
    fn choose() -> Self {
        if let Ok(url) = std::env::var("STORE_URL") {
            return Self { url, directory: None };
        }
        let directory = std::env::temp_dir().join(format!("undercroft-letters-{}", std::process::id()));
        Self {
            url: format!("sqlite:{}", directory.join("letters.db").display()),
            directory: Some(directory),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}

/// A worker's process.
struct Started {
    child: Child,
    said: Option<BufReader<ChildStdout>>,
}

impl Started {
    fn new(place: &Place, [role, name, pause]: [&str; 3]) -> Outcome<Self> {
        let pause = if pause == "never" { "99" } else { pause };
        let mut child = Command::new(std::env::current_exe()?)
            .args([role, name, pause])
            .env("STORE_URL", &place.url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = child.stdout.take().map(BufReader::new);
        Ok(Self { child, said })
    }

    /// Passes on what it says, up to a line with these words or to its end.
    fn speaks_until(&mut self, words: Option<&str>) -> Outcome {
        let said = self.said.as_mut().ok_or("its output is read elsewhere")?;
        for line in said.lines() {
            let line = line?;
            println!("  {line}");
            if words.is_some_and(|words| line.contains(words)) {
                break;
            }
        }
        Ok(())
    }

    /// Passes on what it says from a thread of its own.
    fn speaks_to(mut self, listener: Sender<String>) -> Outcome<Self> {
        let said = self.said.take().ok_or("its output is read elsewhere")?;
        std::thread::spawn(move || {
            let mut lines = said.lines().map_while(Result::ok);
            lines.try_for_each(|line| listener.send(line))
        });
        Ok(self)
    }

    fn signal(&self, signal: &str) -> Outcome {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status()?;
        if sent.success() {
            return Ok(());
        }
        Err(format!("kill -s {signal} {id} failed").into())
    }

    /// Gives the word that a pausing worker waits for.
    fn wake(&mut self) -> Outcome {
        let word = self.child.stdin.as_mut().ok_or("nobody listens")?;
        Ok(writeln!(word)?)
    }

    fn ended_well(mut self) -> Outcome {
        let status = self.child.wait()?;
        if status.success() {
            return Ok(());
        }
        Err(format!("a worker ended with {status}").into())
    }
}

impl Drop for Started {
    /// Nobody is left behind when this program gives up.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
