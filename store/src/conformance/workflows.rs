//! Definitions of workflows.

use std::time::Duration;

use serde_json::{Value, json};

use super::{World, a_bot, cases, nowhere, pages, refused};
use crate::ErrorKind;
use crate::contract::*;

cases![
    what_save_returns_a_later_read_returns,
    saving_again_replaces_all_but_id_and_created_at,
    saving_under_an_id_of_the_callers_own_keeps_it,
    a_global_name_is_taken_once,
    a_bots_name_is_taken_once_and_is_not_the_global_one,
    a_rename_to_a_taken_name_is_a_conflict,
    an_unknown_owner_is_a_foreign_key_error,
    a_workflow_can_change_hands,
    list_is_by_name_for_each_owner_and_for_all,
    a_workflow_with_runs_is_not_deleted,
    delete_answers_whether_there_was_one,
    purge_takes_runs_and_steps_along,
    purge_of_a_missing_workflow_is_not_found,
    a_deleted_bot_takes_its_workflows_and_their_runs_along,
    a_purge_among_new_runs_leaves_nothing_half,
    definitions_come_back_as_they_were,
    nul_is_refused_in_definitions,
];

pub(super) fn name(text: &str) -> WorkflowName {
    WorkflowName::new(text).unwrap()
}

pub(super) fn draft(text: &str) -> WorkflowDraft {
    WorkflowDraft::new(name(text), json!({"steps": ["one", "two"]}))
}

/// A global workflow of this name.
pub(super) async fn saved(store: &impl World, text: &str) -> Workflow {
    store.workflows().save_definition(draft(text)).await.unwrap()
}

/// A pending run of a workflow of this name.
pub(super) async fn a_run(store: &impl World, text: &str) -> WorkflowRun {
    let workflow = saved(store, text).await;
    store.workflows().create_run(NewRun::new(workflow.id)).await.unwrap()
}

async fn what_save_returns_a_later_read_returns<W: World>(store: W) {
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let draft = draft("night watch").owned_by(Owner::Bot(bot.id));
    let saved = store.workflows().save_definition(draft).await.unwrap();
    assert_eq!(saved.owner, Owner::Bot(bot.id));
    assert_eq!(saved.definition, json!({"steps": ["one", "two"]}));
    assert_eq!(saved.created_at, saved.updated_at);
    let read = store.workflows().get_definition(saved.id).await.unwrap();
    assert_eq!(read, Some(saved.clone()));
    let named = store
        .workflows()
        .get_definition_by_name(&saved.name, saved.owner)
        .await
        .unwrap();
    assert_eq!(named, Some(saved));
    assert_eq!(store.workflows().get_definition(nowhere()).await.unwrap(), None);
}

