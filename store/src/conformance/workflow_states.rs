//! Executions of workflows.

use std::time::Duration;

use serde_json::{Value, json};

use super::task_states::{a_task, task_id};
use super::{World, cases, pages, refused};
use crate::ErrorKind;
use crate::contract::*;

cases![
    what_upsert_returns_a_later_read_returns,
    an_upsert_keeps_created_at_and_replaces_the_rest,
    an_execution_stays_with_its_workflow,
    json_comes_back_as_it_was_given,
    absent_json_is_not_null,
    list_filters_by_status_and_workflow_newest_first,
    update_status_changes_the_status_alone,
    merged_usage_adds_up_by_provider_model_and_source,
    many_merges_at_once_all_count,
    a_sum_that_does_not_fit_changes_nothing,
    complete_waits_for_every_root_task,
    complete_is_failed_when_one_root_task_failed,
    complete_is_success_when_all_root_tasks_succeeded,
    complete_counts_root_tasks_only,
    delete_takes_the_tasks_along,
    what_is_missing_is_not_found,
    nul_and_over_long_keys_are_refused,
    a_cursor_of_another_list_is_refused,
];

/// A key of an execution.
pub(super) fn exec_id(text: &str) -> WorkflowExecId {
    WorkflowExecId::new(text).unwrap()
}

/// A running execution of the workflow `wf`.
pub(super) fn an_execution(id: &str) -> NewWorkflowState {
    NewWorkflowState::new(exec_id(id), WorkflowKey::new("wf").unwrap(), ExecutionStatus::Running)
}

async fn what_upsert_returns_a_later_read_returns<W: World>(store: W) {
    let new = NewWorkflowState {
        usage: Some(vec![json!({"provider": "acme", "model": "m", "tokens": 3}), json!(1)]),
        input: Some(json!({"b": [1, {"c": null}], "a": "ä"})),
        output: Some(json!("done")),
        error: Some(json!({"code": 7})),
        ..an_execution("e1")
    };
    let stored = store.workflow_states().upsert(new.clone()).await.unwrap();
    assert_eq!((stored.version, stored.status), (1, ExecutionStatus::Running));
    assert_eq!(stored.created_at, stored.updated_at);
    assert_eq!(stored.usage, new.usage);
    assert_eq!(
        (&stored.input, &stored.output, &stored.error),
        (&new.input, &new.output, &new.error)
    );
    assert_eq!(stored.created_at.timestamp_subsec_nanos() % 1000, 0);
    assert_eq!(store.workflow_states().get(&exec_id("e1")).await.unwrap(), Some(stored));
    assert_eq!(store.workflow_states().get(&exec_id("e")).await.unwrap(), None);
}

async fn an_upsert_keeps_created_at_and_replaces_the_rest<W: World>(store: W) {
    let new = NewWorkflowState {
        input: Some(json!(1)),
        usage: Some(vec![]),
        ..an_execution("e1")
    };
    let first = store.workflow_states().upsert(new).await.unwrap();
    let other = store.workflow_states().upsert(an_execution("e2")).await.unwrap();
    store.task_states().upsert(a_task("t1", "e1")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let again = NewWorkflowState {
        status: ExecutionStatus::Paused,
        output: Some(json!(2)),
        ..an_execution("e1")
    };
    let second = store.workflow_states().upsert(again).await.unwrap();
    assert_eq!((second.created_at, second.version), (first.created_at, 2));
    assert!(second.updated_at > first.updated_at);
    assert_eq!(second.status, ExecutionStatus::Paused);
    assert_eq!(
        (second.input.clone(), second.output.clone(), second.usage.clone()),
        (None, Some(json!(2)), None)
    );
    assert_eq!(store.workflow_states().get(&exec_id("e1")).await.unwrap(), Some(second));
    assert_eq!(store.workflow_states().get(&exec_id("e2")).await.unwrap(), Some(other));
    assert!(
        store.task_states().get(&task_id("t1")).await.unwrap().is_some(),
        "an upsert takes no children away"
    );
}

async fn an_execution_stays_with_its_workflow<W: World>(store: W) {
    let first = store.workflow_states().upsert(an_execution("e1")).await.unwrap();
    let elsewhere = NewWorkflowState {
        workflow_id: WorkflowKey::new("another").unwrap(),
        ..an_execution("e1")
    };
    refused(
        store.workflow_states().upsert(elsewhere).await,
        ErrorKind::Conflict,
        None,
    );
    assert_eq!(store.workflow_states().get(&exec_id("e1")).await.unwrap(), Some(first));
}

async fn json_comes_back_as_it_was_given<W: World>(store: W) {
    for value in [
        json!(null),
        json!({}),
        json!([]),
        json!(""),
        json!(false),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(0.1),
        json!({"deep": {"deeper": [[], {}, null, "x"]}}),
    ] {
        let new = NewWorkflowState {
            input: Some(value.clone()),
            output: Some(value.clone()),
            error: Some(value.clone()),
            usage: Some(vec![value.clone()]),
            ..an_execution("e1")
        };
        store.workflow_states().upsert(new).await.unwrap();
        let read = store.workflow_states().get(&exec_id("e1")).await.unwrap().unwrap();
        assert_eq!(read.input.as_ref(), Some(&value));
        assert_eq!(read.output.as_ref(), Some(&value));
        assert_eq!(read.error.as_ref(), Some(&value));
        assert_eq!(read.usage, Some(vec![value]));
    }
}

async fn absent_json_is_not_null<W: World>(store: W) {
    let null = NewWorkflowState {
        input: Some(Value::Null),
        ..an_execution("null")
    };
    store.workflow_states().upsert(null).await.unwrap();
    store.workflow_states().upsert(an_execution("absent")).await.unwrap();
    let read = async |id| store.workflow_states().get(&exec_id(id)).await.unwrap().unwrap();
    let (null, absent) = (read("null").await, read("absent").await);
    assert_eq!((&null.input, &null.output), (&Some(Value::Null), &None));
    assert_eq!((&absent.input, &absent.usage), (&None, &None));
    // And as JSON they still differ.
    for state in [null, absent] {
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<WorkflowState>(&text).unwrap(), state);
    }
}

