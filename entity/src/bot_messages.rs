//! Table `bot_messages`.

use sea_orm::entity::prelude::*;

use crate::{BotId, BotMessageId, RecipientType};

/// One message between bots.
#[derive(Debug, Clone, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "bot_messages")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: BotMessageId,
    pub sender_bot_id: BotId,
    pub sender_bot_name: String,
    pub recipient_type: RecipientType,
    pub recipient_bot_id: Option<BotId>,
    pub recipient_channel: Option<String>,
    pub message_type: String,
    #[sea_orm(column_type = "JsonBinary")]
    pub body: Json,
    pub reply_to: Option<BotMessageId>,
    pub timestamp: ChronoDateTimeUtc,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
