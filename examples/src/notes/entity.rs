//! What a row is.

use store::BotId;
use store::sea_orm::entity::prelude::*;
use store::sea_orm::{self};

/// One note about a bot.
#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "bot_notes")]
pub struct Model {
    /// The note's id.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// The bot it is about.
    pub bot_id: BotId,
    /// What it says.
    pub body: String,
    /// When it was written.
    pub created_at: ChronoDateTimeUtc,
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
