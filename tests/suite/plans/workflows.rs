//! The plans of the workflow domain.

use std::time::Duration;

use serde_json::json;
use store::prelude::*;
use store::testkit::TestDatabase;

use super::Look;
use super::identity::BOTS_OF_NOBODY;
use crate::fill::{Columns, ROWS, id, rows};
use crate::support::{SettableClock, key, open_with};

store::testkit::tests![definitions, runs, steps, what_goes_with_its_owner];

const WORKFLOWS: Columns = &[
    ("id", "id(i)"),
    ("name", "'workflow-' || i"),
    ("owner_type", "pick(x / 50, 'bot', 'global')"),
    ("owner_bot_id", "pick(x / 50, id(1 + x % 50), NULL)"),
    ("definition", "json('{}')"),
    ("created_at", "instant(x)"),
    ("updated_at", "instant(x)"),
];

const RUNS: Columns = &[
    ("id", "id(i)"),
    ("workflow_id", "id(1 + x % 50)"),
    ("workflow_name", "'workflow'"),
    (
        "status",
        "pick(x / 50, 'pending', 'running', 'running', 'completed', 'failed')",
    ),
    ("trigger_type", "'manual'"),
    ("started_at", "instant(x)"),
    ("completed_at", "pick(x / 50, NULL, NULL, NULL, instant(x), instant(x))"),
    ("concurrency_key", "pick(x / 50, 'key-' || (x % 50), NULL)"),
    ("lease_owner", "pick(x / 50, NULL, 'worker', NULL, NULL, NULL)"),
    ("lease_expires_at", "pick(x / 50, NULL, instant(x), NULL, NULL, NULL)"),
];

const STEPS: Columns = &[
    ("id", "id(i)"),
    ("run_id", "id(1 + x % 500)"),
    ("step_id", "'step-' || x"),
    ("step_name", "'step'"),
    ("status", "pick(x / 50, 'completed', 'running')"),
];

/// Each of them of one bot among many, with a few runs.
const OWNED: Columns = &[
    ("id", "id(i)"),
    ("name", "'workflow-' || i"),
    ("owner_type", "'bot'"),
    ("owner_bot_id", "id(1 + x % 2000)"),
    ("definition", "json('{}')"),
    ("created_at", "instant(x)"),
    ("updated_at", "instant(x)"),
];

const RUNS_OF_OWNED: Columns = &[
    ("id", "id(i)"),
    ("workflow_id", "id(1 + x % 20000)"),
    ("workflow_name", "'workflow'"),
    ("status", "'completed'"),
    ("trigger_type", "'manual'"),
    ("started_at", "instant(x)"),
    ("completed_at", "instant(x)"),
];

async fn definitions(db: TestDatabase) {
    rows(&db, 1_000, "bots", BOTS_OF_NOBODY).await;
    rows(&db, ROWS, "workflows", WORKFLOWS).await;
    let mut look = Look::at(&db).await;
    let workflows = look.store.workflows();
    look.lookup("workflows.get_definition", workflows.get_definition(id(7)))
        .await;
    let name = &WorkflowName::new("workflow-7").unwrap();
    look.pages("workflows.list_definitions of all", |page| {
        workflows.list_definitions(None, page)
    })
    .await;
    for owner in [Owner::Global, Owner::Bot(id(8))] {
        let found = workflows.get_definition_by_name(name, owner);
        look.lookup("workflows.get_definition_by_name", found).await;
        look.pages("workflows.list_definitions of an owner", |page| {
            workflows.list_definitions(Some(owner), page)
        })
        .await;
    }
    let draft = WorkflowDraft::new(WorkflowName::new("new").unwrap(), json!({}));
    look.lookup("workflows.save_definition", workflows.save_definition(draft))
        .await;
    look.lookup("workflows.delete_definition", workflows.delete_definition(id(7)))
        .await;
    look.finish();
}

