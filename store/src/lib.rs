//! Storage for programs that run AI agents: one contract, kept on SQLite and on Postgres with the same answers.
//!
//! ```
//! use store::prelude::*;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> store::Result<()> {
//! // `DatabaseConfig::load()` takes the database from store.toml and the environment instead.
//! # if !cfg!(feature = "sqlite") { return Ok(()) }
//! let store = Store::open(DatabaseConfig::memory()).await?;
//!
//! let owl = store.bots().create(NewBot::new(Slug::new("night-owl")?, "Night Owl")).await?;
//! store.souls().save_version(owl.id, NewSoul::new("You are awake at night.")).await?;
//!
//! let page = store.bots().list(BotFilter::default(), PageRequest::default()).await?;
//! assert_eq!(page.items[0].version_count, 1);
//! store.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Where to look
//!
//! - **What can be stored**: the traits of [`contract`], found on the [`Store`] and in a [`Tx`] by [`Repositories`]:
//!   [bots](BotRepository), [souls](SoulRepository), [secrets](SecretRepository) with the [vault](SecretVault) that seals
//!   them, [users](UserRepository), [API keys](ApiKeyRepository).
//! - **Long lists**: page by page with [`PageRequest`], or item by item with [`walk`].
//! - **Several changes at once**: [`Store::transaction`].
//! - **When something goes wrong**: [`Error`] and its [`ErrorKind`]; what each asks of you is in [`guide::guarantees`].
//! - **Which database**: [`DatabaseConfig`], and [`guide::configuration`].
//! - **Tables of your own** in the same database: [`guide::adding_a_repository`], [`Store::migrate`], [`engine`].
//! - **Tests** on both databases: `testkit`, with the cargo feature of that name.
//!
//! A program needs this crate alone: the ORM, the migrations, and the crates whose types show in the contract are
//! re-exported.

mod api_key_text;
mod clock;
mod error;
mod repositories;
mod store;
mod vault;

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod contract;
pub mod engine;
pub mod guide;
pub mod sql;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use chrono;
pub use clock::{Clock, IdSource, SystemClock, TimeOrderedIds};
pub use config::{self, DatabaseConfig, Driver};
pub use contract::*;
pub use engine::{Health, Metrics, Tx};
pub use error::{Error, ErrorKind, Result};
pub use futures_util;
pub use migration;
pub use repositories::Repositories;
pub use sea_orm;
pub use secrecy::{ExposeSecret, SecretString};
pub use store::{Store, StoreBuilder};
pub use uuid;
pub use vault::{KeyRing, Rotation, SecretVault, VaultError};

/// Everything that a program usually needs: `use store::prelude::*;`.
pub mod prelude {
    pub use crate::contract::*;
    pub use crate::{
        DatabaseConfig, Driver, Error, ErrorKind, ExposeSecret, KeyRing, Repositories, SecretString, SecretVault,
        Store, Tx,
    };
}
