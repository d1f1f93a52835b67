//! How the database is.

use std::time::{Duration, Instant};

use config::Driver;
use migration::State;
use serde::Serialize;

use super::metrics::PoolUse;
use super::open::Engine;
use crate::Result;

/// How long the questions about health may take, whatever the database does.
const PATIENCE: Duration = Duration::from_secs(1);

/// How the database is, as [`Store::health`](crate::Store::health) found it.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// It answers, or is so busy answering others that no connection became free within a second.
    pub live: bool,
    /// It is live, its schema is complete and foreign keys are enforced: it can do its work.
    pub ready: bool,
    /// Every connection was at work; what needs one to find out is `None` then.
    pub busy: bool,
    /// Which database.
    pub driver: Driver,
    /// The database in words, without a password.
    pub database: String,
    /// Where the schema stands.
    pub schema: Option<State>,
    /// Whether foreign keys are enforced.
    pub foreign_keys: Option<bool>,
    /// How long the database took for one small question, in microseconds.
    pub latency_us: Option<u64>,
    /// The pool for writes and transactions. On Postgres, and for SQLite in memory, it is the readers' too.
    pub writer: PoolUse,
    /// The pool for reads.
    pub reader: PoolUse,
    /// What is wrong, if anything.
    pub problem: Option<String>,
}

struct Findings {
    schema: State,
    foreign_keys: bool,
    latency: Duration,
}

impl Engine {
    /// Within about a second, whatever the database does.
    pub(crate) async fn health(&self) -> Health {
        let (writer, reader) = self.database.usage();
        let (findings, problem) = match tokio::time::timeout(PATIENCE, self.look()).await {
            Ok(Ok(findings)) => (Some(findings), None),
            Ok(Err(error)) => (None, Some(error.to_string())),
            // Every connection is at work: the database answers the others.
            Err(_) if reader.in_use >= reader.size && self.database.answers() => (None, None),
            Err(_) => {
                let message = format!("the database cannot be reached: it did not answer within {PATIENCE:?}");
                (None, Some(message))
            }
        };
        let problem = problem.or_else(|| findings.as_ref().and_then(complaint));
        Health {
            live: findings.is_some() || problem.is_none(),
            ready: problem.is_none(),
            busy: findings.is_none() && problem.is_none(),
            driver: self.database.driver(),
            database: self.description.clone(),
            foreign_keys: findings.as_ref().map(|found| found.foreign_keys),
            latency_us: findings
                .as_ref()
                .and_then(|found| u64::try_from(found.latency.as_micros()).ok()),
            schema: findings.map(|found| found.schema),
            writer,
            reader,
            problem,
        }
    }

    async fn look(&self) -> Result<Findings> {
        let asked = Instant::now();
        let foreign_keys = self.database.foreign_keys().await?;
        let latency = asked.elapsed();
        Ok(Findings {
            foreign_keys,
            latency,
            schema: self.schema().await?,
        })
    }
}

fn complaint(found: &Findings) -> Option<String> {
    match &found.schema {
        State::Complete if found.foreign_keys => None,
        State::Complete => Some("foreign keys are not enforced on this connection".to_owned()),
        state => state.clone().require_complete().err().map(|error| error.to_string()),
    }
}
