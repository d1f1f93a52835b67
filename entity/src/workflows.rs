//! Table `workflows`.

use sea_orm::entity::prelude::*;

use crate::{BotId, OwnerType, WorkflowId};

/// One workflow's definition.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "workflows")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: WorkflowId,
    pub name: String,
    pub owner_type: OwnerType,
    pub owner_bot_id: Option<BotId>,
    #[sea_orm(column_type = "JsonBinary")]
    pub definition: Json,
    pub created_at: ChronoDateTimeUtc,
    pub updated_at: ChronoDateTimeUtc,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