async fn saving_again_replaces_all_but_id_and_created_at<W: World>(store: W) {
    let first = saved(&store, "a").await;
    let other = saved(&store, "other").await;
    let run = store.workflows().create_run(NewRun::new(first.id)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let next = WorkflowDraft {
        id: Some(first.id),
        name: name("b"),
        owner: Owner::Global,
        definition: json!([]),
    };
    let second = store.workflows().save_definition(next).await.unwrap();
    assert!(second.updated_at > first.updated_at);
    let expected = Workflow {
        name: name("b"),
        definition: json!([]),
        updated_at: second.updated_at,
        ..first.clone()
    };
    assert_eq!(second, expected);
    assert_eq!(store.workflows().get_definition(first.id).await.unwrap(), Some(second));
    assert_eq!(store.workflows().get_definition(other.id).await.unwrap(), Some(other));
    let kept = store.workflows().get_run(run.id).await.unwrap().unwrap();
    assert_eq!(kept.workflow_name, name("a"), "a run keeps the name it was made under");
}

async fn saving_under_an_id_of_the_callers_own_keeps_it<W: World>(store: W) {
    let id: WorkflowId = nowhere();
    let draft = WorkflowDraft {
        id: Some(id),
        ..draft("a")
    };
    let saved = store.workflows().save_definition(draft.clone()).await.unwrap();
    assert_eq!(saved.id, id);
    // The same name under the same id is no clash.
    assert_eq!(store.workflows().save_definition(draft).await.unwrap().id, id);
    assert_eq!(names(&store, None).await, ["a"]);
}

async fn a_global_name_is_taken_once<W: World>(store: W) {
    let first = saved(&store, "a").await;
    let outcome = store.workflows().save_definition(draft("a")).await;
    refused(outcome, ErrorKind::Conflict, Some("uq_workflows_name"));
    assert_eq!(store.workflows().get_definition(first.id).await.unwrap(), Some(first));
    assert_eq!(names(&store, None).await, ["a"]);
}

async fn a_bots_name_is_taken_once_and_is_not_the_global_one<W: World>(store: W) {
    let owl = Owner::Bot(store.bots().create(a_bot("owl")).await.unwrap().id);
    let bat = Owner::Bot(store.bots().create(a_bot("bat")).await.unwrap().id);
    let mut ids = vec![];
    for owner in [Owner::Global, owl, bat] {
        let saved = store.workflows().save_definition(draft("a").owned_by(owner)).await;
        ids.push(saved.unwrap().id);
    }
    let outcome = store.workflows().save_definition(draft("a").owned_by(owl)).await;
    refused(outcome, ErrorKind::Conflict, Some("uq_workflows_owner_bot_id_name"));
    for (owner, id) in [Owner::Global, owl, bat].into_iter().zip(ids) {
        let found = store.workflows().get_definition_by_name(&name("a"), owner).await;
        assert_eq!(found.unwrap().map(|workflow| workflow.id), Some(id));
    }
    let missing = store.workflows().get_definition_by_name(&name("b"), owl).await.unwrap();
    assert_eq!(missing, None);
}

async fn a_rename_to_a_taken_name_is_a_conflict<W: World>(store: W) {
    saved(&store, "a").await;
    let b = saved(&store, "b").await;
    let rename = WorkflowDraft {
        id: Some(b.id),
        ..draft("a")
    };
    let outcome = store.workflows().save_definition(rename).await;
    refused(outcome, ErrorKind::Conflict, Some("uq_workflows_name"));
    assert_eq!(store.workflows().get_definition(b.id).await.unwrap(), Some(b));
}

async fn an_unknown_owner_is_a_foreign_key_error<W: World>(store: W) {
    let orphan = draft("a").owned_by(Owner::Bot(nowhere()));
    let outcome = store.workflows().save_definition(orphan).await;
    refused(outcome, ErrorKind::ForeignKey, Some("fk_workflows_owner_bot_id"));
    assert!(names(&store, None).await.is_empty());
}

async fn a_workflow_can_change_hands<W: World>(store: W) {
    let bot = store.bots().create(a_bot("owl")).await.unwrap();
    let workflow = saved(&store, "a").await;
    let given = WorkflowDraft {
        id: Some(workflow.id),
        ..draft("a").owned_by(Owner::Bot(bot.id))
    };
    let given = store.workflows().save_definition(given).await.unwrap();
    assert_eq!(given.owner, Owner::Bot(bot.id));
    assert!(names(&store, Some(Owner::Global)).await.is_empty());
    assert_eq!(names(&store, Some(given.owner)).await, ["a"]);
}

async fn list_is_by_name_for_each_owner_and_for_all<W: World>(store: W) {
    let owl = Owner::Bot(store.bots().create(a_bot("owl")).await.unwrap().id);
    for (text, owner) in [
        ("b", Owner::Global),
        ("Z", Owner::Global),
        ("a", owl),
        ("ä", Owner::Global),
        ("b", owl),
    ] {
        let draft = draft(text).owned_by(owner);
        store.workflows().save_definition(draft).await.unwrap();
    }
    assert_eq!(names(&store, None).await, ["Z", "a", "b", "b", "ä"]);
    assert_eq!(names(&store, Some(Owner::Global)).await, ["Z", "b", "ä"]);
    assert_eq!(names(&store, Some(owl)).await, ["a", "b"]);
    assert!(names(&store, Some(Owner::Bot(nowhere()))).await.is_empty());
    for limit in [0, PageRequest::MAX + 1] {
        let outcome = store
            .workflows()
            .list_definitions(None, PageRequest::first(limit))
            .await;
        refused(outcome, ErrorKind::InvalidInput, None);
    }
}

/// All names, two at a time.
async fn names(store: &impl World, owner: Option<Owner>) -> Vec<String> {
    let workflows = store.workflows();
    let listed = pages(2, |page| workflows.list_definitions(owner, page)).await;
    listed.into_iter().map(|workflow| workflow.name.into()).collect()
}

async fn a_workflow_with_runs_is_not_deleted<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    let outcome = store.workflows().delete_definition(run.workflow_id).await;
    refused(outcome, ErrorKind::Conflict, Some("fk_workflow_runs_workflow_id"));
    assert_eq!(store.workflows().get_run(run.id).await.unwrap(), Some(run));
    assert_eq!(names(&store, None).await, ["a"]);
}

async fn delete_answers_whether_there_was_one<W: World>(store: W) {
    let a = saved(&store, "a").await;
    saved(&store, "b").await;
    assert!(store.workflows().delete_definition(a.id).await.unwrap());
    assert!(!store.workflows().delete_definition(a.id).await.unwrap());
    assert_eq!(names(&store, None).await, ["b"]);
}

