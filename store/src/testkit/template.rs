//! How a database gets the suite's schema.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use config::DatabaseConfig;
use sha2::{Digest, Sha256};

type Failure = Box<dyn Error + Send + Sync>;
type Prepare = dyn Fn(DatabaseConfig) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>> + Send + Sync;

/// The schema that tests start from: prepared once in a database of its own, then copied for each test.
///
/// The function opens the database that the configuration names, migrates it and **closes it**: Postgres copies no
/// database that somebody is connected to. Anything it stores is part of every test's database.
///
/// The fingerprint decides how long a prepared database is used: give it whatever the schema follows from, such as the
/// names of the migrations and their DDL. The test binary's own age is added, so a template never outlives a build.
#[derive(Clone)]
pub struct Template {
    fingerprint: String,
    prepare: Arc<Prepare>,
}

impl Template {
    /// A schema that `prepare` makes, known by `fingerprint`.
    pub fn new<F, R, E>(fingerprint: impl AsRef<[u8]>, prepare: F) -> Self
    where
        F: Fn(DatabaseConfig) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Failure>,
    {
        let mut hash = Sha256::new();
        hash.update(fingerprint.as_ref());
        hash.update([0]);
        hash.update(build());
        let prepare: Arc<Prepare> = Arc::new(move |config| {
            let preparing = prepare(config);
            Box::pin(async move { preparing.await.map_err(Into::into) })
        });
        Self {
            fingerprint: hex::encode(&hash.finalize()[..8]),
            prepare,
        }
    }

    /// Sixteen hexadecimal digits that name this schema in this build.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(crate) async fn prepare(&self, config: DatabaseConfig) -> Result<(), String> {
        (self.prepare)(config).await.map_err(|error| {
            let mut message = format!("the suite's template could not be prepared: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                message.push_str(&format!("\n  caused by: {cause}"));
                source = cause.source();
            }
            message
        })
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// Where the running program is and when it was built.
fn build() -> &'static str {
    static BUILD: OnceLock<String> = OnceLock::new();
    BUILD.get_or_init(|| {
        let program = std::env::current_exe().unwrap_or_default();
        let age = std::fs::metadata(&program).and_then(|file| file.modified());
        format!("{} {age:?}", program.display())
    })
}
