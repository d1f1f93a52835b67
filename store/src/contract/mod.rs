//! The promise: what a program may ask of the store, in which order it is answered, and which errors it gets.
//!
//! One trait per aggregate, over plain types that know no database. [`crate::sql`] keeps the promise for SQLite and
//! Postgres; anything else that passes the same suite may stand in for it.
//!
//! What holds for every method:
//! - `get…` answers `None` for what is not there; changing what is not there is
//!   [`NotFound`](crate::ErrorKind::NotFound).
//! - Times are UTC, cut to microseconds: what a create returns equals what a later read returns.
//! - Lists come in pages ([`Page`]) that stay stable while rows are added and removed.
//! - Text with U+0000 in it is [`InvalidInput`](crate::ErrorKind::InvalidInput) naming the field: Postgres cannot
//!   store it and SQLite's functions stop at it.

mod api_keys;
mod audit;
mod bots;
mod chats;
mod files;
mod kv;
mod messages;
mod missions;
mod names;
mod page;
mod present;
mod provider_health;
mod prune;
mod secrets;
mod souls;
mod task_states;
mod usage;
mod users;
mod workflow_recovery;
mod workflow_runs;
mod workflow_states;
mod workflow_status;
mod workflow_steps;
mod workflows;

pub mod check;

pub use api_keys::{ApiKey, ApiKeyRepository, Authenticated, IssuedKey, NewApiKey};
pub use audit::{AuditEntry, AuditLog, NewAuditEntry};
pub use bots::{Bot, BotChange, BotFilter, BotOrder, BotRepository, NewBot};
pub use chats::{ChatMessage, ChatPeer, ChatRepository, ChatSession, NewChatMessage, NewChatSession};
pub use entity::{
    ApiKeyId, BotCategory, BotId, BotStatus, SecretId, SecretProvider, SoulVersionId, UnknownWord, UserId, UserRole,
};
pub use entity::{AuditAction, AuditEntryId, CircuitState, FileId, FileVersionId};
pub use entity::{BotMessageId, ChatMessageId, ChatRole, ChatSessionId, ChatStatus};
pub use entity::{DecisionId, ExecutionStatus, MissionId, MissionPhase, MissionStatus, ToolCallId};
pub use entity::{OwnerType, RunStatus, StepStatus, WorkflowId, WorkflowRunId, WorkflowStepId};
pub use files::{BotFile, FileRepository, FileVersion, NewFile};
pub use kv::{KvEntry, KvStore};
pub use messages::{BotChannel, BotMessage, MessageRepository, NewBotMessage, Recipient, Subscription};
pub use missions::{
    Decision, DecisionFilter, Mission, MissionFilter, MissionRepository, NewDecision, NewMission, NewToolCall,
    ToolCall, ToolCallFilter, ToolStats,
};
pub use names::ChannelName;
pub use names::WorkflowName;
pub use names::{Email, Key, Slug};
pub use names::{FileName, MemoryId, ProviderName};
pub use names::{TaskExecId, TaskKey, WorkflowExecId, WorkflowKey};
pub use page::{Cursor, CursorKey, Direction, Page, PageRequest, Walk, walk, walk_by};
pub use provider_health::{NewProviderHealth, ProviderHealth, ProviderHealthRepository};
pub use prune::Prune;
pub use secrets::{Scope, SealedValue, SecretInfo, SecretRepository};
pub use souls::{NewSoul, SoulRepository, SoulSummary, SoulVersion};
pub use task_states::{
    Execution, NewTaskState, Progress, TaskGroup, TaskOutput, TaskState, TaskStateFilter, TaskStateRepository,
    TaskTree, TreeTask,
};
pub use usage::Usage;
pub use users::{NewUser, User, UserChange, UserRepository};
pub use workflow_recovery::{ClaimedRun, Lease, WorkflowRecovery};
pub use workflow_runs::{Leased, NewRun, RunChange, WorkflowRun, WorkflowRunRepository};
pub use workflow_states::{NewWorkflowState, WorkflowState, WorkflowStateFilter, WorkflowStateRepository};
pub use workflow_status::Transitions;
pub use workflow_steps::{NewStep, StepChange, WorkflowStep, WorkflowStepRepository};
pub use workflows::{Owner, Workflow, WorkflowDraft, WorkflowRepository};
