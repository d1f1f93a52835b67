//! Executions of tasks.

use std::time::Duration;

use serde_json::json;

use super::workflow_states::{an_execution, exec_id};
use super::{World, cases, refused};
use crate::ErrorKind;
use crate::contract::*;

cases![
    what_upsert_returns_a_later_read_returns,
    every_kind_of_execution_round_trips,
    an_execution_that_breaks_the_rule_is_refused,
    an_upsert_keeps_created_at_and_replaces_the_rest,
    a_task_stays_in_its_workflow_and_below_its_parent,
    a_missing_workflow_or_parent_is_named,
    a_task_is_not_its_own_parent,
    a_stale_version_is_a_conflict,
    of_many_updates_of_one_version_one_wins,
    list_filters_newest_first,
    in_workflow_is_oldest_first,
    by_ids_answers_any_number_in_the_order_asked_for,
    children_come_oldest_first,
    child_by_task_id_is_the_latest,
    children_outputs_are_those_that_exist,
    a_tree_comes_level_by_level,
    a_tree_ends_at_its_depth_and_says_so,
    a_tree_of_a_hundred_levels_is_complete,
    progress_counts_every_status,
    progress_of_nothing_is_zero,
    merged_usage_adds_up,
    what_is_missing_is_not_found,
    nul_and_blank_texts_are_refused,
];

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

async fn what_upsert_returns_a_later_read_returns<W: World>(store: W) {
    with_tasks(&store, [a_task("root", "e1")]).await;
    let new = NewTaskState {
        component: "agent".into(),
        execution: Execution::Tool {
            tool_id: "search".into(),
        },
        usage: Some(vec![json!({"n": 1})]),
        input: Some(json!({"q": "ä"})),
        output: Some(json!(null)),
        error: Some(json!([1, 2])),
        ..a_child("t1", "root")
    };
    let stored = store.task_states().upsert(new.clone()).await.unwrap();
    let expected = TaskState {
        task_exec_id: new.task_exec_id,
        task_id: new.task_id,
        component: new.component,
        status: new.status,
        workflow_exec_id: new.workflow_exec_id,
        workflow_id: WorkflowKey::new("wf").unwrap(),
        execution: new.execution,
        parent_state_id: Some(task_id("root")),
        usage: new.usage,
        input: new.input,
        output: new.output,
        error: new.error,
        version: 1,
        created_at: stored.created_at,
        updated_at: stored.created_at,
    };
    assert_eq!(stored, expected);
    assert_eq!(store.task_states().get(&task_id("t1")).await.unwrap(), Some(expected));
    assert_eq!(store.task_states().get(&task_id("T1")).await.unwrap(), None);
}

async fn every_kind_of_execution_round_trips<W: World>(store: W) {
    with_tasks(&store, []).await;
    for execution in [
        Execution::Basic,
        Execution::Router,
        Execution::Agent {
            agent_id: "a".into(),
            action_id: "b".into(),
        },
        Execution::Tool { tool_id: "c".into() },
        Execution::Other {
            execution_type: "parallel".into(),
            agent_id: Some("a".into()),
            tool_id: Some("c".into()),
            action_id: None,
        },
        Execution::Other {
            execution_type: "wait".into(),
            agent_id: None,
            tool_id: None,
            action_id: None,
        },
    ] {
        let new = NewTaskState {
            execution: execution.clone(),
            ..a_task("t1", "e1")
        };
        store.task_states().upsert(new).await.unwrap();
        let read = store.task_states().get(&task_id("t1")).await.unwrap().unwrap();
        assert_eq!(read.execution, execution);
    }
}

async fn an_execution_that_breaks_the_rule_is_refused<W: World>(store: W) {
    with_tasks(&store, []).await;
    let other = |execution_type: &str| Execution::Other {
        execution_type: execution_type.into(),
        agent_id: Some("a".into()),
        tool_id: Some("c".into()),
        action_id: None,
    };
    for execution in [
        other("basic"),
        other("router"),
        other(""),
        other("x\0"),
        Execution::Tool { tool_id: " ".into() },
        Execution::Agent {
            agent_id: "a".into(),
            action_id: "\0".into(),
        },
    ] {
        let new = NewTaskState {
            execution,
            ..a_task("t1", "e1")
        };
        refused(store.task_states().upsert(new).await, ErrorKind::InvalidInput, None);
    }
    assert_eq!(store.task_states().get(&task_id("t1")).await.unwrap(), None);
}

