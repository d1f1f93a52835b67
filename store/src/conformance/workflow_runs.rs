//! Runs and steps.

use std::time::Duration;

use serde_json::{Value, json};

use super::workflows::{a_run, name, saved};
use super::{World, cases, key, nowhere, pages, refused};
use crate::ErrorKind;
use crate::contract::*;

cases![
    what_create_run_returns_a_later_read_returns,
    a_run_of_an_unknown_workflow_is_not_found,
    runs_are_listed_newest_first,
    runs_are_found_by_their_concurrency_key,
    an_absent_argument_leaves_the_column_as_it_is,
    a_status_that_ends_a_run_sets_completed_at,
    runs_move_by_the_table_and_no_other_way,
    a_run_that_has_ended_takes_no_further_status,
    changing_a_missing_run_is_not_found,
    what_create_step_log_returns_a_later_read_returns,
    a_step_of_an_unknown_run_is_not_found,
    an_attempt_is_logged_once,
    steps_move_by_the_table_and_no_other_way,
    a_step_tells_when_it_ran_and_ended,
    an_absent_argument_leaves_the_steps_column_as_it_is,
    steps_are_listed_oldest_first,
    completed_steps_are_listed_once_oldest_first,
    absent_json_and_null_are_two_things,
    ended_runs_are_pruned_by_age_and_live_ones_never,
    a_dry_run_only_counts,
    nul_is_refused_in_every_field_of_runs_and_steps,
    an_attempt_below_one_is_refused,
];

async fn what_create_run_returns_a_later_read_returns<W: World>(store: W) {
    let workflow = saved(&store, "a").await;
    let new = NewRun {
        trigger_type: "schedule".into(),
        trigger_payload: Some(json!({"at": "07:00"})),
        context: json!({"n": 1}),
        concurrency_key: Some(key("one at a time")),
        ..NewRun::new(workflow.id)
    };
    let run = store.workflows().create_run(new).await.unwrap();
    assert_eq!((run.workflow_id, &run.workflow_name), (workflow.id, &name("a")));
    assert_eq!(run.status, RunStatus::Pending);
    assert_eq!(run.trigger_payload, Some(json!({"at": "07:00"})));
    assert_eq!(run.context, json!({"n": 1}));
    assert_eq!(
        (run.completed_at, run.error.as_deref(), run.lease_epoch),
        (None, None, 0)
    );
    assert_eq!(run.leased, None);
    assert_eq!(store.workflows().get_run(run.id).await.unwrap(), Some(run));
    assert_eq!(store.workflows().get_run(nowhere()).await.unwrap(), None);
}

async fn a_run_of_an_unknown_workflow_is_not_found<W: World>(store: W) {
    let error = refused(
        store.workflows().create_run(NewRun::new(nowhere())).await,
        ErrorKind::NotFound,
        None,
    );
    assert_eq!(error.entity(), Some("workflow"));
}

async fn runs_are_listed_newest_first<W: World>(store: W) {
    let workflow = saved(&store, "a").await.id;
    a_run(&store, "b").await;
    let mut made = vec![];
    for _ in 0..5 {
        let run = store.workflows().create_run(NewRun::new(workflow)).await.unwrap();
        made.push(run.id);
    }
    made.reverse();
    let first = store
        .workflows()
        .list_runs(workflow, PageRequest::first(2))
        .await
        .unwrap();
    // One more in front does not move the pages behind.
    store.workflows().create_run(NewRun::new(workflow)).await.unwrap();
    let request = PageRequest::after(first.next.unwrap(), 10);
    let rest = store.workflows().list_runs(workflow, request).await.unwrap();
    let ids = first.items.iter().chain(&rest.items).map(|run| run.id);
    assert_eq!(ids.collect::<Vec<_>>(), made);
    assert_eq!(rest.next, None);
    let outcome = store.workflows().list_runs(workflow, PageRequest::first(0)).await;
    refused(outcome, ErrorKind::InvalidInput, None);
}

async fn runs_are_found_by_their_concurrency_key<W: World>(store: W) {
    let mut made = vec![];
    for (workflow, concurrency) in [("a", Some("x")), ("b", Some("x")), ("c", Some("y")), ("d", None)] {
        let new = NewRun {
            concurrency_key: concurrency.map(key),
            ..NewRun::new(saved(&store, workflow).await.id)
        };
        made.push(store.workflows().create_run(new).await.unwrap());
    }
    let found = store
        .workflows()
        .list_runs_by_concurrency_key(&key("x"), PageRequest::default())
        .await
        .unwrap();
    assert_eq!(found.items, [made[1].clone(), made[0].clone()]);
}

