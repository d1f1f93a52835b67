//! Whether a server can be used at all.

use std::time::Duration;

use tokio_postgres::SimpleQueryMessage;

use super::{ConnectError, Connection, Kind, Postgres, words};

const OLDEST_MAJOR: i32 = 14;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long the check for a pooler waits for its second connection and its answers.
const POOLER_TIMEOUT: Duration = Duration::from_secs(2);

impl Postgres {
    /// Tries again, with growing pauses, only what waiting can mend.
    pub(super) async fn check_with_retry(&self, retries: u32) -> Result<(), ConnectError> {
        let mut pause = FIRST_PAUSE;
        let mut left = retries;
        loop {
            match self.check().await {
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

    async fn check(&self) -> Result<(), ConnectError> {
        let probe = async {
            let mut connection = self.connect_now().await?;
            self.check_server(&mut connection).await?;
            self.check_pooler(&mut connection).await?;
            connection.close().await;
            Ok(())
        };
        self.in_time(probe).await
    }

    /// One round trip: version, encoding, whether it takes writes, whether our session settings arrived.
    async fn check_server(&self, connection: &mut Connection) -> Result<(), ConnectError> {
        // Unprepared: a statement's name may not survive a pooler.
        let sql = "SELECT current_setting('server_version_num'), current_setting('server_encoding'), \
                   current_setting('transaction_read_only'), \
                   (SELECT setting FROM pg_settings WHERE name = 'statement_timeout')";
        let row = one_row(connection, sql).await.map_err(|error| self.other(error))?;
        let [version, encoding, read_only, timeout] = std::array::from_fn(|i| row.get(i).cloned().unwrap_or_default());
        let major = version.parse::<i32>().unwrap_or_default() / 10_000;
        if major < OLDEST_MAJOR {
            let message = format!("the server is Postgres {major}; the store needs {OLDEST_MAJOR} or newer");
            return Err(ConnectError::new(Kind::UnsupportedVersion, &self.0.target, message));
        }
        if encoding != "UTF8" {
            let message = format!("the database's encoding is {encoding}; create it with ENCODING 'UTF8'");
            return Err(ConnectError::new(Kind::UnsupportedEncoding, &self.0.target, message));
        }
        if timeout != self.0.statement_timeout.as_millis().to_string() {
            return Err(pooler(&self.0.target, "session settings do not arrive at the server"));
        }
        if read_only == "on" {
            let message = "the server takes no writes (a standby, perhaps); name the primary, and this one in \
                           `postgres.replicas`";
            return Err(ConnectError::new(Kind::ReadOnly, &self.0.target, message));
        }
        Ok(())
    }

    /// Whether a pooler hands this connection's server to others between transactions.
    ///
    /// A second connection opens a transaction and so takes the server that the pooler used last, if there is a pooler in
    /// transaction mode; the first one then finds itself on another server, or waits for one. With a direct connection, or
    /// a pooler in session mode, both keep their own. A server without room for a second connection is not examined.
    async fn check_pooler(&self, connection: &mut Connection) -> Result<(), ConnectError> {
        let Ok(Ok(mut second)) = tokio::time::timeout(POOLER_TIMEOUT, self.connect_now()).await else {
            return Ok(());
        };
        let switched = async {
            let before = backend(connection).await?;
            // A pooler of one connection in session mode has no server left for the second: nothing to be learnt.
            let begun = second.run(async |client| client.batch_execute("BEGIN").await);
            let Ok(begun) = tokio::time::timeout(POOLER_TIMEOUT, begun).await else {
                return Ok(false);
            };
            begun?;
            let after = tokio::time::timeout(POOLER_TIMEOUT, backend(connection)).await;
            // Waiting means that the second connection's transaction holds the first one's server.
            after.map_or(Ok(true), |after| Ok(before != after?))
        };
        let switched: Result<bool, tokio_postgres::Error> = switched.await;
        second.close().await;
        match switched {
            Ok(false) => Ok(()),
            Ok(true) => Err(pooler(
                &self.0.target,
                "runs one connection's statements in several sessions",
            )),
            Err(error) => Err(self.other(error)),
        }
    }

    fn other(&self, error: tokio_postgres::Error) -> ConnectError {
        ConnectError::new(Kind::Other, &self.0.target, words(&error)).with(error)
    }
}

async fn backend(connection: &mut Connection) -> Result<Vec<String>, tokio_postgres::Error> {
    one_row(connection, "SELECT pg_backend_pid()").await
}

/// The first row's columns; NULL is empty.
async fn one_row(connection: &mut Connection, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let answers = connection.run(async |client| client.simple_query(sql).await).await?;
    let row = answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let columns = row.map(|row| (0..row.len()).map(|i| row.get(i).unwrap_or_default().to_owned()));
    Ok(columns.map(Iterator::collect).unwrap_or_default())
}

fn pooler(target: &str, what: &str) -> ConnectError {
    let message = format!(
        "a connection pooler is in between that {what}; connect to the server itself, or to a pooler in session mode that \
         passes startup parameters on"
    );
    ConnectError::new(Kind::Pooler, target, message)
}
