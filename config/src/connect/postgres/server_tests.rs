//! Connections to real servers, which the tests start where Postgres is installed.

mod cluster;
mod runtimes;
mod tls;

use std::path::Path;

use cluster::{Cluster, PASSWORD};
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tokio_postgres::SimpleQueryMessage;

use super::{Connection, Postgres};
use crate::{ConnectError, Database, DatabaseConfig, Loader};

/// A configuration for a host and port, as the superuser.
fn to(host: &str, port: u16) -> Loader {
    DatabaseConfig::loader()
        .no_file()
        .no_environment()
        .set("connect_retry", 0)
        .set("host", host)
        .set("port", port)
        .set("user", "app")
        .set("dbname", "postgres")
        .set("password", PASSWORD)
}

async fn opened(loader: Loader) -> Result<Postgres, ConnectError> {
    match loader.load().unwrap().open().await? {
        Database::Postgres(postgres) => Ok(postgres),
        #[cfg(feature = "sqlite")]
        Database::Sqlite(_) => panic!("not Postgres"),
    }
}

/// The first column of the first row.
async fn ask(connection: &mut Connection, sql: &str) -> Result<String, tokio_postgres::Error> {
    let answers = connection.run(async |client| client.simple_query(sql).await).await?;
    let row = answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(row.unwrap_or_default().to_owned())
}

async fn ask_pool(connection: &DatabaseConnection, sql: &str) -> Result<String, sea_orm::DbErr> {
    let statement = sea_orm::Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(statement).await?.unwrap();
    row.try_get_by_index::<String>(0)
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
