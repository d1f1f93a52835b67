//! Table `chat_messages`.

use sea_orm::entity::prelude::*;

use crate::{ChatMessageId, ChatRole, ChatSessionId};

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "chat_messages")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ChatMessageId,
    pub session_id: ChatSessionId,
    pub sequence: i64,
    pub role: ChatRole,
    pub content: String,
    pub model: Option<String>,
    pub input_tokens: Option<i64>,
    pub output_tokens: Option<i64>,
    pub stop_reason: Option<String>,
    pub idempotency_key: Option<String>,
    pub created_at: ChronoDateTimeUtc,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