async fn change(store: &impl World, run: &WorkflowRun, change: RunChange) -> crate::Result<WorkflowRun> {
    store.workflows().update_run_status(run.id, change, None).await
}

async fn an_absent_argument_leaves_the_column_as_it_is<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    let both = RunChange::to(RunStatus::Running)
        .error("slow")
        .context(json!({"step": 1}));
    let with_both = change(&store, &run, both).await.unwrap();
    let expected = WorkflowRun {
        status: RunStatus::Running,
        error: Some("slow".into()),
        context: json!({"step": 1}),
        ..run.clone()
    };
    assert_eq!(with_both, expected);
    let with_neither = change(&store, &run, RunChange::to(RunStatus::Running)).await.unwrap();
    assert_eq!(with_neither, expected);
    let null = RunChange::to(RunStatus::Running).context(Value::Null);
    let nulled = change(&store, &run, null).await.unwrap();
    assert_eq!(
        nulled.context,
        Value::Null,
        "a context of null is a context, not an absent one"
    );
    assert_eq!(nulled.error.as_deref(), Some("slow"));
    assert_eq!(store.workflows().get_run(run.id).await.unwrap(), Some(nulled));
}

async fn a_status_that_ends_a_run_sets_completed_at<W: World>(store: W) {
    for end in RunStatus::ALL.iter().filter(|status| status.is_terminal()) {
        let run = a_run(&store, end.as_str()).await;
        let running = change(&store, &run, RunChange::to(RunStatus::Running)).await.unwrap();
        assert_eq!(running.completed_at, None);
        let ended = change(&store, &run, RunChange::to(*end)).await.unwrap();
        assert!(
            ended.completed_at.is_some_and(|at| at >= run.started_at),
            "{end}: {ended:?}"
        );
    }
}

/// The statuses by which a run comes to one.
fn way_to(status: RunStatus) -> Vec<RunStatus> {
    match status {
        RunStatus::Pending => vec![],
        RunStatus::Completed | RunStatus::Crashed => vec![RunStatus::Running, status],
        other => vec![other],
    }
}

async fn runs_move_by_the_table_and_no_other_way<W: World>(store: W) {
    let workflow = saved(&store, "a").await.id;
    for from in RunStatus::ALL {
        for to in RunStatus::ALL {
            let run = store.workflows().create_run(NewRun::new(workflow)).await.unwrap();
            for status in way_to(*from) {
                change(&store, &run, RunChange::to(status)).await.unwrap();
            }
            let before = store.workflows().get_run(run.id).await.unwrap();
            let outcome = change(&store, &run, RunChange::to(*to)).await;
            if from.may_become(*to) {
                assert_eq!(outcome.unwrap().status, *to, "{from} to {to}");
            } else {
                refused(outcome, ErrorKind::InvalidTransition, None);
                assert_eq!(store.workflows().get_run(run.id).await.unwrap(), before);
            }
        }
    }
}

async fn a_run_that_has_ended_takes_no_further_status<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    change(&store, &run, RunChange::to(RunStatus::Running)).await.unwrap();
    let done = change(&store, &run, RunChange::to(RunStatus::Completed)).await.unwrap();
    let again = RunChange::to(RunStatus::Completed).error("late").context(json!(1));
    let error = refused(change(&store, &run, again).await, ErrorKind::InvalidTransition, None);
    assert!(error.to_string().contains("has ended as completed"), "{error}");
    assert_eq!(store.workflows().get_run(run.id).await.unwrap(), Some(done));
}

async fn changing_a_missing_run_is_not_found<W: World>(store: W) {
    let run = RunChange::to(RunStatus::Running);
    let outcome = store.workflows().update_run_status(nowhere(), run, None).await;
    let error = refused(outcome, ErrorKind::NotFound, None);
    assert_eq!(error.entity(), Some("workflow_run"));
    let step = StepChange::to(StepStatus::Running);
    let outcome = store.workflows().update_step_status(nowhere(), step, None).await;
    let error = refused(outcome, ErrorKind::NotFound, None);
    assert_eq!(error.entity(), Some("workflow_step"));
}

