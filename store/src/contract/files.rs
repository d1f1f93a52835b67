//! The files of bots and their versions. The store knows of them; their contents are kept elsewhere.

use std::future::Future;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{BotId, FileId, FileName, FileVersionId, Page, PageRequest, check};
use crate::Result;

/// A file of a bot, as its newest version is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BotFile {
    /// The file's id.
    pub id: FileId,
    /// Whose file.
    pub bot_id: BotId,
    /// Its name, unique among the bot's.
    pub filename: FileName,
    /// What is in it.
    pub mime_type: String,
    /// How large its newest version is.
    pub size_bytes: i64,
    /// The number of its newest version: 1 for the first, and one more each time.
    pub version: i64,
    /// Whether its content can be searched.
    pub is_indexed: bool,
    /// When it was first saved.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A file to save.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFile {
    /// Its name, unique among the bot's.
    pub filename: FileName,
    /// What is in it: not blank.
    pub mime_type: String,
    /// How large it is: not negative.
    pub size_bytes: i64,
}

impl NewFile {
    /// The media type of a file of which nothing is known.
    pub const OCTET_STREAM: &str = "application/octet-stream";

    /// A file of which no more is known.
    pub fn new(filename: FileName, size_bytes: i64) -> Self {
        Self {
            filename,
            mime_type: Self::OCTET_STREAM.to_owned(),
            size_bytes,
        }
    }

    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn check(&self) -> Result<()> {
        check::name("mime_type", &self.mime_type)?;
        check::not_negative("size_bytes", self.size_bytes)
    }
}

/// One version of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileVersion {
    /// The version's id.
    pub id: FileVersionId,
    /// Whose version.
    pub file_id: FileId,
    /// 1 for the first, and one more each time.
    pub version: i64,
    /// How large it is.
    pub size_bytes: i64,
    /// When it was saved.
    pub created_at: DateTime<Utc>,
}

/// Keeps what is known of bots' files.
pub trait FileRepository: Send + Sync {
    /// Saves a new file, not indexed, with its version 1, both or neither; and answers it as stored.
    ///
    /// # Errors
    /// `Conflict` (`uq_bot_files_bot_id_filename`) when the bot has a file of this name; `ForeignKey`
    /// (`fk_bot_files_bot_id`) for an unknown bot; `InvalidInput`.
    fn save_file(&self, bot: BotId, file: NewFile) -> impl Future<Output = Result<BotFile>> + Send;

    /// Counts a new version of this size and keeps it in the file's versions, both or neither; and answers the file as it
    /// is now. Two that do so at once make two versions. Whether the file is indexed stays as it was.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for a negative size.
    fn bump(&self, id: FileId, size_bytes: i64) -> impl Future<Output = Result<BotFile>> + Send;

    /// Notes whether the file's content can be searched, and answers the file as it is now.
    ///
    /// # Errors
    /// `NotFound`.
    fn set_indexed(&self, id: FileId, indexed: bool) -> impl Future<Output = Result<BotFile>> + Send;

    /// The bot's file of this name.
    fn get(&self, bot: BotId, filename: &FileName) -> impl Future<Output = Result<Option<BotFile>>> + Send;

    /// The file with this id.
    fn get_by_id(&self, id: FileId) -> impl Future<Output = Result<Option<BotFile>>> + Send;

    /// The bot's files by name, byte by byte in order.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn list(&self, bot: BotId, page: PageRequest) -> impl Future<Output = Result<Page<BotFile>>> + Send;

    /// Forgets the file and its versions.
    ///
    /// # Errors
    /// `NotFound`.
    fn delete(&self, id: FileId) -> impl Future<Output = Result<()>> + Send;

    /// The file's versions, newest first; none for an unknown file.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn versions(&self, id: FileId, page: PageRequest) -> impl Future<Output = Result<Page<FileVersion>>> + Send;
}
