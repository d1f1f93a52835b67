//! Where the database is: paths, URLs, and layers that replace each other's place.

use super::{bare, env, value_of, with_file, wrong};
use crate::{DatabaseConfig, Driver};

#[test]
fn a_higher_place_replaces_a_lower_one_as_a_whole() {
    let (_dir, loader) = with_file("driver = 'sqlite'\npath = 'a.db'\n");
    let config = loader
        .clone()
        .environment([("STORE_URL", "postgres://u@h/d")])
        .load()
        .unwrap();
    assert_eq!(config.describe(), "Postgres d on h:5432 as u");
    assert_eq!(value_of(&config, "path"), None);
    let config = loader
        .clone()
        .environment([("DATABASE_URL", "postgres://u@h/d")])
        .load()
        .unwrap();
    assert_eq!(config.driver, Driver::Postgres);
    let config = loader
        .environment([("STORE_URL", "postgres://u@h/d")])
        .set("path", ":memory:")
        .load()
        .unwrap();
    assert!(config.is_memory());
}

#[test]
fn store_variables_win_over_database_url() {
    let config = env(&[("DATABASE_URL", "postgres://u@h/d"), ("STORE_PATH", ":memory:")]).unwrap();
    assert!(config.is_memory());
    let config = env(&[
        ("DATABASE_URL", "postgres://u@h/d"),
        ("STORE_URL", "postgres://u@h2/d2"),
    ])
    .unwrap();
    assert_eq!(config.describe(), "Postgres d2 on h2:5432 as u");
}

#[test]
fn a_driver_alone_switches() {
    let (_dir, loader) = with_file("path = 'a.db'\n");
    let error = wrong(loader.clone().environment([("STORE_DRIVER", "postgres")]).load());
    assert!(
        error.contains("`driver` (environment variable STORE_DRIVER): postgres needs `url` or `host`"),
        "{error}"
    );
    let (_dir, loader) = with_file("host = 'h'\nuser = 'u'\npassword = 'p'\n");
    let config = loader
        .clone()
        .environment([("STORE_DRIVER", "sqlite"), ("HOME", "/home/x")])
        .load()
        .unwrap();
    assert_eq!(config.driver, Driver::Sqlite);
    let config = loader.environment([("STORE_DRIVER", "postgres")]).load().unwrap();
    assert_eq!(config.describe(), "Postgres u on h:5432 as u");
}

#[test]
fn refinements_add_to_the_place_below() {
    let (_dir, loader) = with_file("host = 'h'\nuser = 'u'\ndbname = 'd'\n");
    let config = loader
        .environment([("STORE_PASSWORD", "p"), ("STORE_PORT", "6000")])
        .load()
        .unwrap();
    assert_eq!(config.describe(), "Postgres d on h:6000 as u");
    let (_dir, loader) = with_file("url = 'postgres://u@h/d'\n");
    let config = loader.environment([("STORE_PASSWORD", "p")]).load().unwrap();
    assert_eq!(value_of(&config, "password").unwrap(), "***");
}

#[test]
fn a_password_never_moves_to_another_host() {
    let (_dir, loader) =
        with_file("host = 'h'\nuser = 'u'\npassword = 'p'\n[postgres]\nreplicas = ['postgres://u@r/d']\n");
    let config = loader
        .clone()
        .environment([("STORE_URL", "postgres://u@other/d")])
        .load()
        .unwrap();
    let crate::settings::Target::Server(server) = &config.target else {
        panic!("no server")
    };
    assert!(server.password.is_none() && config.replicas.is_empty());
    let error = wrong(loader.environment([("STORE_HOST", "other")]).load());
    assert!(
        error.contains("needs `user`") && error.contains("was replaced as a whole by environment variable STORE_HOST"),
        "{error}"
    );
}

