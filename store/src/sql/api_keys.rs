//! API keys in SQL.

use chrono::{DateTime, Utc};
use entity::api_keys::{Column, Entity, Model};
use entity::users;
use sea_orm::sea_query::{Condition, Expr, ExprTrait};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryTrait};
use secrecy::SecretString;

use super::page::Listing;
use super::prune::prune_by;
use super::{ApiKeys, changed, insertable};
use crate::Result;
use crate::api_key_text::KeyText;
use crate::clock::to_microseconds;
use crate::contract::{
    ApiKey, ApiKeyId, ApiKeyRepository, Authenticated, Direction, IssuedKey, NewApiKey, Page, PageRequest, Prune, User,
    UserId,
};
use crate::engine::Operation;

impl ApiKeyRepository for ApiKeys {
    async fn issue(&self, key: NewApiKey) -> Result<IssuedKey> {
        self.run("issue", |db| async move {
            key.check()?;
            let text = KeyText::random()?;
            let row = Model {
                id: db.new_id(),
                user_id: key.user_id,
                name: key.name,
                prefix: text.prefix().to_owned(),
                hash: text.hash().to_vec(),
                created_at: db.now(),
                last_used_at: None,
                expires_at: key.expires_at.map(to_microseconds),
                revoked_at: None,
            };
            db.write(Entity::insert(insertable(row.clone()))).await?;
            Ok(IssuedKey {
                key: row.into(),
                plaintext: text.into_plaintext(),
            })
        })
        .await
    }

    async fn authenticate(&self, plaintext: &SecretString) -> Result<Option<Authenticated>> {
        self.run("authenticate", |db| async move {
            let Some(text) = KeyText::parse(plaintext) else {
                return Ok(None);
            };
            let row = db.one(Entity::find().filter(Column::Prefix.eq(text.prefix()))).await?;
            let Some(row) = row.filter(|row| text.matches(&row.hash) && opens(row, db.now())) else {
                return Ok(None);
            };
            let user = match row.user_id {
                Some(id) => match user(&db, id).await? {
                    Some(user) => Some(user),
                    // Deleted since, and the key with it.
                    None => return Ok(None),
                },
                None => None,
            };
            Ok(Some(Authenticated { key: row.into(), user }))
        })
        .await
    }

    async fn get(&self, id: ApiKeyId) -> Result<Option<ApiKey>> {
        self.run("get", |db| async move {
            Ok(db.by_key::<Entity>(id).await?.map(ApiKey::from))
        })
        .await
    }

    async fn list(&self, user: Option<UserId>, page: PageRequest) -> Result<Page<ApiKey>> {
        self.run("list", |db| async move {
            let select = Entity::find().apply_if(user, |select, user| select.filter(Column::UserId.eq(user)));
            let listing = Listing {
                name: "api_keys",
                keys: [Column::CreatedAt, Column::Id],
                direction: Direction::Descending,
            };
            let found = listing.page(&db, select, &page, |row: &Model| {
                [row.created_at.into(), row.id.0.into()]
            });
            Ok(found.await?.map(ApiKey::from))
        })
        .await
    }

    async fn touch(&self, id: ApiKeyId) -> Result<()> {
        self.run("touch", |db| async move {
            let now = db.now();
            // Kept where it is later already: clocks of several machines differ.
            let later = Expr::case(Expr::col(Column::LastUsedAt).gt(now), Expr::col(Column::LastUsedAt)).finally(now);
            let update = Entity::update_many()
                .col_expr(Column::LastUsedAt, later.into())
                .filter(Column::Id.eq(id));
            changed(db.write(update).await?, "api_key", id)
        })
        .await
    }

    async fn revoke(&self, id: ApiKeyId) -> Result<()> {
        self.run("revoke", |db| async move {
            let first = Expr::col(Column::RevokedAt).if_null(db.now());
            let update = Entity::update_many()
                .col_expr(Column::RevokedAt, first)
                .filter(Column::Id.eq(id));
            changed(db.write(update).await?, "api_key", id)
        })
        .await
    }

    async fn prune(&self, expired: Prune) -> Result<u64> {
        let before = to_microseconds(expired.older_than);
        let old = |now| {
            Condition::all()
                .add(Column::ExpiresAt.lt(before))
                .add(Column::ExpiresAt.lte(now))
        };
        prune_by::<Entity, 1>(&self.0, "api_key", [Column::Id], Column::ExpiresAt, expired, old).await
    }

    async fn delete(&self, id: ApiKeyId) -> Result<()> {
        self.run("delete", |db| async move {
            let gone = db.write(Entity::delete_many().filter(Column::Id.eq(id))).await?;
            changed(gone, "api_key", id)
        })
        .await
    }
}

async fn user(db: &Operation, id: UserId) -> Result<Option<User>> {
    db.by_key::<users::Entity>(id).await?.map(User::try_from).transpose()
}

/// Whether the key opens anything at this instant.
fn opens(key: &Model, now: DateTime<Utc>) -> bool {
    key.revoked_at.is_none() && key.expires_at.is_none_or(|end| now < end)
}

impl From<Model> for ApiKey {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            name: row.name,
            prefix: row.prefix,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
        }
    }
}