async fn log(store: &impl World, run: &WorkflowRun, step: NewStep) -> crate::Result<WorkflowStep> {
    store.workflows().create_step_log(run.id, step, None).await
}

async fn step_to(store: &impl World, step: &WorkflowStep, status: StepStatus) -> crate::Result<WorkflowStep> {
    let change = StepChange::to(status);
    store.workflows().update_step_status(step.id, change, None).await
}

async fn what_create_step_log_returns_a_later_read_returns<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    let new = NewStep {
        step_name: "Fetch the news".into(),
        attempt: 3,
        idempotency_key: Some(key("run-1/fetch")),
        input: Some(json!({"url": "https://example.org"})),
        ..NewStep::new(key("fetch"))
    };
    let step = log(&store, &run, new).await.unwrap();
    assert_eq!(
        (step.run_id, step.status, step.attempt),
        (run.id, StepStatus::Pending, 3)
    );
    assert_eq!((step.started_at, step.completed_at), (None, None));
    assert_eq!(step.input, Some(json!({"url": "https://example.org"})));
    assert_eq!((step.output.as_ref(), step.error.as_ref()), (None, None));
    assert_eq!(store.workflows().get_step_log(step.id).await.unwrap(), Some(step));
    assert_eq!(store.workflows().get_step_log(nowhere()).await.unwrap(), None);
}

async fn a_step_of_an_unknown_run_is_not_found<W: World>(store: W) {
    let step = NewStep::new(key("s"));
    let outcome = store.workflows().create_step_log(nowhere(), step.clone(), None).await;
    let error = refused(outcome, ErrorKind::NotFound, None);
    assert_eq!(error.entity(), Some("workflow_run"));
    let lease = Lease {
        run: nowhere(),
        worker: key("w"),
        epoch: 1,
    };
    let outcome = store.workflows().create_step_log(nowhere(), step, Some(&lease)).await;
    refused(outcome, ErrorKind::NotFound, None);
}

async fn an_attempt_is_logged_once<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    log(&store, &run, NewStep::new(key("s"))).await.unwrap();
    let error = refused(
        log(&store, &run, NewStep::running(key("s"))).await,
        ErrorKind::Conflict,
        Some("uq_workflow_steps_run_id_step_id_attempt"),
    );
    assert_eq!(error.operation(), Some("create_step_log"));
    let second = NewStep {
        attempt: 2,
        ..NewStep::new(key("s"))
    };
    log(&store, &run, second).await.unwrap();
    log(&store, &a_run(&store, "b").await, NewStep::new(key("s")))
        .await
        .unwrap();
    assert_eq!(steps(&store, run.id).await, ["s 1", "s 2"]);
}

async fn steps_move_by_the_table_and_no_other_way<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    for from in StepStatus::ALL {
        for to in StepStatus::ALL {
            let new = NewStep {
                status: *from,
                ..NewStep::new(key(&format!("{from} to {to}")))
            };
            let before = log(&store, &run, new).await.unwrap();
            let outcome = step_to(&store, &before, *to).await;
            if from.may_become(*to) {
                assert_eq!(outcome.unwrap().status, *to, "{from} to {to}");
            } else {
                refused(outcome, ErrorKind::InvalidTransition, None);
                let after = store.workflows().get_step_log(before.id).await.unwrap();
                assert_eq!(after, Some(before));
            }
        }
    }
}

async fn a_step_tells_when_it_ran_and_ended<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    let step = log(&store, &run, NewStep::new(key("s"))).await.unwrap();
    let waiting = step_to(&store, &step, StepStatus::WaitingApproval).await.unwrap();
    assert_eq!((waiting.started_at, waiting.completed_at), (None, None));
    let running = step_to(&store, &step, StepStatus::Running).await.unwrap();
    assert!(running.started_at.is_some());
    tokio::time::sleep(Duration::from_millis(2)).await;
    let again = step_to(&store, &step, StepStatus::Running).await.unwrap();
    assert_eq!(again.started_at, running.started_at, "the first time stays");
    let done = step_to(&store, &step, StepStatus::Completed).await.unwrap();
    assert_eq!(done.started_at, running.started_at);
    assert!(done.completed_at > done.started_at);
    let begun = log(&store, &run, NewStep::running(key("begun"))).await.unwrap();
    assert!(begun.started_at.is_some() && begun.completed_at.is_none());
    let skipped = NewStep {
        status: StepStatus::Skipped,
        ..NewStep::new(key("skipped"))
    };
    let skipped = log(&store, &run, skipped).await.unwrap();
    assert!(skipped.started_at.is_none() && skipped.completed_at.is_some());
}

