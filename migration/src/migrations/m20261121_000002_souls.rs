//! The versions of a bot's soul.

use super::Migration;
use crate::model::{Column, ForeignKey, Index, OnDelete, Step, Table};

pub(super) fn migration() -> Migration {
    Migration::new("m20261121_000002_souls", vec![Step::CreateTable(soul_versions())])
}

fn soul_versions() -> Table {
    Table::new("soul_versions")
        .column(Column::uuid("id"))
        .column(Column::uuid("bot_id"))
        .column(Column::text("content"))
        .column(Column::text("hash"))
        .column(Column::integer("version"))
        .column(Column::text("message").nullable())
        .column(Column::timestamp("created_at"))
        .foreign_key(ForeignKey::new("bot_id", "bots", OnDelete::Cascade))
        .unique(&["bot_id", "version"])
        .index(Index::on(&["bot_id"]))
}
