//! Opening Postgres, against servers of our own making; the suite of the `tests` crate uses real ones.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use super::ConnectErrorKind as Kind;
use super::postgres::refuse_environment;
use crate::settings::Target;
use crate::{ConnectError, DatabaseConfig, Loader};

const SENTINEL: &str = "S3ntinel-hunter2";
const SSL_REQUEST: u32 = 80_877_103;

fn to_port(port: u16) -> Loader {
    let url = format!("postgres://app:{SENTINEL}@127.0.0.1:{port}/undercroft");
    DatabaseConfig::loader()
        .no_file()
        .no_environment()
        .set("url", url)
        .set("connect_retry", 0)
}

async fn refused(loader: Loader) -> ConnectError {
    let error = loader.load().unwrap().open().await.err().unwrap();
    let shown = format!(
        "{error} {error:?} {:?}",
        std::error::Error::source(&error).map(ToString::to_string)
    );
    assert!(!shown.contains(SENTINEL), "{shown}");
    error
}

/// Reads what a client sends first, declining encryption; gives the startup packet's `name\0value\0…` text.
fn startup(stream: &mut TcpStream) -> String {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut body = vec![0; u32::from_be_bytes(length) as usize - 4];
        stream.read_exact(&mut body).unwrap();
        if u32::from_be_bytes(body[..4].try_into().unwrap()) != SSL_REQUEST {
            return String::from_utf8(body[4..].to_vec()).unwrap();
        }
        stream.write_all(b"N").unwrap();
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[kind][..], &length, body].concat()
}

fn fatal(code: &str, text: &str) -> Vec<u8> {
    message(b'E', format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0").as_bytes())
}

/// A server that answers every connection with these bytes; gives its port and how often it was asked.
fn server(answer: Vec<u8>) -> (u16, std::sync::Arc<std::sync::atomic::AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = std::sync::Arc::<std::sync::atomic::AtomicU32>::default();
    let count = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            startup(&mut stream);
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            stream.write_all(&answer).unwrap();
        }
    });
    (port, asked)
}

#[tokio::test]
async fn what_the_server_says_becomes_a_kind() {
    for (code, text, kind, advice) in [
        (
            "28P01",
            "password authentication failed for user \"app\"",
            Kind::Authentication,
            "check `user`, the password",
        ),
        ("28000", "no pg_hba.conf entry", Kind::Authentication, "pg_hba.conf"),
        (
            "3D000",
            "database \"undercroft\" does not exist",
            Kind::NoSuchDatabase,
            "correct `dbname`",
        ),
        (
            "57P03",
            "the database system is starting up",
            Kind::Unreachable,
            "try again",
        ),
        (
            "53300",
            "sorry, too many clients already",
            Kind::TooManyConnections,
            "pool.max_connections",
        ),
        (
            "42501",
            "permission denied for database",
            Kind::PermissionDenied,
            "permission",
        ),
        (
            "08P01",
            "unsupported startup parameter: options",
            Kind::Pooler,
            "session mode",
        ),
        ("XX000", "something else", Kind::Other, "something else"),
    ] {
        let (port, asked) = server(fatal(code, text));
        let error = refused(to_port(port)).await;
        assert_eq!(error.kind, kind, "{error}");
        let shown = error.to_string();
        assert!(
            shown.starts_with(&format!("cannot open Postgres undercroft on 127.0.0.1:{port} as app: ")),
            "{shown}"
        );
        assert!(shown.contains(text) && shown.contains(advice), "{shown}");
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn only_what_waiting_can_mend_is_tried_again() {
    for (code, attempts) in [("57P03", 3), ("28P01", 1), ("3D000", 1)] {
        let (port, asked) = server(fatal(code, "no"));
        refused(to_port(port).set("connect_retry", 2)).await;
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), attempts, "{code}");
    }
}

