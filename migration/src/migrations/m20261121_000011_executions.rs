//! Where the executions of workflows and of their tasks stand.

use super::Migration;
use crate::model::{Column, ForeignKey, Index, OnDelete, Step, Table};

pub(super) fn migration() -> Migration {
    Migration::new(
        "m20261121_000011_executions",
        vec![Step::CreateTable(workflow_states()), Step::CreateTable(task_states())],
    )
}

const STATUS: &[&str] = &[
    "PENDING",
    "RUNNING",
    "WAITING",
    "PAUSED",
    "SUCCESS",
    "FAILED",
    "CANCELED",
    "TIMED_OUT",
];

/// A basic task is done by an agent's action, by a tool, or by neither; a router by none of the three. Other types of
/// execution are free.
const EXECUTION_TYPE: &str = "\
\"execution_type\" NOT IN ('basic', 'router') \
OR (\"agent_id\" IS NULL AND \"action_id\" IS NULL AND \"tool_id\" IS NULL) \
OR (\"execution_type\" = 'basic' AND \"agent_id\" IS NOT NULL AND \"action_id\" IS NOT NULL AND \"tool_id\" IS NULL) \
OR (\"execution_type\" = 'basic' AND \"agent_id\" IS NULL AND \"action_id\" IS NULL AND \"tool_id\" IS NOT NULL)";

fn workflow_states() -> Table {
    Table::new("workflow_states")
        .column(Column::text("workflow_exec_id"))
        .column(Column::text("workflow_id"))
        .column(Column::text("status").one_of(STATUS))
        .column(Column::json("usage").nullable().json_array())
        .column(Column::json("input").nullable())
        .column(Column::json("output").nullable())
        .column(Column::json("error").nullable())
        .column(Column::integer("version").default_integer(1).at_least(1))
        .column(Column::timestamp("created_at"))
        .column(Column::timestamp("updated_at"))
        .primary_key(&["workflow_exec_id"])
        .index(Index::on(&["status", "created_at", "workflow_exec_id"]).named("idx_workflow_states_status"))
        .index(Index::on(&["workflow_id", "created_at", "workflow_exec_id"]).named("idx_workflow_states_workflow_id"))
        .index(
            Index::on(&["workflow_id", "status", "created_at", "workflow_exec_id"])
                .named("idx_workflow_states_workflow_id_status"),
        )
        .index(Index::on(&["created_at", "workflow_exec_id"]).named("idx_workflow_states_created_at"))
        .index(Index::on(&["updated_at", "workflow_exec_id"]).named("idx_workflow_states_updated_at"))
}

fn task_states() -> Table {
    Table::new("task_states")
        .column(Column::text("task_exec_id"))
        .column(Column::text("task_id"))
        .column(Column::text("component"))
        .column(Column::text("status").one_of(STATUS))
        .column(Column::text("workflow_exec_id"))
        .column(Column::text("workflow_id"))
        .column(Column::text("execution_type").default_text("basic"))
        .column(Column::json("usage").nullable().json_array())
        .column(Column::text("agent_id").nullable())
        .column(Column::text("tool_id").nullable())
        .column(Column::text("action_id").nullable())
        .column(Column::text("parent_state_id").nullable())
        .column(Column::json("input").nullable())
        .column(Column::json("output").nullable())
        .column(Column::json("error").nullable())
        .column(Column::integer("version").default_integer(1).at_least(1))
        .column(Column::timestamp("created_at"))
        .column(Column::timestamp("updated_at"))
        .primary_key(&["task_exec_id"])
        .foreign_key(ForeignKey::new("workflow_exec_id", "workflow_states", OnDelete::Cascade).to("workflow_exec_id"))
        .foreign_key(ForeignKey::new("parent_state_id", "task_states", OnDelete::Cascade).to("task_exec_id"))
        .check("execution_type", EXECUTION_TYPE)
        .index(Index::on(&["status", "created_at", "task_exec_id"]).named("idx_task_states_status"))
        .index(Index::on(&["workflow_id", "created_at", "task_exec_id"]).named("idx_task_states_workflow_id"))
        .index(Index::on(&["workflow_exec_id", "created_at", "task_exec_id"]).named("idx_task_states_workflow_exec_id"))
        .index(Index::on(&["task_id", "created_at", "task_exec_id"]).named("idx_task_states_task_id"))
        .index(Index::on(&["parent_state_id", "created_at", "task_exec_id"]).named("idx_task_states_parent_state_id"))
        .index(Index::on(&["created_at", "task_exec_id"]).named("idx_task_states_created_at"))
        // The newest child of a task by its task id.
        .index(
            Index::on(&["parent_state_id", "task_id", "created_at", "task_exec_id"])
                .named("idx_task_states_parent_state_id_task_id"),
        )
        // What a workflow's completion counts: root tasks alone, however many lie below them.
        .index(
            Index::on(&["workflow_exec_id", "status"])
                .named("idx_task_states_roots")
                .only_where("\"parent_state_id\" IS NULL"),
        )
}
