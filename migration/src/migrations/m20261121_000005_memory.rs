//! What bots keep: values by key, files, the trail of what was done to their memories, and how providers do.

use super::Migration;
use crate::model::{Column, ForeignKey, Index, OnDelete, Step, Table};

pub(super) fn migration() -> Migration {
    Migration::new(
        "m20261121_000005_memory",
        vec![
            Step::CreateTable(bot_kv_store()),
            Step::CreateTable(memory_audit_log()),
            Step::CreateTable(provider_health()),
            Step::CreateTable(bot_files()),
            Step::CreateTable(bot_file_versions()),
        ],
    )
}

fn bot_kv_store() -> Table {
    Table::new("bot_kv_store")
        .column(Column::uuid("bot_id"))
        .column(Column::text("key"))
        .column(Column::json("value"))
        .column(Column::timestamp("expires_at").nullable())
        .column(Column::timestamp("created_at"))
        .column(Column::timestamp("updated_at"))
        .primary_key(&["bot_id", "key"])
        .foreign_key(ForeignKey::new("bot_id", "bots", OnDelete::Cascade))
        // Most values never expire: they need no place in it.
        .index(Index::on(&["expires_at"]).only_where("\"expires_at\" IS NOT NULL"))
}

/// Without references: the record survives what it is about.
fn memory_audit_log() -> Table {
    Table::new("memory_audit_log")
        .column(Column::uuid("id"))
        .column(Column::uuid("bot_id"))
        .column(Column::text("memory_id"))
        .column(Column::text("action").one_of(&["add", "delete", "share", "revoke", "merge"]))
        .column(Column::text("actor"))
        .column(Column::json("details").nullable())
        .column(Column::timestamp("created_at"))
        .index(Index::on(&["bot_id", "created_at", "id"]))
        .index(Index::on(&["memory_id", "created_at", "id"]))
        // For retention: each batch finds the oldest entries without reading the others.
        .index(Index::on(&["created_at"]))
}

fn provider_health() -> Table {
    Table::new("provider_health")
        .column(Column::text("name"))
        .column(
            Column::text("circuit_state")
                .default_text("closed")
                .one_of(&["closed", "open", "half_open"]),
        )
        .column(Column::text("last_error").nullable())
        .column(Column::timestamp("last_success").nullable())
        .column(Column::integer("total_calls").default_integer(0).at_least(0))
        .column(Column::integer("total_failures").default_integer(0).at_least(0))
        .column(Column::timestamp("uptime_since").nullable())
        .column(Column::timestamp("updated_at"))
        .primary_key(&["name"])
}

fn bot_files() -> Table {
    Table::new("bot_files")
        .column(Column::uuid("id"))
        .column(Column::uuid("bot_id"))
        .column(Column::text("filename"))
        .column(Column::text("mime_type").default_text("application/octet-stream"))
        .column(Column::integer("size_bytes").at_least(0))
        .column(Column::integer("version").default_integer(1))
        .column(Column::boolean("is_indexed").default_boolean(false))
        .column(Column::timestamp("created_at"))
        .column(Column::timestamp("updated_at"))
        .foreign_key(ForeignKey::new("bot_id", "bots", OnDelete::Cascade))
        .unique(&["bot_id", "filename"])
}

fn bot_file_versions() -> Table {
    Table::new("bot_file_versions")
        .column(Column::uuid("id"))
        .column(Column::uuid("file_id"))
        .column(Column::integer("version"))
        .column(Column::integer("size_bytes").at_least(0))
        .column(Column::timestamp("created_at"))
        .foreign_key(ForeignKey::new("file_id", "bot_files", OnDelete::Cascade))
        .unique(&["file_id", "version"])
}