#[test]
fn contradictions_name_both_keys_and_layers() {
    let case = |pairs: &[(&str, &str)], expected: &str| {
        let error = wrong(env(pairs));
        assert!(error.contains(expected), "{expected} in {error}");
    };
    let url = ("STORE_URL", "postgres://u:p@h/d");
    case(
        &[("STORE_DRIVER", "sqlite"), url],
        "`driver` (environment variable STORE_DRIVER) and `url` (environment variable STORE_URL): contradict",
    );
    case(
        &[("STORE_DRIVER", "postgres"), ("STORE_PATH", "a.db")],
        "`driver` (environment variable STORE_DRIVER) and `path`",
    );
    case(
        &[url, ("STORE_HOST", "h")],
        "`url` (environment variable STORE_URL) and `host`",
    );
    case(
        &[url, ("STORE_PATH", "a.db")],
        "`path` (environment variable STORE_PATH) and `url`",
    );
    case(
        &[url, ("STORE_PORT", "1")],
        "`port` (environment variable STORE_PORT) and `url`",
    );
    case(&[url, ("STORE_PASSWORD", "q")], "the URL has a password too");
    case(
        &[("STORE_PATH", "a.db"), ("STORE_USER", "u")],
        "`user` (environment variable STORE_USER) and `path`",
    );
    case(&[("STORE_USER", "u")], "needs `host` or `url`");
    case(
        &[("STORE_DRIVER", "sqlite"), ("STORE_USER", "u")],
        "`user` (environment variable STORE_USER) and `driver`",
    );
    let (_dir, loader) = with_file("password = 'p'\n");
    let error = wrong(loader.set("path", "a.db").set("port", 5).load());
    assert!(
        error.contains("`port` (code) and `path` (code)") && !error.contains("password"),
        "{error}"
    );
}

#[test]
fn postgres_needs_a_host_or_a_url() {
    assert!(wrong(env(&[("STORE_DRIVER", "postgres")])).contains("postgres needs `url` or `host`"));
    assert!(wrong(env(&[("STORE_URL", "postgres:///d")])).contains("the URL has no host"));
    assert!(wrong(env(&[("STORE_URL", "postgres://h/d")])).contains("the URL has no user"));
    assert!(wrong(env(&[("STORE_HOST", "h")])).contains("needs `user`"));
    assert!(wrong(env(&[("STORE_HOST", "postgres://u@h"), ("STORE_USER", "u")])).contains("belongs into `url`"));
    let config = env(&[("STORE_URL", "postgres://u@%2Frun%2Fpostgresql/d")]).unwrap();
    assert_eq!(config.describe(), "Postgres d on /run/postgresql:5432 as u");
    let config = env(&[("STORE_URL", "postgres:///d?host=/run/postgresql&user=u&port=5433")]).unwrap();
    assert_eq!(config.describe(), "Postgres d on /run/postgresql:5433 as u");
    let config = env(&[("STORE_URL", "postgres://u@[::1]:1/d")]).unwrap();
    assert_eq!(config.describe(), "Postgres d on [::1]:1 as u");
}

#[test]
fn several_hosts_are_tried_in_their_order() {
    let described = |url: &str| env(&[("STORE_URL", url)]).unwrap().describe();
    let case = |url: &str, hosts: &str| assert_eq!(described(url), format!("Postgres d on {hosts} as u"), "{url}");
    case("postgres://u:a,b@one:1,two:2/d", "one:1,two:2");
    case("postgres://u@one,two:2/d?sslmode=require", "one:5432,two:2");
    case(
        "postgres://u@[::1]:1,[::2],%2Frun%2Fpg/d",
        "[::1]:1,[::2]:5432,/run/pg:5432",
    );
    case("postgres://u@one,two/d?port=7", "one:7,two:7");
    case("postgres:///d?host=one,/run/pg&port=1,2&user=u", "one:1,/run/pg:2");
    let config = env(&[("STORE_HOST", "one, two"), ("STORE_PORT", "7"), ("STORE_USER", "u")]).unwrap();
    assert_eq!(config.describe(), "Postgres u on one:7,two:7 as u");
    let config = env(&[("STORE_URL", "postgres://u:hunter2@one:1,two:2/d?application_name=a,b")]).unwrap();
    let shown = config.explain().to_string();
    assert!(shown.contains("postgres://u:***@one:1,two:2/d?"), "{shown}");
    assert!(!format!("{shown}{config:?}").contains("hunter2"), "{shown}");
    for (url, expected) in [
        ("postgres://u:hunter2@one:x,two/d", "invalid port number"),
        ("postgres://u:hunter2@one,,two/d", "empty host"),
        ("postgres://u:hunter2@one:1,two/d?port=3", "gives `port` twice"),
        ("postgres://u:hunter2@one,two/d?host=three", "gives `host` twice"),
        ("postgres://u:hunter2@one,two/d?port=1,2,3", "2 hosts and 3 ports"),
        ("postgres://u:hun,ter/2hunter2@one/d", "percent-encode"),
    ] {
        let error = wrong(env(&[("STORE_URL", url)]));
        assert!(
            error.contains(expected) && !error.contains("hunter2"),
            "{expected} in {error}"
        );
    }
    let error = wrong(env(&[("STORE_HOST", "one,"), ("STORE_USER", "u")]));
    assert!(error.contains("`host`") && error.contains("empty host"), "{error}");
}

