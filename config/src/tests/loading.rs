//! Layers and values.

use std::time::Duration;

use super::{bare, env, source_of, value_of, with_file, wrong};
use crate::{DatabaseConfig, Driver, SslMode, Synchronous};

#[test]
fn nothing_at_all_is_sqlite_in_the_data_directory() {
    let config = env(&[("XDG_DATA_HOME", "/data"), ("HOME", "/home/x")]).unwrap();
    assert_eq!(config.driver, Driver::Sqlite);
    if cfg!(target_os = "linux") {
        assert_eq!(config.describe(), "SQLite file /data/undercroft/undercroft.db");
        let config = env(&[("HOME", "/home/x")]).unwrap();
        assert_eq!(
            config.describe(),
            "SQLite file /home/x/.local/share/undercroft/undercroft.db"
        );
        // The XDG specification: a relative path is invalid and ignored.
        let config = env(&[("HOME", "/home/x"), ("XDG_DATA_HOME", "data")]).unwrap();
        assert_eq!(
            config.describe(),
            "SQLite file /home/x/.local/share/undercroft/undercroft.db"
        );
    }
    assert_eq!(source_of(&config, "driver"), "default");
    assert_eq!(source_of(&config, "path"), "default");
}

#[test]
fn without_the_environment_the_data_directory_is_below_the_home_directory() {
    let Some(home) = std::env::home_dir().filter(|_| cfg!(target_os = "linux")) else {
        return;
    };
    let config = DatabaseConfig::loader().no_file().no_environment().load().unwrap();
    let file = home.join(".local/share/undercroft/undercroft.db");
    assert_eq!(config.sqlite_path(), Some(file.as_path()));
}

#[test]
fn the_driver_follows_from_what_is_given() {
    let driver = |pairs: &[(&str, &str)]| env(pairs).unwrap().driver;
    assert_eq!(driver(&[("STORE_PATH", "a.db")]), Driver::Sqlite);
    assert_eq!(driver(&[("STORE_HOST", "h"), ("STORE_USER", "u")]), Driver::Postgres);
    assert_eq!(driver(&[("STORE_URL", "sqlite:a.db")]), Driver::Sqlite);
    assert_eq!(driver(&[("STORE_URL", "postgres://u@h/d")]), Driver::Postgres);
    assert_eq!(driver(&[("DATABASE_URL", "postgresql://u@h/d")]), Driver::Postgres);
    let config = env(&[("STORE_HOST", "h"), ("STORE_USER", "u")]).unwrap();
    assert_eq!(source_of(&config, "driver"), "follows from `host`");
}

#[test]
fn both_drivers_are_accepted() {
    assert_eq!(env(&[("STORE_DRIVER", "sqlite")]).unwrap().driver, Driver::Sqlite);
    let config = env(&[("STORE_DRIVER", "postgres"), ("STORE_URL", "postgres://u@h/d")]).unwrap();
    assert_eq!(config.driver, Driver::Postgres);
    assert_eq!("sqlite".parse(), Ok(Driver::Sqlite));
    assert_eq!("postgres".parse(), Ok(Driver::Postgres));
    assert_eq!(Driver::Postgres.to_string(), "postgres");
}

#[test]
fn an_unknown_driver_is_refused() {
    assert!(wrong(env(&[("STORE_DRIVER", "mysql")])).contains("unsupported database driver: mysql"));
    assert!(wrong(env(&[("STORE_URL", "mysql://h/d")])).contains("unsupported database driver: mysql"));
    assert!(wrong(env(&[("STORE_DRIVER", "Postgres")])).contains("unsupported database driver: Postgres"));
    assert_eq!(
        "oracle".parse::<Driver>().unwrap_err().to_string(),
        "unsupported database driver: oracle"
    );
}

