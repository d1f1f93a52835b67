//! Table `bot_channels`.

use sea_orm::entity::prelude::*;

use crate::BotId;

/// One channel for messages between bots.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "bot_channels")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub created_at: ChronoDateTimeUtc,
    pub created_by_bot_id: BotId,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