#[test]
fn a_url_with_a_typo() {
    let case = |url: &str, expected: &str| {
        let error = wrong(env(&[("STORE_URL", url)]));
        assert!(
            error.contains(expected) && !error.contains("hunter2"),
            "{expected} in {error}"
        );
    };
    case("postgre://u:hunter2@h/d", "did you mean `postgres`?");
    case("postgres//u:hunter2@h/d", "is not a URL");
    case("hunter2", "is not a URL");
    case("hunter2:x", "is not a URL");
    case("postgres://u:hunter2@h:54x2/d", "invalid port number");
    case("postgres://u:hun/ter2hunter2@h/d", "percent-encode");
    case("postgres://u:1#hunter2@h/d", "bare `#`");
    case("postgres:hunter2", "expected postgres://");
    case("postgres://u:hunter2@h/d?port=x", "not a port number");
    case("postgres://u:hunter2@h/d?user=v", "gives `user` twice");
    case("postgres://u:%ff@h/d", "not UTF-8");
    case("postgres://u:a%00b@h/d", "NUL");
    case("sqlite:", "names no file");
    case("sqlite:a.db?mode=ro", "mode=ro");
    case("sqlite:a.db?cache=shared", "unknown URL parameter `cache`");
}

#[test]
fn sqlite_urls() {
    let path = |url: &str| env(&[("STORE_URL", url)]).unwrap().describe();
    assert_eq!(path("sqlite:a.db"), "SQLite file /nowhere/a.db");
    assert_eq!(path("sqlite://a.db"), "SQLite file /nowhere/a.db");
    assert_eq!(path("sqlite:///abs/a%20b.db?mode=rwc"), "SQLite file /abs/a b.db");
    for url in ["sqlite::memory:", "sqlite://:memory:", "sqlite:x?mode=memory"] {
        assert_eq!(path(url), "SQLite in memory");
    }
}

#[test]
fn sqlite_paths_that_cannot_be() {
    let case = |path: &str, expected: &str| {
        let error = wrong(bare().set("path", path).load());
        assert!(
            error.contains("`path` (code)") && error.contains(expected),
            "{expected} in {error}"
        );
    };
    case("a\0b", "NUL");
    case("a\nb.db", "line break");
    case("a/", "names a directory");
    case("sqlite:a.db", "belongs into `url`");
    case("file:a.db?mode=ro", "belongs into `url`");
    let dir = tempfile::tempdir().unwrap();
    let error = wrong(DatabaseConfig::sqlite(dir.path()));
    assert!(error.contains("is a directory; name a file in it"), "{error}");
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let bytes = std::ffi::OsStr::from_bytes(b"a\xff.db");
        assert!(wrong(DatabaseConfig::sqlite(bytes)).contains("cannot be represented"));
        assert!(wrong(bare().environment([("STORE_PATH", bytes)]).load()).contains("is not UTF-8"));
    }
}

#[test]
fn a_relative_path_starts_at_the_file_that_set_it() {
    let (dir, loader) = with_file("path = 'data/a.db'\n");
    let config = loader.load().unwrap();
    assert_eq!(config.sqlite_path().unwrap(), dir.path().join("data/a.db"));
    let file = dir.path().join("store.toml");
    let config = bare().file(&file).load().unwrap();
    assert_eq!(config.sqlite_path().unwrap(), dir.path().join("data/a.db"));
    let config = env(&[("STORE_PATH", "~/a.db"), ("HOME", "/home/x")]).unwrap();
    assert_eq!(config.describe(), "SQLite file /home/x/a.db");
}