async fn purge_takes_runs_and_steps_along<W: World>(store: W) {
    let run = a_run(&store, "a").await;
    store
        .workflows()
        .create_run(NewRun::new(run.workflow_id))
        .await
        .unwrap();
    let other = a_run(&store, "b").await;
    let key = Key::new("s").unwrap();
    let mut steps = vec![];
    for run in [run.id, other.id] {
        let step = NewStep::running(key.clone());
        steps.push(store.workflows().create_step_log(run, step, None).await.unwrap());
    }
    let gone = store.workflows().purge_definition(run.workflow_id).await.unwrap();
    assert_eq!(gone, 2);
    assert_eq!(names(&store, None).await, ["b"]);
    assert_eq!(store.workflows().get_run(run.id).await.unwrap(), None);
    assert_eq!(store.workflows().get_step_log(steps[0].id).await.unwrap(), None);
    assert_eq!(store.workflows().get_run(other.id).await.unwrap(), Some(other));
    let kept = store.workflows().get_step_log(steps[1].id).await.unwrap();
    assert_eq!(kept.as_ref(), Some(&steps[1]));
}

async fn purge_of_a_missing_workflow_is_not_found<W: World>(store: W) {
    let outcome = store.workflows().purge_definition(nowhere()).await;
    let error = refused(outcome, ErrorKind::NotFound, None);
    assert_eq!(error.entity(), Some("workflow"));
}

async fn a_deleted_bot_takes_its_workflows_and_their_runs_along<W: World>(store: W) {
    let owl = store.bots().create(a_bot("owl")).await.unwrap();
    let bat = store.bots().create(a_bot("bat")).await.unwrap();
    let mut runs = vec![];
    for owner in [Owner::Bot(owl.id), Owner::Bot(bat.id), Owner::Global] {
        let draft = draft("a").owned_by(owner);
        let workflow = store.workflows().save_definition(draft).await.unwrap();
        let run = store.workflows().create_run(NewRun::new(workflow.id)).await.unwrap();
        let step = NewStep::running(Key::new("s").unwrap());
        store.workflows().create_step_log(run.id, step, None).await.unwrap();
        runs.push(run);
    }
    store.bots().delete(owl.id).await.unwrap();
    assert_eq!(names(&store, None).await, ["a", "a"]);
    for (run, steps) in runs.iter().zip([0, 1, 1]) {
        let found = store.workflows().get_run(run.id).await.unwrap();
        assert_eq!(found.is_some(), steps == 1);
        let logs = store.workflows().list_step_logs(run.id, PageRequest::default()).await;
        assert_eq!(logs.unwrap().items.len(), steps);
    }
    refused(store.bots().delete(owl.id).await, ErrorKind::NotFound, None);
}

async fn a_purge_among_new_runs_leaves_nothing_half<W: World>(store: W) {
    for _ in 0..5 {
        let workflow = saved(&store, "a").await.id;
        let adders = (0..8).map(|_| {
            let store = store.clone();
            async move { store.workflows().create_run(NewRun::new(workflow)).await }
        });
        let purge = async {
            tokio::task::yield_now().await;
            store.workflows().purge_definition(workflow).await.unwrap()
        };
        let (added, purged) = futures_util::future::join(futures_util::future::join_all(adders), purge).await;
        let mut made = 0;
        for outcome in added {
            match outcome {
                Ok(run) => {
                    made += 1;
                    assert_eq!(store.workflows().get_run(run.id).await.unwrap(), None);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
            }
        }
        assert_eq!(purged, made);
        assert!(names(&store, None).await.is_empty());
    }
}

async fn definitions_come_back_as_they_were<W: World>(store: W) {
    let deep = (0..100).fold(json!("end"), |inner, _| json!({ "then": inner }));
    for (n, definition) in [
        Value::Null,
        json!("text"),
        json!(0.1),
        json!([null, true, {"ü": "👩‍👩‍👧"}]),
        json!({}),
        deep,
    ]
    .into_iter()
    .enumerate()
    {
        let draft = WorkflowDraft::new(name(&format!("w{n}")), definition.clone());
        let saved = store.workflows().save_definition(draft).await.unwrap();
        assert_eq!(saved.definition, definition);
        assert_eq!(store.workflows().get_definition(saved.id).await.unwrap(), Some(saved));
    }
}

async fn nul_is_refused_in_definitions<W: World>(store: W) {
    let draft = WorkflowDraft::new(name("a"), json!({"steps": ["fine", "a\0b"]}));
    let outcome = store.workflows().save_definition(draft).await;
    let error = refused(outcome, ErrorKind::InvalidInput, None);
    assert!(error.to_string().contains("definition.steps[1]"), "{error}");
    assert!(names(&store, None).await.is_empty());
}
