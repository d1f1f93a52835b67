//! The server that tests run on, and the few statements that the kit sends to it.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::OnceCell;
use url::Url;

use super::connection::Connection;
use super::keeper;

const URL: &str = "STORE_TEST_POSTGRES_URL";
/// A server that answers at all answers within this.
const PATIENCE: Duration = Duration::from_millis(2500);
const OLDEST: i32 = 14;

/// A running server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    /// Names a database that is there from the start, and a user who may create others.
    url: Url,
    major: i32,
    version: String,
    /// For a throwaway server: the file that names the databases which hold it.
    kept: Option<PathBuf>,
}

static SHARED: OnceCell<Result<Server, String>> = OnceCell::const_new();

/// The version of the server that this process has used, if it has.
pub(crate) fn version() -> Option<&'static str> {
    SHARED.get()?.as_ref().ok().map(|server| server.version.as_str())
}

/// The server of this process: found or started when the first test asks for it.
pub(crate) async fn shared() -> Result<&'static Server, String> {
    let mut is_first = false;
    let found = SHARED
        .get_or_init(|| {
            is_first = true;
            obtain()
        })
        .await;
    match found {
        Ok(server) => Ok(server),
        Err(message) if is_first => Err(message.clone()),
        Err(_) => Err("there is no Postgres: the first test to fail on it says what was tried".to_owned()),
    }
}

async fn obtain() -> Result<Server, String> {
    match std::env::var(URL) {
        Ok(url) => given(&url).await,
        Err(std::env::VarError::NotPresent) => keeper::join().await,
        Err(error) => Err(format!("{URL}: {error}")),
    }
}

/// The server that the user named: it is this one or none.
async fn given(text: &str) -> Result<Server, String> {
    let advice = format!("correct {URL}, or unset it to let the tests start a server of their own");
    let url = Url::parse(text).map_err(|error| format!("{URL} is not a URL: {error}\n{advice}"))?;
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(format!("{URL} does not begin with postgres://\n{advice}"));
    }
    let shown = redacted(&url);
    Server::reach(url, None)
        .await
        .map_err(|error| format!("{URL}={shown} does not answer: {error}\n{advice}"))
}

fn redacted(url: &Url) -> Url {
    let mut shown = url.clone();
    if shown.password().is_some() {
        let _ = shown.set_password(Some("***"));
    }
    let query: Vec<_> = url.query_pairs().filter(|(key, _)| key != "password").collect();
    shown.set_query(None);
    if !query.is_empty() {
        shown.query_pairs_mut().extend_pairs(query);
    }
    shown
}

impl Server {
    /// Connects once, and so learns that the server is there and which it is.
    pub(crate) async fn reach(url: Url, kept: Option<PathBuf>) -> Result<Self, String> {
        let mut server = Self {
            url,
            major: 0,
            version: String::new(),
            kept,
        };
        let asking = async {
            let connection = server.connect().await?;
            let number = connection.texts("SHOW server_version_num").await?.concat();
            let version = connection.texts("SHOW server_version").await?.concat();
            connection.close().await?;
            Ok::<_, String>((number, version))
        };
        let (number, version) = match tokio::time::timeout(PATIENCE, asking).await {
            Ok(answer) => answer?,
            Err(_) => return Err(format!("no answer within {} s", PATIENCE.as_secs_f64())),
        };
        server.major = number
            .parse::<i32>()
            .map_err(|error| format!("version {number}: {error}"))?
            / 10_000;
        server.version = version;
        if server.major < OLDEST {
            return Err(format!(
                "it is Postgres {}; {OLDEST} is the oldest that is supported",
                server.major
            ));
        }
        Ok(server)
    }

    /// The URL of a database on this server, for a client.
    pub(crate) fn url(&self, database: &str) -> String {
        let mut url = self.url.clone();
        url.set_path(database);
        url.into()
    }

    pub(super) async fn connect(&self) -> Result<Connection, String> {
        Connection::open(&self.url).await
    }

    /// Runs statements that take no parameters: names of databases cannot be any.
    ///
    /// Every name is made by this kit of letters, digits and underscores; quoting is for those read from the server.
    pub(crate) async fn execute(&self, statement: String) -> Result<(), String> {
        let running = async {
            let connection = self.connect().await?;
            connection.texts(&statement).await?;
            connection.close().await
        };
        running.await.map_err(|error: String| format!("{statement}: {error}"))
    }

    /// The databases whose names begin so: a prefix of the kit's own.
    pub(crate) async fn databases(&self, prefix: &str) -> Result<Vec<String>, String> {
        let running = async {
            let connection = self.connect().await?;
            let names = connection
                .texts(&format!(
                    "SELECT datname FROM pg_database WHERE starts_with(datname, '{prefix}') ORDER BY 1"
                ))
                .await?;
            connection.close().await?;
            Ok(names)
        };
        running
            .await
            .map_err(|error: String| format!("the databases could not be listed: {error}"))
    }

    /// Copies a database to which nobody is connected.
    pub(crate) async fn copy_database(&self, source: &str, name: &str) -> Result<(), String> {
        // A template has few pages and many files: copying the files is faster than logging the pages.
        let strategy = if self.major >= 15 { " STRATEGY FILE_COPY" } else { "" };
        self.execute(format!(
            "CREATE DATABASE {} TEMPLATE {}{strategy}",
            quoted(name),
            quoted(source)
        ))
        .await
    }

    pub(crate) async fn drop_database(&self, name: &str) -> Result<(), String> {
        self.execute(format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(name)))
            .await
    }

    /// Holds a throwaway server for a failed test's database, and says how to look at it.
    pub(crate) fn keep(&self, database: &str) -> String {
        let Some(kept) = &self.kept else {
            let mut url = redacted(&self.url);
            url.set_path(database);
            return format!("{url} (for a day)");
        };
        let noted = std::fs::File::options()
            .create(true)
            .append(true)
            .open(kept)
            .and_then(|mut file| writeln!(file, "{database}"));
        match (noted, keeper::keep_for()) {
            (Ok(()), Ok(time)) if !time.is_zero() => {
                let seconds = time.as_secs();
                format!(
                    "{} (for {seconds} s; look at it with psql; remove {} to end the server)",
                    self.url(database),
                    kept.display()
                )
            }
            _ => format!("{} (until the tests end)", self.url(database)),
        }
    }
}

pub(crate) fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        let url = Url::parse("postgres://me:secret@host/db?sslmode=prefer&password=secret").unwrap();
        assert_eq!(redacted(&url).as_str(), "postgres://me:***@host/db?sslmode=prefer");
    }
}
