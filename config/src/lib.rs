//! What the user wants: layers of configuration, a validated [`DatabaseConfig`], and the opening of connections.
//!
//! ```no_run
//! # #[cfg(all(feature = "sqlite", feature = "postgres"))]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = config::DatabaseConfig::load()?;
//! println!("{}\n{}", config.describe(), config.explain());
//! if let config::Database::Sqlite(sqlite) = config.open().await? {
//!     let writer = sqlite.writer()?;
//! }
//! // SeaORM's pools, for migrations and tools.
//! let connections = config.connect().await?;
//! connections.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! Four layers are read, later ones win: the built-in defaults, a TOML file, the environment, code. [`DEFAULTS`] lists
//! every key with its default and says how layers meet. With nothing configured at all the store opens SQLite in the
//! user's data directory.
//!
//! What is wrong with a configuration is reported all at once by [`ConfigError`], each problem naming its key and the
//! layer it came from. No password, key or URL with a password shows in an error, in `Debug`, in [`Explain`] or in a log.
//! Neither `PG…` environment variables nor `~/.pgpass` take part: see [`ConnectErrorKind::Environment`].

mod assemble;
mod connect;
mod error;
mod explain;
mod keys;
mod layers;
mod loader;
mod location;
mod place;
mod schema;
mod settings;
mod values;
mod vault;

#[cfg(test)]
mod tests;

#[cfg(feature = "postgres")]
pub use connect::postgres;
#[cfg(feature = "sqlite")]
pub use connect::sqlite;
pub use connect::{ConnectError, ConnectErrorKind, Connections, Database};
pub use error::{ConfigError, Problem};
pub use explain::{Explain, Setting};
pub use loader::Loader;
pub use schema::json_schema;
pub use settings::{
    DatabaseConfig, Driver, PoolConfig, PostgresConfig, SqliteConfig, SslMode, Synchronous, UnknownDriver,
};
pub use vault::{VaultConfig, VaultKey};

/// The built-in defaults as commented TOML: every key, what it means, and its default.
pub const DEFAULTS: &str = loader::DEFAULTS;
