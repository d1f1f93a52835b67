//! The log of a run's steps: one entry for each attempt at each step.

use std::future::Future;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Key, Lease, Page, PageRequest, StepStatus, WorkflowRunId, WorkflowStepId, check};
use crate::{Error, Result};

/// One attempt at one step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowStep {
    /// The entry's id.
    pub id: WorkflowStepId,
    /// The run.
    pub run_id: WorkflowRunId,
    /// The step's own id in its workflow's definition.
    pub step_id: Key,
    /// The step's name for people.
    pub step_name: String,
    /// How far it is. [`Transitions`](super::Transitions) tells which status may follow.
    pub status: StepStatus,
    /// Which attempt: 1 for the first.
    pub attempt: i64,
    /// What makes doing it twice the same as doing it once, for whom the step asks.
    pub idempotency_key: Option<Key>,
    /// What it was given.
    pub input: Option<Value>,
    /// What came of it.
    pub output: Option<Value>,
    /// What went wrong.
    pub error: Option<String>,
    /// When it first ran.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
}

/// An attempt to log. [`NewStep::new`] fills in the usual rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewStep {
    /// The step's own id in its workflow's definition.
    pub step_id: Key,
    /// The step's name for people: not blank.
    pub step_name: String,
    /// How far it is already.
    pub status: StepStatus,
    /// Which attempt: 1 or more.
    pub attempt: i64,
    /// What makes doing it twice the same as doing it once.
    pub idempotency_key: Option<Key>,
    /// What it is given.
    pub input: Option<Value>,
}

impl NewStep {
    /// The first attempt, pending, named like the step's id.
    pub fn new(step_id: Key) -> Self {
        Self {
            step_name: step_id.to_string(),
            step_id,
            status: StepStatus::Pending,
            attempt: 1,
            idempotency_key: None,
            input: None,
        }
    }

    /// The same, running already.
    pub fn running(step_id: Key) -> Self {
        Self {
            status: StepStatus::Running,
            ..Self::new(step_id)
        }
    }

    /// The entry as it will be stored.
    ///
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn checked(mut self) -> Result<Self> {
        check::name("step_name", &self.step_name)?;
        if self.attempt < 1 {
            let rule = format_args!("must be 1 or more and is {}", self.attempt);
            return Err(Error::invalid("attempt", rule));
        }
        self.input = check::optional_json("input", self.input)?;
        Ok(self)
    }
}

/// A step's next status and what is saved with it: `None` leaves a field as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepChange {
    /// The next status; the one that it has, to save the rest.
    pub status: StepStatus,
    /// What came of it.
    #[serde(default)]
    pub output: Option<Value>,
    /// What went wrong.
    #[serde(default)]
    pub error: Option<String>,
}

impl StepChange {
    /// The status alone.
    pub fn to(status: StepStatus) -> Self {
        Self {
            status,
            output: None,
            error: None,
        }
    }

    /// The same with an output.
    pub fn output(mut self, output: Value) -> Self {
        self.output = Some(output);
        self
    }

    /// The same with an error.
    pub fn error(mut self, error: impl Into<String>) -> Self {
        self.error = Some(error.into());
        self
    }

    /// The change as it will be stored.
    ///
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn checked(mut self) -> Result<Self> {
        self.error.iter().try_for_each(|error| check::text("error", error))?;
        self.output = check::optional_json("output", self.output)?;
        Ok(self)
    }
}

/// Keeps the log of steps.
///
/// Every write is a checkpoint: durable when the call returns, whatever `sqlite.synchronous` says (in a transaction, as durable
/// as that one), and with a lease checked against it in the same statement, so that a worker that lost its run changes
/// nothing of it any more.
pub trait WorkflowStepRepository: Send + Sync {
    /// Logs an attempt at a step and answers it as stored. `started_at` is set when it is more than planned (running,
    /// completed, failed), `completed_at` when it has ended.
    ///
    /// # Errors
    /// `NotFound` for an unknown run; `Conflict` (`uq_workflow_steps_run_id_step_id_attempt`) when this attempt is
    /// logged already; `Fenced` when the lease is no longer the run's; `InvalidInput`, also for another run's lease.
    fn create_step_log(
        &self,
        run: WorkflowRunId,
        step: NewStep,
        lease: Option<&Lease>,
    ) -> impl Future<Output = Result<WorkflowStep>> + Send;

    /// The entry with this id.
    fn get_step_log(&self, id: WorkflowStepId) -> impl Future<Output = Result<Option<WorkflowStep>>> + Send;

    /// Saves the step's next status, with an output and an error where they are given. Running sets `started_at` the
    /// first time; a status that ends the step sets `completed_at`.
    ///
    /// # Errors
    /// `NotFound`; `Fenced` when the lease is no longer the run's, or is another run's; `InvalidTransition` by the table
    /// of [`Transitions`](super::Transitions), always when the step has ended; `InvalidInput`.
    fn update_step_status(
        &self,
        id: WorkflowStepId,
        change: StepChange,
        lease: Option<&Lease>,
    ) -> impl Future<Output = Result<WorkflowStep>> + Send;

    /// The run's entries, oldest first: in the order of their ids, which is that of their creation.
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn list_step_logs(
        &self,
        run: WorkflowRunId,
        page: PageRequest,
    ) -> impl Future<Output = Result<Page<WorkflowStep>>> + Send;

    /// The ids of the steps that a resumed run need not do again, each once, oldest first. It is the whole list: a
    /// workflow has as many steps as somebody wrote down.
    fn get_completed_step_ids(&self, run: WorkflowRunId) -> impl Future<Output = Result<Vec<Key>>> + Send;
}
