//! Missions with a clock of the test's own, after a reopening, and under what only a database client can do to them.

use sea_orm::ConnectionTrait;
use serde_json::json;
use store::prelude::*;
use store::testkit::{Backend, TestDatabase};

use crate::support::{SettableClock, behind_its_back, missing, open, open_with, refused};

store::testkit::tests![
    times_come_from_the_stores_clock_and_survive_a_reopening,
    a_mission_with_50_000_calls_is_deleted_in_one_go,
    many_loggers_at_once_lose_nothing,
    a_failed_log_dooms_its_transaction_on_both,
    the_checks_hold_without_the_store_too,
    an_edited_word_is_corrupt_and_told_with_its_place,
];

async fn times_come_from_the_stores_clock_and_survive_a_reopening(db: TestDatabase) {
    let clock = SettableClock::new();
    let store = open_with(&db, &clock).await;
    let began = clock.time();
    let id = store
        .missions()
        .create(NewMission::new(MissionPhase::Planning))
        .await
        .unwrap();
    clock.forward(5);
    let call = NewToolCall::new("t", json!({})).taking_ms(1);
    let call = store.missions().log_tool_call(id, call).await.unwrap();
    let decision = store
        .missions()
        .record_decision(id, NewDecision::new("d"))
        .await
        .unwrap();
    assert_eq!((call.timestamp, decision.timestamp), (clock.time(), clock.time()));
    clock.forward(5);
    let ended = store
        .missions()
        .update_status(id, MissionStatus::Completed)
        .await
        .unwrap();
    assert_eq!((ended.created_at, ended.completed_at), (began, Some(clock.time())));
    store.close().await.unwrap();

    let store = open(&db).await;
    let missions = store.missions();
    assert_eq!(missions.get(id).await.unwrap(), Some(ended));
    let page = PageRequest::default;
    let calls = missions
        .tool_history(id, ToolCallFilter::default(), page())
        .await
        .unwrap();
    assert_eq!(calls.items, [call]);
    let decisions = missions.decisions(id, DecisionFilter::default(), page()).await.unwrap();
    assert_eq!(decisions.items, [decision]);
}

async fn a_mission_with_50_000_calls_is_deleted_in_one_go(db: TestDatabase) {
    let store = open(&db).await;
    let missions = store.missions();
    let id = missions.create(NewMission::new(MissionPhase::Testing)).await.unwrap();
    let calls = vec![NewToolCall::new("t", json!({})); 50_000];
    assert_eq!(missions.log_tool_calls(id, calls).await.unwrap().len(), 50_000);
    assert_eq!(missions.tool_stats(Some(id)).await.unwrap()[0].calls, 50_000);
    missions.delete(id).await.unwrap();
    assert_eq!(missions.tool_stats(None).await.unwrap(), []);
}

async fn many_loggers_at_once_lose_nothing(db: TestDatabase) {
    let stores = [open(&db).await, open(&db).await];
    let id = stores[0]
        .missions()
        .create(NewMission::new(MissionPhase::Coding))
        .await
        .unwrap();
    let loggers = (0..16).map(|logger| {
        let missions = stores[logger % 2].missions();
        tokio::spawn(async move {
            for _ in 0..3 {
                let call = NewToolCall::new("t", json!({}));
                missions.log_tool_call(id, call.clone()).await.unwrap();
                missions.log_tool_calls(id, vec![call; 20]).await.unwrap();
            }
        })
    });
    for logger in loggers.collect::<Vec<_>>() {
        logger.await.unwrap();
    }
    let stats = stores[1].missions().tool_stats(Some(id)).await.unwrap();
    assert_eq!(stats[0].calls, 16 * 3 * 21);
}

async fn a_failed_log_dooms_its_transaction_on_both(db: TestDatabase) {
    let store = open(&db).await;
    let tx = store.begin().await.unwrap();
    let id = tx
        .missions()
        .create(NewMission::new(MissionPhase::Coding))
        .await
        .unwrap();
    let call = NewToolCall::new("t", json!({}));
    let nowhere: MissionId = missing();
    refused(
        tx.missions().log_tool_calls(nowhere, vec![call; 3]).await,
        ErrorKind::NotFound,
        None,
    );
    refused(tx.commit().await, ErrorKind::TransactionAborted, None);
    assert_eq!(store.missions().get(id).await.unwrap(), None);
}

async fn the_checks_hold_without_the_store_too(db: TestDatabase) {
    let store = open(&db).await;
    let missions = store.missions();
    let id = missions.create(NewMission::new(MissionPhase::Coding)).await.unwrap();
    missions
        .log_tool_call(id, NewToolCall::new("t", json!({})))
        .await
        .unwrap();
    let connections = db.config().connect().await.unwrap();
    for (sql, constraint) in [
        ("UPDATE missions SET phase = 'coding'", "ck_missions_phase"),
        ("UPDATE missions SET status = 'done'", "ck_missions_status"),
        ("UPDATE tool_calls SET duration_ms = -1", "ck_tool_calls_duration_ms"),
    ] {
        let error = connections.writer.execute_unprepared(sql).await.expect_err(sql);
        assert!(error.to_string().contains(constraint), "{sql}: {error}");
    }
    connections.close().await;
}

async fn an_edited_word_is_corrupt_and_told_with_its_place(db: TestDatabase) {
    let store = open(&db).await;
    let missions = store.missions();
    let id = missions.create(NewMission::new(MissionPhase::Coding)).await.unwrap();
    for (column, word) in [("phase", "coding"), ("status", "done")] {
        let update = format!("UPDATE missions SET {column} = '{word}'");
        let drop = format!("ALTER TABLE missions DROP CONSTRAINT ck_missions_{column}");
        match db.backend() {
            Backend::Sqlite => behind_its_back(&db, &[&update]).await,
            Backend::Postgres => behind_its_back(&db, &[&drop, &update]).await,
        }
        let error = refused(missions.get(id).await, ErrorKind::Corrupt, None);
        for part in ["missions", column, &id.to_string(), word] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
        refused(
            missions.history(MissionFilter::default(), None).await,
            ErrorKind::Corrupt,
            None,
        );
        let back = match column {
            "phase" => "UPDATE missions SET phase = 'CODING'",
            _ => "UPDATE missions SET status = 'pending'",
        };
        behind_its_back(&db, &[back]).await;
        assert!(missions.get(id).await.unwrap().is_some());
    }
}
