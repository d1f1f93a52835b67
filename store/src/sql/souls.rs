//! Souls in SQL.

use entity::soul_versions::{Column, Entity, Model};
use entity::{bots, soul_versions};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::page::Listing;
use super::{Souls, insertable, the_row};
use crate::Result;
use crate::contract::{
    BotId, Direction, NewSoul, Page, PageRequest, SoulRepository, SoulSummary, SoulVersion, SoulVersionId,
};
use crate::engine::Operation;

impl SoulRepository for Souls {
    async fn save_version(&self, bot: BotId, soul: NewSoul) -> Result<SoulVersion> {
        let soul = &soul;
        self.run("save_version", |db| async move {
            soul.check()?;
            db.atomic(|db| save_version(db, bot, soul)).await
        })
        .await
    }

    async fn get_current(&self, bot: BotId) -> Result<Option<SoulVersion>> {
        self.run("get_current", |db| async move {
            Ok(db.one(newest(bot)).await?.map(SoulVersion::from))
        })
        .await
    }

    async fn get_version(&self, bot: BotId, version: i64) -> Result<Option<SoulVersion>> {
        self.run("get_version", |db| async move {
            let numbered = Entity::find()
                .filter(Column::BotId.eq(bot))
                .filter(Column::Version.eq(version));
            Ok(db.one(numbered).await?.map(SoulVersion::from))
        })
        .await
    }

    async fn list_versions(&self, bot: BotId, page: PageRequest) -> Result<Page<SoulSummary>> {
        self.run("list_versions", |db| async move {
            let select = Entity::find().filter(Column::BotId.eq(bot)).select_only().columns([
                Column::Id,
                Column::BotId,
                Column::Hash,
                Column::Version,
                Column::Message,
                Column::CreatedAt,
            ]);
            let listing = Listing {
                name: "soul_versions",
                keys: [Column::Version],
                direction: Direction::Descending,
            };
            let found = listing
                .page(&db, select, &page, |row: &Summary| [row.version.into()])
                .await?;
            Ok(found.map(SoulSummary::from))
        })
        .await
    }

    async fn get_stored_hash(&self, bot: BotId) -> Result<Option<String>> {
        self.run("get_stored_hash", |db| async move {
            let found: Vec<Hash> = db.all_as(newest(bot).select_only().column(Column::Hash)).await?;
            Ok(found.into_iter().next().map(|row| row.hash))
        })
        .await
    }
}

/// Counting first takes the bot's row, so that a second saver waits or starts again, and learns the next number.
async fn save_version(db: Operation, bot: BotId, soul: &NewSoul) -> Result<SoulVersion> {
    let now = db.now();
    let count = bots::Entity::update_many()
        .col_expr(bots::Column::VersionCount, Expr::col(bots::Column::VersionCount).add(1))
        .col_expr(bots::Column::UpdatedAt, Expr::val(now))
        .filter(bots::Column::Id.eq(bot));
    let bot = the_row(db.write_returning(count).await?, "bot", bot)?;
    let version = soul_versions::Model {
        id: db.new_id(),
        bot_id: bot.id,
        content: soul.content.clone(),
        hash: SoulVersion::hash_of(&soul.content),
        version: bot.version_count,
        message: soul.message.clone(),
        created_at: now,
    };
    db.write(Entity::insert(insertable(version.clone()))).await?;
    Ok(version.into())
}

fn newest(bot: BotId) -> sea_orm::Select<Entity> {
    Entity::find()
        .filter(Column::BotId.eq(bot))
        .order_by_desc(Column::Version)
        .limit(1)
}

struct Hash {
    hash: String,
}

from_row!(Hash { hash });

struct Summary {
    id: SoulVersionId,
    bot_id: BotId,
    hash: String,
    version: i64,
    message: Option<String>,
    created_at: chrono::DateTime<chrono::Utc>,
}

from_row!(Summary {
    id,
    bot_id,
    hash,
    version,
    message,
    created_at
});

impl From<Summary> for SoulSummary {
    fn from(row: Summary) -> Self {
        Self {
            id: row.id,
            bot_id: row.bot_id,
            hash: row.hash,
            version: row.version,
            message: row.message,
            created_at: row.created_at,
        }
    }
}

impl From<Model> for SoulVersion {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            bot_id: row.bot_id,
            content: row.content,
            hash: row.hash,
            version: row.version,
            message: row.message,
            created_at: row.created_at,
        }
    }
}
