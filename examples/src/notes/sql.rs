//! The contract kept in SQL, once for both databases.

use store::engine::{Operation, Session};
use store::prelude::*;
use store::sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect};
use store::uuid::Uuid;
use store::{Cursor, CursorKey, Error};

use super::contract::{NewNote, Note, NoteRepository};
use super::entity::{Column, Entity, Model};

/// The [`NoteRepository`] of both databases.
#[derive(Debug, Clone)]
pub struct Notes(Session);

/// Gives the store and its transactions a `notes()`.
pub trait WithNotes: Repositories {
    /// The notes.
    fn notes(&self) -> Notes {
        Notes(self.session())
    }
}

impl<R: Repositories> WithNotes for R {}

impl NoteRepository for Notes {
    async fn add(&self, note: NewNote) -> store::Result<Note> {
        let work = |db: Operation| async move {
            note.check()?;
            let row = Model {
                id: db.new_id(),
                bot_id: note.bot_id,
                body: note.body,
                created_at: db.now(),
            };
            db.write(Entity::insert(row.clone().into_active_model())).await?;
            Ok(row.into())
        };
        self.0.run("note", "add", work).await
    }

    async fn list(&self, bot: BotId, page: PageRequest) -> store::Result<Page<Note>> {
        let work = |db: Operation| async move {
            page.check()?;
            let mut select = Entity::find().filter(Column::BotId.eq(bot)).order_by_desc(Column::Id);
            if let Some(cursor) = &page.after {
                let [CursorKey::Id(last)] = cursor.keys_for(LIST)? else {
                    return Err(Error::invalid("cursor", "does not have the keys of its list"));
                };
                select = select.filter(Column::Id.lt(*last));
            }
            // One more than wanted, to know whether there is a next page.
            let limit = page.limit as usize;
            let mut rows = db.all(select.limit(u64::from(page.limit) + 1)).await?;
            let more = rows.len() > limit;
            rows.truncate(limit);
            let last = rows.last().filter(|_| more);
            let next = last.map(|row| Cursor::new(LIST, vec![row.id.into()]));
            Ok(Page { items: rows, next }.map(Note::from))
        };
        self.0.run("note", "list", work).await
    }

    async fn delete(&self, id: Uuid) -> store::Result<()> {
        let work = |db: Operation| async move {
            match db.write(Entity::delete_many().filter(Column::Id.eq(id))).await? {
                0 => Err(Error::not_found("note", id)),
                _ => Ok(()),
            }
        };
        self.0.run("note", "delete", work).await
    }
}

/// The list and its order, as its cursors carry them.
const LIST: &str = "bot_notes by id desc";

impl From<Model> for Note {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            bot_id: row.bot_id,
            body: row.body,
            created_at: row.created_at,
        }
    }
}
