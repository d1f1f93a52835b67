//! Every sslmode against servers with right and wrong certificates.

use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use super::*;
use crate::ConnectErrorKind as Kind;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key, in PEM.
fn certificate(authority: &Authority, name: &str, hosts: &[&str]) -> (String, String) {
    let hosts: Vec<_> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// A server whose certificate is for `localhost`, and the authority that made it.
fn start() -> Option<(Cluster, Authority)> {
    let mut cluster = Cluster::start()?;
    let authority = authority("right");
    let (server, key) = certificate(&authority, "server", &["localhost"]);
    cluster.give("data/server.crt", &server);
    cluster.give("data/server.key", &key);
    cluster.give("data/root.crt", &authority.pem());
    cluster.restart(ENCRYPTED);
    Some((cluster, authority))
}

const ENCRYPTED: &[&str] = &["ssl=on", "ssl_ca_file=root.crt"];

const IS_ENCRYPTED: &str = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/// Whether a connection comes about, encrypted, or what is said; the pool for migrations comes about in the same way.
async fn encrypted(loader: Loader) -> Result<bool, ConnectError> {
    let postgres = opened(loader).await?;
    let answer = ask(&mut postgres.connect().await?, IS_ENCRYPTED).await.unwrap();
    let pool = Database::Postgres(postgres).sea_orm().await?;
    assert_eq!(ask_pool(&pool, IS_ENCRYPTED).await.unwrap(), answer);
    pool.close().await.unwrap();
    Ok(answer == "true")
}

async fn refused(loader: Loader) -> Kind {
    let error = encrypted(loader).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error}");
    println!("{:?}: {error}", error.kind);
    error.kind
}

