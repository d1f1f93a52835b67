//! Table `chat_sessions`.

use sea_orm::entity::prelude::*;

use crate::{BotId, ChatSessionId, ChatStatus, SessionType};

/// One conversation of a bot.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "chat_sessions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ChatSessionId,
    pub bot_id: BotId,
    pub title: Option<String>,
    pub model: String,
    pub status: ChatStatus,
    pub started_at: ChronoDateTimeUtc,
    pub ended_at: Option<ChronoDateTimeUtc>,
    pub message_count: i64,
    pub total_input_tokens: i64,
    pub total_output_tokens: i64,
    pub session_type: SessionType,
    pub peer_bot_id: Option<BotId>,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
