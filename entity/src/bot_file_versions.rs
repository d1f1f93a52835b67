//! Table `bot_file_versions`.

use sea_orm::entity::prelude::*;

use crate::{FileId, FileVersionId};

/// One version of a bot's file.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "bot_file_versions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: FileVersionId,
    pub file_id: FileId,
    pub version: i64,
    pub size_bytes: i64,
    pub created_at: ChronoDateTimeUtc,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
