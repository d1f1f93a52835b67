//! Table `task_states`.

use sea_orm::entity::prelude::*;

use crate::ExecutionStatus;

/// Where one execution of a task stands.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "task_states")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub task_exec_id: String,
    pub task_id: String,
    pub component: String,
    pub status: ExecutionStatus,
    pub workflow_exec_id: String,
    pub workflow_id: String,
    pub execution_type: String,
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub usage: Option<Json>,
    pub agent_id: Option<String>,
    pub tool_id: Option<String>,
    pub action_id: Option<String>,
    pub parent_state_id: Option<String>,
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub input: Option<Json>,
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub output: Option<Json>,
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub error: Option<Json>,
    pub version: i64,
    pub created_at: ChronoDateTimeUtc,
    pub updated_at: ChronoDateTimeUtc,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
