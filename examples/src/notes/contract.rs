//! What a program may ask for.

use store::chrono::{DateTime, Utc};
use store::prelude::*;
use store::uuid::Uuid;

/// A note about a bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The note's id.
    pub id: Uuid,
    /// The bot it is about.
    pub bot_id: BotId,
    /// What it says.
    pub body: String,
    /// When it was written.
    pub created_at: DateTime<Utc>,
}

/// What a new note is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNote {
    /// The bot it is about.
    pub bot_id: BotId,
    /// What it says: not blank.
    pub body: String,
}

impl NewNote {
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn check(&self) -> store::Result<()> {
        store::check::name("body", &self.body)
    }
}

/// Keeps notes.
pub trait NoteRepository: Send + Sync {
    /// Stores a note and answers it as stored.
    ///
    /// # Errors
    /// `ForeignKey` when the bot does not exist; `InvalidInput`.
    fn add(&self, note: NewNote) -> impl Future<Output = store::Result<Note>> + Send;

    /// The bot's notes, newest first.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn list(&self, bot: BotId, page: PageRequest) -> impl Future<Output = store::Result<Page<Note>>> + Send;

    /// Deletes the note.
    ///
    /// # Errors
    /// `NotFound`.
    fn delete(&self, id: Uuid) -> impl Future<Output = store::Result<()>> + Send;
}
