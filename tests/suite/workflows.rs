//! Workflows: several programs on one database, held time, kills, hand-edited rows.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::ConnectionTrait;
use serde_json::json;
use store::prelude::*;
use store::testkit::{Backend, TestDatabase};
use store::{Clock, ErrorKind};

use crate::listen::Listener;
use crate::support::{a_bot, key, open, refused};

store::testkit::tests![
    two_stores_with_eight_claimers_each_claim_every_run_once,
    leases_run_by_the_stores_clock,
    a_stale_holder_waits_for_a_claim_under_way_and_is_fenced,
    nothing_of_a_stale_holders_lands_after_a_claim,
    every_acknowledged_checkpoint_survives_kill_9,
    checkpoints_are_durable_whatever_the_rest_is_set_to,
    workflows_work_inside_a_transaction,
    a_deleted_bots_workflows_come_back_with_a_rollback,
    a_hand_edited_status_is_corrupt,
    the_database_holds_the_rules_too,
];

const LONG: Duration = Duration::from_secs(600);

async fn a_workflow(store: &Store) -> WorkflowId {
    let name = WorkflowName::new("night watch").unwrap();
    let draft = WorkflowDraft::new(name, json!(["look", "listen"]));
    store.workflows().save_definition(draft).await.unwrap().id
}

async fn a_run(store: &Store, workflow: WorkflowId) -> WorkflowRunId {
    store.workflows().create_run(NewRun::new(workflow)).await.unwrap().id
}

/// Two stores are to each other as two programs are: they share nothing but the database.
async fn two_stores_with_eight_claimers_each_claim_every_run_once(db: TestDatabase) {
    let stores = [open(&db).await, open(&db).await];
    let workflow = a_workflow(&stores[0]).await;
    for _ in 0..100 {
        a_run(&stores[0], workflow).await;
    }
    let claimers = (0..16).map(|n| tokio::spawn(claim_all(stores[n % 2].clone(), n)));
    let mut holder: HashMap<WorkflowRunId, Key> = HashMap::new();
    for claimer in claimers.collect::<Vec<_>>() {
        for claimed in claimer.await.unwrap() {
            let worker = claimed.lease.worker;
            let before = holder.insert(claimed.run.id, worker.clone());
            assert_eq!(before, None, "{worker} got a run that somebody had");
        }
    }
    assert_eq!(holder.len(), 100);
    for (run, worker) in holder {
        let run = stores[1].workflows().get_run(run).await.unwrap().unwrap();
        assert_eq!((run.leased.unwrap().worker, run.lease_epoch), (worker, 1));
    }
}

async fn claim_all(store: Store, n: usize) -> Vec<ClaimedRun> {
    let worker = key(&format!("worker-{n}"));
    let mut all = vec![];
    loop {
        match store.workflows().claim_runs(&worker, 2, LONG).await.unwrap() {
            none if none.is_empty() => return all,
            some => all.extend(some),
        }
    }
}

/// A clock that stands until it is set forward.
#[derive(Clone)]
struct Held(Arc<Mutex<DateTime<Utc>>>);

impl Held {
    fn at(instant: &str) -> Self {
        Self(Arc::new(Mutex::new(instant.parse().unwrap())))
    }

    fn forward(&self, seconds: i64) {
        *self.0.lock().unwrap() += TimeDelta::seconds(seconds);
    }
}

