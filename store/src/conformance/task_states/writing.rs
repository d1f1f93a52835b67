//! Tasks that are written: as a whole, by their version, and never moved.

use serde_json::json;

use super::{a_child, a_key, a_task, task_id, with_tasks};
use crate::ErrorKind;
use crate::conformance::workflow_states::{an_execution, exec_id};
use crate::conformance::{World, cases, refused};
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
    merged_usage_adds_up,
    what_is_missing_is_not_found,
    nul_and_blank_texts_are_refused,
];

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