async fn an_absent_argument_leaves_the_steps_column_as_it_is<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    let step = log(&store, &run, NewStep::running(key("s"))).await.unwrap();
    let both = StepChange::to(StepStatus::Running).output(json!([1])).error("once");
    let with_both = store.workflows().update_step_status(step.id, both, None).await.unwrap();
    assert_eq!(
        (with_both.output.clone(), with_both.error.as_deref()),
        (Some(json!([1])), Some("once"))
    );
    let done = step_to(&store, &step, StepStatus::Completed).await.unwrap();
    let expected = WorkflowStep {
        status: StepStatus::Completed,
        completed_at: done.completed_at,
        ..with_both
    };
    assert_eq!(done, expected);
}

/// The run's steps, two at a time, each with its attempt.
async fn steps(store: &impl World, run: WorkflowRunId) -> Vec<String> {
    let workflows = store.workflows();
    let listed = pages(2, |page| workflows.list_step_logs(run, page)).await;
    let told = listed.iter().map(|step| format!("{} {}", step.step_id, step.attempt));
    told.collect()
}

async fn steps_are_listed_oldest_first<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    for step in ["c", "a", "b", "e", "d"] {
        log(&store, &run, NewStep::new(key(step))).await.unwrap();
    }
    assert_eq!(steps(&store, run.id).await, ["c 1", "a 1", "b 1", "e 1", "d 1"]);
    assert!(steps(&store, nowhere()).await.is_empty());
    let outcome = store.workflows().list_step_logs(run.id, PageRequest::first(0)).await;
    refused(outcome, ErrorKind::InvalidInput, None);
}

async fn completed_steps_are_listed_once_oldest_first<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    for (step, attempt, status) in [
        ("c", 1, StepStatus::Completed),
        ("a", 1, StepStatus::Failed),
        ("a", 2, StepStatus::Completed),
        ("b", 1, StepStatus::Running),
        ("c", 2, StepStatus::Completed),
        ("d", 1, StepStatus::Skipped),
    ] {
        let new = NewStep {
            attempt,
            status,
            ..NewStep::new(key(step))
        };
        log(&store, &run, new).await.unwrap();
    }
    let done = store.workflows().get_completed_step_ids(run.id).await.unwrap();
    assert_eq!(done, [key("c"), key("a")]);
    let none = store.workflows().get_completed_step_ids(nowhere()).await.unwrap();
    assert!(none.is_empty());
}

async fn absent_json_and_null_are_two_things<W: World>(store: W) {
    let workflow = saved(&store, "a").await.id;
    for payload in [None, Some(Value::Null), Some(json!({}))] {
        let new = NewRun {
            trigger_payload: payload.clone(),
            ..NewRun::new(workflow)
        };
        let run = store.workflows().create_run(new).await.unwrap();
        let read = store.workflows().get_run(run.id).await.unwrap().unwrap();
        assert_eq!(read.trigger_payload, payload);
        let new = NewStep {
            input: payload.clone(),
            ..NewStep::running(key("s"))
        };
        let step = log(&store, &run, new).await.unwrap();
        let done = StepChange {
            output: payload.clone(),
            ..StepChange::to(StepStatus::Completed)
        };
        store.workflows().update_step_status(step.id, done, None).await.unwrap();
        let read = store.workflows().get_step_log(step.id).await.unwrap().unwrap();
        assert_eq!((&read.input, &read.output), (&payload, &payload));
    }
}

