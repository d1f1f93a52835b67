//! Executions under concurrency, and what only a database client can do to them.

use std::time::Duration;

use store::prelude::*;
use store::testkit::TestDatabase;
use store::{Error, ErrorKind};

use crate::support::{behind_its_back, open, refused};

store::testkit::tests![
    a_completion_does_not_overlook_a_task_that_failed_meanwhile,
    completions_and_task_writes_at_once_have_an_order,
    a_spawner_that_looks_first_never_starts_a_task_in_a_completed_workflow,
    many_writers_share_one_workflow,
    many_writers_of_one_task_all_count,
    a_chain_of_two_thousand_tasks_is_deleted_with_its_workflow,
    the_checks_hold_without_the_store_too,
    an_edited_word_is_corrupt_and_told_with_its_place,
    edited_usage_and_execution_types_are_corrupt,
];

fn exec_id(text: &str) -> WorkflowExecId {
    WorkflowExecId::new(text).unwrap()
}

fn task_id(text: &str) -> TaskExecId {
    TaskExecId::new(text).unwrap()
}

fn a_task(id: &str, workflow: &str, status: ExecutionStatus) -> NewTaskState {
    NewTaskState::new(task_id(id), TaskKey::new("task").unwrap(), exec_id(workflow), status)
}

/// A running execution with one root task, named like it, that succeeded.
async fn with_a_root(store: &Store, id: &str) {
    let workflow = NewWorkflowState::new(exec_id(id), WorkflowKey::new("wf").unwrap(), ExecutionStatus::Running);
    store.workflow_states().upsert(workflow).await.unwrap();
    let root = a_task(id, id, ExecutionStatus::Success);
    store.task_states().upsert(root).await.unwrap();
}

async fn status_of(store: &Store, id: &str) -> ExecutionStatus {
    store.workflow_states().get(&exec_id(id)).await.unwrap().unwrap().status
}

/// Whoever sees the failed root while the execution still runs must not see it become SUCCESS. Where the writer has to
/// wait for the completion (SQLite), there is nothing to overlook.
async fn a_completion_does_not_overlook_a_task_that_failed_meanwhile(db: TestDatabase) {
    let (store, other) = (open(&db).await, open(&db).await);
    with_a_root(&store, "e1").await;
    let tx = store.begin().await.unwrap();
    let inside = tx.workflow_states().complete(&exec_id("e1")).await.unwrap();
    assert_eq!(inside.status, ExecutionStatus::Success);

    let writer = other.clone();
    let mut writing = tokio::spawn(async move {
        let failed = a_task("e1", "e1", ExecutionStatus::Failed);
        writer.task_states().upsert(failed).await.unwrap();
        status_of(&writer, "e1").await
    });
    let seen = tokio::time::timeout(Duration::from_secs(1), &mut writing).await;
    let committed = tx.commit().await;
    match seen {
        Ok(seen) => {
            assert_eq!(seen.unwrap(), ExecutionStatus::Running);
            refused(committed, ErrorKind::Contention, None);
            let again = store.workflow_states().complete(&exec_id("e1")).await.unwrap();
            assert_eq!(again.status, ExecutionStatus::Failed);
        }
        Err(_) => {
            committed.unwrap();
            assert_eq!(writing.await.unwrap(), ExecutionStatus::Success);
        }
    }
}

async fn completions_and_task_writes_at_once_have_an_order(db: TestDatabase) {
    let (store, other) = (open(&db).await, open(&db).await);
    for round in 0..25 {
        let id = &format!("e{round}");
        with_a_root(&store, id).await;
        let failing = async {
            tokio::time::sleep(Duration::from_micros(round * 150)).await;
            let failed = a_task(id, id, ExecutionStatus::Failed);
            other.task_states().upsert(failed).await.unwrap();
            status_of(&other, id).await
        };
        let completing = async { store.workflow_states().complete(&exec_id(id)).await.unwrap().status };
        let (seen, completed) = tokio::join!(failing, completing);
        if seen == ExecutionStatus::Running {
            assert_eq!(completed, ExecutionStatus::Failed, "round {round}");
        } else {
            assert_eq!(seen, completed, "round {round}");
        }
    }
}

