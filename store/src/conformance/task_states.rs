//! Executions of tasks.

pub mod lists;
pub mod trees;
pub mod writing;

use std::time::Duration;

use super::workflow_states::{an_execution, exec_id};
use super::{Case, World};
use crate::contract::*;

/// What must hold.
pub fn cases<W: World>() -> Vec<Case<W>> {
    [writing::cases(), lists::cases(), trees::cases()].concat()
}

/// A key of an execution.
pub(super) fn task_id(text: &str) -> TaskExecId {
    TaskExecId::new(text).unwrap()
}

/// A running root task that executes `task`.
pub(super) fn a_task(id: &str, workflow: &str) -> NewTaskState {
    NewTaskState::new(task_id(id), a_key("task"), exec_id(workflow), ExecutionStatus::Running)
}

fn a_child(id: &str, parent: &str) -> NewTaskState {
    NewTaskState {
        parent_state_id: Some(task_id(parent)),
        ..a_task(id, "e1")
    }
}

fn a_key(text: &str) -> TaskKey {
    TaskKey::new(text).unwrap()
}

/// The execution `e1`, and in it these tasks, a moment apart.
async fn with_tasks<W: World>(store: &W, tasks: impl IntoIterator<Item = NewTaskState>) {
    store.workflow_states().upsert(an_execution("e1")).await.unwrap();
    for task in tasks {
        store.task_states().upsert(task).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn ids<'a>(tasks: impl IntoIterator<Item = &'a TaskState>) -> Vec<&'a str> {
    tasks.into_iter().map(|task| task.task_exec_id.as_str()).collect()
}
