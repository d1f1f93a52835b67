//! Opening Postgres: one checked connection first, for clear errors, then the pool.

use std::ffi::OsString;
use std::io;
use std::time::{Duration, Instant};

use log::LevelFilter;
use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{ConnectOptions, Connection, PgConnection, Row};

use super::{ConnectError, ConnectErrorKind as Kind, Connections, Runtimes};
use crate::settings::Server;
use crate::{DatabaseConfig, Driver, SslMode};

const OLDEST_MAJOR: i32 = 14;

/// Prepared statements that a connection keeps: more than the store has.
const STATEMENTS: usize = 500;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long the check for a pooler waits for its second connection and its answers.
const POOLER_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn open(config: &DatabaseConfig, server: &Server) -> Result<Connections, ConnectError> {
    let options = options(config, server)?;
    let replicas: Vec<_> = config
        .replicas
        .iter()
        .map(|replica| self::options(config, replica))
        .collect::<Result<_, _>>()?;
    check_with_retry(config, server, &options).await?;
    let runtimes = Runtimes::default();
    let pool = |least, options| pool(config, least, options, &runtimes);
    let writer = pool(config.pool.min_connections, options);
    let replicas = replicas.into_iter().map(|options| pool(0, options)).collect();
    Ok(Connections {
        driver: Driver::Postgres,
        reader: writer.clone(),
        writer,
        replicas,
        runtimes,
    })
}

/// The pool connects as it is used: whether the server can be used at all is known by then.
fn pool(config: &DatabaseConfig, least: u32, options: PgConnectOptions, runtimes: &Runtimes) -> DatabaseConnection {
    let stale = config.pool.check_after_idle;
    let (opening, lending) = (runtimes.clone(), runtimes.clone());
    let pool = PgPoolOptions::new()
        .max_connections(config.pool.max_connections)
        .min_connections(least)
        .acquire_timeout(config.pool.acquire_timeout)
        .idle_timeout(config.pool.idle_timeout)
        .max_lifetime(config.pool.max_lifetime)
        .after_connect(move |_, _| {
            opening.add_this_one();
            Box::pin(async { Ok(()) })
        })
        // A ping before every use is a round trip per statement; one after a while finds what a firewall cut.
        .test_before_acquire(false)
        .before_acquire(move |connection, meta| {
            let dead = Instant::now()
                .checked_sub(meta.age)
                .is_none_or(|opened| lending.ended_since(opened));
            Box::pin(async move { Ok(!dead && (meta.idle_for < stale || connection.ping().await.is_ok())) })
        })
        .connect_lazy_with(options);
    SqlxPostgresConnector::from_sqlx_postgres_pool(pool)
}

/// Everything the driver would otherwise take from `PG…` variables or `~/.pgpass` is set, or refused where it cannot be.
pub(super) fn options(config: &DatabaseConfig, server: &Server) -> Result<PgConnectOptions, ConnectError> {
    refuse_environment(server, |name| std::env::var_os(name))?;
    let mode = match server.ssl.mode {
        SslMode::Disable => PgSslMode::Disable,
        SslMode::Prefer => PgSslMode::Prefer,
        SslMode::Require => PgSslMode::Require,
        SslMode::VerifyCa => PgSslMode::VerifyCa,
        SslMode::VerifyFull => PgSslMode::VerifyFull,
    };
    let password = server.password.as_ref().map_or("", |password| password.expose_secret());
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(&server.host)
        .port(server.port)
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
    Ok(options
        .statement_cache_capacity(STATEMENTS)
        .options(session(config))
        .options(&config.postgres.options)
        .log_statements(LevelFilter::Debug)
        .log_slow_statements(LevelFilter::Warn, config.slow_statement))
}

