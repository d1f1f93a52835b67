//! Runs of workflows.

use std::future::Future;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Key, Lease, Page, PageRequest, Prune, RunStatus, WorkflowId, WorkflowName, WorkflowRunId, check};
use crate::Result;

/// One run of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowRun {
    /// Its id, for good.
    pub id: WorkflowRunId,
    /// What it is a run of.
    pub workflow_id: WorkflowId,
    /// The workflow's name when the run was made.
    pub workflow_name: WorkflowName,
    /// How far it is. [`Transitions`](super::Transitions) tells which status may follow.
    pub status: RunStatus,
    /// What set it off: `manual`, `schedule`, `message`, or what the program calls it.
    pub trigger_type: String,
    /// What came with the trigger.
    pub trigger_payload: Option<Value>,
    /// What the run carries from step to step.
    pub context: Value,
    /// When it was made.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// What went wrong.
    pub error: Option<String>,
    /// What it must not run beside, as the program sees it.
    pub concurrency_key: Option<Key>,
    /// Who works on it until when; `None` for nobody, or for a program that takes no leases.
    pub leased: Option<Leased>,
    /// How often it has been claimed.
    pub lease_epoch: i64,
}

/// Who works on a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leased {
    /// The worker's name.
    pub worker: Key,
    /// When others may take the run over.
    pub expires_at: DateTime<Utc>,
}

/// What a new run is made of. [`NewRun::new`] fills in the usual rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewRun {
    /// What it is a run of.
    pub workflow_id: WorkflowId,
    /// What sets it off: not blank.
    pub trigger_type: String,
    /// What came with the trigger.
    pub trigger_payload: Option<Value>,
    /// What the run carries from step to step.
    pub context: Value,
    /// What it must not run beside.
    pub concurrency_key: Option<Key>,
}

impl NewRun {
    /// A run set off by hand, with an empty context.
    pub fn new(workflow: WorkflowId) -> Self {
        Self {
            workflow_id: workflow,
            trigger_type: "manual".to_owned(),
            trigger_payload: None,
            context: Value::Object(serde_json::Map::new()),
            concurrency_key: None,
        }
    }

    /// The run as it will be stored.
    ///
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn checked(mut self) -> Result<Self> {
        check::name("trigger_type", &self.trigger_type)?;
        self.trigger_payload = check::optional_json("trigger_payload", self.trigger_payload)?;
        self.context = check::json("context", self.context)?;
        Ok(self)
    }
}

/// A run's next status and what is saved with it: `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunChange {
    /// The next status; the one that it has, to save the rest.
    pub status: RunStatus,
    /// What went wrong.
    #[serde(default)]
    pub error: Option<String>,
    /// A new context, in place of the old one.
    #[serde(default)]
    pub context: Option<Value>,
}

impl RunChange {
    /// The status alone.
    pub fn to(status: RunStatus) -> Self {
        Self {
            status,
            error: None,
            context: None,
        }
    }

    /// The same with an error.
    pub fn error(mut self, error: impl Into<String>) -> Self {
        self.error = Some(error.into());
        self
    }

    /// The same with a new context.
    pub fn context(mut self, context: Value) -> Self {
        self.context = Some(context);
        self
    }

    /// The change as it will be stored.
    ///
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn checked(mut self) -> Result<Self> {
        self.error.iter().try_for_each(|error| check::text("error", error))?;
        self.context = check::optional_json("context", self.context)?;
        Ok(self)
    }
}

/// Keeps the runs of workflows.
pub trait WorkflowRunRepository: Send + Sync {
    /// Stores a new run, pending, and answers it as stored.
    ///
    /// # Errors
    /// `NotFound` for an unknown workflow; `InvalidInput`.
    fn create_run(&self, run: NewRun) -> impl Future<Output = Result<WorkflowRun>> + Send;

    /// The run with this id.
    fn get_run(&self, id: WorkflowRunId) -> impl Future<Output = Result<Option<WorkflowRun>>> + Send;

    /// The workflow's runs, newest first.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn list_runs(
        &self,
        workflow: WorkflowId,
        page: PageRequest,
    ) -> impl Future<Output = Result<Page<WorkflowRun>>> + Send;

    /// The runs under this concurrency key, of any workflow, newest first: the one that must wait looks here.
    ///
    /// # Errors
    /// As [`list_runs`](Self::list_runs).
    fn list_runs_by_concurrency_key(
        &self,
        key: &Key,
        page: PageRequest,
    ) -> impl Future<Output = Result<Page<WorkflowRun>>> + Send;

    /// Saves a checkpoint: the run's next status, with an error and a context where they are given. A status that ends
    /// the run sets `completed_at`; every status but running gives the lease up. Durable when the
    /// call returns, whatever `sqlite.synchronous` says; in a transaction, as durable as that one.
    ///
    /// With a lease, it is the holder's write, and checked against the lease in the same statement. Without one it is
    /// the write of a program that takes no leases, or of somebody in charge: cancelling a run stops its worker at its
    /// next checkpoint.
    ///
    /// # Errors
    /// `NotFound`; `Fenced` when the lease is no longer the run's, whatever the run's status is by now;
    /// `InvalidTransition` by the table of [`Transitions`](super::Transitions), always when the run has ended;
    /// `InvalidInput`, also for another run's lease.
    fn update_run_status(
        &self,
        id: WorkflowRunId,
        change: RunChange,
        lease: Option<&Lease>,
    ) -> impl Future<Output = Result<WorkflowRun>> + Send;

    /// Removes runs that ended before an instant, with their steps, and answers how many. A run that has not ended
    /// stays, however old.
    ///
    /// # Errors
    /// `InvalidInput` for a batch out of range.
    fn prune_runs(&self, ended: Prune) -> impl Future<Output = Result<u64>> + Send;
}
