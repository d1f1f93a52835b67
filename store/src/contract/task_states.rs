//! Executions of tasks: where each stands, and the trees they form.

use std::future::Future;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    ExecutionStatus, Page, PageRequest, TaskExecId, TaskKey, Usage, WorkflowExecId, WorkflowKey, check, present,
};
use crate::{Error, Result};

/// How a task is executed, and by whom: what the table's rule `ck_task_states_execution_type` allows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Execution {
    /// `basic`, by neither an agent nor a tool.
    #[default]
    Basic,
    /// `basic`, by an action of an agent.
    Agent {
        /// The agent.
        agent_id: String,
        /// Its action.
        action_id: String,
    },
    /// `basic`, by a tool.
    Tool {
        /// The tool.
        tool_id: String,
    },
    /// `router`: it chooses what comes next and does nothing itself.
    Router,
    /// Another type, whose rules the caller makes.
    Other {
        /// Its name: neither `basic` nor `router`.
        execution_type: String,
        /// The agent, if it has one.
        agent_id: Option<String>,
        /// The tool, if it has one.
        tool_id: Option<String>,
        /// The action, if it has one.
        action_id: Option<String>,
    },
}

impl Execution {
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Basic | Self::Router => Ok(()),
            Self::Agent { agent_id, action_id } => {
                check::name("agent_id", agent_id)?;
                check::name("action_id", action_id)
            }
            Self::Tool { tool_id } => check::name("tool_id", tool_id),
            Self::Other { execution_type, .. } if matches!(execution_type.as_str(), "basic" | "router") => Err(
                Error::invalid("execution_type", "is a type with rules of its own; use its variant"),
            ),
            Self::Other {
                execution_type,
                agent_id,
                tool_id,
                action_id,
            } => {
                check::name("execution_type", execution_type)?;
                [("agent_id", agent_id), ("tool_id", tool_id), ("action_id", action_id)]
                    .into_iter()
                    .filter_map(|(field, text)| text.as_ref().map(|text| (field, text)))
                    .try_for_each(|(field, text)| check::name(field, text))
            }
        }
    }
}

/// Where one execution of a task stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskState {
    /// The execution.
    pub task_exec_id: TaskExecId,
    /// The task that is executed.
    pub task_id: TaskKey,
    /// What kind of component the task is.
    pub component: String,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// The execution of the workflow that it belongs to, for good.
    pub workflow_exec_id: WorkflowExecId,
    /// The workflow of that execution.
    pub workflow_id: WorkflowKey,
    /// How it is executed.
    pub execution: Execution,
    /// The execution that it is a part of, for good; `None` is a root task.
    pub parent_state_id: Option<TaskExecId>,
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

/// What is to be stored of a task's execution. [`NewTaskState::new`] leaves out what may be absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewTaskState {
    /// The execution.
    pub task_exec_id: TaskExecId,
    /// The task that is executed.
    pub task_id: TaskKey,
    /// What kind of component the task is: not blank.
    pub component: String,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// The execution of the workflow that it belongs to.
    pub workflow_exec_id: WorkflowExecId,
    /// How it is executed.
    #[serde(default)]
    pub execution: Execution,
    /// The execution that it is a part of.
    #[serde(default)]
    pub parent_state_id: Option<TaskExecId>,
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

impl NewTaskState {
    /// A basic root task of the component `task`, without usage, input, output and error.
    pub fn new(
        task_exec_id: TaskExecId,
        task_id: TaskKey,
        workflow_exec_id: WorkflowExecId,
        status: ExecutionStatus,
    ) -> Self {
        Self {
            task_exec_id,
            task_id,
            component: "task".into(),
            status,
            workflow_exec_id,
            execution: Execution::Basic,
            parent_state_id: None,
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
        check::name("component", &self.component)?;
        self.execution.check()?;
        if self.parent_state_id.as_ref() == Some(&self.task_exec_id) {
            return Err(Error::invalid("parent_state_id", "is the task itself"));
        }
        Ok(Self {
            usage: self.usage.map(|usage| check::array("usage", usage)).transpose()?,
            input: check::optional_json("input", self.input)?,
            output: check::optional_json("output", self.output)?,
            error: check::optional_json("error", self.error)?,
            ..self
        })
    }
}

/// Which executions of tasks. The default: all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskStateFilter {
    /// Only those of this status.
    pub status: Option<ExecutionStatus>,
    /// Only those of this workflow.
    pub workflow_id: Option<WorkflowKey>,
    /// Only those of this execution of a workflow.
    pub workflow_exec_id: Option<WorkflowExecId>,
    /// Only those of this task.
    pub task_id: Option<TaskKey>,
    /// Only the children of this execution.
    pub parent_state_id: Option<TaskExecId>,
}

