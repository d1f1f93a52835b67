//! API keys: how a program shows who it is.
//!
//! A key is `uc_<prefix>_<secret>`: the prefix is public and finds the row, the secret is 256 random bits of which only
//! the SHA-256 is stored. A fast hash is right here: there is nothing to guess in 256 random bits
//! (<https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html> is about passwords).

use std::fmt;
use std::future::Future;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{ApiKeyId, Page, PageRequest, Prune, User, UserId, check};
use crate::Result;

/// What is told about an API key: everything but the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The key's id.
    pub id: ApiKeyId,
    /// The user it stands for; `None` for a key of no user. Goes when the user goes.
    pub user_id: Option<UserId>,
    /// What it is called.
    pub name: String,
    /// The public part of the key, 12 characters: shows which key it is.
    pub prefix: String,
    /// When it was issued.
    pub created_at: DateTime<Utc>,
    /// When it was last used, as far as anybody told with [`ApiKeyRepository::touch`].
    pub last_used_at: Option<DateTime<Utc>>,
    /// From this instant on it opens nothing.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked; it opens nothing since.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// What a new key is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewApiKey {
    /// The user it stands for.
    pub user_id: Option<UserId>,
    /// What it is called: not blank.
    pub name: String,
    /// When it ends.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Default for NewApiKey {
    /// Named `default`, of no user, without an end.
    fn default() -> Self {
        Self {
            user_id: None,
            name: "default".to_owned(),
            expires_at: None,
        }
    }
}

impl NewApiKey {
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn check(&self) -> Result<()> {
        check::name("name", &self.name)?;
        self.expires_at
            .iter()
            .try_for_each(|instant| check::instant("expires_at", *instant))
    }
}

/// A key just issued. The plaintext is here and nowhere else: it cannot be asked for again.
#[derive(Debug)]
pub struct IssuedKey {
    /// The key as stored.
    pub key: ApiKey,
    /// The key itself, to hand to its holder.
    pub plaintext: SecretString,
}

/// Whom a key belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authenticated {
    /// The key.
    pub key: ApiKey,
    /// The user it stands for, if any.
    pub user: Option<User>,
}

impl fmt::Display for Authenticated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.user {
            Some(user) => write!(f, "{} ({})", user.email, self.key.name),
            None => write!(f, "key {}", self.key.name),
        }
    }
}

/// Issues and checks API keys.
pub trait ApiKeyRepository: Send + Sync {
    /// Makes a key, stores its hash, and answers the key itself once.
    ///
    /// # Errors
    /// `ForeignKey` (`fk_api_keys_user_id`) when the user does not exist; `InvalidInput`.
    fn issue(&self, key: NewApiKey) -> impl Future<Output = Result<IssuedKey>> + Send;

    /// Whom this key belongs to: `None` for anything that is not the text of a key that is stored, not expired and not
    /// revoked. The comparison takes the same time wherever the texts differ. Does not
    /// [`touch`](ApiKeyRepository::touch) the key: that is a write, and the caller may want to do it seldom.
    fn authenticate(&self, plaintext: &SecretString) -> impl Future<Output = Result<Option<Authenticated>>> + Send;

    /// The key with this id.
    fn get(&self, id: ApiKeyId) -> impl Future<Output = Result<Option<ApiKey>>> + Send;

    /// The keys of this user, or all with `None`, newest first; expired and revoked ones too.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn list(&self, user: Option<UserId>, page: PageRequest) -> impl Future<Output = Result<Page<ApiKey>>> + Send;

    /// Notes that the key was used now; `last_used_at` never goes back.
    ///
    /// # Errors
    /// `NotFound`.
    fn touch(&self, id: ApiKeyId) -> impl Future<Output = Result<()>> + Send;

    /// Ends the key now. Revoking it again keeps the first time.
    ///
    /// # Errors
    /// `NotFound`.
    fn revoke(&self, id: ApiKeyId) -> impl Future<Output = Result<()>> + Send;

    /// Removes the keys that expired before an instant, and answers how many. What has not expired yet stays, whatever
    /// the instant.
    ///
    /// # Errors
    /// `InvalidInput`.
    fn prune(&self, expired: Prune) -> impl Future<Output = Result<u64>> + Send;

    /// Forgets the key.
    ///
    /// # Errors
    /// `NotFound`.
    fn delete(&self, id: ApiKeyId) -> impl Future<Output = Result<()>> + Send;
}
