//! The contract kept on SQLite and Postgres, file for file with [`crate::contract`].

/// Reads a struct from a row: its fields in the order in which the query selects their columns.
macro_rules! from_row {
    ($name:ident { $($field:ident),+ }) => {
        impl crate::engine::FromRow for $name {
            fn from_row(row: &mut crate::engine::Row<'_>) -> crate::Result<Self> {
                Ok(Self { $($field: row.read()?),+ })
            }
        }
    };
}

mod api_keys;
mod audit;
mod bots;
mod chats;
mod files;
mod kv;
mod messages;
mod missions;
mod page;
mod provider_health;
mod prune;
mod secrets;
mod souls;
mod task_states;
mod users;
mod workflow_recovery;
mod workflow_runs;
mod workflow_states;
mod workflow_steps;
mod workflows;

use std::fmt::Display;

use sea_orm::{ActiveModelBehavior, ActiveModelTrait, ActiveValue, IntoActiveModel, ModelTrait, Value};

use crate::{Error, ErrorKind, Result};

/// A repository: a [`Session`](crate::engine::Session) with the methods of a trait, each one run under the entity's name.
macro_rules! repositories {
    ($($(#[$doc:meta])* $name:ident of $entity:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $name(crate::engine::Session);

        impl $name {
            /// The repository on this session.
            pub fn new(session: crate::engine::Session) -> Self {
                Self(session)
            }

            async fn run<T, F, Fut>(&self, operation: &'static str, work: F) -> Result<T>
            where
                F: FnOnce(crate::engine::Operation) -> Fut + Send,
                Fut: Future<Output = Result<T>> + Send,
            {
                self.0.run($entity, operation, work).await
            }
        }
    )+};
}

repositories! {
    /// The [`BotRepository`](crate::BotRepository) of both databases.
    Bots of "bot";
    /// The [`SoulRepository`](crate::SoulRepository) of both databases.
    Souls of "soul";
    /// The [`SecretRepository`](crate::SecretRepository) of both databases.
    Secrets of "secret";
    /// The [`UserRepository`](crate::UserRepository) of both databases.
    Users of "user";
    /// The [`ApiKeyRepository`](crate::ApiKeyRepository) of both databases.
    ApiKeys of "api_key";
    /// The [`KvStore`](crate::KvStore) of both databases.
    Kv of "kv_entry";
    /// The [`AuditLog`](crate::AuditLog) of both databases.
    Audit of "audit_entry";
    /// The [`ProviderHealthRepository`](crate::ProviderHealthRepository) of both databases.
    ProviderHealths of "provider_health";
    /// The [`FileRepository`](crate::FileRepository) of both databases.
    Files of "file";
    /// The [`WorkflowRepository`](crate::WorkflowRepository), [`WorkflowRunRepository`](crate::WorkflowRunRepository),
    /// [`WorkflowStepRepository`](crate::WorkflowStepRepository) and [`WorkflowRecovery`](crate::WorkflowRecovery) of
    /// both databases.
    Workflows of "workflow";
    /// The [`ChatRepository`](crate::ChatRepository) of both databases.
    Chats of "chat_session";
    /// The [`MessageRepository`](crate::MessageRepository) of both databases.
    Messages of "bot_message";
    /// The [`WorkflowStateRepository`](crate::WorkflowStateRepository) of both databases.
    WorkflowStates of "workflow_state";
    /// The [`TaskStateRepository`](crate::TaskStateRepository) of both databases.
    TaskStates of "task_state";
    /// The [`MissionRepository`](crate::MissionRepository) of both databases.
    Missions of "mission";
}

/// The row that a change was for, or `NotFound`.
fn the_row<M>(rows: Vec<M>, entity: &'static str, id: impl Display) -> Result<M> {
    rows.into_iter().next().ok_or_else(|| Error::not_found(entity, id))
}

/// Whether the change found its row, or `NotFound`.
fn changed(rows: u64, entity: &'static str, id: impl Display) -> Result<()> {
    if rows == 0 {
        Err(Error::not_found(entity, id))
    } else {
        Ok(())
    }
}

/// A row with every column set, to be inserted.
fn insertable<M, A>(model: M) -> A
where
    M: ModelTrait + IntoActiveModel<A>,
    A: ActiveModelTrait<Entity = M::Entity> + ActiveModelBehavior,
{
    model.into_active_model().reset_all()
}

/// A column to change, or one to leave as it is.
fn set<V: Into<Value>>(value: Option<V>) -> ActiveValue<V> {
    value.map_or(ActiveValue::NotSet, ActiveValue::Set)
}

/// A stored value breaks the rule of its type: somebody edited the database.
fn corrupt(table: &str, row: impl Display, rule: Error) -> Error {
    // The rule begins with the column's name and never repeats the value.
    let at = format!("table {table}, row {row}: {}", rule.message());
    Error::new(ErrorKind::Corrupt, at).caused_by(rule)
}
