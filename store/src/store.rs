//! The face of the crate: opening, repositories, transactions, health, closing.

use std::future::Future;
use std::sync::Arc;

use config::DatabaseConfig;
use migration::State;
use migration::sea_orm_migration::MigratorTrait;

use crate::clock::{Clock, IdSource, SystemClock, TimeOrderedIds};
use crate::engine::{Engine, Health, Metrics, Session, Tx};
use crate::repositories::Repositories;
use crate::{Error, ErrorKind, KeyRing, Result, SecretVault, sql};

/// An open store. Cheap to clone; every clone is the same store.
///
/// ```
/// # use store::prelude::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> store::Result<()> {
/// # if !cfg!(feature = "sqlite") { return Ok(()) }
/// let store = Store::open(DatabaseConfig::memory()).await?;
/// let owl = store.bots().create(NewBot::new(Slug::new("night-owl")?, "Night Owl")).await?;
/// assert_eq!(store.bots().get(owl.id).await?, Some(owl));
/// store.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Store {
    engine: Arc<Engine>,
    config: Arc<DatabaseConfig>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.config.describe())
    }
}

/// How a store is opened, where [`Store::open`] is not enough.
pub struct StoreBuilder {
    config: DatabaseConfig,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

impl StoreBuilder {
    /// Another clock, so that a test can hold time still.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Another source of ids, so that a test can foresee them.
    pub fn ids(mut self, ids: impl IdSource) -> Self {
        self.ids = Arc::new(ids);
        self
    }

    /// Opens the store: see [`Store::open`].
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open(self) -> Result<Store> {
        let opened = self.config.open().await?;
        let engine = Engine::new(&self.config, opened, self.clock, self.ids)?;
        bring_up(&self.config, &engine).await?;
        Ok(Store {
            engine: Arc::new(engine),
            config: Arc::new(self.config),
        })
    }
}

/// Applies what is pending, if the configuration allows it, and refuses a schema that this program does not know.
async fn bring_up(config: &DatabaseConfig, engine: &Engine) -> Result<()> {
    match engine.schema().await? {
        State::Pending { .. } if config.auto_migrate => engine.bring_up().await,
        State::Pending { pending, .. } => {
            let count = pending.len();
            let advice = "run `cargo run -p migration -- up`, or set auto_migrate = true";
            Err(Error::new(
                ErrorKind::Schema,
                format!("{count} migrations are pending: {advice}"),
            ))
        }
        // Complete, or an error that names what is newer or differs.
        settled => Ok(settled.require_complete()?),
    }
}

impl Store {
    /// Opens the database of this configuration. An empty or older one is brought up to this program's schema first,
    /// unless `auto_migrate` is off; any number of programs may do so at once.
    ///
    /// # Errors
    /// `Schema` when the database is newer than this program, when somebody changed it by hand, or when migrations are
    /// pending with `auto_migrate` off; `Config`, `Unavailable`, `Timeout`, `ReadOnly` or `Corrupt` when it cannot be
    /// opened, with the reason.
    pub async fn open(config: DatabaseConfig) -> Result<Self> {
        Self::builder(config).open().await
    }

    /// Opens a store with a clock or ids of the caller's own.
    pub fn builder(config: DatabaseConfig) -> StoreBuilder {
        StoreBuilder {
            config,
            clock: Arc::new(SystemClock),
            ids: Arc::new(TimeOrderedIds),
        }
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &DatabaseConfig {
        &self.config
    }

    /// Brings up the application's own tables in the same database: its own list of migrations, recorded in its own
    /// table, under the same lock and in one transaction.
    ///
    /// # Errors
    /// `Schema` when a migration fails; nothing of the run is kept then.
    pub async fn migrate<M: MigratorTrait + 'static>(&self) -> Result<()> {
        self.engine.migrate::<M>().await
    }

    /// Runs `work` in a serializable transaction and commits it when it answers `Ok`. When it loses against another
    /// transaction it is run again, so `work` may run several times: let it have no effects elsewhere. See [`Tx`] for
    /// what a failure inside means.
    ///
    /// ```
    /// # use store::prelude::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> store::Result<()> {
    /// # if !cfg!(feature = "sqlite") { return Ok(()) }
    /// # let store = Store::open(DatabaseConfig::memory()).await?;
    /// let bot = store
    ///     .transaction(|tx| async move {
    ///         let bot = tx.bots().create(NewBot::new(Slug::new("night-owl")?, "Night Owl")).await?;
    ///         tx.souls().save_version(bot.id, NewSoul::new("You are awake at night.")).await?;
    ///         Ok(bot)
    ///     })
    ///     .await?;
    /// assert!(store.souls().get_current(bot.id).await?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Inside `work`, write through `tx`: a write on the store itself is `InvalidInput`, because it would not be a part of
    /// the transaction, and on SQLite would wait for it to end. Keep `work` short: on SQLite others wait for it.
    ///
    /// # Errors
    /// Those of `work`; `TransactionAborted` when `work` answered `Ok` although an operation had failed; `Contention`
    /// when every retry lost; `CommitUnknown` when the connection was lost during the commit.
    pub async fn transaction<T, F, Fut>(&self, work: F) -> Result<T>
    where
        F: FnMut(Tx) -> Fut + Send,
        Fut: Future<Output = Result<T>> + Send,
    {
        Tx::run(&self.engine, work).await
    }

    /// Begins a transaction to be committed by hand. [`transaction`](Self::transaction) also tries again after a lost
    /// race; with this one, that is the caller's work.
    ///
    /// # Errors
    /// `Contention`, `Timeout` or `Unavailable`.
    pub async fn begin(&self) -> Result<Tx> {
        Tx::begin(&self.engine).await
    }

    /// The vault for secrets, with the key ring of the configuration.
    ///
    /// # Errors
    /// `Config` when the configuration has no keys.
    pub fn vault(&self) -> Result<SecretVault<sql::Secrets>> {
        let keys = self.config.vault.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::Config,
                "no vault keys are configured: set vault.key_file or vault.keys",
            )
        })?;
        Ok(SecretVault::new(self.secrets(), KeyRing::try_from(keys)?))
    }

    /// How the database is. A database that cannot be reached is an answer, not an error.
    pub async fn health(&self) -> Health {
        self.engine.health().await
    }

    /// What the store has asked the database since it was opened. Reading it costs nothing.
    pub fn metrics(&self) -> Metrics {
        self.engine.metrics()
    }

    /// Waits for what is under way, writes everything into the database file (SQLite) and closes the connections. Later
    /// calls, on every clone, are `Unavailable`.
    ///
    /// # Errors
    /// `Timeout` when work is still under way after the operation timeout; the store stays open then.
    pub async fn close(&self) -> Result<()> {
        self.engine.close().await
    }
}

impl Repositories for Store {
    fn session(&self) -> Session {
        Arc::clone(&self.engine).into()
    }
}

impl Repositories for Tx {
    fn session(&self) -> Session {
        self.clone().into()
    }
}