#[tokio::test]
async fn every_mode_checks_what_it_says() {
    let Some((cluster, right)) = start() else { return };
    let right = text(&cluster.give("right.pem", &right.pem()));
    let wrong = text(&cluster.give("wrong.pem", &authority("wrong").pem()));
    let mode = |host: &str, mode: &str| to(host, cluster.port).set("postgres.sslmode", mode);
    let rooted = |host: &str, name: &str, root: &str| mode(host, name).set("postgres.ssl_root_cert", root);

    assert!(!encrypted(mode("127.0.0.1", "disable")).await.unwrap());
    for name in ["prefer", "require"] {
        assert!(encrypted(mode("127.0.0.1", name)).await.unwrap(), "{name}");
        assert!(encrypted(mode("localhost", name)).await.unwrap(), "{name}");
        // An authority is no reason to check in these modes.
        assert!(encrypted(rooted("127.0.0.1", name, &wrong)).await.unwrap(), "{name}");
    }
    for name in ["verify-ca", "verify-full"] {
        assert_eq!(
            refused(mode("localhost", name)).await,
            Kind::Tls,
            "{name}: unknown authority"
        );
        assert_eq!(refused(rooted("localhost", name, &wrong)).await, Kind::Tls, "{name}");
        assert!(encrypted(rooted("localhost", name, &right)).await.unwrap(), "{name}");
    }
    assert!(encrypted(rooted("127.0.0.1", "verify-ca", &right)).await.unwrap());
    assert_eq!(refused(rooted("127.0.0.1", "verify-full", &right)).await, Kind::Tls);
    let garbage = text(&cluster.give(
        "garbage.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ));
    assert_eq!(refused(rooted("localhost", "verify-ca", &garbage)).await, Kind::Tls);

    // Over the socket in a directory the server does not encrypt.
    let home = text(cluster.home.path());
    assert!(!encrypted(mode(&home, "prefer")).await.unwrap());
    assert_eq!(refused(mode(&home, "require")).await, Kind::Tls);
}

#[tokio::test]
async fn passwords_are_bound_to_the_certificate_and_statements_cancelled() {
    let Some((cluster, _)) = start() else { return };
    for mode in ["prefer", "require"] {
        let postgres = opened(to("127.0.0.1", cluster.port).set("postgres.sslmode", mode))
            .await
            .unwrap();
        let socket = super::super::Socket::connect("127.0.0.1", cluster.port).await.unwrap();
        let encrypt = super::super::Encrypt::as_asked(&postgres.0.server.ssl, "127.0.0.1").unwrap();
        let mut config = postgres.driver_config(crate::SslMode::Require);
        config.channel_binding(tokio_postgres::config::ChannelBinding::Require);
        let (client, driver) = config.connect_raw(socket, encrypt).await.unwrap();
        let mut connection = Connection { client, driver };

        let token = connection.client.cancel_token();
        let (slept, asked) = tokio::join!(ask(&mut connection, "SELECT pg_sleep(20)"), async {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            postgres.cancel(&token).await
        });
        asked.unwrap();
        assert_eq!(slept.unwrap_err().code().unwrap().code(), "57014");
        connection.close().await;
    }
}

#[test]
fn an_encrypted_connection_moves_between_runtimes_too() {
    let Some((cluster, _)) = start() else { return };
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    let postgres = first
        .block_on(opened(to("127.0.0.1", cluster.port).set("postgres.sslmode", "require")))
        .unwrap();
    let mut connection = first.block_on(postgres.connect()).unwrap();
    let second = runtime();
    let long = "SELECT repeat('x', 1000000)";
    assert_eq!(second.block_on(ask(&mut connection, long)).unwrap().len(), 1_000_000);
    drop(first);
    assert_eq!(second.block_on(ask(&mut connection, long)).unwrap().len(), 1_000_000);
    drop(second);
    assert_eq!(runtime().block_on(ask(&mut connection, IS_ENCRYPTED)).unwrap(), "true");
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let Some((cluster, right)) = start() else { return };
    let superuser = opened(to("127.0.0.1", cluster.port)).await.unwrap();
    let mut connection = superuser.connect().await.unwrap();
    ask(&mut connection, "CREATE ROLE certificate LOGIN").await.unwrap();
    connection.close().await;

    let files = |name: &str, (certificate, key): (String, String)| {
        let certificate = cluster.give(&format!("{name}.crt"), &certificate);
        (text(&certificate), text(&cluster.give(&format!("{name}.key"), &key)))
    };
    let own = files("own", certificate(&right, "certificate", &[]));
    let other_name = files("other", certificate(&right, "somebody", &[]));
    let stranger = files("stranger", certificate(&authority("wrong"), "certificate", &[]));
    let root = text(&cluster.give("root.pem", &right.pem()));
    let with = |mode: &str, (certificate, key): &(String, String)| {
        let loader = to("localhost", cluster.port).set("user", "certificate");
        loader
            .set("postgres.sslmode", mode)
            .set("postgres.ssl_root_cert", &root)
            .set("postgres.ssl_client_cert", certificate)
            .set("postgres.ssl_client_key", key)
    };
    for mode in ["prefer", "require", "verify-ca", "verify-full"] {
        assert!(encrypted(with(mode, &own)).await.unwrap(), "{mode}");
        assert_eq!(refused(with(mode, &other_name)).await, Kind::Authentication, "{mode}");
        let kind = refused(with(mode, &stranger)).await;
        assert_eq!(kind, Kind::Tls, "{mode}");
    }
    let none = to("localhost", cluster.port).set("user", "certificate");
    assert_eq!(
        refused(none.set("postgres.sslmode", "require")).await,
        Kind::Authentication
    );
    let mismatched = (own.0.clone(), stranger.1.clone());
    assert_eq!(refused(with("require", &mismatched)).await, Kind::Tls);
    let garbage = (own.0.clone(), text(&cluster.give("garbage.key", "no key")));
    assert_eq!(refused(with("require", &garbage)).await, Kind::Tls);
}

/// As the Postgres manual's own example makes them: `openssl x509 -req` without extensions.
fn version_1(cluster: &Cluster) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let openssl = |words: &str| {
        let answer = Command::new("openssl")
            .args(words.split(' '))
            .current_dir(dir.path())
            .output();
        answer.is_ok_and(|answer| answer.status.success())
    };
    let made = openssl("req -new -nodes -newkey rsa:2048 -keyout server.key -out server.csr -subj /CN=localhost")
        && openssl("x509 -req -in server.csr -signkey server.key -days 2 -out server.crt");
    let shown = Command::new("openssl")
        .args(["x509", "-noout", "-text", "-in", "server.crt"])
        .current_dir(dir.path())
        .output();
    let is_old = shown.is_ok_and(|shown| String::from_utf8_lossy(&shown.stdout).contains("Version: 1 "));
    if !made || !is_old {
        println!("skipped: no `openssl` that makes certificates of version 1");
        return false;
    }
    for file in ["server.crt", "server.key"] {
        let content = std::fs::read_to_string(dir.path().join(file)).unwrap();
        cluster.give(&format!("data/{file}"), &content);
    }
    true
}

#[tokio::test]
async fn a_certificate_of_version_1_is_enough_where_it_is_not_checked() {
    let Some(mut cluster) = Cluster::start() else { return };
    if !version_1(&cluster) {
        return;
    }
    let root = std::fs::read_to_string(cluster.home.path().join("data/server.crt")).unwrap();
    let root = text(&cluster.give("root.pem", &root));
    for newest in ["TLSv1.2", "TLSv1.3"] {
        cluster.restart(&["ssl=on", &format!("ssl_max_protocol_version={newest}")]);
        let mode = |mode: &str| to("localhost", cluster.port).set("postgres.sslmode", mode);
        for name in ["prefer", "require"] {
            let postgres = opened(mode(name)).await.unwrap();
            let mut connection = postgres.connect().await.unwrap();
            let version = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            assert_eq!(ask(&mut connection, version).await.unwrap(), newest, "{name}");
            connection.close().await;
            // sqlx refuses the certificate, and `prefer` goes on without encryption.
            let pool = Database::Postgres(postgres).sea_orm().await.unwrap();
            match name {
                "prefer" => assert_eq!(ask_pool(&pool, IS_ENCRYPTED).await.unwrap(), "false"),
                _ => assert!(ask_pool(&pool, IS_ENCRYPTED).await.is_err()),
            }
            pool.close().await.unwrap();
        }
        for name in ["verify-ca", "verify-full"] {
            let kind = refused(mode(name).set("postgres.ssl_root_cert", &root)).await;
            assert_eq!(kind, Kind::Tls, "{name}");
        }
    }
}

#[test]
fn prefer_goes_on_without_encryption_and_says_so() {
    let Some((mut cluster, _)) = start() else { return };
    // What this client does not speak.
    let old = [
        "ssl=on",
        "ssl_min_protocol_version=TLSv1",
        "ssl_max_protocol_version=TLSv1.1",
    ];
    cluster.restart(&old);
    let port = cluster.port;
    let mode = move |mode: &str| to("localhost", port).set("postgres.sslmode", mode);
    let log = crate::tests::logged(async move {
        let postgres = opened(mode("prefer")).await.unwrap();
        for _ in 0..2 {
            let mut connection = postgres.connect().await.unwrap();
            assert_eq!(ask(&mut connection, IS_ENCRYPTED).await.unwrap(), "false");
            connection.close().await;
        }
        let pool = Database::Postgres(postgres).sea_orm().await.unwrap();
        assert_eq!(ask_pool(&pool, IS_ENCRYPTED).await.unwrap(), "false");
        pool.close().await.unwrap();
        for name in ["require", "verify-ca", "verify-full"] {
            assert_eq!(refused(mode(name)).await, Kind::Tls, "{name}");
        }
    });
    let said: Vec<_> = log.lines().filter(|line| line.contains("is not encrypted")).collect();
    assert!(
        matches!(&*said, [line] if line.contains("WARN") && line.contains("undercroft")),
        "{said:?}"
    );
    assert!(!log.contains(PASSWORD));
    // It encrypts again as soon as the server can.
    cluster.restart(ENCRYPTED);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mode = to("localhost", cluster.port).set("postgres.sslmode", "prefer");
    assert!(runtime.block_on(encrypted(mode)).unwrap());
}
