//! Missions, their tool calls and their decisions.

use std::time::Duration;

use serde_json::{Value, json};

use super::{World, cases, nowhere, pages, refused};
use crate::ErrorKind;
use crate::contract::*;

cases![
    a_new_mission_is_pending_and_has_empty_metadata,
    metadata_comes_back_as_it_was_given,
    completed_and_failed_set_completed_at,
    history_is_newest_first_and_ten_by_default,
    history_filters_by_phase_and_status,
    a_logged_call_is_read_back_as_it_was_returned,
    absent_stays_absent_and_empty_stays_empty,
    a_batch_of_any_length_is_logged_in_order,
    an_unknown_mission_is_not_found_and_nothing_is_written,
    tool_history_filters_oldest_first,
    decisions_filter_oldest_first,
    tool_stats_count_and_measure_each_tool,
    durations_of_any_size_have_a_mean,
    delete_takes_calls_and_decisions_along,
    prune_removes_old_calls_of_ended_missions,
    bad_input_is_refused_before_anything_is_written,
    cursors_belong_to_their_list,
];

async fn a_mission<W: World>(store: &W) -> MissionId {
    let new = NewMission::new(MissionPhase::Coding);
    store.missions().create(new).await.unwrap()
}

fn a_call(tool: &str) -> NewToolCall {
    NewToolCall::new(tool, json!({}))
}

async fn calls<W: World>(store: &W, mission: MissionId, filter: ToolCallFilter) -> Vec<ToolCall> {
    let missions = store.missions();
    pages(7, |page| missions.tool_history(mission, filter.clone(), page)).await
}

async fn a_new_mission_is_pending_and_has_empty_metadata<W: World>(store: W) {
    let id = a_mission(&store).await;
    let mission = store.missions().get(id).await.unwrap().unwrap();
    let expected = Mission {
        id,
        phase: MissionPhase::Coding,
        status: MissionStatus::Pending,
        metadata: json!({}),
        created_at: mission.created_at,
        updated_at: mission.created_at,
        completed_at: None,
    };
    assert_eq!(mission, expected);
    assert_eq!(store.missions().get(nowhere()).await.unwrap(), None);
}

async fn metadata_comes_back_as_it_was_given<W: World>(store: W) {
    for metadata in [
        json!({}),
        json!({"goal": "ä", "steps": [1, 2.5, null], "n": {}}),
        json!([]),
        json!(null),
    ] {
        let new = NewMission::new(MissionPhase::Planning).with_metadata(metadata.clone());
        let id = store.missions().create(new).await.unwrap();
        let read = store.missions().get(id).await.unwrap().unwrap();
        assert_eq!(read.metadata, metadata);
    }
}

async fn completed_and_failed_set_completed_at<W: World>(store: W) {
    let id = a_mission(&store).await;
    let before = store.missions().get(id).await.unwrap().unwrap();
    for (status, ended) in [
        (MissionStatus::InProgress, false),
        (MissionStatus::Completed, true),
        (MissionStatus::InProgress, false),
        (MissionStatus::Failed, true),
        (MissionStatus::Pending, false),
    ] {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let after = store.missions().update_status(id, status).await.unwrap();
        assert!(after.updated_at > before.updated_at);
        let expected = Mission {
            status,
            updated_at: after.updated_at,
            completed_at: ended.then_some(after.updated_at),
            ..before.clone()
        };
        assert_eq!(after, expected);
        assert_eq!(store.missions().get(id).await.unwrap(), Some(after));
    }
    let missing: MissionId = nowhere();
    let outcome = store.missions().update_status(missing, MissionStatus::Completed).await;
    let error = refused(outcome, ErrorKind::NotFound, None);
    assert!(error.to_string().contains(&missing.to_string()), "{error}");
}

async fn history_is_newest_first_and_ten_by_default<W: World>(store: W) {
    let mut ids = vec![];
    for _ in 0..12 {
        ids.push(a_mission(&store).await);
    }
    ids.reverse();
    let found = |page: &Page<Mission>| page.items.iter().map(|mission| mission.id).collect::<Vec<_>>();
    let first = store.missions().history(MissionFilter::default(), None).await.unwrap();
    assert_eq!(found(&first), ids[..10]);
    let rest = PageRequest::after(first.next.unwrap(), 10);
    let second = store
        .missions()
        .history(MissionFilter::default(), Some(rest))
        .await
        .unwrap();
    assert_eq!((found(&second), second.next), (ids[10..].to_vec(), None));
}

