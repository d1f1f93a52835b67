//! Missions, and the tool calls and decisions made in them.

use super::Migration;
use crate::model::{Column, ForeignKey, Index, OnDelete, Step, Table};

pub(super) fn migration() -> Migration {
    Migration::new(
        "m20261121_000012_missions",
        vec![
            Step::CreateTable(missions()),
            Step::CreateTable(tool_calls()),
            Step::CreateTable(decisions()),
        ],
    )
}

fn missions() -> Table {
    Table::new("missions")
        .column(Column::uuid("id"))
        .column(Column::text("phase").one_of(&["PLANNING", "CODING", "TESTING", "DEPLOYMENT", "MAINTENANCE"]))
        .column(Column::text("status").default_text("pending").one_of(&[
            "pending",
            "in_progress",
            "completed",
            "failed",
        ]))
        .column(Column::json("metadata").default_json("{}"))
        .column(Column::timestamp("created_at"))
        .column(Column::timestamp("updated_at"))
        .column(Column::timestamp("completed_at").nullable())
        .index(Index::on(&["status", "created_at", "id"]).named("idx_missions_status"))
        .index(Index::on(&["phase", "created_at", "id"]).named("idx_missions_phase"))
        .index(Index::on(&["created_at", "id"]).named("idx_missions_created_at"))
}

fn tool_calls() -> Table {
    Table::new("tool_calls")
        .column(Column::uuid("id"))
        .column(Column::uuid("mission_id"))
        .column(Column::text("tool_name"))
        .column(Column::json("args"))
        .column(Column::json("result").nullable())
        .column(Column::boolean("success"))
        .column(Column::integer("duration_ms").nullable().at_least(0))
        .column(Column::text("error_message").nullable())
        .column(Column::timestamp("timestamp"))
        .foreign_key(ForeignKey::new("mission_id", "missions", OnDelete::Cascade))
        .index(Index::on(&["mission_id", "timestamp", "id"]))
        // Each filter of a mission's history is read off its index in the history's order.
        .index(Index::on(&["tool_name", "mission_id", "timestamp", "id"]).named("idx_tool_calls_tool_name"))
        .index(Index::on(&["success", "mission_id", "timestamp", "id"]).named("idx_tool_calls_success"))
        // What is old, for retention.
        .index(Index::on(&["timestamp"]))
}

fn decisions() -> Table {
    Table::new("decisions")
        .column(Column::uuid("id"))
        .column(Column::uuid("mission_id"))
        .column(Column::text("decision_type"))
        .column(Column::text("rationale").nullable())
        .column(Column::text("agent_name").nullable())
        .column(Column::json("context").nullable())
        .column(Column::timestamp("timestamp"))
        .foreign_key(ForeignKey::new("mission_id", "missions", OnDelete::Cascade))
        .index(Index::on(&["mission_id", "timestamp", "id"]))
        .index(Index::on(&["decision_type", "mission_id", "timestamp", "id"]).named("idx_decisions_decision_type"))
        .index(Index::on(&["agent_name", "mission_id", "timestamp", "id"]).named("idx_decisions_agent_name"))
}
