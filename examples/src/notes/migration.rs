//! How the database gets the table.

use store::migration::model::{Column, ForeignKey, Index, OnDelete, Schema, Step, Table};
use store::migration::sea_orm_migration::prelude::{
    DbErr, DynIden, IntoIden, MigrationName, MigrationTrait, MigratorTrait, SchemaManager, async_trait,
};
use store::migration::user;

/// The application's own list of migrations, oldest first.
#[derive(Debug)]
pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![Box::new(BotNotes)]
    }

    /// The list's own record, beside the store's.
    fn migration_table_name() -> DynIden {
        "notes_migrations".into_iden()
    }
}

struct BotNotes;

impl MigrationName for BotNotes {
    fn name(&self) -> &str {
        "m20261121_000001_bot_notes"
    }
}

fn bot_notes() -> Vec<Step> {
    let table = Table::new("bot_notes")
        .column(Column::uuid("id"))
        .column(Column::uuid("bot_id"))
        .column(Column::text("body"))
        .column(Column::timestamp("created_at"))
        .foreign_key(ForeignKey::new("bot_id", "bots", OnDelete::Cascade))
        .index(Index::on(&["bot_id", "id"]).named("idx_bot_notes_bot_id"));
    vec![Step::CreateTable(table)]
}

#[async_trait::async_trait]
impl MigrationTrait for BotNotes {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        user::run_steps(manager, &Schema::default(), &bot_notes()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        user::undo_steps(manager, &Schema::default(), &bot_notes()).await
    }
}
