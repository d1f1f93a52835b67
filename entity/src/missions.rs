//! Table `missions`.

use sea_orm::entity::prelude::*;

use crate::{MissionId, MissionPhase, MissionStatus};

/// One mission.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "missions")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: MissionId,
    pub phase: MissionPhase,
    pub status: MissionStatus,
    #[sea_orm(column_type = "JsonBinary")]
    pub metadata: Json,
    pub created_at: ChronoDateTimeUtc,
    pub updated_at: ChronoDateTimeUtc,
    pub completed_at: Option<ChronoDateTimeUtc>,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