async fn ended_runs_are_pruned_by_age_and_live_ones_never<W: World>(store: W) {
    let workflow = saved(&store, "a").await.id;
    let mut runs = vec![];
    for status in RunStatus::ALL {
        let run = store.workflows().create_run(NewRun::new(workflow)).await.unwrap();
        log(&store, &run, NewStep::running(key("s"))).await.unwrap();
        for status in way_to(*status) {
            change(&store, &run, RunChange::to(status)).await.unwrap();
        }
        runs.push((run.id, *status));
    }
    tokio::time::sleep(Duration::from_millis(2)).await;
    let later = store.workflows().create_run(NewRun::new(workflow)).await.unwrap();
    let late = change(&store, &later, RunChange::to(RunStatus::Cancelled))
        .await
        .unwrap();

    let ended = Prune {
        batch: 3,
        ..Prune::older_than(late.completed_at.unwrap())
    };
    assert_eq!(store.workflows().prune_runs(ended).await.unwrap(), 4);
    for (id, status) in runs {
        let found = store.workflows().get_run(id).await.unwrap();
        assert_eq!(found.is_some(), !status.is_terminal(), "{status}");
        assert_eq!(steps(&store, id).await.is_empty(), status.is_terminal(), "{status}");
    }
    assert_eq!(store.workflows().get_run(late.id).await.unwrap(), Some(late));
    assert_eq!(store.workflows().prune_runs(ended).await.unwrap(), 0);
}

async fn a_dry_run_only_counts<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    let ended = change(&store, &run, RunChange::to(RunStatus::Failed)).await.unwrap();
    let after = ended.completed_at.unwrap() + chrono::TimeDelta::seconds(1);
    let counted = store.workflows().prune_runs(Prune::older_than(after).dry_run()).await;
    assert_eq!(counted.unwrap(), 1);
    assert_eq!(store.workflows().get_run(run.id).await.unwrap(), Some(ended));
    let none = Prune {
        batch: 0,
        ..Prune::older_than(after)
    };
    refused(store.workflows().prune_runs(none).await, ErrorKind::InvalidInput, None);
}

async fn nul_is_refused_in_every_field_of_runs_and_steps<W: World>(store: W) {
    let nul = || "a\0b".to_owned();
    let run = a_run(&store, "a").await;
    let usual = || NewRun::new(run.workflow_id);
    for (field, new) in [
        (
            "trigger_type",
            NewRun {
                trigger_type: nul(),
                ..usual()
            },
        ),
        (
            "trigger_payload[0]",
            NewRun {
                trigger_payload: Some(json!([nul()])),
                ..usual()
            },
        ),
        (
            "context.x",
            NewRun {
                context: json!({ "x": nul() }),
                ..usual()
            },
        ),
    ] {
        let error = refused(store.workflows().create_run(new).await, ErrorKind::InvalidInput, None);
        assert!(error.to_string().contains(field), "{error}");
    }
    for bad in [
        RunChange::to(RunStatus::Running).error(nul()),
        RunChange::to(RunStatus::Running).context(json!(nul())),
    ] {
        refused(change(&store, &run, bad).await, ErrorKind::InvalidInput, None);
    }
    assert_eq!(store.workflows().get_run(run.id).await.unwrap(), Some(run.clone()));
    let usual = || NewStep::new(key("s"));
    for bad in [
        NewStep {
            step_name: nul(),
            ..usual()
        },
        NewStep {
            step_name: " ".into(),
            ..usual()
        },
        NewStep {
            input: Some(json!(nul())),
            ..usual()
        },
    ] {
        refused(log(&store, &run, bad).await, ErrorKind::InvalidInput, None);
    }
    let step = log(&store, &run, usual()).await.unwrap();
    for bad in [
        StepChange::to(StepStatus::Running).error(nul()),
        StepChange::to(StepStatus::Running).output(json!(nul())),
    ] {
        let outcome = store.workflows().update_step_status(step.id, bad, None).await;
        refused(outcome, ErrorKind::InvalidInput, None);
    }
    assert_eq!(store.workflows().get_step_log(step.id).await.unwrap(), Some(step));
    let outcome = store.workflows().mark_crashed(run.id, Some(nul())).await;
    refused(outcome, ErrorKind::InvalidInput, None);
}

async fn an_attempt_below_one_is_refused<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    for attempt in [0, -1, i64::MIN] {
        let bad = NewStep {
            attempt,
            ..NewStep::new(key("s"))
        };
        refused(log(&store, &run, bad).await, ErrorKind::InvalidInput, None);
    }
    let last = NewStep {
        attempt: i64::MAX,
        ..NewStep::new(key("s"))
    };
    assert_eq!(log(&store, &run, last).await.unwrap().attempt, i64::MAX);
}