#[test]
fn later_layers_win_and_explain_says_which() {
    let (dir, loader) =
        with_file("path = 'a.db'\n[sqlite]\nreaders = 3\nsynchronous = 'normal'\nbusy_timeout = '1s'\n");
    let config = loader
        .environment([("STORE_SQLITE__READERS", "5"), ("STORE_SQLITE__SYNCHRONOUS", "extra")])
        .set("sqlite.synchronous", "full")
        .load()
        .unwrap();
    assert_eq!(config.sqlite.busy_timeout, Duration::from_secs(1));
    assert_eq!(config.sqlite.readers, 5);
    assert_eq!(config.sqlite.synchronous, Synchronous::Full);
    let file = dir.path().join("store.toml").display().to_string();
    assert_eq!(source_of(&config, "sqlite.busy_timeout"), file);
    assert_eq!(
        source_of(&config, "sqlite.readers"),
        "environment variable STORE_SQLITE__READERS"
    );
    assert_eq!(source_of(&config, "sqlite.synchronous"), "code");
    assert_eq!(source_of(&config, "sqlite.cache_size"), "default");
    assert_eq!(value_of(&config, "sqlite.cache_size").unwrap(), "16MiB");
}

#[test]
fn explain_is_an_aligned_table_and_a_list() {
    let config = DatabaseConfig::memory();
    let table = config.explain().to_string();
    let column = table.lines().next().unwrap().find("SOURCE").unwrap();
    assert!(
        table
            .lines()
            .all(|line| line.as_bytes()[column - 1] == b' ' && line.as_bytes()[column] != b' '),
        "{table}"
    );
    let json = serde_json::to_value(config.explain()).unwrap();
    assert_eq!(json[0]["key"], "driver");
    assert_eq!(json[0]["value"], "sqlite");
}

#[test]
fn code_only_constructors_hold() {
    let (config, problems) = bare().set("path", ":memory:").load_anyway();
    assert_eq!(problems, []);
    assert!(config.is_memory());
    let memory = DatabaseConfig::memory();
    assert!(memory.is_memory() && memory.auto_migrate);
    assert_eq!(memory.operation_timeout, Duration::from_secs(30));
    assert_eq!(memory.describe(), "SQLite in memory");
    let file = DatabaseConfig::sqlite("/tmp/x.db").unwrap();
    assert_eq!(file.sqlite_path().unwrap(), std::path::Path::new("/tmp/x.db"));
    let server = DatabaseConfig::postgres("postgres://app@localhost:5433/undercroft").unwrap();
    assert_eq!(server.describe(), "Postgres undercroft on localhost:5433 as app");
    assert!(wrong(DatabaseConfig::postgres("sqlite:x.db")).contains("contradict"));
    assert!(wrong(DatabaseConfig::sqlite("")).contains("set but empty"));
}

#[test]
fn unknown_keys_are_named_with_their_layer_and_the_nearest() {
    let (dir, loader) = with_file("pth = 'a.db'\n[sqlite]\nbusy_timout = '1s'\n[nonsense]\nx = 1\n");
    let error = wrong(loader.set("drivr", "sqlite").load());
    let file = dir.path().join("store.toml").display().to_string();
    assert!(
        error.contains(&format!("`pth` ({file}): unknown key; did you mean `path`?")),
        "{error}"
    );
    assert!(
        error.contains("`sqlite.busy_timout`") && error.contains("did you mean `sqlite.busy_timeout`?"),
        "{error}"
    );
    assert!(
        error.contains("`nonsense`") && error.contains("`drivr` (code)"),
        "{error}"
    );
    assert!(error.contains("4 problems"), "{error}");

    let error = wrong(env(&[
        ("STORE_SQLITE_READERS", "3"),
        ("STORE_PASWORD", "x"),
        ("STORE_Path", "y"),
    ]));
    assert!(error.contains("environment variable STORE_SQLITE_READERS"), "{error}");
    assert!(error.contains("did you mean STORE_SQLITE__READERS?"), "{error}");
    assert!(error.contains("did you mean STORE_PASSWORD?"), "{error}");
    assert!(error.contains("did you mean STORE_PATH?"), "{error}");
}

#[test]
fn a_setting_outside_its_section_is_found() {
    let error = wrong(bare().set("busy_timeout", "1s").load());
    assert!(error.contains("did you mean `sqlite.busy_timeout`?"), "{error}");
    let error = wrong(bare().set("sqlite", 3).load());
    assert!(error.contains("`sqlite`"), "{error}");
}

