//! What a row is: one SeaORM entity per table, the typed ids and the words that columns hold.
//!
//! This crate stands alone: it knows no connection, no schema change and no rule beyond a column's type. A row becomes a
//! domain type of the `store` crate, which applications use instead.
//!
//! A column's `column_type` here is a statement about Rust; the shape of the table is the migrations' business, and a test
//! holds the two together on both databases.

#![allow(
    missing_docs,
    reason = "a column's meaning is told once, on the domain type of the store crate"
)]

mod ids;
mod words;

pub mod api_keys;
pub mod bot_channels;
pub mod bot_file_versions;
pub mod bot_files;
pub mod bot_kv_store;
pub mod bot_messages;
pub mod bot_subscriptions;
pub mod bots;
pub mod chat_messages;
pub mod chat_sessions;
pub mod decisions;
pub mod memory_audit_log;
pub mod missions;
pub mod provider_health;
pub mod secrets;
pub mod soul_versions;
pub mod task_states;
pub mod tool_calls;
pub mod users;
pub mod workflow_runs;
pub mod workflow_states;
pub mod workflow_steps;
pub mod workflows;

pub use ids::{
    ApiKeyId, AuditEntryId, BotId, BotMessageId, ChatMessageId, ChatSessionId, DecisionId, FileId, FileVersionId,
    MissionId, SecretId, SoulVersionId, ToolCallId, UserId, WorkflowId, WorkflowRunId, WorkflowStepId,
};
pub use words::{AuditAction, CircuitState};
pub use words::{BotCategory, BotStatus, SecretProvider, UnknownWord, UserRole};
pub use words::{ChatRole, ChatStatus, RecipientType, SessionType};
pub use words::{ExecutionStatus, MissionPhase, MissionStatus};
pub use words::{OwnerType, RunStatus, StepStatus};
