//! Table `bot_subscriptions`.

use sea_orm::entity::prelude::*;

use crate::BotId;

/// One bot that listens to one channel.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "bot_subscriptions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub bot_id: BotId,
    #[sea_orm(primary_key, auto_increment = false)]
    pub channel_name: String,
    pub subscribed_at: ChronoDateTimeUtc,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
