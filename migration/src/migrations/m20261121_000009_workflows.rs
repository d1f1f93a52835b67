//! Workflows, their runs, and the steps of each run.

use super::Migration;
use crate::model::{Column, ForeignKey, Index, OnDelete, Step, Table};

pub(super) fn migration() -> Migration {
    Migration::new(
        "m20261121_000009_workflows",
        vec![
            Step::CreateTable(workflows()),
            Step::CreateTable(workflow_runs()),
            Step::CreateTable(workflow_steps()),
        ],
    )
}

fn workflows() -> Table {
    Table::new("workflows")
        .column(Column::uuid("id"))
        .column(Column::text("name"))
        .column(Column::text("owner_type").one_of(&["bot", "global"]))
        .column(Column::uuid("owner_bot_id").nullable())
        .column(Column::json("definition"))
        .column(Column::timestamp("created_at"))
        .column(Column::timestamp("updated_at"))
        // A bot's workflows have runs, which go first: deleting a bot is the repository's work, not a cascade's.
        .foreign_key(ForeignKey::new("owner_bot_id", "bots", OnDelete::Restrict))
        .check("owner", "(\"owner_type\" = 'bot') = (\"owner_bot_id\" IS NOT NULL)")
        // One name per owner, with two partial indexes because no two NULLs are equal.
        .index(Index::unique(&["name"]).only_where("\"owner_bot_id\" IS NULL"))
        .index(Index::unique(&["owner_bot_id", "name"]).only_where("\"owner_bot_id\" IS NOT NULL"))
        .index(Index::on(&["name", "id"]).named("idx_workflows_name"))
}

fn workflow_runs() -> Table {
    Table::new("workflow_runs")
        .column(Column::uuid("id"))
        .column(Column::uuid("workflow_id"))
        .column(Column::text("workflow_name"))
        .column(Column::text("status").one_of(&[
            "pending",
            "running",
            "paused",
            "completed",
            "failed",
            "crashed",
            "cancelled",
        ]))
        .column(Column::text("trigger_type"))
        .column(Column::json("trigger_payload").nullable())
        .column(Column::json("context").default_json("{}"))
        .column(Column::timestamp("started_at"))
        .column(Column::timestamp("completed_at").nullable())
        .column(Column::text("error").nullable())
        .column(Column::text("concurrency_key").nullable())
        .column(Column::text("lease_owner").nullable())
        .column(Column::timestamp("lease_expires_at").nullable())
        .column(Column::integer("lease_epoch").default_integer(0).at_least(0))
        .foreign_key(ForeignKey::new("workflow_id", "workflows", OnDelete::Restrict))
        .check("lease", "(\"lease_owner\" IS NULL) = (\"lease_expires_at\" IS NULL)")
        .index(Index::on(&["workflow_id", "started_at", "id"]).named("idx_workflow_runs_workflow_id"))
        .index(Index::on(&["status", "started_at", "id"]).named("idx_workflow_runs_status"))
        .index(Index::on(&["concurrency_key", "started_at", "id"]).named("idx_workflow_runs_concurrency_key"))
        .index(Index::on(&["status", "lease_expires_at", "id"]).named("idx_workflow_runs_lease_expires_at"))
        .index(Index::on(&["completed_at"]))
}

fn workflow_steps() -> Table {
    Table::new("workflow_steps")
        .column(Column::uuid("id"))
        .column(Column::uuid("run_id"))
        .column(Column::text("step_id"))
        .column(Column::text("step_name"))
        .column(Column::text("status").one_of(&[
            "pending",
            "running",
            "completed",
            "failed",
            "skipped",
            "waiting_approval",
        ]))
        .column(Column::integer("attempt").default_integer(1).at_least(1))
        .column(Column::text("idempotency_key").nullable())
        .column(Column::json("input").nullable())
        .column(Column::json("output").nullable())
        .column(Column::text("error").nullable())
        .column(Column::timestamp("started_at").nullable())
        .column(Column::timestamp("completed_at").nullable())
        .foreign_key(ForeignKey::new("run_id", "workflow_runs", OnDelete::Cascade))
        .unique(&["run_id", "step_id", "attempt"])
        .index(Index::on(&["run_id", "id"]).named("idx_workflow_steps_run_id"))
}
