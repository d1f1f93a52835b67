//! Files and their versions in SQL.

use entity::bot_file_versions as versions;
use entity::bot_files::{Column, Entity, Model};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::page::Listing;
use super::{Files, changed, corrupt, insertable, the_row};
use crate::contract::{
    BotFile, BotId, Direction, FileId, FileName, FileRepository, FileVersion, NewFile, Page, PageRequest, check,
};
use crate::engine::Operation;
use crate::{Error, Result};

impl FileRepository for Files {
    async fn save_file(&self, bot: BotId, file: NewFile) -> Result<BotFile> {
        self.run("save_file", |db| async move {
            file.check()?;
            let row = first(&db, bot, file);
            let saved = &row;
            db.atomic(|db| async move {
                db.write(Entity::insert(insertable(saved.clone()))).await?;
                keep_version(&db, saved).await
            })
            .await?;
            row.try_into()
        })
        .await
    }

    async fn bump(&self, id: FileId, size_bytes: i64) -> Result<BotFile> {
        self.run("bump", |db| async move {
            check::not_negative("size_bytes", size_bytes)?;
            let file = db.atomic(|db| bump(db, id, size_bytes)).await?;
            file.try_into()
        })
        .await
    }

    async fn set_indexed(&self, id: FileId, indexed: bool) -> Result<BotFile> {
        self.run("set_indexed", |db| async move {
            let update = Entity::update_many()
                .col_expr(Column::IsIndexed, Expr::val(indexed))
                .col_expr(Column::UpdatedAt, Expr::val(db.now()))
                .filter(Column::Id.eq(id));
            the_row(db.write_returning(update).await?, "file", id)?.try_into()
        })
        .await
    }

    async fn get(&self, bot: BotId, filename: &FileName) -> Result<Option<BotFile>> {
        self.run("get", |db| async move {
            let named = Entity::find()
                .filter(Column::BotId.eq(bot))
                .filter(Column::Filename.eq(filename.as_str()));
            db.one(named).await?.map(BotFile::try_from).transpose()
        })
        .await
    }

    async fn get_by_id(&self, id: FileId) -> Result<Option<BotFile>> {
        self.run("get_by_id", |db| async move {
            db.by_key::<Entity>(id).await?.map(BotFile::try_from).transpose()
        })
        .await
    }

    async fn list(&self, bot: BotId, page: PageRequest) -> Result<Page<BotFile>> {
        self.run("list", |db| async move {
            let listing = Listing {
                name: "bot_files",
                keys: [Column::Filename],
                direction: Direction::Ascending,
            };
            let select = Entity::find().filter(Column::BotId.eq(bot));
            let found = listing.page(&db, select, &page, |row: &Model| [row.filename.clone().into()]);
            found.await?.try_map(BotFile::try_from)
        })
        .await
    }

    async fn delete(&self, id: FileId) -> Result<()> {
        self.run("delete", |db| async move {
            let gone = db.write(Entity::delete_many().filter(Column::Id.eq(id))).await?;
            changed(gone, "file", id)
        })
        .await
    }

    async fn versions(&self, id: FileId, page: PageRequest) -> Result<Page<FileVersion>> {
        self.run("versions", |db| async move {
            let listing = Listing {
                name: "bot_file_versions",
                keys: [versions::Column::Version],
                direction: Direction::Descending,
            };
            let select = versions::Entity::find().filter(versions::Column::FileId.eq(id));
            let found = listing.page(&db, select, &page, |row: &versions::Model| [row.version.into()]);
            Ok(found.await?.map(FileVersion::from))
        })
        .await
    }
}

/// A file as it will be stored.
fn first(db: &Operation, bot: BotId, new: NewFile) -> Model {
    let now = db.now();
    Model {
        id: db.new_id(),
        bot_id: bot,
        filename: new.filename.into(),
        mime_type: new.mime_type,
        size_bytes: new.size_bytes,
        version: 1,
        is_indexed: false,
        created_at: now,
        updated_at: now,
    }
}

/// Counting first takes the file's row, so that a second one waits or starts again, and learns the next number.
async fn bump(db: Operation, id: FileId, size_bytes: i64) -> Result<Model> {
    let count = Entity::update_many()
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .col_expr(Column::SizeBytes, Expr::val(size_bytes))
        .col_expr(Column::UpdatedAt, Expr::val(db.now()))
        .filter(Column::Id.eq(id));
    let file = the_row(db.write_returning(count).await?, "file", id)?;
    keep_version(&db, &file).await?;
    Ok(file)
}

async fn keep_version(db: &Operation, file: &Model) -> Result<()> {
    let version = versions::Model {
        id: db.new_id(),
        file_id: file.id,
        version: file.version,
        size_bytes: file.size_bytes,
        created_at: file.updated_at,
    };
    db.write(versions::Entity::insert(insertable(version))).await.map(drop)
}

impl TryFrom<Model> for BotFile {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self> {
        Ok(Self {
            filename: FileName::new(row.filename).map_err(|rule| corrupt("bot_files", row.id, rule))?,
            id: row.id,
            bot_id: row.bot_id,
            mime_type: row.mime_type,
            size_bytes: row.size_bytes,
            version: row.version,
            is_indexed: row.is_indexed,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

impl From<versions::Model> for FileVersion {
    fn from(row: versions::Model) -> Self {
        Self {
            id: row.id,
            file_id: row.file_id,
            version: row.version,
            size_bytes: row.size_bytes,
            created_at: row.created_at,
        }
    }
}
