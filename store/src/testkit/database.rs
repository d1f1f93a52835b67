//! The database that a test is given.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use config::DatabaseConfig;

#[cfg(feature = "postgres")]
use super::postgres::PostgresDatabase;
#[cfg(feature = "sqlite")]
use super::sqlite::SqliteDatabase;
use super::{Backend, Template};

/// A database that belongs to one test: nobody else reads or writes it.
///
/// It is removed when the test has passed. When the test failed it stays, and the failure says where it is.
/// Clones are handles to the same database.
#[derive(Clone)]
pub struct TestDatabase {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    config: DatabaseConfig,
    label: String,
    template: Option<Template>,
    others: Mutex<Vec<TestDatabase>>,
}

enum Place {
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteDatabase),
    #[cfg(feature = "postgres")]
    Postgres(PostgresDatabase),
}

impl TestDatabase {
    /// Which kind of database this is.
    pub fn backend(&self) -> Backend {
        match &self.inner.place {
            #[cfg(feature = "sqlite")]
            Place::Sqlite(_) => Backend::Sqlite,
            #[cfg(feature = "postgres")]
            Place::Postgres(_) => Backend::Postgres,
        }
    }

    /// What to open it with.
    pub fn config(&self) -> DatabaseConfig {
        self.inner.config.clone()
    }

    /// The URL of the database, password included, for a client of the test's own.
    pub fn url(&self) -> String {
        match &self.inner.place {
            #[cfg(feature = "sqlite")]
            Place::Sqlite(database) => format!("sqlite://{}", database.path().display()),
            #[cfg(feature = "postgres")]
            Place::Postgres(database) => database.url(),
        }
    }

    /// The file on SQLite; a test may harm it as it likes, and put more files beside it. `None` on Postgres.
    pub fn path(&self) -> Option<PathBuf> {
        match &self.inner.place {
            #[cfg(feature = "sqlite")]
            Place::Sqlite(database) => Some(database.path()),
            #[cfg(feature = "postgres")]
            Place::Postgres(_) => None,
        }
    }

    /// Another database like this one as it was at the start of the test; it shares this one's fate at the end.
    ///
    /// # Panics
    /// When the database cannot be created.
    pub async fn another(&self) -> Self {
        self.add(self.inner.template.as_ref()).await
    }

    /// Another database on the same backend, without a single table; it shares this one's fate at the end.
    ///
    /// # Panics
    /// When the database cannot be created.
    pub async fn another_empty(&self) -> Self {
        self.add(None).await
    }

    async fn add(&self, template: Option<&Template>) -> Self {
        let other = match Self::create(self.backend(), &self.inner.label, template).await {
            Ok(other) => other,
            Err(error) => panic!("no further database on {}: {error}", self.backend()),
        };
        self.others().push(other.clone());
        other
    }

    fn others(&self) -> std::sync::MutexGuard<'_, Vec<Self>> {
        self.inner.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn create(backend: Backend, test: &str, template: Option<&Template>) -> Result<Self, String> {
        let label = label(test);
        let (place, config) = match backend {
            #[cfg(feature = "sqlite")]
            Backend::Sqlite => {
                let database = SqliteDatabase::create(&label, template).await?;
                let config = database.config()?;
                (Place::Sqlite(database), config)
            }
            #[cfg(feature = "postgres")]
            Backend::Postgres => {
                let database = PostgresDatabase::create(&label, template).await?;
                let config = database.config()?;
                (Place::Postgres(database), config)
            }
            #[allow(unreachable_patterns, reason = "reached only in a build without that backend")]
            absent => return Err(format!("{absent} is not compiled in")),
        };
        let inner = Inner {
            place,
            config,
            label,
            template: template.cloned(),
            others: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Removes it and the ones that the test added.
    pub(crate) async fn delete(&self) -> Result<(), String> {
        let others = std::mem::take(&mut *self.others());
        for database in others.iter().chain([self]) {
            match &database.inner.place {
                #[cfg(feature = "sqlite")]
                Place::Sqlite(place) => place.delete()?,
                #[cfg(feature = "postgres")]
                Place::Postgres(place) => place.delete().await?,
            }
        }
        Ok(())
    }

    /// Keeps it and the ones that the test added, and says where each is.
    pub(crate) fn keep(&self) -> String {
        let others = self.others();
        let lines = [self].into_iter().chain(others.iter()).map(|database| {
            let place = match &database.inner.place {
                #[cfg(feature = "sqlite")]
                Place::Sqlite(place) => place.keep(),
                #[cfg(feature = "postgres")]
                Place::Postgres(place) => place.keep(),
            };
            format!("the database is kept: {place}")
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Debug for TestDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestDatabase")
            .field("backend", &self.backend())
            .field("test", &self.inner.label)
            .finish_non_exhaustive()
    }
}

/// The test's name as a part of a file's or a database's name.
fn label(test: &str) -> String {
    let last = test.rsplit("::").next().unwrap_or(test);
    let safe = last.chars().map(|c| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        }
    });
    safe.take(24).collect()
}
