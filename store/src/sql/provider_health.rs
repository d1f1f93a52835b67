//! How providers do, in SQL.

use entity::provider_health::{Column, Entity, Model};
use sea_orm::EntityTrait;
use sea_orm::sea_query::OnConflict;

use super::page::Listing;
use super::{ProviderHealths, corrupt, insertable};
use crate::contract::{
    Direction, NewProviderHealth, Page, PageRequest, ProviderHealth, ProviderHealthRepository, ProviderName,
};
use crate::{Error, Result};

impl ProviderHealthRepository for ProviderHealths {
    async fn save(&self, health: NewProviderHealth) -> Result<ProviderHealth> {
        self.run("save", |db| async move {
            health.check()?;
            let health = health.saved_at(db.now());
            let upsert = Entity::insert(insertable(row(&health))).on_conflict(replacing());
            db.write(upsert).await?;
            Ok(health)
        })
        .await
    }

    async fn load(&self, name: &ProviderName) -> Result<Option<ProviderHealth>> {
        self.run("load", |db| async move {
            let found = db.by_key::<Entity>(name.as_str()).await?;
            found.map(ProviderHealth::try_from).transpose()
        })
        .await
    }

    async fn load_all(&self, page: PageRequest) -> Result<Page<ProviderHealth>> {
        self.run("load_all", |db| async move {
            let listing = Listing {
                name: "provider_health",
                keys: [Column::Name],
                direction: Direction::Ascending,
            };
            let found = listing.page(&db, Entity::find(), &page, |row: &Model| [row.name.clone().into()]);
            found.await?.try_map(ProviderHealth::try_from)
        })
        .await
    }
}

fn replacing() -> OnConflict {
    let mut conflict = OnConflict::column(Column::Name);
    conflict.update_columns([
        Column::CircuitState,
        Column::LastError,
        Column::LastSuccess,
        Column::TotalCalls,
        Column::TotalFailures,
        Column::UptimeSince,
        Column::UpdatedAt,
    ]);
    conflict
}

fn row(health: &ProviderHealth) -> Model {
    Model {
        name: health.name.to_string(),
        circuit_state: health.circuit_state,
        last_error: health.last_error.clone(),
        last_success: health.last_success,
        total_calls: health.total_calls,
        total_failures: health.total_failures,
        uptime_since: health.uptime_since,
        updated_at: health.updated_at,
    }
}

impl TryFrom<Model> for ProviderHealth {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        Ok(Self {
            name: ProviderName::new(row.name.clone()).map_err(|rule| corrupt("provider_health", &row.name, rule))?,
            circuit_state: row.circuit_state,
            last_error: row.last_error,
            last_success: row.last_success,
            total_calls: row.total_calls,
            total_failures: row.total_failures,
            uptime_since: row.uptime_since,
            updated_at: row.updated_at,
        })
    }
}