async fn runs(db: TestDatabase) {
    rows(&db, 1_000, "bots", BOTS_OF_NOBODY).await;
    rows(&db, 1_000, "workflows", WORKFLOWS).await;
    rows(&db, ROWS, "workflow_runs", RUNS).await;
    let mut look = Look::at(&db).await;
    let workflows = look.store.workflows();
    let run = look
        .lookup("workflows.create_run", workflows.create_run(NewRun::new(id(7))))
        .await
        .id;
    look.lookup("workflows.get_run", workflows.get_run(run)).await;
    look.pages("workflows.list_runs", |page| workflows.list_runs(id(7), page))
        .await;
    let same = &key("key-7");
    look.pages("workflows.list_runs_by_concurrency_key", |page| {
        workflows.list_runs_by_concurrency_key(same, page)
    })
    .await;
    look.pages("workflows.list_crashed_runs", |page| workflows.list_crashed_runs(page))
        .await;

    let (worker, lease) = (&key("worker"), Duration::from_secs(60));
    let claim = workflows.claim_runs(worker, 10, lease);
    let claimed = look.ordered("workflows.claim_runs left behind", claim).await;
    let before_any_lease_ended = SettableClock::new();
    before_any_lease_ended.forward(-33_000_000);
    let earlier = open_with(&db, &before_any_lease_ended).await.workflows();
    let claim = earlier.claim_runs(worker, 10, lease);
    look.ordered("workflows.claim_runs pending", claim).await;
    let [one, other] = [&claimed[0].lease, &claimed[1].lease];
    look.lookup("workflows.heartbeat", workflows.heartbeat(one, lease))
        .await;
    let change = RunChange::to(RunStatus::Completed);
    let update = workflows.update_run_status(one.run, change, Some(one));
    look.lookup("workflows.update_run_status", update).await;
    let crashed = workflows.list_crashed_runs(PageRequest::first(1)).await.unwrap().items;
    assert_ne!(crashed[0].id, other.run);
    let crashed = workflows.mark_crashed(crashed[0].id, None);
    look.lookup("workflows.mark_crashed", crashed).await;
    let ended = Prune::older_than("2026-01-01T00:01:00Z".parse().unwrap());
    look.lookup("workflows.prune_runs, counting", workflows.prune_runs(ended.dry_run()))
        .await;
    look.lookup("workflows.prune_runs", workflows.prune_runs(ended)).await;
    look.finish();
}

async fn steps(db: TestDatabase) {
    rows(&db, 1_000, "bots", BOTS_OF_NOBODY).await;
    rows(&db, 1_000, "workflows", WORKFLOWS).await;
    rows(&db, 1_000, "workflow_runs", RUNS).await;
    rows(&db, ROWS, "workflow_steps", STEPS).await;
    let mut look = Look::at(&db).await;
    let workflows = look.store.workflows();
    let worker = &key("worker");
    let claim = workflows.claim_runs(worker, 1, Duration::from_secs(60));
    let lease = claim.await.unwrap().remove(0).lease;
    let new = NewStep::running(key("new"));
    let create = workflows.create_step_log(lease.run, new, Some(&lease));
    let step = look.lookup("workflows.create_step_log", create).await.id;
    look.lookup("workflows.get_step_log", workflows.get_step_log(step))
        .await;
    let change = StepChange::to(StepStatus::Completed);
    let update = workflows.update_step_status(step, change, Some(&lease));
    look.lookup("workflows.update_step_status", update).await;
    look.pages("workflows.list_step_logs", |page| workflows.list_step_logs(id(7), page))
        .await;
    let done = workflows.get_completed_step_ids(id(7));
    look.ordered("workflows.get_completed_step_ids", done).await;
    look.finish();
}

async fn what_goes_with_its_owner(db: TestDatabase) {
    rows(&db, 2_000, "bots", BOTS_OF_NOBODY).await;
    rows(&db, 20_000, "workflows", OWNED).await;
    rows(&db, ROWS, "workflow_runs", RUNS_OF_OWNED).await;
    let mut look = Look::at(&db).await;
    let (workflows, bots) = (look.store.workflows(), look.store.bots());
    look.lookup("workflows.purge_definition", workflows.purge_definition(id(8)))
        .await;
    look.lookup("bots.delete", bots.delete(id(9))).await;
    look.finish();
}
