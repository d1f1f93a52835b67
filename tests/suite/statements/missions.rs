//! What the methods of the mission domain cost.

use serde_json::json;
use store::prelude::*;
use store::testkit::TestDatabase;

use super::{Meter, atomic, read};

store::testkit::tests![missions];

async fn missions(db: TestDatabase) {
    let mut meter = Meter::on(&db).await;
    let missions = meter.store.missions();
    let mut last = None;
    for _ in 1..=20 {
        let create = missions.create(NewMission::new(MissionPhase::Planning));
        last = Some(meter.call("missions.create", create).await);
    }
    let one = last.unwrap();
    meter.call("missions.get", missions.get(one)).await;
    meter
        .list("missions.history", |page| {
            missions.history(MissionFilter::default(), Some(page))
        })
        .await;
    let called = |number: i64| NewToolCall::new(format!("tool-{number}"), json!({}));
    let first = meter
        .call("missions.log_tool_call", missions.log_tool_call(one, called(0)))
        .await;
    for count in [1, 20] {
        let calls = missions.log_tool_calls(one, (1..=count).map(called).collect());
        meter.call("missions.log_tool_calls", calls).await;
    }
    let many = missions.log_tool_calls(one, vec![called(1); 2_001]);
    meter.measure("missions.log_tool_calls", atomic(1), many).await;
    for _ in 1..=20 {
        let decision = missions.record_decision(one, NewDecision::new("to go on"));
        meter.call("missions.record_decision", decision).await;
    }
    meter
        .list("missions.tool_history", |page| {
            missions.tool_history(one, ToolCallFilter::default(), page)
        })
        .await;
    meter
        .list("missions.decisions", |page| {
            missions.decisions(one, DecisionFilter::default(), page)
        })
        .await;
    for mission in [None, Some(one)] {
        meter.call("missions.tool_stats", missions.tool_stats(mission)).await;
    }
    let ended = missions.update_status(one, MissionStatus::Completed);
    meter.call("missions.update_status", ended).await;
    let old = Prune::older_than(first.timestamp);
    meter
        .call("missions.prune_tool_calls", missions.prune_tool_calls(old))
        .await;
    let counted = missions.prune_tool_calls(old.dry_run());
    meter.measure("missions.prune_tool_calls", read(1), counted).await;
    meter.call("missions.delete", missions.delete(one)).await;
    meter.finish(&["missions"]);
}
