//! Sealed values, of one bot or global.

use super::Migration;
use crate::model::{Column, ForeignKey, Index, OnDelete, Step, Table};

pub(super) fn migration() -> Migration {
    Migration::new("m20261121_000003_secrets", vec![Step::CreateTable(secrets())])
}

fn secrets() -> Table {
    Table::new("secrets")
        .column(Column::uuid("id"))
        .column(Column::text("key"))
        .column(Column::bytes("encrypted_value"))
        .column(Column::uuid("bot_id").nullable())
        .column(
            Column::text("provider")
                .default_text("vault")
                .one_of(&["vault", "keychain", "environment"]),
        )
        .column(Column::timestamp("created_at"))
        .column(Column::timestamp("updated_at"))
        .foreign_key(ForeignKey::new("bot_id", "bots", OnDelete::Cascade))
        // One key per scope. Two partial indexes, because no two NULLs are equal: one over both columns would let a
        // global key be stored twice. The second also serves the foreign key.
        .index(Index::unique(&["key"]).only_where("\"bot_id\" IS NULL"))
        .index(Index::unique(&["bot_id", "key"]).only_where("\"bot_id\" IS NOT NULL"))
        // For the list of all scopes.
        .index(Index::on(&["key", "id"]).named("idx_secrets_key"))
}