async fn history_filters_by_phase_and_status<W: World>(store: W) {
    let mut ids = vec![];
    for (phase, status) in [
        (MissionPhase::Coding, MissionStatus::Completed),
        (MissionPhase::Coding, MissionStatus::InProgress),
        (MissionPhase::Testing, MissionStatus::Completed),
    ] {
        let id = store.missions().create(NewMission::new(phase)).await.unwrap();
        store.missions().update_status(id, status).await.unwrap();
        ids.push(id);
    }
    let (coding, completed) = (Some(MissionPhase::Coding), Some(MissionStatus::Completed));
    for (phase, status, expected) in [
        (None, None, vec![ids[2], ids[1], ids[0]]),
        (coding, None, vec![ids[1], ids[0]]),
        (None, completed, vec![ids[2], ids[0]]),
        (coding, completed, vec![ids[0]]),
        (Some(MissionPhase::Deployment), None, vec![]),
    ] {
        let filter = MissionFilter { phase, status };
        let missions = store.missions();
        let found = pages(1, |page| missions.history(filter, Some(page))).await;
        assert_eq!(found.iter().map(|mission| mission.id).collect::<Vec<_>>(), expected);
    }
}

async fn a_logged_call_is_read_back_as_it_was_returned<W: World>(store: W) {
    let id = a_mission(&store).await;
    let new = NewToolCall::new("search", json!({"q": ["a", 1]}))
        .answering(json!({"hits": 3}))
        .taking_ms(250)
        .failing("'; DROP TABLE tool_calls; --");
    let logged = store.missions().log_tool_call(id, new.clone()).await.unwrap();
    let expected = ToolCall {
        id: logged.id,
        mission_id: id,
        tool_name: new.tool_name,
        args: new.args,
        result: new.result,
        success: false,
        duration_ms: Some(250),
        error_message: new.error_message,
        timestamp: logged.timestamp,
    };
    assert_eq!(logged, expected);
    assert_eq!(calls(&store, id, ToolCallFilter::default()).await, [expected]);

    let new = NewDecision {
        context: Some(json!({"options": ["a", "b"]})),
        ..NewDecision::new("architecture").because("simpler").by("planner")
    };
    let recorded = store.missions().record_decision(id, new.clone()).await.unwrap();
    let expected = Decision {
        id: recorded.id,
        mission_id: id,
        decision_type: new.decision_type,
        rationale: new.rationale,
        agent_name: new.agent_name,
        context: new.context,
        timestamp: recorded.timestamp,
    };
    assert_eq!(recorded, expected);
    let decisions = store
        .missions()
        .decisions(id, DecisionFilter::default(), PageRequest::default())
        .await
        .unwrap();
    assert_eq!(decisions.items, [expected]);
}

async fn absent_stays_absent_and_empty_stays_empty<W: World>(store: W) {
    let id = a_mission(&store).await;
    let results = [None, Some(json!(null)), Some(json!({})), Some(json!(""))];
    for result in results.clone() {
        let call = NewToolCall {
            result: result.clone(),
            ..a_call("t")
        };
        store.missions().log_tool_call(id, call).await.unwrap();
        let decision = NewDecision {
            context: result,
            ..NewDecision::new("d")
        };
        store.missions().record_decision(id, decision).await.unwrap();
    }
    let read = calls(&store, id, ToolCallFilter::default()).await;
    assert_eq!(read.iter().map(|call| call.result.clone()).collect::<Vec<_>>(), results);
    for call in read {
        assert_eq!((&call.args, call.success), (&json!({}), true));
        assert_eq!((call.duration_ms, &call.error_message), (None, &None));
        let text = serde_json::to_string(&call).unwrap();
        assert_eq!(serde_json::from_str::<ToolCall>(&text).unwrap(), call);
    }
    let read = store
        .missions()
        .decisions(id, DecisionFilter::default(), PageRequest::default())
        .await
        .unwrap();
    let contexts: Vec<Option<Value>> = read.items.iter().map(|decision| decision.context.clone()).collect();
    assert_eq!(contexts, results);
    assert_eq!((&read.items[0].rationale, &read.items[0].agent_name), (&None, &None));
}

