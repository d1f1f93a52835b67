//! Table `memory_audit_log`.

use sea_orm::entity::prelude::*;

use crate::{AuditAction, AuditEntryId, BotId};

/// One thing that was done to a memory. The bot may be gone by now: no key points to it.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "memory_audit_log")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: AuditEntryId,
    pub bot_id: BotId,
    pub memory_id: String,
    pub action: AuditAction,
    pub actor: String,
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub details: Option<Json>,
    pub created_at: ChronoDateTimeUtc,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
