//! Retention beside a change of the same rows: what has become young again while the prune waited stays.

use std::time::Duration;

use chrono::TimeDelta;
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::json;
use store::prelude::*;
use store::testkit::TestDatabase;

use super::{literal, sql, within};
use crate::support::{SettableClock, a_bot, key, open_with};

store::testkit::tests! {
    on_both: [
        an_acknowledged_set_survives_a_purge_at_the_same_time,
        a_counter_that_begins_anew_survives_a_purge_at_the_same_time,
        a_key_that_is_prolonged_survives_a_prune_at_the_same_time,
        a_run_that_is_opened_again_survives_a_prune_at_the_same_time,
        calls_of_a_mission_that_is_reopened_survive_a_prune_at_the_same_time,
    ],
    on_postgres: [calls_of_a_mission_that_was_reopened_survive_a_prune_under_way],
}

async fn at(db: &TestDatabase) -> (Store, SettableClock) {
    let clock = SettableClock::new();
    (open_with(db, &clock).await, clock)
}

/// Long enough for a task to come to where it waits: on Postgres for the row, on SQLite for the writer.
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// The prune comes while a transaction has changed what it is about to remove. How many it removed.
async fn prune_before_the_commit<P, F>(store: &Store, tx: Tx, prune: P) -> u64
where
    P: FnOnce(Store) -> F,
    F: Future<Output = store::Result<u64>> + Send + 'static,
{
    let pruning = tokio::spawn(prune(store.clone()));
    a_moment().await;
    tx.commit().await.unwrap();
    within(10_000, pruning).await.unwrap().unwrap()
}