async fn a_batch_of_any_length_is_logged_in_order<W: World>(store: W) {
    let id = a_mission(&store).await;
    let missions = store.missions();
    assert_eq!(missions.log_tool_calls(id, vec![]).await.unwrap(), []);
    let batch: Vec<_> = (0..5_000).map(|n| NewToolCall::new("t", json!(n))).collect();
    let ids = missions.log_tool_calls(id, batch).await.unwrap();
    let all = ToolCallFilter::default();
    let read = pages(1_000, |page| missions.tool_history(id, all.clone(), page)).await;
    assert_eq!(read.iter().map(|call| call.id).collect::<Vec<_>>(), ids);
    let numbers: Vec<_> = read.iter().map(|call| call.args.clone()).collect();
    assert_eq!(numbers, (0..5_000).map(|n| json!(n)).collect::<Vec<_>>());
}

async fn an_unknown_mission_is_not_found_and_nothing_is_written<W: World>(store: W) {
    let missing: MissionId = nowhere();
    let missions = store.missions();
    let batch: Vec<_> = (0..2_500).map(|_| a_call("t")).collect();
    refused(
        missions.log_tool_call(missing, a_call("t")).await,
        ErrorKind::NotFound,
        None,
    );
    refused(missions.log_tool_calls(missing, batch).await, ErrorKind::NotFound, None);
    let error = refused(
        missions.record_decision(missing, NewDecision::new("d")).await,
        ErrorKind::NotFound,
        None,
    );
    assert!(error.to_string().contains(&missing.to_string()), "{error}");
    assert_eq!(missions.tool_stats(None).await.unwrap(), []);
    let decisions = missions
        .decisions(missing, DecisionFilter::default(), PageRequest::default())
        .await
        .unwrap();
    assert_eq!(decisions.items, []);
}

async fn tool_history_filters_oldest_first<W: World>(store: W) {
    let (id, other) = (a_mission(&store).await, a_mission(&store).await);
    for (mission, call) in [
        (id, a_call("read")),
        (id, a_call("write").failing("full")),
        (other, a_call("read")),
        (id, a_call("read").failing("gone")),
    ] {
        store.missions().log_tool_call(mission, call).await.unwrap();
    }
    let read = Some("read".to_owned());
    for (tool_name, success, expected) in [
        (None, None, vec![("read", true), ("write", false), ("read", false)]),
        (read.clone(), None, vec![("read", true), ("read", false)]),
        (None, Some(false), vec![("write", false), ("read", false)]),
        (read, Some(true), vec![("read", true)]),
        (Some("rea".into()), None, vec![]),
    ] {
        let filter = ToolCallFilter { tool_name, success };
        let found = calls(&store, id, filter).await;
        let found: Vec<_> = found
            .iter()
            .map(|call| (call.tool_name.as_str(), call.success))
            .collect();
        assert_eq!(found, expected);
    }
}

async fn decisions_filter_oldest_first<W: World>(store: W) {
    let (id, other) = (a_mission(&store).await, a_mission(&store).await);
    for (mission, decision) in [
        (id, NewDecision::new("tool").by("ada")),
        (id, NewDecision::new("plan").by("bob")),
        (other, NewDecision::new("tool").by("ada")),
        (id, NewDecision::new("plan").by("ada")),
        (id, NewDecision::new("plan")),
    ] {
        store.missions().record_decision(mission, decision).await.unwrap();
    }
    let (plan, ada) = (Some("plan".to_owned()), Some("ada".to_owned()));
    for (decision_type, agent_name, expected) in [
        (None, None, vec!["tool ada", "plan bob", "plan ada", "plan -"]),
        (plan.clone(), None, vec!["plan bob", "plan ada", "plan -"]),
        (None, ada.clone(), vec!["tool ada", "plan ada"]),
        (plan, ada, vec!["plan ada"]),
    ] {
        let filter = DecisionFilter {
            decision_type,
            agent_name,
        };
        let missions = store.missions();
        let found = pages(1, |page| missions.decisions(id, filter.clone(), page)).await;
        let found: Vec<_> = found
            .iter()
            .map(|decision| {
                let agent = decision.agent_name.as_deref().unwrap_or("-");
                format!("{} {agent}", decision.decision_type)
            })
            .collect();
        assert_eq!(found, expected);
    }
}

