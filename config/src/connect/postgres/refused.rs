//! Why a server could not be connected to, in our words.

use std::error::Error;
use std::io;

use super::tls::Handshake;
use super::{ConnectError, Kind};
use crate::settings::Server;

/// What connecting failed of.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error(transparent)]
    Socket(#[from] io::Error),
    #[error("{0}")]
    Certificate(String),
    #[error(transparent)]
    Driver(#[from] tokio_postgres::Error),
}

impl Refused {
    /// Whether the two could not agree on how to encrypt.
    pub(super) fn is_handshake(&self) -> bool {
        matches!(self, Self::Driver(error) if caused_by::<Handshake>(error).is_some())
    }

    /// What is at the bottom of it.
    pub(super) fn cause(&self) -> String {
        match self {
            Self::Driver(error) => words(error),
            other => other.to_string(),
        }
    }

    /// Names it for a user.
    pub(super) fn explain(self, server: &Server) -> ConnectError {
        let target = server.to_string();
        match self {
            Self::Socket(error) => {
                let (kind, message) = unreachable_because(&error);
                ConnectError::new(kind, target, message).with(error)
            }
            Self::Certificate(cause) => {
                let message = format!("certificate or key cannot be used: {cause}");
                ConnectError::new(Kind::Tls, target, message)
            }
            Self::Driver(error) => {
                let (kind, message) = driver_refused(server, &error);
                ConnectError::new(kind, target, message).with(error)
            }
        }
    }
}

/// The driver says only what failed; what it failed of is further down.
pub(super) fn words(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(said), _) => said.message().to_owned(),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}

fn caused_by<E: Error + 'static>(error: &tokio_postgres::Error) -> Option<&E> {
    error.source()?.downcast_ref()
}

fn driver_refused(server: &Server, error: &tokio_postgres::Error) -> (Kind, String) {
    if let Some(said) = error.as_db_error() {
        return refused_by_server(server, Some(said.code().code()), said.message());
    }
    if let Some(io) = caused_by::<io::Error>(error) {
        return unreachable_because(io);
    }
    if error.is_closed() {
        return unreachable_because(&io::ErrorKind::UnexpectedEof.into());
    }
    // The driver does not tell these kinds apart otherwise.
    let kind = error.to_string();
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    match kind.as_str() {
        "error performing TLS handshake" => (
            Kind::Tls,
            format!("encryption failed: {cause}; check `postgres.sslmode` and the certificates"),
        ),
        "authentication error" => (
            Kind::Authentication,
            format!("no way to log in that both know: {cause}; check the server's pg_hba.conf"),
        ),
        "unexpected message from server" | "error parsing response from server" => (
            Kind::Other,
            format!("it does not answer like a Postgres server: {}", words(error)),
        ),
        _ => (Kind::Other, words(error)),
    }
}

fn unreachable_because(error: &io::Error) -> (Kind, String) {
    match error.kind() {
        io::ErrorKind::TimedOut => (
            Kind::Timeout,
            format!("no answer ({error}); check host, port and firewall"),
        ),
        io::ErrorKind::PermissionDenied => (Kind::PermissionDenied, format!("the system does not allow it: {error}")),
        // rustls reports a rejected certificate as invalid data of the stream.
        io::ErrorKind::InvalidData => (
            Kind::Tls,
            format!("encryption failed: {error}; check `postgres.sslmode` and the certificates"),
        ),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => (
            Kind::Unreachable,
            format!("nobody answers there ({error}); is the server running, are host and port right?"),
        ),
        _ => (
            Kind::Unreachable,
            format!("the server cannot be reached ({error}); check host, port and network"),
        ),
    }
}

fn refused_by_server(server: &Server, code: Option<&str>, said: &str) -> (Kind, String) {
    let kind = match code {
        Some("28P01" | "28000") => Kind::Authentication,
        Some("3D000") => Kind::NoSuchDatabase,
        Some("57P03" | "57P01" | "57P02") => Kind::Unreachable,
        Some("53300") => Kind::TooManyConnections,
        Some("42501") => Kind::PermissionDenied,
        // PgBouncer's answer to settings that it does not pass on.
        Some("08P01") if said.contains("startup parameter") => Kind::Pooler,
        _ => Kind::Other,
    };
    let advice = match kind {
        Kind::Authentication if server.password.is_none() => {
            "; no password is configured: set `password` or `password_file`"
        }
        Kind::Authentication => "; check `user`, the password and the server's pg_hba.conf",
        Kind::NoSuchDatabase => "; create it, or correct `dbname`",
        Kind::Unreachable => "; try again in a moment",
        Kind::TooManyConnections => "; lower `pool.max_connections` or raise the server's max_connections",
        Kind::Pooler => {
            "; connect to the server itself or to a pooler in session mode that passes startup parameters on"
        }
        _ => "",
    };
    (kind, format!("the server says: {said}{advice}"))
}