async fn an_acknowledged_set_survives_a_purge_at_the_same_time(db: TestDatabase) {
    let (store, clock) = at(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap().id;
    let ttl = Some(Duration::from_secs(30));
    for name in ["set", "left"] {
        store.kv().set(bot, &key(name), json!("old"), ttl).await.unwrap();
    }
    clock.forward(60);
    let old = Prune::older_than(clock.time());
    let tx = store.begin().await.unwrap();
    tx.kv().set(bot, &key("set"), json!("new"), None).await.unwrap();
    let gone = prune_before_the_commit(&store, tx, |store| async move { store.kv().purge_expired(old).await });
    let gone = gone.await;
    assert_eq!(store.kv().get(bot, &key("set")).await.unwrap(), Some(json!("new")));
    assert_eq!(gone, 1, "the other one");
}

async fn a_counter_that_begins_anew_survives_a_purge_at_the_same_time(db: TestDatabase) {
    let (store, clock) = at(&db).await;
    let bot = store.bots().create(a_bot("owl")).await.unwrap().id;
    let ttl = Some(Duration::from_secs(30));
    store.kv().set(bot, &key("count"), json!(7), ttl).await.unwrap();
    clock.forward(60);
    let old = Prune::older_than(clock.time());
    let tx = store.begin().await.unwrap();
    assert_eq!(tx.kv().increment(bot, &key("count"), 1).await.unwrap(), 1);
    prune_before_the_commit(&store, tx, |store| async move { store.kv().purge_expired(old).await }).await;
    assert_eq!(store.kv().increment(bot, &key("count"), 1).await.unwrap(), 2);
}

/// Nothing in the contract prolongs a key; a user's own statement may.
async fn a_key_that_is_prolonged_survives_a_prune_at_the_same_time(db: TestDatabase) {
    let (store, clock) = at(&db).await;
    let ending = NewApiKey {
        expires_at: Some(clock.time() + TimeDelta::seconds(30)),
        ..NewApiKey::default()
    };
    let issued = store.api_keys().issue(ending).await.unwrap().key.id;
    clock.forward(60);
    let old = Prune::older_than(clock.time());
    let tx = store.begin().await.unwrap();
    let prolong = format!(
        "UPDATE api_keys SET expires_at = NULL WHERE id = {}",
        literal(&db, issued.0)
    );
    assert_eq!(sql(&tx, prolong).await.unwrap(), 1);
    prune_before_the_commit(&store, tx, |store| async move { store.api_keys().prune(old).await }).await;
    assert!(store.api_keys().get(issued).await.unwrap().is_some());
}

/// Nothing in the contract opens an ended run again; a user's own statement may.
async fn a_run_that_is_opened_again_survives_a_prune_at_the_same_time(db: TestDatabase) {
    let (store, clock) = at(&db).await;
    let workflows = store.workflows();
    let draft = WorkflowDraft::new(WorkflowName::new("w").unwrap(), json!({}));
    let workflow = workflows.save_definition(draft).await.unwrap().id;
    let run = workflows.create_run(NewRun::new(workflow)).await.unwrap().id;
    let ended = RunChange::to(RunStatus::Cancelled);
    workflows.update_run_status(run, ended, None).await.unwrap();
    clock.forward(60);
    let old = Prune::older_than(clock.time());
    let tx = store.begin().await.unwrap();
    let open_again = format!(
        "UPDATE workflow_runs SET status = 'pending', completed_at = NULL WHERE id = {}",
        literal(&db, run.0)
    );
    assert_eq!(sql(&tx, open_again).await.unwrap(), 1);
    prune_before_the_commit(
        &store,
        tx,
        |store| async move { store.workflows().prune_runs(old).await },
    )
    .await;
    assert!(store.workflows().get_run(run).await.unwrap().is_some());
}

async fn an_ended_mission_with_calls(store: &Store, clock: &SettableClock) -> (MissionId, Prune) {
    let missions = store.missions();
    let mission = missions.create(NewMission::new(MissionPhase::Coding)).await.unwrap();
    for n in 0..3 {
        let call = NewToolCall::new("read", json!({ "n": n }));
        missions.log_tool_call(mission, call).await.unwrap();
    }
    missions.update_status(mission, MissionStatus::Completed).await.unwrap();
    clock.forward(60);
    (mission, Prune::older_than(clock.time()))
}

async fn calls(on: &impl Repositories, mission: MissionId) -> store::Result<usize> {
    let (all, page) = (ToolCallFilter::default(), PageRequest::default());
    let page = on.missions().tool_history(mission, all, page).await?;
    Ok(page.items.len())
}

/// Who reopens it has looked at the calls: a prune in between would not fit before the reopening, nor after it.
async fn calls_of_a_mission_that_is_reopened_survive_a_prune_at_the_same_time(db: TestDatabase) {
    let (store, clock) = at(&db).await;
    let (mission, old) = an_ended_mission_with_calls(&store, &clock).await;
    let tx = store.begin().await.unwrap();
    assert_eq!(calls(&tx, mission).await.unwrap(), 3);
    tx.missions()
        .update_status(mission, MissionStatus::InProgress)
        .await
        .unwrap();
    let prune = |store: Store| async move { store.missions().prune_tool_calls(old).await };
    let gone = prune_before_the_commit(&store, tx, prune).await;
    assert_eq!((calls(&store, mission).await.unwrap(), gone), (3, 0));
}

/// The prune waits for a row that somebody has locked. Who hears meanwhile that the mission is open again finds its
/// calls there afterwards.
async fn calls_of_a_mission_that_was_reopened_survive_a_prune_under_way(db: TestDatabase) {
    let (store, clock) = at(&db).await;
    let (mission, old) = an_ended_mission_with_calls(&store, &clock).await;
    let connections = db.config().connect().await.unwrap();
    let somebody = connections.writer.begin().await.unwrap();
    somebody
        .execute_unprepared("SELECT id FROM tool_calls FOR UPDATE")
        .await
        .unwrap();
    let pruning = tokio::spawn({
        let store = store.clone();
        async move { store.missions().prune_tool_calls(old).await }
    });
    a_moment().await;
    let mut reopening = tokio::spawn({
        let store = store.clone();
        async move { store.missions().update_status(mission, MissionStatus::InProgress).await }
    });
    let acknowledged = tokio::time::timeout(Duration::from_millis(500), &mut reopening).await;
    if let Ok(reopened) = &acknowledged {
        reopened.as_ref().unwrap().as_ref().unwrap();
    }
    somebody.rollback().await.unwrap();
    let gone = within(10_000, pruning).await.unwrap().unwrap();
    let left = calls(&store, mission).await.unwrap();
    match acknowledged {
        Ok(_) => assert_eq!((left, gone), (3, 0), "it was open again before any of them went"),
        // It came after the prune.
        Err(_) => drop(within(10_000, reopening).await.unwrap().unwrap()),
    }
    connections.close().await;
}
