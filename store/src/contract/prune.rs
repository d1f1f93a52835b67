//! Retention: removing what is old.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What to remove by its age, and how.
///
/// Rows go in batches, each of them a transaction of its own, so that others are not held up for long; inside a
/// transaction of the caller's they all go with that one. Stopped half-way, what is gone is gone, and the next call goes
/// on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prune {
    /// Only what is older than this instant.
    pub older_than: DateTime<Utc>,
    /// So many rows in one batch: 1 to 10,000.
    pub batch: u32,
    /// Only count what would go.
    pub dry_run: bool,
}

impl Prune {
    /// What is older than this, a thousand rows at a time.
    pub fn older_than(instant: DateTime<Utc>) -> Self {
        Self {
            older_than: instant,
            batch: 1_000,
            dry_run: false,
        }
    }

    /// The same, but only counting.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// # Errors
    /// `InvalidInput` when the batch is 0 or above 10,000.
    pub fn check(&self) -> Result<()> {
        super::check::instant("older_than", self.older_than)?;
        match self.batch {
            1..=10_000 => Ok(()),
            batch => Err(Error::invalid(
                "batch",
                format_args!("must be 1 to 10,000 and is {batch}"),
            )),
        }
    }
}
