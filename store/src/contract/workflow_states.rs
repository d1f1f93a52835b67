//! Executions of workflows: where each stands.

use std::future::Future;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ExecutionStatus, Page, PageRequest, Usage, WorkflowExecId, WorkflowKey, check, present};
use crate::Result;

/// Where one execution of a workflow stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowState {
    /// The execution.
    pub workflow_exec_id: WorkflowExecId,
    /// The workflow that is executed, for good.
    pub workflow_id: WorkflowKey,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// What was used of models, if that is known; see [`Usage`].
    pub usage: Option<Vec<Value>>,
    /// What it was given.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present::json")]
    pub input: Option<Value>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present::json")]
    pub output: Option<Value>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present::json")]
    pub error: Option<Value>,
    /// 1 at first, and one more with every change.
    pub version: i64,
    /// When it was first stored.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// What is to be stored of a workflow's execution. [`NewWorkflowState::new`] leaves out what may be absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewWorkflowState {
    /// The execution.
    pub workflow_exec_id: WorkflowExecId,
    /// The workflow that is executed.
    pub workflow_id: WorkflowKey,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// What was used of models.
    #[serde(default)]
    pub usage: Option<Vec<Value>>,
    /// What it was given.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present::json")]
    pub input: Option<Value>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present::json")]
    pub output: Option<Value>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present::json")]
    pub error: Option<Value>,
}

impl NewWorkflowState {
    /// An execution without usage, input, output and error.
    pub fn new(workflow_exec_id: WorkflowExecId, workflow_id: WorkflowKey, status: ExecutionStatus) -> Self {
        Self {
            workflow_exec_id,
            workflow_id,
            status,
            usage: None,
            input: None,
            output: None,
            error: None,
        }
    }

    /// The same, with its JSON as both databases give it back.
    ///
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn checked(self) -> Result<Self> {
        Ok(Self {
            usage: self.usage.map(|usage| check::array("usage", usage)).transpose()?,
            input: check::optional_json("input", self.input)?,
            output: check::optional_json("output", self.output)?,
            error: check::optional_json("error", self.error)?,
            ..self
        })
    }
}

/// Which executions of workflows. The default: all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkflowStateFilter {
    /// Only those of this status.
    pub status: Option<ExecutionStatus>,
    /// Only those of this workflow.
    pub workflow_id: Option<WorkflowKey>,
}

/// Keeps where executions of workflows stand. Every change adds 1 to `version` and sets `updated_at`.
pub trait WorkflowStateRepository: Send + Sync {
    /// Stores the state, in place of the one that this execution has; `created_at` stays. What is absent here is absent
    /// afterwards.
    ///
    /// # Errors
    /// `Conflict` when the execution is of another workflow; `InvalidInput`.
    fn upsert(&self, state: NewWorkflowState) -> impl Future<Output = Result<WorkflowState>> + Send;

    /// The state of this execution.
    fn get(&self, id: &WorkflowExecId) -> impl Future<Output = Result<Option<WorkflowState>>> + Send;

    /// The states that the filter wants, newest first (by `created_at`).
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn list(
        &self,
        filter: WorkflowStateFilter,
        page: PageRequest,
    ) -> impl Future<Output = Result<Page<WorkflowState>>> + Send;

    /// Changes the status alone.
    ///
    /// # Errors
    /// `NotFound`.
    fn update_status(
        &self,
        id: &WorkflowExecId,
        status: ExecutionStatus,
    ) -> impl Future<Output = Result<WorkflowState>> + Send;

    /// Adds to the usage, as [`Usage::merged`] says. Two that add at once both count.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput`.
    fn merge_usage(&self, id: &WorkflowExecId, usage: Vec<Usage>)
    -> impl Future<Output = Result<WorkflowState>> + Send;

    /// Ends the execution by its root tasks, those without a parent: FAILED if one of them has the status FAILED,
    /// TIMED_OUT or CANCELED, else SUCCESS, also when there are none. The status it had before does not matter.
    ///
    /// Decided as if no task were written meanwhile: whoever sees a root task fail while the execution still runs will
    /// not see it become SUCCESS.
    ///
    /// # Errors
    /// `NotReady` while a root task is PENDING, RUNNING, WAITING or PAUSED; `NotFound`.
    fn complete(&self, id: &WorkflowExecId) -> impl Future<Output = Result<WorkflowState>> + Send;

    /// Deletes the execution with all its tasks.
    ///
    /// # Errors
    /// `NotFound`.
    fn delete(&self, id: &WorkflowExecId) -> impl Future<Output = Result<()>> + Send;
}
