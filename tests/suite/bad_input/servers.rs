//! Postgres servers that cannot be reached, or let nobody in.

use std::net::TcpListener;

use store::prelude::*;
use store::testkit::TestDatabase;
use url::Url;

use super::does_not_open;

store::testkit::tests! {
    on_postgres: [
        a_wrong_password_is_refused,
        a_database_that_is_not_there_is_named,
        a_host_where_nobody_answers_is_named,
        a_host_that_does_not_exist_is_named,
    ],
}

/// The test's server with something else about it.
fn server(db: &TestDatabase, change: impl FnOnce(&mut Url)) -> DatabaseConfig {
    let mut url = Url::parse(&db.url()).unwrap();
    change(&mut url);
    DatabaseConfig::postgres(url.as_str()).unwrap()
}

async fn a_wrong_password_is_refused(db: TestDatabase) {
    let url = Url::parse(&db.url()).unwrap();
    if url.password().is_none() {
        println!("skipped: the server that was given to the suite lets its user in without a password");
        return;
    }
    let config = server(&db, |url| url.set_password(Some("hunter2")).unwrap());
    let error = does_not_open(
        config,
        ErrorKind::Config,
        &[url.username(), url.host_str().unwrap(), "password"],
    )
    .await;
    assert!(!error.is_retryable());
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

async fn a_database_that_is_not_there_is_named(db: TestDatabase) {
    let config = server(&db, |url| url.set_path("no_such_database"));
    does_not_open(config, ErrorKind::Config, &["no_such_database", "create it", "dbname"]).await;
}

/// Without patience, which would only make the test longer.
fn impatient(url: &str) -> DatabaseConfig {
    let mut config = DatabaseConfig::postgres(url).unwrap();
    config.connect_retry = 0;
    config
}

async fn a_host_where_nobody_answers_is_named(_db: TestDatabase) {
    // Free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = impatient(&format!("postgres://me:hunter2@127.0.0.1:{port}/db"));
    let error = does_not_open(
        config,
        ErrorKind::Unavailable,
        &[&format!("127.0.0.1:{port}"), "host and port"],
    )
    .await;
    assert!(error.is_retryable());
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

/// RFC 6761 keeps `.invalid` free of hosts.
async fn a_host_that_does_not_exist_is_named(_db: TestDatabase) {
    let config = impatient("postgres://me:hunter2@no-such-host.invalid/db");
    let error = does_not_open(config, ErrorKind::Unavailable, &["no-such-host.invalid", "check host"]).await;
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}
