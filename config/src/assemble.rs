//! From merged layers to a validated configuration.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::explain::Setting;
use crate::layers::{LayerValues, Merged};
use crate::settings::{Ssl, Target};
use crate::values::{FromValue, Size, found, show_duration};
use crate::{
    DatabaseConfig, Driver, Explain, PoolConfig, PostgresConfig, Problem, SqliteConfig, keys, location, place,
};

mod server;
mod vault;

/// Reads keys one by one, keeping what is wrong and what is in effect.
pub(crate) struct Assembler<'a> {
    merged: Merged,
    current: &'a Path,
    home: Option<PathBuf>,
    problems: Vec<Problem>,
    settings: Vec<Setting>,
}

/// Builds the configuration as far as it goes; it is valid when there are no problems.
pub(crate) fn assemble(
    mut layers: Vec<LayerValues>,
    current: &Path,
    environment: &[(OsString, OsString)],
    problems: Vec<Problem>,
) -> (DatabaseConfig, Vec<Problem>) {
    let replaced = location::replace(&mut layers);
    let home = variable(environment, "HOME").or_else(std::env::home_dir);
    let mut this = Assembler {
        merged: Merged::new(layers),
        current,
        home,
        problems,
        settings: vec![],
    };

    let word: Option<String> = this.read("driver");
    let given = word.and_then(|word| this.driver(&word));
    let (driver, because) = location::decide(&this.merged, given, &replaced, &mut this.problems);
    if given.is_none() {
        let source = if because == "default" {
            because.to_owned()
        } else {
            format!("follows from `{because}`")
        };
        this.note("driver", driver.to_string(), source);
    }

    let operation_timeout = this.positive("operation_timeout");
    let ssl = this.ssl();
    let application_name = this.one::<String>("postgres.application_name");
    let target = match driver {
        Driver::Sqlite => this.sqlite_target(environment),
        Driver::Postgres => this.server_target(&ssl, &application_name),
    };
    let replicas = this.replicas(&ssl, &application_name);
    #[cfg(not(any(feature = "postgres", test)))]
    drop(replicas);
    let config = DatabaseConfig {
        driver,
        auto_migrate: this.one("auto_migrate"),
        operation_timeout,
        slow_statement: this.one("slow_statement"),
        connect_timeout: this.positive("connect_timeout"),
        connect_retry: this.within("connect_retry", 0, 100),
        sqlite: this.sqlite(),
        postgres: this.postgres(operation_timeout),
        pool: this.pool(),
        vault: this.vault(),
        #[cfg(any(feature = "postgres", test))]
        replicas,
        target,
        explain: Explain::new(vec![]),
    };
    this.finish(config)
}

fn variable(environment: &[(OsString, OsString)], name: &str) -> Option<PathBuf> {
    environment
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| PathBuf::from(value))
        .filter(|path| path.is_absolute())
}

/// The user's data directory: `XDG_DATA_HOME` or what the platform has in its place.
fn data_directory(environment: &[(OsString, OsString)], home: Option<&Path>) -> Option<PathBuf> {
    if let Some(path) = variable(environment, "XDG_DATA_HOME") {
        return Some(path);
    }
    if cfg!(windows) {
        variable(environment, "LOCALAPPDATA").or_else(|| Some(home?.join("AppData").join("Local")))
    } else if cfg!(target_os = "macos") {
        Some(home?.join("Library").join("Application Support"))
    } else {
        Some(home?.join(".local").join("share"))
    }
}

