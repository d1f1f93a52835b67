//! SeaORM's pools over sqlx, for migrations and tools.

use std::ffi::OsString;

use log::LevelFilter;
use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use secrecy::ExposeSecret;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};

use super::{ConnectError, Kind, Postgres};
use crate::settings::Server;
use crate::{DatabaseConfig, SslMode};

/// Prepared statements that a connection keeps: more than the store has.
const STATEMENTS: usize = 500;

impl Postgres {
    /// A pool of one connection for SeaORM's migrations, which connects at its first use.
    pub(in crate::connect) async fn sea_orm(&self) -> DatabaseConnection {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.0.pool.acquire_timeout)
            .connect_lazy_with(self.settled_options().await);
        SqlxPostgresConnector::from_sqlx_postgres_pool(pool)
    }

    /// A pool as the configuration wants it, which connects as it is used.
    pub(super) async fn pool(&self, config: &DatabaseConfig, least: u32) -> DatabaseConnection {
        self.lazy_pool(config, least, self.settled_options().await)
    }

    pub(super) fn lazy_pool(
        &self,
        config: &DatabaseConfig,
        least: u32,
        options: PgConnectOptions,
    ) -> DatabaseConnection {
        let stale = config.pool.check_after_idle;
        let pool = PgPoolOptions::new()
            .max_connections(config.pool.max_connections)
            .min_connections(least)
            .acquire_timeout(config.pool.acquire_timeout)
            .idle_timeout(config.pool.idle_timeout)
            .max_lifetime(config.pool.max_lifetime)
            // A ping before every use is a round trip per statement; one after a while finds what a firewall cut.
            .test_before_acquire(false)
            .before_acquire(move |connection, meta| {
                Box::pin(async move { Ok(meta.idle_for < stale || sqlx::Connection::ping(connection).await.is_ok()) })
            })
            .connect_lazy_with(options);
        SqlxPostgresConnector::from_sqlx_postgres_pool(pool)
    }

    /// Whether `prefer` means encrypted for sqlx. It never goes on without by itself, and it refuses certificates that
    /// this crate's own connections take (X.509 version 1), so it is tried.
    async fn settled_options(&self) -> PgConnectOptions {
        let options = self.pool_options();
        if self.0.server.ssl.mode != SslMode::Prefer || self.is_unencrypted() {
            return options;
        }
        match tokio::time::timeout(self.0.connect_timeout, options.connect()).await {
            Ok(Ok(connection)) => {
                sqlx::Connection::close(connection).await.ok();
                options
            }
            Ok(Err(error)) if is_handshake(&error) => {
                tracing::warn!(
                    target: "undercroft",
                    database = self.0.target,
                    %error,
                    "the connection for migrations is not encrypted: the TLS handshake failed and `postgres.sslmode` is \
                     prefer"
                );
                options.ssl_mode(PgSslMode::Disable)
            }
            // The first use says what is in the way.
            _ => options,
        }
    }

    /// Everything sqlx would otherwise take from `PG…` variables or `~/.pgpass` is set; [`refuse_environment`] has
    /// refused what cannot be.
    pub(super) fn pool_options(&self) -> PgConnectOptions {
        let server = &self.0.server;
        let mode = match server.ssl.mode {
            SslMode::Disable => PgSslMode::Disable,
            // sqlx does not go on without encryption where the handshake fails.
            SslMode::Prefer if self.is_unencrypted() => PgSslMode::Disable,
            SslMode::Prefer => PgSslMode::Prefer,
            SslMode::Require => PgSslMode::Require,
            SslMode::VerifyCa => PgSslMode::VerifyCa,
            SslMode::VerifyFull => PgSslMode::VerifyFull,
        };
        let (host, port) = self.last_host();
        let password = server.password.as_ref().map_or("", |password| password.expose_secret());
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(host)
            .port(port)
            .username(&server.user)
            .password(password)
            .database(&server.dbname)
            .application_name(&server.application_name)
            .ssl_mode(mode);
        options = match &server.ssl.root_cert {
            Some(path) => options.ssl_root_cert(path),
            // Adds nothing to the built-in authorities, and takes the place of PGSSLROOTCERT.
            None => options.ssl_root_cert_from_pem(vec![]),
        };
        if let (Some(cert), Some(key)) = (&server.ssl.client_cert, &server.ssl.client_key) {
            options = options.ssl_client_cert(cert).ssl_client_key(key);
        }
        options
            .statement_cache_capacity(STATEMENTS)
            .options(self.0.session.iter().map(|(name, value)| (name, value)))
            .log_statements(LevelFilter::Debug)
            .log_slow_statements(LevelFilter::Warn, self.0.slow_statement)
    }
}

fn is_handshake(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) => true,
        // rustls reports a rejected certificate as invalid data of the stream.
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// sqlx reads these in every constructor and has no way to take them back.
pub(in crate::connect) fn refuse_environment(
    server: &Server,
    get: impl Fn(&str) -> Option<OsString>,
) -> Result<(), ConnectError> {
    let tls_off = server.ssl.mode == SslMode::Disable;
    let own_cert = server.ssl.client_cert.is_some();
    let names = [
        ("PGOPTIONS", "[postgres] options", true),
        ("PGSSLCERT", "postgres.ssl_client_cert", !tls_off && !own_cert),
        ("PGSSLKEY", "postgres.ssl_client_key", !tls_off && !own_cert),
    ];
    match names
        .into_iter()
        .find(|(name, _, matters)| *matters && get(name).is_some_and(|value| !value.is_empty()))
    {
        None => Ok(()),
        Some((name, key, _)) => {
            let message = format!(
                "the environment variable {name} would change this connection behind the configuration's back, and the \
                 driver cannot be told to leave it out; unset it, and use `{key}` if you mean it"
            );
            Err(ConnectError::new(Kind::Environment, server.to_string(), message))
        }
    }
}
