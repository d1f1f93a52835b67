//! Connections that move from runtime to runtime, settings, cancelling.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use super::*;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn start() -> Option<Cluster> {
    Cluster::start()
}

#[test]
fn a_connection_outlives_the_runtime_that_opened_it() {
    let Some(cluster) = start() else { return };
    let hosts = ["127.0.0.1".to_owned(), text(cluster.home.path())];
    for host in hosts {
        let first = runtime();
        let postgres = first.block_on(opened(to(&host, cluster.port))).unwrap();
        let mut connection = first.block_on(postgres.connect()).unwrap();
        let backend = "SELECT pg_backend_pid()";
        let pid = first.block_on(ask(&mut connection, backend)).unwrap();
        assert_eq!(
            first.metrics().num_alive_tasks(),
            0,
            "nothing is left running on the caller's runtime"
        );

        // Paused, not ended: nobody polls it any more.
        let second = runtime();
        assert_eq!(second.block_on(ask(&mut connection, backend)).unwrap(), pid);
        // Back again, and while the other is paused.
        assert_eq!(first.block_on(ask(&mut connection, backend)).unwrap(), pid);
        drop(first);
        assert_eq!(second.block_on(ask(&mut connection, backend)).unwrap(), pid);
        drop(second);
        let threads = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let task = threads.spawn(async move {
            let answer = ask(&mut connection, backend).await;
            (connection, answer)
        });
        let (mut connection, answer) = threads.block_on(task).unwrap();
        assert_eq!(answer.unwrap(), pid);
        // Sent in one runtime, answered in the next.
        let mut work = Box::pin(connection.client.simple_query("SELECT pg_sleep(0.2)"));
        let mut driver = Box::pin(&mut connection.driver);
        threads.block_on(poll_fn(|cx| {
            assert!(work.as_mut().poll(cx).is_pending());
            assert!(driver.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        }));
        let last = runtime();
        let answer = last.block_on(async {
            tokio::select! { answer = &mut work => answer, ended = &mut driver => panic!("{ended:?}") }
        });
        assert!(answer.is_ok());
        drop((work, driver));
        last.block_on(connection.close());
        drop(threads);
    }
}

#[tokio::test]
async fn sessions_are_set_up_and_statements_cancelled() {
    let Some(cluster) = start() else { return };
    let options = BTreeMap::from([("search_path", "a\\b, \"c d\", e"), ("work_mem", "5MB")]);
    let postgres = opened(to("127.0.0.1", cluster.port).set("postgres.options", options))
        .await
        .unwrap();
    let mut connection = postgres.connect().await.unwrap();
    let pool = Database::Postgres(postgres.clone()).sea_orm().await.unwrap();
    for (name, value) in [
        ("TimeZone", "UTC"),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("application_name", "undercroft"),
        ("lock_timeout", "5s"),
        ("statement_timeout", "30s"),
        ("search_path", "a\\b, \"c d\", e"),
        ("default_transaction_isolation", "read committed"),
        ("synchronous_commit", "on"),
        ("random_page_cost", "1.1"),
        ("cpu_tuple_cost", "0.1"),
        ("work_mem", "5MB"),
    ] {
        assert_eq!(
            ask(&mut connection, &format!("SHOW {name}")).await.unwrap(),
            value,
            "{name}"
        );
        assert_eq!(ask_pool(&pool, &format!("SHOW {name}")).await.unwrap(), value, "{name}");
    }
    pool.close().await.unwrap();

    let token = connection.client.cancel_token();
    let started = Instant::now();
    let (slept, asked) = tokio::join!(ask(&mut connection, "SELECT pg_sleep(20)"), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        postgres.cancel(&token).await
    });
    asked.unwrap();
    assert_eq!(slept.unwrap_err().code().unwrap().code(), "57014");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(ask(&mut connection, "SELECT 1").await.unwrap(), "1");
    // With nothing to cancel, and over the other kind of socket.
    postgres.cancel(&token).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert_eq!(ask(&mut connection, "SELECT 1").await.unwrap(), "1");
    connection.close().await;
    let local = opened(to(&text(cluster.home.path()), cluster.port)).await.unwrap();
    let connection = local.connect().await.unwrap();
    local.cancel(&connection.client.cancel_token()).await.unwrap();
    connection.close().await;
}

#[tokio::test]
async fn a_server_that_cannot_be_used_says_why() {
    use crate::ConnectErrorKind as Kind;

    let Some(mut cluster) = start() else { return };
    let postgres = opened(to("127.0.0.1", cluster.port)).await.unwrap();
    let mut connection = postgres.connect().await.unwrap();
    ask(
        &mut connection,
        "CREATE DATABASE latin ENCODING LATIN1 TEMPLATE template0",
    )
    .await
    .unwrap();
    let kind = async |loader: Loader| opened(loader).await.err().unwrap().kind;
    let port = cluster.port;
    let to_this = || to("127.0.0.1", port);
    assert_eq!(kind(to_this().set("dbname", "latin")).await, Kind::UnsupportedEncoding);
    assert_eq!(kind(to_this().set("dbname", "none")).await, Kind::NoSuchDatabase);
    assert_eq!(kind(to_this().set("password", "wrong")).await, Kind::Authentication);
    cluster.restart(&["default_transaction_read_only=on"]);
    assert_eq!(kind(to("127.0.0.1", cluster.port)).await, Kind::ReadOnly);
    let error = ask(&mut connection, "SELECT 1").await.unwrap_err();
    assert!(
        error.is_closed() || std::error::Error::source(&error).is_some(),
        "{error}"
    );
}

#[test]
fn what_is_special_on_a_servers_command_line_is_escaped() {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let session = [pair("a", "b c\td\\e"), pair("empty", ""), pair("f", "\n\u{b}")];
    assert_eq!(
        super::super::startup_options(&session),
        "-c a=b\\ c\\\td\\\\e -c empty= -c f=\\\n\\\u{b}"
    );
}

#[tokio::test]
async fn the_next_host_takes_the_place_of_one_that_is_not_there() {
    let Some(cluster) = start() else { return };
    let nobody = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (gone, silent) = (nobody().local_addr().unwrap(), nobody());
    let silent = silent.local_addr().map(|address| (silent, address)).unwrap();
    let url = format!(
        "postgres://app:{PASSWORD}@{gone},{},127.0.0.1:{}/postgres",
        silent.1, cluster.port
    );
    let loader = || {
        DatabaseConfig::loader()
            .no_file()
            .no_environment()
            .set("connect_retry", 0)
    };
    let postgres = opened(loader().set("url", &url).set("connect_timeout", "3s"))
        .await
        .unwrap();
    let mut connection = postgres.connect().await.unwrap();
    assert_eq!(ask(&mut connection, "SELECT 1").await.unwrap(), "1");
    connection.close().await;
    // sqlx knows one host: the one that answered.
    let pool = Database::Postgres(postgres).sea_orm().await.unwrap();
    assert_eq!(ask_pool(&pool, "SELECT 'x'::text").await.unwrap(), "x");
    pool.close().await.unwrap();

    let url = format!("postgres://app:wrong@127.0.0.1:{},{gone}/postgres", cluster.port);
    let error = opened(loader().set("url", &url)).await.err().unwrap();
    assert_eq!(
        error.kind,
        crate::ConnectErrorKind::Authentication,
        "who lets nobody in is there: {error}"
    );
    let url = format!("postgres://app:wrong@{gone},{gone}/postgres");
    let error = opened(loader().set("url", &url)).await.err().unwrap();
    assert_eq!(error.kind, crate::ConnectErrorKind::Unreachable, "{error}");
}