/// Tasks that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskGroup {
    /// The children of one execution of a task.
    ChildrenOf(TaskExecId),
    /// All tasks of one execution of a workflow, at every depth.
    InWorkflow(WorkflowExecId),
}

/// How many tasks of a group stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// PENDING.
    pub pending: i64,
    /// RUNNING.
    pub running: i64,
    /// WAITING.
    pub waiting: i64,
    /// PAUSED.
    pub paused: i64,
    /// SUCCESS.
    pub success: i64,
    /// FAILED.
    pub failed: i64,
    /// CANCELED.
    pub canceled: i64,
    /// TIMED_OUT.
    pub timed_out: i64,
}

impl Progress {
    /// All of them.
    pub fn total(&self) -> i64 {
        self.unfinished() + self.success + self.failures()
    }

    /// Those that are not at their end: PENDING, RUNNING, WAITING, PAUSED.
    pub fn unfinished(&self) -> i64 {
        self.pending + self.running + self.waiting + self.paused
    }

    /// Those that ended badly: FAILED, CANCELED, TIMED_OUT.
    pub fn failures(&self) -> i64 {
        self.failed + self.canceled + self.timed_out
    }

    /// The share that ended with SUCCESS, 0 to 1; 0 when there are none.
    pub fn completion_rate(&self) -> f64 {
        share(self.success, self.total())
    }

    /// The share that [ended badly](Self::failures), 0 to 1; 0 when there are none.
    pub fn failure_rate(&self) -> f64 {
        share(self.failures(), self.total())
    }

    /// The number of one status.
    pub fn count_mut(&mut self, status: ExecutionStatus) -> &mut i64 {
        match status {
            ExecutionStatus::Pending => &mut self.pending,
            ExecutionStatus::Running => &mut self.running,
            ExecutionStatus::Waiting => &mut self.waiting,
            ExecutionStatus::Paused => &mut self.paused,
            ExecutionStatus::Success => &mut self.success,
            ExecutionStatus::Failed => &mut self.failed,
            ExecutionStatus::Canceled => &mut self.canceled,
            ExecutionStatus::TimedOut => &mut self.timed_out,
        }
    }

    /// What a workflow's execution becomes whose root tasks these are: `None` while one is not at its end.
    pub fn outcome(&self) -> Option<ExecutionStatus> {
        match (self.unfinished(), self.failures()) {
            (0, 0) => Some(ExecutionStatus::Success),
            (0, _) => Some(ExecutionStatus::Failed),
            _ => None,
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of rows are far below 2⁵³")]
fn share(part: i64, total: i64) -> f64 {
    if total == 0 { 0.0 } else { part as f64 / total as f64 }
}

/// What came of a child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskOutput {
    /// The child's execution.
    pub task_exec_id: TaskExecId,
    /// The task that was executed.
    pub task_id: TaskKey,
    /// Where it stands.
    pub status: ExecutionStatus,
    /// What came of it.
    pub output: Value,
}

/// A task and what lies below it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskTree {
    /// The tasks, level by level, the root first; within a level oldest first.
    pub tasks: Vec<TreeTask>,
    /// Whether something lies below the depth that was asked for.
    pub goes_deeper: bool,
}

/// A task at its place in a tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TreeTask {
    /// How many levels below the root.
    pub depth: u32,
    /// The task.
    pub task: TaskState,
}

