//! Table `tool_calls`.

use sea_orm::entity::prelude::*;

use crate::{MissionId, ToolCallId};

/// One call of a tool in a mission.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "tool_calls")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ToolCallId,
    pub mission_id: MissionId,
    pub tool_name: String,
    #[sea_orm(column_type = "JsonBinary")]
    pub args: Json,
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub result: Option<Json>,
    pub success: bool,
    pub duration_ms: Option<i64>,
    pub error_message: Option<String>,
    pub timestamp: ChronoDateTimeUtc,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
