//! Columns that hold one word out of a fixed list.
//!
//! The word is stored as text with a CHECK on both databases. A row whose word is not in the list (a hand-edited
//! database) does not decode: the error names the column and the word.

use serde::{Deserialize, Serialize};

/// A word that is not in the list of its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    /// The word as found.
    pub word: String,
    /// The words that would have been right.
    pub expected: &'static [&'static str],
}

impl std::fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` is not one of {}", self.word, self.expected.join(", "))
    }
}

impl std::error::Error for UnknownWord {}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every word, in the order of the variants.
            pub const WORDS: &'static [&'static str] = &[$($word),+];

            /// The word as it is stored.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownWord;
            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { word: word.to_owned(), expected: Self::WORDS }),
                }
            }
        }

        impl From<$name> for sea_orm::Value {
            fn from(word: $name) -> Self {
                word.as_str().into()
            }
        }

        impl sea_orm::sea_query::ValueType for $name {
            fn try_from(value: sea_orm::Value) -> Result<Self, sea_orm::sea_query::ValueTypeErr> {
                <String as sea_orm::sea_query::ValueType>::try_from(value)?
                    .parse()
                    .map_err(|_| sea_orm::sea_query::ValueTypeErr)
            }
            fn type_name() -> String {
                stringify!($name).to_owned()
            }
            fn array_type() -> sea_orm::sea_query::ArrayType {
                sea_orm::sea_query::ArrayType::String
            }
            fn column_type() -> sea_orm::ColumnType {
                sea_orm::ColumnType::Text
            }
        }

        impl sea_orm::sea_query::Nullable for $name {
            fn null() -> sea_orm::Value {
                sea_orm::Value::String(None)
            }
        }

        impl sea_orm::IntoActiveValue<$name> for $name {
            fn into_active_value(self) -> sea_orm::ActiveValue<$name> {
                sea_orm::ActiveValue::Set(self)
            }
        }

        impl sea_orm::TryGetable for $name {
            fn try_get_by<I: sea_orm::ColIdx>(
                row: &sea_orm::QueryResult,
                index: I,
            ) -> Result<Self, sea_orm::TryGetError> {
                let word = <String as sea_orm::TryGetable>::try_get_by(row, index)?;
                word.parse().map_err(|unknown: UnknownWord| {
                    let column = index.as_str().unwrap_or("?");
                    sea_orm::TryGetError::DbErr(sea_orm::DbErr::Type(format!("column `{column}`: {unknown}")))
                })
            }
        }
    )+};
}

words! {
    /// Whether a bot takes part.
    BotStatus {
        /// It takes part.
        Active = "active",
        /// Switched off, to come back.
        Disabled = "disabled",
        /// Kept for its record only.
        Archived = "archived",
    }

    /// What a bot is for.
    BotCategory {
        /// Helps a person with their work.
        Assistant = "assistant",
        /// Writes, draws, invents.
        Creative = "creative",
        /// Finds and weighs sources.
        Research = "research",
        /// Does one small thing.
        Utility = "utility",
    }

    /// Where a secret comes from.
    SecretProvider {
        /// Sealed by the store's own vault.
        Vault = "vault",
        /// Sealed by the operating system's keychain.
        Keychain = "keychain",
        /// Read from the environment and kept sealed.
        Environment = "environment",
    }

    /// What a user may do.
    UserRole {
        /// Everything.
        Admin = "admin",
        /// Their own things.
        User = "user",
    }

    /// What was done to a memory.
    AuditAction {
        /// It was added.
        Add = "add",
        /// It was deleted.
        Delete = "delete",
        /// Another bot was given access to it.
        Share = "share",
        /// That access was taken back.
        Revoke = "revoke",
        /// It was merged with another one.
        Merge = "merge",
    }

    /// Whether calls go to a provider.
    CircuitState {
        /// They do.
        Closed = "closed",
        /// They do not: it failed too often.
        Open = "open",
        /// A few do, to see whether it is well again.
        HalfOpen = "half_open",
    }

    /// Where the execution of a workflow or a task stands.
    ExecutionStatus {
        /// Not begun.
        Pending = "PENDING",
        /// Under way.
        Running = "RUNNING",
        /// Under way, until something from outside arrives.
        Waiting = "WAITING",
        /// Halted, to be resumed.
        Paused = "PAUSED",
        /// Ended well.
        Success = "SUCCESS",
        /// Ended with an error.
        Failed = "FAILED",
        /// Ended by somebody's wish.
        Canceled = "CANCELED",
        /// Ended because its time was over.
        TimedOut = "TIMED_OUT",
    }

    /// What a mission is about.
    MissionPhase {
        /// Finding out what to do.
        Planning = "PLANNING",
        /// Writing it.
        Coding = "CODING",
        /// Trying whether it works.
        Testing = "TESTING",
        /// Bringing it to its users.
        Deployment = "DEPLOYMENT",
        /// Keeping it working.
        Maintenance = "MAINTENANCE",
    }

    /// Where a mission stands.
    MissionStatus {
        /// Not begun.
        Pending = "pending",
        /// Under way.
        InProgress = "in_progress",
        /// Ended well.
        Completed = "completed",
        /// Ended badly.
        Failed = "failed",
    }

    /// Whose a workflow is.
    OwnerType {
        /// One bot's.
        Bot = "bot",
        /// Everybody's.
        Global = "global",
    }

    /// How far a run of a workflow is.
    RunStatus {
        /// Waiting for a worker.
        Pending = "pending",
        /// A worker is at it.
        Running = "running",
        /// Set aside until somebody takes it up again.
        Paused = "paused",
        /// Ended well.
        Completed = "completed",
        /// Ended with an error of its own.
        Failed = "failed",
        /// Given up after its worker was lost.
        Crashed = "crashed",
        /// Ended by somebody's wish.
        Cancelled = "cancelled",
    }

    /// How far one attempt at a step is.
    StepStatus {
        /// Not begun.
        Pending = "pending",
        /// Under way.
        Running = "running",
        /// Done.
        Completed = "completed",
        /// Ended with an error.
        Failed = "failed",
        /// Passed over.
        Skipped = "skipped",
        /// Waiting for a person's word.
        WaitingApproval = "waiting_approval",
    }

    /// How a chat session stands.
    ChatStatus {
        /// It goes on.
        Active = "active",
        /// It came to its end.
        Completed = "completed",
        /// The program died in the middle of it.
        Crashed = "crashed",
    }

    /// Whom a bot talks with in a chat session.
    SessionType {
        /// A person.
        User = "user",
        /// Another bot.
        Bot = "bot",
    }

    /// Who speaks in a chat message.
    ChatRole {
        /// The program, setting the scene.
        System = "system",
        /// The one the bot talks with.
        User = "user",
        /// The bot.
        Assistant = "assistant",
        /// A tool that the bot called.
        Tool = "tool",
    }

    /// Whom a message between bots is for.
    RecipientType {
        /// One bot.
        Direct = "direct",
        /// Whoever listens to a channel.
        Channel = "channel",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_written_and_read_the_same_by_text_and_by_serde() {
        for word in BotStatus::WORDS {
            let status: BotStatus = word.parse().unwrap();
            assert_eq!(status.to_string(), *word);
            assert_eq!(serde_json::to_value(status).unwrap(), *word);
        }
    }

    #[test]
    fn an_unknown_word_says_what_would_have_been_right() {
        let error = "Active".parse::<BotStatus>().unwrap_err();
        assert_eq!(error.to_string(), "`Active` is not one of active, disabled, archived");
    }
}
