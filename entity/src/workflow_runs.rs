//! Table `workflow_runs`.

use sea_orm::entity::prelude::*;

use crate::{RunStatus, WorkflowId, WorkflowRunId};

/// One run of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "workflow_runs")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: WorkflowRunId,
    pub workflow_id: WorkflowId,
    pub workflow_name: String,
    pub status: RunStatus,
    pub trigger_type: String,
    #[sea_orm(column_type = "JsonBinary")]
    pub trigger_payload: Option<Json>,
    #[sea_orm(column_type = "JsonBinary")]
    pub context: Json,
    pub started_at: ChronoDateTimeUtc,
    pub completed_at: Option<ChronoDateTimeUtc>,
    pub error: Option<String>,
    pub concurrency_key: Option<String>,
    pub lease_owner: Option<String>,
    pub lease_expires_at: Option<ChronoDateTimeUtc>,
    pub lease_epoch: i64,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
