//! A connection of the kit's own to a server, for the few statements with which it looks after its databases.

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};
use url::Url;

/// An open connection. It ends when it is dropped; [`close`](Self::close) waits for that.
pub(super) struct Connection {
    client: Client,
    driver: JoinHandle<Result<(), tokio_postgres::Error>>,
}

/// The one place that connects.
async fn connect(url: &Url) -> Result<Connection, String> {
    let config: Config = understood(url).as_str().parse().map_err(told)?;
    let (client, connection) = config.connect(NoTls).await.map_err(told)?;
    let driver = tokio::spawn(connection);
    Ok(Connection { client, driver })
}

/// The URL without what the driver's parser does not know. A server that is to be reached encrypted is refused when it
/// comes to it, and never reached in the clear.
fn understood(url: &Url) -> Url {
    let known = url.query_pairs().filter_map(|(key, value)| match key.as_ref() {
        "sslmode" if value.starts_with("verify-") => Some((key, "require".into())),
        "sslrootcert" | "sslcert" | "sslkey" => None,
        _ => Some((key, value)),
    });
    let known: Vec<_> = known.collect();
    let mut understood = url.clone();
    understood.set_query(None);
    if !known.is_empty() {
        understood.query_pairs_mut().extend_pairs(known);
    }
    understood
}

/// What went wrong, with its cause: the driver's errors name only the kind of it.
fn told(error: tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    match (error.as_db_error(), cause) {
        (Some(refused), _) => refused.to_string(),
        (None, Some(cause)) if !error.to_string().contains(&cause) => format!("{error}: {cause}"),
        (None, _) => error.to_string(),
    }
}

impl Connection {
    pub(super) async fn open(url: &Url) -> Result<Self, String> {
        connect(url).await
    }

    /// Runs statements that take no parameters, and gives the first column of their rows.
    pub(super) async fn texts(&self, statements: &str) -> Result<Vec<String>, String> {
        let answers = self.client.simple_query(statements).await.map_err(told)?;
        let texts = answers.iter().filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.try_get(0).transpose(),
            _ => None,
        });
        texts.map(|text| text.map(str::to_owned).map_err(told)).collect()
    }

    pub(super) async fn close(self) -> Result<(), String> {
        drop(self.client);
        match self.driver.await {
            Ok(ended) => ended.map_err(told),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_understands_every_url_that_the_store_does() {
        for (given, understood_as) in [
            ("postgres://u:p@h:5433/d", "postgres://u:p@h:5433/d"),
            ("postgres://u@h/d?sslmode=disable", "postgres://u@h/d?sslmode=disable"),
            (
                "postgresql://u@h/d?sslmode=verify-full&sslrootcert=%2Fca.pem&application_name=me",
                "postgresql://u@h/d?sslmode=require&application_name=me",
            ),
            ("postgres://h/d?sslcert=a&sslkey=b", "postgres://h/d"),
            (
                "postgres:///d?host=%2Frun%2Fpostgresql&user=u",
                "postgres:///d?host=%2Frun%2Fpostgresql&user=u",
            ),
        ] {
            let understood = understood(&Url::parse(given).unwrap());
            assert_eq!(understood.as_str(), understood_as);
            understood.as_str().parse::<Config>().unwrap();
        }
    }
}