async fn an_upsert_keeps_created_at_and_replaces_the_rest<W: World>(store: W) {
    with_tasks(&store, [a_task("t1", "e1"), a_child("child", "t1")]).await;
    let first = store.task_states().get(&task_id("t1")).await.unwrap().unwrap();
    let again = NewTaskState {
        task_id: a_key("another"),
        component: "agent".into(),
        status: ExecutionStatus::Success,
        execution: Execution::Router,
        output: Some(json!(1)),
        ..a_task("t1", "e1")
    };
    let second = store.task_states().upsert(again.clone()).await.unwrap();
    let expected = TaskState {
        task_id: again.task_id,
        component: again.component,
        status: again.status,
        execution: again.execution,
        output: again.output,
        version: 2,
        updated_at: second.updated_at,
        ..first.clone()
    };
    assert_eq!(second, expected);
    assert!(second.updated_at > first.updated_at);
    assert_eq!(store.task_states().get(&task_id("t1")).await.unwrap(), Some(second));
    assert!(store.task_states().get(&task_id("child")).await.unwrap().is_some());
}

async fn a_task_stays_in_its_workflow_and_below_its_parent<W: World>(store: W) {
    store.workflow_states().upsert(an_execution("e2")).await.unwrap();
    with_tasks(&store, [a_task("a", "e1"), a_task("b", "e1"), a_child("c", "a")]).await;
    let before = store.task_states().get(&task_id("c")).await.unwrap();
    for moved in [
        a_child("c", "b"),
        a_task("c", "e1"),
        NewTaskState {
            workflow_exec_id: exec_id("e2"),
            ..a_child("c", "a")
        },
        a_child("a", "c"),
    ] {
        let tasks = store.task_states();
        refused(tasks.upsert(moved.clone()).await, ErrorKind::Conflict, None);
        refused(tasks.update_if_version(moved, 1).await, ErrorKind::Conflict, None);
    }
    assert_eq!(store.task_states().get(&task_id("c")).await.unwrap(), before);
}

async fn a_missing_workflow_or_parent_is_named<W: World>(store: W) {
    with_tasks(&store, []).await;
    let both = NewTaskState {
        workflow_exec_id: exec_id("nowhere"),
        ..a_child("t1", "nobody")
    };
    for (task, constraint) in [
        (a_task("t1", "nowhere"), "fk_task_states_workflow_exec_id"),
        (a_child("t1", "nobody"), "fk_task_states_parent_state_id"),
        (both, "fk_task_states_workflow_exec_id"),
    ] {
        let outcome = store.task_states().upsert(task).await;
        refused(outcome, ErrorKind::ForeignKey, Some(constraint));
    }
    assert_eq!(store.task_states().get(&task_id("t1")).await.unwrap(), None);
}

async fn a_task_is_not_its_own_parent<W: World>(store: W) {
    with_tasks(&store, []).await;
    let outcome = store.task_states().upsert(a_child("t1", "t1")).await;
    let error = refused(outcome, ErrorKind::InvalidInput, None);
    assert!(error.to_string().contains("parent_state_id"), "{error}");
}

async fn a_stale_version_is_a_conflict<W: World>(store: W) {
    with_tasks(&store, [a_task("t1", "e1")]).await;
    let with = |status| NewTaskState {
        status,
        ..a_task("t1", "e1")
    };
    let tasks = store.task_states();
    let second = tasks
        .update_if_version(with(ExecutionStatus::Waiting), 1)
        .await
        .unwrap();
    assert_eq!((second.version, second.status), (2, ExecutionStatus::Waiting));
    for stale in [1, 3, 0, -1] {
        let error = refused(
            tasks.update_if_version(with(ExecutionStatus::Failed), stale).await,
            ErrorKind::Conflict,
            None,
        );
        assert!(error.to_string().contains("version 2"), "{error}");
    }
    assert_eq!(tasks.get(&task_id("t1")).await.unwrap(), Some(second));
}

async fn of_many_updates_of_one_version_one_wins<W: World>(store: W) {
    with_tasks(&store, [a_task("t1", "e1")]).await;
    let updates = (0..12).map(|n| {
        let store = store.clone();
        async move {
            let mine = NewTaskState {
                output: Some(json!(n)),
                ..a_task("t1", "e1")
            };
            let outcome = store.task_states().update_if_version(mine, 1).await;
            outcome.map(|_| n).map_err(|error| error.kind())
        }
    });
    let outcomes = futures_util::future::join_all(updates).await;
    let winners: Vec<_> = outcomes.iter().flatten().collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Ok(_) | Err(ErrorKind::Conflict)))
    );
    let read = store.task_states().get(&task_id("t1")).await.unwrap().unwrap();
    assert_eq!((read.version, read.output), (2, Some(json!(winners[0]))));
}

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
        let page = async |request| tasks.list(filter.clone(), request).await.unwrap();
        assert_eq!(ids(&walk(2, page).await), expected, "{filter:?}");
    }
}

