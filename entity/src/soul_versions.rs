//! Table `soul_versions`.

use sea_orm::entity::prelude::*;

use crate::{BotId, SoulVersionId};

/// One saved version of a bot's soul.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "soul_versions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: SoulVersionId,
    pub bot_id: BotId,
    pub content: String,
    pub hash: String,
    pub version: i64,
    pub message: Option<String>,
    pub created_at: ChronoDateTimeUtc,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
