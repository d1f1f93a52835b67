//! The audit trail: what was done to memories, by whom and when.

use std::future::Future;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AuditAction, AuditEntryId, BotId, MemoryId, Page, PageRequest, Prune, check, present};
use crate::Result;

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The entry's id.
    pub id: AuditEntryId,
    /// The bot whose memory it is; it may be gone by now.
    pub bot_id: BotId,
    /// The memory; it may be gone by now.
    pub memory_id: MemoryId,
    /// What was done.
    pub action: AuditAction,
    /// Who did it.
    pub actor: String,
    /// More about it. Absent and `null` are two things.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present::json")]
    pub details: Option<Value>,
    /// When it was logged.
    pub created_at: DateTime<Utc>,
}

/// Something to log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewAuditEntry {
    /// The bot whose memory it is. It need not exist.
    pub bot_id: BotId,
    /// The memory. It need not exist.
    pub memory_id: MemoryId,
    /// What was done.
    pub action: AuditAction,
    /// Who did it: not blank.
    pub actor: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present::json")]
    pub details: Option<Value>,
}

impl NewAuditEntry {
    /// The entry with its details as both databases give them back.
    ///
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn check(self) -> Result<Self> {
        check::name("actor", &self.actor)?;
        let details = check::optional_json("details", self.details)?;
        Ok(Self { details, ..self })
    }
}

/// Keeps the audit trail. It only grows: nothing changes an entry, and only [`prune`](Self::prune) removes any, by age.
/// It survives the bot it tells of.
pub trait AuditLog: Send + Sync {
    /// Logs one entry and answers it as stored.
    ///
    /// # Errors
    /// `InvalidInput`.
    fn log(&self, entry: NewAuditEntry) -> impl Future<Output = Result<AuditEntry>> + Send;

    /// Logs any number of entries, all of them or none, and answers them as stored. They are logged at one instant, and
    /// within it in the order given: the last one is the newest.
    ///
    /// It is one transaction, with one statement for every thousand entries or more; on SQLite nobody else writes
    /// meanwhile.
    ///
    /// # Errors
    /// `InvalidInput` naming the entry by its place.
    fn log_many(&self, entries: Vec<NewAuditEntry>) -> impl Future<Output = Result<Vec<AuditEntry>>> + Send;

    /// What was done to this bot's memories, newest first.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn for_bot(&self, bot: BotId, page: PageRequest) -> impl Future<Output = Result<Page<AuditEntry>>> + Send;

    /// What was done to this memory, newest first.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn for_memory(&self, memory: &MemoryId, page: PageRequest)
    -> impl Future<Output = Result<Page<AuditEntry>>> + Send;

    /// Removes the entries that were logged before an instant, and answers how many.
    ///
    /// # Errors
    /// `InvalidInput`.
    fn prune(&self, old: Prune) -> impl Future<Output = Result<u64>> + Send;
}
