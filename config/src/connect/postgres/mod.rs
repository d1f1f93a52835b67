//! Opening Postgres: connections of tokio-postgres over sockets that any runtime can use.

mod check;
mod pool;
mod refused;
mod socket;
mod tls;

#[cfg(test)]
mod server_tests;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use tokio_postgres::{CancelToken, Client};

use super::{ConnectError, ConnectErrorKind as Kind, Connections};
use crate::settings::Server;
use crate::{DatabaseConfig, Driver as Which, PoolConfig, SslMode};

pub use socket::Socket;
pub use tls::TlsStream;

#[cfg(test)]
pub(super) use pool::refuse_environment;
use refused::{Refused, words};
use tls::Encrypt;

/// How long closing a connection waits for the server's side of it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A Postgres server that was found usable: how connections to it are opened. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Postgres(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    target: String,
    server: Server,
    session: Vec<(String, String)>,
    statement_timeout: Duration,
    connect_timeout: Duration,
    slow_statement: Duration,
    pool: PoolConfig,
    replicas: Vec<Postgres>,
    /// Which of the hosts answered last.
    host: AtomicUsize,
    /// Whether the last connection is not encrypted because the handshake failed.
    unencrypted: AtomicBool,
}

/// An open connection.
///
/// Nothing is sent or received unless somebody polls `driver`, in whichever runtime, while waiting for an answer.
#[allow(missing_debug_implementations, reason = "the driver has none")]
pub struct Connection {
    /// Takes statements and gives their answers.
    pub client: Client,
    /// Moves bytes. As a future it ends when the client is dropped or the connection breaks.
    pub driver: Driver,
}

/// What moves a connection's bytes.
pub type Driver = tokio_postgres::Connection<Socket, TlsStream>;

/// Opens the configured server and checks that it can be used.
pub(super) async fn open(config: &DatabaseConfig, server: &Server) -> Result<Postgres, ConnectError> {
    for server in std::iter::once(server).chain(&config.replicas) {
        pool::refuse_environment(server, |name| std::env::var_os(name))?;
    }
    let replicas = config
        .replicas
        .iter()
        .map(|replica| Postgres::new(config, replica, vec![]));
    let postgres = Postgres::new(config, server, replicas.collect());
    postgres.check_with_retry(config.connect_retry).await?;
    Ok(postgres)
}

/// SeaORM's pools over sqlx, for migrations and tools. They connect as they are used: whether the server can be used at
/// all is known by then.
pub(super) async fn connect(config: &DatabaseConfig, server: &Server) -> Result<Connections, ConnectError> {
    let opened = open(config, server).await?;
    let writer = opened.pool(config, config.pool.min_connections).await;
    // Unchecked, and so not asked how they encrypt.
    let replicas = opened
        .replicas()
        .iter()
        .map(|replica| replica.lazy_pool(config, 0, replica.pool_options()));
    Ok(Connections {
        driver: Which::Postgres,
        reader: writer.clone(),
        writer,
        replicas: replicas.collect(),
    })
}

impl Postgres {
    fn new(config: &DatabaseConfig, server: &Server, replicas: Vec<Self>) -> Self {
        Self(Arc::new(Opened {
            target: server.to_string(),
            server: server.clone(),
            session: session(config),
            statement_timeout: config.postgres.statement_timeout,
            connect_timeout: config.connect_timeout,
            slow_statement: config.slow_statement,
            pool: config.pool.clone(),
            replicas,
            host: AtomicUsize::new(0),
            unencrypted: AtomicBool::new(false),
        }))
    }