#[tokio::test]
async fn nobody_there() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = refused(to_port(port)).await;
    assert_eq!(error.kind, Kind::Unreachable, "{error}");
    assert!(error.to_string().contains("is the server running"), "{error}");
    let started = Instant::now();
    refused(to_port(port).set("connect_retry", 2)).await;
    assert!(
        started.elapsed() >= Duration::from_millis(300),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn no_such_host_and_no_such_socket() {
    let load = |host: &str| {
        let loader = DatabaseConfig::loader()
            .no_file()
            .no_environment()
            .set("connect_retry", 0);
        loader.set("host", host).set("user", "u").set("password", SENTINEL)
    };
    for host in ["no-such-host.invalid", "/no/such/directory"] {
        let error = refused(load(host)).await;
        assert_eq!(error.kind, Kind::Unreachable, "{error}");
        assert!(error.to_string().contains(host), "{error}");
    }
}

#[tokio::test]
async fn a_silent_server_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let started = Instant::now();
    let error = refused(to_port(port).set("connect_timeout", "200ms").set("connect_retry", 5)).await;
    assert_eq!(error.kind, Kind::Timeout, "{error}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_server_that_speaks_something_else() {
    let (port, _) = server(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    let error = refused(to_port(port).set("connect_timeout", "500ms")).await;
    assert!(
        matches!(error.kind, Kind::Other | Kind::Timeout | Kind::Unreachable),
        "{error}"
    );
}

#[tokio::test]
async fn encryption_that_is_not_there() {
    let (port, _) = server(vec![]);
    let error = refused(to_port(port).set("postgres.sslmode", "require")).await;
    assert_eq!(error.kind, Kind::Tls, "{error}");
    assert!(error.to_string().contains("postgres.sslmode"), "{error}");
}

/// A server that takes everybody in, and answers each statement with what `answer` gives for it and its connection: a row
/// or, when `None`, nothing at all.
fn talking_server(answer: impl Fn(usize, &str) -> Option<Vec<String>> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            std::thread::spawn(move || {
                let ready = message(b'Z', b"I");
                startup(&mut stream);
                let begun = [message(b'R', &[0; 4]), message(b'K', &[0; 8]), ready.clone()].concat();
                stream.write_all(&begun).unwrap();
                let mut head = [0; 5];
                while stream.read_exact(&mut head).is_ok() && head[0] == b'Q' {
                    let mut sql = vec![0; u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4];
                    stream.read_exact(&mut sql).unwrap();
                    let Some(row) = answer(number, std::str::from_utf8(&sql).unwrap()) else {
                        continue;
                    };
                    let count = u16::try_from(row.len()).unwrap().to_be_bytes();
                    let (mut names, mut values) = (count.to_vec(), count.to_vec());
                    for value in &row {
                        // Its name is empty; table, column, type, length, modifier and format say nothing.
                        names.extend([0; 19]);
                        values.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
                        values.extend(value.as_bytes());
                    }
                    let parts = [
                        message(b'T', &names),
                        message(b'D', &values),
                        message(b'C', b"SELECT 1\0"),
                    ];
                    stream.write_all(&[parts.concat(), ready.clone()].concat()).unwrap();
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn what_a_server_is_decides_whether_it_can_be_used() {
    use std::sync::atomic::{AtomicU32, Ordering};

    let is = |version: &str, encoding: &str, read_only: &str, timeout: &str| {
        [version, encoding, read_only, timeout].map(str::to_owned).to_vec()
    };
    let fine = move || is("140000", "UTF8", "off", "30000");
    let opens = |port| {
        let config = to_port(port).load().unwrap();
        async move { config.open().await }
    };
    // Each connection is a session of its own, and nobody waits for another.
    let own = |number: usize, sql: &str, row: Vec<String>| match sql {
        _ if sql.contains("server_version_num") => Some(row),
        _ => Some(vec![number.to_string()]),
    };
    assert!(
        opens(talking_server(move |number, sql| own(number, sql, fine())))
            .await
            .is_ok()
    );
    for (row, kind, said) in [
        (
            is("130014", "UTF8", "off", "30000"),
            Kind::UnsupportedVersion,
            "Postgres 13",
        ),
        (
            is("150000", "LATIN1", "off", "30000"),
            Kind::UnsupportedEncoding,
            "LATIN1",
        ),
        (is("150000", "UTF8", "on", "30000"), Kind::ReadOnly, "takes no writes"),
        (
            is("150000", "UTF8", "off", "0"),
            Kind::Pooler,
            "session settings do not arrive",
        ),
    ] {
        let port = talking_server(move |number, sql| own(number, sql, row.clone()));
        let error = opens(port).await.err().unwrap();
        assert!(error.kind == kind && error.to_string().contains(said), "{error}");
    }

    // A pooler in transaction mode: another session for each statement, or none while the only one is taken.
    let sessions = AtomicU32::new(0);
    let switching = talking_server(move |number, sql| match sql.contains("pg_backend_pid") {
        true => Some(vec![sessions.fetch_add(1, Ordering::SeqCst).to_string()]),
        false => own(number, sql, fine()),
    });
    let asked = AtomicU32::new(0);
    let waiting = talking_server(move |number, sql| match sql.contains("pg_backend_pid") {
        true => (asked.fetch_add(1, Ordering::SeqCst) == 0).then(|| vec!["1".to_owned()]),
        false => own(number, sql, fine()),
    });
    // One in session mode without room for a second connection teaches nothing.
    let full = talking_server(move |number, sql| match number {
        0 => own(number, sql, fine()),
        _ => None,
    });
    let (switching, waiting, full) = tokio::join!(opens(switching), opens(waiting), opens(full));
    for error in [switching, waiting] {
        let error = error.err().unwrap();
        assert_eq!(error.kind, Kind::Pooler, "{error}");
        assert!(error.to_string().contains("in several sessions"), "{error}");
    }
    assert!(full.is_ok(), "{full:?}");
}

#[test]
fn no_password_in_a_log() {
    let log = crate::tests::logged(async {
        let (port, _) = server(fatal("28P01", "no"));
        refused(to_port(port)).await;
        let (port, _) = server(fatal("57P03", "starting"));
        refused(to_port(port).set("connect_retry", 1)).await;
    });
    assert!(log.contains("trying to connect again"), "{log}");
    assert!(!log.contains(SENTINEL), "{log}");
}

#[test]
fn variables_that_cannot_be_kept_out_are_refused() {
    let server = |sslmode: &str| {
        let url = format!("postgres://u@h/d?sslmode={sslmode}");
        match DatabaseConfig::postgres(&url).unwrap().target {
            Target::Server(server) => server,
            _ => panic!("no server"),
        }
    };
    let with = |name: &'static str| move |asked: &str| (asked == name).then(|| "x".into());
    for name in ["PGOPTIONS", "PGSSLCERT", "PGSSLKEY"] {
        let error = refuse_environment(&server("prefer"), with(name)).unwrap_err();
        assert_eq!(error.kind, Kind::Environment);
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(refuse_environment(&server("disable"), with("PGSSLCERT")).is_ok());
    assert!(refuse_environment(&server("prefer"), with("PGHOST")).is_ok());
    assert!(refuse_environment(&server("prefer"), |_| Some("".into())).is_ok());
}

#[tokio::test]
#[ignore = "a child process of `nothing_comes_from_pg_variables_or_pgpass`"]
async fn child_connects() {
    let config = DatabaseConfig::loader()
        .no_file()
        .set("connect_retry", 0)
        .load()
        .unwrap();
    assert_eq!(config.open().await.err().unwrap().kind, Kind::Authentication);
}

/// Takes one connection, asks for a password in clear text, refuses it; gives the startup packet and the password.
fn listen_once(listener: &TcpListener) -> (String, String) {
    let (mut stream, _) = listener.accept().unwrap();
    let packet = startup(&mut stream);
    stream.write_all(&message(b'R', &3_u32.to_be_bytes())).unwrap();
    let mut head = [0; 5];
    stream.read_exact(&mut head).unwrap();
    let mut password = vec![0; u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4];
    stream.read_exact(&mut password).unwrap();
    stream.write_all(&fatal("28P01", "no")).unwrap();
    (packet, String::from_utf8(password).unwrap())
}

#[test]
fn nothing_comes_from_pg_variables_or_pgpass() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let home = tempfile::tempdir().unwrap();
    let pgpass = home.path().join(".pgpass");
    std::fs::write(&pgpass, "*:*:*:*:from-pgpass\n").unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&pgpass, private).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["connect::postgres_tests::child_connects", "--exact", "--ignored"])
        .env("HOME", home.path())
        .env("PGPASSFILE", &pgpass)
        .env("STORE_HOST", "127.0.0.1")
        .env("STORE_PORT", port.to_string())
        .env("STORE_USER", "app");
    for (name, value) in [
        ("PGHOST", "pg.invalid"),
        ("PGHOSTADDR", "203.0.113.1"),
        ("PGPORT", "1"),
        ("PGUSER", "pg-user"),
        ("PGPASSWORD", "pg-password"),
        ("PGDATABASE", "pg-database"),
        ("PGAPPNAME", "pg-app"),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", "/no/such/pg.pem"),
    ] {
        command.env(name, value);
    }
    let child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let (packet, password) = listen_once(&listener);
    assert_eq!(password, "\0");
    assert!(!packet.contains("pg-"), "{packet:?}");
    for pair in [
        "user\0app\0",
        "database\0app\0",
        "application_name\0undercroft\0",
        "client_encoding\0UTF8\0",
        "options\0-c lock_timeout=5000ms -c statement_timeout=30000ms -c default_transaction_isolation=read\\ committed \
         -c synchronous_commit=on -c random_page_cost=1.1 -c cpu_tuple_cost=0.1 -c DateStyle=ISO,\\ MDY \
         -c TimeZone=UTC\0",
    ] {
        assert!(packet.contains(pair), "{pair:?} in {packet:?}");
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
#[ignore = "by hand: needs a server named by STORE_TEST_POSTGRES_URL"]
async fn a_real_server() {
    use sea_orm::{ConnectionTrait, Statement};

    let url = std::env::var("STORE_TEST_POSTGRES_URL").unwrap();
    let load = |url: &str| {
        DatabaseConfig::loader()
            .no_file()
            .no_environment()
            .set("url", url)
            .set("connect_retry", 0)
    };
    let config = load(&url)
        .set("postgres.replicas", [&url])
        .set("postgres.options.search_path", "x")
        .load();
    assert!(config.is_err(), "one option is not a key of its own");
    let options = std::collections::BTreeMap::from([("search_path", "a, b"), ("work_mem", "5MB")]);
    let config = load(&url)
        .set("postgres.replicas", [&url])
        .set("postgres.options", options)
        .load()
        .unwrap();
    let connections = config.connect().await.unwrap();
    for connection in [&connections.writer, &connections.replicas[0]] {
        for (name, value) in [
            ("TimeZone", "UTC"),
            ("application_name", "undercroft"),
            ("lock_timeout", "5s"),
            ("statement_timeout", "30s"),
            ("search_path", "a, b"),
            ("default_transaction_isolation", "read committed"),
            ("synchronous_commit", "on"),
            ("cpu_tuple_cost", "0.1"),
            ("work_mem", "5MB"),
        ] {
            let statement = Statement::from_string(connection.get_database_backend(), format!("SHOW {name}"));
            let row = connection.query_one_raw(statement).await.unwrap().unwrap();
            assert_eq!(row.try_get_by_index::<String>(0).unwrap(), value, "{name}");
        }
    }
    connections.close().await;
    let password = url::Url::parse(&url).unwrap().password().unwrap().to_owned();
    let log = std::thread::spawn(move || {
        crate::tests::logged(async move {
            let connections = config.connect().await.unwrap();
            let backend = connections.writer.get_database_backend();
            let bound = Statement::from_sql_and_values(backend, "SELECT $1 AS marker", [SENTINEL.into()]);
            connections.writer.query_one_raw(bound).await.unwrap();
        })
    });
    let log = log.join().unwrap();
    assert!(
        log.contains("AS marker") && !log.contains(SENTINEL) && !log.contains(&password),
        "{log}"
    );

    let mut other = url::Url::parse(&url).unwrap();
    other.set_path("no_such_database");
    assert_eq!(refused(load(other.as_str())).await.kind, Kind::NoSuchDatabase);
    let mut other = url::Url::parse(&url).unwrap();
    other.set_password(Some(SENTINEL)).unwrap();
    assert_eq!(refused(load(other.as_str())).await.kind, Kind::Authentication);
}

#[tokio::test]
#[ignore = "by hand: prints what opening STORE_TEST_POSTGRES_URL answers, behind a pooler for example"]
async fn what_a_server_answers() {
    let url = std::env::var("STORE_TEST_POSTGRES_URL").unwrap();
    let loader = DatabaseConfig::loader().no_file().no_environment().set("url", url);
    let started = Instant::now();
    match loader
        .set("postgres.statement_timeout", "0s")
        .load()
        .unwrap()
        .connect()
        .await
    {
        Ok(_) => println!("opened in {:?}", started.elapsed()),
        Err(error) => println!("{:?} in {:?}: {error}", error.kind, started.elapsed()),
    }
}
