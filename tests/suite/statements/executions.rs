//! What the methods of the execution domain cost.

use store::prelude::*;
use store::testkit::TestDatabase;

use super::Meter;

store::testkit::tests![workflow_states, task_states];

fn exec(name: &str) -> WorkflowExecId {
    WorkflowExecId::new(name).unwrap()
}

fn task(name: &str) -> TaskExecId {
    TaskExecId::new(name).unwrap()
}

fn a_state(name: &str) -> NewWorkflowState {
    NewWorkflowState::new(exec(name), WorkflowKey::new("flow").unwrap(), ExecutionStatus::Running)
}

fn a_task(name: &str, parent: Option<&str>) -> NewTaskState {
    let id = TaskKey::new("task").unwrap();
    NewTaskState {
        parent_state_id: parent.map(task),
        ..NewTaskState::new(task(name), id, exec("one"), ExecutionStatus::Success)
    }
}

fn usage() -> Vec<Usage> {
    vec![Usage::new("a provider", "a model")]
}

async fn workflow_states(db: TestDatabase) {
    let mut meter = Meter::on(&db).await;
    let states = meter.store.workflow_states();
    for number in 1..=20 {
        let upsert = states.upsert(a_state(&format!("exec-{number}")));
        meter.call("workflow_states.upsert", upsert).await;
    }
    let one = &exec("exec-1");
    meter.call("workflow_states.get", states.get(one)).await;
    meter
        .list("workflow_states.list", |page| {
            states.list(WorkflowStateFilter::default(), page)
        })
        .await;
    let update = states.update_status(one, ExecutionStatus::Waiting);
    meter.call("workflow_states.update_status", update).await;
    for _ in 1..=2 {
        let merge = states.merge_usage(one, usage());
        meter.call("workflow_states.merge_usage", merge).await;
    }
    meter.call("workflow_states.complete", states.complete(one)).await;
    meter.call("workflow_states.delete", states.delete(one)).await;
    meter.finish(&["workflow_states"]);
}

async fn task_states(db: TestDatabase) {
    let mut meter = Meter::on(&db).await;
    meter.store.workflow_states().upsert(a_state("one")).await.unwrap();
    let tasks = meter.store.task_states();
    meter
        .call("task_states.upsert", tasks.upsert(a_task("root", None)))
        .await;
    let mut ids = vec![];
    for number in 1..=20 {
        let (child, below) = (format!("child-{number}"), format!("below-{number}"));
        let output = Some(number.into());
        let new = NewTaskState {
            output,
            ..a_task(&child, Some("root"))
        };
        meter.call("task_states.upsert", tasks.upsert(new)).await;
        tasks.upsert(a_task(&below, Some(&child))).await.unwrap();
        ids.extend([task(&child), task(&below)]);
    }
    let root = &task("root");
    let change = tasks.update_if_version(a_task("root", None), 1);
    meter.call("task_states.update_if_version", change).await;
    meter.call("task_states.get", tasks.get(root)).await;
    meter
        .list("task_states.list", |page| tasks.list(TaskStateFilter::default(), page))
        .await;
    let one = &exec("one");
    meter
        .list("task_states.in_workflow", |page| tasks.in_workflow(one, page))
        .await;
    for some in [&ids[..1], &ids[..]] {
        let found = meter.call("task_states.by_ids", tasks.by_ids(some)).await;
        assert_eq!(found.len(), some.len());
    }
    meter
        .list("task_states.children", |page| tasks.children(root, page))
        .await;
    meter
        .list("task_states.children_outputs", |page| {
            tasks.children_outputs(root, page)
        })
        .await;
    let key = &TaskKey::new("task").unwrap();
    let child = tasks.child_by_task_id(root, key);
    meter.call("task_states.child_by_task_id", child).await;
    for (depth, size) in [(0, 1), (1, 21), (100, 41)] {
        let tree = meter.call("task_states.tree", tasks.tree(root, depth)).await;
        assert_eq!(tree.tasks.len(), size);
    }
    for group in [TaskGroup::ChildrenOf(root.clone()), TaskGroup::InWorkflow(one.clone())] {
        meter.call("task_states.progress", tasks.progress(group)).await;
    }
    let merge = tasks.merge_usage(root, usage());
    meter.call("task_states.merge_usage", merge).await;
    meter.finish(&["task_states"]);
}
