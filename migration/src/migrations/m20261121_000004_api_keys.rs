//! Keys that programs authenticate with. The key itself is never stored, only its hash.

use super::Migration;
use crate::model::{Column, ForeignKey, Index, OnDelete, Step, Table};

pub(super) fn migration() -> Migration {
    Migration::new("m20261121_000004_api_keys", vec![Step::CreateTable(api_keys())])
}

fn api_keys() -> Table {
    Table::new("api_keys")
        .column(Column::uuid("id"))
        .column(Column::uuid("user_id").nullable())
        .column(Column::text("name").default_text("default"))
        .column(Column::text("prefix"))
        .column(Column::bytes("hash"))
        .column(Column::timestamp("created_at"))
        .column(Column::timestamp("last_used_at").nullable())
        .column(Column::timestamp("expires_at").nullable())
        .column(Column::timestamp("revoked_at").nullable())
        .foreign_key(ForeignKey::new("user_id", "users", OnDelete::Cascade))
        .unique(&["prefix"])
        .unique(&["hash"])
        .index(Index::on(&["user_id", "created_at", "id"]).named("idx_api_keys_user_id"))
        .index(Index::on(&["created_at", "id"]).named("idx_api_keys_created_at"))
        // For the removal of expired keys. Most keys have no end, and cost this index nothing.
        .index(Index::on(&["expires_at"]).only_where("\"expires_at\" IS NOT NULL"))
}
