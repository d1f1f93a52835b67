//! What the methods of the workflow domain cost.

use std::time::Duration;

use serde_json::json;
use store::prelude::*;
use store::testkit::TestDatabase;

use super::{Meter, read, write_after};
use crate::support::key;

store::testkit::tests![workflows];

async fn workflows(db: TestDatabase) {
    let mut meter = Meter::on(&db).await;
    definitions_and_runs(&mut meter).await;
    steps(&mut meter).await;
    recovery(&mut meter).await;
    meter.finish(&["workflows"]);
}

fn named(name: &str) -> WorkflowName {
    WorkflowName::new(name).unwrap()
}

async fn a_workflow(store: &Store, name: &str) -> WorkflowId {
    let draft = WorkflowDraft::new(named(name), json!({}));
    store.workflows().save_definition(draft).await.unwrap().id
}

async fn definitions_and_runs(meter: &mut Meter) {
    let workflows = meter.store.workflows();
    for number in 1..=20 {
        let draft = WorkflowDraft::new(named(&format!("workflow-{number}")), json!({}));
        meter
            .call("workflows.save_definition", workflows.save_definition(draft))
            .await;
    }
    let (name, empty) = (&named("workflow-1"), a_workflow(&meter.store, "empty").await);
    let found = workflows.get_definition_by_name(name, Owner::Global);
    let one = meter.call("workflows.get_definition_by_name", found).await.unwrap().id;
    meter
        .call("workflows.get_definition", workflows.get_definition(one))
        .await;
    for owner in [None, Some(Owner::Global)] {
        meter
            .list("workflows.list_definitions", |page| {
                workflows.list_definitions(owner, page)
            })
            .await;
    }
    let same = NewRun {
        concurrency_key: Some(key("same")),
        ..NewRun::new(one)
    };
    let mut last = None;
    for _ in 1..=20 {
        let run = meter
            .call("workflows.create_run", workflows.create_run(same.clone()))
            .await;
        last = Some(run.id);
    }
    let run = last.unwrap();
    meter.call("workflows.get_run", workflows.get_run(run)).await;
    meter
        .list("workflows.list_runs", |page| workflows.list_runs(one, page))
        .await;
    let same = &key("same");
    meter
        .list("workflows.list_runs_by_concurrency_key", |page| {
            workflows.list_runs_by_concurrency_key(same, page)
        })
        .await;
    let change = RunChange::to(RunStatus::Running);
    let update = workflows.update_run_status(run, change, None);
    meter.call("workflows.update_run_status", update).await;
    let ended = Prune::older_than("2100-01-01T00:00:00Z".parse().unwrap());
    meter.call("workflows.prune_runs", workflows.prune_runs(ended)).await;
    let counted = workflows.prune_runs(ended.dry_run());
    meter.measure("workflows.prune_runs", read(1), counted).await;
    meter
        .call("workflows.purge_definition", workflows.purge_definition(one))
        .await;
    let delete = workflows.delete_definition(empty);
    meter.call("workflows.delete_definition", delete).await;
}

async fn steps(meter: &mut Meter) {
    let workflows = meter.store.workflows();
    let workflow = a_workflow(&meter.store, "of steps").await;
    workflows.create_run(NewRun::new(workflow)).await.unwrap();
    let claimed = workflows
        .claim_runs(&key("worker"), 1, Duration::from_secs(60))
        .await
        .unwrap();
    let (run, lease) = (claimed[0].run.id, Some(&claimed[0].lease));
    for number in 1..=20 {
        let step = NewStep::running(key(&format!("step-{number}")));
        let held = lease.filter(|_| number % 2 == 0);
        let create = workflows.create_step_log(run, step, held);
        let step = meter.call("workflows.create_step_log", create).await.id;
        let change = StepChange::to(StepStatus::Completed);
        let update = workflows.update_step_status(step, change, held);
        meter.call("workflows.update_step_status", update).await;
        meter.call("workflows.get_step_log", workflows.get_step_log(step)).await;
    }
    meter
        .list("workflows.list_step_logs", |page| workflows.list_step_logs(run, page))
        .await;
    let done = workflows.get_completed_step_ids(run);
    assert_eq!(meter.call("workflows.get_completed_step_ids", done).await.len(), 20);
}

async fn recovery(meter: &mut Meter) {
    let workflows = meter.store.workflows();
    let workflow = a_workflow(&meter.store, "to recover").await;
    for _ in 1..=20 {
        workflows.create_run(NewRun::new(workflow)).await.unwrap();
    }
    let worker = &key("worker");
    let short = Duration::from_millis(1);
    let pending = workflows.claim_runs(worker, 20, short);
    let pending = meter.measure("workflows.claim_runs", write_after(1), pending).await;
    assert_eq!(pending.len(), 20);
    tokio::time::sleep(10 * short).await;
    meter
        .list("workflows.list_crashed_runs", |page| workflows.list_crashed_runs(page))
        .await;
    let left = workflows.claim_runs(worker, 10, Duration::from_secs(60));
    let left = meter.call("workflows.claim_runs", left).await;
    let heartbeat = workflows.heartbeat(&left[0].lease, short);
    meter.call("workflows.heartbeat", heartbeat).await;
    tokio::time::sleep(10 * short).await;
    let crashed = workflows.mark_crashed(left[0].run.id, None);
    meter.call("workflows.mark_crashed", crashed).await;
}