/// What the store depends on, whatever the server's, database's or role's defaults say. sqlx sets the time zone to UTC
/// and the client's encoding to UTF-8 itself.
///
/// The two costs make Postgres go by an index where it can, also in a table of a few pages. A serializable transaction
/// that reads such a table from end to end stands in the way of everybody who changes any row of it, and most of them
/// start again; the manual's advice for it is this
/// (<https://www.postgresql.org/docs/current/transaction-iso.html#XACT-SERIALIZABLE>). With these values a table of
/// fifteen rows is read by its index; with Postgres's own, one of two hundred is not.
fn session(config: &DatabaseConfig) -> [(&'static str, String); 6] {
    [
        (
            "lock_timeout",
            format!("{}ms", config.postgres.lock_timeout.as_millis()),
        ),
        (
            "statement_timeout",
            format!("{}ms", config.postgres.statement_timeout.as_millis()),
        ),
        ("default_transaction_isolation", "read committed".to_owned()),
        ("synchronous_commit", "on".to_owned()),
        ("random_page_cost", "1.1".to_owned()),
        ("cpu_tuple_cost", "0.1".to_owned()),
    ]
}

/// sqlx reads these in every constructor and has no way to take them back.
pub(super) fn refuse_environment(server: &Server, get: impl Fn(&str) -> Option<OsString>) -> Result<(), ConnectError> {
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

/// Tries again, with growing pauses, only what waiting can mend.
async fn check_with_retry(
    config: &DatabaseConfig,
    server: &Server,
    options: &PgConnectOptions,
) -> Result<(), ConnectError> {
    let mut pause = FIRST_PAUSE;
    let mut left = config.connect_retry;
    loop {
        match check(config, server, options).await {
            Err(error) if error.kind == Kind::Unreachable && left > 0 => {
                tracing::debug!(%error, left, "trying to connect again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                left -= 1;
            }
            outcome => return outcome,
        }
    }
}

async fn check(config: &DatabaseConfig, server: &Server, options: &PgConnectOptions) -> Result<(), ConnectError> {
    let target = server.to_string();
    let probe = async {
        let mut connection = options.connect().await.map_err(|error| refused(server, error))?;
        check_server(config, &target, &mut connection).await?;
        check_pooler(&target, &mut connection, options).await?;
        // The server notices the closed socket by itself; its answer is of no interest.
        connection.close().await.ok();
        Ok(())
    };
    match tokio::time::timeout(config.connect_timeout, probe).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let message = "no answer within `connect_timeout`; check host, port and firewall";
            Err(ConnectError::new(Kind::Timeout, target, message))
        }
    }
}

/// One round trip: version, encoding, whether it takes writes, whether our session settings arrived.
async fn check_server(
    config: &DatabaseConfig,
    target: &str,
    connection: &mut PgConnection,
) -> Result<(), ConnectError> {
    let sql = "SELECT current_setting('server_version_num')::int4, current_setting('server_encoding'), \
               current_setting('transaction_read_only'), \
               (SELECT setting FROM pg_settings WHERE name = 'statement_timeout')";
    let row = sqlx::query(sql).persistent(false).fetch_one(connection).await;
    let read = |row: sqlx::postgres::PgRow| -> Result<(i32, String, String, String), sqlx::Error> {
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))
    };
    let (version, encoding, read_only, timeout) = row
        .and_then(read)
        .map_err(|error| ConnectError::new(Kind::Other, target, error.to_string()).with(error))?;
    if version / 10_000 < OLDEST_MAJOR {
        let message = format!(
            "the server is Postgres {}; the store needs {OLDEST_MAJOR} or newer",
            version / 10_000
        );
        return Err(ConnectError::new(Kind::UnsupportedVersion, target, message));
    }
    if encoding != "UTF8" {
        let message = format!("the database's encoding is {encoding}; create it with ENCODING 'UTF8'");
        return Err(ConnectError::new(Kind::UnsupportedEncoding, target, message));
    }
    if timeout != config.postgres.statement_timeout.as_millis().to_string() {
        return Err(pooler(target, "session settings do not arrive at the server"));
    }
    if read_only == "on" {
        let message =
            "the server takes no writes (a standby, perhaps); name the primary, and this one in `postgres.replicas`";
        return Err(ConnectError::new(Kind::ReadOnly, target, message));
    }
    Ok(())
}

/// Whether a pooler hands this connection's server to others between transactions.
///
/// A second connection opens a transaction and so takes the server that the pooler used last, if there is a pooler in
/// transaction mode; the first one then finds itself on another server, or waits for one. With a direct connection, or
/// a pooler in session mode, both keep their own. A server without room for a second connection is not examined.
async fn check_pooler(
    target: &str,
    connection: &mut PgConnection,
    options: &PgConnectOptions,
) -> Result<(), ConnectError> {
    let Ok(Ok(mut second)) = tokio::time::timeout(POOLER_TIMEOUT, options.connect()).await else {
        return Ok(());
    };
    let switched = async {
        let before = backend(connection).await?;
        // A pooler of one connection in session mode has no server left for the second: nothing to be learnt.
        let Ok(begun) = tokio::time::timeout(POOLER_TIMEOUT, sqlx::raw_sql("BEGIN").execute(&mut second)).await else {
            return Ok(false);
        };
        begun?;
        let after = tokio::time::timeout(POOLER_TIMEOUT, backend(connection)).await;
        // Waiting means that the second connection's transaction holds the first one's server.
        after.map_or(Ok(true), |after| Ok(before != after?))
    };
    let switched: Result<bool, sqlx::Error> = switched.await;
    second.close().await.ok();
    match switched {
        Ok(false) => Ok(()),
        Ok(true) => Err(pooler(target, "runs one connection's statements in several sessions")),
        Err(error) => Err(ConnectError::new(Kind::Other, target, error.to_string()).with(error)),
    }
}

async fn backend(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    // Unprepared: a statement's name may not survive a pooler.
    let row = sqlx::raw_sql("SELECT pg_backend_pid()::text")
        .fetch_one(connection)
        .await?;
    row.try_get(0)
}

fn pooler(target: &str, what: &str) -> ConnectError {
    let message = format!(
        "a connection pooler is in between that {what}; connect to the server itself, or to a pooler in session mode that \
         passes startup parameters on"
    );
    ConnectError::new(Kind::Pooler, target, message)
}

fn refused(server: &Server, error: sqlx::Error) -> ConnectError {
    let target = server.to_string();
    let (kind, message) = match &error {
        sqlx::Error::Database(database) => {
            let (code, said) = (
                database.code().map(|code| code.into_owned()),
                database.message().to_owned(),
            );
            refused_by_server(server, code.as_deref(), &said)
        }
        sqlx::Error::Io(io) => unreachable_because(io),
        sqlx::Error::Tls(tls) => (
            Kind::Tls,
            format!("encryption failed: {tls}; check `postgres.sslmode` and the certificates"),
        ),
        // The driver's only settings that can be wrong here are the client's certificate and key.
        sqlx::Error::Configuration(cause) => (Kind::Tls, format!("certificate or key cannot be used: {cause}")),
        sqlx::Error::Protocol(cause) => (
            Kind::Other,
            format!("it does not answer like a Postgres server: {cause}"),
        ),
        other => (Kind::Other, other.to_string()),
    };
    ConnectError::new(kind, target, message).with(error)
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
