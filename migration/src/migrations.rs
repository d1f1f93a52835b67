//! The one list of migrations, for both databases.
//!
//! A migration that has left this repository is history: it is never changed, the next one corrects it. To add one, write
//! `migrations/m<date>_<number>_<what>.rs` beside the others and name it at the end of [`all`].

mod m20261121_000001_users_and_bots;
mod m20261121_000002_souls;
mod m20261121_000003_secrets;
mod m20261121_000004_api_keys;
mod m20261121_000005_memory;
mod m20261121_000007_chats;
mod m20261121_000008_messages;
mod m20261121_000009_workflows;
mod m20261121_000011_executions;
mod m20261121_000012_missions;
mod m20261121_000015_session_type;

use crate::model::Step;

/// A named, ordered list of reversible steps.
#[derive(Debug, Clone)]
pub struct Migration {
    pub(crate) name: &'static str,
    pub(crate) steps: Vec<Step>,
}

impl Migration {
    /// A migration; its name is that of its file.
    pub fn new(name: &'static str, steps: Vec<Step>) -> Self {
        Self { name, steps }
    }

    /// The name, as it is recorded in the database.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it does, in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

/// Every migration, oldest first.
pub fn all() -> Vec<Migration> {
    vec![
        m20261121_000001_users_and_bots::migration(),
        m20261121_000002_souls::migration(),
        m20261121_000003_secrets::migration(),
        m20261121_000004_api_keys::migration(),
        m20261121_000005_memory::migration(),
        m20261121_000007_chats::migration(),
        m20261121_000008_messages::migration(),
        m20261121_000009_workflows::migration(),
        m20261121_000011_executions::migration(),
        m20261121_000012_missions::migration(),
        m20261121_000015_session_type::migration(),
    ]
}
