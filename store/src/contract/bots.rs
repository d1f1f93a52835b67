//! Bots: who they are and how they are found.

use std::future::Future;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{BotCategory, BotId, BotStatus, Direction, Page, PageRequest, Slug, UserId, check};
use crate::Result;

/// A bot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bot {
    /// Its id, for good.
    pub id: BotId,
    /// Its unique name in addresses.
    pub slug: Slug,
    /// Its name for people.
    pub name: String,
    /// What it does, in a sentence; may be empty.
    pub description: String,
    /// Whether it takes part.
    pub status: BotStatus,
    /// What it is for.
    pub category: BotCategory,
    /// Its tags, in the order given.
    pub tags: Vec<String>,
    /// The user it belongs to; `None` also after that user is deleted.
    pub user_id: Option<UserId>,
    /// How many conversations it has had.
    pub conversation_count: i64,
    /// How many tokens it has used, in and out.
    pub total_tokens_used: i64,
    /// How many versions its soul has; the number of the newest.
    pub version_count: i64,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed, a new soul version included.
    pub updated_at: DateTime<Utc>,
    /// When it last did something, if ever.
    pub last_active_at: Option<DateTime<Utc>>,
}

/// What a new bot is made of. [`NewBot::new`] fills in the usual rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewBot {
    /// Its unique name in addresses.
    pub slug: Slug,
    /// Its name for people: not blank, and at most 512 bytes, because bots are sorted by it.
    pub name: String,
    /// What it does, in a sentence.
    pub description: String,
    /// Whether it takes part.
    pub status: BotStatus,
    /// What it is for.
    pub category: BotCategory,
    /// Its tags.
    pub tags: Vec<String>,
    /// The user it belongs to.
    pub user_id: Option<UserId>,
}

impl NewBot {
    /// An active assistant without description, tags and user.
    pub fn new(slug: Slug, name: impl Into<String>) -> Self {
        Self {
            slug,
            name: name.into(),
            description: String::new(),
            status: BotStatus::Active,
            category: BotCategory::Assistant,
            tags: Vec::new(),
            user_id: None,
        }
    }

    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn check(&self) -> Result<()> {
        check::indexed_name("name", &self.name)?;
        check::text("description", &self.description)?;
        check::texts("tags", &self.tags)
    }
}

/// What to change of a bot: `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BotChange {
    /// A new slug.
    pub slug: Option<Slug>,
    /// A new name: not blank, at most 512 bytes.
    pub name: Option<String>,
    /// A new description.
    pub description: Option<String>,
    /// A new status.
    pub status: Option<BotStatus>,
    /// A new category.
    pub category: Option<BotCategory>,
    /// New tags, in place of all the old ones.
    pub tags: Option<Vec<String>>,
    /// A new user, or `Some(None)` for nobody.
    pub user_id: Option<Option<UserId>>,
}

impl BotChange {
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn check(&self) -> Result<()> {
        self.name
            .iter()
            .try_for_each(|name| check::indexed_name("name", name))?;
        self.description
            .iter()
            .try_for_each(|text| check::text("description", text))?;
        self.tags.iter().try_for_each(|tags| check::texts("tags", tags))
    }
}

/// Which bots, in which order. The default: all of them, newest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BotFilter {
    /// Only those of this status.
    pub status: Option<BotStatus>,
    /// Only those of this category.
    pub category: Option<BotCategory>,
    /// Only those of this user.
    pub user_id: Option<UserId>,
    /// What they are sorted by; the id decides between equals.
    pub order: BotOrder,
    /// Which way.
    pub direction: Direction,
}

/// What bots are sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BotOrder {
    /// The time of creation.
    #[default]
    CreatedAt,
    /// The time of the last change.
    UpdatedAt,
    /// The name, byte by byte.
    Name,
}

/// Keeps bots.
pub trait BotRepository: Send + Sync {
    /// Stores a new bot and answers it as stored.
    ///
    /// # Errors
    /// `Conflict` (`uq_bots_slug`) when the slug is taken; `ForeignKey` (`fk_bots_user_id`) when the user does not
    /// exist; `InvalidInput`.
    fn create(&self, bot: NewBot) -> impl Future<Output = Result<Bot>> + Send;

    /// The bot with this id.
    fn get(&self, id: BotId) -> impl Future<Output = Result<Option<Bot>>> + Send;

    /// The bot with this slug.
    fn get_by_slug(&self, slug: &Slug) -> impl Future<Output = Result<Option<Bot>>> + Send;

    /// The bots that the filter wants, in its order.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range, and for a cursor of another list or order.
    fn list(&self, filter: BotFilter, page: PageRequest) -> impl Future<Output = Result<Page<Bot>>> + Send;

    /// Changes what the change names, sets `updated_at`, and answers the bot as it is now.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` (`uq_bots_slug`) when the new slug is taken; `ForeignKey` (`fk_bots_user_id`) when the
    /// new user does not exist; `InvalidInput`.
    fn update(&self, id: BotId, change: BotChange) -> impl Future<Output = Result<Bot>> + Send;

    /// Deletes the bot and what belongs to it, all of it or nothing.
    ///
    /// | goes | stays |
    /// |---|---|
    /// | its soul versions and its secrets | the user it belongs to, and that user's API keys |
    /// | its [values](super::KvStore), and its [files](super::FileRepository) with their versions | the [audit log](super::AuditLog)'s entries about it |
    /// | its [chats](super::ChatRepository) with their messages | other bots' chats with it; their peer is then an id of nobody |
    /// | its [workflows](super::WorkflowRepository), with their runs and the steps of those | global workflows, and their runs |
    /// | | the [messages](super::MessageRepository) it sent and received, its channels and its subscriptions |
    /// | | [executions](super::WorkflowStateRepository) of workflows and tasks, and [missions](super::MissionRepository): they belong to no bot |
    ///
    /// It takes as long as there are rows to remove, and has the deadline of one operation; a bot with very much behind
    /// it is made lighter first, with the `prune` methods and chat by chat.
    ///
    /// # Errors
    /// `NotFound`.
    fn delete(&self, id: BotId) -> impl Future<Output = Result<()>> + Send;
}
