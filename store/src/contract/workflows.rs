//! Workflows: what is to be done, step by step, and whose it is. Their runs are in
//! [`WorkflowRunRepository`](super::WorkflowRunRepository).

use std::fmt;
use std::future::Future;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BotId, OwnerType, Page, PageRequest, WorkflowId, WorkflowName, check};
use crate::Result;

/// Whose a workflow is. Names are unique for each owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// Everybody's.
    Global,
    /// One bot's; goes when the bot goes, with its runs.
    Bot(BotId),
}

impl Owner {
    /// The bot, if it is one's.
    pub fn bot(self) -> Option<BotId> {
        match self {
            Self::Global => None,
            Self::Bot(id) => Some(id),
        }
    }

    /// The owner in one word.
    pub fn kind(self) -> OwnerType {
        match self {
            Self::Global => OwnerType::Global,
            Self::Bot(_) => OwnerType::Bot,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.pad("global"),
            Self::Bot(id) => write!(f, "bot {id}"),
        }
    }
}

/// A workflow's definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    /// Its id, for good.
    pub id: WorkflowId,
    /// Its name, unique for its owner.
    pub name: WorkflowName,
    /// Whose it is.
    pub owner: Owner,
    /// The steps, in the program's own form.
    pub definition: Value,
    /// When it was first saved.
    pub created_at: DateTime<Utc>,
    /// When it was last saved.
    pub updated_at: DateTime<Utc>,
}

/// A definition to save.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowDraft {
    /// Which workflow to save it as; `None` makes a new one.
    #[serde(default)]
    pub id: Option<WorkflowId>,
    /// Its name, unique for its owner.
    pub name: WorkflowName,
    /// Whose it is.
    pub owner: Owner,
    /// The steps, in the program's own form.
    pub definition: Value,
}

impl WorkflowDraft {
    /// A new workflow that is everybody's.
    pub fn new(name: WorkflowName, definition: Value) -> Self {
        Self {
            id: None,
            name,
            owner: Owner::Global,
            definition,
        }
    }

    /// The same for another owner.
    pub fn owned_by(mut self, owner: Owner) -> Self {
        self.owner = owner;
        self
    }

    /// The draft as it will be stored.
    ///
    /// # Errors
    /// `InvalidInput` naming the field that breaks a rule.
    pub fn checked(mut self) -> Result<Self> {
        self.definition = check::json("definition", self.definition)?;
        Ok(self)
    }
}

/// Keeps the definitions of workflows.
pub trait WorkflowRepository: Send + Sync {
    /// Stores the definition: a new workflow, or in place of the one with this id, whose `created_at` stays.
    ///
    /// # Errors
    /// `Conflict` (`uq_workflows_name` for global workflows, `uq_workflows_owner_bot_id_name` for a bot's) when the owner
    /// has another workflow of this name; `ForeignKey` (`fk_workflows_owner_bot_id`) when the bot does not exist;
    /// `InvalidInput`.
    fn save_definition(&self, draft: WorkflowDraft) -> impl Future<Output = Result<Workflow>> + Send;

    /// The workflow with this id.
    fn get_definition(&self, id: WorkflowId) -> impl Future<Output = Result<Option<Workflow>>> + Send;

    /// The owner's workflow of this name. A bot's own and a global one of the same name are two.
    fn get_definition_by_name(
        &self,
        name: &WorkflowName,
        owner: Owner,
    ) -> impl Future<Output = Result<Option<Workflow>>> + Send;

    /// The owner's workflows, or all with `None`, in the order of their names (byte by byte, the id decides between
    /// equals).
    ///
    /// # Errors
    /// `InvalidInput` for a limit out of range or a cursor of another list.
    fn list_definitions(
        &self,
        owner: Option<Owner>,
        page: PageRequest,
    ) -> impl Future<Output = Result<Page<Workflow>>> + Send;

    /// Deletes a workflow that has no runs. Answers whether there was one.
    ///
    /// # Errors
    /// `Conflict` (`fk_workflow_runs_workflow_id`) when it has runs: keep it for their sake, or
    /// [purge](Self::purge_definition) it.
    fn delete_definition(&self, id: WorkflowId) -> impl Future<Output = Result<bool>> + Send;

    /// Deletes a workflow with its runs and their steps, live ones too, all or nothing. Answers how many runs went.
    ///
    /// # Errors
    /// `NotFound`.
    fn purge_definition(&self, id: WorkflowId) -> impl Future<Output = Result<u64>> + Send;
}