impl Assembler<'_> {
    fn finish(mut self, mut config: DatabaseConfig) -> (DatabaseConfig, Vec<Problem>) {
        let rank = |key: &str| {
            keys::KEYS
                .iter()
                .position(|(name, _)| *name == key)
                .unwrap_or(keys::KEYS.len())
        };
        self.settings.sort_by_key(|setting| rank(&setting.key));
        self.problems
            .sort_by_key(|problem| problem.keys.first().map_or(0, |key| rank(key)));
        config.explain = Explain::new(self.settings);
        (config, self.problems)
    }

    fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(Problem::new(key, self.merged.label(key), message));
    }

    fn contradiction(&mut self, a: &str, b: &str, message: &str) {
        self.problems.push(Problem::between(
            (a, self.merged.label(a)),
            (b, self.merged.label(b)),
            message,
        ));
    }

    fn note(&mut self, key: &str, value: String, source: String) {
        self.settings.push(Setting {
            key: key.to_owned(),
            value,
            source,
        });
    }

    /// The typed value, not yet noted for `explain`.
    fn read<T: FromValue>(&mut self, key: &str) -> Option<T> {
        let (value, layer) = self.merged.get(key)?;
        match T::from_value(&value, layer.is_text()) {
            Ok(value) => Some(value),
            Err(error) if keys::is_secret(key) => {
                self.problem(key, error);
                None
            }
            Err(error) => {
                self.problem(key, format!("{error}, found {}", found(&value)));
                None
            }
        }
    }

    /// The typed value of a key that may be absent.
    fn optional<T: FromValue>(&mut self, key: &str) -> Option<T> {
        let value: T = self.read(key)?;
        let label = self.merged.label(key);
        self.note(key, value.show(), label);
        Some(value)
    }

    /// The typed value of a key that the defaults set; something harmless when it is malformed, which is a problem.
    fn one<T: FromValue + Default>(&mut self, key: &str) -> T {
        self.optional(key).unwrap_or_default()
    }

    fn positive(&mut self, key: &str) -> Duration {
        let value = self.optional::<Duration>(key);
        if value.is_some_and(|value| value.is_zero()) {
            self.problem(key, "must be more than 0s");
        }
        value.unwrap_or_default()
    }

    /// Zero means never.
    fn or_never(&mut self, key: &str) -> Option<Duration> {
        Some(self.one::<Duration>(key)).filter(|value| !value.is_zero())
    }

    fn within(&mut self, key: &str, least: u32, most: u32) -> u32 {
        let value = self.optional::<u32>(key);
        if value.is_some_and(|value| !(least..=most).contains(&value)) {
            self.problem(key, format!("must be {least} to {most}"));
        }
        value.unwrap_or_default()
    }

    fn driver(&mut self, word: &str) -> Option<Driver> {
        match word.parse::<Driver>() {
            Ok(driver) => {
                let label = self.merged.label("driver");
                self.note("driver", driver.to_string(), label);
                Some(driver)
            }
            Err(error) => {
                self.problem("driver", format!("{error}; expected sqlite or postgres"));
                None
            }
        }
    }

    /// A path made absolute: relative to the file that set it.
    fn absolute(&self, key: &str, path: &str) -> PathBuf {
        if let (Some(rest), Some(home)) = (path.strip_prefix("~/"), &self.home) {
            return home.join(rest);
        }
        location::base(self.merged.layer(key).as_ref(), self.current).join(path)
    }

    /// A path to a file that must be there.
    fn existing_file(&mut self, key: &str) -> Option<PathBuf> {
        let text: String = self.read(key)?;
        let path = self.absolute(key, &text);
        let label = self.merged.label(key);
        self.note(key, path.display().to_string(), label);
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => self.problem(key, format!("{} is a directory", path.display())),
            Ok(_) => return Some(path),
            Err(error) => self.problem(key, format!("cannot read {}: {error}", path.display())),
        }
        None
    }

    fn sqlite_target(&mut self, environment: &[(OsString, OsString)]) -> Target {
        if let Some(text) = self.read::<String>("path") {
            return self.sqlite_path("path", &text);
        }
        if let Some(text) = self.read::<String>("url") {
            return self.sqlite_url(&text);
        }
        if self.merged.get("path").or_else(|| self.merged.get("url")).is_none() {
            return self.default_path(environment);
        }
        Target::Memory
    }

    fn sqlite_url(&mut self, text: &str) -> Target {
        match place::parse(text) {
            Ok(place::Place::File(path)) => {
                let label = self.merged.label("url");
                self.note("url", place::redact(text), label);
                return self.sqlite_path("url", &path);
            }
            Ok(place::Place::Memory) => {
                let label = self.merged.label("url");
                self.note("url", place::redact(text), label);
            }
            // Contradicts the driver, which is reported already.
            Ok(place::Place::Server(_)) => {}
            Err(error) => self.problem("url", error),
        }
        Target::Memory
    }

    fn default_path(&mut self, environment: &[(OsString, OsString)]) -> Target {
        match data_directory(environment, self.home.as_deref()) {
            Some(directory) => {
                let path = directory.join("undercroft").join("undercroft.db");
                self.note("path", path.display().to_string(), "default".to_owned());
                Target::File(path)
            }
            None => {
                let message = "sqlite needs a usable path: there is no home directory to put the file in; set `path`";
                self.problems.push(Problem::general(message));
                Target::Memory
            }
        }
    }

    fn sqlite_path(&mut self, key: &str, text: &str) -> Target {
        if text == ":memory:" {
            let label = self.merged.label(key);
            self.note("path", text.to_owned(), label);
            return Target::Memory;
        }
        if let Some(wrong) = wrong_path(text) {
            self.problem(key, wrong);
            return Target::Memory;
        }
        let path = self.absolute(key, text);
        if path.is_dir() {
            self.problem(key, format!("{} is a directory; name a file in it", path.display()));
        }
        if key == "path" {
            let label = self.merged.label(key);
            self.note(key, path.display().to_string(), label);
        } else {
            self.note("path", path.display().to_string(), "follows from `url`".to_owned());
        }
        Target::File(path)
    }

    fn sqlite(&mut self) -> SqliteConfig {
        SqliteConfig {
            busy_timeout: self.one("sqlite.busy_timeout"),
            synchronous: self.one("sqlite.synchronous"),
            cache_size: self.one::<Size>("sqlite.cache_size").0,
            mmap_size: self.one::<Size>("sqlite.mmap_size").0,
            readers: self.readers(),
        }
    }

    fn readers(&mut self) -> u32 {
        let key = "sqlite.readers";
        if self.merged.get(key).is_some() {
            return self.within(key, 1, 64);
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let readers = u32::try_from(cores.saturating_mul(2)).unwrap_or(8).min(8);
        self.note(key, readers.to_string(), "default".to_owned());
        readers
    }

    fn postgres(&mut self, operation_timeout: Duration) -> PostgresConfig {
        let key = "postgres.statement_timeout";
        let statement_timeout = if self.merged.get(key).is_some() {
            self.one(key)
        } else {
            self.note(
                key,
                show_duration(operation_timeout),
                "follows from `operation_timeout`".to_owned(),
            );
            operation_timeout
        };
        let options: BTreeMap<String, String> = self.one("postgres.options");
        for (name, value) in &options {
            if let Some(wrong) = wrong_option(name, value) {
                self.problem("postgres.options", wrong);
            }
        }
        PostgresConfig {
            lock_timeout: self.one("postgres.lock_timeout"),
            statement_timeout,
            options,
        }
    }

    fn pool(&mut self) -> PoolConfig {
        let max_connections = self.within("pool.max_connections", 1, 10_000);
        let min_connections = self.within("pool.min_connections", 0, 10_000);
        if min_connections > max_connections {
            self.contradiction(
                "pool.min_connections",
                "pool.max_connections",
                "the least is more than the most",
            );
        }
        PoolConfig {
            max_connections,
            min_connections,
            acquire_timeout: self.positive("pool.acquire_timeout"),
            idle_timeout: self.or_never("pool.idle_timeout"),
            max_lifetime: self.or_never("pool.max_lifetime"),
            check_after_idle: self.one("pool.check_after_idle"),
        }
    }

    fn ssl(&mut self) -> Ssl {
        let ssl = Ssl {
            mode: self.one("postgres.sslmode"),
            root_cert: self.existing_file("postgres.ssl_root_cert"),
            client_cert: self.existing_file("postgres.ssl_client_cert"),
            client_key: self.existing_file("postgres.ssl_client_key"),
        };
        let (cert, key) = ("postgres.ssl_client_cert", "postgres.ssl_client_key");
        match (self.merged.get(cert).is_some(), self.merged.get(key).is_some()) {
            (true, false) => self.problem(cert, format!("needs `{key}` too")),
            (false, true) => self.problem(key, format!("needs `{cert}` too")),
            _ => {}
        }
        ssl
    }
}

