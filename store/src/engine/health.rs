//! How the database is.

use std::time::{Duration, Instant};

use config::Driver;
use migration::State;
use serde::Serialize;

use super::Engine;
use super::lane::Lane;
use crate::Result;

/// How long the questions about health wait for a connection before they call the database busy.
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
    /// The lane of writes and transactions. On Postgres, and for SQLite in memory, it is the readers' too.
    pub writer: LaneUse,
    /// The lane of reads.
    pub reader: LaneUse,
    /// What is wrong, if anything.
    pub problem: Option<String>,
}

/// How many connections of a lane are at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LaneUse {
    /// So many are at work.
    pub in_use: u32,
    /// So many there are at most.
    pub size: u32,
}

impl From<&Lane> for LaneUse {
    fn from(lane: &Lane) -> Self {
        let (in_use, size) = lane.usage();
        Self { in_use, size }
    }
}

struct Findings {
    schema: State,
    foreign_keys: bool,
    latency: Duration,
}

impl Engine {
    pub(crate) async fn health(&self) -> Health {
        let (writer, reader) = (LaneUse::from(&self.writer), LaneUse::from(&self.reader));
        let found = tokio::time::timeout(self.operation_timeout, self.look()).await;
        let found = found.unwrap_or_else(|_| Err(self.timed_out("looking after the database's health")));
        let (findings, problem) = match found {
            Ok(findings) => (findings, None),
            Err(error) => (None, Some(error.to_string())),
        };
        let problem = problem.or_else(|| findings.as_ref().and_then(complaint));
        Health {
            live: findings.is_some() || problem.is_none(),
            ready: problem.is_none(),
            busy: findings.is_none() && problem.is_none(),
            driver: self.running.driver(),
            database: self.database.clone(),
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

    /// `None` when no connection became free.
    async fn look(&self) -> Result<Option<Findings>> {
        let Ok(place) = tokio::time::timeout(PATIENCE, self.reader.pool()).await else {
            return Ok(None);
        };
        let (_place, db) = place?;
        let asked = Instant::now();
        let foreign_keys = self
            .running
            .foreign_keys(db)
            .await
            .map_err(|e| self.running.classify(&e, ""))?;
        let latency = asked.elapsed();
        let schema = migration::state(db).await?;
        Ok(Some(Findings {
            schema,
            foreign_keys,
            latency,
        }))
    }
}

fn complaint(found: &Findings) -> Option<String> {
    match &found.schema {
        State::Complete if found.foreign_keys => None,
        State::Complete => Some("foreign keys are not enforced on this connection".to_owned()),
        state => state.clone().require_complete().err().map(|error| error.to_string()),
    }
}
