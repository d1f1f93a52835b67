//! Typed ids: a bot's id cannot be passed where a user's is wanted.
//!
//! Every id is a UUIDv7 made by the store, so ids of one process sort by the time of their creation. They are stored as
//! `uuid` on Postgres and as 16 bytes on SQLite, and written as text everywhere else.

use sea_orm::DeriveValueType;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, DeriveValueType,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl sea_orm::TryFromU64 for $name {
            fn try_from_u64(_: u64) -> Result<Self, sea_orm::DbErr> {
                Err(sea_orm::DbErr::ConvertFromU64(stringify!($name)))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )+};
}

ids! {
    /// A bot's id.
    BotId
    /// The id of one saved version of a bot's soul.
    SoulVersionId
    /// A sealed secret's id.
    SecretId
    /// A user's id.
    UserId
    /// The id of an API key: public, not the key itself.
    ApiKeyId
    /// The id of an entry of the audit trail.
    AuditEntryId
    /// The id of a bot's file.
    FileId
    /// The id of one version of a bot's file.
    FileVersionId
    /// The id of a chat session.
    ChatSessionId
    /// The id of a message in a chat.
    ChatMessageId
    /// The id of a message between bots.
    BotMessageId
    /// The id of a workflow's definition.
    WorkflowId
    /// The id of one run of a workflow.
    WorkflowRunId
    /// The id of a step's log entry: one attempt of one step of a run.
    WorkflowStepId
    /// The id of a mission.
    MissionId
    /// The id of a tool call.
    ToolCallId
    /// The id of a decision.
    DecisionId
}