/// All items of a list, page by page.
async fn walk<T>(limit: u32, list: impl AsyncFn(PageRequest) -> Page<T>) -> Vec<T> {
    let mut items = vec![];
    let mut request = PageRequest::first(limit);
    loop {
        let page = list(request).await;
        assert!(page.items.len() <= limit as usize);
        items.extend(page.items);
        match page.next {
            Some(cursor) => request = PageRequest::after(cursor, limit),
            None => return items,
        }
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
    for limit in [1, 2, 50] {
        let page = async |request| tasks.in_workflow(&exec_id("e1"), request).await.unwrap();
        assert_eq!(ids(&walk(limit, page).await), ["a", "c", "b"]);
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
    for limit in [1, 2, 50] {
        let page = async |request| tasks.children(&task_id("root"), request).await.unwrap();
        assert_eq!(ids(&walk(limit, page).await), ["z", "a", "m"]);
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
    let page = async |request| tasks.children_outputs(&task_id("root"), request).await.unwrap();
    let expected = [("z", json!({"n": 1})), ("a", json!(null))].map(|(id, output)| TaskOutput {
        task_exec_id: task_id(id),
        task_id: a_key(&format!("task {id}")),
        status: ExecutionStatus::Success,
        output,
    });
    for limit in [1, 50] {
        assert_eq!(walk(limit, page).await, expected);
    }
}

fn places(tree: &TaskTree) -> Vec<(u32, &str)> {
    let tasks = tree.tasks.iter();
    tasks
        .map(|node| (node.depth, node.task.task_exec_id.as_str()))
        .collect()
}

async fn a_tree_comes_level_by_level<W: World>(store: W) {
    with_tasks(
        &store,
        [
            a_task("root", "e1"),
            a_child("z", "root"),
            a_child("zz", "z"),
            a_child("a", "root"),
            a_child("aa", "a"),
            a_task("other", "e1"),
            a_child("child of other", "other"),
        ],
    )
    .await;
    let tree = store.task_states().tree(&task_id("root"), 10).await.unwrap();
    assert_eq!(places(&tree), [(0, "root"), (1, "z"), (1, "a"), (2, "zz"), (2, "aa")]);
    assert!(!tree.goes_deeper);
    assert_eq!(
        tree.tasks[1].task,
        store.task_states().get(&task_id("z")).await.unwrap().unwrap()
    );
    let below = store.task_states().tree(&task_id("a"), 10).await.unwrap();
    assert_eq!(places(&below), [(0, "a"), (1, "aa")]);
    let nothing = store.task_states().tree(&task_id("nobody"), 10).await.unwrap();
    assert_eq!(nothing, TaskTree::default());
}

async fn a_tree_ends_at_its_depth_and_says_so<W: World>(store: W) {
    with_tasks(&store, [a_task("root", "e1"), a_child("a", "root"), a_child("b", "a")]).await;
    for (depth, expected, deeper) in [
        (0, vec![(0, "root")], true),
        (1, vec![(0, "root"), (1, "a")], true),
        (2, vec![(0, "root"), (1, "a"), (2, "b")], false),
        (TaskTree::MAX_DEPTH, vec![(0, "root"), (1, "a"), (2, "b")], false),
    ] {
        let tree = store.task_states().tree(&task_id("root"), depth).await.unwrap();
        assert_eq!((places(&tree), tree.goes_deeper), (expected, deeper), "depth {depth}");
    }
    let outcome = store
        .task_states()
        .tree(&task_id("root"), TaskTree::MAX_DEPTH + 1)
        .await;
    let error = refused(outcome, ErrorKind::InvalidInput, None);
    assert!(error.to_string().contains("depth"), "{error}");
}

async fn a_tree_of_a_hundred_levels_is_complete<W: World>(store: W) {
    store.workflow_states().upsert(an_execution("e1")).await.unwrap();
    for level in 0..=101 {
        let task = match level {
            0 => a_task("0", "e1"),
            _ => a_child(&level.to_string(), &(level - 1).to_string()),
        };
        store.task_states().upsert(task).await.unwrap();
    }
    let tree = store.task_states().tree(&task_id("0"), 100).await.unwrap();
    assert!(tree.goes_deeper);
    let levels: Vec<_> = tree.tasks.iter().map(|node| node.depth).collect();
    assert_eq!(levels, (0..=100).collect::<Vec<_>>());
    let tree = store.task_states().tree(&task_id("1"), 100).await.unwrap();
    assert_eq!((tree.tasks.len(), tree.goes_deeper), (101, false));
}

async fn progress_counts_every_status<W: World>(store: W) {
    store.workflow_states().upsert(an_execution("e1")).await.unwrap();
    store.task_states().upsert(a_task("root", "e1")).await.unwrap();
    for (at, word) in ExecutionStatus::WORDS.iter().enumerate() {
        for n in 0..=at {
            let child = NewTaskState {
                status: word.parse().unwrap(),
                ..a_child(&format!("{word}-{n}"), "root")
            };
            store.task_states().upsert(child).await.unwrap();
        }
    }
    let children = TaskGroup::ChildrenOf(task_id("root"));
    let progress = store.task_states().progress(children).await.unwrap();
    let expected = Progress {
        pending: 1,
        running: 2,
        waiting: 3,
        paused: 4,
        success: 5,
        failed: 6,
        canceled: 7,
        timed_out: 8,
    };
    assert_eq!(progress, expected);
    assert_eq!(
        (progress.total(), progress.unfinished(), progress.failures()),
        (36, 10, 21)
    );
    assert!((progress.completion_rate() - 5.0 / 36.0).abs() < 1e-12);
    assert!((progress.failure_rate() - 21.0 / 36.0).abs() < 1e-12);
    let everything = TaskGroup::InWorkflow(exec_id("e1"));
    let progress = store.task_states().progress(everything).await.unwrap();
    assert_eq!(progress, Progress { running: 3, ..expected });
}

async fn progress_of_nothing_is_zero<W: World>(store: W) {
    for group in [
        TaskGroup::ChildrenOf(task_id("nobody")),
        TaskGroup::InWorkflow(exec_id("nowhere")),
    ] {
        let progress = store.task_states().progress(group).await.unwrap();
        assert_eq!(progress, Progress::default());
        assert!(progress.completion_rate().abs() + progress.failure_rate().abs() < f64::EPSILON);
    }
}

async fn merged_usage_adds_up<W: World>(store: W) {
    with_tasks(&store, [a_task("t1", "e1"), a_task("t2", "e1")]).await;
    let merges = (0..12).map(|_| {
        let store = store.clone();
        async move {
            let usage = vec![Usage::new("acme", "m").with("tokens", 2)];
            store.task_states().merge_usage(&task_id("t1"), usage).await.unwrap();
        }
    });
    futures_util::future::join_all(merges).await;
    let read = store.task_states().get(&task_id("t1")).await.unwrap().unwrap();
    assert_eq!(
        read.usage,
        Some(vec![json!({"provider": "acme", "model": "m", "tokens": 24})])
    );
    assert_eq!(read.version, 13);
    let other = store.task_states().get(&task_id("t2")).await.unwrap().unwrap();
    assert_eq!((other.usage, other.version), (None, 1));
    let bad = vec![Usage::new("acme", "m").with("tokens", i64::MAX)];
    refused(
        store.task_states().merge_usage(&task_id("t1"), bad).await,
        ErrorKind::InvalidInput,
        None,
    );
    assert_eq!(
        store.task_states().get(&task_id("t1")).await.unwrap().unwrap().version,
        13
    );
}

async fn what_is_missing_is_not_found<W: World>(store: W) {
    with_tasks(&store, []).await;
    let tasks = store.task_states();
    for workflow in ["e1", "nowhere"] {
        let outcome = tasks.update_if_version(a_task("nobody", workflow), 1).await;
        let error = refused(outcome, ErrorKind::NotFound, None);
        assert!(error.to_string().contains("nobody"), "{error}");
    }
    let usage = vec![Usage::new("p", "m")];
    refused(
        tasks.merge_usage(&task_id("nobody"), usage).await,
        ErrorKind::NotFound,
        None,
    );
}

async fn nul_and_blank_texts_are_refused<W: World>(store: W) {
    with_tasks(&store, [a_task("t1", "e1")]).await;
    for bad in [String::new(), "x".repeat(513), "a\0".into()] {
        refused(TaskExecId::new(bad.clone()), ErrorKind::InvalidInput, None);
        refused(TaskKey::new(bad), ErrorKind::InvalidInput, None);
    }
    let bad = || Some(json!({"k\0": 1}));
    for (field, task) in [
        (
            "component",
            NewTaskState {
                component: " ".into(),
                ..a_task("t1", "e1")
            },
        ),
        (
            "component",
            NewTaskState {
                component: "a\0".into(),
                ..a_task("t1", "e1")
            },
        ),
        (
            "input",
            NewTaskState {
                input: bad(),
                ..a_task("t1", "e1")
            },
        ),
        (
            "output",
            NewTaskState {
                output: bad(),
                ..a_task("t1", "e1")
            },
        ),
        (
            "error",
            NewTaskState {
                error: bad(),
                ..a_task("t1", "e1")
            },
        ),
        (
            "usage[0]",
            NewTaskState {
                usage: bad().map(|bad| vec![bad]),
                ..a_task("t1", "e1")
            },
        ),
    ] {
        let tasks = store.task_states();
        for outcome in [tasks.upsert(task.clone()).await, tasks.update_if_version(task, 1).await] {
            let error = refused(outcome, ErrorKind::InvalidInput, None);
            assert!(error.to_string().contains(field), "{error}");
        }
    }
    let read = store.task_states().get(&task_id("t1")).await.unwrap().unwrap();
    assert_eq!(read.version, 1);
}
