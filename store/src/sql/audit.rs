//! The audit trail in SQL.

use entity::memory_audit_log::{Column, Entity, Model};
use sea_orm::sea_query::Condition;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::page::Listing;
use super::prune::prune;
use super::{Audit, corrupt, insertable};
use crate::clock::to_microseconds;
use crate::contract::{
    AuditEntry, AuditLog, BotId, CursorKey, Direction, MemoryId, NewAuditEntry, Page, PageRequest, Prune,
};
use crate::engine::Operation;
use crate::{Error, Result};

impl AuditLog for Audit {
    async fn log(&self, entry: NewAuditEntry) -> Result<AuditEntry> {
        self.run("log", |db| async move {
            let entry = made(entry.check()?, &db, db.now());
            db.write(Entity::insert(insertable(row(&entry)))).await?;
            Ok(entry)
        })
        .await
    }

    async fn log_many(&self, entries: Vec<NewAuditEntry>) -> Result<Vec<AuditEntry>> {
        self.run("log_many", |db| async move {
            let now = db.now();
            let entries = entries.into_iter().enumerate().map(|(at, entry)| {
                let entry = entry
                    .check()
                    .map_err(|rule| rule.within(format_args!("entries[{at}]")))?;
                Ok(made(entry, &db, now))
            });
            let entries = entries.collect::<Result<Vec<_>>>()?;
            let logged = &entries;
            db.atomic(|db| async move { db.insert_all::<Entity>(logged.iter().map(row)).await })
                .await?;
            Ok(entries)
        })
        .await
    }

    async fn for_bot(&self, bot: BotId, page: PageRequest) -> Result<Page<AuditEntry>> {
        self.run("for_bot", |db| async move {
            let select = Entity::find().filter(Column::BotId.eq(bot));
            let listing = newest_first("memory_audit_log of a bot");
            let found = listing.page(&db, select, &page, keys_of).await?;
            found.try_map(AuditEntry::try_from)
        })
        .await
    }

    async fn for_memory(&self, memory: &MemoryId, page: PageRequest) -> Result<Page<AuditEntry>> {
        self.run("for_memory", |db| async move {
            let select = Entity::find().filter(Column::MemoryId.eq(memory.as_str()));
            let listing = newest_first("memory_audit_log of a memory");
            let found = listing.page(&db, select, &page, keys_of).await?;
            found.try_map(AuditEntry::try_from)
        })
        .await
    }

    async fn prune(&self, old: Prune) -> Result<u64> {
        let before = Condition::all().add(Column::CreatedAt.lt(to_microseconds(old.older_than)));
        prune::<Entity>(&self.0, "audit_entry", Column::Id, Column::CreatedAt, old, before).await
    }
}

fn newest_first(name: &'static str) -> Listing<Column, 2> {
    Listing {
        name,
        keys: [Column::CreatedAt, Column::Id],
        direction: Direction::Descending,
    }
}

fn keys_of(row: &Model) -> [CursorKey; 2] {
    [row.created_at.into(), row.id.0.into()]
}

/// An entry as it will be stored.
fn made(new: NewAuditEntry, db: &Operation, now: chrono::DateTime<chrono::Utc>) -> AuditEntry {
    AuditEntry {
        id: db.new_id(),
        bot_id: new.bot_id,
        memory_id: new.memory_id,
        action: new.action,
        actor: new.actor,
        details: new.details,
        created_at: now,
    }
}

fn row(entry: &AuditEntry) -> Model {
    Model {
        id: entry.id,
        bot_id: entry.bot_id,
        memory_id: entry.memory_id.to_string(),
        action: entry.action,
        actor: entry.actor.clone(),
        details: entry.details.clone(),
        created_at: entry.created_at,
    }
}

impl TryFrom<Model> for AuditEntry {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        Ok(Self {
            memory_id: MemoryId::new(row.memory_id).map_err(|rule| corrupt("memory_audit_log", row.id, rule))?,
            id: row.id,
            bot_id: row.bot_id,
            action: row.action,
            actor: row.actor,
            details: row.details,
            created_at: row.created_at,
        })
    }
}
