//! Users: the people behind bots and keys.

use std::future::Future;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Email, Page, PageRequest, UserId, UserRole};
use crate::Result;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's id.
    pub id: UserId,
    /// The address as it was given; unique without regard to case.
    pub email: Email,
    /// What the user may do.
    pub role: UserRole,
    /// When the user was created.
    pub created_at: DateTime<Utc>,
    /// When the user was last changed.
    pub updated_at: DateTime<Utc>,
}

/// What a new user is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewUser {
    /// The address.
    pub email: Email,
    /// What the user may do.
    pub role: UserRole,
}

/// What to change of a user: `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserChange {
    /// A new address.
    pub email: Option<Email>,
    /// A new role.
    pub role: Option<UserRole>,
}

/// Keeps users.
pub trait UserRepository: Send + Sync {
    /// Stores a new user and answers it as stored.
    ///
    /// # Errors
    /// `Conflict` (`uq_users_email_lc`) when the address is taken, in whatever case.
    fn create(&self, user: NewUser) -> impl Future<Output = Result<User>> + Send;

    /// Stores the first administrator, if there is none: of any number that call at once, exactly one succeeds.
    ///
    /// # Errors
    /// `AlreadyBootstrapped` when there is an administrator; `Conflict` (`uq_users_email_lc`) when the address is a
    /// plain user's.
    fn create_initial_admin_if_none(&self, email: Email) -> impl Future<Output = Result<User>> + Send;

    /// The user with this id.
    fn get(&self, id: UserId) -> impl Future<Output = Result<Option<User>>> + Send;

    /// The user with this address, in whatever case.
    fn get_by_email(&self, email: &Email) -> impl Future<Output = Result<Option<User>>> + Send;

    /// The users of this role, or all with `None`, newest first.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn list(&self, role: Option<UserRole>, page: PageRequest) -> impl Future<Output = Result<Page<User>>> + Send;

    /// Changes what the change names, sets `updated_at`, and answers the user as it is now.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` (`uq_users_email_lc`) when the new address is taken.
    fn update(&self, id: UserId, change: UserChange) -> impl Future<Output = Result<User>> + Send;

    /// Deletes the user and their API keys; their bots stay, and belong to nobody.
    ///
    /// # Errors
    /// `NotFound`.
    fn delete(&self, id: UserId) -> impl Future<Output = Result<()>> + Send;
}