async fn tool_stats_count_and_measure_each_tool<W: World>(store: W) {
    let (id, other) = (a_mission(&store).await, a_mission(&store).await);
    let batch = vec![
        a_call("search").taking_ms(1),
        a_call("search").taking_ms(2).failing("x"),
        a_call("search"),
        a_call("search").taking_ms(4),
        a_call("Write").failing("x"),
    ];
    store.missions().log_tool_calls(id, batch).await.unwrap();
    store
        .missions()
        .log_tool_call(other, a_call("search").taking_ms(0))
        .await
        .unwrap();
    let stats = |tool_name: &str, calls, failures, mean_duration_ms, max_duration_ms| ToolStats {
        tool_name: tool_name.into(),
        calls,
        failures,
        mean_duration_ms,
        max_duration_ms,
    };
    let write = stats("Write", 1, 1, None, None);
    let of_mission = [write.clone(), stats("search", 4, 1, Some(7.0 / 3.0), Some(4))];
    assert_eq!(store.missions().tool_stats(Some(id)).await.unwrap(), of_mission);
    let of_all = [write, stats("search", 5, 1, Some(7.0 / 4.0), Some(4))];
    assert_eq!(store.missions().tool_stats(None).await.unwrap(), of_all);
    assert_eq!(store.missions().tool_stats(Some(nowhere())).await.unwrap(), []);
}

async fn durations_of_any_size_have_a_mean<W: World>(store: W) {
    let id = a_mission(&store).await;
    let batch = vec![a_call("t").taking_ms(i64::MAX); 3];
    store.missions().log_tool_calls(id, batch).await.unwrap();
    let stats = store.missions().tool_stats(Some(id)).await.unwrap();
    #[allow(clippy::cast_precision_loss, reason = "the nearest float is meant")]
    let mean = i64::MAX as f64;
    assert_eq!(
        (stats[0].mean_duration_ms, stats[0].max_duration_ms),
        (Some(mean), Some(i64::MAX))
    );
}

async fn delete_takes_calls_and_decisions_along<W: World>(store: W) {
    let (id, other) = (a_mission(&store).await, a_mission(&store).await);
    for mission in [id, other] {
        let missions = store.missions();
        missions.log_tool_calls(mission, vec![a_call("t"); 2]).await.unwrap();
        missions.record_decision(mission, NewDecision::new("d")).await.unwrap();
    }
    store.missions().delete(id).await.unwrap();
    assert_eq!(store.missions().get(id).await.unwrap(), None);
    for (mission, left) in [(id, (0, 0)), (other, (2, 1))] {
        let page = PageRequest::default();
        let missions = store.missions();
        let decisions = missions
            .decisions(mission, DecisionFilter::default(), page)
            .await
            .unwrap();
        let calls = calls(&store, mission, ToolCallFilter::default()).await;
        assert_eq!((calls.len(), decisions.items.len()), left);
    }
    refused(store.missions().delete(id).await, ErrorKind::NotFound, None);
}

async fn prune_removes_old_calls_of_ended_missions<W: World>(store: W) {
    let mut ids = vec![];
    for status in [
        MissionStatus::Completed,
        MissionStatus::Failed,
        MissionStatus::InProgress,
        MissionStatus::Pending,
    ] {
        let id = a_mission(&store).await;
        store
            .missions()
            .log_tool_calls(id, vec![a_call("old"); 5])
            .await
            .unwrap();
        store
            .missions()
            .record_decision(id, NewDecision::new("d"))
            .await
            .unwrap();
        store.missions().update_status(id, status).await.unwrap();
        ids.push(id);
    }
    tokio::time::sleep(Duration::from_millis(2)).await;
    let newer = store.missions().log_tool_call(ids[0], a_call("new")).await.unwrap();
    let old = Prune {
        batch: 3,
        ..Prune::older_than(newer.timestamp)
    };
    let missions = store.missions();
    assert_eq!(missions.prune_tool_calls(old.dry_run()).await.unwrap(), 10);
    assert_eq!(calls(&store, ids[1], ToolCallFilter::default()).await.len(), 5);
    assert_eq!(missions.prune_tool_calls(old).await.unwrap(), 10);
    let left = async |id| calls(&store, id, ToolCallFilter::default()).await.len();
    assert_eq!(
        (
            left(ids[0]).await,
            left(ids[1]).await,
            left(ids[2]).await,
            left(ids[3]).await
        ),
        (1, 0, 5, 5)
    );
    assert_eq!(missions.prune_tool_calls(old).await.unwrap(), 0);
    for id in ids {
        assert!(missions.get(id).await.unwrap().is_some());
        let page = PageRequest::default();
        let decisions = missions.decisions(id, DecisionFilter::default(), page).await.unwrap();
        assert_eq!(decisions.items.len(), 1);
    }
    let none = Prune { batch: 0, ..old };
    refused(missions.prune_tool_calls(none).await, ErrorKind::InvalidInput, None);
}

