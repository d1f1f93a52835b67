//! Table `bot_files`.

use sea_orm::entity::prelude::*;

use crate::{BotId, FileId};

/// One file of a bot, as its newest version is. The content is kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "bot_files")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: FileId,
    pub bot_id: BotId,
    pub filename: String,
    pub mime_type: String,
    pub size_bytes: i64,
    pub version: i64,
    pub is_indexed: bool,
    pub created_at: ChronoDateTimeUtc,
    pub updated_at: ChronoDateTimeUtc,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
