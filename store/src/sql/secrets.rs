//! Secrets in SQL.

use entity::secrets::{Column, Entity, Model};
use sea_orm::sea_query::{Condition, Expr, ExprTrait, OnConflict, SimpleExpr};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait};

use super::page::Listing;
use super::{Secrets, changed, corrupt, insertable, the_row};
use crate::contract::{
    BotId, Direction, Key, Page, PageRequest, Scope, SealedValue, SecretId, SecretInfo, SecretProvider,
    SecretRepository,
};
use crate::{Error, Result};

impl SecretRepository for Secrets {
    async fn get(&self, scope: Scope, key: &Key) -> Result<Option<SealedValue>> {
        self.run("get", |db| async move {
            let value = Entity::find()
                .select_only()
                .column(Column::EncryptedValue)
                .filter(at(scope, key));
            let found: Vec<Value> = db.all_as(value).await?;
            Ok(found
                .into_iter()
                .next()
                .map(|row| SealedValue::from_sealed(row.encrypted_value)))
        })
        .await
    }

    async fn set(&self, scope: Scope, key: &Key, value: SealedValue, provider: SecretProvider) -> Result<SecretInfo> {
        self.run("set", |db| async move {
            let now = db.now();
            let row = Model {
                id: db.new_id(),
                key: key.to_string(),
                encrypted_value: value.into_bytes(),
                bot_id: scope.bot(),
                provider,
                created_at: now,
                updated_at: now,
            };
            let upsert = Entity::insert(insertable(row)).on_conflict(replacing_in(scope));
            let stored = the_row(db.write_returning(upsert).await?, "secret", key)?;
            Info::from(stored).try_into()
        })
        .await
    }

    async fn reseal(&self, scope: Scope, key: &Key, old: &SealedValue, new: SealedValue) -> Result<bool> {
        self.run("reseal", |db| async move {
            let update = Entity::update_many()
                .col_expr(Column::EncryptedValue, Expr::val(new.into_bytes()))
                .filter(at(scope, key))
                .filter(Column::EncryptedValue.eq(old.as_bytes()));
            Ok(db.write(update).await? > 0)
        })
        .await
    }

    async fn delete(&self, scope: Scope, key: &Key) -> Result<()> {
        self.run("delete", |db| async move {
            let gone = db.write(Entity::delete_many().filter(at(scope, key))).await?;
            changed(gone, "secret", format_args!("`{key}` ({scope})"))
        })
        .await
    }

    async fn list(&self, scope: Option<Scope>, page: PageRequest) -> Result<Page<SecretInfo>> {
        self.run("list", |db| async move {
            let told = [
                Column::Id,
                Column::Key,
                Column::BotId,
                Column::Provider,
                Column::CreatedAt,
                Column::UpdatedAt,
            ];
            let select = Entity::find()
                .select_only()
                .columns(told)
                .apply_if(scope, |select, scope| select.filter(within(scope)));
            let found = match scope {
                // Unique there, and read off the index that makes it so.
                Some(_) => {
                    let key = |row: &Info| [row.key.clone().into()];
                    by_key([Column::Key]).page(&db, select, &page, key).await?
                }
                None => {
                    let key = |row: &Info| [row.key.clone().into(), row.id.0.into()];
                    by_key([Column::Key, Column::Id]).page(&db, select, &page, key).await?
                }
            };
            found.try_map(SecretInfo::try_from)
        })
        .await
    }
}

fn by_key<const N: usize>(keys: [Column; N]) -> Listing<Column, N> {
    Listing {
        name: "secrets",
        keys,
        direction: Direction::Ascending,
    }
}

fn within(scope: Scope) -> SimpleExpr {
    match scope {
        Scope::Global => Column::BotId.is_null(),
        Scope::Bot(bot) => Column::BotId.eq(bot),
    }
}

fn at(scope: Scope, key: &Key) -> Condition {
    Condition::all().add(within(scope)).add(Column::Key.eq(key.as_str()))
}

/// Each scope has a unique index of its own, over its own part of the table, and ON CONFLICT must name that part.
fn replacing_in(scope: Scope) -> OnConflict {
    let mut conflict = match scope {
        Scope::Global => OnConflict::column(Column::Key),
        Scope::Bot(_) => OnConflict::columns([Column::BotId, Column::Key]),
    };
    let part = match scope {
        Scope::Global => Expr::col(Column::BotId).is_null(),
        Scope::Bot(_) => Expr::col(Column::BotId).is_not_null(),
    };
    conflict.target_and_where(part);
    conflict.update_columns([Column::EncryptedValue, Column::Provider, Column::UpdatedAt]);
    conflict
}

struct Value {
    encrypted_value: Vec<u8>,
}

from_row!(Value { encrypted_value });

/// A row without its value.
struct Info {
    id: SecretId,
    key: String,
    bot_id: Option<BotId>,
    provider: SecretProvider,
    created_at: chrono::DateTime<chrono::Utc>,
    updated_at: chrono::DateTime<chrono::Utc>,
}

from_row!(Info {
    id,
    key,
    bot_id,
    provider,
    created_at,
    updated_at
});

impl From<Model> for Info {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            key: row.key,
            bot_id: row.bot_id,
            provider: row.provider,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl TryFrom<Info> for SecretInfo {
    type Error = Error;

    fn try_from(row: Info) -> Result<Self> {
        Ok(Self {
            id: row.id,
            scope: row.bot_id.map_or(Scope::Global, Scope::Bot),
            key: Key::new(row.key).map_err(|rule| corrupt("secrets", row.id, rule))?,
            provider: row.provider,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}