async fn bad_input_is_refused_before_anything_is_written<W: World>(store: W) {
    let id = a_mission(&store).await;
    let missions = store.missions();
    let nul = || json!([{"a": "\0"}]);
    let bad = NewMission::new(MissionPhase::Planning).with_metadata(nul());
    let error = refused(missions.create(bad).await, ErrorKind::InvalidInput, None);
    assert!(error.to_string().contains("metadata[0].a"), "{error}");
    for (field, call) in [
        ("tool_name", a_call("")),
        ("tool_name", a_call(&"x".repeat(513))),
        ("tool_name", a_call("a\0")),
        ("args", NewToolCall::new("t", nul())),
        ("result", a_call("t").answering(nul())),
        ("error_message", a_call("t").failing("\0")),
        ("duration_ms", a_call("t").taking_ms(-1)),
    ] {
        let error = refused(
            missions.log_tool_call(id, call.clone()).await,
            ErrorKind::InvalidInput,
            None,
        );
        assert!(error.to_string().contains(field), "{error}");
        let batch = vec![a_call("fine"), call];
        refused(missions.log_tool_calls(id, batch).await, ErrorKind::InvalidInput, None);
    }
    let context = NewDecision {
        context: Some(nul()),
        ..NewDecision::new("d")
    };
    for (field, decision) in [
        ("decision_type", NewDecision::new("")),
        ("decision_type", NewDecision::new("x".repeat(513))),
        ("agent_name", NewDecision::new("d").by("\0")),
        ("rationale", NewDecision::new("d").because("\0")),
        ("context", context),
    ] {
        let error = refused(
            missions.record_decision(id, decision).await,
            ErrorKind::InvalidInput,
            None,
        );
        assert!(error.to_string().contains(field), "{error}");
    }
    let tool = ToolCallFilter {
        tool_name: Some("\0".into()),
        ..ToolCallFilter::default()
    };
    let outcome = missions.tool_history(id, tool, PageRequest::default()).await;
    refused(outcome, ErrorKind::InvalidInput, None);
    let agent = DecisionFilter {
        agent_name: Some("\0".into()),
        ..DecisionFilter::default()
    };
    let outcome = missions.decisions(id, agent, PageRequest::default()).await;
    refused(outcome, ErrorKind::InvalidInput, None);
    assert_eq!(missions.tool_stats(None).await.unwrap(), []);
}

async fn cursors_belong_to_their_list<W: World>(store: W) {
    let id = a_mission(&store).await;
    let missions = store.missions();
    missions.log_tool_calls(id, vec![a_call("t"); 2]).await.unwrap();
    let page = missions
        .tool_history(id, ToolCallFilter::default(), PageRequest::first(1))
        .await
        .unwrap();
    let cursor = page.next.unwrap();
    let elsewhere = || PageRequest::after(cursor.clone(), 1);
    let outcome = missions.decisions(id, DecisionFilter::default(), elsewhere()).await;
    refused(outcome, ErrorKind::InvalidInput, None);
    let outcome = missions.history(MissionFilter::default(), Some(elsewhere())).await;
    refused(outcome, ErrorKind::InvalidInput, None);
    for limit in [0, PageRequest::MAX + 1] {
        let limit = PageRequest::first(limit);
        let outcome = missions
            .tool_history(id, ToolCallFilter::default(), limit.clone())
            .await;
        refused(outcome, ErrorKind::InvalidInput, None);
        refused(
            missions.history(MissionFilter::default(), Some(limit)).await,
            ErrorKind::InvalidInput,
            None,
        );
    }
}