    /// Opens a connection within `connect_timeout`. Nothing is left running on the caller's runtime.
    ///
    /// Where there are several hosts, the one that answered last is tried first, then the others in their order.
    /// Certificates are read again each time. Where `sslmode` is `prefer` and the two cannot agree on how to encrypt, the
    /// connection is not encrypted, which is logged at WARN.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], whose `kind` says what is in the way.
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        self.in_time(self.connect_now()).await
    }

    /// Asks the server to cancel what the connection of this token runs, over a connection of its own that is encrypted
    /// as that one was asked to be, within `connect_timeout`. Returns when the server has passed it on: what is sent
    /// after that is not cancelled. Whether there was anything to cancel is not known. Of several hosts the one that
    /// answered last is asked.
    ///
    /// # Errors
    ///
    /// [`ConnectError`] when the server could not be asked.
    pub async fn cancel(&self, token: &CancelToken) -> Result<(), ConnectError> {
        let asked = async {
            let (host, port) = self.last_host();
            let socket = Socket::connect(host, port).await?;
            let encrypt = Encrypt::as_asked(&self.0.server.ssl, host).map_err(Refused::Certificate)?;
            let same = socket.again()?;
            token.cancel_query_raw(socket, encrypt).await?;
            // The server closes it when it has passed the wish on: before that, it could meet the next statement.
            same.ended().await;
            Ok(())
        };
        let asked = async { asked.await.map_err(|error: Refused| error.explain(&self.0.server)) };
        self.in_time(asked).await
    }

    /// The servers for reads that allow staleness. They have not been checked.
    pub fn replicas(&self) -> &[Self] {
        &self.0.replicas
    }

    /// The server in words for a person, as [`describe`](DatabaseConfig::describe) gives it.
    pub fn describe(&self) -> &str {
        &self.0.target
    }

    fn last_host(&self) -> (&str, u16) {
        let hosts = &self.0.server.hosts;
        let last = hosts.get(self.0.host.load(Ordering::Relaxed));
        last.map_or(("", 0), |(host, port)| (host, *port))
    }

    fn is_unencrypted(&self) -> bool {
        self.0.unencrypted.load(Ordering::Relaxed)
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, ConnectError>>) -> Result<T, ConnectError> {
        match tokio::time::timeout(self.0.connect_timeout, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.timeout()),
        }
    }

    fn timeout(&self) -> ConnectError {
        let message = "no answer within `connect_timeout`; check host, port and firewall";
        ConnectError::new(Kind::Timeout, &self.0.target, message)
    }

    /// Tries the hosts in their order, beginning with the one that answered last, so that a silent one before it does
    /// not hold up every connection. One that lets nobody in, or not this user, ends the search: it is there.
    async fn connect_now(&self) -> Result<Connection, ConnectError> {
        let hosts = &self.0.server.hosts;
        let begun = Instant::now();
        let mut last = self.timeout();
        let first = self.0.host.load(Ordering::Relaxed);
        let in_order = hosts.iter().enumerate().cycle().skip(first).take(hosts.len());
        for (tried, (index, (host, port))) in in_order.enumerate() {
            // A silent host leaves the ones after it their share of the time.
            let share = u32::try_from(hosts.len() - tried).unwrap_or(u32::MAX);
            let share = self.0.connect_timeout.saturating_sub(begun.elapsed()) / share;
            let error = match tokio::time::timeout(share, self.connect_to(host, *port)).await {
                Ok(Ok(connection)) => {
                    self.0.host.store(index, Ordering::Relaxed);
                    return Ok(connection);
                }
                Ok(Err(error)) => error.explain(&self.0.server),
                Err(_) => self.timeout(),
            };
            if !matches!(error.kind, Kind::Unreachable | Kind::Timeout) {
                return Err(error);
            }
            last = error;
        }
        Err(last)
    }

    async fn connect_to(&self, host: &str, port: u16) -> Result<Connection, Refused> {
        let server = &self.0.server;
        let mode = server.ssl.mode;
        let socket = Socket::connect(host, port).await?;
        let encrypt = Encrypt::as_asked(&server.ssl, host).map_err(Refused::Certificate)?;
        let (fallen_back, connection) = match self.start(socket, encrypt, mode).await {
            Err(error) if mode == SslMode::Prefer && error.is_handshake() => {
                let socket = Socket::connect(host, port).await?;
                let connection = self.start(socket, Encrypt::never(), SslMode::Disable).await?;
                if !self.is_unencrypted() {
                    tracing::warn!(
                        target: "undercroft",
                        database = self.0.target,
                        error = %error.cause(),
                        "the connection is not encrypted: the TLS handshake failed and `postgres.sslmode` is prefer"
                    );
                }
                (true, connection)
            }
            outcome => (false, outcome?),
        };
        self.0.unencrypted.store(fallen_back, Ordering::Relaxed);
        Ok(connection)
    }

    async fn start(&self, socket: Socket, encrypt: Encrypt, mode: SslMode) -> Result<Connection, Refused> {
        let (client, driver) = self.driver_config(mode).connect_raw(socket, encrypt).await?;
        Ok(Connection { client, driver })
    }

    fn driver_config(&self, mode: SslMode) -> tokio_postgres::Config {
        use tokio_postgres::config::SslMode as Mode;

        let server = &self.0.server;
        let mut config = tokio_postgres::Config::new();
        config
            .user(&server.user)
            // Empty where there is none: a server that asks for it says what it thinks of that.
            .password(server.password.as_ref().map_or("", |password| password.expose_secret()))
            .dbname(&server.dbname)
            .application_name(&server.application_name)
            .options(startup_options(&self.0.session))
            .ssl_mode(match mode {
                SslMode::Disable => Mode::Disable,
                SslMode::Prefer => Mode::Prefer,
                SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => Mode::Require,
            });
        config
    }
}

