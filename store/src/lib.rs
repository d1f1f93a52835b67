//! Storage for programs that run AI agents: one contract, kept on SQLite and on Postgres with the same answers.

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
pub mod sql;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use clock::{Clock, IdSource, SystemClock, TimeOrderedIds};
pub use config::{self, DatabaseConfig, Driver};
pub use contract::*;
pub use engine::{Health, Metrics, Tx};
pub use error::{Error, ErrorKind, Result};
pub use migration;
pub use repositories::Repositories;
pub use sea_orm;
pub use secrecy::{ExposeSecret, SecretString};
pub use store::{Store, StoreBuilder};
pub use vault::{KeyRing, Rotation, SecretVault, VaultError};

/// Everything that a program usually needs: `use store::prelude::*;`.
pub mod prelude {
    pub use crate::contract::*;
    pub use crate::{
        DatabaseConfig, Driver, Error, ErrorKind, ExposeSecret, KeyRing, Repositories, SecretString, SecretVault,
        Store, Tx,
    };
}
