//! Table `secrets`.

use sea_orm::entity::prelude::*;

use crate::{BotId, SecretId, SecretProvider};

/// One sealed secret. `Debug` shows the sealed bytes' length only.
#[derive(Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "secrets")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: SecretId,
    pub key: String,
    pub encrypted_value: Vec<u8>,
    pub bot_id: Option<BotId>,
    pub provider: SecretProvider,
    pub created_at: ChronoDateTimeUtc,
    pub updated_at: ChronoDateTimeUtc,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("id", &self.id)
            .field("key", &self.key)
            .field("bot_id", &self.bot_id)
            .field("provider", &self.provider)
            .field(
                "encrypted_value",
                &format_args!("[{} sealed bytes]", self.encrypted_value.len()),
            )
            .finish_non_exhaustive()
    }
}

/// Joins are written where they are used.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
