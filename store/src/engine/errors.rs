//! Why a statement failed: what is common to both databases. The codes are in `sqlite/errors.rs` and `postgres/errors.rs`.

use std::borrow::Cow;
use std::fmt;

use crate::{Error, ErrorKind};

/// The cause of an error as the database or its driver reported it: a code where there is one, and the message. It stands
/// in for the driver's own error, whose details can hold stored values (Postgres's "Failing row contains …").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The database's code: a SQLSTATE of Postgres, an extended result code of SQLite.
    pub code: Option<String>,
    /// The message.
    pub message: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} (code {code})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Cause {}

/// An error of the database, as its own folder has classified it. It can be copied: one failed COMMIT is the error of every
/// writer of its group.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) kind: ErrorKind,
    pub(super) message: Cow<'static, str>,
    pub(super) constraint: Option<String>,
    pub(super) cause: Option<Cause>,
    /// The connection is lost, and whether the statement had its effect is not known.
    pub(super) lost: bool,
    /// The database has ended the whole transaction with it.
    #[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "on Postgres every error does"))]
    pub(super) ended: bool,
}

impl Fault {
    pub(super) fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            constraint: None,
            cause: None,
            lost: false,
            ended: false,
        }
    }

    pub(super) fn caused_by(self, cause: Cause) -> Self {
        Self {
            cause: Some(cause),
            ..self
        }
    }

    pub(super) fn breaking(self, constraint: Option<&str>) -> Self {
        Self {
            constraint: constraint.map(str::to_owned),
            ..self
        }
    }

    /// A write or a commit that was sent and lost its connection may have been carried out.
    pub(super) fn of_a_change(self) -> Self {
        if !self.lost {
            return self;
        }
        Self {
            cause: self.cause,
            lost: true,
            ..commit_unknown("the database was lost")
        }
    }

    /// It was undone together with the other writes of its group, for another one's fault.
    pub(super) fn undone() -> Self {
        let message = "it was undone together with the other writes of its group";
        Self::new(ErrorKind::Contention, message)
    }

    pub(super) fn closed() -> Self {
        Self::new(ErrorKind::Unavailable, "the store is closed")
    }

    /// The transaction has ended, by the database's doing or by its owner's.
    pub(super) fn over() -> Self {
        Self::new(ErrorKind::TransactionAborted, "this transaction has ended")
    }

    /// Whether what a statement did broke a rule of the schema.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(dead_code, reason = "on Postgres each commits by itself")
    )]
    pub(super) fn is_a_broken_rule(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::ForeignKey | ErrorKind::Check | ErrorKind::Conflict
        )
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let mut error = Self::new(fault.kind, fault.message);
        if let Some(constraint) = fault.constraint {
            error = error.breaking(constraint);
        }
        match fault.cause {
            Some(cause) => error.caused_by(cause),
            None => error,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let mut fault = Self::new(error.kind(), error.message().to_owned()).breaking(error.constraint());
        let source = std::error::Error::source(&error);
        fault.cause = source.map(|source| match source.downcast_ref::<Cause>() {
            Some(cause) => cause.clone(),
            None => Cause {
                code: None,
                message: source.to_string(),
            },
        });
        fault
    }
}

pub(super) fn commit_unknown(what: &str) -> Fault {
    let advice = "before the database confirmed the change; it may be stored or not: look before you try again";
    Fault::new(ErrorKind::CommitUnknown, format!("{what} {advice}"))
}

pub(super) fn timed_out(what: &str, limit: std::time::Duration) -> Fault {
    let message = format!("{what} took longer than the operation timeout of {limit:?}");
    Fault::new(ErrorKind::Timeout, message)
}
