//! Conversations and their turns.

use super::Migration;
use crate::model::{Column, ForeignKey, Index, OnDelete, Step, Table};

pub(super) fn migration() -> Migration {
    Migration::new(
        "m20261121_000007_chats",
        vec![Step::CreateTable(chat_sessions()), Step::CreateTable(chat_messages())],
    )
}

fn chat_sessions() -> Table {
    Table::new("chat_sessions")
        .column(Column::uuid("id"))
        .column(Column::uuid("bot_id"))
        .column(Column::text("title").nullable())
        .column(Column::text("model"))
        .column(
            Column::text("status")
                .default_text("active")
                .one_of(&["active", "completed", "crashed"]),
        )
        .column(Column::timestamp("started_at"))
        .column(Column::timestamp("ended_at").nullable())
        .column(Column::integer("message_count").default_integer(0))
        .column(Column::integer("total_input_tokens").default_integer(0))
        .column(Column::integer("total_output_tokens").default_integer(0))
        .foreign_key(ForeignKey::new("bot_id", "bots", OnDelete::Cascade))
        .index(Index::on(&["bot_id", "started_at", "id"]).named("idx_chat_sessions_bot_id_started_at"))
        // Not a partial index over the active ones: a planner takes that only where the status is written out, and the
        // store's statements bind it.
        .index(Index::on(&["bot_id", "status", "started_at", "id"]).named("idx_chat_sessions_bot_id_status"))
}

fn chat_messages() -> Table {
    Table::new("chat_messages")
        .column(Column::uuid("id"))
        .column(Column::uuid("session_id"))
        .column(Column::integer("sequence"))
        .column(Column::text("role").one_of(&["system", "user", "assistant", "tool"]))
        .column(Column::text("content"))
        .column(Column::text("model").nullable())
        .column(Column::integer("input_tokens").nullable())
        .column(Column::integer("output_tokens").nullable())
        .column(Column::text("stop_reason").nullable())
        .column(Column::text("idempotency_key").nullable())
        .column(Column::timestamp("created_at"))
        .foreign_key(ForeignKey::new("session_id", "chat_sessions", OnDelete::Cascade))
        // The first is also the list's order and serves the foreign key.
        .unique(&["session_id", "sequence"])
        // No two NULLs are equal anyway; without them, a message that has no key costs no entry.
        .index(Index::unique(&["session_id", "idempotency_key"]).only_where("\"idempotency_key\" IS NOT NULL"))
}
