//! Leases: many workers, and runs whose worker is lost. What needs a clock of its own or several programs is in the
//! project's own suite.

use std::collections::HashMap;
use std::time::Duration;

use super::workflows::{a_run, saved};
use super::{World, cases, key, nowhere, pages, refused};
use crate::ErrorKind;
use crate::contract::*;

cases![
    a_claimed_run_is_running_and_its_workers,
    a_claim_takes_the_oldest_first_and_no_more_than_wanted,
    only_pending_runs_and_left_ones_are_claimed,
    a_run_whose_lease_ran_out_is_claimed_again_with_the_next_epoch,
    sixteen_claimers_get_every_run_exactly_once,
    a_heartbeat_keeps_a_run,
    a_stale_holder_is_fenced_from_every_write,
    the_same_worker_is_fenced_under_its_earlier_epoch,
    a_lease_that_ran_out_untaken_still_writes,
    giving_a_run_up_releases_its_lease,
    cancelling_a_run_fences_its_worker,
    a_lease_of_another_run_is_refused,
    crashed_runs_are_those_that_run_and_that_nobody_holds,
    a_crashed_run_is_marked_and_ends,
    a_run_that_somebody_holds_is_not_marked_as_crashed,
    limits_and_leases_out_of_range_are_refused,
];

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(1);

/// Claims one run.
async fn claim(store: &impl World, worker: &str, lease: Duration) -> ClaimedRun {
    let mut claimed = store.workflows().claim_runs(&key(worker), 1, lease).await.unwrap();
    assert_eq!(claimed.len(), 1);
    claimed.remove(0)
}

/// Claims one run for so short a time that it is over.
async fn claim_and_lose(store: &impl World, worker: &str) -> ClaimedRun {
    let claimed = claim(store, worker, SHORT).await;
    tokio::time::sleep(SHORT * 3).await;
    claimed
}

async fn a_claimed_run_is_running_and_its_workers<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    let claimed = claim(&store, "ada", LONG).await;
    let leased = claimed.run.leased.clone().unwrap();
    assert_eq!(leased.worker, key("ada"));
    assert!(leased.expires_at > run.started_at + chrono::TimeDelta::seconds(599));
    let expected = WorkflowRun {
        status: RunStatus::Running,
        leased: Some(leased),
        lease_epoch: 1,
        ..run.clone()
    };
    assert_eq!(claimed.run, expected);
    let lease = Lease {
        run: run.id,
        worker: key("ada"),
        epoch: 1,
    };
    assert_eq!(claimed.lease, lease);
    assert!(lease.holds(&claimed.run));
    assert_eq!(store.workflows().get_run(run.id).await.unwrap(), Some(claimed.run));
}

async fn a_claim_takes_the_oldest_first_and_no_more_than_wanted<W: World>(store: W) {
    let workflow = saved(&store, "a").await.id;
    let mut made = vec![];
    for _ in 0..5 {
        made.push(store.workflows().create_run(NewRun::new(workflow)).await.unwrap().id);
    }
    let mut got = vec![];
    for wanted in [2, 2, 2, 2] {
        let claimed = store.workflows().claim_runs(&key("ada"), wanted, LONG).await.unwrap();
        assert!(claimed.len() <= 2);
        got.extend(claimed.iter().map(|claimed| claimed.run.id));
    }
    assert_eq!(got, made);
}

async fn only_pending_runs_and_left_ones_are_claimed<W: World>(store: W) {
    let workflow = saved(&store, "a").await.id;
    for status in RunStatus::ALL.iter().filter(|status| **status != RunStatus::Pending) {
        let run = store.workflows().create_run(NewRun::new(workflow)).await.unwrap();
        // Running without a lease: a program that takes none is at it.
        for status in [RunStatus::Running, *status] {
            let change = RunChange::to(status);
            store.workflows().update_run_status(run.id, change, None).await.unwrap();
        }
    }
    let none = store.workflows().claim_runs(&key("ada"), 10, LONG).await.unwrap();
    assert_eq!(none, []);
    let run = store.workflows().create_run(NewRun::new(workflow)).await.unwrap();
    assert_eq!(claim(&store, "ada", LONG).await.run.id, run.id);
    assert_eq!(store.workflows().claim_runs(&key("bob"), 10, LONG).await.unwrap(), []);
}