impl Clock for Held {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

async fn leases_run_by_the_stores_clock(db: TestDatabase) {
    let clock = Held::at("2031-05-01T00:00:00Z");
    let store = Store::builder(db.config()).clock(clock.clone()).open().await.unwrap();
    let run = a_run(&store, a_workflow(&store).await).await;
    let (ada, bob) = (key("ada"), key("bob"));
    let minute = Duration::from_secs(60);
    let workflows = store.workflows();

    let claimed = workflows.claim_runs(&ada, 1, minute).await.unwrap();
    let until = claimed[0].run.leased.as_ref().unwrap().expires_at;
    assert_eq!(until, clock.now() + TimeDelta::seconds(60));
    clock.forward(59);
    assert_eq!(workflows.claim_runs(&bob, 1, minute).await.unwrap(), []);
    assert!(
        workflows
            .list_crashed_runs(PageRequest::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    refused(workflows.mark_crashed(run, None).await, ErrorKind::NotReady, None);
    let until = workflows.heartbeat(&claimed[0].lease, minute).await.unwrap();
    assert_eq!(until, clock.now() + TimeDelta::seconds(60));
    clock.forward(59);
    assert_eq!(workflows.claim_runs(&bob, 1, minute).await.unwrap(), []);
    clock.forward(1);
    let crashed = workflows.list_crashed_runs(PageRequest::default()).await.unwrap();
    assert_eq!(crashed.items.len(), 1);
    let taken = workflows.claim_runs(&bob, 1, minute).await.unwrap();
    assert_eq!((taken[0].run.id, taken[0].lease.epoch), (run, 2));
    let late = workflows.heartbeat(&claimed[0].lease, minute).await;
    refused(late, ErrorKind::Fenced, None);
}

/// The claim's row is locked and its new epoch not to be seen yet: whoever only looked would still be right, and write.
async fn a_stale_holder_waits_for_a_claim_under_way_and_is_fenced(db: TestDatabase) {
    let (old, new) = (open(&db).await, open(&db).await);
    let run = a_run(&old, a_workflow(&old).await).await;
    let lease = claim_one(&old, "old", Duration::from_millis(1)).await;
    let step = NewStep::running(key("look"));
    let step = old.workflows().create_step_log(run, step, Some(&lease)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;

    let claim = new.begin().await.unwrap();
    let claimed = claim.workflows().claim_runs(&key("new"), 1, LONG).await.unwrap();
    assert_eq!(claimed.len(), 1);
    let (workflows, held) = (old.workflows(), lease.clone());
    let logs = tokio::spawn(async move {
        let step = NewStep::running(key("listen"));
        workflows.create_step_log(run, step, Some(&held)).await.map(drop)
    });
    let (workflows, held) = (old.workflows(), lease.clone());
    let records = tokio::spawn(async move {
        let done = StepChange::to(StepStatus::Completed);
        workflows.update_step_status(step.id, done, Some(&held)).await.map(drop)
    });
    let (workflows, held) = (old.workflows(), lease);
    let ends = tokio::spawn(async move {
        let end = RunChange::to(RunStatus::Completed);
        workflows.update_run_status(run, end, Some(&held)).await.map(drop)
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    claim.commit().await.unwrap();
    for write in [logs, records, ends] {
        refused(write.await.unwrap(), ErrorKind::Fenced, None);
    }
    let log = steps(&new, run).await;
    assert_eq!(log, BTreeMap::from([(key("look"), StepStatus::Running)]));
}

/// What the new holder sees when its claim returns is all that the old one will ever have written.
async fn nothing_of_a_stale_holders_lands_after_a_claim(db: TestDatabase) {
    let (old, new) = (open(&db).await, open(&db).await);
    let workflow = a_workflow(&old).await;
    let mut fenced = 0;
    for _ in 0..15 {
        let run = a_run(&old, workflow).await;
        let lease = claim_one(&old, "old", Duration::from_millis(1)).await;
        let writers = (0..4).map(|n| tokio::spawn(write_until_fenced(old.clone(), lease.clone(), n)));
        let writers = writers.collect::<Vec<_>>();
        tokio::time::sleep(Duration::from_millis(10)).await;
        claim_one(&new, "new", LONG).await;
        let seen = steps(&new, run).await;
        for writer in writers {
            fenced += writer.await.unwrap();
        }
        assert_eq!(steps(&new, run).await, seen);
    }
    assert_eq!(fenced, 60, "every writer was stopped by the fence");
}

async fn claim_one(store: &Store, worker: &str, lease: Duration) -> Lease {
    let mut claimed = store.workflows().claim_runs(&key(worker), 1, lease).await.unwrap();
    claimed.remove(0).lease
}

async fn write_until_fenced(store: Store, lease: Lease, writer: u32) -> u32 {
    for n in 0.. {
        let step = NewStep::running(key(&format!("{writer}-{n}")));
        let made = match store.workflows().create_step_log(lease.run, step, Some(&lease)).await {
            Ok(made) => made,
            Err(error) => return refusal(&error),
        };
        let done = StepChange::to(StepStatus::Completed);
        if let Err(error) = store.workflows().update_step_status(made.id, done, Some(&lease)).await {
            return refusal(&error);
        }
    }
    0
}

fn refusal(error: &Error) -> u32 {
    assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
    1
}

async fn steps(store: &Store, run: WorkflowRunId) -> BTreeMap<Key, StepStatus> {
    let mut steps = BTreeMap::new();
    let mut request = PageRequest::first(PageRequest::MAX);
    loop {
        let page = store.workflows().list_step_logs(run, request).await.unwrap();
        steps.extend(page.items.into_iter().map(|step| (step.step_id, step.status)));
        match page.next {
            Some(cursor) => request = PageRequest::after(cursor, PageRequest::MAX),
            None => return steps,
        }
    }
}

/// Names the database to a process that writes checkpoints until it is killed.
const CHECKPOINTS: &str = "STORE_TEST_CHECKPOINTS";
const WRITERS: usize = 4;

/// Writes checkpoints in place of running the suite, when this process was started for that.
pub(crate) fn checkpoints() -> Option<ExitCode> {
    let url = std::env::var(CHECKPOINTS).ok()?;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let config = DatabaseConfig::loader().no_file().no_environment().set("url", url);
        let store = Store::open(config.load().unwrap()).await.unwrap();
        let writers = (0..WRITERS).map(|_| tokio::spawn(checkpoint_for_ever(store.clone())));
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
    });
    Some(ExitCode::SUCCESS)
}

/// Says what is stored as soon as the call has returned.
async fn checkpoint_for_ever(store: Store) {
    let claimed = store.workflows().claim_runs(&key("writer"), 1, LONG).await.unwrap();
    let (run, lease) = (&claimed[0].run, &claimed[0].lease);
    for n in 0.. {
        let step = NewStep::running(key(&format!("step-{n}")));
        let step = store
            .workflows()
            .create_step_log(run.id, step, Some(lease))
            .await
            .unwrap();
        let done = StepChange::to(StepStatus::Completed);
        store
            .workflows()
            .update_step_status(step.id, done, Some(lease))
            .await
            .unwrap();
        println!("stored {} step {n}", run.id);
        let checkpoint = RunChange::to(RunStatus::Running).context(json!({ "n": n }));
        store
            .workflows()
            .update_run_status(run.id, checkpoint, Some(lease))
            .await
            .unwrap();
        println!("stored {} context {n}", run.id);
    }
}

async fn every_acknowledged_checkpoint_survives_kill_9(db: TestDatabase) {
    let store = open(&db).await;
    let workflow = a_workflow(&store).await;
    store.close().await.unwrap();
    for _ in 0..6 {
        let store = open(&db).await;
        for _ in 0..WRITERS {
            a_run(&store, workflow).await;
        }
        store.close().await.unwrap();
        let acknowledged = kill_at_random(&db);
        let store = open(&db).await;
        for ((run, what), n) in acknowledged {
            let n = usize::try_from(n).unwrap();
            match what.as_str() {
                "step" => {
                    let done = store.workflows().get_completed_step_ids(run).await.unwrap();
                    assert!(
                        done.len() > n,
                        "step {n} of {run} was acknowledged; {} are there",
                        done.len()
                    );
                }
                _ => {
                    let run = store.workflows().get_run(run).await.unwrap().unwrap();
                    assert!(run.context["n"].as_u64() >= Some(n as u64), "context {n}: {run:?}");
                }
            }
        }
    }
}

/// Runs the writer, kills it after a random number of its lines and a random moment, and answers the last number that it
/// acknowledged for each run and kind of checkpoint.
fn kill_at_random(db: &TestDatabase) -> HashMap<(WorkflowRunId, String), u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(CHECKPOINTS, db.url())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said: Vec<String> = lines.by_ref().take(20 + random_below(60)).map(Result::unwrap).collect();
    std::thread::sleep(Duration::from_micros(random_below(3_000) as u64));
    kill(&mut child);
    said.extend(lines.map_while(Result::ok));
    assert!(said.len() >= 20, "it ended by itself: {said:?}");
    let parsed = said.iter().map(|line| {
        let words: Vec<_> = line.split(' ').collect();
        let [_, run, what, n] = words[..] else { panic!("{line}") };
        ((run.parse().unwrap(), what.to_owned()), n.parse().unwrap())
    });
    parsed.collect()
}

fn kill(child: &mut Child) {
    // SIGKILL on Unix.
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
}

fn random_below(bound: usize) -> usize {
    let random = RandomState::new().build_hasher().finish();
    usize::try_from(random % bound as u64).unwrap()
}

/// With `synchronous = off` a commit is not synced to the disk; the commits of checkpoints are, and only they.
async fn checkpoints_are_durable_whatever_the_rest_is_set_to(db: TestDatabase) {
    let mut config = db.config();
    config.sqlite.synchronous = store::config::Synchronous::Off;
    let store = Store::open(config).await.unwrap();
    let listener = Listener::new();
    let settings = |heard: Vec<String>| {
        heard
            .into_iter()
            .filter(|sql| sql.contains("PRAGMA"))
            .collect::<Vec<_>>()
    };
    let workflow = a_workflow(&store).await;
    assert_eq!(settings(listener.take()), [""; 0]);

    let run = a_run(&store, workflow).await;
    let heard = listener.take();
    // Raised for the one write, and set back.
    let raised: &[&str] = match db.backend() {
        Backend::Sqlite => &["PRAGMA synchronous = FULL", "PRAGMA synchronous = OFF"],
        Backend::Postgres => &[],
    };
    assert_eq!(settings(heard.clone()), raised);
    let insert = heard.iter().position(|sql| sql.contains("INSERT INTO")).unwrap();
    assert!(
        heard[..insert].iter().any(|sql| sql.contains("FULL")) || raised.is_empty(),
        "before the write: {heard:?}"
    );

    store.workflows().claim_runs(&key("me"), 1, LONG).await.unwrap();
    let heard = settings(listener.take());
    assert!(
        heard.is_empty() == raised.is_empty() && heard.chunks(2).all(|each| each == raised),
        "{heard:?}"
    );
    store.bots().create(a_bot("owl")).await.unwrap();
    assert_eq!(settings(listener.take()), [""; 0]);
    assert!(store.workflows().get_run(run).await.unwrap().is_some());
}

async fn workflows_work_inside_a_transaction(db: TestDatabase) {
    let store = open(&db).await;
    let run = a_run(&store, a_workflow(&store).await).await;
    let claimed = store
        .transaction(|tx| async move {
            let claimed = tx.workflows().claim_runs(&key("ada"), 1, LONG).await?.remove(0);
            let step = NewStep::running(key("look"));
            tx.workflows().create_step_log(run, step, Some(&claimed.lease)).await?;
            Ok(claimed)
        })
        .await
        .unwrap();
    assert_eq!(steps(&store, run).await.len(), 1);
    let stale = Lease {
        epoch: 0,
        ..claimed.lease
    };
    let stale = &stale;
    let outcome = store
        .transaction(|tx| async move {
            tx.workflows().create_run(NewRun::new(claimed.run.workflow_id)).await?;
            let end = RunChange::to(RunStatus::Completed);
            tx.workflows().update_run_status(run, end, Some(stale)).await
        })
        .await;
    refused(outcome, ErrorKind::Fenced, None);
    let first = PageRequest::default();
    let runs = store
        .workflows()
        .list_runs(claimed.run.workflow_id, first)
        .await
        .unwrap();
    assert_eq!(runs.items.len(), 1, "nothing of a fenced transaction is kept");
}

async fn a_deleted_bots_workflows_come_back_with_a_rollback(db: TestDatabase) {
    let store = open(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap().id;
    let draft = WorkflowDraft::new(WorkflowName::new("a").unwrap(), json!({})).owned_by(Owner::Bot(bot));
    let workflow = store.workflows().save_definition(draft).await.unwrap().id;
    let run = a_run(&store, workflow).await;
    let tx = store.begin().await.unwrap();
    tx.bots().delete(bot).await.unwrap();
    assert_eq!(tx.workflows().get_run(run).await.unwrap(), None);
    tx.rollback().await;
    assert!(store.bots().get(bot).await.unwrap().is_some());
    assert!(store.workflows().get_run(run).await.unwrap().is_some());
    store.bots().delete(bot).await.unwrap();
    assert_eq!(store.workflows().get_definition(workflow).await.unwrap(), None);
}

/// Runs SQL behind the store's back, with the named CHECK of a table out of the way.
async fn edit(db: &TestDatabase, table: &str, check: &str, sql: &str) {
    let writer = db.config().connect().await.unwrap().writer;
    let allow = match db.backend() {
        Backend::Sqlite => "PRAGMA ignore_check_constraints = ON".to_owned(),
        Backend::Postgres => format!("ALTER TABLE {table} DROP CONSTRAINT {check}"),
    };
    writer.execute_unprepared(&allow).await.unwrap();
    writer.execute_unprepared(sql).await.unwrap();
}

async fn a_hand_edited_status_is_corrupt(db: TestDatabase) {
    let store = open(&db).await;
    let run = a_run(&store, a_workflow(&store).await).await;
    let step = NewStep::new(key("look"));
    let step = store.workflows().create_step_log(run, step, None).await.unwrap();
    for table in ["workflow_runs", "workflow_steps"] {
        let update = format!("UPDATE {table} SET status = 'Done'");
        edit(&db, table, &format!("ck_{table}_status"), &update).await;
    }
    let error = refused(store.workflows().get_run(run).await, ErrorKind::Corrupt, None);
    for part in ["table workflow_runs", &run.to_string(), "`status`", "`Done`"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let page = store.workflows().list_step_logs(run, PageRequest::default()).await;
    let error = refused(page, ErrorKind::Corrupt, None);
    for part in ["table workflow_steps", &step.id.to_string(), "`status`", "`Done`"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

/// What the contract refuses, the tables refuse as well.
async fn the_database_holds_the_rules_too(db: TestDatabase) {
    let store = open(&db).await;
    let run = a_run(&store, a_workflow(&store).await).await;
    store
        .workflows()
        .create_step_log(run, NewStep::new(key("look")), None)
        .await
        .unwrap();
    let writer = db.config().connect().await.unwrap().writer;
    for (sql, check) in [
        ("UPDATE workflows SET owner_type = 'nobody'", "ck_workflows_owner_type"),
        ("UPDATE workflows SET owner_type = 'bot'", "ck_workflows_owner"),
        ("UPDATE workflow_runs SET status = 'done'", "ck_workflow_runs_status"),
        ("UPDATE workflow_runs SET lease_owner = 'ada'", "ck_workflow_runs_lease"),
        (
            "UPDATE workflow_runs SET lease_epoch = -1",
            "ck_workflow_runs_lease_epoch",
        ),
        ("UPDATE workflow_steps SET status = 'done'", "ck_workflow_steps_status"),
        ("UPDATE workflow_steps SET attempt = 0", "ck_workflow_steps_attempt"),
    ] {
        let error = writer.execute_unprepared(sql).await.unwrap_err().to_string();
        assert!(error.contains(check), "{sql}: {error}");
    }
}
