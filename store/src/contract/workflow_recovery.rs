//! Many workers on the runs of one database, and what becomes of a run whose worker is lost.
//!
//! A worker claims runs for a while (a lease), and says again and again that it is still there (a heartbeat). When it
//! does not, its lease runs out and another worker may claim the run. The lost worker may only have been slow, and come
//! back: every claim counts the run's epoch up, every checkpoint carries the epoch it was claimed with, and one that is
//! no longer the run's is `Fenced` (Kleppmann, "How to do distributed locking", 2016).
//!
//! Leases run by the store's clock on the worker's machine, on both databases. Clocks that differ make a run change
//! hands too early or too late, which is why a lease should be long compared to their difference; they never let two
//! workers write, because writing is decided by the epoch. So is a lease that has run out but was not taken: nobody
//! else has begun, and its holder may go on.

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Key, Page, PageRequest, WorkflowRun, WorkflowRunId};
use crate::{Error, Result};

/// The right to work on a run, from one claim to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The run.
    pub run: WorkflowRunId,
    /// The worker's name.
    pub worker: Key,
    /// Which claim of the run it was.
    pub epoch: i64,
}

/// A run that a worker has claimed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClaimedRun {
    /// The run, running.
    pub run: WorkflowRun,
    /// The right to work on it; pass it to every checkpoint.
    pub lease: Lease,
}

impl Lease {
    /// # Errors
    /// `InvalidInput` when a lease shall be shorter than a millisecond or longer than a day.
    pub fn check_duration(lease: Duration) -> Result<()> {
        if (Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60)).contains(&lease) {
            return Ok(());
        }
        let rule = format_args!("must be 1 ms to 24 h long and is {lease:?}");
        Err(Error::invalid("lease", rule))
    }

    /// # Errors
    /// `InvalidInput` when it is the lease of another run.
    pub fn check_run(&self, run: WorkflowRunId) -> Result<()> {
        if self.run == run {
            return Ok(());
        }
        let rule = format_args!("is for run {} and not for {run}", self.run);
        Err(Error::invalid("lease", rule))
    }

    /// Whether the run is still this lease's.
    pub fn holds(&self, run: &WorkflowRun) -> bool {
        let leased = run.leased.as_ref();
        self.run == run.id && self.epoch == run.lease_epoch && leased.is_some_and(|leased| leased.worker == self.worker)
    }
}

impl ClaimedRun {
    /// # Errors
    /// `InvalidInput` when none or more than 1,000 runs are to be claimed at once.
    pub fn check_limit(limit: u32) -> Result<()> {
        match limit {
            1..=1_000 => Ok(()),
            _ => Err(Error::invalid(
                "limit",
                format_args!("must be 1 to 1,000 and is {limit}"),
            )),
        }
    }
}

/// Shares runs among workers, and finds the ones that nobody works on any more.
pub trait WorkflowRecovery: Send + Sync {
    /// Takes up to `limit` runs to work on for as long as `lease`: those whose lease has run out, longest ago first;
    /// if there are none, those that are pending, oldest first. They are running now, and no other call, in this
    /// program or another, gets one of them before the lease has run out. An empty answer means that there is nothing
    /// to do at the moment; a full one is a reason to call again.
    ///
    /// A run that is running without a lease belongs to a program that takes none, and is left alone.
    ///
    /// # Errors
    /// `InvalidInput` for a limit outside 1 to 1,000 or a lease outside 1 ms to 24 h.
    fn claim_runs(
        &self,
        worker: &Key,
        limit: u32,
        lease: Duration,
    ) -> impl Future<Output = Result<Vec<ClaimedRun>>> + Send;

    /// Says that the worker is still there: its lease runs anew from now. Answers when it will run out. A third of the
    /// lease is a good interval.
    ///
    /// # Errors
    /// `Fenced` when somebody else has claimed the run since, or it has been ended or set aside: stop working on it;
    /// `NotFound` when the run is gone; `InvalidInput` for a lease outside 1 ms to 24 h.
    fn heartbeat(&self, held: &Lease, lease: Duration) -> impl Future<Output = Result<DateTime<Utc>>> + Send;

    /// The runs that are running and that nobody holds: the lease has run out, or there is none. Oldest first. A program
    /// that takes no leases and is the only one finds here, when it starts, every run that it left running.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn list_crashed_runs(&self, page: PageRequest) -> impl Future<Output = Result<Page<WorkflowRun>>> + Send;

    /// Gives up a run that nobody holds: it ends as crashed, with an error if one is given.
    ///
    /// # Errors
    /// `NotFound`; `InvalidTransition` when it is not running; `NotReady` while somebody holds it; `InvalidInput`.
    fn mark_crashed(
        &self,
        id: WorkflowRunId,
        error: Option<String>,
    ) -> impl Future<Output = Result<WorkflowRun>> + Send;
}
