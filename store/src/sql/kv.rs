//! Values by key in SQL.

use std::time::Duration;

use chrono::{DateTime, Utc};
use entity::bot_kv_store::{Column, Entity, Model};
use sea_orm::sea_query::{Condition, Expr, ExprTrait, OnConflict};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect, QueryTrait};
use serde_json::Value;

use super::page::Listing;
use super::prune::prune_by;
use super::{Kv, corrupt, insertable};
use crate::clock::to_microseconds;
use crate::contract::{BotId, CursorKey, Direction, Key, KvEntry, KvStore, Page, PageRequest, Prune, check};
use crate::engine::{FromRow, Operation, Row};
use crate::{Error, ErrorKind, Result};

impl KvStore for Kv {
    async fn get(&self, bot: BotId, key: &Key) -> Result<Option<Value>> {
        self.run("get", |db| async move { value(&db, bot, key).await }).await
    }

    async fn get_entry(&self, bot: BotId, key: &Key) -> Result<Option<KvEntry>> {
        self.run("get_entry", |db| async move {
            let found = db.one(Entity::find().filter(at(bot, key, db.now()))).await?;
            found.map(KvEntry::try_from).transpose()
        })
        .await
    }

    async fn set(&self, bot: BotId, key: &Key, value: Value, ttl: Option<Duration>) -> Result<()> {
        self.run("set", |db| async move {
            let value = check::json("value", value)?;
            set(&db, bot, key, value, ttl).await
        })
        .await
    }

    async fn delete(&self, bot: BotId, key: &Key) -> Result<bool> {
        self.run("delete", |db| async move {
            // One that has expired is not there; purging removes it.
            let gone = Entity::delete_many().filter(at(bot, key, db.now()));
            Ok(db.write(gone).await? > 0)
        })
        .await
    }

    async fn list_keys(&self, bot: BotId, prefix: &str, page: PageRequest) -> Result<Page<Key>> {
        self.run("list_keys", |db| async move {
            check::text("prefix", prefix)?;
            let listing = Listing {
                name: "bot_kv_store",
                keys: [Column::Key],
                direction: Direction::Ascending,
            };
            let begin = match listing.place(&page)? {
                Some([CursorKey::Text(last)]) if last.as_str() >= prefix => None,
                _ => Some(prefix),
            };
            let select = Entity::find()
                .select_only()
                .columns([Column::BotId, Column::Key])
                .filter(Column::BotId.eq(bot))
                .filter(live(db.now()))
                .apply_if(begin, |select, begin| select.filter(Column::Key.gte(begin)))
                .apply_if(after_prefix(prefix), |select, end| select.filter(Column::Key.lt(end)));
            let found = listing.page(&db, select, &page, |row: &KeyOnly| [row.key.clone().into()]);
            found.await?.try_map(|row| key_of(bot, row.key))
        })
        .await
    }

    async fn increment(&self, bot: BotId, key: &Key, by: i64) -> Result<i64> {
        self.run("increment", |db| async move {
            db.atomic(|db| increment(db, bot, key, by)).await
        })
        .await
    }

    async fn compare_and_set(
        &self,
        bot: BotId,
        key: &Key,
        expected: Option<&Value>,
        new: Value,
        ttl: Option<Duration>,
    ) -> Result<()> {
        self.run("compare_and_set", |db| async move {
            let expected = check::optional_json("expected", expected.cloned())?;
            let new = check::json("new", new)?;
            let (expected, new) = (&expected, &new);
            db.atomic(|db| async move {
                if value(&db, bot, key).await? != *expected {
                    let advice = "read it again and decide anew";
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!("the value is not the expected one by now; {advice}"),
                    ));
                }
                set(&db, bot, key, new.clone(), ttl).await
            })
            .await
        })
        .await
    }

    async fn purge_expired(&self, expired: Prune) -> Result<u64> {
        let before = to_microseconds(expired.older_than);
        let old = |now| {
            Condition::all()
                .add(Column::ExpiresAt.lt(before))
                .add(Column::ExpiresAt.lte(now))
        };
        let keys = [Column::BotId, Column::Key];
        prune_by::<Entity, 2>(&self.0, "kv_entry", keys, Column::ExpiresAt, expired, old).await
    }
}

/// Whether an entry is still there: what [`KvEntry::is_live`] says.
fn live(now: DateTime<Utc>) -> Condition {
    Condition::any()
        .add(Column::ExpiresAt.is_null())
        .add(Column::ExpiresAt.gt(now))
}

fn at(bot: BotId, key: &Key, now: DateTime<Utc>) -> Condition {
    Condition::all()
        .add(Column::BotId.eq(bot))
        .add(Column::Key.eq(key.as_str()))
        .add(live(now))
}

