//! The plans of the execution domain.

use store::ErrorKind;
use store::prelude::*;
use store::testkit::TestDatabase;

use super::Look;
use crate::fill::{Columns, ROWS, rows};

store::testkit::tests![workflow_states, task_states, trees];

const STATES: Columns = &[
    ("workflow_exec_id", "'exec-' || i"),
    ("workflow_id", "'flow-' || (1 + x % 50)"),
    ("status", "pick(x / 50, 'PENDING', 'RUNNING', 'SUCCESS', 'FAILED')"),
    ("created_at", "instant(x)"),
    ("updated_at", "instant(x)"),
];

/// Some without a parent, and of the others so many below each of the first fifty.
const TASKS: Columns = &[
    ("task_exec_id", "'task-' || i"),
    ("task_id", "'key-' || (1 + x / 50 % 50)"),
    ("component", "'task'"),
    ("status", "pick(x / 50, 'PENDING', 'RUNNING', 'SUCCESS', 'FAILED')"),
    ("workflow_exec_id", "'exec-' || (1 + x / 25 % 50)"),
    ("workflow_id", "'flow-' || (1 + x / 25 % 50)"),
    (
        "parent_state_id",
        "CASE WHEN i > 50 THEN pick(x / 50, 'task-' || (1 + x % 50), 'task-' || (1 + x % 50), NULL) END",
    ),
    ("output", "json('1')"),
    ("created_at", "instant(x)"),
    ("updated_at", "instant(x)"),
];

/// Binary trees, of many executions.
const FEW_TASKS_EACH: Columns = &[
    ("task_exec_id", "'task-' || i"),
    ("task_id", "'key'"),
    ("component", "'task'"),
    ("status", "'SUCCESS'"),
    ("workflow_exec_id", "'exec-' || (1 + x % 1000)"),
    ("workflow_id", "'flow'"),
    ("parent_state_id", "CASE WHEN i > 1000 THEN 'task-' || (i / 2) END"),
    ("created_at", "instant(x)"),
    ("updated_at", "instant(x)"),
];

fn exec(name: &str) -> WorkflowExecId {
    WorkflowExecId::new(name).unwrap()
}

fn task(name: &str) -> TaskExecId {
    TaskExecId::new(name).unwrap()
}

fn usage() -> Vec<Usage> {
    vec![Usage::new("a provider", "a model")]
}

async fn workflow_states(db: TestDatabase) {
    rows(&db, ROWS, "workflow_states", STATES).await;
    let mut look = Look::at(&db).await;
    let states = look.store.workflow_states();
    let (one, flow) = (&exec("exec-7"), WorkflowKey::new("flow-8").unwrap());
    let upsert = NewWorkflowState::new(exec("new"), flow.clone(), ExecutionStatus::Running);
    look.lookup("workflow_states.upsert", states.upsert(upsert)).await;
    look.lookup("workflow_states.get", states.get(one)).await;
    for (filters, status, workflow_id) in [
        ("", None, None),
        (" by status", Some(ExecutionStatus::Running), None),
        (" by workflow", None, Some(flow.clone())),
        (" by workflow and status", Some(ExecutionStatus::Running), Some(flow)),
    ] {
        let filter = WorkflowStateFilter { status, workflow_id };
        look.pages(&format!("workflow_states.list{filters}"), |page| {
            states.list(filter.clone(), page)
        })
        .await;
    }
    let update = states.update_status(one, ExecutionStatus::Waiting);
    look.lookup("workflow_states.update_status", update).await;
    look.lookup("workflow_states.merge_usage", states.merge_usage(one, usage()))
        .await;
    look.finish();
}

async fn task_states(db: TestDatabase) {
    rows(&db, 1_000, "workflow_states", STATES).await;
    rows(&db, ROWS, "task_states", TASKS).await;
    let mut look = Look::at(&db).await;
    let tasks = look.store.task_states();
    let (one, parent, key) = (&exec("exec-7"), &task("task-7"), &TaskKey::new("key-8").unwrap());
    look.lookup("task_states.get", tasks.get(parent)).await;
    let all = TaskStateFilter::default();
    for (filters, filter) in [
        ("", all.clone()),
        (
            " by status",
            TaskStateFilter {
                status: Some(ExecutionStatus::Running),
                ..all.clone()
            },
        ),
        (
            " by workflow",
            TaskStateFilter {
                workflow_id: WorkflowKey::new("flow-7").ok(),
                ..all.clone()
            },
        ),
        (
            " by execution",
            TaskStateFilter {
                workflow_exec_id: Some(one.clone()),
                ..all.clone()
            },
        ),
        (
            " by task",
            TaskStateFilter {
                task_id: Some(key.clone()),
                ..all.clone()
            },
        ),
        (
            " by parent",
            TaskStateFilter {
                parent_state_id: Some(parent.clone()),
                ..all.clone()
            },
        ),
        (
            " by more than one of these",
            TaskStateFilter {
                status: Some(ExecutionStatus::Running),
                workflow_exec_id: Some(one.clone()),
                ..all
            },
        ),
    ] {
        look.pages(&format!("task_states.list{filters}"), |page| {
            tasks.list(filter.clone(), page)
        })
        .await;
    }
    look.pages("task_states.in_workflow", |page| tasks.in_workflow(one, page))
        .await;
    look.pages("task_states.children", |page| tasks.children(parent, page))
        .await;
    look.pages("task_states.children_outputs", |page| {
        tasks.children_outputs(parent, page)
    })
    .await;
    look.first("task_states.child_by_task_id", tasks.child_by_task_id(parent, key))
        .await;
    let some = [task("task-1"), task("task-2"), task("task-3")];
    look.lookup("task_states.by_ids", tasks.by_ids(&some)).await;
    let progress = tasks.progress(TaskGroup::ChildrenOf(parent.clone()));
    look.lookup("task_states.progress", progress).await;
    let progress = tasks.progress(TaskGroup::InWorkflow(one.clone()));
    look.lookup("task_states.progress", progress).await;
    look.lookup("task_states.merge_usage", tasks.merge_usage(parent, usage()))
        .await;
    let new = NewTaskState::new(task("new"), key.clone(), one.clone(), ExecutionStatus::Running);
    look.lookup("task_states.upsert", tasks.upsert(new.clone())).await;
    look.lookup("task_states.update_if_version", tasks.update_if_version(new, 1))
        .await;
    let states = look.store.workflow_states();
    look.refused("workflow_states.complete", ErrorKind::NotReady, states.complete(one))
        .await;
    look.finish();
}

async fn trees(db: TestDatabase) {
    rows(&db, 1_000, "workflow_states", STATES).await;
    rows(&db, ROWS, "task_states", FEW_TASKS_EACH).await;
    let mut look = Look::at(&db).await;
    let (states, tasks) = (look.store.workflow_states(), look.store.task_states());
    look.lookup("task_states.tree", tasks.tree(&task("task-2000"), 3)).await;
    look.lookup("workflow_states.delete", states.delete(&exec("exec-7")))
        .await;
    look.finish();
}