async fn a_run_whose_lease_ran_out_is_claimed_again_with_the_next_epoch<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    a_run(&store, "pending").await;
    claim_and_lose(&store, "ada").await;
    let second = claim(&store, "bob", LONG).await;
    assert_eq!(
        (second.run.id, second.lease.epoch),
        (run.id, 2),
        "what was left comes first"
    );
    assert_eq!(second.run.leased.as_ref().unwrap().worker, key("bob"));
}

async fn sixteen_claimers_get_every_run_exactly_once<W: World>(store: W) {
    let workflow = saved(&store, "a").await.id;
    for _ in 0..60 {
        store.workflows().create_run(NewRun::new(workflow)).await.unwrap();
    }
    let claimers = (0..16).map(|n| claim_all(store.clone(), format!("worker-{n}")));
    let claimed = futures_util::future::join_all(claimers).await.concat();
    let mut times: HashMap<WorkflowRunId, u32> = HashMap::new();
    for claimed in &claimed {
        assert_eq!(claimed.lease.epoch, 1);
        *times.entry(claimed.run.id).or_default() += 1;
    }
    assert_eq!(times.len(), 60);
    assert!(times.values().all(|times| *times == 1), "{times:?}");
}

async fn claim_all(store: impl World, worker: String) -> Vec<ClaimedRun> {
    let mut all = vec![];
    loop {
        let some = store.workflows().claim_runs(&key(&worker), 3, LONG).await.unwrap();
        assert!(some.len() <= 3);
        if some.is_empty() {
            return all;
        }
        all.extend(some);
    }
}

async fn a_heartbeat_keeps_a_run<W: World>(store: W) {
    a_run(&store, "a").await;
    let claimed = claim_and_lose(&store, "ada").await;
    let until = store.workflows().heartbeat(&claimed.lease, LONG).await.unwrap();
    assert!(until > claimed.run.leased.unwrap().expires_at);
    assert_eq!(store.workflows().claim_runs(&key("bob"), 1, LONG).await.unwrap(), []);
    let run = store.workflows().get_run(claimed.run.id).await.unwrap().unwrap();
    assert_eq!(run.leased.unwrap().expires_at, until);
    let gone = Lease {
        run: nowhere(),
        ..claimed.lease
    };
    refused(
        store.workflows().heartbeat(&gone, LONG).await,
        ErrorKind::NotFound,
        None,
    );
}

async fn a_stale_holder_is_fenced_from_every_write<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    let ada = claim_and_lose(&store, "ada").await.lease;
    let step = NewStep::running(key("one"));
    let one = store
        .workflows()
        .create_step_log(run.id, step, Some(&ada))
        .await
        .unwrap();
    let bob = claim(&store, "bob", LONG).await.lease;
    assert_fenced(&store, &ada, &one).await;
    let done = StepChange::to(StepStatus::Completed);
    store
        .workflows()
        .update_step_status(one.id, done, Some(&bob))
        .await
        .unwrap();
    let two = NewStep::running(key("two"));
    store
        .workflows()
        .create_step_log(run.id, two, Some(&bob))
        .await
        .unwrap();
    let end = RunChange::to(RunStatus::Completed);
    store
        .workflows()
        .update_run_status(run.id, end, Some(&bob))
        .await
        .unwrap();
    // After the end as well, and the right holder's lease has ended too.
    assert_fenced(&store, &ada, &one).await;
    assert_fenced(&store, &bob, &one).await;
}

/// No write of this lease's changes anything.
async fn assert_fenced(store: &impl World, lease: &Lease, step: &WorkflowStep) {
    let workflows = store.workflows();
    let before = snapshot(store, lease.run).await;
    let run = RunChange::to(RunStatus::Running).error("stale");
    let outcome = workflows.update_run_status(lease.run, run, Some(lease)).await;
    let error = refused(outcome, ErrorKind::Fenced, None);
    assert!(!error.is_retryable());
    let change = StepChange::to(StepStatus::Failed).error("stale");
    let outcome = workflows.update_step_status(step.id, change, Some(lease)).await;
    refused(outcome, ErrorKind::Fenced, None);
    let new = NewStep::new(key("stale"));
    let outcome = workflows.create_step_log(lease.run, new, Some(lease)).await;
    refused(outcome, ErrorKind::Fenced, None);
    refused(workflows.heartbeat(lease, LONG).await, ErrorKind::Fenced, None);
    assert_eq!(snapshot(store, lease.run).await, before);
}