async fn a_spawner_that_looks_first_never_starts_a_task_in_a_completed_workflow(db: TestDatabase) {
    let (store, other) = (open(&db).await, open(&db).await);
    for round in 0..25 {
        let id = &format!("e{round}");
        with_a_root(&store, id).await;
        let spawning = other.transaction(|tx| async move {
            let workflow = tx.workflow_states().get(&exec_id(id)).await?.unwrap();
            if workflow.status == ExecutionStatus::Running {
                let late = a_task(&format!("late-{id}"), id, ExecutionStatus::Pending);
                tx.task_states().upsert(late).await?;
            }
            Ok::<_, Error>(())
        });
        let completing = async { store.workflow_states().complete(&exec_id(id)).await };
        let (spawned, completed) = tokio::join!(spawning, completing);
        spawned.unwrap();
        let late = store.task_states().get(&task_id(&format!("late-{id}"))).await.unwrap();
        match completed {
            Ok(_) => assert_eq!(late, None, "round {round}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotReady);
                assert!(late.is_some());
            }
        }
    }
}

async fn many_writers_share_one_workflow(db: TestDatabase) {
    let stores = [open(&db).await, open(&db).await];
    with_a_root(&stores[0], "e1").await;
    let writers = (0..16).map(|writer| {
        let store = stores[writer % 2].clone();
        tokio::spawn(async move {
            for n in 0..4 {
                let id = format!("{writer}-{n}");
                let task = |status| NewTaskState {
                    parent_state_id: Some(task_id("e1")),
                    ..a_task(&id, "e1", status)
                };
                let tasks = store.task_states();
                tasks.upsert(task(ExecutionStatus::Running)).await.unwrap();
                let done = task(ExecutionStatus::Success);
                tasks.update_if_version(done, 1).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let children = TaskGroup::ChildrenOf(task_id("e1"));
    let progress = stores[1].task_states().progress(children).await.unwrap();
    assert_eq!((progress.success, progress.total()), (64, 64));
}

async fn many_writers_of_one_task_all_count(db: TestDatabase) {
    let stores = [open(&db).await, open(&db).await];
    with_a_root(&stores[0], "e1").await;
    let writers = (0..12).map(|writer| {
        let store = stores[writer % 2].clone();
        tokio::spawn(async move {
            let running = a_task("e1", "e1", ExecutionStatus::Running);
            store.task_states().upsert(running).await.unwrap();
            let usage = vec![Usage::new("acme", "m").with("calls", 1)];
            store.task_states().merge_usage(&task_id("e1"), usage).await.unwrap();
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let task = stores[0].task_states().get(&task_id("e1")).await.unwrap().unwrap();
    assert_eq!(task.version, 1 + 24, "every write counts once");
}

/// Deeper than SQLite lets triggers and cascades nest by default (1,000).
async fn a_chain_of_two_thousand_tasks_is_deleted_with_its_workflow(db: TestDatabase) {
    let store = open(&db).await;
    with_a_root(&store, "0").await;
    let work = |tx: Tx| async move {
        for level in 1..=2_000 {
            let task = NewTaskState {
                parent_state_id: Some(task_id(&(level - 1).to_string())),
                ..a_task(&level.to_string(), "0", ExecutionStatus::Success)
            };
            tx.task_states().upsert(task).await?;
        }
        Ok::<_, Error>(())
    };
    store.transaction(work).await.unwrap();
    let tree = store.task_states().tree(&task_id("0"), 100).await.unwrap();
    assert_eq!((tree.tasks.len(), tree.goes_deeper), (101, true));
    store.workflow_states().delete(&exec_id("0")).await.unwrap();
    let left = store
        .task_states()
        .list(TaskStateFilter::default(), PageRequest::default())
        .await
        .unwrap();
    assert_eq!(left.items, []);
}

const TIMES: &str = "'2026-01-01T00:00:00+00:00', '2026-01-01T00:00:00+00:00'";

async fn the_checks_hold_without_the_store_too(db: TestDatabase) {
    let store = open(&db).await;
    with_a_root(&store, "e1").await;
    let connections = db.config().connect().await.unwrap();
    let task = |columns: &str, values: &str| {
        format!(
            "INSERT INTO task_states (task_exec_id, task_id, component, status, workflow_exec_id, workflow_id, \
             created_at, updated_at, {columns}) VALUES ('x', 't', 'c', 'PENDING', 'e1', 'wf', {TIMES}, {values})"
        )
    };
    let workflow = |columns: &str, values: &str| {
        format!(
            "INSERT INTO workflow_states (workflow_exec_id, workflow_id, created_at, updated_at, {columns}) \
             VALUES ('x', 'wf', {TIMES}, {values})"
        )
    };
    for (sql, constraint) in [
        (workflow("status, usage", "'RUNNING', '{}'"), "ck_workflow_states_usage"),
        (
            workflow("status, usage", "'RUNNING', 'null'"),
            "ck_workflow_states_usage",
        ),
        (workflow("status", "'running'"), "ck_workflow_states_status"),
        (
            workflow("status, version", "'RUNNING', 0"),
            "ck_workflow_states_version",
        ),
        (task("usage", "'1'"), "ck_task_states_usage"),
        (task("agent_id", "'a'"), "ck_task_states_execution_type"),
        (task("action_id", "'a'"), "ck_task_states_execution_type"),
        (
            task("agent_id, action_id, tool_id", "'a', 'b', 'c'"),
            "ck_task_states_execution_type",
        ),
        (task("tool_id, agent_id", "'a', 'b'"), "ck_task_states_execution_type"),
        (
            task("execution_type, tool_id", "'router', 'a'"),
            "ck_task_states_execution_type",
        ),
    ] {
        let error = execute(&connections, &sql).await.expect_err(&sql);
        assert!(error.contains(constraint), "{sql}: {error}");
    }
    for allowed in [
        task("agent_id, action_id", "'a', 'b'"),
        task("tool_id", "'a'"),
        task("execution_type", "'router'"),
        task("execution_type, tool_id, agent_id", "'parallel', 'a', 'b'"),
        task("usage", "'[]'"),
        task("usage", "NULL"),
    ] {
        execute(&connections, &allowed).await.unwrap();
        execute(&connections, "DELETE FROM task_states WHERE task_exec_id = 'x'")
            .await
            .unwrap();
    }
    connections.close().await;
}

async fn execute(connections: &config::Connections, sql: &str) -> Result<(), String> {
    use sea_orm::ConnectionTrait;
    let done = connections.writer.execute_unprepared(sql).await;
    done.map(drop).map_err(|error| error.to_string())
}

async fn an_edited_word_is_corrupt_and_told_with_its_place(db: TestDatabase) {
    let store = open(&db).await;
    with_a_root(&store, "e1").await;
    edited(
        &db,
        &[
            ("workflow_states", "status", "'Running'"),
            ("task_states", "status", "'Running'"),
        ],
    )
    .await;
    let workflows = store.workflow_states();
    let error = refused(workflows.get(&exec_id("e1")).await, ErrorKind::Corrupt, None);
    told(&error, &["workflow_states", "status", "e1", "Running"]);
    let error = refused(store.task_states().get(&task_id("e1")).await, ErrorKind::Corrupt, None);
    told(&error, &["task_states", "status", "e1", "Running"]);
    refused(workflows.complete(&exec_id("e1")).await, ErrorKind::Corrupt, None);
}

async fn edited_usage_and_execution_types_are_corrupt(db: TestDatabase) {
    let store = open(&db).await;
    with_a_root(&store, "e1").await;
    edited(
        &db,
        &[
            ("workflow_states", "usage", "'{}'"),
            ("task_states", "execution_type", "'router', tool_id = 'x'"),
        ],
    )
    .await;
    let error = refused(
        store.workflow_states().get(&exec_id("e1")).await,
        ErrorKind::Corrupt,
        None,
    );
    told(&error, &["workflow_states", "e1", "usage"]);
    let usage = vec![Usage::new("p", "m")];
    let merged = store.workflow_states().merge_usage(&exec_id("e1"), usage).await;
    refused(merged, ErrorKind::Corrupt, None);
    let error = refused(store.task_states().get(&task_id("e1")).await, ErrorKind::Corrupt, None);
    told(&error, &["task_states", "e1", "execution_type"]);
}

/// Writes the values past the checks.
async fn edited(db: &TestDatabase, edits: &[(&str, &str, &str)]) {
    for (table, column, value) in edits {
        let mut sql = vec![];
        if db.backend() == store::testkit::Backend::Postgres {
            sql.push(format!("ALTER TABLE {table} DROP CONSTRAINT ck_{table}_{column}"));
        }
        sql.push(format!("UPDATE {table} SET {column} = {value}"));
        behind_its_back(db, &sql.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
}

#[track_caller]
fn told(error: &Error, words: &[&str]) {
    for word in words {
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
}