impl Connection {
    /// Waits for an answer of the client, moving bytes meanwhile.
    async fn run<T>(
        &mut self,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, tokio_postgres::Error> {
        let Self { client, driver } = self;
        let mut work = pin!(work(client));
        let mut driver = Some(Pin::new(driver));
        std::future::poll_fn(|cx| {
            // First, so that the statement is on its way when the driver is asked.
            if let Poll::Ready(outcome) = work.as_mut().poll(cx) {
                return Poll::Ready(outcome);
            }
            match driver.as_mut().map(|driver| driver.as_mut().poll(cx)) {
                Some(Poll::Ready(Err(error))) => return Poll::Ready(Err(error)),
                Some(Poll::Ready(Ok(()))) => driver = None,
                _ => return Poll::Pending,
            }
            // The connection has ended, which the client knows by now.
            work.as_mut().poll(cx)
        })
        .await
    }

    /// Says goodbye. The server notices the closed socket by itself too; its answer is of no interest.
    async fn close(self) {
        let Self { client, driver } = self;
        drop(client);
        tokio::time::timeout(CLOSE_TIMEOUT, driver).await.ok();
    }
}

/// What the store depends on, whatever the server's, database's or role's defaults say.
///
/// The two costs make Postgres go by an index where it can, also in a table of a few pages. A serializable transaction
/// that reads such a table from end to end stands in the way of everybody who changes any row of it, and most of them
/// start again; the manual's advice for it is this
/// (<https://www.postgresql.org/docs/current/transaction-iso.html#XACT-SERIALIZABLE>). With these values a table of
/// fifteen rows is read by its index; with Postgres's own, one of two hundred is not.
///
/// How times are shown comes last: what the configuration sets beside ours does not change it.
fn session(config: &DatabaseConfig) -> Vec<(String, String)> {
    let millis = |duration: Duration| format!("{}ms", duration.as_millis());
    let ours = [
        ("lock_timeout", millis(config.postgres.lock_timeout)),
        ("statement_timeout", millis(config.postgres.statement_timeout)),
        ("default_transaction_isolation", "read committed".to_owned()),
        ("synchronous_commit", "on".to_owned()),
        ("random_page_cost", "1.1".to_owned()),
        ("cpu_tuple_cost", "0.1".to_owned()),
    ];
    let options: &BTreeMap<String, String> = &config.postgres.options;
    let last = [("DateStyle", "ISO, MDY".to_owned()), ("TimeZone", "UTC".to_owned())];
    let named = |(name, value): (&str, String)| (name.to_owned(), value);
    ours.into_iter()
        .map(named)
        .chain(options.clone())
        .chain(last.into_iter().map(named))
        .collect()
}

/// The settings as a server's command line has them, where white space separates and a backslash takes the next
/// character as it is.
fn startup_options(session: &[(String, String)]) -> String {
    let mut options = String::new();
    for (name, value) in session {
        let space = if options.is_empty() { "" } else { " " };
        // Writing to a text does not fail.
        let _ = write!(options, "{space}-c {name}=");
        for c in value.chars() {
            if c.is_ascii_whitespace() || c == '\\' || c == '\u{b}' {
                options.push('\\');
            }
            options.push(c);
        }
    }
    options
}
