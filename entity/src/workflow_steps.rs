//! Table `workflow_steps`.

use sea_orm::entity::prelude::*;

use crate::{StepStatus, WorkflowRunId, WorkflowStepId};

/// One attempt at one step of a run.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "workflow_steps")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: WorkflowStepId,
    pub run_id: WorkflowRunId,
    pub step_id: String,
    pub step_name: String,
    pub status: StepStatus,
    pub attempt: i64,
    pub idempotency_key: Option<String>,
    #[sea_orm(column_type = "JsonBinary")]
    pub input: Option<Json>,
    #[sea_orm(column_type = "JsonBinary")]
    pub output: Option<Json>,
    pub error: Option<String>,
    pub started_at: Option<ChronoDateTimeUtc>,
    pub completed_at: Option<ChronoDateTimeUtc>,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