#[test]
fn reserved_and_foreign_variables_are_left_alone() {
    let vars = [
        ("STORE_TEST_BACKENDS", "sqlite"),
        ("STORAGE", "x"),
        ("STORE", "y"),
        ("STORE_PATH", ":memory:"),
    ];
    assert!(env(&vars).unwrap().is_memory());
}

#[test]
fn malformed_values_are_all_reported_at_once() {
    let (_dir, loader) = with_file(
        "path = 'a.db'\nport = 'x'\nauto_migrate = 'yes'\noperation_timeout = 30\n[sqlite]\nbusy_timeout = '5 parsecs'\n\
         cache_size = '16MB'\nreaders = 0\nsynchronous = 'Full'\n[pool]\nmax_connections = -1\nacquire_timeout = '0s'\n",
    );
    let error = wrong(loader.load());
    for key in [
        "auto_migrate",
        "operation_timeout",
        "sqlite.busy_timeout",
        "sqlite.cache_size",
        "sqlite.readers",
        "sqlite.synchronous",
        "pool.max_connections",
        "pool.acquire_timeout",
        "port",
    ] {
        assert!(error.contains(&format!("`{key}`")), "{key} in {error}");
    }
    assert!(
        error.contains("\"5 parsecs\"") && error.contains("store.toml"),
        "{error}"
    );

    let error = wrong(env(&[
        ("STORE_PATH", "a"),
        ("STORE_AUTO_MIGRATE", "maybe"),
        ("STORE_POOL__MAX_CONNECTIONS", "1e3"),
    ]));
    assert!(error.contains("expected true or false, found \"maybe\""), "{error}");
    assert!(
        error.contains("(environment variable STORE_POOL__MAX_CONNECTIONS)"),
        "{error}"
    );
}

#[test]
fn set_but_empty_is_an_error() {
    let error = wrong(env(&[("STORE_PATH", ""), ("STORE_HOST", "  "), ("DATABASE_URL", "")]));
    assert!(
        error.contains("3 problems") && error.contains("`url` (environment variable DATABASE_URL): is set but empty")
    );
    let (_dir, loader) = with_file("path = ''\n");
    assert!(wrong(loader.load()).contains("is set but empty"));
}

#[test]
fn text_from_the_environment_stays_text() {
    let config = env(&[("STORE_HOST", "127.1"), ("STORE_USER", "true"), ("STORE_DBNAME", "007")]).unwrap();
    assert_eq!(config.describe(), "Postgres 007 on 127.1:5432 as true");
    let config = env(&[("STORE_PATH", "1.50")]).unwrap();
    assert_eq!(config.describe(), "SQLite file /nowhere/1.50");
}

#[test]
fn lists_and_tables_from_the_environment() {
    let config = env(&[
        ("STORE_URL", "postgres://u@h/d"),
        ("STORE_POSTGRES__REPLICAS", "postgres://u:p@r1/d postgres://u@r2/d"),
        ("STORE_POSTGRES__OPTIONS", "search_path=app,public geqo=off"),
        ("STORE_AUTO_MIGRATE", "false"),
        ("STORE_POOL__MAX_CONNECTIONS", "4"),
    ])
    .unwrap();
    assert_eq!(config.replicas.len(), 2);
    assert_eq!(config.postgres.options["search_path"], "app,public");
    assert!(!config.auto_migrate);
    assert_eq!(config.pool.max_connections, 4);
    assert_eq!(
        value_of(&config, "postgres.replicas").unwrap(),
        "postgres://u:***@r1/d postgres://u@r2/d"
    );
    assert!(wrong(env(&[("STORE_POSTGRES__OPTIONS", "geqo")])).contains("expected `name=value` items"));
    let replica = env(&[
        ("STORE_URL", "postgres://u@h/d"),
        ("STORE_POSTGRES__REPLICAS", "sqlite:x"),
    ]);
    assert!(wrong(replica).contains("replica 1: a replica is a Postgres server"));
}