/// What is wrong with a SQLite path as text.
fn wrong_path(text: &str) -> Option<&'static str> {
    if text.contains('\0') {
        return Some("the path contains a NUL character");
    }
    if text.contains(['\n', '\r']) {
        return Some("the path contains a line break");
    }
    if text.ends_with('/') || text.ends_with(std::path::MAIN_SEPARATOR) {
        return Some("the path names a directory; name a file in it");
    }
    let is_url = ["file:", "sqlite:", "postgres:", "postgresql:"]
        .iter()
        .any(|scheme| text.starts_with(scheme));
    is_url.then_some("expected a plain path; a URL belongs into `url`")
}

/// What is wrong with a server setting: the store depends on some, and sets them itself.
fn wrong_option(name: &str, value: &str) -> Option<String> {
    let lower = name.to_lowercase();
    let valid = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
    if !valid {
        return Some(format!("{name:?} is not the name of a server setting"));
    }
    if value.contains('\0') {
        return Some(format!("`{name}` contains a NUL character"));
    }
    match lower.as_str() {
        "lock_timeout" => Some("`lock_timeout` has its own key, `postgres.lock_timeout`".to_owned()),
        "statement_timeout" => Some("`statement_timeout` has its own key, `postgres.statement_timeout`".to_owned()),
        "application_name" => Some("`application_name` has its own key, `postgres.application_name`".to_owned()),
        "synchronous_commit" if !matches!(value, "on" | "remote_apply") => Some(
            "`synchronous_commit` may be on or remote_apply: a call returns only after its commit is safe".to_owned(),
        ),
        "timezone"
        | "client_encoding"
        | "datestyle"
        | "intervalstyle"
        | "extra_float_digits"
        | "bytea_output"
        | "standard_conforming_strings"
        | "default_transaction_isolation"
        | "default_transaction_read_only" => Some(format!("`{name}` is set by the store, which depends on it")),
        _ => None,
    }
}
