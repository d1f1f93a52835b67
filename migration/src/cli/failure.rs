use config::{ConfigError, ConnectError};
use migration::MigrationError;

/// Everything went as asked.
pub(super) const OK: u8 = 0;
/// The schema is not what this program expects.
pub(super) const NOT_AS_EXPECTED: u8 = 3;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Connect(#[from] ConnectError),
    #[error("{0}")]
    Migration(#[from] MigrationError),
    #[error("{0}; nothing was changed")]
    NotConfirmed(String),
    #[error("the answer could not be written: {0}")]
    Output(#[from] std::io::Error),
}

impl Failure {
    pub(super) fn code(&self) -> u8 {
        match self {
            Failure::Config(_) => 2,
            Failure::Migration(error) if error.is_schema_state() => NOT_AS_EXPECTED,
            Failure::NotConfirmed(_) => 4,
            Failure::Connect(_) | Failure::Migration(_) | Failure::Output(_) => 1,
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Failure::Config(_) => "config",
            Failure::Connect(_) => "connect",
            Failure::Migration(error) => error.kind(),
            Failure::NotConfirmed(_) => "not_confirmed",
            Failure::Output(_) => "output",
        }
    }
}
