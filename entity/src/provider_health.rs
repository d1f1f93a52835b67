//! Table `provider_health`.

use sea_orm::entity::prelude::*;

use crate::CircuitState;

/// How one provider does.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "provider_health")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    pub circuit_state: CircuitState,
    pub last_error: Option<String>,
    pub last_success: Option<ChronoDateTimeUtc>,
    pub total_calls: i64,
    pub total_failures: i64,
    pub uptime_since: Option<ChronoDateTimeUtc>,
    pub updated_at: ChronoDateTimeUtc,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
