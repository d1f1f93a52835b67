//! Where the repositories are found: on the store, and in a transaction.

use crate::engine::Session;
use crate::sql;

/// The repositories, alike on a [`Store`](crate::Store) and in a [`Tx`](crate::Tx): a function over
/// `impl Repositories` works in both.
pub trait Repositories {
    /// What the repositories run on. An application's own repositories run on it too.
    fn session(&self) -> Session;

    /// The [bots](crate::BotRepository).
    fn bots(&self) -> sql::Bots {
        sql::Bots::new(self.session())
    }

    /// The bots' [souls](crate::SoulRepository).
    fn souls(&self) -> sql::Souls {
        sql::Souls::new(self.session())
    }

    /// The [secrets](crate::SecretRepository), sealed. [`Store::vault`](crate::Store::vault) opens them.
    fn secrets(&self) -> sql::Secrets {
        sql::Secrets::new(self.session())
    }

    /// The [users](crate::UserRepository).
    fn users(&self) -> sql::Users {
        sql::Users::new(self.session())
    }

    /// The [API keys](crate::ApiKeyRepository).
    fn api_keys(&self) -> sql::ApiKeys {
        sql::ApiKeys::new(self.session())
    }

    /// The bots' [values by key](crate::KvStore).
    fn kv(&self) -> sql::Kv {
        sql::Kv::new(self.session())
    }

    /// The [audit trail](crate::AuditLog) of what was done to memories.
    fn audit(&self) -> sql::Audit {
        sql::Audit::new(self.session())
    }

    /// How the [providers](crate::ProviderHealthRepository) do.
    fn provider_health(&self) -> sql::ProviderHealths {
        sql::ProviderHealths::new(self.session())
    }

    /// The bots' [files](crate::FileRepository).
    fn files(&self) -> sql::Files {
        sql::Files::new(self.session())
    }

    /// Where [executions of workflows](crate::WorkflowStateRepository) stand.
    fn workflow_states(&self) -> sql::WorkflowStates {
        sql::WorkflowStates::new(self.session())
    }

    /// Where [executions of tasks](crate::TaskStateRepository) stand.
    fn task_states(&self) -> sql::TaskStates {
        sql::TaskStates::new(self.session())
    }

    /// The [missions](crate::MissionRepository), with their tool calls and decisions.
    fn missions(&self) -> sql::Missions {
        sql::Missions::new(self.session())
    }

    /// The [workflows](crate::WorkflowRepository), their [runs](crate::WorkflowRunRepository) and
    /// [steps](crate::WorkflowStepRepository), and their [recovery](crate::WorkflowRecovery).
    fn workflows(&self) -> sql::Workflows {
        sql::Workflows::new(self.session())
    }

    /// The bots' [chats](crate::ChatRepository).
    fn chats(&self) -> sql::Chats {
        sql::Chats::new(self.session())
    }

    /// The [messages](crate::MessageRepository) between bots.
    fn messages(&self) -> sql::Messages {
        sql::Messages::new(self.session())
    }
}
