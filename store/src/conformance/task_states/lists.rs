//! Lists of tasks: by filter, by workflow, by parent and by id.

use serde_json::json;

use super::{a_child, a_key, a_task, ids, task_id, with_tasks};
use crate::ErrorKind;
use crate::conformance::workflow_states::{an_execution, exec_id};
use crate::conformance::{World, cases, pages, refused};
use crate::contract::*;

cases![
    list_filters_newest_first,
    in_workflow_is_oldest_first,
    by_ids_answers_any_number_in_the_order_asked_for,
    children_come_oldest_first,
    child_by_task_id_is_the_latest,
    children_outputs_are_those_that_exist,
];

async fn list_filters_newest_first<W: World>(store: W) {
    let other = NewWorkflowState::new(
        exec_id("e2"),
        WorkflowKey::new("other").unwrap(),
        ExecutionStatus::Running,
    );
    store.workflow_states().upsert(other).await.unwrap();
    with_tasks(
        &store,
        [
            a_task("a", "e1"),
            NewTaskState {
                status: ExecutionStatus::Success,
                ..a_child("b", "a")
            },
            NewTaskState {
                task_id: a_key("else"),
                ..a_task("c", "e2")
            },
            a_child("d", "a"),
        ],
    )
    .await;
    let all = TaskStateFilter::default;
    for (filter, expected) in [
        (all(), vec!["d", "c", "b", "a"]),
        (
            TaskStateFilter {
                status: Some(ExecutionStatus::Running),
                ..all()
            },
            vec!["d", "c", "a"],
        ),
        (
            TaskStateFilter {
                workflow_id: Some(WorkflowKey::new("wf").unwrap()),
                ..all()
            },
            vec!["d", "b", "a"],
        ),
        (
            TaskStateFilter {
                workflow_exec_id: Some(exec_id("e2")),
                ..all()
            },
            vec!["c"],
        ),
        (
            TaskStateFilter {
                task_id: Some(a_key("task")),
                ..all()
            },
            vec!["d", "b", "a"],
        ),
        (
            TaskStateFilter {
                parent_state_id: Some(task_id("a")),
                ..all()
            },
            vec!["d", "b"],
        ),
        (
            TaskStateFilter {
                parent_state_id: Some(task_id("a")),
                status: Some(ExecutionStatus::Success),
                ..all()
            },
            vec!["b"],
        ),
        (
            TaskStateFilter {
                task_id: Some(a_key("nothing")),
                ..all()
            },
            vec![],
        ),
    ] {
        let tasks = store.task_states();
        let found = pages(2, |page| tasks.list(filter.clone(), page)).await;
        assert_eq!(ids(&found), expected, "{filter:?}");
    }
}

async fn in_workflow_is_oldest_first<W: World>(store: W) {
    store.workflow_states().upsert(an_execution("e2")).await.unwrap();
    with_tasks(
        &store,
        [
            a_task("a", "e1"),
            a_child("c", "a"),
            a_task("x", "e2"),
            a_child("b", "c"),
        ],
    )
    .await;
    let tasks = store.task_states();
    let execution = exec_id("e1");
    for limit in [1, 2, 50] {
        let found = pages(limit, |page| tasks.in_workflow(&execution, page)).await;
        assert_eq!(ids(&found), ["a", "c", "b"]);
    }
    let nothing = tasks.in_workflow(&exec_id("e3"), PageRequest::default()).await.unwrap();
    assert_eq!((nothing.items, nothing.next), (vec![], None));
}

async fn by_ids_answers_any_number_in_the_order_asked_for<W: World>(store: W) {
    with_tasks(&store, ["a", "b", "c"].map(|id| a_task(id, "e1"))).await;
    let by = async |ids: &[&str]| {
        let ids: Vec<_> = ids.iter().map(|id| task_id(id)).collect();
        store.task_states().by_ids(&ids).await.unwrap()
    };
    assert_eq!(by(&[]).await, []);
    assert_eq!(by(&["nobody"]).await, []);
    assert_eq!(ids(&by(&["c", "nobody", "a", "c", "b"]).await), ["c", "a", "b"]);
    let mut many: Vec<String> = (0..40_000).map(|n| format!("nobody-{n}")).collect();
    many.insert(0, "b".into());
    many.push("a".into());
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(ids(&by(&many).await), ["b", "a"]);
}

async fn children_come_oldest_first<W: World>(store: W) {
    with_tasks(
        &store,
        [
            a_task("root", "e1"),
            a_child("z", "root"),
            a_child("a", "root"),
            a_child("grandchild", "a"),
            a_child("m", "root"),
        ],
    )
    .await;
    let tasks = store.task_states();
    let root = task_id("root");
    for limit in [1, 2, 50] {
        let found = pages(limit, |page| tasks.children(&root, page)).await;
        assert_eq!(ids(&found), ["z", "a", "m"]);
    }
    let first = tasks.children(&task_id("root"), PageRequest::first(1)).await.unwrap();
    let elsewhere = PageRequest::after(first.next.unwrap(), 1);
    refused(
        tasks.in_workflow(&exec_id("e1"), elsewhere).await,
        ErrorKind::InvalidInput,
        None,
    );
}

async fn child_by_task_id_is_the_latest<W: World>(store: W) {
    let again = |id: &str, parent: &str, task: &str| NewTaskState {
        task_id: a_key(task),
        ..a_child(id, parent)
    };
    with_tasks(
        &store,
        [
            a_task("root", "e1"),
            again("z", "root", "fetch"),
            again("a", "root", "fetch"),
            again("b", "root", "store"),
            again("y", "b", "fetch"),
        ],
    )
    .await;
    let latest = async |parent: &str, task: &str| {
        let tasks = store.task_states();
        let found = tasks.child_by_task_id(&task_id(parent), &a_key(task)).await.unwrap();
        found.map(|task| task.task_exec_id.to_string())
    };
    assert_eq!(latest("root", "fetch").await.as_deref(), Some("a"));
    assert_eq!(latest("root", "store").await.as_deref(), Some("b"));
    assert_eq!(latest("b", "fetch").await.as_deref(), Some("y"));
    assert_eq!(latest("root", "task").await, None);
}

async fn children_outputs_are_those_that_exist<W: World>(store: W) {
    let with = |id: &str, output| NewTaskState {
        output,
        task_id: a_key(&format!("task {id}")),
        status: ExecutionStatus::Success,
        ..a_child(id, "root")
    };
    with_tasks(
        &store,
        [
            a_task("root", "e1"),
            with("z", Some(json!({"n": 1}))),
            with("m", None),
            with("a", Some(json!(null))),
        ],
    )
    .await;
    let tasks = store.task_states();
    let root = task_id("root");
    let expected = [("z", json!({"n": 1})), ("a", json!(null))].map(|(id, output)| TaskOutput {
        task_exec_id: task_id(id),
        task_id: a_key(&format!("task {id}")),
        status: ExecutionStatus::Success,
        output,
    });
    for limit in [1, 50] {
        let found = pages(limit, |page| tasks.children_outputs(&root, page)).await;
        assert_eq!(found, expected);
    }
}