async fn value(db: &Operation, bot: BotId, key: &Key) -> Result<Option<Value>> {
    let select = Entity::find()
        .select_only()
        .columns([Column::BotId, Column::Key, Column::Value])
        .filter(at(bot, key, db.now()));
    let found: Vec<ValueOnly> = db.all_as(select).await?;
    Ok(found.into_iter().next().map(|row| row.value))
}

async fn set(db: &Operation, bot: BotId, key: &Key, value: Value, ttl: Option<Duration>) -> Result<()> {
    let now = db.now();
    let row = Model {
        bot_id: bot,
        key: key.to_string(),
        value,
        expires_at: KvEntry::expiry(now, ttl)?,
        created_at: now,
        updated_at: now,
    };
    let upsert = Entity::insert(insertable(row)).on_conflict(replacing());
    db.write(upsert).await.map(drop)
}

/// In place of the entry that is there. One that has expired is not: the key is created anew.
///
/// It names the new row's instants and no values, so that sets of many keys are of one text.
fn replacing() -> OnConflict {
    let now = || Expr::col(("excluded", Column::CreatedAt));
    let expired = Expr::col((Entity, Column::ExpiresAt)).lte(now());
    let created_at = Expr::case(expired, now()).finally(Expr::col((Entity, Column::CreatedAt)));
    let mut conflict = OnConflict::columns([Column::BotId, Column::Key]);
    conflict.update_columns([Column::Value, Column::ExpiresAt, Column::UpdatedAt]);
    conflict.value(Column::CreatedAt, created_at);
    conflict
}

/// The sum is made here and not by the database: in SQL each has an arithmetic of its own.
async fn increment(db: Operation, bot: BotId, key: &Key, by: i64) -> Result<i64> {
    let Some(value) = value(&db, bot, key).await? else {
        set(&db, bot, key, by.into(), None).await?;
        return Ok(by);
    };
    let sum = KvEntry::incremented(&value, by)?;
    let update = Entity::update_many()
        .col_expr(Column::Value, Expr::val(Value::from(sum)))
        .col_expr(Column::UpdatedAt, Expr::val(db.now()))
        .filter(Column::BotId.eq(bot))
        .filter(Column::Key.eq(key.as_str()));
    db.write(update).await?;
    Ok(sum)
}

/// The smallest text that comes after every text with this prefix; `None` when there is none.
///
/// UTF-8 sorts as its characters do, so the last character is replaced by the next one. One that has none is cut off
/// first: "a\u{10ffff}" is followed by "b".
fn after_prefix(prefix: &str) -> Option<String> {
    let mut head = prefix.to_owned();
    while let Some(last) = head.pop() {
        // A range of characters steps over the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            head.push(next);
            return Some(head);
        }
    }
    None
}

struct KeyOnly {
    key: String,
}

impl FromRow for KeyOnly {
    /// Behind the bot, which is there for errors.
    fn from_row(row: &mut Row<'_>) -> Result<Self> {
        let _bot: BotId = row.read()?;
        Ok(Self { key: row.read()? })
    }
}

struct ValueOnly {
    value: Value,
}

impl FromRow for ValueOnly {
    /// Behind the key, which is there for errors.
    fn from_row(row: &mut Row<'_>) -> Result<Self> {
        let _key: (BotId, String) = (row.read()?, row.read()?);
        Ok(Self { value: row.read()? })
    }
}

fn key_of(bot: BotId, key: String) -> Result<Key> {
    Key::new(key.clone()).map_err(|rule| corrupt("bot_kv_store", format_args!("{bot}, {key}"), rule))
}

impl TryFrom<Model> for KvEntry {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        Ok(Self {
            bot_id: row.bot_id,
            key: key_of(row.bot_id, row.key)?,
            value: row.value,
            expires_at: row.expires_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_prefix_comes_the_next_character() {
        for (prefix, after) in [
            ("", None),
            ("a", Some("b")),
            ("user:", Some("user;")),
            ("\u{7f}", Some("\u{80}")),
            ("ä", Some("å")),
            ("日本", Some("日札")),
            ("\u{7ff}", Some("\u{800}")),
            ("\u{d7ff}", Some("\u{e000}")),
            ("\u{ffff}", Some("\u{10000}")),
            ("a\u{10ffff}", Some("b")),
            ("a\u{10ffff}\u{10ffff}", Some("b")),
            ("\u{10ffff}", None),
            ("\u{10ffff}\u{10ffff}", None),
        ] {
            assert_eq!(after_prefix(prefix).as_deref(), after, "{prefix:?}");
        }
    }

    #[test]
    fn every_text_with_the_prefix_lies_before_it() {
        for prefix in ["a", "ä", "\u{d7ff}", "x\u{10ffff}", "\u{1f469}\u{200d}"] {
            let after = after_prefix(prefix).unwrap();
            for more in ["", "\u{1}", "z", "\u{10ffff}\u{10ffff}"] {
                let text = format!("{prefix}{more}");
                assert!(prefix.as_bytes() <= text.as_bytes() && text.as_bytes() < after.as_bytes());
            }
        }
    }
}
