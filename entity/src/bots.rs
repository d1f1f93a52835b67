//! Table `bots`.

use sea_orm::FromJsonQueryResult;
use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{BotCategory, BotId, BotStatus, UserId};

/// A bot's tags, in the order given: one JSON array of strings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, FromJsonQueryResult)]
pub struct Tags(pub Vec<String>);

/// One bot.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "bots")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: BotId,
    pub slug: String,
    pub name: String,
    pub description: String,
    pub status: BotStatus,
    pub category: BotCategory,
    #[sea_orm(column_type = "JsonBinary")]
    pub tags: Tags,
    pub user_id: Option<UserId>,
    pub conversation_count: i64,
    pub total_tokens_used: i64,
    pub version_count: i64,
    pub created_at: ChronoDateTimeUtc,
    pub updated_at: ChronoDateTimeUtc,
    pub last_active_at: Option<ChronoDateTimeUtc>,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