async fn snapshot(store: &impl World, run: WorkflowRunId) -> (Option<WorkflowRun>, Vec<WorkflowStep>) {
    let steps = store.workflows().list_step_logs(run, PageRequest::default()).await;
    (store.workflows().get_run(run).await.unwrap(), steps.unwrap().items)
}

async fn the_same_worker_is_fenced_under_its_earlier_epoch<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    let first = claim_and_lose(&store, "ada").await.lease;
    let step = NewStep::running(key("s"));
    let step = store
        .workflows()
        .create_step_log(run.id, step, Some(&first))
        .await
        .unwrap();
    let second = claim(&store, "ada", LONG).await.lease;
    assert_eq!(second.epoch, 2);
    assert_fenced(&store, &first, &step).await;
    let done = StepChange::to(StepStatus::Completed);
    store
        .workflows()
        .update_step_status(step.id, done, Some(&second))
        .await
        .unwrap();
}

async fn a_lease_that_ran_out_untaken_still_writes<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    let lease = claim_and_lose(&store, "ada").await.lease;
    let step = NewStep::running(key("s"));
    store
        .workflows()
        .create_step_log(run.id, step, Some(&lease))
        .await
        .unwrap();
    let running = RunChange::to(RunStatus::Running).context(serde_json::json!({"n": 1}));
    let after = store.workflows().update_run_status(run.id, running, Some(&lease)).await;
    assert!(lease.holds(&after.unwrap()), "running keeps the lease");
    let done = RunChange::to(RunStatus::Completed);
    let done = store
        .workflows()
        .update_run_status(run.id, done, Some(&lease))
        .await
        .unwrap();
    assert_eq!((done.leased, done.lease_epoch), (None, 1));
}

async fn giving_a_run_up_releases_its_lease<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    for (status, epoch) in [(RunStatus::Pending, 1), (RunStatus::Paused, 2)] {
        let lease = claim(&store, "ada", LONG).await.lease;
        let back = RunChange::to(status);
        let given = store
            .workflows()
            .update_run_status(run.id, back, Some(&lease))
            .await
            .unwrap();
        assert_eq!((given.status, given.leased, given.lease_epoch), (status, None, epoch));
        refused(store.workflows().heartbeat(&lease, LONG).await, ErrorKind::Fenced, None);
    }
    assert_eq!(store.workflows().claim_runs(&key("bob"), 1, LONG).await.unwrap(), []);
    let back = RunChange::to(RunStatus::Pending);
    store.workflows().update_run_status(run.id, back, None).await.unwrap();
    assert_eq!(claim(&store, "bob", LONG).await.lease.epoch, 3);
}

async fn cancelling_a_run_fences_its_worker<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    let lease = claim(&store, "ada", LONG).await.lease;
    let step = NewStep::running(key("s"));
    let step = store
        .workflows()
        .create_step_log(run.id, step, Some(&lease))
        .await
        .unwrap();
    let cancel = RunChange::to(RunStatus::Cancelled);
    store.workflows().update_run_status(run.id, cancel, None).await.unwrap();
    assert_fenced(&store, &lease, &step).await;
}

async fn a_lease_of_another_run_is_refused<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    let lease = claim(&store, "ada", LONG).await.lease;
    let other = a_run(&store, "b").await;
    let change = RunChange::to(RunStatus::Running);
    let outcome = store
        .workflows()
        .update_run_status(other.id, change, Some(&lease))
        .await;
    refused(outcome, ErrorKind::InvalidInput, None);
    let step = NewStep::new(key("s"));
    let outcome = store
        .workflows()
        .create_step_log(other.id, step.clone(), Some(&lease))
        .await;
    refused(outcome, ErrorKind::InvalidInput, None);
    let step = store.workflows().create_step_log(other.id, step, None).await.unwrap();
    let change = StepChange::to(StepStatus::Running);
    let outcome = store
        .workflows()
        .update_step_status(step.id, change, Some(&lease))
        .await;
    refused(outcome, ErrorKind::Fenced, None);
    assert_eq!(store.workflows().get_step_log(step.id).await.unwrap(), Some(step));
    assert_eq!(run.id, lease.run);
}

