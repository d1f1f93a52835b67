//! Bots in SQL.

use entity::bots::{ActiveModel, Column, Entity, Model, Tags};
use sea_orm::{ActiveValue, ColumnTrait, EntityTrait, QueryFilter, QueryTrait};

use super::page::Listing;
use super::workflows;
use super::{Bots, changed, corrupt, insertable, set, the_row};
use crate::contract::{
    Bot, BotChange, BotFilter, BotId, BotOrder, BotRepository, CursorKey, NewBot, Page, PageRequest, Slug,
};
use crate::engine::Operation;
use crate::{Error, Result};

impl BotRepository for Bots {
    async fn create(&self, bot: NewBot) -> Result<Bot> {
        self.run("create", |db| async move {
            bot.check()?;
            let bot = made(bot, &db);
            db.write(Entity::insert(row(&bot))).await?;
            Ok(bot)
        })
        .await
    }

    async fn get(&self, id: BotId) -> Result<Option<Bot>> {
        self.run("get", |db| async move {
            db.by_key::<Entity>(id).await?.map(Bot::try_from).transpose()
        })
        .await
    }

    async fn get_by_slug(&self, slug: &Slug) -> Result<Option<Bot>> {
        self.run("get_by_slug", |db| async move {
            let found = db.one(Entity::find().filter(Column::Slug.eq(slug.as_str()))).await?;
            found.map(Bot::try_from).transpose()
        })
        .await
    }

    async fn list(&self, filter: BotFilter, page: PageRequest) -> Result<Page<Bot>> {
        self.run("list", |db| async move {
            let select = Entity::find()
                .apply_if(filter.status, |select, status| select.filter(Column::Status.eq(status)))
                .apply_if(filter.category, |select, category| {
                    select.filter(Column::Category.eq(category))
                })
                .apply_if(filter.user_id, |select, user| select.filter(Column::UserId.eq(user)));
            let sort = match filter.order {
                BotOrder::CreatedAt => Column::CreatedAt,
                BotOrder::UpdatedAt => Column::UpdatedAt,
                BotOrder::Name => Column::Name,
            };
            let listing = Listing {
                name: "bots",
                keys: [sort, Column::Id],
                direction: filter.direction,
            };
            let found = listing.page(&db, select, &page, |bot: &Model| {
                [sort_key(bot, filter.order), bot.id.0.into()]
            });
            found.await?.try_map(Bot::try_from)
        })
        .await
    }

    async fn update(&self, id: BotId, change: BotChange) -> Result<Bot> {
        self.run("update", |db| async move {
            change.check()?;
            let mut row = changes(change);
            row.updated_at = ActiveValue::Set(db.now());
            let update = Entity::update_many().set(row).filter(Column::Id.eq(id));
            the_row(db.write_returning(update).await?, "bot", id)?.try_into()
        })
        .await
    }

    async fn delete(&self, id: BotId) -> Result<()> {
        self.run("delete", |db| async move {
            db.atomic_again(workflows::is_referred, |db| delete(db, id)).await
        })
        .await
    }
}

/// What belongs to the bot cascades; its workflows and their runs, which restrict, go first.
async fn delete(db: Operation, id: BotId) -> Result<()> {
    workflows::purge(&db, workflows::owned_by(id)).await?;
    changed(
        db.write(Entity::delete_many().filter(Column::Id.eq(id))).await?,
        "bot",
        id,
    )
}

/// A bot as it will be stored.
fn made(new: NewBot, db: &Operation) -> Bot {
    let now = db.now();
    Bot {
        id: db.new_id(),
        slug: new.slug,
        name: new.name,
        description: new.description,
        status: new.status,
        category: new.category,
        tags: new.tags,
        user_id: new.user_id,
        conversation_count: 0,
        total_tokens_used: 0,
        version_count: 0,
        created_at: now,
        updated_at: now,
        last_active_at: None,
    }
}

fn row(bot: &Bot) -> ActiveModel {
    insertable(Model {
        id: bot.id,
        slug: bot.slug.to_string(),
        name: bot.name.clone(),
        description: bot.description.clone(),
        status: bot.status,
        category: bot.category,
        tags: Tags(bot.tags.clone()),
        user_id: bot.user_id,
        conversation_count: bot.conversation_count,
        total_tokens_used: bot.total_tokens_used,
        version_count: bot.version_count,
        created_at: bot.created_at,
        updated_at: bot.updated_at,
        last_active_at: bot.last_active_at,
    })
}

/// The columns that the change names; the others stay out of the statement.
fn changes(change: BotChange) -> ActiveModel {
    ActiveModel {
        slug: set(change.slug.map(String::from)),
        name: set(change.name),
        description: set(change.description),
        status: set(change.status),
        category: set(change.category),
        tags: set(change.tags.map(Tags)),
        user_id: set(change.user_id),
        ..Default::default()
    }
}

fn sort_key(bot: &Model, order: BotOrder) -> CursorKey {
    match order {
        BotOrder::CreatedAt => bot.created_at.into(),
        BotOrder::UpdatedAt => bot.updated_at.into(),
        BotOrder::Name => bot.name.clone().into(),
    }
}

impl TryFrom<Model> for Bot {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        Ok(Self {
            slug: Slug::new(row.slug).map_err(|rule| corrupt("bots", row.id, rule))?,
            id: row.id,
            name: row.name,
            description: row.description,
            status: row.status,
            category: row.category,
            tags: row.tags.0,
            user_id: row.user_id,
            conversation_count: row.conversation_count,
            total_tokens_used: row.total_tokens_used,
            version_count: row.version_count,
            created_at: row.created_at,
            updated_at: row.updated_at,
            last_active_at: row.last_active_at,
        })
    }
}
