//! Messages between bots, the channels they go to, and who listens. A message keeps its bots' ids without references:
//! the record survives them.

use super::Migration;
use crate::model::{Column, ForeignKey, Index, OnDelete, Step, Table};

pub(super) fn migration() -> Migration {
    Migration::new(
        "m20261121_000008_messages",
        vec![
            Step::CreateTable(bot_messages()),
            Step::CreateTable(bot_channels()),
            Step::CreateTable(bot_subscriptions()),
        ],
    )
}

fn bot_messages() -> Table {
    Table::new("bot_messages")
        .column(Column::uuid("id"))
        .column(Column::uuid("sender_bot_id"))
        .column(Column::text("sender_bot_name"))
        .column(Column::text("recipient_type").one_of(&["direct", "channel"]))
        .column(Column::uuid("recipient_bot_id").nullable())
        .column(Column::text("recipient_channel").nullable())
        .column(Column::text("message_type"))
        .column(Column::json("body"))
        .column(Column::uuid("reply_to").nullable())
        .column(Column::timestamp("timestamp"))
        .check(
            "recipient",
            "(\"recipient_type\" = 'direct' AND \"recipient_bot_id\" IS NOT NULL AND \"recipient_channel\" IS NULL) \
             OR (\"recipient_type\" = 'channel' AND \"recipient_bot_id\" IS NULL AND \"recipient_channel\" IS NOT NULL)",
        )
        // What two bots said to each other is two ranges of the first, merged in the order it ends in.
        .index(
            Index::on(&["sender_bot_id", "recipient_bot_id", "timestamp", "id"])
                .named("idx_bot_messages_sender_bot_id_recipient_bot_id"),
        )
        .index(
            Index::on(&["recipient_channel", "timestamp", "id"]).named("idx_bot_messages_recipient_channel_timestamp"),
        )
        .index(Index::on(&["timestamp"]))
}

fn bot_channels() -> Table {
    Table::new("bot_channels")
        .column(Column::text("name"))
        .column(Column::timestamp("created_at"))
        .column(Column::uuid("created_by_bot_id"))
        .primary_key(&["name"])
}

fn bot_subscriptions() -> Table {
    Table::new("bot_subscriptions")
        .column(Column::uuid("bot_id"))
        .column(Column::text("channel_name"))
        .column(Column::timestamp("subscribed_at"))
        .primary_key(&["bot_id", "channel_name"])
        .foreign_key(ForeignKey::new("channel_name", "bot_channels", OnDelete::Cascade).to("name"))
        .index(Index::on(&["channel_name", "subscribed_at", "bot_id"]).named("idx_bot_subscriptions_channel_name"))
}
