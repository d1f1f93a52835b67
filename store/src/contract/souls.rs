//! Souls: the texts that make bots who they are, every version kept.

use std::future::Future;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{BotId, Page, PageRequest, SoulVersionId, check};
use crate::Result;

/// One version of a bot's soul.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoulVersion {
    /// The version's id.
    pub id: SoulVersionId,
    /// Whose soul.
    pub bot_id: BotId,
    /// The text.
    pub content: String,
    /// [`SoulVersion::hash_of`] the text.
    pub hash: String,
    /// 1 for the first, and one more each time.
    pub version: i64,
    /// Why it was saved.
    pub message: Option<String>,
    /// When it was saved.
    pub created_at: DateTime<Utc>,
}

impl SoulVersion {
    /// SHA-256 of the text, as 64 lower-case hexadecimal digits.
    pub fn hash_of(content: &str) -> String {
        hex::encode(Sha256::digest(content.as_bytes()))
    }
}

/// A version without its text, for lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SoulSummary {
    /// The version's id.
    pub id: SoulVersionId,
    /// Whose soul.
    pub bot_id: BotId,
    /// [`SoulVersion::hash_of`] the text.
    pub hash: String,
    /// 1 for the first, and one more each time.
    pub version: i64,
    /// Why it was saved.
    pub message: Option<String>,
    /// When it was saved.
    pub created_at: DateTime<Utc>,
}

/// A text to save as a bot's next version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSoul {
    /// The text.
    pub content: String,
    /// Why it is saved.
    #[serde(default)]
    pub message: Option<String>,
}

impl NewSoul {
    /// A text without a message.
    pub fn new(content: impl Into<String>) -> Self {
        Self {
            content: content.into(),
            message: None,
        }
    }

    /// The same text with the reason for saving it.
    pub fn because(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn check(&self) -> Result<()> {
        check::text("content", &self.content)?;
        self.message
            .iter()
            .try_for_each(|message| check::text("message", message))
    }
}

/// Keeps the versions of bots' souls.
pub trait SoulRepository: Send + Sync {
    /// Saves the text as the bot's next version, and counts it in the bot's `version_count`, both or neither. Two that
    /// save at once get two different versions. A text equal to the current one is saved as well: compare with
    /// [`get_stored_hash`](Self::get_stored_hash) to avoid that.
    ///
    /// # Errors
    /// `NotFound` for an unknown bot; `InvalidInput`.
    fn save_version(&self, bot: BotId, soul: NewSoul) -> impl Future<Output = Result<SoulVersion>> + Send;

    /// The newest version.
    fn get_current(&self, bot: BotId) -> impl Future<Output = Result<Option<SoulVersion>>> + Send;

    /// The version with this number.
    fn get_version(&self, bot: BotId, version: i64) -> impl Future<Output = Result<Option<SoulVersion>>> + Send;

    /// The bot's versions without their texts, newest first.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn list_versions(&self, bot: BotId, page: PageRequest) -> impl Future<Output = Result<Page<SoulSummary>>> + Send;

    /// The hash of the newest version, to see whether a text has changed without reading it.
    fn get_stored_hash(&self, bot: BotId) -> impl Future<Output = Result<Option<String>>> + Send;
}
