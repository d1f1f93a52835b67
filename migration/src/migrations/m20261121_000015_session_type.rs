//! Bots talk with bots, too: whom a chat session is with. The sessions from before are with users.

use super::Migration;
use crate::model::{Change, Column, Step};

pub(super) fn migration() -> Migration {
    let session_type = Column::text("session_type")
        .default_text("user")
        .one_of(&["user", "bot"]);
    Migration::new(
        "m20261121_000015_session_type",
        vec![Step::Alter(
            "chat_sessions",
            vec![
                Change::AddColumn(session_type),
                Change::AddColumn(Column::uuid("peer_bot_id").nullable()),
            ],
        )],
    )
}