impl TaskTree {
    /// The deepest level that can be asked for.
    pub const MAX_DEPTH: u32 = 100;

    /// # Errors
    /// `InvalidInput` when the depth is above [`TaskTree::MAX_DEPTH`].
    pub fn check_depth(depth: u32) -> Result<()> {
        if depth > Self::MAX_DEPTH {
            return Err(Error::invalid(
                "depth",
                format_args!("must be 0 to {} and is {depth}", Self::MAX_DEPTH),
            ));
        }
        Ok(())
    }
}

/// Keeps where executions of tasks stand. Every change adds 1 to `version` and sets `updated_at`.
///
/// A task belongs to its workflow's execution and to its parent for good, so that a tree has no circles.
pub trait TaskStateRepository: Send + Sync {
    /// Stores the state, in place of the one that this execution has; `created_at` stays. What is absent here is absent
    /// afterwards.
    ///
    /// # Errors
    /// `ForeignKey` when the workflow's execution (`fk_task_states_workflow_exec_id`) or the parent
    /// (`fk_task_states_parent_state_id`) is not there; `Conflict` when the task is in another workflow's execution or
    /// below another parent; `InvalidInput`.
    fn upsert(&self, task: NewTaskState) -> impl Future<Output = Result<TaskState>> + Send;

    /// Replaces the state that has this version, and no other.
    ///
    /// # Errors
    /// `Conflict` when it has another version by now, and as [`upsert`](Self::upsert); `NotFound`; `InvalidInput`.
    fn update_if_version(&self, task: NewTaskState, version: i64) -> impl Future<Output = Result<TaskState>> + Send;

    /// The state of this execution.
    fn get(&self, id: &TaskExecId) -> impl Future<Output = Result<Option<TaskState>>> + Send;

    /// The states that the filter wants, newest first (by `created_at`).
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn list(&self, filter: TaskStateFilter, page: PageRequest) -> impl Future<Output = Result<Page<TaskState>>> + Send;

    /// The tasks of a workflow's execution at every depth, oldest first.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    fn in_workflow(
        &self,
        workflow: &WorkflowExecId,
        page: PageRequest,
    ) -> impl Future<Output = Result<Page<TaskState>>> + Send;

    /// The states of these executions, each once, in the order asked for; what is not there is left out. Any number:
    /// every 16,384 cost a query, which sees what is there at its own time.
    fn by_ids(&self, ids: &[TaskExecId]) -> impl Future<Output = Result<Vec<TaskState>>> + Send;

    /// The tasks whose parent this is, oldest first.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    fn children(&self, parent: &TaskExecId, page: PageRequest) -> impl Future<Output = Result<Page<TaskState>>> + Send;

    /// The latest child of this parent that executes this task.
    fn child_by_task_id(
        &self,
        parent: &TaskExecId,
        task: &TaskKey,
    ) -> impl Future<Output = Result<Option<TaskState>>> + Send;

    /// What came of the children that have an output, oldest first. A child that executed the same task again comes
    /// again.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    fn children_outputs(
        &self,
        parent: &TaskExecId,
        page: PageRequest,
    ) -> impl Future<Output = Result<Page<TaskOutput>>> + Send;

    /// The task and what lies below it, down to this depth (0 is the root alone), in one query. What lies deeper is left
    /// out, and [`TaskTree::goes_deeper`] tells of it: its own tree begins at any task of the last level. Without tasks
    /// when the root is not there.
    ///
    /// # Errors
    /// `InvalidInput` when the depth is above [`TaskTree::MAX_DEPTH`].
    fn tree(&self, root: &TaskExecId, depth: u32) -> impl Future<Output = Result<TaskTree>> + Send;

    /// How many tasks of the group stand where, in one query.
    fn progress(&self, group: TaskGroup) -> impl Future<Output = Result<Progress>> + Send;

    /// Adds to the usage, as [`Usage::merged`] says. Two that add at once both count.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput`.
    fn merge_usage(&self, id: &TaskExecId, usage: Vec<Usage>) -> impl Future<Output = Result<TaskState>> + Send;
}