async fn crashed_runs_are_those_that_run_and_that_nobody_holds<W: World>(store: W) {
    let left = a_run(&store, "left").await;
    claim_and_lose(&store, "ada").await;
    let alone = a_run(&store, "without a lease").await;
    let running = RunChange::to(RunStatus::Running);
    store
        .workflows()
        .update_run_status(alone.id, running, None)
        .await
        .unwrap();
    assert_eq!(crashed(&store).await, [left.id, alone.id], "oldest first");
    assert_eq!(claim(&store, "bob", LONG).await.run.id, left.id);
    a_run(&store, "pending").await;
    assert_eq!(crashed(&store).await, [alone.id]);
    let outcome = store.workflows().list_crashed_runs(PageRequest::first(0)).await;
    refused(outcome, ErrorKind::InvalidInput, None);
}

/// The crashed runs, one at a time.
async fn crashed(store: &impl World) -> Vec<WorkflowRunId> {
    let workflows = store.workflows();
    let listed = pages(1, |page| workflows.list_crashed_runs(page)).await;
    listed.iter().map(|run| run.id).collect()
}

async fn a_crashed_run_is_marked_and_ends<W: World>(store: W) {
    let left = a_run(&store, "left").await;
    let lease = claim_and_lose(&store, "ada").await.lease;
    let error = Some("the power went".to_owned());
    let marked = store.workflows().mark_crashed(left.id, error).await.unwrap();
    assert_eq!((marked.status, marked.leased.as_ref()), (RunStatus::Crashed, None));
    assert_eq!(marked.error.as_deref(), Some("the power went"));
    assert!(marked.completed_at.is_some());
    assert_eq!(store.workflows().get_run(left.id).await.unwrap(), Some(marked));
    refused(store.workflows().heartbeat(&lease, LONG).await, ErrorKind::Fenced, None);
    assert!(crashed(&store).await.is_empty());
    assert_eq!(store.workflows().claim_runs(&key("bob"), 1, LONG).await.unwrap(), []);

    let alone = a_run(&store, "without a lease").await;
    let running = RunChange::to(RunStatus::Running).error("earlier");
    store
        .workflows()
        .update_run_status(alone.id, running, None)
        .await
        .unwrap();
    let marked = store.workflows().mark_crashed(alone.id, None).await.unwrap();
    assert_eq!(marked.error.as_deref(), Some("earlier"), "absent leaves it as it is");
    let again = store.workflows().mark_crashed(alone.id, None).await;
    refused(again, ErrorKind::InvalidTransition, None);
    let missing = store.workflows().mark_crashed(nowhere(), None).await;
    refused(missing, ErrorKind::NotFound, None);
}

async fn a_run_that_somebody_holds_is_not_marked_as_crashed<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    let pending = store.workflows().mark_crashed(run.id, None).await;
    refused(pending, ErrorKind::InvalidTransition, None);
    let claimed = claim(&store, "ada", LONG).await;
    let error = refused(
        store.workflows().mark_crashed(run.id, None).await,
        ErrorKind::NotReady,
        None,
    );
    assert!(error.to_string().contains("`ada` holds the run"), "{error}");
    assert_eq!(store.workflows().get_run(run.id).await.unwrap(), Some(claimed.run));
}

async fn limits_and_leases_out_of_range_are_refused<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    let worker = key("ada");
    for limit in [0, 1_001] {
        let outcome = store.workflows().claim_runs(&worker, limit, LONG).await;
        refused(outcome, ErrorKind::InvalidInput, None);
    }
    let held = Lease {
        run: run.id,
        worker: worker.clone(),
        epoch: 0,
    };
    for lease in [Duration::ZERO, Duration::from_secs(86_401), Duration::MAX] {
        let outcome = store.workflows().claim_runs(&worker, 1, lease).await;
        refused(outcome, ErrorKind::InvalidInput, None);
        let outcome = store.workflows().heartbeat(&held, lease).await;
        refused(outcome, ErrorKind::InvalidInput, None);
    }
    assert_eq!(store.workflows().get_run(run.id).await.unwrap(), Some(run));
}