#[test]
fn durations_and_sizes() {
    let load = |value: &str| {
        bare()
            .set("path", "a")
            .set("slow_statement", value)
            .load()
            .map(|c| c.slow_statement)
    };
    assert_eq!(load("250ms").unwrap(), Duration::from_millis(250));
    assert_eq!(load("1h30m").unwrap(), Duration::from_secs(5400));
    assert_eq!(load("2d").unwrap(), Duration::from_secs(172_800));
    for bad in [
        "30",
        "s",
        "1.5s",
        "-1s",
        "1 fortnight",
        "25d",
        "99999999999999999999s",
        "1s ms",
    ] {
        assert!(load(bad).is_err(), "{bad}");
    }
    let size = |value: &str| {
        bare()
            .set("path", "a")
            .set("sqlite.mmap_size", value)
            .load()
            .map(|c| c.sqlite.mmap_size)
    };
    assert_eq!(size("0B").unwrap(), 0);
    assert_eq!(size("1GiB").unwrap(), 1 << 30);
    for bad in ["1", "1GB", "1.5MiB", "-1B", "99999999999GiB"] {
        assert!(size(bad).is_err(), "{bad}");
    }
}

#[test]
fn statement_timeout_follows_the_deadline() {
    let config = bare()
        .set("url", "postgres://u@h/d")
        .set("operation_timeout", "7s")
        .load()
        .unwrap();
    assert_eq!(config.postgres.statement_timeout, Duration::from_secs(7));
    assert_eq!(
        source_of(&config, "postgres.statement_timeout"),
        "follows from `operation_timeout`"
    );
    let config = bare()
        .set("url", "postgres://u@h/d")
        .set("postgres.statement_timeout", "0s")
        .load()
        .unwrap();
    assert!(config.postgres.statement_timeout.is_zero());
}

#[test]
fn settings_that_the_store_depends_on_cannot_be_overridden() {
    let load = |option: &str| {
        wrong(env(&[
            ("STORE_URL", "postgres://u@h/d"),
            ("STORE_POSTGRES__OPTIONS", option),
        ]))
    };
    assert!(load("TimeZone=CET").contains("is set by the store"));
    assert!(load("synchronous_commit=off").contains("safe"));
    assert!(load("statement_timeout=0").contains("postgres.statement_timeout"));
    assert!(load("a-b=1").contains("not the name of a server setting"));
}

#[test]
fn url_parameters_and_keys_meet() {
    let config = env(&[("STORE_URL", "postgres://u@h/d?sslmode=require&application_name=bots")]).unwrap();
    let crate::settings::Target::Server(server) = &config.target else {
        panic!("no server")
    };
    assert_eq!(
        (server.ssl.mode, server.application_name.as_str()),
        (SslMode::Require, "bots")
    );
    let both = env(&[
        ("STORE_URL", "postgres://u@h/d?sslmode=require"),
        ("STORE_POSTGRES__SSLMODE", "disable"),
    ]);
    assert!(wrong(both).contains("`postgres.sslmode` (environment variable STORE_POSTGRES__SSLMODE) and `url`"));
    assert!(wrong(env(&[("STORE_URL", "postgres://u@h/d?sslmod=require")])).contains("unknown URL parameter `sslmod`"));
    let cert = env(&[
        ("STORE_URL", "postgres://u@h/d"),
        ("STORE_POSTGRES__SSL_CLIENT_CERT", "/no/such.pem"),
    ]);
    let cert = wrong(cert);
    assert!(
        cert.contains("cannot read /no/such.pem") && cert.contains("needs `postgres.ssl_client_key` too"),
        "{cert}"
    );
}

#[test]
fn pool_bounds() {
    let error = wrong(
        bare()
            .set("path", "a")
            .set("pool.min_connections", 5)
            .set("pool.max_connections", 2)
            .load(),
    );
    assert!(
        error.contains("`pool.min_connections` (code) and `pool.max_connections` (code)"),
        "{error}"
    );
    let config = bare().set("path", "a").set("pool.idle_timeout", "0s").load().unwrap();
    assert_eq!(config.pool.idle_timeout, None);
    assert!(wrong(bare().set("path", "a").set("connect_retry", 101).load()).contains("must be 0 to 100"));
}
