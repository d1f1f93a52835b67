//! What went wrong, where, and what the caller can do about it.

use std::error::Error as StdError;
use std::fmt;

/// The answer of every call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong: the same kind on both databases for the same cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The row to change is not there.
    NotFound,
    /// It is there already, or it changed since you looked: a unique rule, or an expected value that no longer holds.
    Conflict,
    /// A row that is referred to is not there, or a row that others refer to would go.
    ForeignKey,
    /// A value breaks a rule of the table.
    Check,
    /// An argument breaks a rule of the call; the database was not asked.
    InvalidInput,
    /// The row's state does not allow this step.
    InvalidTransition,
    /// Somebody else holds the lease by now: stop working on this.
    Fenced,
    /// Something else has to happen first.
    NotReady,
    /// The first administrator exists already.
    AlreadyBootstrapped,
    /// An earlier operation of this transaction failed, so nothing of it is kept; roll it back and start again.
    TransactionAborted,
    /// Others were writing the same rows and every retry lost: try again later.
    Contention,
    /// The deadline passed before anything was changed.
    Timeout,
    /// The database cannot be reached.
    Unavailable,
    /// The connection or the deadline was lost while a change was being committed: it may or may not be stored. Look
    /// before you try again.
    CommitUnknown,
    /// What is stored cannot be understood, or the database file is damaged.
    Corrupt,
    /// The database may be read but not written.
    ReadOnly,
    /// The disk, or a size limit, is full.
    StorageFull,
    /// A sealed value could not be opened; [`VaultError`](crate::VaultError) is the source.
    Vault,
    /// The configuration is wrong.
    Config,
    /// The database's schema is not the one this program knows.
    Schema,
    /// The caller's own error, passed through a transaction; it is the source.
    Application,
    /// A fault that no other kind names; its source has the database's code and message.
    Internal,
}

impl ErrorKind {
    /// Whether the same call may succeed when it is simply made again, and making it again is safe.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Contention | Self::Timeout | Self::Unavailable)
    }
}

/// One error for every call: its kind, the entity and operation it happened in, the constraint it broke, its cause.
///
/// No error contains a stored value, a secret or a password: only names, codes and ids.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    entity: Option<&'static str>,
    operation: Option<&'static str>,
    constraint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of this kind; the message says what is wrong and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            entity: None,
            operation: None,
            constraint: None,
            source: None,
        }))
    }

    /// The row with this id is not there.
    pub fn not_found(entity: &'static str, id: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, format!("no {entity} {id}")).of(entity)
    }

    /// The argument `field` breaks a rule.
    pub fn invalid(field: &str, rule: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidInput, format!("{field} {rule}"))
    }

    /// An error of the caller's own, to end a transaction with; get it back with [`Error::into_application`].
    pub fn application(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let error = error.into();
        Self::new(ErrorKind::Application, error.to_string()).caused_by(error)
    }

    /// The caller's own error of type `E`, if this is one.
    pub fn into_application<E: StdError + 'static>(mut self) -> std::result::Result<E, Self> {
        let source = match self.0.source.take() {
            Some(source) if self.kind() == ErrorKind::Application => source,
            other => {
                self.0.source = other;
                return Err(self);
            }
        };
        source
            .downcast::<E>()
            .map(|error| *error)
            .map_err(|other| self.caused_by(other))
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What is wrong and, where something can be done, what: without the kind, the operation and the constraint, which
    /// have methods of their own.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The entity the call was about (`bot`, `secret`, …), if it was about one.
    pub fn entity(&self) -> Option<&'static str> {
        self.0.entity
    }

    /// The operation that failed (`create`, `list`, …), if it was one of a repository.
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// The name of the constraint that was broken: the same on both databases.
    pub fn constraint(&self) -> Option<&str> {
        self.0.constraint.as_deref()
    }

    /// Whether the same call may succeed when it is simply made again, and making it again is safe.
    pub fn is_retryable(&self) -> bool {
        self.0.kind.is_retryable()
    }

    pub(crate) fn of(mut self, entity: &'static str) -> Self {
        self.0.entity.get_or_insert(entity);
        self
    }

    pub(crate) fn during(mut self, entity: &'static str, operation: &'static str) -> Self {
        self.0.entity.get_or_insert(entity);
        self.0.operation.get_or_insert(operation);
        self
    }

    /// The same error with the name of the constraint that was broken.
    pub fn breaking(mut self, constraint: impl Into<String>) -> Self {
        self.0.constraint = Some(constraint.into());
        self
    }

    /// Says where in an argument it went wrong: the place in a list.
    pub(crate) fn within(mut self, place: impl fmt::Display) -> Self {
        self.0.message = format!("{place}: {}", self.0.message);
        self
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    /// `bot.create: Conflict: a bot with this slug exists already (constraint uq_bots_slug)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind,
            message,
            entity,
            operation,
            constraint,
            ..
        } = &*self.0;
        match (entity, operation) {
            (Some(entity), Some(operation)) => write!(f, "{entity}.{operation}: ")?,
            (Some(name), None) | (None, Some(name)) => write!(f, "{name}: ")?,
            (None, None) => {}
        }
        write!(f, "{kind:?}: {message}")?;
        match constraint {
            Some(constraint) => write!(f, " (constraint {constraint})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind,
            message,
            entity,
            operation,
            constraint,
            source,
        } = &*self.0;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("message", message)
            .field("entity", entity)
            .field("operation", operation)
            .field("constraint", constraint)
            .field("source", source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl From<config::ConfigError> for Error {
    fn from(error: config::ConfigError) -> Self {
        Self::new(ErrorKind::Config, error.to_string()).caused_by(error)
    }
}

impl From<config::ConnectError> for Error {
    fn from(error: config::ConnectError) -> Self {
        use config::ConnectErrorKind as Cause;
        let kind = match error.kind {
            Cause::Unreachable | Cause::TooManyConnections => ErrorKind::Unavailable,
            Cause::Timeout => ErrorKind::Timeout,
            Cause::Busy => ErrorKind::Contention,
            Cause::NotADatabase | Cause::Corrupt => ErrorKind::Corrupt,
            Cause::ReadOnly => ErrorKind::ReadOnly,
            Cause::DiskFull => ErrorKind::StorageFull,
            Cause::Other => ErrorKind::Internal,
            _ => ErrorKind::Config,
        };
        Self::new(kind, error.to_string()).caused_by(error)
    }
}

impl From<migration::MigrationError> for Error {
    fn from(error: migration::MigrationError) -> Self {
        use migration::MigrationError as Cause;
        let kind = match error {
            // What the store's own reader gave: an error like any other.
            Cause::Reading { doing, source } => {
                return match source.downcast::<Self>() {
                    Ok(own) => own.within(doing),
                    Err(other) => Self::new(ErrorKind::Unavailable, format!("{doing} failed")).caused_by(other),
                };
            }
            Cause::LockTimeout { .. } => ErrorKind::Contention,
            Cause::Database { .. } | Cause::Interrupted(_) => ErrorKind::Unavailable,
            _ => ErrorKind::Schema,
        };
        let told = Self::new(kind, error.to_string());
        match error.database_message() {
            Some((code, message)) => told.caused_by(crate::engine::Cause { code, message }),
            None => told.caused_by(error),
        }
    }
}