async fn list_filters_by_status_and_workflow_newest_first<W: World>(store: W) {
    for (id, workflow, status) in [
        ("e1", "a", ExecutionStatus::Running),
        ("e2", "b", ExecutionStatus::Running),
        ("e3", "a", ExecutionStatus::TimedOut),
        ("e4", "a", ExecutionStatus::Running),
    ] {
        let new = NewWorkflowState::new(exec_id(id), WorkflowKey::new(workflow).unwrap(), status);
        store.workflow_states().upsert(new).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let of_a = Some(WorkflowKey::new("a").unwrap());
    let running = Some(ExecutionStatus::Running);
    for (status, workflow_id, expected) in [
        (None, None, vec!["e4", "e3", "e2", "e1"]),
        (running, None, vec!["e4", "e2", "e1"]),
        (None, of_a.clone(), vec!["e4", "e3", "e1"]),
        (running, of_a.clone(), vec!["e4", "e1"]),
        (Some(ExecutionStatus::Paused), of_a, vec![]),
    ] {
        let filter = WorkflowStateFilter { status, workflow_id };
        for limit in [1, 2, 50] {
            assert_eq!(keys(&store, &filter, limit).await, expected, "{filter:?}");
        }
    }
}

/// The keys of all executions that the filter wants, page by page.
async fn keys(store: &impl World, filter: &WorkflowStateFilter, limit: u32) -> Vec<String> {
    let states = store.workflow_states();
    let listed = pages(limit, |page| states.list(filter.clone(), page)).await;
    listed.into_iter().map(|state| state.workflow_exec_id.into()).collect()
}

async fn update_status_changes_the_status_alone<W: World>(store: W) {
    let new = NewWorkflowState {
        input: Some(json!({})),
        usage: Some(vec![json!({})]),
        ..an_execution("e1")
    };
    let before = store.workflow_states().upsert(new).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    for (at, word) in ExecutionStatus::WORDS.iter().enumerate() {
        let status = word.parse().unwrap();
        let after = store
            .workflow_states()
            .update_status(&exec_id("e1"), status)
            .await
            .unwrap();
        assert!(after.updated_at > before.updated_at);
        let expected = WorkflowState {
            status,
            version: 2 + i64::try_from(at).unwrap(),
            updated_at: after.updated_at,
            ..before.clone()
        };
        assert_eq!(after, expected);
        assert_eq!(store.workflow_states().get(&exec_id("e1")).await.unwrap(), Some(after));
    }
}

async fn merged_usage_adds_up_by_provider_model_and_source<W: World>(store: W) {
    store.workflow_states().upsert(an_execution("e1")).await.unwrap();
    let usage = || Usage::new("acme", "m-1");
    let merge = async |usage| {
        let states = store.workflow_states();
        states.merge_usage(&exec_id("e1"), usage).await.unwrap()
    };
    merge(vec![usage().with("tokens", 10).with("cost", 0.5)]).await;
    merge(vec![
        usage().with("tokens", 5).with("cost", 0.25).with("calls", 1),
        usage().from_source("tool").with("tokens", 1),
        Usage::new("acme", "m-2").with("tokens", 100),
    ])
    .await;
    let merged = merge(vec![usage().from_source("tool").with("tokens", 2)]).await;
    let expected = vec![
        json!({"provider": "acme", "model": "m-1", "tokens": 15, "cost": 0.75, "calls": 1}),
        json!({"provider": "acme", "model": "m-1", "source": "tool", "tokens": 3}),
        json!({"provider": "acme", "model": "m-2", "tokens": 100}),
    ];
    assert_eq!((merged.usage.as_ref(), merged.version), (Some(&expected), 4));
    assert_eq!(store.workflow_states().get(&exec_id("e1")).await.unwrap(), Some(merged));
}

async fn many_merges_at_once_all_count<W: World>(store: W) {
    store.workflow_states().upsert(an_execution("e1")).await.unwrap();
    let tasks = (0..16).map(|_| {
        let store = store.clone();
        async move {
            for _ in 0..3 {
                let usage = vec![Usage::new("acme", "m").with("calls", 1)];
                store
                    .workflow_states()
                    .merge_usage(&exec_id("e1"), usage)
                    .await
                    .unwrap();
            }
        }
    });
    futures_util::future::join_all(tasks).await;
    let state = store.workflow_states().get(&exec_id("e1")).await.unwrap().unwrap();
    assert_eq!(
        state.usage,
        Some(vec![json!({"provider": "acme", "model": "m", "calls": 48})])
    );
    assert_eq!(state.version, 49);
}

async fn a_sum_that_does_not_fit_changes_nothing<W: World>(store: W) {
    let new = NewWorkflowState {
        usage: Some(vec![
            json!({"provider": "acme", "model": "m", "tokens": i64::MAX, "name": "x"}),
        ]),
        ..an_execution("e1")
    };
    let before = store.workflow_states().upsert(new).await.unwrap();
    let usage = || Usage::new("acme", "m");
    for bad in [
        usage().with("tokens", 1),
        usage().with("tokens", "one"),
        usage().with("name", "\0"),
        Usage::new("", "m"),
    ] {
        let outcome = store.workflow_states().merge_usage(&exec_id("e1"), vec![bad]).await;
        let error = refused(outcome, ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains("usage"), "{error}");
    }
    assert_eq!(store.workflow_states().get(&exec_id("e1")).await.unwrap(), Some(before));
}

/// An execution with root tasks of these statuses.
async fn with_roots<W: World>(store: &W, id: &str, statuses: &[ExecutionStatus]) {
    store.workflow_states().upsert(an_execution(id)).await.unwrap();
    for (at, status) in statuses.iter().enumerate() {
        let task = NewTaskState {
            status: *status,
            ..a_task(&format!("{id}-{at}"), id)
        };
        store.task_states().upsert(task).await.unwrap();
    }
}

async fn complete_waits_for_every_root_task<W: World>(store: W) {
    for status in [
        ExecutionStatus::Pending,
        ExecutionStatus::Running,
        ExecutionStatus::Waiting,
        ExecutionStatus::Paused,
    ] {
        let id = status.as_str();
        let roots = [ExecutionStatus::Success, ExecutionStatus::Failed, status];
        with_roots(&store, id, &roots).await;
        refused(
            store.workflow_states().complete(&exec_id(id)).await,
            ErrorKind::NotReady,
            None,
        );
        let state = store.workflow_states().get(&exec_id(id)).await.unwrap().unwrap();
        assert_eq!((state.status, state.version), (ExecutionStatus::Running, 1));
    }
}

async fn complete_is_failed_when_one_root_task_failed<W: World>(store: W) {
    for status in [
        ExecutionStatus::Failed,
        ExecutionStatus::TimedOut,
        ExecutionStatus::Canceled,
    ] {
        let id = status.as_str();
        with_roots(&store, id, &[ExecutionStatus::Success, status]).await;
        let state = store.workflow_states().complete(&exec_id(id)).await.unwrap();
        assert_eq!((state.status, state.version), (ExecutionStatus::Failed, 2));
        assert_eq!(store.workflow_states().get(&exec_id(id)).await.unwrap(), Some(state));
    }
}

async fn complete_is_success_when_all_root_tasks_succeeded<W: World>(store: W) {
    with_roots(&store, "e1", &[ExecutionStatus::Success, ExecutionStatus::Success]).await;
    with_roots(&store, "without tasks", &[]).await;
    with_roots(&store, "other", &[ExecutionStatus::Failed]).await;
    for id in ["e1", "without tasks"] {
        let state = store.workflow_states().complete(&exec_id(id)).await.unwrap();
        assert_eq!(state.status, ExecutionStatus::Success);
    }
    let other = store.workflow_states().get(&exec_id("other")).await.unwrap().unwrap();
    assert_eq!(other.status, ExecutionStatus::Running);
}

async fn complete_counts_root_tasks_only<W: World>(store: W) {
    with_roots(&store, "e1", &[ExecutionStatus::Success]).await;
    for (id, status) in [
        ("failed", ExecutionStatus::Failed),
        ("running", ExecutionStatus::Running),
    ] {
        let child = NewTaskState {
            status,
            parent_state_id: Some(task_id("e1-0")),
            ..a_task(id, "e1")
        };
        store.task_states().upsert(child).await.unwrap();
    }
    let state = store.workflow_states().complete(&exec_id("e1")).await.unwrap();
    assert_eq!(state.status, ExecutionStatus::Success);
}

async fn delete_takes_the_tasks_along<W: World>(store: W) {
    with_roots(&store, "e1", &[ExecutionStatus::Success; 2]).await;
    with_roots(&store, "e2", &[ExecutionStatus::Success]).await;
    let child = NewTaskState {
        parent_state_id: Some(task_id("e1-0")),
        ..a_task("child", "e1")
    };
    store.task_states().upsert(child).await.unwrap();
    store.workflow_states().delete(&exec_id("e1")).await.unwrap();
    assert_eq!(store.workflow_states().get(&exec_id("e1")).await.unwrap(), None);
    let left = store
        .task_states()
        .list(TaskStateFilter::default(), PageRequest::default())
        .await
        .unwrap();
    assert_eq!(left.items.len(), 1);
    assert_eq!(left.items[0].task_exec_id, task_id("e2-0"));
}

async fn what_is_missing_is_not_found<W: World>(store: W) {
    let states = store.workflow_states();
    let id = exec_id("nowhere");
    let usage = vec![Usage::new("p", "m")];
    refused(
        states.update_status(&id, ExecutionStatus::Failed).await,
        ErrorKind::NotFound,
        None,
    );
    refused(states.merge_usage(&id, usage).await, ErrorKind::NotFound, None);
    refused(states.complete(&id).await, ErrorKind::NotFound, None);
    let error = refused(states.delete(&id).await, ErrorKind::NotFound, None);
    assert!(error.to_string().contains("nowhere"), "{error}");
}

async fn nul_and_over_long_keys_are_refused<W: World>(store: W) {
    for bad in [String::new(), "x".repeat(513), "a\0".into()] {
        refused(WorkflowExecId::new(bad.clone()), ErrorKind::InvalidInput, None);
        refused(WorkflowKey::new(bad), ErrorKind::InvalidInput, None);
    }
    let longest = NewWorkflowState::new(
        exec_id(&"é".repeat(256)),
        WorkflowKey::new("ü".repeat(256)).unwrap(),
        ExecutionStatus::Pending,
    );
    store.workflow_states().upsert(longest).await.unwrap();
    let bad = json!({"a": ["\0"]});
    for (field, new) in [
        (
            "input.a[0]",
            NewWorkflowState {
                input: Some(bad.clone()),
                ..an_execution("e1")
            },
        ),
        (
            "output.a[0]",
            NewWorkflowState {
                output: Some(bad.clone()),
                ..an_execution("e1")
            },
        ),
        (
            "error.a[0]",
            NewWorkflowState {
                error: Some(bad.clone()),
                ..an_execution("e1")
            },
        ),
        (
            "usage[1].a[0]",
            NewWorkflowState {
                usage: Some(vec![json!(1), bad]),
                ..an_execution("e1")
            },
        ),
    ] {
        let error = refused(store.workflow_states().upsert(new).await, ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains(field), "{error}");
    }
    assert_eq!(store.workflow_states().get(&exec_id("e1")).await.unwrap(), None);
}

async fn a_cursor_of_another_list_is_refused<W: World>(store: W) {
    with_roots(&store, "e1", &[ExecutionStatus::Success; 2]).await;
    let tasks = store
        .task_states()
        .list(TaskStateFilter::default(), PageRequest::first(1))
        .await
        .unwrap();
    let outcome = store
        .workflow_states()
        .list(
            WorkflowStateFilter::default(),
            PageRequest::after(tasks.next.unwrap(), 1),
        )
        .await;
    refused(outcome, ErrorKind::InvalidInput, None);
    for limit in [0, PageRequest::MAX + 1] {
        let outcome = store
            .workflow_states()
            .list(WorkflowStateFilter::default(), PageRequest::first(limit))
            .await;
        refused(outcome, ErrorKind::InvalidInput, None);
    }
}
