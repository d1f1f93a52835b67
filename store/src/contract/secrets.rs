//! Secrets: sealed values under a key, for everybody or for one bot.
//!
//! The repository sees sealed bytes only; [`SecretVault`](crate::SecretVault) seals and opens them.

use std::fmt;
use std::future::Future;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{BotId, Key, Page, PageRequest, SecretId, SecretProvider};
use crate::Result;

/// Where a secret's key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everywhere.
    Global,
    /// For one bot; goes when the bot goes.
    Bot(BotId),
}

impl Scope {
    /// The bot, if it is one's.
    pub fn bot(self) -> Option<BotId> {
        match self {
            Self::Global => None,
            Self::Bot(id) => Some(id),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.pad("global"),
            Self::Bot(id) => write!(f, "bot {id}"),
        }
    }
}

/// Sealed bytes. `Debug` shows how many; there is no `Display` and no serialisation.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedValue(Vec<u8>);

impl SealedValue {
    /// Bytes that somebody has sealed.
    pub fn from_sealed(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The sealed bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The sealed bytes, given away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Debug for SealedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealedValue([{} bytes])", self.0.len())
    }
}

/// What is told about a secret: everything but its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretInfo {
    /// The secret's id; stays when its value is replaced.
    pub id: SecretId,
    /// Where the key counts.
    pub scope: Scope,
    /// The key.
    pub key: Key,
    /// Where the value comes from.
    pub provider: SecretProvider,
    /// When the key was first set.
    pub created_at: DateTime<Utc>,
    /// When the value was last set.
    pub updated_at: DateTime<Utc>,
}

/// Keeps sealed values.
pub trait SecretRepository: Send + Sync {
    /// The sealed value.
    fn get(&self, scope: Scope, key: &Key) -> impl Future<Output = Result<Option<SealedValue>>> + Send;

    /// Stores the sealed value, in place of an earlier one: id and `created_at` stay.
    ///
    /// # Errors
    /// `ForeignKey` (`fk_secrets_bot_id`) when the scope's bot does not exist.
    fn set(
        &self,
        scope: Scope,
        key: &Key,
        value: SealedValue,
        provider: SecretProvider,
    ) -> impl Future<Output = Result<SecretInfo>> + Send;

    /// Puts `new` in the place of `old`, which says the same under another seal: neither provider nor times change.
    /// Answers `false`, and changes nothing, when the value is no longer `old`.
    fn reseal(
        &self,
        scope: Scope,
        key: &Key,
        old: &SealedValue,
        new: SealedValue,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Deletes the secret.
    ///
    /// # Errors
    /// `NotFound`.
    fn delete(&self, scope: Scope, key: &Key) -> impl Future<Output = Result<()>> + Send;

    /// The secrets of one scope, or of all with `None`, in the order of their keys (byte by byte, the id decides
    /// between equals), without values.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn list(&self, scope: Option<Scope>, page: PageRequest) -> impl Future<Output = Result<Page<SecretInfo>>> + Send;
}
