//! The plans of the mission domain.

use store::prelude::*;
use store::testkit::TestDatabase;

use super::Look;
use crate::fill::{Columns, ROWS, id, rows};

store::testkit::tests![missions, tool_calls, decisions];

const MISSIONS: Columns = &[
    ("id", "id(i)"),
    (
        "phase",
        "pick(x / 50, 'PLANNING', 'CODING', 'TESTING', 'DEPLOYMENT', 'MAINTENANCE')",
    ),
    ("status", "pick(x / 7, 'pending', 'in_progress', 'completed', 'failed')"),
    ("created_at", "instant(x)"),
    ("updated_at", "instant(x)"),
];

const TOOL_CALLS: Columns = &[
    ("id", "id(i)"),
    ("mission_id", "id(1 + x % 50)"),
    ("tool_name", "pick(x / 50, 'read', 'write', 'search', 'run')"),
    ("args", "json('{}')"),
    ("success", "x / 200 % 2 = 0"),
    ("duration_ms", "x"),
    ("timestamp", "instant(x)"),
];

const DECISIONS: Columns = &[
    ("id", "id(i)"),
    ("mission_id", "id(1 + x % 50)"),
    ("decision_type", "pick(x / 50, 'plan', 'retry', 'stop')"),
    ("agent_name", "pick(x / 150, 'first', 'second', NULL)"),
    ("timestamp", "instant(x)"),
];

async fn missions(db: TestDatabase) {
    rows(&db, ROWS, "missions", MISSIONS).await;
    let mut look = Look::at(&db).await;
    let missions = look.store.missions();
    look.lookup("missions.get", missions.get(id(7))).await;
    for (filters, phase, status) in [
        ("", None, None),
        (" by phase", Some(MissionPhase::Coding), None),
        (" by status", None, Some(MissionStatus::Pending)),
        (
            " by phase and status",
            Some(MissionPhase::Coding),
            Some(MissionStatus::Pending),
        ),
    ] {
        let filter = MissionFilter { phase, status };
        look.pages(&format!("missions.history{filters}"), |page| {
            missions.history(filter, Some(page))
        })
        .await;
    }
    let update = missions.update_status(id(7), MissionStatus::Completed);
    look.lookup("missions.update_status", update).await;
    look.finish();
}

async fn tool_calls(db: TestDatabase) {
    rows(&db, 1_000, "missions", MISSIONS).await;
    rows(&db, ROWS, "tool_calls", TOOL_CALLS).await;
    let mut look = Look::at(&db).await;
    let missions = look.store.missions();
    let (name, one) = (Some("read".to_owned()), id(7));
    for (filters, tool_name, success) in [
        ("", None, None),
        (" by tool", name.clone(), None),
        (" by success", None, Some(true)),
        (" by tool and success", name, Some(true)),
    ] {
        let filter = ToolCallFilter { tool_name, success };
        look.pages(&format!("missions.tool_history{filters}"), |page| {
            missions.tool_history(one, filter.clone(), page)
        })
        .await;
    }
    look.lookup("missions.tool_stats", missions.tool_stats(Some(one))).await;
    look.lookup("missions.tool_stats of all", missions.tool_stats(None))
        .await;
    let old = Prune::older_than("2026-01-01T00:01:00Z".parse().unwrap());
    look.lookup(
        "missions.prune_tool_calls, counting",
        missions.prune_tool_calls(old.dry_run()),
    )
    .await;
    look.lookup("missions.prune_tool_calls", missions.prune_tool_calls(old))
        .await;
    look.finish();
}

async fn decisions(db: TestDatabase) {
    rows(&db, 1_000, "missions", MISSIONS).await;
    rows(&db, ROWS, "decisions", DECISIONS).await;
    let mut look = Look::at(&db).await;
    let missions = look.store.missions();
    let (plan, first) = (Some("plan".to_owned()), Some("first".to_owned()));
    for (filters, decision_type, agent_name) in [
        ("", None, None),
        (" by type", plan.clone(), None),
        (" by agent", None, first.clone()),
        (" by type and agent", plan, first),
    ] {
        let filter = DecisionFilter {
            decision_type,
            agent_name,
        };
        look.pages(&format!("missions.decisions{filters}"), |page| {
            missions.decisions(id(7), filter.clone(), page)
        })
        .await;
    }
    look.finish();
}
